package signing

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// approves is a message that approves a commit for some units.
func approves(subject string, named Hash, units ...string) string {
	return fmt.Sprintf("%s\n\nApproves: %s %s", subject, named, strings.Join(units, " "))
}

// approvalCase builds commits on a started repository: shop may be changed by
// bob alone, images.env by ci alone, everything else below deployments/ by any
// person. It returns the tip; want is what show prints.
type approvalCase struct {
	name  string
	build func(r *testRepo, base Hash) (tip Hash)
	want  string
}

func ownSignatureCases() []approvalCase {
	return []approvalCase{
		{"by the one whom the rule names", func(r *testRepo, base Hash) Hash {
			return r.commit("bob", "Two", shop("2"), base)
		}, `
at Two
  - Two by bob, 1 paths
blog: Start by bob in Start
shop: Two by bob in Two, new
`},
		{"by a listed signer whom the rule does not name", func(r *testRepo, base Hash) Hash {
			return r.commit("carol", "Two", shop("2"), base)
		}, `
at Two
  - Two by carol, 1 paths
blog: Start by bob in Start
shop: Start by bob in Start
  deployments/shop/compose.yaml: carol in Two
shop waits: deployments/shop/compose.yaml; has carol, needs 1 of bob
`},
		{"one waiting deployment does not hold back another", func(r *testRepo, base Hash) Hash {
			two := r.commit("carol", "Two", shop("2"), base)
			return r.commit("carol", "Three", edits{"deployments/blog/compose.yaml": "2"}, two)
		}, `
at Three
  - Two by carol, 1 paths
  - Three by carol, 1 paths
blog: Three by carol in Three, new
shop: Start by bob in Start
  deployments/shop/compose.yaml: carol in Two
shop waits: deployments/shop/compose.yaml; has carol, needs 1 of bob
`},
		{"a bot counts where it is named only", func(r *testRepo, base Hash) Hash {
			two := r.commit("ci", "Two", edits{"deployments/shop/images.env": "2"}, base)
			return r.commit("ci", "Three", edits{"deployments/blog/compose.yaml": "3"}, two)
		}, `
at Three
  - Two by ci, 1 paths
  - Three by ci, 1 paths
blog: Start by bob in Start
  deployments/blog/compose.yaml: ci in Three
shop: Two by ci in Two, new
blog waits: deployments/blog/compose.yaml; has ci, needs 1 of alice bob carol
`},
		{"every path needs its own rule", func(r *testRepo, base Hash) Hash {
			two := r.commit("bob", "Two", edits{"deployments/shop/images.env": "2", "deployments/shop/compose.yaml": "2"}, base)
			return r.commit("ci", "Three", edits{"deployments/shop/images.env": "3"}, two)
		}, `
at Three
  - Two by bob, 2 paths
  - Three by ci, 1 paths
blog: Start by bob in Start
shop: Three by bob in Two, ci in Three, new
`},
		{"a later change replaces the signer of what it changes", func(r *testRepo, base Hash) Hash {
			two := r.commit("bob", "Two", edits{"deployments/shop/images.env": "2", "deployments/shop/compose.yaml": "2"}, base)
			return r.commit("carol", "Three", shop("3"), two)
		}, `
at Three
  - Two by bob, 2 paths
  - Three by carol, 1 paths
blog: Start by bob in Start
shop: Start by bob in Start
  deployments/shop/compose.yaml: carol in Three
  deployments/shop/images.env: bob in Two
shop waits: deployments/shop/compose.yaml deployments/shop/images.env; has bob carol, needs 1 of bob ci
`},
	}
}

func contentCases() []approvalCase {
	return []approvalCase{
		{"back to what was approved needs nothing", func(r *testRepo, base Hash) Hash {
			two := r.commit("carol", "Two", shop("2"), base)
			return r.commit("ci", "Three", shop("shop 1"), two)
		}, `
at Three
  - Two by carol, 1 paths
  - Three by ci, 1 paths
blog: Start by bob in Start
shop: Start by bob in Start
`},
		{"back to an earlier revision is a change", func(r *testRepo, base Hash) Hash {
			two := r.commit("bob", "Two", shop("2"), base)
			return r.commit("carol", "Three", shop("shop 1"), two)
		}, `
at Three
  - Two by bob, 1 paths
  - Three by carol, 1 paths
blog: Start by bob in Start
shop: Two by bob in Two, new
  deployments/shop/compose.yaml: carol in Three
shop waits: deployments/shop/compose.yaml; has carol, needs 1 of bob
`},
		{"removal is a change", func(r *testRepo, base Hash) Hash {
			two := r.commit("carol", "Two", shop(gone), base)
			return r.commit("carol", "Three", edits{"deployments/blog/compose.yaml": gone}, two)
		}, `
at Three
  - Two by carol, 1 paths
  - Three by carol, 1 paths
shop: Start by bob in Start
  deployments/shop/compose.yaml: carol in Two
blog: removed
shop waits: deployments/shop/compose.yaml; has carol, needs 1 of bob
`},
		{"a new deployment that waits and goes", func(r *testRepo, base Hash) Hash {
			two := r.commit("ci", "Two", edits{"deployments/new/compose.yaml": "1"}, base)
			return r.commit("ci", "Three", edits{"deployments/new/compose.yaml": gone}, two)
		}, `
at Three
  - Two by ci, 1 paths
  - Three by ci, 1 paths
blog: Start by bob in Start
shop: Start by bob in Start
`},
		{"cluster.yaml is root's", func(r *testRepo, base Hash) Hash {
			two := r.commit("alice", "Two", edits{"cluster.yaml": "1"}, base)
			return r.commit("bob", "Three", edits{"cluster.yaml": "2"}, two)
		}, `
at Three
  - Two by alice, 1 paths
  - Three by bob, 1 paths
blog: Start by bob in Start
cluster: Two by alice in Two, new
  cluster.yaml: bob in Three
shop: Start by bob in Start
cluster waits: cluster.yaml; has bob, needs 1 of alice
`},
		{"an executable file", func(r *testRepo, base Hash) Hash {
			script := r.put(TreeObject, encodeTree([]TreeEntry{
				{Mode: ModeFile, Name: "compose.yaml", ID: r.put(BlobObject, []byte("shop 1"))},
				{Mode: ModeExecutable, Name: "run", ID: r.put(BlobObject, []byte("x"))},
			}))
			tree := r.put(TreeObject, encodeTree([]TreeEntry{{Mode: ModeTree, Name: "shop", ID: script}}))
			c, _ := ReadCommit(r, base)
			root, _ := ReadTree(r, c.Tree)
			for i := range root {
				if root[i].Name == deployDir {
					root[i].ID = tree
				}
			}
			return r.commitTree("bob", r.put(TreeObject, encodeTree(root)), base)
		}, `
at Any
  - Any by bob, 2 paths
shop: Any by bob in Any, new
blog: removed
`},
	}
}

func mergeCases() []approvalCase {
	return []approvalCase{
		{"what a merge brings in keeps its signers", func(r *testRepo, base Hash) Hash {
			side := r.commit("bob", "Side", shop("2"), base)
			main := r.commit("carol", "Main", edits{"deployments/blog/compose.yaml": "2"}, base)
			return r.merge("ci", "Merge", nil, base, main, side)
		}, `
at Merge
  - Main by carol, 1 paths
  - Side by bob, 1 paths
  - Merge by ci, 0 paths
blog: Main by carol in Main, new
shop: Merge by bob in Side, new
`},
		{"signing a merge approves nothing of it", func(r *testRepo, base Hash) Hash {
			side := r.commit("carol", "Side", shop("2"), base)
			return r.merge("bob", "Merge", nil, base, base, side)
		}, `
at Merge
  - Side by carol, 1 paths
  - Merge by bob, 0 paths
blog: Start by bob in Start
shop: Start by bob in Start
  deployments/shop/compose.yaml: carol in Side
shop waits: deployments/shop/compose.yaml; has carol, needs 1 of bob
`},
		{"what a merge changes itself is its signer's", func(r *testRepo, base Hash) Hash {
			side := r.commit("bob", "Side", shop("2"), base)
			return r.merge("carol", "Merge", shop("evil"), base, base, side)
		}, `
at Merge
  - Side by bob, 1 paths
  - Merge by carol, 1 paths
blog: Start by bob in Start
shop: Start by bob in Start
  deployments/shop/compose.yaml: carol in Merge
shop waits: deployments/shop/compose.yaml; has carol, needs 1 of bob
`},
		{"so is a conflict that it resolves to one side", func(r *testRepo, base Hash) Hash {
			side := r.commit("bob", "Side", shop("2"), base)
			main := r.commit("bob", "Main", shop("3"), base)
			return r.merge("carol", "Merge", shop("2"), base, main, side)
		}, `
at Merge
  - Main by bob, 1 paths
  - Side by bob, 1 paths
  - Merge by carol, 1 paths
blog: Start by bob in Start
shop: Main by bob in Main, new
  deployments/shop/compose.yaml: carol in Merge
shop waits: deployments/shop/compose.yaml; has carol, needs 1 of bob
`},
		{"a merge that keeps the branch's side needs nothing", func(r *testRepo, base Hash) Hash {
			side := r.commit("carol", "Side", shop("2"), base)
			return r.merge("ci", "Merge", shop("shop 1"), base, base, side)
		}, `
at Merge
  - Side by carol, 1 paths
  - Merge by ci, 1 paths
blog: Start by bob in Start
shop: Start by bob in Start
`},
		{"the side's last signer of a path counts", func(r *testRepo, base Hash) Hash {
			one := r.commit("bob", "One", shop("2"), base)
			two := r.commit("bob", "Two", shop("3"), one)
			three := r.commit("carol", "Three", shop("2"), two)
			return r.merge("bob", "Merge", nil, base, base, three)
		}, `
at Merge
  - One by bob, 1 paths
  - Two by bob, 1 paths
  - Three by carol, 1 paths
  - Merge by bob, 0 paths
blog: Start by bob in Start
shop: Start by bob in Start
  deployments/shop/compose.yaml: carol in Three
shop waits: deployments/shop/compose.yaml; has carol, needs 1 of bob
`},
		{"a side that reverts itself does not hide another's change", func(r *testRepo, base Hash) Hash {
			left := r.commit("bob", "Left", shop("2"), base)
			right := r.commit("carol", "Right", shop("3"), base)
			back := r.commit("carol", "Back", shop("shop 1"), right)
			inner := r.merge("carol", "Inner", nil, base, left, back)
			return r.merge("carol", "Merge", nil, base, base, inner)
		}, `
at Merge
  - Left by bob, 1 paths
  - Right by carol, 1 paths
  - Back by carol, 1 paths
  - Inner by carol, 0 paths
  - Merge by carol, 0 paths
blog: Start by bob in Start
shop: Merge by bob in Left, new
`},
	}
}

func crossedMergeCases() []approvalCase {
	return []approvalCase{
		{"a side that reverts itself signs nothing of another's change", func(r *testRepo, base Hash) Hash {
			left := r.commit("carol", "Left", shop("2"), base)
			right := r.commit("bob", "Right", shop("3"), base)
			back := r.commit("bob", "Back", shop("shop 1"), right)
			return r.merge("bob", "Merge", nil, base, base, r.merge("bob", "Inner", nil, base, left, back))
		}, `
at Merge
  - Left by carol, 1 paths
  - Right by bob, 1 paths
  - Back by bob, 1 paths
  - Inner by bob, 0 paths
  - Merge by bob, 0 paths
blog: Start by bob in Start
shop: Start by bob in Start
  deployments/shop/compose.yaml: carol in Left
shop waits: deployments/shop/compose.yaml; has carol, needs 1 of bob
`},
		{"branches of a side know nothing of each other", func(r *testRepo, base Hash) Hash {
			one := r.commit("bob", "One", shop("2"), base)
			left := r.commit("carol", "Left", shop("3"), one)
			back := r.commit("ci", "Back", shop("2"), left)
			right := r.commit("ci", "Right", edits{"README.md": "2"}, one)
			return r.merge("ci", "Merge", nil, base, base, r.merge("ci", "Inner", nil, one, back, right))
		}, `
at Merge
  - One by bob, 1 paths
  - Left by carol, 1 paths
  - Back by ci, 1 paths
  - Right by ci, 0 paths
  - Inner by ci, 0 paths
  - Merge by ci, 0 paths
blog: Start by bob in Start
shop: Merge by bob in One, new
`},
		{"the same change on both sides has both signers", func(r *testRepo, base Hash) Hash {
			main := r.commit("carol", "Main", shop("2"), base)
			side := r.commit("bob", "Side", shop("2"), base)
			return r.merge("ci", "Merge", nil, base, main, side)
		}, `
at Merge
  - Main by carol, 1 paths
  - Side by bob, 1 paths
  - Merge by ci, 0 paths
blog: Start by bob in Start
shop: Merge by bob in Side, new
`},
		{"an old side brings nothing old in", func(r *testRepo, base Hash) Hash {
			two := r.commit("bob", "Two", shop("2"), base)
			side := r.commit("carol", "Side", edits{"deployments/blog/compose.yaml": "2"}, base)
			return r.merge("carol", "Merge", nil, base, two, side)
		}, `
at Merge
  - Two by bob, 1 paths
  - Side by carol, 1 paths
  - Merge by carol, 0 paths
blog: Merge by carol in Side, new
shop: Two by bob in Two, new
`},
		{"an octopus", func(r *testRepo, base Hash) Hash {
			a := r.commit("bob", "A", shop("2"), base)
			b := r.commit("carol", "B", edits{"deployments/blog/compose.yaml": "2"}, base)
			return r.commit("ci", "Octopus", edits{
				"deployments/shop/compose.yaml": "2", "deployments/blog/compose.yaml": "2",
			}, base, a, b)
		}, `
at Octopus
  - A by bob, 1 paths
  - B by carol, 1 paths
  - Octopus by ci, 0 paths
blog: Octopus by carol in B, new
shop: Octopus by bob in A, new
`},
		{"an unrelated history", func(r *testRepo, base Hash) Hash {
			root := r.commit("carol", "Root", edits{"deployments/new/compose.yaml": "1"})
			return r.merge("ci", "Merge", nil, Hash{}, base, root)
		}, `
at Merge
  - Root by carol, 1 paths
  - Merge by ci, 0 paths
blog: Start by bob in Start
new: Merge by carol in Root, new
shop: Start by bob in Start
`},
	}
}

// TestApprovals tells what each commit approves, in one go and commit by
// commit.
func TestApprovals(t *testing.T) {
	groups := map[string][]approvalCase{
		"signature": ownSignatureCases(), "content": contentCases(),
		"merge": mergeCases(), "crossed merge": crossedMergeCases(),
		"trailer": trailerCases(), "late trailer": lateTrailerCases(),
	}
	for group, cases := range groups {
		for _, c := range cases {
			t.Run(group+" "+c.name, func(t *testing.T) {
				r, from := started(t)
				tip := c.build(r, from.Commit)
				v := r.verify(from, tip)
				if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), r.show(v)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(v, r.verifyPiecewise(from, tip, func(int) bool { return true })); diff != "" {
					t.Errorf("in one go and commit by commit differ (-one go +piecewise):\n%s", diff)
				}
			})
		}
	}
}

// verifyPiecewise judges a range in several goes, cut behind the chain's i-th
// commit where cut(i) says so, and adds the verdicts up. Positions travel
// through JSON, as they do in a node's trust store.
// A trust change that waits is no end: what follows may approve it.
func (r *testRepo) verifyPiecewise(from Position, tip Hash, cut func(i int) bool, tags ...Hash) *Verdict {
	r.tb.Helper()
	chain, err := newHistory(r).chain(from.Commit, tip)
	if err != nil {
		return r.verifyTags(from, tip, tags...)
	}
	total := &Verdict{Position: from}
	approved, counted := make(map[string]bool), make(map[Hash]bool)
	for i, id := range chain {
		if id != tip && !cut(i) {
			continue
		}
		v := r.verifyTags(total.Position, id, tags...)
		for _, tag := range v.Tags {
			counted[tag] = true
		}
		total.Commits = append(total.Commits, v.Commits...)
		for _, name := range v.Approved {
			approved[name] = true
		}
		total.Pending, total.Refusal = v.Pending, v.Refusal
		text, err := json.Marshal(v.Position)
		if err != nil {
			r.tb.Fatal(err)
		}
		total.Position = Position{}
		if err := json.Unmarshal(text, &total.Position); err != nil {
			r.tb.Fatal(err)
		}
		if v.Refusal != nil && v.Refusal.Reason != ReasonTrustPending {
			break
		}
	}
	total.Tags = sortedHashes(counted)
	total.Approved = slices.Sorted(maps.Keys(approved))
	return total
}
