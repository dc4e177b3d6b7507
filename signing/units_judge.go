package signing

import "slices"

// difference is one path of a unit that differs from the approved content, with
// who approves its present content.
type difference struct {
	path    string
	now     version
	signers []Approval
}

// judgeUnit works out the state of a unit at the chain's commit, and whether
// its approved revision moves there.
func (s *step) judgeUnit(name string, trust *Trust) (unitState, bool, error) {
	state := s.judge.units[name]
	here, err := s.judge.history.unitVersion(s.surface, name)
	if err != nil {
		return state, false, err
	}
	since := state.since
	if since.IsZero() || state.waits != here.id {
		since = s.commit.ID
	}
	differing, err := s.differences(name, state, here)
	if err != nil {
		return state, false, err
	}
	if len(differing) == 0 { // nothing differs, or nothing but empty folders
		state.vouched, state.since, state.waits = nil, Hash{}, Hash{}
		return state, false, nil
	}
	if err := s.approveWhole(name, trust, here, since, differing); err != nil {
		return state, false, err
	}
	approved := unitState{revision: s.commit.ID, tree: here.id, at: s.judge.opts.Now.UTC()}
	waiting := false
	for _, d := range differing {
		good := trust.counting(d.path, d.signers)
		waiting = waiting || len(signerNames(good)) < trust.needed(d.path)
		approved.signers = append(approved.signers, good...)
		approved.addGround(d.path, signerNames(good))
	}
	if !waiting {
		approved.signers = distinct(approved.signers)
		approved.keepGrounds(state, differing)
		return approved, true, nil
	}
	state.vouched = make(map[string]vouch, len(differing))
	for _, d := range differing {
		state.vouched[d.path] = vouch{content: d.now, signers: oneOfEach(d.signers)}
	}
	state.since, state.waits = since, here.id
	return state, false, nil
}

// differences lists the paths that differ from the approved content, with
// those who signed that content of them or approved the unit earlier.
func (s *step) differences(name string, state unitState, here version) ([]difference, error) {
	var all []difference
	err := s.judge.history.eachDifference(name, state.tree, here, func(path string, now version) error {
		if !now.id.IsZero() && !isFile(now.mode) {
			return refuse(ReasonMalformed, "%s has the mode %o: only plain files can be deployed", path, now.mode)
		}
		d := difference{path: path, now: now}
		if before := state.vouched[path]; before.content == now {
			for _, a := range before.signers {
				if a.Tree.IsZero() || a.Tree == wholeUnit(here) {
					d.signers = append(d.signers, a)
				}
			}
		}
		d.signers = append(d.signers, s.vouches[s.commit.ID].of(path, now)...)
		if s.first != nil {
			d.signers = append(d.signers, *s.first)
		}
		d.signers = oneOfEach(d.signers)
		all = append(all, d)
		return nil
	})
	return all, err
}

// approveWhole adds the approvals of the whole unit: trailers, and those tags
// that somebody who counts has not given already.
func (s *step) approveWhole(name string, trust *Trust, here version, since Hash, differing []difference) error {
	j := s.judge
	claims := slices.DeleteFunc(slices.Clone(s.claims), func(c claim) bool { return !inScope(c.unit, name) })
	tags, err := j.tags.forUnit(j.history, name)
	if err != nil {
		return err
	}
	offers := slices.Concat(tags, s.mergeTags)
	offers = slices.DeleteFunc(offers, func(o *tagOffer) bool { return !inScope(o.scope, name) })
	if len(claims) == 0 && len(offers) == 0 {
		return nil
	}
	covered, err := j.newCover(name, here, since, s.commit.ID)
	if err != nil {
		return err
	}
	add := func(who Approval) {
		who.Tree = wholeUnit(here)
		for i := range differing {
			differing[i].signers = oneOfEach(append(differing[i].signers, who))
		}
	}
	for _, c := range claims {
		counts, err := covered.holds(c.named)
		if err != nil {
			return err
		}
		if counts {
			add(c.who)
		}
	}
	for _, o := range offers {
		counts, err := covered.holds(o.tag.Object)
		if err != nil {
			return err
		}
		if !counts {
			continue
		}
		who, valid := o.signer(j, trust)
		if valid && trust.adds(who, differing) {
			add(who)
			s.count(o)
		}
	}
	return nil
}

// adds reports whether the approval is the first of its signer that counts for
// one of the paths.
func (t *Trust) adds(who Approval, differing []difference) bool {
	return slices.ContainsFunc(differing, func(d difference) bool {
		return t.mayApprove(d.path, who.Signer) &&
			!slices.Contains(signerNames(t.counting(d.path, d.signers)), who.Signer)
	})
}

// count notes that an offered tag counted.
func (s *step) count(o *tagOffer) {
	if !o.folded {
		s.counted = append(s.counted, o.id)
	}
}

// eachDifference calls visit for every path of a unit whose content differs
// from the approved one.
func (h *history) eachDifference(unit string, approved Hash, here version, visit func(path string, now version) error) error {
	at := place{path: clusterFile, versions: []version{here, {mode: here.mode, id: approved}}}
	if unit != ClusterUnit {
		at.path, at.tree = deployDir+"/"+unit, true
	}
	if here.id == approved {
		return nil
	}
	c := comparison{read: h.tree, settled: same}
	return c.walk([]place{at}, func(path string, versions []version) error { return visit(path, versions[0]) })
}

// counting returns those of the approvals that count for the path.
func (t *Trust) counting(path string, approvals []Approval) []Approval {
	var good []Approval
	for _, a := range approvals {
		if t.stands(a) && t.mayApprove(path, a.Signer) {
			good = append(good, a)
		}
	}
	return good
}

// signerNames names who gave the approvals, each once, sorted: somebody with
// many keys is one person.
func signerNames(approvals []Approval) []string {
	names := make([]string, len(approvals))
	for i, a := range approvals {
		names[i] = a.Signer
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// maxGroundPaths bounds the paths that a unit remembers for judging it again.
const maxGroundPaths = 100

// addGround remembers whose approvals a path was approved by.
func (u *unitState) addGround(path string, signers []string) {
	total := 0
	for _, g := range u.grounds {
		total += len(g.Paths)
	}
	if total == maxGroundPaths {
		return
	}
	for i, g := range u.grounds {
		if slices.Equal(g.Signers, signers) {
			u.grounds[i].Paths = append(u.grounds[i].Paths, path)
			return
		}
	}
	u.grounds = append(u.grounds, Ground{Paths: []string{path}, Signers: signers})
}

// keepGrounds takes over what the paths rest on that have not changed since an
// earlier revision: who approved them is not forgotten because others approved
// something else.
func (u *unitState) keepGrounds(before unitState, differing []difference) {
	changed := make(map[string]bool, len(differing))
	for _, d := range differing {
		changed[d.path] = true
	}
	total := 0
	for _, g := range u.grounds {
		total += len(g.Paths)
	}
	for _, g := range before.grounds {
		var paths []string
		for _, path := range g.Paths {
			if !changed[path] && total < maxGroundPaths {
				paths = append(paths, path)
				total++
			}
		}
		if len(paths) == 0 {
			continue
		}
		if len(g.Approvals) == 0 {
			g.Approvals, g.At = approvalsOf(before.signers, g.Signers), before.at
		}
		g.Paths = paths
		u.grounds = append(u.grounds, g)
	}
}

// approvalsOf picks the approvals that some people gave.
func approvalsOf(approvals []Approval, names []string) []Approval {
	return slices.DeleteFunc(slices.Clone(approvals), func(a Approval) bool { return !slices.Contains(names, a.Signer) })
}
