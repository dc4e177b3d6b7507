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
		if last {
			s.held -= len(from)
		}
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
// every path in its tree, the trust files excepted, which are pinned. Where
// require_target is set, it takes the same as for a change of each.
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
		if s.judge.trust.RequireTarget {
			s.untargeted = append(s.untargeted, newChange{commit: s.commit.ID, change: change})
		}
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
	results := make(map[string]unitState, len(names))
	var approved []string
	for _, name := range names {
		state, moved, err := s.judgeUnit(name, trust)
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

// revisit judges the units that wait at the accepted commit again when tags
// are offered: one that came later is an advance of its own.
func (j *judge) revisit() error {
	waiting := slices.ContainsFunc(slices.Collect(maps.Values(j.units)), func(u unitState) bool { return len(u.vouched) > 0 })
	if j.anchor || !waiting || len(j.tags.ids) == 0 {
		return nil
	}
	c, err := j.history.commit(j.commit)
	if err != nil {
		return err
	}
	s := &step{judge: j, commit: c, surface: j.surface, vouches: make(map[Hash]vouches), revisit: true}
	return s.settle()
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
	for _, id := range s.counted {
		j.counted[id] = true
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
	for name, state := range j.units {
		again := j.anchor // everything counts as changed
		if len(state.vouched) > 0 && !again {
			var err error
			if again, err = s.offered(name); err != nil {
				return nil, err
			}
		}
		if again {
			names[name] = true
		}
	}
	if j.surface[surfaceCluster] != s.surface[surfaceCluster] {
		names[ClusterUnit] = true
	}
	if len(s.commit.Parents) > 1 && !s.revisit {
		if err := j.history.differingFolders(j.surface, s.surface, names); err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// offered reports whether the step brings something that could approve a unit
// that waits: another policy, or an approval. Approvals of commits that came
// before were looked at when these came.
func (s *step) offered(unit string) (bool, error) {
	if s.trust != nil || s.revisit ||
		slices.ContainsFunc(s.claims, func(c claim) bool { return inScope(c.unit, unit) }) ||
		slices.ContainsFunc(s.mergeTags, func(o *tagOffer) bool { return inScope(o.scope, unit) }) {
		return true, nil
	}
	return s.judge.tags.nameAny(s.judge.history, unit, s.members)
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
