package signing

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// changeRoot is an edit of the rooted repository's policy.
func changeRoot(r *testRepo, threshold int, root ...string) edits {
	return edits{"trust.yaml": r.rootText(2, threshold, root...)}
}

const trustWaits = "at Start\nblog: Start by bob in Start\n" + shopStart

// thresholdCases change the policy by root of two: alice and bob.
func thresholdCases() []tagCase {
	policy := func(r *testRepo, base Hash) Hash {
		return r.commit("alice", "Policy", changeRoot(r, 2, "alice", "bob", "carol"), base)
	}
	const accepted = "blog: Start by bob in Start\n" + shopStart
	return []tagCase{
		{"with one of two it waits", func(r *testRepo, base Hash) (Hash, []Hash) {
			return policy(r, base), nil
		}, trustWaits + "trust waits: trust.yaml; has alice, needs 2 of bob carol\nrefused: Policy, trust-pending\n"},
		{"nothing behind it is accepted", func(r *testRepo, base Hash) (Hash, []Hash) {
			return r.commit("carol", "Blog", edits{"deployments/blog/compose.yaml": "2"}, policy(r, base)), nil
		}, trustWaits + "trust waits: trust.yaml; has alice, needs 2 of bob carol\nrefused: Policy, trust-pending\n"},
		{"by a tag", func(r *testRepo, base Hash) (Hash, []Hash) {
			at := policy(r, base)
			return at, []Hash{r.tag("bob", "approve/trust/2", at, "yes")}
		}, "at Policy\n  - Policy by alice, 1 paths\n" + accepted + "tag approve/trust/2\n"},
		{"by a tag of a commit behind it", func(r *testRepo, base Hash) (Hash, []Hash) {
			blog := r.commit("carol", "Blog", edits{"deployments/blog/compose.yaml": "2"}, policy(r, base))
			return blog, []Hash{r.tag("bob", "approve/trust/2", blog, "yes")}
		}, "at Blog\n  - Policy by alice, 1 paths\n  - Blog by carol, 1 paths\nblog: Blog by carol in Blog, new\n" + shopStart + "tag approve/trust/2\n"},
		{"by a trailer", func(r *testRepo, base Hash) (Hash, []Hash) {
			at := policy(r, base)
			return r.commit("bob", approves("Yes", at, "trust"), nil, at), nil
		}, "at Yes\n  - Policy by alice, 1 paths\n  - Yes by bob, 0 paths\n" + accepted},
		{"by a trailer behind others", func(r *testRepo, base Hash) (Hash, []Hash) {
			at := policy(r, base)
			blog := r.commit("carol", "Blog", edits{"deployments/blog/compose.yaml": "2"}, at)
			return r.commit("bob", approves("Yes", at, "trust"), nil, blog), nil
		}, "at Yes\n  - Policy by alice, 1 paths\n  - Blog by carol, 1 paths\n  - Yes by bob, 0 paths\nblog: Blog by carol in Blog, new\n" + shopStart},
		{"a bad commit between it and its approval", func(r *testRepo, base Hash) (Hash, []Hash) {
			at := policy(r, base)
			bad := r.commit("", "Bad", edits{"deployments/blog/compose.yaml": "2"}, at)
			return r.commit("bob", approves("Yes", at, "trust"), nil, bad), nil
		}, trustWaits + "trust waits: trust.yaml; has alice, needs 2 of bob carol\nrefused: Policy, trust-pending\n"},
		{"a bad commit behind its approval", func(r *testRepo, base Hash) (Hash, []Hash) {
			at := policy(r, base)
			yes := r.commit("bob", approves("Yes", at, "trust"), nil, at)
			return r.commit("", "Bad", edits{"deployments/blog/compose.yaml": "2"}, yes), nil
		}, "at Yes\n  - Policy by alice, 1 paths\n  - Yes by bob, 0 paths\n" + accepted + "refused: Bad, unsigned\n"},
		{"another trust change behind it", func(r *testRepo, base Hash) (Hash, []Hash) {
			at := policy(r, base)
			again := r.commit("bob", "Again", edits{"trust.yaml": r.rootText(3, 2, "alice", "bob")}, at)
			return again, nil
		}, trustWaits + "trust waits: trust.yaml; has alice, needs 2 of bob carol\nrefused: Policy, trust-pending\n"},
		{"two trust changes, each approved by a tag", func(r *testRepo, base Hash) (Hash, []Hash) {
			at := policy(r, base)
			again := r.commit("carol", "Again", edits{"trust.yaml": r.rootText(3, 2, "bob", "carol")}, at)
			return again, []Hash{r.tag("bob", "approve/trust/2", at, "yes"), r.tag("bob", "approve/trust/3", again, "yes")}
		}, "at Again\n  - Policy by alice, 1 paths\n  - Again by carol, 1 paths\n" + accepted + "tag approve/trust/2\ntag approve/trust/3\n"},
		{"too far from its approval", func(r *testRepo, base Hash) (Hash, []Hash) {
			at := policy(r, base)
			tip := at
			for i := range 8 {
				tip = r.commit("carol", fmt.Sprint("More ", i), nil, tip)
			}
			return r.commit("bob", approves("Yes", at, "trust"), nil, tip), nil
		}, trustWaits + "trust waits: trust.yaml; has alice, needs 2 of bob carol\nrefused: Policy, trust-pending\n"},
	}
}

// noApprovalCases are signatures that approve no trust change.
func noApprovalCases() []tagCase {
	waits := trustWaits + "trust waits: trust.yaml; has alice, needs 2 of bob carol\nrefused: Policy, trust-pending\n"
	tagged := func(by, name string, of func(policy, base Hash) Hash) func(r *testRepo, base Hash) (Hash, []Hash) {
		return func(r *testRepo, base Hash) (Hash, []Hash) {
			at := r.commit("alice", "Policy", changeRoot(r, 2, "alice", "bob", "carol"), base)
			return at, []Hash{r.tag(by, name, of(at, base), "yes")}
		}
	}
	it := func(policy, _ Hash) Hash { return policy }
	return []tagCase{
		{"of the commit before", tagged("bob", "approve/trust/2", func(_, base Hash) Hash { return base }), waits},
		{"of all deployments", tagged("bob", "approve/all/2", it), waits},
		{"of the cluster", tagged("bob", "approve/cluster/2", it), waits},
		{"by the author's second key", tagged("alice-laptop", "approve/trust/2", it), waits},
		{"by a bot", tagged("ci", "approve/trust/2", it), waits},
		{"by one who is root by the new policy only", tagged("carol", "approve/trust/2", it),
			trustWaits + "trust waits: trust.yaml; has alice carol, needs 2 of bob\nrefused: Policy, trust-pending\n"},
		{"a trailer for a deployment", func(r *testRepo, base Hash) (Hash, []Hash) {
			at := r.commit("alice", "Policy", changeRoot(r, 2, "alice", "bob", "carol"), base)
			return r.commit("bob", approves("Yes", at, "shop", "all"), nil, at), nil
		}, waits},
	}
}

// rotationCases replace root.
func rotationCases() []tagCase {
	const accepted = "blog: Start by bob in Start\n" + shopStart
	rotate := func(r *testRepo, base Hash) Hash {
		return r.commit("alice", "Policy", changeRoot(r, 2, "bob", "carol"), base)
	}
	return []tagCase{
		{"with the old threshold alone", func(r *testRepo, base Hash) (Hash, []Hash) {
			at := rotate(r, base)
			return at, []Hash{r.tag("bob", "approve/trust/1", at, "yes")}
		}, trustWaits + "trust waits: trust.yaml; has alice bob, needs 2 of carol\nrefused: Policy, trust-pending\n"},
		{"with the new threshold alone", func(r *testRepo, base Hash) (Hash, []Hash) {
			at := r.commit("bob", "Policy", changeRoot(r, 2, "bob", "carol"), base)
			return at, []Hash{r.tag("carol", "approve/trust/1", at, "yes")}
		}, trustWaits + "trust waits: trust.yaml; has bob carol, needs 2 of alice\nrefused: Policy, trust-pending\n"},
		{"with both", func(r *testRepo, base Hash) (Hash, []Hash) {
			at := rotate(r, base)
			return at, []Hash{r.tag("bob", "approve/trust/1", at, "yes"), r.tag("carol", "approve/trust/2", at, "yes")}
		}, "at Policy\n  - Policy by alice, 1 paths\n" + accepted + "tag approve/trust/1\ntag approve/trust/2\n"},
		{"a key that comes with the new policy", func(r *testRepo, base Hash) (Hash, []Hash) {
			text := strings.Replace(r.rootText(2, 1, "erin"), "  ci:", fmt.Sprintf("  erin: {keys: [%q]}\n  ci:", r.public("erin")), 1)
			at := r.commit("alice", "Policy", edits{"trust.yaml": text}, base)
			return at, []Hash{r.tag("bob", "approve/trust/1", at, "yes"), r.tag("erin", "approve/trust/2", at, "yes")}
		}, "at Policy\n  - Policy by alice, 1 paths\n" + accepted + "tag approve/trust/1\ntag approve/trust/2\n"},
		{"the threshold goes down by the old one", func(r *testRepo, base Hash) (Hash, []Hash) {
			return r.commit("alice", "Policy", changeRoot(r, 1, "alice"), base), nil
		}, trustWaits + "trust waits: trust.yaml; has alice, needs 2 of bob\nrefused: Policy, trust-pending\n"},
	}
}

// TestHeldTrust changes the policy with and without its thresholds.
func TestHeldTrust(t *testing.T) {
	for group, cases := range map[string][]tagCase{
		"threshold": thresholdCases(), "no approval": noApprovalCases(), "rotation": rotationCases(),
	} {
		for _, c := range cases {
			t.Run(group+" "+c.name, func(t *testing.T) {
				r, from := rooted(t)
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

// TestHeldTrustEnd judges a range that ends where the verdict did: whoever
// judges the claim alone finds the same.
func TestHeldTrustEnd(t *testing.T) {
	r, from := rooted(t)
	for _, c := range thresholdCases() {
		tip, tags := c.build(r, from.Commit)
		v := r.verifyTags(from, tip, tags...)
		again := r.verifyTags(from, v.Position.Commit, v.Tags...)
		if again.Refusal != nil || !cmp.Equal(again.Position, v.Position) || !cmp.Equal(again.Commits, v.Commits) {
			t.Errorf("%s: judged to its end:\n%s", c.name, r.show(again))
		}
	}
}

// TestTrustPending says what a trust change waits for.
func TestTrustPending(t *testing.T) {
	r, from := rooted(t)
	tip := r.commit("alice", "Policy", changeRoot(r, 2, "bob", "carol"), from.Commit)
	v := r.verify(from, tip)
	name := "approve/trust/" + tip.Short() + "-2"
	want := []Pending{{
		Unit: TrustUnit, Revision: tip, Have: []string{"alice"}, Need: 2, Eligible: []string{"bob", "carol"}, Paths: []string{"trust.yaml"},
		Reason: "trust change " + tip.Short() + " (version 2) awaits root signatures: 1 of 2 by the trust.yaml before it, " +
			"0 of 2 by the new one; has alice, waits for bob, carol",
		Command: `git fetch origin && git tag -s -m "Approve trust.yaml version 2" ` + name + " " + tip.String() + " && git push origin refs/tags/" + name,
	}}
	if diff := cmp.Diff(want, v.Pending); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if v.Refusal.Detail != want[0].Reason || !strings.Contains(v.Refusal.Advice, want[0].Command) {
		t.Errorf("refusal %+v", v.Refusal)
	}
}
