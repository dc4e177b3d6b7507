package signing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// hold is a trust change that waits for root's threshold, of the policy before
// it and of its own. The walk goes on behind it, by the new policy, to find the
// approvals that its commits bring; when it ends without enough of them, the
// position goes back to before the change. So a position never lies between a
// trust change and its last approval, and whoever judges the same range finds
// the same.
type hold struct {
	commit    Hash
	old, next *Trust
	paths     []string
	segment   map[Hash]bool   // the trust change and the chain's commits behind it
	byOld     map[string]bool // root signers of the old policy who signed
	byNew     map[string]bool // and of the new one
	counted   map[Hash]bool   // the tags that they signed
	saved     *judge          // the position before the change
}

// openHold begins to hold a trust change.
func (j *judge) openHold(s *step) {
	saved := *j
	saved.units, saved.approved, saved.counted = maps.Clone(j.units), maps.Clone(j.approved), maps.Clone(j.counted)
	saved.commits = slices.Clip(j.commits)
	j.hold = &hold{
		commit: s.commit.ID, old: j.trust, next: s.trust,
		segment: make(map[Hash]bool), byOld: make(map[string]bool), byNew: make(map[string]bool),
		counted: make(map[Hash]bool), saved: &saved,
	}
	if changed, err := j.history.changes([]surface{s.surface, j.surface}, same); err == nil {
		for _, c := range changed {
			j.hold.paths = append(j.hold.paths, c.path)
		}
	}
}

// collect looks for approvals of the trust change that is held in the chain's
// commit that was judged last, and ends the hold when there are enough.
func (j *judge) collect(s *step) error {
	h := j.hold
	if h == nil {
		return nil
	}
	c := s.commit
	h.segment[c.ID] = true
	if c.ID == h.commit || h.approvedBy(c) {
		h.add(j, c.Payload, c.Signature)
	}
	offers, err := j.tags.of(j.history, TrustUnit)
	if err != nil {
		return err
	}
	for _, o := range slices.Concat(offers, mergeTags(c)) {
		if o.scope == TrustUnit && (o.tag.Object == c.ID || o.folded && h.segment[o.tag.Object]) &&
			h.add(j, o.tag.Payload, o.tag.Signature) && !o.folded {
			h.counted[o.id] = true
		}
	}
	switch {
	case len(h.byOld) >= h.old.RootThreshold && len(h.byNew) >= h.next.RootThreshold:
		maps.Copy(j.counted, h.counted)
		j.hold = nil
	case len(h.segment) > j.opts.MaxStep:
		return refuse(ReasonTrustPending, "no approval in the %d commits behind it", j.opts.MaxStep)
	}
	return nil
}

// approvedBy reports whether a commit behind the trust change carries a trailer
// that approves it. The policy is the same in all of them.
func (h *hold) approvedBy(c *Commit) bool {
	return slices.ContainsFunc(claimsOf(c, Approval{}, maxClaims), func(found claim) bool {
		return found.unit == TrustUnit && found.named != c.ID && h.segment[found.named]
	})
}

// add counts a signature by both policies. It reports whether it added one.
func (h *hold) add(j *judge, payload, signature []byte) bool {
	added := false
	for _, by := range []struct {
		trust *Trust
		have  map[string]bool
	}{{h.old, h.byOld}, {h.next, h.byNew}} {
		who, err := by.trust.signature(payload, signature, j.opts.Now)
		if err == nil && by.trust.isRoot(who.Signer) && !by.have[who.Signer] {
			by.have[who.Signer], added = true, true
		}
	}
	return added
}

// rollBack takes back a trust change that is not approved, with all behind it,
// and says what it waits for.
func (j *judge) rollBack() error {
	h := j.hold
	j.signatures.forget()
	signatures, sides := j.signatures, j.sides
	*j = *h.saved
	j.signatures, j.sides = signatures, sides
	j.awaits = h.pending(j)
	return &refusalError{commit: h.commit, reason: ReasonTrustPending, detail: j.awaits.Reason}
}

// pending says who has to approve the trust change.
func (h *hold) pending(j *judge) *Pending {
	now := j.opts.Now
	have := maps.Clone(h.byOld)
	maps.Copy(have, h.byNew)
	p := &Pending{
		Unit: TrustUnit, Revision: h.commit, Have: slices.Sorted(maps.Keys(have)),
		Need: max(h.old.RootThreshold, h.next.RootThreshold), Paths: h.paths,
	}
	eligible := make(map[string]bool)
	var lacks []string
	for _, by := range []struct {
		name  string
		trust *Trust
		have  map[string]bool
	}{{"the trust.yaml before it", h.old, h.byOld}, {"the new one", h.next, h.byNew}} {
		if len(by.have) >= by.trust.RootThreshold {
			continue
		}
		lacks = append(lacks, fmt.Sprintf("%d of %d by %s", len(by.have), by.trust.RootThreshold, by.name))
		for _, name := range by.trust.usableRoot(now) {
			if !by.have[name] {
				eligible[name] = true
			}
		}
	}
	p.Eligible = slices.Sorted(maps.Keys(eligible))
	p.Reason = fmt.Sprintf("trust change %s (version %d) awaits root signatures: %s; has %s, waits for %s",
		h.commit.Short(), h.next.Version, strings.Join(lacks, ", "), orNobody(p.Have), orNobody(p.Eligible))
	p.Command = tagCommand(TrustUnit, h.commit, len(have)+1, fmt.Sprintf("Approve trust.yaml version %d", h.next.Version))
	return p
}
