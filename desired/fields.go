package desired

import (
	"fmt"
	"math"
	"strings"
)

// verdict is what happens to a field of a compose file.
type verdict string

const (
	honoured   verdict = "honoured"
	ignored    verdict = "ignored"
	planned    verdict = "planned"     // refused until its own time comes
	notPlanned verdict = "not planned" // refused for good
)

// field is one row of the table that Compile follows and docs/compose.md
// prints.
type field struct {
	// path is the field's place: "*" stands for a name that the user
	// chooses, "[]" for an item of a list. It is compose-go's notation.
	path    string
	verdict verdict
	// note says what honoured means here, why it is ignored, or what to do
	// instead. Refused fields must have one.
	note string
	// check, when set, reads a value as compose-go will, so that what is
	// wrong with it is reported with its line.
	check func(any) error
}

// fieldTable answers what a field is. A row that is ignored or refused covers
// everything below it; below an honoured one every field needs its own row, so
// that what a newer compose-go learns is refused until somebody decides.
type fieldTable struct {
	rows     map[string]*field
	mappings map[string]bool // paths that have rows for keys below them
}

// newFieldTable builds the table. It is rebuilt for every compile, which
// costs little beside the parsing, rather than kept in a global.
func newFieldTable() *fieldTable {
	t := &fieldTable{rows: map[string]*field{}, mappings: map[string]bool{}}
	for _, section := range fieldSections() {
		for i := range section.fields {
			f := &section.fields[i]
			t.rows[f.path] = f
			if parent, last := cutLast(f.path); last != "[]" {
				t.mappings[parent] = true
			}
		}
	}
	return t
}

// cutLast splits "services.*.image" into "services.*" and "image".
func cutLast(path string) (parent, last string) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// child returns the path of a key below a path, and its row: nil for an
// unknown field.
func (t *fieldTable) child(path, key string) (string, *field) {
	if wild := join(path, "*"); t.rows[wild] != nil {
		return wild, t.rows[wild]
	}
	exact := join(path, key)
	return exact, t.rows[exact]
}

// checker walks a parsed compose file: it reports what is refused or unknown,
// notes what is ignored, takes both out of the tree, and replaces variables in
// what is left. What it leaves is what compose-go gets to see.
type checker struct {
	table    *fieldTable
	casts    map[string]func(string) (any, error)
	rep      *report
	expander *expander
	find     lookup
	ports    int  // published ports so far, ranges expanded
	broken   bool // a value is unreadable, so compose-go need not try
}

func (c *checker) walk(v *value, path, name string) {
	switch v.shape {
	case scalar:
		c.scalar(v, path, name)
	case list:
		for i, item := range v.items {
			here := fmt.Sprintf("%s[%d]", name, i)
			c.walk(item, path+".[]", here)
			if path == "services.*.networks" && strings.HasPrefix(item.text, "x-") {
				c.breakf(item, here, "%s", takenForExtension)
			}
		}
	case mapping:
		if path != "" && !c.table.mappings[path] {
			return // of the wrong type, as the schema will say
		}
		kept := v.entries[:0]
		for _, e := range v.entries {
			if c.entry(e, path, name) {
				kept = append(kept, e)
			}
		}
		v.entries = kept
	}
}

// entry checks one key of a mapping and says whether it stays in the tree.
func (c *checker) entry(e entry, path, name string) bool {
	childPath, f := c.table.child(path, e.key)
	childName := join(name, e.key)
	switch {
	case f == nil && strings.HasPrefix(e.key, "x-jaco-"):
		c.rep.addf(e.line, childName, "%s", unknownExtension(e.key))
		return false
	case f == nil && strings.HasPrefix(e.key, "x-"):
		return false // an extension: legal anywhere, without effect
	case f == nil:
		c.rep.addf(e.line, childName, "unknown field")
		return false
	case f.verdict == ignored:
		c.rep.notef(e.line, childName, "ignored: %s", f.note)
		return false
	case f.verdict != honoured:
		c.rep.addf(e.line, childName, "%s", f.refusal())
		return false
	case strings.HasPrefix(e.key, "x-") && strings.HasSuffix(childPath, ".*") && !takesExtensionNames(childPath):
		c.rep.addf(e.line, childName, "%s", takenForExtension)
		return false
	}
	c.walk(e.value, childPath, childName)
	return true
}

// takenForExtension answers names that compose-go would lose without a word.
const takenForExtension = "compose takes a name that starts with x- for an extension here and drops it; choose another"

// takesExtensionNames says whether compose reads a key "x-…" at this place as
// a name like any other.
func takesExtensionNames(path string) bool {
	switch path {
	case "services.*", "networks.*", "volumes.*", "secrets.*", "services.*.depends_on.*":
		return true
	}
	return false
}

// refusal is the message of a refused field.
func (f *field) refusal() string { return refused(f.verdict, f.note) }

// refused is the message for what is not supported: whether it is planned,
// and why or what to do instead.
func refused(v verdict, instead string) string {
	return fmt.Sprintf("refused, %s: %s", v, instead)
}

// unknownExtension says why an x-jaco-… extension is not taken as a comment:
// it asks for behaviour that would silently be missing.
func unknownExtension(key string) string {
	switch key {
	case "x-jaco-drain", "x-jaco-exclusive":
		return refused(planned, "remove it until then")
	case "x-jaco-prune":
		return "only known on a volume"
	}
	return "unknown field"
}

func (c *checker) scalar(v *value, path, name string) {
	text, isText := v.scalar.(string)
	if isText {
		expanded, unset, err := c.expander.expand(text, c.find)
		if err != nil {
			c.breakf(v, name, "%s", err)
			return
		}
		for _, variable := range unset {
			c.rep.notef(v.line, name, "variable %s is not set and is empty here", cut(variable, maxQuoted))
		}
		if strings.ContainsRune(expanded, 0) {
			c.breakf(v, name, "a value cannot hold a NUL character")
			return
		}
		v.scalar, v.text = expanded, expanded
		if cast := c.casts[path]; cast != nil {
			typed, err := cast(expanded)
			if f, ok := typed.(float64); err != nil || ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
				c.breakf(v, name, "not a valid value: %s", quoted(expanded))
				return
			}
			v.scalar = typed
		}
	}
	if path == "services.*.ports.[]" && !c.countPorts(v, name) {
		return
	}
	f := c.table.rows[path]
	if f == nil || f.check == nil || v.scalar == nil {
		return
	}
	if err := f.check(v.scalar); err != nil {
		c.breakf(v, name, "not a valid value: %s", quoted(v.text))
	}
}

// breakf reports a value that cannot be read.
func (c *checker) breakf(v *value, name, format string, args ...any) {
	c.broken = true
	c.rep.addf(v.line, name, format, args...)
}
