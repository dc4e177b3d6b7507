package signing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// randomHistory grows a repository: commits on the branch and on sides, merges
// clean and not, approvals, trust changes, bad signatures. Its clocks may run
// backwards. It returns the branch's first-parent chain, the anchor first.
func randomHistory(t *rapid.T, r *testRepo, anchor Hash, honest bool) []Hash {
	return world{
		signers: []string{"alice", "alice", "bob", "bob", "carol", "ci"},
		roots:   []string{"alice"},
		policy: func(version int, other bool) string {
			if text := r.trustText(version); other {
				return strings.Replace(text, "signers: [bob]", "signers: [carol]", 1)
			}
			return r.trustText(version)
		},
	}.grow(t, r, anchor, honest)
}

// world is who acts in a random history.
type world struct {
	signers  []string
	forges   []string // sign merges too
	roots    []string // sign trust changes
	trailers []string // may stand in messages
	policy   func(version int, other bool) string
}

// grow is randomHistory in the world.
func (w world) grow(t *rapid.T, r *testRepo, anchor Hash, honest bool) []Hash {
	chain := []Hash{anchor}
	all := []Hash{anchor}
	version := 1
	signers := slices.Clone(w.signers)
	if !honest {
		signers = append(signers, "carol-laptop", "mallory", "dave", "")
	}
	paths := []string{
		"deployments/shop/compose.yaml", "deployments/shop/images.env", "deployments/blog/compose.yaml",
		"deployments/blog/sub/file", "cluster.yaml", "README.md",
	}
	if !honest {
		paths = append(paths, "deployments/README.md", "keys/new.pub", "deployments/shop")
	}
	who := func() string { return rapid.SampledFrom(signers).Draw(t, "signer") }
	change := func() edits {
		e := edits{}
		for _, path := range rapid.SliceOfN(rapid.SampledFrom(paths), 0, 2).Draw(t, "paths") {
			e[path] = rapid.SampledFrom([]string{"1", "2", "3", gone}).Draw(t, "content")
		}
		return e
	}
	frozen := rapid.Bool().Draw(t, "all in one second")
	date := func() int64 {
		if !frozen {
			r.clock++
		}
		if honest {
			return r.clock
		}
		return r.clock + int64(rapid.IntRange(-5, 5).Draw(t, "skew"))
	}
	add := func(id Hash, onChain bool) {
		all = append(all, id)
		if onChain {
			chain = append(chain, id)
		}
	}
	for i := range rapid.IntRange(4, 24).Draw(t, "commits") {
		head := chain[len(chain)-1]
		subject := fmt.Sprint("C", i)
		if len(w.trailers) > 0 {
			subject += rapid.SampledFrom(w.trailers).Draw(t, "trailer")
		}
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0, 1, 2:
			add(r.commitAt(date(), who(), subject, clean(r, head, change()), head), true)
		case 3, 4, 5:
			parent := rapid.SampledFrom(all).Draw(t, "parent")
			add(r.commitAt(date(), who(), subject, clean(r, parent, change()), parent), false)
		case 6, 7:
			branch := head
			onChain := rapid.Bool().Draw(t, "on the branch")
			if !onChain {
				branch = rapid.SampledFrom(all).Draw(t, "branch")
			}
			side := rapid.SampledFrom(all).Draw(t, "side")
			base := rapid.SampledFrom(naiveBases(r, branch, side)).Draw(t, "base")
			e := edits{}
			for path, content := range r.files[side] {
				if r.files[base][path] != content && !strings.HasPrefix(path, "trust") {
					e[path] = content
				}
			}
			merger := rapid.SampledFrom(append(slices.Clone(signers), w.forges...)).Draw(t, "merger")
			if rapid.IntRange(0, 2).Draw(t, "evil") == 0 && !slices.Contains(w.forges, merger) {
				for path, content := range change() {
					e[path] = content
				}
			}
			add(r.commitAt(date(), merger, subject, clean(r, branch, e), branch, side), onChain)
		case 8:
			named := rapid.SampledFrom(all).Draw(t, "approved")
			add(r.commitAt(date(), who(), approves(fmt.Sprint("C", i), named, "shop", "blog", "cluster", "trust"), nil, head), true)
		case 9:
			version++
			text := w.policy(version, rapid.Bool().Draw(t, "other rules"))
			by := rapid.SampledFrom(w.roots).Draw(t, "root")
			add(r.commitAt(date(), by, subject, edits{"trust.yaml": text}, head), true)
		}
	}
	return chain
}

// clean drops edits that make a file of a folder that has others, or the other
// way round: git cannot write such trees.
func clean(r *testRepo, parent Hash, e edits) edits {
	for path := range e {
		for other := range r.files[parent] {
			if strings.HasPrefix(other, path+"/") || strings.HasPrefix(path, other+"/") {
				delete(e, path)
			}
		}
		for other := range e {
			if strings.HasPrefix(other, path+"/") {
				delete(e, path)
			}
		}
	}
	return e
}

// ancestors returns all that is reachable from a commit, itself included.
func ancestors(r *testRepo, from Hash) map[Hash]bool {
	seen := make(map[Hash]bool)
	for stack := []Hash{from}; len(stack) > 0; {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !seen[id] {
			seen[id] = true
			c, _ := ReadCommit(r, id)
			stack = append(stack, c.Parents...)
		}
	}
	return seen
}

// naiveBases are the common ancestors that no other common ancestor descends
// from.
func naiveBases(r *testRepo, a, b Hash) []Hash {
	var common []Hash
	left := ancestors(r, a)
	for id := range ancestors(r, b) {
		if left[id] {
			common = append(common, id)
		}
	}
	bases := slices.DeleteFunc(slices.Clone(common), func(id Hash) bool {
		return slices.ContainsFunc(common, func(other Hash) bool { return other != id && ancestors(r, other)[id] })
	})
	slices.SortFunc(bases, func(a, b Hash) int { return strings.Compare(string(a[:]), string(b[:])) })
	return bases
}

// TestCutsDoNotMatter judges random histories, with bad commits and clocks
// that run backwards, in one go and cut at random: the outcome is the same.
func TestCutsDoNotMatter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r, anchor := anchored(t)
		chain := randomHistory(rt, r, anchor, rapid.Bool().Draw(rt, "honest"))
		tip := chain[len(chain)-1]
		from := Position{Commit: anchor, Anchor: true}
		before := fmt.Sprint(from)
		whole := r.verify(from, tip)
		cuts := rapid.SliceOfN(rapid.Bool(), len(chain), len(chain)).Draw(rt, "cuts")
		pieces := r.verifyPiecewise(from, tip, func(i int) bool { return cuts[i] })
		if diff := cmp.Diff(whole, pieces); diff != "" {
			rt.Fatalf("in one go and in pieces differ (-one go +pieces):\n%s\n%s", diff, r.show(whole))
		}
		if again := r.verify(from, tip); !cmp.Equal(whole, again) || fmt.Sprint(from) != before {
			rt.Fatal("the same again differs, or the position was changed")
		}
		checkInvariants(rt, r, chain, whole)
	})
}

// TestTagsAnyCut does the same under thresholds, forges and every setting, with
// tags of anybody for anything: the outcome depends neither on cuts nor on the
// order of the tags, nor on those that did not count.
func TestTagsAnyCut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newTestRepo(t)
		settings := rapid.SampledFrom([]string{"", "", "merges_approve: true\n", "history: first-parent\n", "require_target: true\n"}).Draw(rt, "settings")
		w := world{
			signers: []string{"alice", "bob", "carol", "ci"}, forges: []string{"hub", "hub"}, roots: []string{"alice", "bob"},
			policy: func(version int, other bool) string {
				if other {
					return r.rootText(version, 1, "bob", "carol") + settings
				}
				return r.rootText(version, 2, "alice", "bob", "carol") + settings
			},
		}
		if settings == "require_target: true\n" {
			w.trailers = []string{"\n\nDeploy-Target: main", "\n\nDeploy-Target: main", "\n\nDeploy-Target: main", ""}
		}
		anchor := r.commit("", "Anchor", edits{"trust.yaml": w.policy(1, false), "README.md": "fleet"})
		chain := w.grow(rt, r, anchor, true)
		tip := chain[len(chain)-1]
		objects := slices.Collect(maps.Keys(r.files))
		slices.SortFunc(objects, func(a, b Hash) int { return strings.Compare(string(a[:]), string(b[:])) })
		var tags []Hash
		for i := range rapid.IntRange(0, 24).Draw(rt, "tags") {
			named := rapid.SampledFrom(chain).Draw(rt, "of the branch")
			if rapid.IntRange(0, 3).Draw(rt, "any") == 0 {
				named = rapid.SampledFrom(objects).Draw(rt, "of")
			}
			name := rapid.SampledFrom([]string{"shop", "shop", "blog", "cluster", "trust", "trust", "all", "new", "reanchor"}).Draw(rt, "unit")
			by := rapid.SampledFrom([]string{"alice", "bob", "carol", "ci", "hub", "alice-laptop", "mallory"}).Draw(rt, "by")
			tags = append(tags, r.tag(by, fmt.Sprintf("approve/%s/%d", name, i), named, "yes"))
		}
		from := Position{Commit: anchor, Anchor: true}
		whole := r.verifyTags(from, tip, tags...)
		cuts := rapid.SliceOfN(rapid.Bool(), len(chain), len(chain)).Draw(rt, "cuts")
		pieces := r.verifyPiecewise(from, tip, func(i int) bool { return cuts[i] }, tags...)
		if diff := cmp.Diff(whole, pieces); diff != "" {
			rt.Fatalf("in one go and in pieces differ (-one go +pieces):\n%s\n%s", diff, r.show(whole))
		}
		if other := r.verifyTags(from, tip, rapid.Permutation(tags).Draw(rt, "order")...); !cmp.Equal(whole, other) {
			rt.Fatalf("the order of the tags matters:\n%s", cmp.Diff(whole, other))
		}
		claimed := r.verifyTags(from, whole.Position.Commit, whole.Tags...)
		if claimed.Refusal != nil || !cmp.Equal(claimed.Position, whole.Position) || !cmp.Equal(claimed.Tags, whole.Tags) {
			rt.Fatalf("the claim alone:\n%s\nwant\n%s", r.show(claimed), r.show(whole))
		}
		if again := r.verifyTags(whole.Position, whole.Position.Commit, tags...); len(again.Tags) > 0 || !cmp.Equal(again.Position, whole.Position) {
			rt.Fatalf("the end again:\n%s", r.show(again))
		}
		checkInvariants(rt, r, chain, whole)
	})
}

// checkInvariants holds for every verdict.
func checkInvariants(t *rapid.T, r *testRepo, chain []Hash, v *Verdict) {
	at := slices.Index(chain, v.Position.Commit)
	switch {
	case at < 0:
		t.Fatalf("accepted %s, which is not on the chain", v.Position.Commit)
	case v.Refusal == nil && at != len(chain)-1:
		t.Fatal("stopped without a refusal")
	case v.Refusal != nil && v.Refusal.Chain != chain[at+1]:
		t.Fatalf("stopped at %s and refused %s", v.Position.Commit, v.Refusal.Chain)
	}
	trust, err := LoadTrust(r, v.Position.Commit)
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory(r)
	s, err := h.surface(v.Position.Commit)
	if err != nil {
		t.Fatal(err)
	}
	waits := make(map[string]bool)
	if v.Refusal == nil && slices.ContainsFunc(v.Pending, func(p Pending) bool { return p.Unit == TrustUnit }) {
		t.Fatal("a trust change waits, and nothing is refused")
	}
	for _, p := range v.Pending {
		waits[p.Unit] = true
	}
	for name, u := range v.Position.Units {
		here, err := h.unitVersion(s, name)
		if err != nil {
			t.Fatal(err)
		}
		if differs := here.id != u.Tree; differs != waits[name] || differs != (len(u.Vouched) > 0) {
			t.Fatalf("%s: content differs %v, waits %v, vouched %v", name, differs, waits[name], u.Vouched)
		}
		for _, vouch := range u.Vouched {
			if got := r.files[v.Position.Commit][vouch.Path]; vouch.Content.IsZero() != (got == "") {
				t.Fatalf("%s: vouched content is not the present one", vouch.Path)
			}
			if _, unit := areaOf(vouch.Path); unit != name {
				t.Fatalf("%s in unit %s", vouch.Path, name)
			}
		}
		if u.Revision.IsZero() != (len(u.Signers) == 0) {
			t.Fatalf("%s: approved without a signer: %+v", name, u)
		}
		if u.Since.IsZero() == (len(u.Vouched) > 0) {
			t.Fatalf("%s: since %s, vouched %v", name, u.Since, u.Vouched)
		}
		for _, a := range u.Signers {
			if trust.signer(a.Signer) == nil || trust.isForge(a.Signer) {
				t.Fatalf("%s: approved by %s, who is no signer", name, a.Signer)
			}
		}
	}
}

// TestReachIsExact compares the walks, which look at as little history as they
// can, with their definitions.
func TestReachIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r, anchor := anchored(t)
		chain := randomHistory(rt, r, anchor, true)
		h := newHistory(r)
		for i, id := range chain[1:] {
			c, _ := ReadCommit(r, id)
			if len(c.Parents) < 2 {
				continue
			}
			found, err := h.newCommits(id, 1000)
			if err != nil {
				rt.Fatal(err)
			}
			old, all := ancestors(r, chain[i]), ancestors(r, id)
			for at, commit := range found {
				if old[commit] || !all[commit] || commit == id {
					rt.Fatalf("%s is not new", commit)
				}
				c, _ := ReadCommit(r, commit)
				for _, parent := range c.Parents {
					if !old[parent] && !slices.Contains(found[:at], parent) {
						rt.Fatalf("%s stands before its parent %s", commit, parent)
					}
				}
			}
			if want := len(all) - len(old) - 1; len(found) != want {
				rt.Fatalf("%d new commits, want %d", len(found), want)
			}
			bases, err := h.mergeBases(c.Parents[:1], c.Parents[1])
			if err != nil {
				rt.Fatal(err)
			}
			if want := naiveBases(r, c.Parents[0], c.Parents[1]); !slices.Equal(bases, want) {
				rt.Fatalf("merge bases %s, want %s", bases, want)
			}
		}
	})
}
