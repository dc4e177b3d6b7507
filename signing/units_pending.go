package signing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// pending lists the units that wait at the position reached. It depends on the
// position, its trust and the time alone.
func (j *judge) pending() []Pending {
	var list []Pending
	for _, name := range slices.Sorted(maps.Keys(j.units)) {
		if p, waits := j.pendingUnit(name, j.units[name]); waits {
			list = append(list, p)
		}
	}
	return list
}

// pendingUnit describes one unit, if it waits.
func (j *judge) pendingUnit(name string, state unitState) (Pending, bool) {
	p := Pending{Unit: name, Revision: j.commit, Need: 1}
	have, eligible := make(map[string]bool), make(map[string]bool)
	var lone []string // waiting paths that nobody may approve
	for _, path := range slices.Sorted(maps.Keys(state.vouched)) {
		signers := state.vouched[path].signers
		if len(j.trust.counting(path, signers)) > 0 {
			continue
		}
		p.Paths = append(p.Paths, path)
		for _, a := range signers {
			have[a.Signer] = true
		}
		approvers := j.trust.approvers(path, j.opts.Now)
		if len(approvers) == 0 {
			lone = append(lone, path)
		}
		for _, a := range approvers {
			eligible[a] = true
		}
	}
	if len(p.Paths) == 0 {
		return p, false
	}
	p.Have, p.Eligible = slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(eligible))
	p.Reason = pendingReason(p, lone)
	p.Command = fmt.Sprintf(`git commit --allow-empty -S -m "Approve %s" --trailer "Approves: %s %s" && git push`,
		name, p.Revision, name)
	return p, true
}

// pendingReason is a sentence for people.
func pendingReason(p Pending, lone []string) string {
	what := p.Paths[0]
	if n := len(p.Paths) - 1; n > 0 {
		what = fmt.Sprintf("%s and %d more", what, n)
	}
	signed := "nobody who counts signed it"
	if len(p.Have) > 0 {
		signed = "signed by " + strings.Join(p.Have, ", ")
	}
	if len(lone) > 0 {
		return fmt.Sprintf("%s: %s; by trust.yaml nobody may approve %s now: root must change trust.yaml", what, signed, lone[0])
	}
	return fmt.Sprintf("%s: %s; waits for the signature of %s", what, signed, strings.Join(p.Eligible, " or "))
}
