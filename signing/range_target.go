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
		tagged, err := s.targetedByTag(n.change)
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
// commit of the step for its unit.
func (s *step) targetedByTag(c change) (bool, error) {
	j := s.judge
	unit := c.unit
	if c.area == areaTrust {
		unit = TrustUnit
	}
	offers, err := j.tags.forUnit(j.history, unit)
	if err != nil {
		return false, err
	}
	for _, o := range sortOffers(slices.Concat(offers, s.mergeTags)) {
		if !inScope(o.scope, unit) || !slices.Contains(s.members, o.tag.Object) {
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
