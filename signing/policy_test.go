package signing

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sideAndMerge is a side branch by alice that changes blog, merged cleanly.
func sideAndMerge(r *testRepo, by string, base Hash) Hash {
	side := r.commit("alice", "Side", edits{"deployments/blog/compose.yaml": "2"}, base)
	return r.merge(by, "Merge", nil, base, base, side)
}

func forgeCases() []tagCase {
	const refused = "at Start\nblog: Start by bob in Start\n" + shopStart + "refused: Bad, merge\n"
	one := func(change edits) func(r *testRepo, base Hash) (Hash, []Hash) {
		return func(r *testRepo, base Hash) (Hash, []Hash) { return r.commit("hub", "Bad", change, base), nil }
	}
	return []tagCase{
		{"a clean merge", func(r *testRepo, base Hash) (Hash, []Hash) {
			return sideAndMerge(r, "hub", base), nil
		}, "at Merge\n  - Side by alice, 1 paths\n  - Merge by hub, 0 paths\nblog: Merge by alice in Side, new\n" + shopStart},
		{"a clean merge beside other changes", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Side", edits{"deployments/blog/compose.yaml": "2"}, base)
			main := r.commit("carol", "Main", edits{"deployments/blog/.env": "2"}, base)
			return r.merge("hub", "Merge", nil, base, main, side), nil
		}, "at Merge\n  - Main by carol, 1 paths\n  - Side by alice, 1 paths\n  - Merge by hub, 0 paths\nblog: Merge by alice in Side, new\n" + shopStart},
		{"a squash", one(edits{"deployments/blog/compose.yaml": "2"}), refused},
		{"an edit that deploys nothing", one(edits{"README.md": "2"}), refused},
		{"a trust change", one(edits{"trust.yaml": "x"}), refused},
		{"a rebase of several", func(r *testRepo, base Hash) (Hash, []Hash) {
			one := r.commit("hub", "Bad", edits{"README.md": "2"}, base)
			return r.commit("hub", "Two", edits{"README.md": "3"}, one), nil
		}, refused},
		{"an evil merge", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Side", edits{"README.md": "2"}, base)
			return r.merge("hub", "Bad", shop("evil"), base, base, side), nil
		}, refused},
		{"a merge that keeps old content", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Side", edits{"deployments/blog/compose.yaml": "2"}, base)
			return r.commit("hub", "Bad", nil, base, side), nil
		}, refused},
		{"an octopus", func(r *testRepo, base Hash) (Hash, []Hash) {
			a := r.commit("alice", "A", edits{"README.md": "2"}, base)
			b := r.commit("alice", "B", edits{"LICENSE": "2"}, base)
			return r.commit("hub", "Bad", edits{"README.md": "2", "LICENSE": "2"}, base, a, b), nil
		}, refused},
		{"several merge bases", func(r *testRepo, base Hash) (Hash, []Hash) {
			a := r.commit("alice", "A", edits{"README.md": "2"}, base)
			b := r.commit("alice", "B", edits{"LICENSE": "2"}, base)
			main := r.merge("alice", "AB", nil, base, a, b)
			side := r.merge("alice", "BA", nil, base, b, a)
			return r.merge("hub", "Bad", nil, base, main, side), nil
		}, "at AB\n  - A by alice, 0 paths\n  - B by alice, 0 paths\n  - AB by alice, 0 paths\nblog: Start by bob in Start\n" + shopStart + "refused: Bad, merge\n"},
		{"a trailer of its merge approves nothing", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Side", shop("2"), base)
			return r.merge("hub", approves("Merge", side, "shop"), nil, base, base, side), nil
		}, "at Merge\n  - Side by alice, 1 paths\n  - Merge by hub, 0 paths\nblog: Start by bob in Start\n" + shopStart +
			"  deployments/shop/compose.yaml: alice in Side\nshop waits: deployments/shop/compose.yaml; has alice, needs 2 of bob carol\n"},
		{"a person's evil merge needs its rules", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Side", edits{"README.md": "2"}, base)
			return r.merge("carol", "Merge", shop("2"), base, base, side), nil
		}, "at Merge\n  - Side by alice, 0 paths\n  - Merge by carol, 1 paths\nblog: Start by bob in Start\n" + shopStart +
			"  deployments/shop/compose.yaml: carol in Merge\nshop waits: deployments/shop/compose.yaml; has carol, needs 2 of alice bob\n"},
	}
}

func mergesApproveCases() []tagCase {
	side := func(by string) func(r *testRepo, base Hash) (Hash, []Hash) {
		return func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Side", shop("2"), base)
			return r.merge(by, "Merge", nil, base, base, side), nil
		}
	}
	const waits = shopStart + "  deployments/shop/compose.yaml: alice in Side\nshop waits: deployments/shop/compose.yaml; has alice, needs 2 of bob carol\n"
	return []tagCase{
		{"by another", side("bob"), "at Merge\n  - Side by alice, 1 paths\n  - Merge by bob, 0 paths\nblog: Start by bob in Start\nshop: Merge by alice in Side, bob in Merge, new\n"},
		{"by the author", side("alice-laptop"), strings.Replace("at Merge\n  - Side by alice, 1 paths\n  - Merge by alice, 0 paths\nblog: Start by bob in Start\n"+waits,
			"alice in Side\nshop", "alice in Merge, alice in Side\nshop", 1)},
		{"by a forge", side("hub"), "at Merge\n  - Side by alice, 1 paths\n  - Merge by hub, 0 paths\nblog: Start by bob in Start\n" + waits},
		{"of the branch into a side", func(r *testRepo, base Hash) (Hash, []Hash) {
			// Bob takes over what waits on the branch; that approves nothing there.
			two := r.commit("alice", "Side", shop("2"), base)
			mine := r.commit("bob", "Mine", edits{"README.md": "2"}, base)
			update := r.merge("bob", "Update", nil, base, mine, two)
			return r.merge("hub", "Merge", nil, two, two, update), nil
		}, "at Merge\n  - Side by alice, 1 paths\n  - Mine by bob, 0 paths\n  - Update by bob, 0 paths\n  - Merge by hub, 0 paths\nblog: Start by bob in Start\n" + waits},
	}
}

func firstParentCases() []tagCase {
	return []tagCase{
		{"an unsigned side branch", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("", "Side", edits{"deployments/blog/compose.yaml": "2"}, base)
			return r.merge("carol", "Merge", nil, base, base, side), nil
		}, "at Merge\n  - Merge by carol, 1 paths\nblog: Merge by carol in Merge, new\n" + shopStart},
		{"what a side's author signed does not count", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Side", shop("2"), base)
			return r.merge("bob", "Merge", nil, base, base, side), nil
		}, "at Merge\n  - Merge by bob, 1 paths\nblog: Start by bob in Start\n" + shopStart +
			"  deployments/shop/compose.yaml: bob in Merge\nshop waits: deployments/shop/compose.yaml; has bob, needs 2 of alice carol\n"},
		{"a tag of the side's tip", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("", "Side", shop("2"), base)
			return r.merge("bob", "Merge", nil, base, base, side), []Hash{r.tag("alice", "approve/shop/2", side, "yes")}
		}, "at Merge\n  - Merge by bob, 1 paths\nblog: Start by bob in Start\nshop: Merge by alice in approve/shop/2 as a whole, bob in Merge, new\ntag approve/shop/2\n"},
		{"a forge vouches for nothing", func(r *testRepo, base Hash) (Hash, []Hash) {
			return sideAndMerge(r, "hub", base), nil
		}, "at Merge\n  - Merge by hub, 1 paths\nblog: Start by bob in Start\n  deployments/blog/compose.yaml: \n" + shopStart +
			"blog waits: deployments/blog/compose.yaml; has , needs 1 of alice bob carol\n"},
		{"the branch itself is signed", func(r *testRepo, base Hash) (Hash, []Hash) {
			return r.commit("", "Bad", edits{"README.md": "2"}, base), nil
		}, "at Start\nblog: Start by bob in Start\n" + shopStart + "refused: Bad, unsigned\n"},
		{"a merge of another policy", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Side", changeRoot(r, 2, "alice", "bob"), base)
			return r.merge("alice", "Bad", nil, base, base, side), nil
		}, "at Start\nblog: Start by bob in Start\n" + shopStart + "refused: Bad, trust-change\n"},
		{"a merge of a path that no rule matches", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("", "Side", edits{"deployments/x": "2"}, base)
			return r.merge("alice", "Bad", nil, base, base, side), nil
		}, "at Start\nblog: Start by bob in Start\n" + shopStart + "refused: Bad, no-rule\n"},
	}
}

func targetCases(t testing.TB) []tagCase {
	blog := edits{"deployments/blog/compose.yaml": "2"}
	const refused = "at Start\nblog: Start by bob in Start\n" + shopStart + "refused: Bad, no-target\n"
	const accepted = "blog: Two by alice in Two, new\n" + shopStart
	plain := func(by, message string, change edits) func(r *testRepo, base Hash) (Hash, []Hash) {
		return func(r *testRepo, base Hash) (Hash, []Hash) { return r.commit(by, message, change, base), nil }
	}
	return []tagCase{
		{"none", plain("alice", "Bad", blog), refused},
		{"of another branch", plain("alice", "Bad\n\nDeploy-Target: staging", blog), refused},
		{"of a branch that begins alike", plain("alice", "Bad\n\nDeploy-Target: refs/heads/main2", blog), refused},
		{"in the body", plain("alice", "Bad\n\nDeploy-Target: main\n\nMore.", blog), refused},
		{"by name", plain("alice", "Two\n\nDeploy-Target: main", blog), "at Two\n  - Two by alice, 1 paths\n" + accepted},
		{"by ref", plain("alice", "Two\n\nDeploy-Target: refs/heads/main", blog), "at Two\n  - Two by alice, 1 paths\n" + accepted},
		{"none for what deploys nothing", plain("alice", "Two", edits{"README.md": "2"}), "at Two\n  - Two by alice, 0 paths\nblog: Start by bob in Start\n" + shopStart},
		{"none for a trust change", plain("alice", "Bad", edits{"trust.yaml": newTestRepo(t).targetText(2)}), refused},
		{"by a tag", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := r.commit("alice", "Two", blog, base)
			return two, []Hash{r.tag("carol", "approve/blog/2", two, "yes"), r.tag("bob", "approve/shop/2", two, "yes")}
		}, "at Two\n  - Two by alice, 1 paths\n" + strings.Replace(accepted, ", new", ", carol in approve/blog/2 as a whole, new", 1) + "tag approve/blog/2\n"},
		{"by a tag of another deployment", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := r.commit("alice", "Bad", blog, base)
			return two, []Hash{r.tag("bob", "approve/shop/2", two, "yes")}
		}, refused},
		{"by a mergetag of another deployment", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Bad", blog, base)
			merge := r.merge("carol", "Merge", nil, base, base, side)
			return r.withMergeTag("carol", merge, r.tagData("bob", "approve/shop/x", side, "yes")), nil
		}, refused},
		{"by a mergetag", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Two", blog, base)
			merge := r.merge("hub", "Merge", nil, base, base, side)
			return r.withMergeTag("hub", merge, r.tagData("alice", "approve/blog/x", side, "yes")), nil
		}, "at Merge\n  - Two by alice, 1 paths\n  - Merge by hub, 0 paths\nblog: Merge by alice in Two, new\n" + shopStart},
		{"by a bot's tag", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := r.commit("alice", "Bad", blog, base)
			return two, []Hash{r.tag("ci", "approve/blog/2", two, "yes")}
		}, refused},
		{"by a tag of an earlier commit", func(r *testRepo, base Hash) (Hash, []Hash) {
			return r.commit("alice", "Bad", blog, base), []Hash{r.tag("bob", "approve/blog/2", base, "yes")}
		}, refused},
		{"of a merge, for all that it brings in", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Two", blog, base)
			return r.merge("carol", "Merge\n\nDeploy-Target: main", nil, base, base, side), nil
		}, "at Merge\n  - Two by alice, 1 paths\n  - Merge by carol, 0 paths\nblog: Merge by alice in Two, new\n" + shopStart},
		{"of a forge's merge", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Bad", blog, base)
			return r.merge("hub", "Merge\n\nDeploy-Target: main", nil, base, base, side), nil
		}, refused},
		{"of the side that a forge merges", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Two\n\nDeploy-Target: main", blog, base)
			return r.merge("hub", "Merge", nil, base, base, side), nil
		}, "at Merge\n  - Two by alice, 1 paths\n  - Merge by hub, 0 paths\nblog: Merge by alice in Two, new\n" + shopStart},
		{"a tag of the side that a forge merges", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Two", blog, base)
			return r.merge("hub", "Merge", nil, base, base, side), []Hash{r.tag("carol", "approve/all/2", side, "yes")}
		}, "at Merge\n  - Two by alice, 1 paths\n  - Merge by hub, 0 paths\nblog: Merge by alice in Two, carol in approve/all/2 as a whole, new\n" + shopStart + "tag approve/all/2\n"},
		{"a tag of what a forge merges, but for the end of it", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Side", blog, base)
			more := r.commit("alice", "Bad", edits{"deployments/blog/compose.yaml": "3"}, side)
			return r.merge("hub", "Merge", nil, base, base, more), []Hash{r.tag("carol", "approve/blog/2", side, "yes")}
		}, refused},
		{"a tag of another line that a forge merges", func(r *testRepo, base Hash) (Hash, []Hash) {
			one := r.commit("alice", "One", edits{"README.md": "2"}, base)
			side := r.commit("alice", "Bad", blog, one)
			other := r.commit("alice", "Other", edits{"LICENSE": "2"}, one)
			both := r.merge("hub", "Both", nil, one, side, other)
			return r.merge("hub", "Merge", nil, base, base, both), []Hash{r.tag("carol", "approve/blog/2", other, "yes")}
		}, refused},
		{"a tag behind what a forge merges", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Two", blog, base)
			merge := r.merge("hub", "Merge", nil, base, base, side)
			return merge, []Hash{r.tag("carol", "approve/blog/2", merge, "yes")}
		}, "at Merge\n  - Two by alice, 1 paths\n  - Merge by hub, 0 paths\nblog: Merge by alice in Two, carol in approve/blog/2 as a whole, new\n" + shopStart + "tag approve/blog/2\n"},
	}
}

// targetText is the rooted policy with require_target.
func (r *testRepo) targetText(version int) string {
	return r.rootText(version, 2, "alice", "bob") + "require_target: true\n"
}

// TestPolicies judges under each of the settings of trust.yaml.
func TestPolicies(t *testing.T) {
	for _, group := range []struct {
		name, setting string
		cases         []tagCase
	}{
		{"forge", "", forgeCases()},
		{"merges_approve", "merges_approve: true", mergesApproveCases()},
		{"first-parent", "history: first-parent", firstParentCases()},
		{"require_target", "require_target: true", targetCases(t)},
	} {
		for _, c := range group.cases {
			t.Run(group.name+" "+c.name, func(t *testing.T) {
				r, from := rooted(t, group.setting)
				tip, tags := c.build(r, from.Commit)
				v := r.verifyTags(from, tip, tags...)
				if diff := cmp.Diff(sortedTags(c.want), sortedTags(r.show(v))); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				checkTagInvariants(t, r, from, tip, tags, v)
			})
		}
	}
}

// TestForgeDetail explains the forge's buttons.
func TestForgeDetail(t *testing.T) {
	r, from := rooted(t)
	v := r.verify(from, r.commit("hub", "Squash", shop("2"), from.Commit))
	for _, word := range []string{"hub is a forge", "squashing, rebasing", "merge commit"} {
		if !strings.Contains(v.Refusal.Detail, word) {
			t.Errorf("%q is not in %q", word, v.Refusal.Detail)
		}
	}
}

// TestTargetOfAnchor: what the anchor holds counts as changed by the first
// commit behind it, and needs a target as any change does.
func TestTargetOfAnchor(t *testing.T) {
	for name, c := range map[string]struct {
		message string
		tags    []string
		refused bool
	}{
		"none":                       {"Two", nil, true},
		"of another branch":          {"Two\n\nDeploy-Target: staging", nil, true},
		"by a trailer":               {"Two\n\nDeploy-Target: main", nil, false},
		"by a tag":                   {"Two", []string{"approve/all/2"}, false},
		"by a tag of one of them":    {"Two", []string{"approve/blog/2"}, true},
		"by a tag of each of them":   {"Two", []string{"approve/blog/2", "approve/web/2"}, false},
		"by a tag of something else": {"Two", []string{"approve/shop/2"}, true},
	} {
		r := newTestRepo(t)
		anchor := r.commit("", "Anchor", edits{
			"trust.yaml": r.targetText(1), "deployments/blog/compose.yaml": "1", "deployments/web/compose.yaml": "1",
		})
		two := r.commit("carol", c.message, edits{"README.md": "2"}, anchor)
		var tags []Hash
		for _, tag := range c.tags {
			tags = append(tags, r.tag("alice", tag, two, "yes"))
		}
		v := r.verifyTags(Position{Commit: anchor, Anchor: true}, two, tags...)
		if refused := v.Refusal != nil && v.Refusal.Reason == ReasonNoTarget; refused != c.refused || refused == (len(v.Approved) > 0) {
			t.Errorf("%s: %s", name, r.show(v))
		}
	}
}

// TestTargetBranch takes the branch's name from the options.
func TestTargetBranch(t *testing.T) {
	r, from := rooted(t, "require_target: true")
	tip := r.commit("alice", "Two\n\nDeploy-Target: prod", edits{"deployments/blog/compose.yaml": "2"}, from.Commit)
	for branch, accepted := range map[string]bool{"": false, "main": false, "prod": true} {
		v, err := Verify(r, from, tip, Options{Now: testNow, Branch: branch})
		if err != nil {
			t.Fatal(err)
		}
		if (v.Refusal == nil) != accepted {
			t.Errorf("branch %q: %s", branch, r.show(v))
		}
	}
}

// TestSignedTrailers are what others act on.
func TestSignedTrailers(t *testing.T) {
	cases := []struct {
		by, trailers string
		floor        bool
		prune        int
	}{
		{"alice", "Rollback-Floor: true", true, 0},
		{"carol", "Rollback-Floor: true", true, 0},
		{"carol", "Rollback-Floor: false", false, 0},
		{"carol", "Rollback-Floor: yes", false, 0},
		{"alice", "Allow-Prune: 3", false, 3},
		{"bob", "Allow-Prune: 3\nAllow-Prune: 12\nAllow-Prune: 2", false, 12},
		{"carol", "Allow-Prune: 3", false, 0},
		{"ci", "Allow-Prune: 3", false, 0},
		{"alice", "Allow-Prune: all", false, 0},
		{"alice", "Allow-Prune: -1", false, 0},
		{"alice", "Allow-Prune: 03", false, 0},
		{"alice", "Allow-Prune:", false, 0},
		{"alice", "Allow-Prune: 99999999999999999999", false, 0},
		{"alice", "allow-prune: 1\nRollback-Floor: true", true, 1},
		{"alice", "Allow-Prune: 3\n\nMore.", false, 0},
	}
	for _, c := range cases {
		r, from := rooted(t)
		v := r.verify(from, r.commit(c.by, "Two\n\n"+c.trailers, edits{"README.md": "2"}, from.Commit))
		if len(v.Commits) != 1 || v.Commits[0].RollbackFloor != c.floor || v.Commits[0].AllowPrune != c.prune {
			t.Errorf("%s %q: %+v", c.by, c.trailers, v.Commits)
		}
	}
}
