package signing

import (
	"maps"
	"slices"
	"strings"
)

// inherit returns who vouches for what at a commit before its own changes: the
// vouches of its parents within the step. What lies outside the step adds
// nothing but, at the chain's commit, the waiting units of the position.
func (s *step) inherit(c *Commit) vouches {
	var held vouches
	for _, parent := range distinctParents(c.Parents) {
		from, inside := s.vouches[parent]
		if !inside {
			continue
		}
		s.children[parent]--
		last := s.children[parent] == 0
		switch {
		case held == nil && last:
			held = from
		case held == nil:
			held = from.clone()
		default:
			for path, list := range from {
				held.add(path, list)
			}
		}
		if last {
			delete(s.vouches, parent)
		}
	}
	if held == nil {
		held = vouches{}
	}
	return held
}

// distinctParents drops parents that stand twice.
func distinctParents(parents []Hash) []Hash {
	var once []Hash
	for _, parent := range parents {
		if !slices.Contains(once, parent) {
			once = append(once, parent)
		}
	}
	return once
}

// vouchForAll makes the signer of the anchor's first descendant vouch for
// every path in its tree, the trust files excepted, which are pinned.
func (s *step) vouchForAll(held vouches, who Approval) error {
	all, err := s.judge.history.changes([]surface{s.surface, {}}, same)
	if err != nil {
		return err
	}
	for _, change := range all {
		if change.area == areaTrust {
			continue
		}
		if err := s.trustAfter().checkChange(change); err != nil {
			return err
		}
		held.add(change.path, []vouch{{content: change.now, signers: []Approval{who}}})
	}
	return nil
}

// settle judges the units at the chain's commit and, when nothing is wrong
// with them, moves the position there. Units are judged by the policy in force
// after the commit: what a trust change allows need not wait for a next commit.
func (s *step) settle() error {
	trust := s.trustAfter()
	names, err := s.touched()
	if err != nil {
		return err
	}
	byUnit, err := s.claimed()
	if err != nil {
		return err
	}
	results := make(map[string]unitState, len(names))
	var approved []string
	for _, name := range names {
		state, moved, err := s.judgeUnit(name, trust, byUnit[name])
		if err != nil {
			return err
		}
		results[name] = state
		if moved {
			approved = append(approved, name)
		}
	}
	s.apply(trust, results, approved)
	return nil
}

// trustAfter is the policy in force behind the step.
func (s *step) trustAfter() *Trust {
	if s.trust != nil {
		return s.trust
	}
	return s.judge.trust
}

// apply moves the position. Nothing can fail any more.
func (s *step) apply(trust *Trust, results map[string]unitState, approved []string) {
	j := s.judge
	for name, state := range results {
		if state.tree.IsZero() && len(state.vouched) == 0 {
			delete(j.units, name)
		} else {
			j.units[name] = state
		}
	}
	for _, name := range approved {
		j.approved[name] = true
	}
	if trust != j.trust {
		j.trust = trust
		j.signatures.forget()
	}
	j.commits = append(j.commits, s.commits...)
	j.commit, j.surface, j.anchor = s.commit.ID, s.surface, false
}

// touched names the units that the step may have changed, sorted: their
// content, who vouches for it, or the rules for what waits.
func (s *step) touched() ([]string, error) {
	j := s.judge
	names := make(map[string]bool)
	for path := range s.vouches[s.commit.ID] {
		if _, unit := areaOf(path); unit != "" {
			names[unit] = true
		}
	}
	for _, c := range s.claims {
		names[c.unit] = true
	}
	for name, state := range j.units {
		if s.trust != nil && len(state.vouched) > 0 {
			names[name] = true
		}
	}
	if j.surface[surfaceCluster] != s.surface[surfaceCluster] {
		names[ClusterUnit] = true
	}
	if len(s.commit.Parents) > 1 {
		if err := j.history.differingFolders(j.surface, s.surface, names); err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// differingFolders adds the names of the folders below deployments/ whose
// content differs. Of a merge, content can come from accepted commits too,
// for which nobody of the step vouches.
func (h *history) differingFolders(before, after surface, names map[string]bool) error {
	lists := make([][]TreeEntry, 2)
	for i, s := range []surface{before, after} {
		var err error
		if lists[i], err = h.folders(s); err != nil {
			return err
		}
	}
	c := comparison{read: h.tree, settled: same}
	pairs, err := c.merge(place{path: deployDir, tree: true}, lists)
	for _, pair := range pairs {
		if pair.tree {
			names[strings.TrimPrefix(pair.path, deployDir+"/")] = true
		}
	}
	return err
}

// folders returns the entries of deployments/.
func (h *history) folders(s surface) ([]TreeEntry, error) {
	if s[surfaceDeploy].mode != ModeTree {
		return nil, nil
	}
	return h.tree(s[surfaceDeploy].id)
}

// unitVersion returns what a surface holds of a unit: a folder's tree or
// cluster.yaml; zero when it is absent.
func (h *history) unitVersion(s surface, unit string) (version, error) {
	if unit == ClusterUnit {
		return s[surfaceCluster], nil
	}
	entries, err := h.folders(s)
	if err != nil {
		return version{}, err
	}
	for _, entry := range entries {
		if entry.Name == unit && entry.Mode == ModeTree {
			return version{mode: entry.Mode, id: entry.ID}, nil
		}
	}
	return version{}, nil
}

// judgeUnit works out the state of a unit at the chain's commit, and whether
// its approved revision moves there.
func (s *step) judgeUnit(name string, trust *Trust, claims []Approval) (unitState, bool, error) {
	j := s.judge
	state := j.units[name]
	here, err := j.history.unitVersion(s.surface, name)
	if err != nil {
		return state, false, err
	}
	vouched := make(map[string]vouch)
	var counted []Approval
	waiting := false
	err = j.history.eachDifference(name, state.tree, here, func(path string, now version) error {
		if !now.id.IsZero() && !isFile(now.mode) {
			return refuse(ReasonMalformed, "%s has the mode %o: only plain files can be deployed", path, now.mode)
		}
		var signers []Approval
		if before := state.vouched[path]; before.content == now {
			for _, a := range before.signers {
				if a.Tree.IsZero() || a.Tree == wholeUnit(here) {
					signers = append(signers, a)
				}
			}
		}
		signers = append(signers, s.vouches[s.commit.ID].of(path, now)...)
		signers = oneOfEach(append(signers, claims...))
		vouched[path] = vouch{content: now, signers: signers}
		good := trust.counting(path, signers)
		counted = append(counted, good...)
		waiting = waiting || len(good) == 0
		return nil
	})
	switch {
	case err != nil:
		return state, false, err
	case waiting:
		state.vouched = vouched
		return state, false, nil
	case len(vouched) == 0: // nothing differs, or nothing but empty folders
		state.vouched = nil
		return state, false, nil
	}
	return unitState{revision: s.commit.ID, tree: here.id, signers: distinct(counted)}, true, nil
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
