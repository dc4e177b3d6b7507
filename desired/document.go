package desired

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// shape is the kind of a value.
type shape int

const (
	scalar shape = iota
	list
	mapping
)

// value is one node of a document: aliases followed, merge keys applied, and
// its line kept. Values are never shared, so they may be changed in place.
type value struct {
	shape   shape
	line    int
	text    string // of a scalar, as written
	scalar  any    // nil, bool, int, int64, uint64, float64 or string
	entries []entry
	items   []*value
}

// entry is one key of a mapping.
type entry struct {
	key   string
	line  int // of the key
	value *value
}

// get returns the entry of that key, or nil.
func (v *value) get(key string) *entry {
	if v == nil {
		return nil
	}
	for i := range v.entries {
		if v.entries[i].key == key {
			return &v.entries[i]
		}
	}
	return nil
}

// child returns the value of that key, or nil.
func (v *value) child(key string) *value {
	if e := v.get(key); e != nil {
		return e.value
	}
	return nil
}

// plain is the value as compose-go and the schema want it.
func (v *value) plain() any {
	switch v.shape {
	case list:
		out := make([]any, len(v.items))
		for i, item := range v.items {
			out[i] = item.plain()
		}
		return out
	case mapping:
		out := make(map[string]any, len(v.entries))
		for _, e := range v.entries {
			out[e.key] = e.value.plain()
		}
		return out
	default:
		return v.scalar
	}
}

// parseDocument reads one YAML document within the limits. It returns nil
// after reporting a problem. An empty document is an empty mapping.
func parseDocument(data []byte, rep *report) *value {
	if len(data) > MaxFileBytes {
		rep.addf(0, "", "%d bytes, more than the limit of %d a file", len(data), MaxFileBytes)
		return nil
	}
	if tooManyItems(data) {
		rep.addf(0, "", "more than the limit of %d YAML nodes", MaxNodes)
		return nil
	}
	node, err := decodeNode(data)
	if err != nil {
		line, message := yamlError(err)
		rep.addf(line, "", "%s", message)
		return nil
	}
	if node == nil {
		return &value{shape: mapping, line: 1}
	}
	c := converter{building: map[*yaml.Node]bool{}}
	v, err := c.convert(node, 0)
	if err != nil {
		var place *placeError
		if errors.As(err, &place) {
			rep.addf(place.line, "", "%s", place.message)
		} else {
			rep.addf(0, "", "%s", err)
		}
		return nil
	}
	if v.shape == scalar && v.scalar == nil {
		return &value{shape: mapping, line: 1}
	}
	if v.shape != mapping {
		rep.addf(v.line, "", "the document must be a mapping")
		return nil
	}
	return v
}

// errSecondDocument is what decodeNode answers for "---" within a file:
// compose-go would merge the documents, which no reviewer expects.
var errSecondDocument = errors.New("more than one YAML document in the file")

// decodeNode returns the root of the only document, or nil for an empty one.
func decodeNode(data []byte) (node *yaml.Node, err error) {
	defer func() {
		// The parser answers malformed input with errors; should one input
		// make it panic, that input is refused like any other.
		if r := recover(); r != nil {
			node, err = nil, fmt.Errorf("not readable as YAML: %v", r)
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, &placeError{second.Line, errSecondDocument.Error()}
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, nil
	}
	return doc.Content[0], nil
}

var yamlLine = regexp.MustCompile(`^line ([0-9]+): `)

// yamlError splits the parser's "yaml: line 3: did not find …".
func yamlError(err error) (line int, message string) {
	var place *placeError
	if errors.As(err, &place) {
		return place.line, place.message
	}
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	return line, "not readable as YAML: " + message
}

// placeError is a problem inside a document.
type placeError struct {
	line    int
	message string
}

func (e *placeError) Error() string { return e.message }

// converter turns parser nodes into values. The counters make every alias
// cost what it stands for, which is what defuses alias bombs.
type converter struct {
	nodes    int
	building map[*yaml.Node]bool // anchors being converted, to find cycles
}

func (c *converter) convert(n *yaml.Node, depth int) (*value, error) {
	c.nodes++
	if c.nodes > MaxNodes {
		return nil, &placeError{n.Line, fmt.Sprintf("more than the limit of %d YAML nodes, aliases counted each time", MaxNodes)}
	}
	if depth > MaxDepth {
		return nil, &placeError{n.Line, fmt.Sprintf("nested deeper than the limit of %d", MaxDepth)}
	}
	switch n.Kind {
	case yaml.AliasNode:
		if c.building[n.Alias] {
			return nil, &placeError{n.Line, "an alias refers to the mapping or list that holds it"}
		}
		return c.convert(n.Alias, depth)
	case yaml.SequenceNode:
		return c.convertList(n, depth)
	case yaml.MappingNode:
		return c.convertMapping(n, depth)
	case yaml.ScalarNode:
		return convertScalar(n)
	default:
		return nil, &placeError{n.Line, "unexpected YAML node"}
	}
}

func (c *converter) convertList(n *yaml.Node, depth int) (*value, error) {
	if err := checkTag(n, "!!seq"); err != nil {
		return nil, err
	}
	if len(n.Content) > MaxEntries {
		return nil, &placeError{n.Line, fmt.Sprintf("%d entries in one list, more than the limit of %d", len(n.Content), MaxEntries)}
	}
	c.building[n] = true
	defer delete(c.building, n)
	v := &value{shape: list, line: n.Line, items: make([]*value, 0, len(n.Content))}
	for _, item := range n.Content {
		converted, err := c.convert(item, depth+1)
		if err != nil {
			return nil, err
		}
		v.items = append(v.items, converted)
	}
	return v, nil
}

func (c *converter) convertMapping(n *yaml.Node, depth int) (*value, error) {
	if err := checkTag(n, "!!map"); err != nil {
		return nil, err
	}
	if len(n.Content)/2 > MaxEntries {
		return nil, &placeError{n.Line, fmt.Sprintf("%d entries in one mapping, more than the limit of %d", len(n.Content)/2, MaxEntries)}
	}
	c.building[n] = true
	defer delete(c.building, n)
	v := &value{shape: mapping, line: n.Line}
	seen := make(map[string]int, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			merges = append(merges, n.Content[i+1])
			continue
		}
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			return nil, &placeError{key.Line, "a key must be a string; quote it"}
		}
		if len(key.Value) > MaxKey {
			return nil, &placeError{key.Line, fmt.Sprintf("a key of %d bytes, more than the limit of %d", len(key.Value), MaxKey)}
		}
		if first, ok := seen[key.Value]; ok {
			return nil, &placeError{key.Line, fmt.Sprintf("key %s is already on line %d", quoted(key.Value), first)}
		}
		seen[key.Value] = key.Line
		converted, err := c.convert(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		v.entries = append(v.entries, entry{key.Value, key.Line, converted})
	}
	for _, merge := range merges {
		if err := c.merge(v, seen, merge, depth+1); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// merge adds the entries of a "<<" value that the mapping does not have: its
// own keys win over merged ones, earlier merges over later ones.
func (c *converter) merge(into *value, seen map[string]int, n *yaml.Node, depth int) error {
	source, err := c.convert(n, depth)
	if err != nil {
		return err
	}
	sources := []*value{source}
	if source.shape == list {
		sources = source.items
	}
	for _, s := range sources {
		if s.shape != mapping {
			return &placeError{n.Line, "<< needs a mapping or a list of mappings"}
		}
		for _, e := range s.entries {
			if _, ok := seen[e.key]; ok {
				continue
			}
			seen[e.key] = e.line
			into.entries = append(into.entries, e)
		}
	}
	if len(into.entries) > MaxEntries {
		return &placeError{n.Line, fmt.Sprintf("%d entries in one mapping, more than the limit of %d", len(into.entries), MaxEntries)}
	}
	return nil
}

// checkTag refuses the tags that would make a mapping or list something else,
// compose's !reset and !override among them: they only mean something where
// several files are merged.
func checkTag(n *yaml.Node, want string) error {
	if tag := n.ShortTag(); tag != want {
		return &placeError{n.Line, fmt.Sprintf("YAML tag %s: refused, not planned: there is one file, write the value itself", quoted(tag))}
	}
	return nil
}

func convertScalar(n *yaml.Node) (*value, error) {
	v := &value{shape: scalar, line: n.Line, text: n.Value}
	tag := n.ShortTag()
	switch tag {
	case "!!str", "!!timestamp", "!!merge":
		// A date stays the text that the user wrote.
		v.scalar = n.Value
		return v, nil
	case "!!null":
		return v, nil
	case "!!bool", "!!int", "!!float":
	default:
		return nil, checkTag(n, "!!str")
	}
	if len(n.Value) > maxNumber {
		return nil, &placeError{n.Line, "number too long; quote it if it is text"}
	}
	if err := n.Decode(&v.scalar); err != nil {
		return nil, &placeError{n.Line, fmt.Sprintf("not a %s", strings.TrimPrefix(tag, "!!"))}
	}
	if f, ok := v.scalar.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return nil, &placeError{n.Line, "not a finite number; quote it if it is text"}
	}
	return v, nil
}
