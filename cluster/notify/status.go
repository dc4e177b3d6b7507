package notify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// status is what the forge is told of a commit.
type status struct {
	unit        string // a deployment, or another unit; "" for the commit as such
	revision    string // the whole id
	state       state
	description string
}

// state is a commit status in our words; each forge has its own for the last
// two.
type state string

const (
	statePending  state = "pending"
	stateSuccess  state = "success"
	stateFailure  state = "failure"
	stateReplaced state = "replaced" // a later revision came before this one ran
)

// statusPrefix begins the subject of every status: "status/<unit>/<revision>".
const statusPrefix = "status/"

// statuses are the facts for the forge, one a deployment and revision, sorted by
// subject.
func statuses(in input) []fact {
	var facts []fact
	add := func(unit, revision string, s state, detail, description string) *fact {
		if revision == "" {
			return nil
		}
		facts = append(facts, fact{
			subject: statusPrefix + unit + "/" + revision, value: strings.TrimSpace(string(s) + " " + detail), fine: s == stateSuccess,
			status: status{unit: unit, revision: revision, state: s, description: description},
		})
		return &facts[len(facts)-1]
	}
	switch r := refusal(in.status); {
	case r == nil:
	case in.status.Sync.Accepted == r.Head:
		add("", badCommit(r), stateSuccess, "", "accepted")
	default:
		add("", badCommit(r), stateFailure, r.Code, fmt.Sprintf("refused (%s): %s", r.Code, r.Reason))
	}
	waiting := map[string]string{}
	for _, p := range in.status.Sync.Pending {
		waiting[p.Deployment] = p.Revision
		if f := add(p.Deployment, p.Revision, statePending, "approval "+in.waiting(p), "awaits approval: "+approval(p)); f != nil {
			f.follows = true
		}
	}
	if invalid := in.status.Sync.Invalid; invalid != nil {
		add(signing.ClusterUnit, invalid.Revision, stateFailure, "invalid", invalid.Reason)
	}
	for _, d := range in.status.Deployments {
		invalid := invalidOf(in.view, d.Name)
		if invalid != nil {
			add(d.Name, invalid.Revision.String(), stateFailure, "invalid", invalid.Reason)
		}
		if d.Target == waiting[d.Name] || invalid != nil && d.Target == invalid.Revision.String() {
			continue
		}
		switch {
		case converged(&d):
			add(d.Name, d.Target, stateSuccess, "", "runs whole and healthy")
		case unwell(&d):
			if f := add(d.Name, d.Target, stateFailure, "degraded", "degraded: "+d.Reason); f != nil {
				f.settle = settle
			}
		case d.Revision == d.Target: // it ran, and mends by itself
			if f := add(d.Name, d.Target, stateSuccess, "", ""); f != nil {
				f.hold = true
			}
		default:
			description := "is being deployed"
			if d.Health == cluster.HealthProgressing && d.Reason != "" {
				description += ": " + d.Reason
			}
			add(d.Name, d.Target, statePending, "", description)
		}
	}
	slices.SortFunc(facts, func(a, b fact) int { return strings.Compare(a.subject, b.subject) })
	return facts
}

// unitOf is what a status is about, by its subject: "status/<unit>/".
func unitOf(subject string) string { return subject[:strings.LastIndexByte(subject, '/')+1] }

// replaced is the last word on a status that was left pending, nil for any other
// subject: no revision that is still wanted has it.
func replaced(subject, value string) *fact {
	rest, isStatus := strings.CutPrefix(subject, statusPrefix)
	unit, revision, whole := strings.Cut(rest, "/")
	if !isStatus || !whole || !strings.HasPrefix(value, string(statePending)) {
		return nil
	}
	return &fact{subject: subject, value: string(stateReplaced), status: status{
		unit: unit, revision: revision, state: stateReplaced, description: "replaced by a later revision before it ran",
	}}
}
