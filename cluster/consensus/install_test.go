package consensus

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/jaco-sh/jaco/cluster"
)

// compact leaves nothing in the node's log that its snapshot holds.
func compact(t *testing.T, n *testNode) {
	t.Helper()
	config := n.raft.ReloadableConfig()
	config.TrailingLogs = 0
	if err := errors.Join(n.raft.ReloadConfig(config), n.Snapshot(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// 50 MiB of state reach a node that was away and one whose disk is gone.
func TestLargeSnapshotIsInstalled(t *testing.T) {
	r := newRig(t, 3)
	leader := r.form()
	lagging, wiped := r.nodes[1], r.nodes[2]
	leader.mustPropose("one")
	for _, n := range r.nodes {
		n.state.waitFor(t, "one")
	}
	lagging.isolate()
	if err := errors.Join(wiped.stop(), os.RemoveAll(wiped.dir)); err != nil {
		t.Fatal(err)
	}
	leader.mustPropose("ballast")
	compact(t, leader)
	leader.mustPropose("two")

	begun := time.Now()
	lagging.heal()
	wiped.join = true
	wiped.open()
	wiped.run()
	for _, n := range []*testNode{lagging, wiped} {
		n.state.waitFor(t, "one ballast two")
		if n.state.loads == 0 || len(n.state.ballast) != ballastSize || !bytes.Equal(n.state.ballast, leader.state.ballast) {
			t.Errorf("%s has %d bytes after %d loads", n.name, len(n.state.ballast), n.state.loads)
		}
	}
	t.Logf("2 × %d MiB after %v", ballastSize>>20, time.Since(begun))
	if !leader.IsLeader() {
		t.Error("the leader has changed")
	}
}

// behind returns a leader and a follower that is cut off, to which the leader
// must send a snapshot.
func behind(t *testing.T) (leader, away *testNode) {
	t.Helper()
	r, leader := three(t)
	away = r.others(leader)[0]
	away.isolate()
	leader.mustPropose("two")
	compact(t, leader)
	return leader, away
}

// A snapshot that a follower cannot load ends its Run with the reason, and the
// others go on.
func TestBadSnapshotEndsTheFollower(t *testing.T) {
	leader, away := behind(t)
	away.state.mu.Lock()
	away.state.load = func() error { return cluster.ErrCorrupt }
	away.state.mu.Unlock()
	away.heal()
	err := receive(t, away.ended)
	away.ended <- err // for the rig
	if !errors.Is(err, cluster.ErrCorrupt) {
		t.Errorf("Run: %v, want %v", err, cluster.ErrCorrupt)
	}
	leader.mustPropose("three")
}

// A snapshot for which the state's own disk has no room waits for it, and
// what was handled before is handled after: an unknown command ends Run.
func TestSnapshotWaitsForRoom(t *testing.T) {
	leader, away := behind(t)
	attempts := 0
	away.state.mu.Lock()
	away.state.load = func() error {
		if attempts++; attempts < 3 {
			return cluster.ErrStorage
		}
		return nil
	}
	away.state.mu.Unlock()
	away.heal()
	eventually(t, "it says what it waits for", func() bool { return errors.Is(away.Stats().Fault, cluster.ErrStorage) })
	away.state.waitFor(t, "one two")
	eventually(t, "the fault passes", func() bool { return away.Stats().Fault == nil })
	eventually(t, "the membership of the snapshot is known", func() bool {
		index, present := away.fsm.members.get()
		return index > 0 && len(present) == 3
	})

	away.state.refuse(cluster.ErrUnknownCommand)
	leader.mustPropose("three")
	err := receive(t, away.ended)
	away.ended <- err // for the rig
	if !errors.Is(err, cluster.ErrUnknownCommand) {
		t.Errorf("Run: %v, want %v", err, cluster.ErrUnknownCommand)
	}
}

// A snapshot that is gone when it is to be read again ends Run.
func TestSnapshotThatIsGoneEndsRun(t *testing.T) {
	n := single(t)
	n.rig.leader()
	gone := errors.New("gone")
	n.state.mu.Lock()
	n.state.load = func() error { return cluster.ErrStorage }
	n.state.mu.Unlock()
	source := storedSnapshot{io.NopCloser(&bytes.Buffer{}), &raft.SnapshotMeta{}, func() (io.ReadCloser, error) { return nil, gone }}
	if err := n.fsm.Restore(source); !errors.Is(err, gone) || !errors.Is(err, cluster.ErrStorage) {
		t.Errorf("restore: %v", err)
	}
	err := receive(t, n.ended)
	n.ended <- err // for the rig
	if !errors.Is(err, gone) {
		t.Errorf("Run: %v, want %v", err, gone)
	}
}
