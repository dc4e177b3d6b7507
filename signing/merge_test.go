package signing

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// longPast makes a repository with that many commits before the anchor, which
// nobody signed. It returns the first commit and the anchor; all have the same
// tree, in which shop stands.
func longPast(tb testing.TB, commits int) (r *testRepo, first, anchor Hash) {
	r = newTestRepo(tb)
	first = r.commit("", "First", edits{
		"trust.yaml": r.trustText(1), "keys/bob.pub": r.public("bob"), "deployments/shop/compose.yaml": "1",
	})
	c, err := ReadCommit(r, first)
	if err != nil {
		tb.Fatal(err)
	}
	anchor = first
	for i := range commits {
		r.clock++
		next := *c
		next.Parents, next.Message = []Hash{anchor}, fmt.Sprintf("Past %d\n", i)
		anchor = r.put(CommitObject, encodeCommit(&next))
	}
	r.files[anchor] = r.files[first]
	return r, first, anchor
}

// TestApprovalReach lets an approval name the commit that brought what waits,
// however long ago, and of those behind it the newest: what a bogus name costs
// is bounded.
func TestApprovalReach(t *testing.T) {
	r, from := started(t)
	waiting := r.commit("carol", "Waiting", shop("2"), from.Commit)
	early := r.commit("carol", "Early", edits{"README.md": "x"}, waiting)
	tip := early
	for i := range approvalReach + 2 {
		tip = r.commit("carol", fmt.Sprint("More ", i), nil, tip)
	}
	at := r.verify(from, tip)
	c, _ := ReadCommit(r, tip)
	for named, approved := range map[Hash]bool{tip: true, c.Parents[0]: true, waiting: true, early: false, from.Commit: false} {
		v := r.verify(at.Position, r.commit("bob", approves("Yes", named, "shop"), nil, tip))
		if v.Refusal != nil || (len(v.Pending) == 0) != approved {
			t.Errorf("%s: %s", r.subject(named), r.show(v))
		}
	}
}

// TestOldSide merges a side branch that left the branch long ago: found as
// long as the walk to it is bounded, refused beyond.
func TestOldSide(t *testing.T) {
	for _, c := range []struct {
		commits int
		refused bool
	}{{maxWalk - 10, false}, {maxWalk, true}} {
		r, first, anchor := longPast(t, c.commits)
		r.clock = testNow.Unix() - 1_000_000 // as old as the first
		side := r.commit("bob", "Side", edits{"deployments/shop/compose.yaml": "2"}, first)
		r.clock = testNow.Unix()
		v := r.verify(Position{Commit: anchor, Anchor: true}, r.merge("bob", "Merge", nil, first, anchor, side))
		switch {
		case !c.refused && (v.Refusal != nil || len(v.Commits) != 2 || len(v.Approved) != 1):
			t.Errorf("%d commits: %s", c.commits, r.show(v))
		case c.refused && (v.Refusal == nil || v.Refusal.Reason != ReasonTooLarge ||
			!strings.Contains(v.Refusal.Detail, "left the branch more than")):
			t.Errorf("%d commits: %+v", c.commits, v.Refusal)
		}
	}
}

// TestSkewedClocks has commits whose dates run backwards from parent to child:
// old commits that the side reaches may be looked at as new ones, then they
// must be good, but no new commit may pass for an old one.
func TestSkewedClocks(t *testing.T) {
	r, from := started(t)
	main := from.Commit
	for i := range 5 { // the branch's clock is an hour slow
		main = r.commitAt(testNow.Unix()-3600, "bob", fmt.Sprint("Main ", i), edits{"README.md": fmt.Sprint(i)}, main)
	}
	bad := r.commitAt(testNow.Unix()-7200, "", "Bad", shop("2"), main)
	side := r.commitAt(testNow.Unix(), "bob", "Side", edits{"notes.md": "1"}, bad)
	v := r.verify(from, r.merge("bob", "Merge", nil, main, main, side))
	if v.Refusal == nil || v.Refusal.Commit != bad || v.Position.Commit != main {
		t.Errorf("an unsigned commit with an old date: %s", r.show(v))
	}
	side = r.commitAt(testNow.Unix(), "bob", "Side", edits{"notes.md": "1"}, main)
	v = r.verify(from, r.merge("bob", "Merge", nil, main, main, side))
	if v.Refusal != nil || len(v.Commits) != 7 {
		t.Errorf("a branch with a slow clock: %s", r.show(v))
	}
}

// TestFanOut is a large change from which many lines of history go out, all of
// them open until the last merge: it must not fill the memory of every node.
func TestFanOut(t *testing.T) {
	const paths, lines = 2_500, 240
	r, from := rooted(t)
	large := edits{}
	for i := range paths {
		large[fmt.Sprintf("deployments/blog/%d", i)] = "2"
	}
	start := r.commit("carol", "Start", large, from.Commit)
	r.files[start] = nil // the trees of what follows are all the same
	same := func(parents ...Hash) Hash {
		r.clock++
		c, err := ReadCommit(r, start)
		if err != nil {
			t.Fatal(err)
		}
		c.Parents, c.Signature = parents, nil
		c.Author.Time = c.Author.Time.Add(time.Duration(r.clock) * time.Second)
		c.Committer.Time = c.Author.Time
		c.Signature = r.sign("carol", encodeCommit(c))
		return r.put(CommitObject, encodeCommit(c))
	}
	top := start
	for range lines / 30 {
		var parents []Hash
		for range 30 {
			parents = append(parents, same(start))
		}
		top = same(append(parents, top)...)
	}
	v, err := Verify(r, from, same(from.Commit, top), Options{Now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	if v.Refusal == nil || v.Refusal.Reason != ReasonTooLarge || !strings.Contains(v.Refusal.Detail, "for each line of history") {
		t.Errorf("refusal %+v", v.Refusal)
	}
	few, err := Verify(r, from, same(from.Commit, same(same(start), same(start))), Options{Now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	if few.Refusal != nil {
		t.Errorf("two lines: refusal %+v", few.Refusal)
	}
}
