package desired

import (
	"reflect"
	"slices"
	"strings"
)

// ChangeKind is what happens to a service between two revisions.
type ChangeKind string

// The kinds of changes, in the order in which they are listed.
const (
	Added         ChangeKind = "added"
	Removed       ChangeKind = "removed"
	Replaced      ChangeKind = "replaced"       // its replicas are replaced
	Scaled        ChangeKind = "scaled"         // mode or number of replicas
	Moved         ChangeKind = "moved"          // placement
	UpdatedPolicy ChangeKind = "updated-policy" // update, restart or depends_on
)

// Change is one difference of one service. A service can have several.
type Change struct {
	Service string
	Kind    ChangeKind
	// Fields are the fields that differ ("image", "environment.LOG_LEVEL"),
	// without values, which may be secret. Sorted.
	Fields []string
}

// Diff lists what changes for each service, sorted by service and kind. Nil
// stands for a deployment that is not there.
func Diff(old, new *Deployment) []Change {
	if old == nil {
		old = &Deployment{}
	}
	if new == nil {
		new = &Deployment{}
	}
	names := map[string]bool{}
	for _, d := range []*Deployment{old, new} {
		for _, s := range d.Services {
			names[s.Name] = true
		}
	}
	var out []Change
	for _, name := range sortedKeys(names) {
		switch a, b := old.Service(name), new.Service(name); {
		case a == nil:
			out = append(out, Change{Service: name, Kind: Added})
		case b == nil:
			out = append(out, Change{Service: name, Kind: Removed})
		default:
			out = append(out, diffService(old, new, a, b)...)
		}
	}
	return out
}

func diffService(old, new *Deployment, a, b *Service) []Change {
	var out []Change
	add := func(kind ChangeKind, fields []string) {
		if len(fields) > 0 {
			slices.Sort(fields)
			out = append(out, Change{a.Name, kind, fields})
		}
	}
	add(Replaced, replacedFields(old, new, a, b))
	add(Scaled, differing("", map[string][2]any{
		"mode":     {a.Mode, b.Mode},
		"replicas": {a.Replicas, b.Replicas},
	}))
	add(Moved, differing("placement.", map[string][2]any{
		"strategy":              {a.Placement.Strategy, b.Placement.Strategy},
		"hosts":                 {a.Placement.Hosts, b.Placement.Hosts},
		"constraints":           {a.Placement.Constraints, b.Placement.Constraints},
		"max_replicas_per_node": {a.Placement.MaxReplicasPerNode, b.Placement.MaxReplicasPerNode},
	}))
	add(UpdatedPolicy, differing("", map[string][2]any{
		"update_config":  {a.Update, b.Update},
		"restart_policy": {a.Restart, b.Restart},
		"depends_on":     {a.DependsOn, b.DependsOn},
	}))
	return out
}

// differing names the pairs that are not equal; empty and nil lists are.
func differing(prefix string, pairs map[string][2]any) []string {
	var out []string
	for name, pair := range pairs {
		a, b := reflect.ValueOf(pair[0]), reflect.ValueOf(pair[1])
		if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
			continue
		}
		if !reflect.DeepEqual(pair[0], pair[1]) {
			out = append(out, prefix+name)
		}
	}
	return out
}

// replacedFields names what differs between the specs of two services, down to
// the single variable or label.
func replacedFields(old, new *Deployment, a, b *Service) []string {
	var out []string
	for _, name := range changedFields(specFields(old, &a.Container), specFields(new, &b.Container)) {
		switch name {
		case "environment":
			out = append(out, differingKeys(name, a.Container.Environment, b.Container.Environment)...)
		case "labels":
			out = append(out, differingKeys(name, a.Container.Labels, b.Container.Labels)...)
		case "secrets":
			out = append(out, differingKeys(name, secretsByName(&a.Container), secretsByName(&b.Container))...)
		case "secret_environment":
			out = append(out, differingKeys("env_file", envFilesByPath(&a.Container), envFilesByPath(&b.Container))...)
		default:
			out = append(out, strings.TrimSuffix(name, "_definitions"))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func differingKeys(prefix string, a, b map[string]string) []string {
	var out []string
	for _, m := range []map[string]string{a, b} {
		for key := range m {
			va, inA := a[key]
			vb, inB := b[key]
			if name := prefix + "." + key; (inA != inB || va != vb) && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}
