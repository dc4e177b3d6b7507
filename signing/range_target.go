package signing

import "slices"

// newChange is a change with the commit that makes it.
type newChange struct {
	commit Hash
	change change
}

// isFor reports whether a commit says that it is meant for the branch, by the
// trailer "Deploy-Target: <ref>".
func (j *judge) isFor(c *Commit) bool {
	return slices.ContainsFunc(c.Trailers("Deploy-Target"), func(ref string) bool {
		return ref == j.opts.Branch || ref == "refs/heads/"+j.opts.Branch
	})
}

// noteTarget remembers what a commit changes without saying for which branch.
// A forge says nothing: it signs whatever its pages are told.
func (s *step) noteTarget(c *Commit, changes []change, who Approval) {
	j := s.judge
	if !j.trust.RequireTarget {
		return
	}
	onChain := c.ID == s.commit.ID
	if j.isFor(c) && !j.trust.isForge(who.Signer) {
		s.targeted = s.targeted || onChain
		return
	}
	for _, change := range changes {
		s.untargeted = append(s.untargeted, newChange{commit: c.ID, change: change})
	}
}

// checkTarget refuses, where require_target is set, what nobody signed for this
// branch: a signature names no branch, so that a branch could be swapped for
// one that descends from it and was signed for something else. The trailer of
// the chain's commit speaks for all that it brings in, another for what its
// commit changes, and an approve tag for its unit.
func (s *step) checkTarget() error {
	if s.targeted {
		return nil
	}
	for _, n := range s.untargeted {
		tagged, err := s.targetedByTag(n)
		if err != nil {
			return err
		}
		if !tagged {
			return blame(n.commit, refuse(ReasonNoTarget, "it changes %s, and nobody signed that this is meant for the branch %s "+
				"(require_target in trust.yaml)", showPath(n.change.path), s.judge.opts.Branch))
		}
	}
	return nil
}

// targetedByTag reports whether somebody who may approve the change tagged a
// commit of the step for its unit: the one that makes the change, or one that
// stands on top of it. A tag says nothing of what comes after it.
func (s *step) targetedByTag(n newChange) (bool, error) {
	j, c := s.judge, n.change
	unit := c.unit
	if c.area == areaTrust {
		unit = TrustUnit
	}
	offers, err := s.targetOffers(unit)
	if err != nil {
		return false, err
	}
	for _, o := range offers {
		if !s.behind(o.tag.Object)[n.commit] {
			continue
		}
		who, valid := o.signer(j, j.trust)
		if valid && (c.area == areaTrust && j.trust.isRoot(who.Signer) || c.area != areaTrust && j.trust.mayApprove(c.path, who.Signer)) {
			s.count(o)
			return true, nil
		}
	}
	return false, nil
}

// targetOffers are the tags for a unit that name a commit of the step, in the
// order of their ids.
func (s *step) targetOffers(unit string) ([]*tagOffer, error) {
	if found, known := s.targets[unit]; known {
		return found, nil
	}
	offers, err := s.judge.tags.forUnit(s.judge.history, unit)
	if err != nil {
		return nil, err
	}
	var found []*tagOffer
	for _, o := range slices.Concat(offers, s.mergeTags) {
		if inScope(o.scope, unit) && slices.Contains(s.members, o.tag.Object) {
			found = append(found, o)
		}
	}
	if s.targets == nil {
		s.targets = make(map[string][]*tagOffer)
	}
	s.targets[unit] = sortOffers(found)
	return found, nil
}

// behind returns those of the step's commits that one of them stands on, itself
// included.
func (s *step) behind(id Hash) map[Hash]bool {
	if found, known := s.below[id]; known {
		return found
	}
	inside := make(map[Hash]bool, len(s.members))
	for _, member := range s.members {
		inside[member] = true
	}
	found := make(map[Hash]bool)
	for stack := []Hash{id}; len(stack) > 0; {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if inside[at] && !found[at] {
			found[at] = true
			stack = append(stack, s.judge.history.nodes[at].parents...)
		}
	}
	if s.below == nil {
		s.below = make(map[Hash]map[Hash]bool)
	}
	s.below[id] = found
	return found
}
