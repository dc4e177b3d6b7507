package signing

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestAnchor pins and activates nothing; the first descendant is judged as if
// every path in its tree had changed.
func TestAnchor(t *testing.T) {
	r := newTestRepo(t)
	anchor := r.commit("", "Anchor", edits{
		"trust.yaml": r.trustText(1), "keys/bob.pub": r.public("bob"),
		"deployments/shop/compose.yaml": "1", "deployments/blog/compose.yaml": "1", "cluster.yaml": "1",
	})
	position, trust, err := Anchor(r, anchor)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Position{Commit: anchor, Anchor: true}, position); diff != "" || trust.Version != 1 {
		t.Errorf("version %d (-want +got):\n%s", trust.Version, diff)
	}
	if v := r.verify(position, anchor); !cmp.Equal(v, &Verdict{Position: position}) {
		t.Errorf("the anchor itself: %s", r.show(v))
	}

	tip := r.commit("bob", "First", edits{"README.md": "2"}, anchor)
	want := `at First
  - First by bob, 0 paths
blog: First by bob in First, new
cluster: never approved
  cluster.yaml: bob in First
shop: First by bob in First, new
cluster waits: cluster.yaml; has bob, needs 1 of alice
`
	if diff := cmp.Diff(want, r.show(r.verify(position, tip))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAnchorMerge is a first descendant that merges: those who signed the side
// count beside the merge's signer.
func TestAnchorMerge(t *testing.T) {
	r, anchor := anchored(t)
	side := r.commit("bob", "Side", shop("1"), anchor)
	tip := r.merge("carol", "Merge", edits{"deployments/blog/compose.yaml": "1"}, anchor, anchor, side)
	want := `at Merge
  - Side by bob, 1 paths
  - Merge by carol, 1 paths
blog: Merge by carol in Merge, new
shop: Merge by bob in Side, new
`
	if diff := cmp.Diff(want, r.show(r.verify(Position{Commit: anchor, Anchor: true}, tip))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAnchorSide has a side commit below the first descendant: its signer
// vouches for what it changes only.
func TestAnchorSide(t *testing.T) {
	r := newTestRepo(t)
	anchor := r.commit("", "Anchor", edits{
		"trust.yaml": r.trustText(1), "keys/bob.pub": r.public("bob"), "deployments/shop/compose.yaml": "1",
	})
	side := r.commit("bob", "Side", edits{"README.md": "2"}, anchor)
	v := r.verify(Position{Commit: anchor, Anchor: true}, r.merge("carol", "Merge", nil, anchor, anchor, side))
	if len(v.Approved) != 0 || len(v.Pending) != 1 || !cmp.Equal(v.Pending[0].Have, []string{"carol"}) {
		t.Errorf("got:\n%s", r.show(v))
	}
}

// TestAnchorRefuses has content at the anchor that no rule or no deployment
// can have: the first descendant is refused for it, until it is gone or ruled.
func TestAnchorRefuses(t *testing.T) {
	for path, reason := range map[string]Reason{
		"deployments/README.md": ReasonNoRule,
		"deployments/Shop/x":    ReasonMalformed,
	} {
		r := newTestRepo(t)
		anchor := r.commit("", "Anchor", edits{"trust.yaml": r.trustText(1), "keys/bob.pub": r.public("bob"), path: "x"})
		from := Position{Commit: anchor, Anchor: true}
		v := r.verify(from, r.commit("bob", "First", edits{"README.md": "2"}, anchor))
		if v.Refusal == nil || v.Refusal.Reason != reason || !cmp.Equal(v.Position, from) {
			t.Errorf("%s: %s", path, r.show(v))
		}
		ruled := r.commit("alice", "Rule", edits{
			"trust.yaml": r.trustText(2, "  - {paths: [deployments/README.md]}"),
		}, anchor)
		v = r.verify(from, ruled)
		if accepted := v.Refusal == nil; accepted != (reason == ReasonNoRule) {
			t.Errorf("%s, with a rule: %s", path, r.show(v))
		}
	}
}

// TestAnchorErrors has no policy to pin.
func TestAnchorErrors(t *testing.T) {
	r := newTestRepo(t)
	if _, _, err := Anchor(r, Hash{1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown commit: %v", err)
	}
	empty := r.commit("alice", "Empty", edits{"README.md": "x"})
	if _, _, err := Anchor(r, empty); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "trust.yaml") {
		t.Errorf("no trust.yaml: %v", err)
	}
	bad := r.commit("alice", "Bad", edits{"trust.yaml": "version: 1\n"})
	if _, _, err := Anchor(r, bad); err == nil || !strings.Contains(err.Error(), `trust.yaml:1: field "root" is missing`) {
		t.Errorf("bad trust.yaml: %v", err)
	}
}

// policy is an edit of trust.yaml: the usual policy with one text replaced.
func policy(r *testRepo, version int, old, new string) edits {
	text := strings.Replace(r.trustText(version), old, new, 1)
	if text == r.trustText(version) {
		r.tb.Fatalf("%q is not in the policy", old)
	}
	return edits{"trust.yaml": text}
}

func signerCases() []approvalCase {
	return []approvalCase{
		{"a new signer signs behind it only", func(r *testRepo, base Hash) Hash {
			add := policy(r, 2, "rules:", fmt.Sprintf("  erin: {keys: [%q]}\nrules:", r.public("erin")))
			two := r.commit("alice", "Policy", add, base)
			return r.commit("erin", "Three", edits{"deployments/blog/compose.yaml": "3"}, two)
		}, `
at Three
  - Policy by alice, 1 paths
  - Three by erin, 1 paths
blog: Three by erin in Three, new
shop: Start by bob in Start
`},
		{"a new signer's side branch comes in behind it", func(r *testRepo, base Hash) Hash {
			side := r.commit("erin", "Side", edits{"deployments/blog/compose.yaml": "3"}, base)
			add := policy(r, 2, "rules:", fmt.Sprintf("  erin: {keys: [%q]}\nrules:", r.public("erin")))
			two := r.commit("alice", "Policy", add, base)
			return r.merge("erin", "Merge", nil, base, two, side)
		}, `
at Merge
  - Policy by alice, 1 paths
  - Side by erin, 1 paths
  - Merge by erin, 0 paths
blog: Merge by erin in Side, new
shop: Start by bob in Start
`},
		{"a new signer before it is unknown", func(r *testRepo, base Hash) Hash {
			early := r.commit("erin", "Early", edits{"deployments/blog/compose.yaml": "3"}, base)
			add := policy(r, 2, "rules:", fmt.Sprintf("  erin: {keys: [%q]}\nrules:", r.public("erin")))
			return r.commit("alice", "Policy", add, early)
		}, `
at Start
blog: Start by bob in Start
shop: Start by bob in Start
refused: Early, unknown-signer
`},
		{"a revoked key signs nothing behind it", func(r *testRepo, base Hash) Hash {
			revoke := edits{"trust.yaml": r.trustText(2, "revoked:", fmt.Sprintf("  - {key: %q}", r.fingerprint("carol")))}
			one := r.commit("carol", "One", edits{"deployments/blog/compose.yaml": "2"}, base)
			two := r.commit("alice", "Policy", revoke, one)
			three := r.commit("carol-laptop", "Three", edits{"deployments/blog/compose.yaml": "3"}, two)
			return r.commit("carol", "Four", edits{"README.md": "4"}, three)
		}, `
at Three
  - One by carol, 1 paths
  - Policy by alice, 1 paths
  - Three by carol, 1 paths
blog: Three by carol in Three, new
shop: Start by bob in Start
refused: Four, revoked-key
`},
	}
}

// waitingCases are units that wait while the policy changes.
func waitingCases() []approvalCase {
	return []approvalCase{
		{"what waited is judged by the new rules", func(r *testRepo, base Hash) Hash {
			two := r.commit("carol", "Two", shop("2"), base)
			return r.commit("alice", "Policy", policy(r, 2, "signers: [bob]", "signers: [bob, carol]"), two)
		}, `
at Policy
  - Two by carol, 1 paths
  - Policy by alice, 1 paths
blog: Start by bob in Start
shop: Policy by carol in Two, new
`},
		{"what waited for another path does not count by a revoked key", func(r *testRepo, base Hash) Hash {
			two := r.commit("bob", "Two", edits{"deployments/shop/images.env": "2", "deployments/shop/compose.yaml": "2"}, base)
			swap := policy(r, 2, "bob: {keys: [keys/bob.pub]}", fmt.Sprintf("bob: {keys: [%q]}", r.public("bob-new")))
			swap["keys/bob.pub"] = gone
			three := r.commit("alice", "Policy", swap, two)
			return r.commit("ci", "Four", edits{"deployments/shop/images.env": "4"}, three)
		}, `
at Four
  - Two by bob, 2 paths
  - Policy by alice, 2 paths
  - Four by ci, 1 paths
blog: Start by bob in Start
shop: Start by bob in Start
  deployments/shop/compose.yaml: bob in Two
  deployments/shop/images.env: ci in Four
shop waits: deployments/shop/compose.yaml; has bob, needs 1 of bob
`},
		{"a key that moved to another signer does not carry approvals along", func(r *testRepo, base Hash) Hash {
			two := r.commit("carol", "Two", shop("2"), base)
			text := strings.Replace(r.trustText(2), "  bob: {keys: [keys/bob.pub]}",
				fmt.Sprintf("  bob: {keys: [%q]}", r.public("carol")), 1)
			text = strings.Replace(text, fmt.Sprintf("carol: {keys: [%q, ", r.public("carol")), "carol: {keys: [", 1)
			return r.commit("alice", "Policy", edits{"trust.yaml": text}, two)
		}, `
at Policy
  - Two by carol, 1 paths
  - Policy by alice, 1 paths
blog: Start by bob in Start
shop: Start by bob in Start
  deployments/shop/compose.yaml: carol in Two
shop waits: deployments/shop/compose.yaml; has carol, needs 1 of bob
`},
		{"new rules change nothing that is approved", func(r *testRepo, base Hash) Hash {
			two := r.commit("bob", "Two", shop("2"), base)
			return r.commit("alice", "Policy", policy(r, 2, "signers: [bob]", "signers: [carol]"), two)
		}, `
at Policy
  - Two by bob, 1 paths
  - Policy by alice, 1 paths
blog: Start by bob in Start
shop: Two by bob in Two, new
`},
		{"a rule that names cluster.yaml", func(r *testRepo, base Hash) Hash {
			two := r.commit("alice", "Policy", edits{"trust.yaml": r.trustText(2, "  - {paths: [cluster.yaml], signers: [ci]}")}, base)
			three := r.commit("ci", "Three", edits{"cluster.yaml": "1"}, two)
			return r.commit("alice", "Four", edits{"cluster.yaml": "2"}, three)
		}, `
at Four
  - Policy by alice, 1 paths
  - Three by ci, 1 paths
  - Four by alice, 1 paths
blog: Start by bob in Start
cluster: Three by ci in Three, new
  cluster.yaml: alice in Four
shop: Start by bob in Start
cluster waits: cluster.yaml; has alice, needs 1 of ci
`},
	}
}

// TestTrustChanges are policies that change on the way: what stands before is
// judged by the old one, what stands behind by the new one.
func TestTrustChanges(t *testing.T) {
	for _, c := range append(signerCases(), waitingCases()...) {
		t.Run(c.name, func(t *testing.T) {
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

// TestKeysArePlain: a claim's digest covers all of keys/, so that what nobody can
// read there, though trust.yaml names it not, would end every later judgement.
func TestKeysArePlain(t *testing.T) {
	for path, content := range map[string]string{"keys/more": submodule, "keys/old.pub": symlink, "keys/a\x1b[2J": "x"} {
		r, from := started(t)
		tip := r.commit("alice", "Policy", edits{"trust.yaml": r.trustText(2), path: content}, from.Commit)
		v := r.verify(from, tip)
		if v.Refusal == nil || v.Refusal.Reason != ReasonTrust || v.Position.Commit != from.Commit {
			t.Errorf("%q: %s", path, r.show(v))
		}
	}
}

// TestTime judges valid_until by the entry's time alone, whatever dates the
// commit carries.
func TestTime(t *testing.T) {
	r, from := started(t)
	old := r.commitAt(1, "dave", "Old", edits{"README.md": "2"}, from.Commit)
	cases := []struct {
		now  time.Time
		want Reason
	}{
		{time.Date(2026, 11, 22, 23, 59, 59, 0, time.UTC), ""},
		{time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), ReasonExpired},
		{time.Date(2026, 11, 23, 1, 0, 0, 0, time.FixedZone("east", 2*3600)), ""},
	}
	for _, c := range cases {
		v, err := Verify(r, from, old, Options{Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		got := Reason("")
		if v.Refusal != nil {
			got = v.Refusal.Reason
		}
		if got != c.want {
			t.Errorf("at %s: %q, want %q", c.now, got, c.want)
		}
	}
}

// TestPending tells a waiting unit's people what to do.
func TestPending(t *testing.T) {
	r, from := started(t, "  - {paths: [deployments/lone/**], signers: [dave]}")
	two := r.commit("carol", "Two", edits{
		"deployments/blog/compose.yaml": "2", "deployments/shop/compose.yaml": "2", "deployments/shop/.env": "2",
		"deployments/lone/compose.yaml": "1",
	}, from.Commit)
	v := r.verify(from, two)
	name := "approve/shop/" + two.Short() + "-2"
	want := []Pending{{
		Unit: "lone", Revision: two, Have: []string{"carol"}, Need: 1,
		Paths:  []string{"deployments/lone/compose.yaml"},
		Reason: "deployments/lone/compose.yaml: signed by carol; by trust.yaml nobody may approve deployments/lone/compose.yaml now: root must change trust.yaml",
	}, {
		Unit: "shop", Revision: two, Have: []string{"carol"}, Need: 1, Eligible: []string{"bob"},
		Paths:   []string{"deployments/shop/.env", "deployments/shop/compose.yaml"},
		Reason:  "deployments/shop/.env and 1 more: signed by carol; waits for the signature of bob",
		Command: `git fetch origin && git tag -s -m "Approve shop" ` + name + " " + two.String() + " && git push origin refs/tags/" + name,
	}}
	if diff := cmp.Diff(want, v.Pending); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if again := r.verify(v.Position, two); !cmp.Equal(again.Pending, want) {
		t.Errorf("from the position alone: %+v", again.Pending)
	}
}
