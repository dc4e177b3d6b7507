package signing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// The bounds of a trust.yaml, far above what people write.
const (
	maxTrustSize  = 256 << 10
	maxTrustDepth = 8
	maxTrustNodes = 20_000
)

// yamlLine finds the line in an error of the YAML library.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// trustError is an error at a line of trust.yaml.
func trustError(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", trustFile, line, fmt.Errorf(format, args...))
}

// readYAML parses trust.yaml into nodes: one document, a mapping, without
// anchors, aliases and tags, so that every value stands where it is read.
func readYAML(data []byte) (*yaml.Node, error) {
	if len(data) > maxTrustSize {
		return nil, trustError(1, "file of %d bytes: more than %d", len(data), maxTrustSize)
	}
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, trustError(1, "not UTF-8 text")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, trustError(1, "empty file")
	case err != nil:
		return nil, syntaxError(err)
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, trustError(second.Line, "a second document: want one")
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(err)
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 {
		return nil, trustError(1, "empty file")
	}
	root := document.Content[0]
	return root, checkNodes(root)
}

// syntaxError moves the line of the YAML library's error to where editors look.
func syntaxError(err error) error {
	match := yamlLine.FindStringSubmatch(err.Error())
	if match == nil {
		return trustError(1, "%w", err)
	}
	line, _ := strconv.Atoi(match[1]) // no line: the library knows none
	return trustError(max(line, 1), "%s", match[2])
}

// checkNodes refuses what the closed schema has no use for. It walks without
// recursion: the depth is the writer's choice.
func checkNodes(root *yaml.Node) error {
	type item struct {
		node  *yaml.Node
		depth int
	}
	seen := 0
	for stack := []item{{root, 1}}; len(stack) > 0; {
		it := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		n := it.node
		seen++
		switch {
		case seen > maxTrustNodes:
			return trustError(n.Line, "more than %d values", maxTrustNodes)
		case it.depth > maxTrustDepth:
			return trustError(n.Line, "nested more than %d deep", maxTrustDepth)
		case n.Kind == yaml.AliasNode || n.Anchor != "":
			return trustError(n.Line, "anchors and aliases are not allowed")
		case n.Style&yaml.TaggedStyle != 0:
			return trustError(n.Line, "the tag %s is not allowed", n.Tag)
		}
		for _, child := range slices.Backward(n.Content) {
			stack = append(stack, item{child, it.depth + 1})
		}
	}
	return nil
}

// fields returns the values of a mapping by key. Keys outside known and keys
// that stand twice are refused.
func fields(n *yaml.Node, what string, known ...string) (map[string]*yaml.Node, error) {
	found := make(map[string]*yaml.Node)
	err := eachField(n, what, func(key, value *yaml.Node) error {
		if !slices.Contains(known, key.Value) {
			return trustError(key.Line, "unknown field %q in %s", clip([]byte(key.Value)), what)
		}
		found[key.Value] = value
		return nil
	})
	return found, err
}

// eachField calls fn for every pair of a mapping, in the file's order.
func eachField(n *yaml.Node, what string, fn func(key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return trustError(n.Line, "%s: want fields, got %s", what, kindName(n))
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Tag != "!!str" {
			return trustError(key.Line, "%s: want a name before the colon", what)
		}
		if seen[key.Value] {
			return trustError(key.Line, "field %q stands twice in %s", clip([]byte(key.Value)), what)
		}
		seen[key.Value] = true
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}

// items returns the values of a list.
func items(n *yaml.Node, what string) ([]*yaml.Node, error) {
	if n.Kind != yaml.SequenceNode {
		return nil, trustError(n.Line, "%s: want a list, got %s", what, kindName(n))
	}
	return n.Content, nil
}

// text returns a string.
func text(n *yaml.Node, what string) (string, error) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		return "", trustError(n.Line, "%s: want text, got %s", what, kindName(n))
	}
	return n.Value, nil
}

// texts returns a list of strings without duplicates.
func texts(n *yaml.Node, what string) ([]string, error) {
	nodes, err := items(n, what)
	if err != nil {
		return nil, err
	}
	values := make([]string, len(nodes))
	seen := make(map[string]bool, len(nodes))
	for i, node := range nodes {
		if values[i], err = text(node, what); err != nil {
			return nil, err
		}
		if seen[values[i]] {
			return nil, trustError(node.Line, "%s: %q stands twice", what, clip([]byte(values[i])))
		}
		seen[values[i]] = true
	}
	return values, nil
}

// number returns a count in plain decimal digits, from 1.
func number(n *yaml.Node, what string) (int, error) {
	value, err := strconv.ParseInt(n.Value, 10, 32)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || value < 1 || n.Value[0] == '+' || n.Value[0] == '0' {
		return 0, trustError(n.Line, "%s: want a number from 1, got %s", what, kindName(n))
	}
	return int(value), nil
}

// flag returns a truth value.
func flag(n *yaml.Node, what string) (bool, error) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || (n.Value != "true" && n.Value != "false") {
		return false, trustError(n.Line, "%s: want true or false, got %s", what, kindName(n))
	}
	return n.Value == "true", nil
}

// choice returns one of some words; the first is the default.
func choice(n *yaml.Node, what string, words ...string) (string, error) {
	value, err := text(n, what)
	if err != nil {
		return "", err
	}
	if !slices.Contains(words, value) {
		return "", trustError(n.Line, "%s: want %s, got %s", what, strings.Join(words, " or "), kindName(n))
	}
	return value, nil
}

// duration returns a positive time span.
func duration(n *yaml.Node, what string) (time.Duration, error) {
	value, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || err != nil || value <= 0 {
		return 0, trustError(n.Line, "%s: want a time span such as 72h or 90m, got %s", what, kindName(n))
	}
	return value, nil
}

// instant returns a time: RFC 3339, or a date, which stands for its first
// instant in UTC and is reported as such.
func instant(n *yaml.Node, what string) (when time.Time, isDate bool, err error) {
	if n.Kind == yaml.ScalarNode && (n.Tag == "!!timestamp" || n.Tag == "!!str") {
		if when, err := time.Parse(time.DateOnly, n.Value); err == nil {
			return when, true, nil
		}
		if when, err := time.Parse(time.RFC3339, n.Value); err == nil {
			return when.UTC(), false, nil
		}
	}
	return time.Time{}, false, trustError(n.Line,
		"%s: want a date (2027-12-31) or a time (2027-12-31T18:00:00Z), got %s", what, kindName(n))
}

// kindName describes a value in an error.
func kindName(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "fields"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	}
	return strconv.Quote(strings.ToValidUTF8(string(clip([]byte(n.Value))), ""))
}
