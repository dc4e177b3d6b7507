package verifier

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// run judges in the background, as a daemon does, until the test ends.
func (b *bench) run() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	})
}

// rewritten starts another history with its own trust and returns its first
// commit, of which nobody who is trusted knows.
func (b *bench) rewritten(key *rig.Key) signing.Hash {
	b.t.Helper()
	rig.Must[string](b.t)(b.repo.Git(b.t.Context(), "checkout", "-q", "--orphan", "rewritten"))
	rig.Must[string](b.t)(b.repo.Git(b.t.Context(), "rm", "-rfq", "."))
	return b.commit(key, map[string]string{
		"trust.yaml": strings.ReplaceAll(trustText, "alice", "mallory"), "keys/mallory.pub": key.Public,
	})
}

// TestReanchorByTheOperator: the pin moves on the node whose operator says so,
// and on no other, whatever the log holds.
func TestReanchorByTheOperator(t *testing.T) {
	b := newBench(t)
	b.claim(b.deploy(b.alice, "shop", "nginx:1"), nil)
	b.claim(b.deploy(b.alice, "old", "nginx:1"), nil)
	other := b.follower(t)
	old := b.Record().Position.Commit

	anchor := b.rewritten(b.mallory)
	tip := b.deploy(b.mallory, "shop", "nginx:2")
	b.load()
	b.assert(tip, nil)
	b.judgeAll()
	other.catchUp(b)
	for _, node := range []*bench{b, other} {
		if record := node.Record(); record.Position.Commit != old || record.Refusal == nil || record.Refusal.Reason != signing.ReasonRewritten {
			t.Fatalf("accepted %s, refusal %+v", record.Position.Commit, record.Refusal)
		}
	}

	order := func(commit signing.Hash) (*signing.Trust, error) {
		return b.reanchor(reanchorOrder{src: b.objects, commit: commit, by: "uid:7"})
	}
	trust, err := order(anchor)
	if err != nil {
		t.Fatal(err)
	}
	if len(trust.Root) != 1 || trust.Root[0] != "mallory" {
		t.Errorf("root is %v", trust.Root)
	}
	// What runs goes on until a commit on top says otherwise.
	if b.image("shop") != "nginx:1" || b.image("old") != "nginx:1" {
		t.Errorf("runs %q and %q", b.image("shop"), b.image("old"))
	}
	entry, _ := b.lastEntry()
	if entry.Reason != ReasonReanchored || entry.Commit != anchor || !strings.Contains(entry.Detail, "uid:7") || !strings.Contains(entry.Detail, old.String()) {
		t.Errorf("the journal says %+v", entry)
	}
	if event := b.events[len(b.events)-1]; event.Type != cluster.EventReanchored || event.Revision != anchor {
		t.Errorf("told of %+v", event)
	}
	if last := b.LastRefused(); last == nil || last.Reason == ReasonReanchored {
		t.Errorf("status would show %+v as refused", last)
	}
	if _, err := order(anchor); err == nil {
		t.Error("moved to where it is")
	}
	if _, err := order(signing.Hash{1}); err == nil {
		t.Error("moved to a commit that is not there")
	}

	// What was refused is judged again from the new pin, and is refused again for
	// its digest alone; the next claim is good. The other node refuses all of it.
	b.judgeAll()
	if refusal := b.Record().Refusal; refusal == nil || refusal.Reason != ReasonDigest {
		t.Errorf("refusal %+v", refusal)
	}
	next := b.deploy(b.mallory, "shop", "nginx:3")
	if err := b.objects.Put(allObjects(t.Context(), t, b.repo.Dir)); err != nil {
		t.Fatal(err)
	}
	e, err := b.Evaluate(b.objects, next, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.load()
	b.assert(next, func(c *cluster.Claim) { c.Digest = e.Digest })
	b.judgeAll()
	other.catchUp(b)
	if b.Record().Position.Commit != next {
		t.Fatalf("accepted %s: %+v", b.Record().Position.Commit, b.Record().Refusal)
	}
	if b.image("shop") != "nginx:3" || len(b.View().Deployments) != 1 {
		t.Errorf("runs %v", b.View().Deployments)
	}
	if other.Record().Position.Commit != old || other.image("shop") != "nginx:1" {
		t.Error("the other node followed")
	}

	// It holds after a restart, and what runs can be proved from the new pin.
	record := rig.Must[*Record](t)(b.store.Load())
	if len(record.Reanchors) != 1 || record.Reanchors[0].By != "uid:7" || record.Anchor != b.anchor {
		t.Errorf("kept %+v", record.Reanchors)
	}
	spec := b.View().Deployments["shop"].Desired.Service("web").SpecHash
	if proof, err := b.Prove("shop", "web", next, spec); err != nil || proof.Signers[0].Signer != "mallory" {
		t.Errorf("proof %+v: %v", proof, err)
	}
}

// TestReanchorWhileRunning: the order is taken by Run, which judges on from
// there, and its caller is answered or gives up.
func TestReanchorWhileRunning(t *testing.T) {
	b := newBench(t)
	b.claim(b.deploy(b.alice, "shop", "nginx:1"), nil)
	anchor := b.rewritten(b.mallory)
	b.load()
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Reanchor(stopped, b.objects, anchor, "uid:7"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	b.run()
	if _, err := b.Reanchor(t.Context(), b.objects, anchor, "uid:7"); err != nil {
		t.Fatal(err)
	}
	if commit := b.Record().Position.Commit; commit != anchor {
		t.Errorf("pinned %s, want %s", commit, anchor)
	}
}
