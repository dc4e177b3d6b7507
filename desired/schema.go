package desired

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// composeSchema compiles compose-go's schema once: 10 ms that do not depend
// on any input. compose-go's own Validate answers with one error, chosen by
// map order and without a place, so its schema is used without it.
var composeSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(schema.Schema))
	if err != nil {
		return nil, fmt.Errorf("parse compose's schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("compose-spec.json", parsed); err != nil {
		return nil, fmt.Errorf("load compose's schema: %w", err)
	}
	return compiler.Compile("compose-spec.json")
})

// validate checks a tree against compose's schema and reports every mismatch
// with its line.
func validate(tree *value, plain map[string]any, rep *report) {
	compiled, err := composeSchema()
	if err == nil {
		err = compiled.Validate(plain)
	}
	var invalid *jsonschema.ValidationError
	switch {
	case err == nil:
		return
	case !errors.As(err, &invalid):
		rep.addf(0, "", "%s", err)
		return
	}
	all := leaves(invalid)
	// A field of a wrong type also fails "unevaluated properties must not
	// exist" for itself and its neighbours, which explains nothing.
	specific := slices.DeleteFunc(slices.Clone(all), func(e *jsonschema.ValidationError) bool {
		_, noise := e.ErrorKind.(*kind.FalseSchema)
		return noise
	})
	if len(specific) > 0 {
		all = specific
	}
	printer := message.NewPrinter(language.English)
	for _, leaf := range all {
		at := locate(tree, leaf.InstanceLocation)
		rep.addf(at.line, at.name, "%s", schemaMessage(leaf, printer))
	}
}

// leaves are the mismatches that explain an error: all of them where several
// things must hold, the one that got furthest where one of several would do.
func leaves(e *jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(e.Causes) == 0 {
		return []*jsonschema.ValidationError{e}
	}
	var all []*jsonschema.ValidationError
	for _, cause := range e.Causes {
		all = append(all, leaves(cause)...)
	}
	switch e.ErrorKind.(type) {
	case *kind.OneOf, *kind.AnyOf:
		return []*jsonschema.ValidationError{alternatives(all)}
	}
	return all
}

// alternatives explains why none of several forms fits: the mismatch that got
// furthest or, where the forms only differ in type, all types that would do.
func alternatives(all []*jsonschema.ValidationError) *jsonschema.ValidationError {
	best := slices.MinFunc(all, furthest)
	if _, ok := best.ErrorKind.(*kind.Type); !ok {
		return best
	}
	merged := *best
	types := &kind.Type{}
	for _, e := range all {
		if k, ok := e.ErrorKind.(*kind.Type); ok && slices.Equal(e.InstanceLocation, best.InstanceLocation) {
			types.Got = k.Got
			types.Want = append(types.Want, k.Want...)
		}
	}
	merged.ErrorKind = types
	return &merged
}

// furthest orders mismatches by depth, then by text, so that the choice does
// not depend on the order in which the schema was walked.
func furthest(a, b *jsonschema.ValidationError) int {
	return cmp.Or(
		cmp.Compare(len(b.InstanceLocation), len(a.InstanceLocation)),
		slices.Compare(a.InstanceLocation, b.InstanceLocation),
		cmp.Compare(a.SchemaURL, b.SchemaURL),
	)
}

func schemaMessage(e *jsonschema.ValidationError, printer *message.Printer) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		want := slices.Clone(k.Want)
		slices.Sort(want)
		want = slices.Compact(want)
		return fmt.Sprintf("must be %s, not %s", strings.Join(want, " or "), k.Got)
	case *kind.FalseSchema:
		return "unknown field"
	case *kind.AdditionalProperties:
		slices.Sort(k.Properties)
	case *kind.Required:
		slices.Sort(k.Missing)
	}
	return e.ErrorKind.LocalizedString(printer)
}

// place is where something stands in a document.
type place struct {
	line  int
	name  string // "services.web.ports[0]"
	found bool   // false: the rest of the name is not written there
}

// locate finds a place in a tree by its keys and indexes. What is not there
// has the line of the deepest part that is. In a list that compose also lets
// one write as a mapping, a key finds its item.
func locate(tree *value, steps []string) place {
	at := place{line: tree.line, found: true}
	for _, step := range steps {
		next, line, name := tree.step(step)
		if !at.found || next == nil {
			at.found = false
			at.name = join(at.name, step)
			continue
		}
		at.line, at.name, tree = line, at.name+name, next
	}
	at.name = strings.TrimPrefix(at.name, ".")
	return at
}

// step is the value one key or index below, its line and how it is written in
// the name of a place.
func (v *value) step(step string) (next *value, line int, name string) {
	switch v.shape {
	case mapping:
		if e := v.get(step); e != nil {
			return e.value, e.line, "." + step
		}
	case scalar:
	case list:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(v.items) {
			return v.items[i], v.items[i].line, "[" + step + "]"
		}
		for _, item := range v.items {
			if rest, ok := strings.CutPrefix(item.text, step); ok && (rest == "" || rest[0] == '=' || rest[0] == ':') {
				return item, item.line, "." + step
			}
		}
	}
	return nil, 0, ""
}
