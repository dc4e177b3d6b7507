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
	p := Pending{Unit: name, Revision: state.since}
	if p.Revision.IsZero() {
		p.Revision = j.commit
	}
	have, eligible := make(map[string]bool), make(map[string]bool)
	strictest, counted, stuck := "", 0, ""
	for _, path := range slices.Sorted(maps.Keys(state.vouched)) {
		signers := state.vouched[path].signers
		counting := signerNames(j.trust.counting(path, signers))
		need := j.trust.needed(path)
		if len(counting) >= need {
			continue
		}
		p.Paths = append(p.Paths, path)
		for _, a := range signers {
			have[a.Signer] = true
		}
		able := 0
		for _, name := range j.trust.approvers(path, j.opts.Now) {
			if !slices.Contains(counting, name) {
				eligible[name] = true
				able++
			}
		}
		if stuck == "" && len(counting)+able < need {
			stuck = path
		}
		if strictest == "" || need > p.Need || need == p.Need && len(counting) < counted {
			strictest, p.Need, counted = path, need, len(counting)
		}
	}
	if len(p.Paths) == 0 {
		return p, false
	}
	p.Have, p.Eligible = slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(eligible))
	p.Reason = pendingReason(p, strictest, counted, stuck)
	if len(p.Eligible) > 0 {
		p.Command = tagCommand(name, p.Revision, len(p.Have)+1, "Approve "+name)
	}
	return p, true
}

// pendingReason is a sentence for people.
func pendingReason(p Pending, strictest string, counted int, stuck string) string {
	what := strictest
	if n := len(p.Paths) - 1; n > 0 {
		what = fmt.Sprintf("%s and %d more", what, n)
	}
	signed := "nobody who counts signed it"
	if len(p.Have) > 0 {
		signed = "signed by " + strings.Join(p.Have, ", ")
	}
	if p.Need > 1 {
		signed += ", " + countText(counted, p.Need)
	}
	if stuck != "" {
		return fmt.Sprintf("%s: %s; by trust.yaml nobody may approve %s now: root must change trust.yaml", what, signed, stuck)
	}
	signature := "the signature"
	if lack := p.Need - counted; lack > 1 {
		signature = fmt.Sprintf("%d signatures", lack)
	}
	return fmt.Sprintf("%s: %s; waits for %s of %s", what, signed, signature, strings.Join(p.Eligible, " or "))
}

// countText says how many approvals there are of how many.
func countText(have, need int) string { return fmt.Sprintf("%d of %d approvals", have, need) }

// orNobody lists names.
func orNobody(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// tagCommand is what a signer runs to approve a commit for a unit. It leaves
// the branch alone, so that several may approve at once. N tells the tags of
// one commit apart.
func tagCommand(unit string, commit Hash, n int, message string) string {
	name := fmt.Sprintf("%s%s/%s-%d", approvePrefix, unit, commit.Short(), n)
	return fmt.Sprintf(`git fetch origin && git tag -s -m "%s" %s %s && git push origin refs/tags/%s`, message, name, commit, name)
}
