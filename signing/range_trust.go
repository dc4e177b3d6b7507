package signing

import "strings"

// changeTrust judges a change of trust.yaml or keys/: alone in its commit, by a
// root signer, one version on. Whether enough of root approve it, hold says.
func (s *step) changeTrust(who Approval) error {
	j := s.judge
	if j.hold != nil {
		return refuse(ReasonTrust, "the trust change before it is not approved yet")
	}
	if len(s.commit.Parents) != 1 {
		return refuse(ReasonTrust, "a merge changes trust.yaml or keys/ by itself; they change alone in a commit of their own")
	}
	parent, err := j.history.commit(j.commit)
	if err != nil {
		return err
	}
	before, err := j.history.tree(parent.Tree)
	if err != nil {
		return err
	}
	if name := otherChange(before, s.root); name != "" {
		return refuse(ReasonTrust, "it changes %q too: trust.yaml and keys/ change alone in their commit", name)
	}
	if !j.trust.isRoot(who.Signer) {
		return refuse(ReasonTrust, "%s is not root: trust.yaml and keys/ are changed by %s only",
			who.Signer, strings.Join(j.trust.Root, ", "))
	}
	next, err := j.nextTrust(s.commit)
	if err != nil {
		return err
	}
	if next.Version != j.trust.Version+1 {
		return refuse(ReasonTrust, "trust.yaml: version is %d, want %d: one more than before", next.Version, j.trust.Version+1)
	}
	if able := next.usableRoot(j.opts.Now); len(able) < next.RootThreshold {
		return refuse(ReasonTrust, "by the new trust.yaml %d root signers can sign, and it takes %d: it would never change again. "+
			"Nobody locks the door behind himself", len(able), next.RootThreshold)
	}
	s.trust = next
	return nil
}

// nextTrust loads the policy of a commit that changes it.
func (j *judge) nextTrust(c *Commit) (*Trust, error) {
	next, err := loadTrust(j.history.src, c.Tree)
	if err == nil {
		return next, nil
	}
	if isSourceError(err) || isVerdictOnBytes(err) {
		return nil, err
	}
	return nil, refuse(ReasonTrust, "%v", err)
}

// otherChange names an entry of the root tree besides trust.yaml and keys that
// differs; "" when none does.
func otherChange(before, after []TreeEntry) string {
	lists := [][]TreeEntry{before, after}
	for {
		next := lowest(lists)
		if next == nil {
			return ""
		}
		entry := *next
		var held [2]version
		for i, list := range lists {
			if len(list) > 0 && compareEntries(list[0], entry) == 0 {
				held[i] = version{mode: list[0].Mode, id: list[0].ID}
				lists[i] = list[1:]
			}
		}
		if held[0] != held[1] && entry.Name != trustFile && entry.Name != keysDir {
			return entry.Name
		}
	}
}
