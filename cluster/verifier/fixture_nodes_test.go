package verifier

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// node returns another machine over the same repository, with nothing in its
// state and no trust store.
func (b *bench) node(t *testing.T) *bench {
	t.Helper()
	n := &bench{
		t: t, repo: b.repo, alice: b.alice, mallory: b.mallory, now: b.now, anchor: b.anchor,
		dir: filepath.Join(t.TempDir(), "trust"), objects: cluster.NewMemoryObjects(), audit: cluster.NewMemoryAudit(),
	}
	n.state = rig.Must[*cluster.State](t)(cluster.NewState(n.objects, n.audit))
	return n
}

// follower returns another member that pinned the anchor and follows b's log.
func (b *bench) follower(t *testing.T) *bench {
	t.Helper()
	n := b.node(t)
	if _, err := PinAnchor(n.dir, testCluster, b.objects, b.anchor); err != nil {
		t.Fatal(err)
	}
	n.open()
	n.catchUp(b)
	return n
}

// catchUp applies what b's log has more, and judges it.
func (b *bench) catchUp(from *bench) {
	b.t.Helper()
	b.replay(from.log[b.index:]...)
	b.judgeAll()
}

func (b *bench) judgeAll() {
	b.t.Helper()
	if err := b.step(); err != nil {
		b.t.Fatal(err)
	}
}

// fork returns a log that agrees with b's up to an index, as a leader that lies
// has one. It judges nothing.
func (b *bench) fork(index uint64) *bench {
	b.t.Helper()
	n := b.node(b.t)
	n.replay(b.log[:index]...)
	return n
}

// digestOf is the digest of what a commit comes to from this node's position.
func (b *bench) digestOf(commit signing.Hash) [32]byte {
	b.t.Helper()
	if err := b.objects.Put(allObjects(b.t.Context(), b.t, b.repo.Dir)); err != nil {
		b.t.Fatal(err)
	}
	e, err := b.Evaluate(b.objects, commit, b.tags)
	if err != nil {
		b.t.Fatal(err)
	}
	return e.Digest
}

// assert applies a claim without asking whether it is true.
func (b *bench) assert(commit signing.Hash, edit func(*cluster.Claim)) {
	b.t.Helper()
	last, _ := b.state.Read().LastClaim()
	claim := cluster.Claim{Number: last.Number + 1, From: b.anchor, Commit: commit}
	at := b.now
	if edit != nil {
		edit(&claim)
		if !claim.Time.IsZero() {
			at = claim.Time
		}
	}
	b.apply(at, &cluster.AdvanceRevision{Claim: claim})
}

// saved is the state's snapshot.
func (b *bench) saved() []byte {
	b.t.Helper()
	var out bytes.Buffer
	if err := b.state.Save(&out); err != nil {
		b.t.Fatal(err)
	}
	return out.Bytes()
}

// install replaces the state by another's, as InstallSnapshot does, and judges
// it.
func (b *bench) install(from *bench) {
	b.t.Helper()
	if err := b.state.Load(bytes.NewReader(from.saved())); err != nil {
		b.t.Fatal(err)
	}
	b.index, b.log = from.index, append([][]byte(nil), from.log...)
	b.judgeAll()
}

// reopen is a restarted daemon: the state is empty until the log is replayed.
func (b *bench) reopen() {
	b.t.Helper()
	b.state = rig.Must[*cluster.State](b.t)(cluster.NewState(b.objects, b.audit))
	b.index, b.log = 0, nil
	b.open()
	b.judgeAll()
}

// lastEntry is the newest entry of the journal, and how many there are.
func (b *bench) lastEntry() (JournalEntry, int) {
	b.t.Helper()
	entries, err := b.Refused()
	if err != nil {
		b.t.Fatal(err)
	}
	if len(entries) == 0 {
		return JournalEntry{}, 0
	}
	return entries[len(entries)-1], len(entries)
}
