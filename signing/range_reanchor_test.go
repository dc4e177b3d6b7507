package signing

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rewritten is a rooted repository whose branch was rewritten from its anchor:
// it holds blog as it was accepted, and another shop.
func rewritten(tb testing.TB) (r *testRepo, from Position, anchor, other Hash) {
	r, from = rooted(tb)
	c, err := ReadCommit(r, from.Commit)
	if err != nil {
		tb.Fatal(err)
	}
	anchor = c.Parents[0]
	other = r.commit("carol", "Other", edits{
		"deployments/shop/compose.yaml": "shop 2", "deployments/blog/compose.yaml": "blog 1",
	}, anchor)
	return r, from, anchor, other
}

// TestReanchor orders the jump to a rewritten history in every way.
func TestReanchor(t *testing.T) {
	line := func(at Hash) string { return "Reanchor: " + at.String() }
	const stays = "at Start\nblog: Start by bob in Start\n" + shopStart
	const jumped = "blog: Start by bob in Start\n" + shopStart + "reanchored from Start to %s by %s\n"
	cases := []struct {
		name  string
		build func(r *testRepo, from, anchor, other Hash) (tip Hash, tags []Hash)
		want  string
	}{
		{"by nobody", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			return other, nil
		}, stays + "refused: Other, rewritten\n"},
		{"by tags of two", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			return other, []Hash{r.tag("alice", "approve/reanchor/a", other, line(from)), r.tag("bob", "approve/reanchor/b", other, "Why.\n\n"+line(from))}
		}, "at Other\n" + fmt.Sprintf(jumped, "Other", "alice in approve/reanchor/a, bob in approve/reanchor/b") + "tag approve/reanchor/a\ntag approve/reanchor/b\n"},
		{"by a commit and a tag", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			order := r.commit("alice", "Order\n\n"+line(from), nil, other)
			return order, []Hash{r.tag("bob", "approve/reanchor/b", order, line(from))}
		}, "at Order\n" + fmt.Sprintf(jumped, "Order", "alice in Order, bob in approve/reanchor/b") + "tag approve/reanchor/b\n"},
		{"with commits behind it", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			next := r.commit("alice", "Next", edits{"README.md": "2"}, other)
			return next, []Hash{r.tag("alice", "approve/reanchor/a", other, line(from)), r.tag("bob", "approve/reanchor/b", other, line(from))}
		}, `at Next
  - Next by alice, 0 paths
blog: Start by bob in Start
` + shopStart + `  deployments/shop/compose.yaml: alice in Next
shop waits: deployments/shop/compose.yaml; has alice, needs 2 of bob carol
reanchored from Start to Other by alice in approve/reanchor/a, bob in approve/reanchor/b
tag approve/reanchor/a
tag approve/reanchor/b
`},
		{"what is gone is a removal", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			next := r.commit("alice", "Next", edits{"README.md": "2"}, anchor)
			return next, []Hash{r.tag("alice", "approve/reanchor/a", anchor, line(from)), r.tag("bob", "approve/reanchor/b", anchor, line(from))}
		}, `at Next
  - Next by alice, 0 paths
` + shopStart + `  deployments/shop/compose.yaml: alice in Next
blog: removed
shop waits: deployments/shop/compose.yaml; has alice, needs 2 of bob carol
reanchored from Start to Anchor by alice in approve/reanchor/a, bob in approve/reanchor/b
tag approve/reanchor/a
tag approve/reanchor/b
`},
		{"by one of two", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			return other, []Hash{r.tag("alice", "approve/reanchor/a", other, line(from))}
		}, stays + "reanchor waits: ; has alice, needs 2 of bob\nrefused: Other, rewritten\n"},
		{"by one with two keys", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			return other, []Hash{r.tag("alice", "approve/reanchor/a", other, line(from)), r.tag("alice-laptop", "approve/reanchor/b", other, line(from))}
		}, stays + "reanchor waits: ; has alice, needs 2 of bob\nrefused: Other, rewritten\n"},
		{"by one who is not root", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			return other, []Hash{r.tag("alice", "approve/reanchor/a", other, line(from)), r.tag("carol", "approve/reanchor/b", other, line(from))}
		}, stays + "reanchor waits: ; has alice, needs 2 of bob\nrefused: Other, rewritten\n"},
		{"of two different commits", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			return other, []Hash{r.tag("alice", "approve/reanchor/a", other, line(from)), r.tag("bob", "approve/reanchor/b", anchor, line(from))}
		}, stays + "reanchor waits: ; has alice, needs 2 of bob\nrefused: Other, rewritten\n"},
		{"of another accepted commit", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			return other, []Hash{r.tag("alice", "approve/reanchor/a", other, line(anchor)), r.tag("bob", "approve/reanchor/b", other, line(anchor))}
		}, stays + "refused: Other, rewritten\n"},
		{"with a short hash", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			return other, []Hash{r.tag("alice", "approve/reanchor/a", other, "Reanchor: "+from.Short()), r.tag("bob", "approve/reanchor/b", other, line(from))}
		}, stays + "reanchor waits: ; has bob, needs 2 of alice\nrefused: Other, rewritten\n"},
		{"by tags of another name", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			return other, []Hash{r.tag("alice", "approve/trust/a", other, line(from)), r.tag("bob", "approve/all/b", other, line(from))}
		}, stays + "refused: Other, rewritten\n"},
		{"to an older trust.yaml", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			old := r.commit("alice", "Old", edits{"trust.yaml": r.rootText(1, 1, "alice")}, other)
			return old, []Hash{r.tag("alice", "approve/reanchor/a", old, line(from)), r.tag("bob", "approve/reanchor/b", old, line(from))}
		}, stays + "refused: Old, rewritten\n"},
		{"to a newer trust.yaml without its threshold", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			old := r.commit("alice", "New", edits{"trust.yaml": r.rootText(2, 2, "alice", "carol")}, other)
			return old, []Hash{r.tag("alice", "approve/reanchor/a", old, line(from)), r.tag("bob", "approve/reanchor/b", old, line(from))}
		}, stays + "refused: New, rewritten\n"},
		{"to a newer trust.yaml", func(r *testRepo, from, anchor, other Hash) (Hash, []Hash) {
			old := r.commit("alice", "New", edits{"trust.yaml": r.rootText(2, 1, "bob", "carol")}, other)
			return old, []Hash{r.tag("alice", "approve/reanchor/a", old, line(from)), r.tag("bob", "approve/reanchor/b", old, line(from))}
		}, "at New\n" + fmt.Sprintf(jumped, "New", "alice in approve/reanchor/a, bob in approve/reanchor/b") + "tag approve/reanchor/a\ntag approve/reanchor/b\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, from, anchor, other := rewritten(t)
			tip, tags := c.build(r, from.Commit, anchor, other)
			v := r.verifyTags(from, tip, tags...)
			if diff := cmp.Diff(sortedTags(c.want), sortedTags(r.show(v))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if v.Refusal != nil {
				return
			}
			if got := r.verifyTags(from, v.Position.Commit, v.Tags...); !cmp.Equal(got, v) {
				t.Errorf("judged to its end:\n%s", r.show(got))
			}
			if again := r.verifyTags(v.Position, tip, tags...); again.Refusal != nil || !cmp.Equal(again.Position, v.Position) {
				t.Errorf("the end again:\n%s", r.show(again))
			}
		})
	}
}

// TestReanchorPosition keeps what is approved and drops what waited.
func TestReanchorPosition(t *testing.T) {
	r, from, _, other := rewritten(t)
	waiting := r.verify(from, r.commit("alice", "Two", edits{"deployments/shop/compose.yaml": "2", "deployments/new/compose.yaml": "1", "cluster.yaml": "1"}, from.Commit))
	at, trust, err := Reanchor(r, waiting.Position, other)
	if err != nil || trust.Version != 1 {
		t.Fatal(err)
	}
	units := from.Units
	units["new"] = waiting.Position.Units["new"]
	want := Position{Commit: other, Anchor: true, Units: units}
	if diff := cmp.Diff(want, at); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, _, err := Reanchor(r, from, Hash{3}); err == nil || !strings.Contains(err.Error(), "re-anchor") {
		t.Errorf("unknown commit: %v", err)
	}
}
