package desired

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// ownNames begins the engine's names of what a deployment does not name itself.
const ownNames = "jaco_"

// claim is a name on the engine that one deployment alone can hold.
type claim struct {
	kind string // "volume" or "network"
	name string
}

// EngineVolume is the engine's name of a named volume of a deployment.
func (d *Deployment) EngineVolume(volume string) string {
	for _, v := range d.Volumes {
		if v.Name == volume && v.Engine != "" {
			return v.Engine
		}
	}
	return ownNames + d.Name + "_" + volume
}

// EngineNetwork is the engine's name of a network of a deployment.
func (d *Deployment) EngineNetwork(network string) string {
	for _, n := range d.Networks {
		if n.Name == network && n.Engine != "" {
			return n.Engine
		}
	}
	return ownNames + d.Name + "_" + network
}

// claims are the names that the deployment gives to what it makes. Those that
// it is given are its own anyway, and what is external is there for whoever may
// use it.
func (d *Deployment) claims() map[claim]bool {
	held := map[claim]bool{}
	for _, v := range d.Volumes {
		if v.Engine != "" && !v.External {
			held[claim{"volume", v.Engine}] = true
		}
	}
	for _, n := range d.Networks {
		if n.Engine != "" && !n.External {
			held[claim{"network", n.Engine}] = true
		}
	}
	return held
}

// ClaimsNames reports whether the deployment can be in Conflicts at all.
func (d *Deployment) ClaimsNames() bool { return len(d.claims()) > 0 }

// Conflicts says which new revisions cannot become active because they claim
// the name of a volume or network that another deployment holds: the one that
// has it already, or of two new ones the first by name. Active is what every
// deployment that stays runs now, next what is to take its place. A revision
// that is refused leaves what it was to replace in its place, so that names
// which that holds stay taken.
func Conflicts(active, next map[string]*Deployment) map[string]Problems {
	refused := map[string]Problems{}
	names := slices.Sorted(maps.Keys(next))
	for range len(names) + 1 {
		settled := true
		for _, name := range names {
			if refused[name] != nil {
				continue
			}
			if problems := conflictsOf(next[name], active, next, refused); problems != nil {
				refused[name], settled = problems, false
			}
		}
		if settled {
			break
		}
	}
	return refused
}

// conflictsOf lists the names of a new revision that others hold.
func conflictsOf(d *Deployment, active, next map[string]*Deployment, refused map[string]Problems) Problems {
	var problems Problems
	own := d.claims()
	had := map[claim]bool{}
	if before := active[d.Name]; before != nil {
		had = before.claims()
	}
	others := map[string]bool{}
	for _, set := range []map[string]*Deployment{active, next} {
		for name := range set {
			others[name] = name != d.Name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		other := active[name]
		isNew := next[name] != nil && refused[name] == nil
		if isNew {
			other = next[name]
		}
		if other == nil || name == d.Name {
			continue
		}
		theirs := other.claims()
		for _, c := range sortedClaims(own) {
			if !theirs[c] || isNew && !winsOver(name, active[name], c, d.Name, had[c]) {
				continue
			}
			problems = append(problems, d.claimProblem(c, name))
		}
	}
	return problems
}

// winsOver says whether of two new revisions the other one gets a name: it has
// it now, or neither has and it comes first.
func winsOver(other string, before *Deployment, c claim, name string, had bool) bool {
	if before != nil && before.claims()[c] {
		return true
	}
	return !had && other < name
}

func sortedClaims(held map[claim]bool) []claim {
	return slices.SortedFunc(maps.Keys(held), func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
	})
}

// claimProblem is a name that another deployment holds, at the place that asks
// for it.
func (d *Deployment) claimProblem(c claim, holder string) Problem {
	p := Problem{File: "deployments/" + d.Name, Message: fmt.Sprintf(
		"refused: the %s %s belongs to deployment %s; choose another name", c.kind, quoted(c.name), holder)}
	for _, n := range d.Needs {
		if n.Privilege == c.kind+":"+c.name {
			p.File, p.Line, p.Field = n.File, n.Line, n.Field
		}
	}
	return p
}
