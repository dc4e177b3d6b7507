package cluster

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/jaco-sh/jaco/signing"
)

// noteMoved takes down that a node's operator moved its pin.
func (v *bundleVerifier) noteMoved(event Event) {
	if v.moved[event.Revision] == nil {
		v.moved[event.Revision] = new(set)
	}
	v.moved[event.Revision].add(event.Node)
}

// judgeMoved judges a claim that does not follow from the position from where
// operators moved the pins of their nodes. No signature bears that out, so that
// it counts only where the caller names the commit, or where no root is checked
// anyhow. It returns nil when nothing leads to the claim, and says what is wrong
// when the caller does not trust what does.
func (v *bundleVerifier) judgeMoved(at signing.Position, claim Claim, problem string) (verdict *signing.Verdict, untrusted string) {
	byID := func(a, b signing.Hash) int { return bytes.Compare(a[:], b[:]) }
	for _, to := range slices.SortedFunc(maps.Keys(v.moved), byID) {
		position, _, err := signing.Reanchor(v.objects, at, to)
		if err != nil {
			continue
		}
		verdict, elsewhere := v.judge(position, claim)
		if elsewhere != "" {
			continue
		}
		nodes := v.moved[to].join()
		if v.opts.Anchor != nil && !slices.Contains(v.opts.Reanchors, to) {
			return nil, fmt.Sprintf("%s; operators (node %s) moved the pin to %s by hand, from where it holds: name that commit too if you trust it (--reanchor)",
				problem, nodes, to)
		}
		v.warn("claim %d follows from commit %s, to which operators (node %s) moved the pin by hand: no signature leads there",
			claim.Number, to, nodes)
		return verdict, ""
	}
	return nil, ""
}
