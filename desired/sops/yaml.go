package sops

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	yaml "go.yaml.in/yaml/v3"
)

// yamlIndent is SOPS' own.
const yamlIndent = 4

// readYAML reads one document.
func readYAML(data []byte) (root branch, err error) {
	if bytes.Count(data, []byte{'\n'})+bytes.Count(data, []byte{','}) > 3*maxNodes {
		return nil, fmt.Errorf("%w: more than the limit of %d values", ErrMalformed, maxNodes)
	}
	node, err := yamlNode(data)
	if err != nil || node == nil {
		return nil, err
	}
	v, err := yamlValue(node, &counter{}, 0)
	if err != nil {
		return nil, err
	}
	root, ok := v.(branch)
	if !ok && v != nil {
		return nil, fmt.Errorf("%w: the document is no mapping", ErrMalformed)
	}
	return root, nil
}

// yamlNode returns the only document, nil for none. The parser's own words may
// hold parts of the file and are left out.
func yamlNode(data []byte) (node *yaml.Node, err error) {
	unreadable := fmt.Errorf("%w: it is not readable as YAML", ErrMalformed)
	defer func() {
		if r := recover(); r != nil {
			node, err = nil, unreadable
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil || len(document.Content) != 1:
		return nil, unreadable
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, fmt.Errorf("%w: more than one YAML document in the file", ErrUnsupported)
	case !errors.Is(err, io.EOF):
		return nil, unreadable
	}
	return document.Content[0], nil
}

// yamlValue makes a tree of a node, as SOPS does: aliases stand for what they
// name, each time.
func yamlValue(n *yaml.Node, c *counter, depth int) (any, error) {
	if err := c.enter(depth); err != nil {
		return nil, err
	}
	switch n.Kind {
	case yaml.AliasNode:
		return yamlValue(n.Alias, c, depth+1)
	case yaml.SequenceNode:
		out := sequence{}
		for _, e := range n.Content {
			v, err := yamlValue(e, c, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yaml.MappingNode:
		return yamlBranch(n, c, depth)
	case yaml.ScalarNode:
		return yamlScalar(n)
	default:
		return nil, fmt.Errorf("%w: unexpected YAML", ErrMalformed)
	}
}

func yamlBranch(n *yaml.Node, c *counter, depth int) (branch, error) {
	out := branch{}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			return nil, fmt.Errorf("%w: line %d: a key that is no text", ErrUnsupported, key.Line)
		}
		if seen[key.Value] {
			return nil, fmt.Errorf("%w: line %d: a key stands there twice", ErrMalformed, key.Line)
		}
		seen[key.Value] = true
		v, err := yamlValue(n.Content[i+1], c, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, item{key.Value, v})
	}
	return out, nil
}

func yamlScalar(n *yaml.Node) (any, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, fmt.Errorf("%w: line %d: a value that is not of its type", ErrMalformed, n.Line)
	}
	switch v := v.(type) {
	case nil, string, int, float64, bool, time.Time:
		return v, nil
	}
	return nil, fmt.Errorf("%w: line %d: a value of a type that SOPS does not take", ErrUnsupported, n.Line)
}

// writeYAML is readYAML's other direction.
func writeYAML(root branch) ([]byte, error) {
	node, err := yamlTree(root)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(yamlIndent)
	if err := errors.Join(encoder.Encode(node), encoder.Close()); err != nil {
		return nil, fmt.Errorf("%w: it cannot be written as YAML", ErrMalformed)
	}
	return out.Bytes(), nil
}

func yamlTree(v any) (*yaml.Node, error) {
	node := &yaml.Node{}
	var parts []any
	switch v := v.(type) {
	case branch:
		node.Kind = yaml.MappingNode
		for _, it := range v {
			parts = append(parts, it.key, it.value)
		}
	case sequence:
		node.Kind = yaml.SequenceNode
		parts = v
	default:
		if err := node.Encode(v); err != nil {
			return nil, fmt.Errorf("%w: it cannot be written as YAML", ErrMalformed)
		}
		return node, nil
	}
	for _, part := range parts {
		child, err := yamlTree(part)
		if err != nil {
			return nil, err
		}
		node.Content = append(node.Content, child)
	}
	return node, nil
}
