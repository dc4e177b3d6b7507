package verifier

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// team is a policy of two people, of whom both have to approve shop.
const team = `version: 2
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: [keys/alice.pub]}
  bob: {keys: [keys/bob.pub]}
rules:
  - {paths: ["deployments/**"], approvals: 1}
  - {paths: ["deployments/shop/**"], approvals: 2}
`

// withTeam brings the policy into force.
func withTeam(t *testing.T) (b *bench, bob *rig.Key) {
	t.Helper()
	b = newBench(t)
	bob = b.mallory // a key is nobody's until a policy names whose it is
	b.claim(b.commit(b.alice, map[string]string{"trust.yaml": team, "keys/bob.pub": bob.Public}), nil)
	if b.Record().TrustVersion != 2 {
		t.Fatalf("the policy is not in force: %+v", b.Record().Refusal)
	}
	return b, bob
}

// evidence claims a commit with what judging it read and nothing else, as a
// leader does.
func (b *bench) evidence(commit signing.Hash) {
	b.t.Helper()
	all := cluster.NewMemoryObjects()
	if err := all.Put(allObjects(b.t.Context(), b.t, b.repo.Dir)); err != nil {
		b.t.Fatal(err)
	}
	offered, err := b.Evaluate(all, commit, b.tags)
	if err != nil {
		b.t.Fatal(err)
	}
	recorder := signing.NewRecorder(all)
	e, err := b.Evaluate(recorder, commit, offered.Tags())
	if err != nil {
		b.t.Fatal(err)
	}
	if diff := cmp.Diff(offered.Verdict, e.Verdict); diff != "" {
		b.t.Errorf("the verdict by the tags that count alone differs:\n%s", diff)
	}
	var objects []cluster.StoredObject
	for _, id := range recorder.IDs() {
		object, err := all.Object(id)
		if err != nil {
			b.t.Fatal(err)
		}
		objects = append(objects, cluster.StoredObject{ID: id, Object: object})
	}
	b.apply(b.now, &cluster.PutObjects{Objects: objects})
	last, _ := b.state.Read().LastClaim()
	b.apply(b.now, &cluster.AdvanceRevision{Claim: cluster.Claim{
		Number: last.Number + 1, From: e.From.Commit, Commit: commit, Digest: e.Digest, Tags: e.Tags(),
	}})
	b.judgeAll()
}

// TestApprovalArrivesLater: what waits is approved by a tag on every node, from
// the evidence in the log alone, and meanwhile others go on. That the tag is
// moved or deleted changes nothing.
func TestApprovalArrivesLater(t *testing.T) {
	b, bob := withTeam(t)
	follower := b.follower(t)
	change := b.deploy(b.alice, "shop", "nginx:1")
	b.evidence(change)
	other := b.deploy(b.alice, "blog", "nginx:1")
	b.evidence(other)
	if b.image("shop") != "" || b.image("blog") != "nginx:1" {
		t.Fatalf("runs %q and %q", b.image("shop"), b.image("blog"))
	}
	pending := b.View().Pending
	if len(pending) != 1 || pending[0].Unit != "shop" || pending[0].Revision != change || pending[0].Need != 2 ||
		!cmp.Equal(pending[0].Have, []string{"alice"}) || !cmp.Equal(pending[0].Eligible, []string{"bob"}) {
		t.Fatalf("pending %+v", pending)
	}

	junk := b.tag(b.alice, "approve/shop/mine", change) // the author again
	tag := b.tag(bob, "approve/shop/1", change)
	e, err := b.Evaluate(b.objectsOf(), other, b.tags)
	if err != nil || !e.Moved() || !cmp.Equal(e.Tags(), []signing.Hash{tag}) {
		t.Fatalf("moved %v by %v, want by %s alone: %v", e.Moved(), e.Tags(), tag, err)
	}
	b.evidence(other)
	if has := b.state.Read().HasObject(junk); has {
		t.Error("a tag that does not count is in the log")
	}
	follower.catchUp(b)
	for _, node := range []*bench{b, follower} {
		if node.image("shop") != "nginx:1" || len(node.View().Pending) != 0 {
			t.Errorf("runs %q, pending %+v", node.image("shop"), node.View().Pending)
		}
		shop := node.View().Deployments["shop"]
		if len(shop.Signers) != 2 || shop.Claim != 4 {
			t.Errorf("signed by %+v, brought by claim %d", shop.Signers, shop.Claim)
		}
	}

	// The same again is nothing new; nor is it that the tag is gone.
	for _, tags := range [][]signing.Hash{b.tags, nil} {
		if e, err := b.Evaluate(b.objectsOf(), other, tags); err != nil || e.Moved() {
			t.Errorf("with %v it moves again (%v)", tags, err)
		}
	}
	b.tags = nil
	b.evidence(b.deploy(b.alice, "blog", "nginx:2"))
	if b.image("shop") != "nginx:1" {
		t.Errorf("without the tag shop runs %q", b.image("shop"))
	}
	spec := b.View().Deployments["shop"].Desired.Service("web").SpecHash
	if proof, err := b.Prove("shop", "web", b.View().Deployments["shop"].Revision, spec); err != nil || len(proof.Signers) != 2 {
		t.Errorf("proof %+v: %v", proof, err)
	}
}

// TestApprovalsOneByOne: what one signer approved counts on, though their tag is
// gone when the next one comes.
func TestApprovalsOneByOne(t *testing.T) {
	b, bob := withTeam(t)
	carol := rig.Must[*rig.Key](t)(rig.StartGit(t).NewSSHKey(t.Context(), "carol", "ed25519"))
	three := strings.NewReplacer("version: 2", "version: 3", "rules:", "  carol: {keys: [keys/carol.pub]}\nrules:", "approvals: 2", "approvals: 3").Replace(team)
	b.claim(b.commit(b.alice, map[string]string{"trust.yaml": three, "keys/carol.pub": carol.Public}), nil)
	change := b.deploy(b.alice, "shop", "nginx:1")
	b.evidence(change)

	b.tag(bob, "approve/shop/1", change)
	if e, err := b.Evaluate(b.objectsOf(), change, b.tags); err != nil || !e.Moved() {
		t.Fatalf("the second of three approvals is nothing to claim (%v)", err)
	}
	b.evidence(change)
	if pending := b.View().Pending; len(pending) != 1 || !cmp.Equal(pending[0].Have, []string{"alice", "bob"}) {
		t.Fatalf("pending %+v", pending)
	}
	b.tags = nil // bob deletes his tag
	if e, err := b.Evaluate(b.objectsOf(), change, nil); err != nil || e.Moved() {
		t.Errorf("that a tag is gone moves something (%v)", err)
	}
	b.tag(carol, "approve/shop/2", change)
	b.evidence(change)
	if b.image("shop") != "nginx:1" || len(b.View().Deployments["shop"].Signers) != 3 {
		t.Errorf("runs %q, signed by %+v", b.image("shop"), b.View().Deployments["shop"].Signers)
	}
}

// objectsOf is the whole repository, as its mirror has it.
func (b *bench) objectsOf() signing.Source {
	b.t.Helper()
	all := cluster.NewMemoryObjects()
	if err := all.Put(allObjects(b.t.Context(), b.t, b.repo.Dir)); err != nil {
		b.t.Fatal(err)
	}
	return all
}

// TestClaimWithoutItsTag: a leader that leaves a tag out of its claim, or its
// object out of the log, gets nothing approved.
func TestClaimWithoutItsTag(t *testing.T) {
	b, bob := withTeam(t)
	change := b.deploy(b.alice, "shop", "nginx:1")
	b.claim(change, nil)
	tag := b.tag(bob, "approve/shop/1", change)
	b.claim(change, func(c *cluster.Claim) { c.Tags = nil })
	if record := b.Record(); record.Refusal == nil || record.Refusal.Reason != ReasonDigest || b.image("shop") != "" {
		t.Errorf("refusal %+v, runs %q", record.Refusal, b.image("shop"))
	}
	b.claim(change, nil)
	if b.image("shop") != "nginx:1" {
		t.Errorf("with tag %s shop runs %q: %+v", tag, b.image("shop"), b.Record().Refusal)
	}
}

// TestPolicyOutdated: what a new policy would not approve is marked and runs on,
// on nodes that were there and on one that joins later.
func TestPolicyOutdated(t *testing.T) {
	b := newBench(t)
	b.claim(b.deploy(b.alice, "shop", "nginx:1"), nil)
	b.claim(b.deploy(b.alice, "blog", "nginx:1"), nil)
	b.claim(b.commit(b.alice, map[string]string{"trust.yaml": team, "keys/bob.pub": b.mallory.Public}), nil)
	follower := b.follower(t)
	for _, node := range []*bench{b, follower} {
		shop, blog := node.View().Deployments["shop"], node.View().Deployments["blog"]
		if shop.Outdated == nil || shop.Outdated.Suspect || !strings.Contains(shop.Outdated.Reason, "1 of 2 approvals") {
			t.Errorf("shop stands %+v", shop.Outdated)
		}
		if blog.Outdated != nil {
			t.Errorf("blog stands %+v", blog.Outdated)
		}
		if node.image("shop") != "nginx:1" {
			t.Errorf("shop runs %q", node.image("shop"))
		}
	}

	// Approved anew it is as good as any.
	change := b.deploy(b.alice, "shop", "nginx:2")
	b.tag(b.mallory, "approve/shop/1", change)
	b.claim(change, nil)
	shop := b.View().Deployments["shop"]
	if shop.Outdated != nil || b.image("shop") != "nginx:2" {
		t.Errorf("shop stands %+v and runs %q: %+v", shop.Outdated, b.image("shop"), b.Record().Refusal)
	}
	if shop.Previous == nil || shop.Previous.NoReturn == "" {
		t.Errorf("it may be rolled back to what would not be approved: %+v", shop.Previous)
	}
}

// TestSuspect: what a compromised key approved is marked, and runs on.
func TestSuspect(t *testing.T) {
	b, bob := withTeam(t)
	b.claim(b.deploy(bob, "blog", "nginx:1"), nil)
	signers := b.View().Deployments["blog"].Signers
	revoked := strings.Replace(strings.Replace(team, "version: 2", "version: 3", 1), "rules:", "revoked:\n  - {key: \""+signers[0].Key+
		"\", since: 2026-01-01T00:00:00Z, compromised: true, reason: \"laptop lost\"}\nrules:", 1)
	b.claim(b.commit(b.alice, map[string]string{"trust.yaml": revoked}), nil)
	blog := b.View().Deployments["blog"]
	if blog.Outdated == nil || !blog.Outdated.Suspect || !strings.Contains(blog.Outdated.Reason, "laptop lost") || b.image("blog") != "nginx:1" {
		t.Errorf("blog stands %+v and runs %q: %+v", blog.Outdated, b.image("blog"), b.Record().Refusal)
	}
	b.claim(b.deploy(bob, "blog", "nginx:2"), nil)
	if b.image("blog") != "nginx:1" || b.Record().Refusal == nil || b.Record().Refusal.Reason != signing.ReasonRevoked {
		t.Errorf("runs %q, refusal %+v", b.image("blog"), b.Record().Refusal)
	}
}

// TestRollbackFloor: nothing goes back behind the commit that says so.
func TestRollbackFloor(t *testing.T) {
	b := newBench(t)
	b.claim(b.deploy(b.alice, "shop", "nginx:1"), nil)
	b.claim(b.deploy(b.alice, "shop", "nginx:2"), nil)
	if previous := b.View().Deployments["shop"].Previous; previous == nil || previous.NoReturn != "" {
		t.Fatalf("previous %+v", previous)
	}
	text := rig.Must[string](t)(b.repo.CommitFiles(t.Context(), map[string]string{"README": "schema 2"},
		rig.CommitOptions{Message: "Migrate\n\nRollback-Floor: true", Key: b.alice}))
	floor := rig.Must[signing.Hash](t)(signing.ParseHash(text))
	b.claim(floor, nil)
	if previous := b.View().Deployments["shop"].Previous; previous == nil || !strings.Contains(previous.NoReturn, floor.Short()) {
		t.Errorf("previous %+v", previous)
	}
	b.claim(b.deploy(b.alice, "shop", "nginx:3"), nil)
	b.claim(b.deploy(b.alice, "shop", "nginx:4"), nil)
	if previous := b.View().Deployments["shop"].Previous; previous == nil || previous.NoReturn != "" {
		t.Errorf("previous %+v", previous)
	}
}

// TestReanchorSigned: root's order to go to a rewritten history is evidence, and
// every node follows it by its own judgement.
func TestReanchorSigned(t *testing.T) {
	b := newBench(t)
	b.claim(b.deploy(b.alice, "shop", "nginx:1"), nil)
	follower := b.follower(t)
	accepted := b.Record().Position.Commit

	rig.Must[string](t)(b.repo.Git(t.Context(), "checkout", "-q", "--orphan", "rewritten"))
	start := b.commit(b.alice, map[string]string{"README": "without the big file"})
	tip := b.deploy(b.alice, "shop", "nginx:2")
	b.claim(tip, nil)
	if b.Record().Position.Commit != accepted || b.Record().Refusal.Reason != signing.ReasonRewritten {
		t.Fatalf("accepted %s, refusal %+v", b.Record().Position.Commit, b.Record().Refusal)
	}
	text := rig.Must[string](t)(b.repo.Tag(t.Context(), "approve/reanchor/1", start.String(),
		rig.CommitOptions{Message: "Reanchor: " + accepted.String(), Key: b.alice}))
	b.tags = []signing.Hash{rig.Must[signing.Hash](t)(signing.ParseHash(text))}
	b.claim(tip, nil)
	follower.catchUp(b)
	for _, node := range []*bench{b, follower} {
		if node.Record().Position.Commit != tip || node.image("shop") != "nginx:2" || node.Record().Refusal != nil {
			t.Errorf("accepted %s, runs %q, refusal %+v", node.Record().Position.Commit, node.image("shop"), node.Record().Refusal)
		}
	}
}
