package desired

import (
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/transform"
	"github.com/compose-spec/compose-go/v2/types"
)

// casts are compose's conversions of text to numbers and booleans, by the
// notation of field.path.
func casts() map[string]func(string) (any, error) {
	options := loader.ToOptions(&types.ConfigDetails{}, nil)
	out := make(map[string]func(string) (any, error), len(options.Interpolate.TypeCastMapping))
	for path, cast := range options.Interpolate.TypeCastMapping {
		out[path.String()] = cast
		if v, err := cast("true"); err == nil && v == true {
			out[path.String()] = castBool
		}
	}
	return out
}

// castBool takes the words that compose-go takes, which writes a warning to
// the process's standard error for some of them.
func castBool(text string) (any, error) {
	switch strings.ToLower(text) {
	case "true", "y", "yes", "on":
		return true, nil
	case "false", "n", "no", "off":
		return false, nil
	}
	return nil, errValue
}

// loadProject lets compose-go turn a checked tree into its model. The tree was
// parsed, interpolated and validated here, so compose-go only does what it
// alone knows: short syntaxes and defaults. Its loader, which resolves
// include, extends and env_file on the host's disk and reads the host's
// environment, is not called at all.
func loadProject(deployment string, plain map[string]any) (project *types.Project, err error) {
	defer func() {
		// compose-go asserts types that its schema promises. Should the two
		// disagree, the file is refused instead of the process ended.
		if r := recover(); r != nil {
			project, err = nil, fmt.Errorf("compose-go cannot read it: %v", r)
		}
	}()
	model, err := transform.Canonical(plain, false)
	if err != nil {
		return nil, err
	}
	if model, err = transform.SetDefaultValues(model); err != nil {
		return nil, err
	}
	options := &loader.Options{
		SkipConsistencyCheck:   true, // Compile checks with lines
		SkipResolveEnvironment: true,
		SkipResolveLabels:      true,
	}
	options.SetProjectName(deployment, true)
	return loader.ModelToProject(model, options, types.ConfigDetails{Environment: types.Mapping{}})
}

// load is loadProject with the problem put in its place: compose-go's errors
// name neither lines nor, often, fields, and which of several it finds first
// changes from run to run. So every service, and in a bad one every field, is
// tried alone.
func load(deployment string, tree *value, rep *report) *types.Project {
	project, err := loadProject(deployment, plainMapping(tree))
	if err == nil {
		return project
	}
	found := false
	for _, section := range []string{"networks", "volumes", "secrets", "services"} {
		for _, e := range sorted(tree.child(section)) {
			alone := nest(section, nest(e.key, e.value))
			if _, err := loadProject(deployment, plainMapping(alone)); err == nil {
				continue
			}
			found = true
			loadFields(deployment, section, e, rep)
		}
	}
	if !found {
		rep.addf(0, "", "compose-go cannot read the file")
	}
	return nil
}

// loadFields reports which fields of a service, network, volume or secret compose-go
// cannot read.
func loadFields(deployment, section string, e entry, rep *report) {
	name := section + "." + e.key
	found := false
	for _, f := range sorted(e.value) {
		alone := nest(section, nest(e.key, nest(f.key, f.value)))
		if _, err := loadProject(deployment, plainMapping(alone)); err != nil {
			found = true
			rep.addf(f.line, join(name, f.key), "%s", firstLine(err))
		}
	}
	if !found {
		rep.addf(e.line, name, "compose-go cannot read it")
	}
}

// nest is a mapping with one entry.
func nest(key string, v *value) *value {
	return &value{shape: mapping, line: v.line, entries: []entry{{key, v.line, v}}}
}

func plainMapping(v *value) map[string]any {
	m, _ := v.plain().(map[string]any)
	return m
}

// sorted are the entries of a mapping by key; none of anything else.
func sorted(v *value) []entry {
	if v == nil {
		return nil
	}
	entries := slices.Clone(v.entries)
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return entries
}

// firstLine is the part of compose-go's error that names what is wrong.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
