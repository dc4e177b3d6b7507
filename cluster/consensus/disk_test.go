package consensus

import (
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/jaco-sh/jaco/cluster"
)

// three returns three nodes that have applied "one", and the leader.
func three(t *testing.T) (*rig, *testNode) {
	t.Helper()
	r := newRig(t, 3)
	r.bootstrap()
	leader := r.leader()
	leader.mustPropose("one")
	for _, n := range r.nodes {
		n.state.waitFor(t, "one")
	}
	return r, leader
}

// large is a message that a full disk does not take.
func large() string { return "large-" + strings.Repeat("x", 2000) }

// A leader whose disk refuses an entry makes way at once, does not come back
// while that lasts, and catches up afterwards. A full disk still takes a vote.
func TestLeaderWithFullDiskMakesWay(t *testing.T) {
	r, full := three(t)
	full.disk.refuse(big)
	begun := time.Now()
	_, err := full.propose(large())
	if !errors.Is(err, ErrDisk) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free space") {
		t.Fatalf("propose: %v, want %v and advice", err, ErrDisk)
	}
	second := r.leader(r.others(full)...)
	second.mustPropose("two")
	t.Logf("another leader has committed a write after %v", time.Since(begun))
	full.state.waitFor(t, "one two") // it takes small entries
	if fault := full.Stats().Fault; !errors.Is(fault, syscall.ENOSPC) {
		t.Errorf("a small entry has cleared the fault: %v", fault)
	}
	err = second.LeadershipTransferTo(r.ctx, full.name)
	for errors.Is(err, ErrNotLeader) { // a busy machine elects more than once
		second = r.leader(r.others(full)...)
		err = second.LeadershipTransferTo(r.ctx, full.name)
	}
	if !errors.Is(err, ErrNotTransferred) {
		t.Errorf("transfer to the full node: %v, want %v", err, ErrNotTransferred)
	}
	second.mustPropose("three")
	second = r.leader(r.others(full)...)

	// With the second gone, the full one has to vote for the third.
	second.isolate()
	third := r.others(second)[0]
	if third == full {
		third = r.others(second)[1]
	}
	if got := r.leader(full, third); got != third {
		t.Errorf("%s leads, whose disk is full", got.name)
	}
	third.mustPropose("four")
	second.heal()

	full.disk.refuse(nil)
	eventually(t, "the fault passes", func() bool { return full.Stats().Fault == nil })
	third.mustPropose(large())
	for _, n := range r.nodes {
		n.state.waitFor(t, "one two three four "+large())
	}
}

// A disk that takes nothing at all: no vote is given that is not written, and
// the node can neither follow into a new term nor stop its raft by trying.
func TestNodeWithoutADisk(t *testing.T) {
	r, broken := three(t)
	broken.disk.refuse(everything)
	if _, err := broken.propose("lost"); !errors.Is(err, ErrDisk) {
		t.Fatalf("propose: %v, want %v", err, ErrDisk)
	}
	others := r.others(broken)
	second := r.leader(others...)
	second.mustPropose("two")

	// Of three, one is gone and one cannot vote: there is no leader.
	second.isolate()
	third := others[0]
	if third == second {
		third = others[1]
	}
	eventually(t, "the third stands for election", func() bool { return third.Stats().Role == "candidate" })
	eventually(t, "the leader steps down", func() bool { return !second.IsLeader() })
	if r.quorum() {
		t.Error("there is a quorum")
	}
	if _, err := broken.propose("x"); !errors.Is(err, ErrNotLeader) {
		t.Errorf("raft stands still: %v", err)
	}

	broken.disk.refuse(nil)
	r.leader(broken, third).mustPropose("three")
	second.heal()
	for _, n := range r.nodes {
		n.state.waitFor(t, "one two three")
	}
}

// quorum reports whether any node knows a leader.
func (r *rig) quorum() bool {
	for _, n := range r.nodes {
		if n.Quorum() {
			return true
		}
	}
	return false
}

func TestFollowerWithFullDiskLags(t *testing.T) {
	r, leader := three(t)
	follower := r.others(leader)[0]
	follower.disk.refuse(everything)
	leader.mustPropose("two")
	leader.mustPropose("three")
	eventually(t, "the follower says so", func() bool { return follower.Stats().Fault != nil })
	if got := follower.state.messages(); got != "one" {
		t.Errorf("the follower has applied %q", got)
	}
	if !leader.IsLeader() || !follower.Quorum() {
		t.Error("the leader has gone")
	}
	follower.disk.refuse(nil)
	follower.state.waitFor(t, "one two three")
	eventually(t, "the fault passes", func() bool { return follower.Stats().Fault == nil })
}

// What the leader's state cannot store stops its state, not the cluster.
func TestLeaderWithStuckStateFallsSilent(t *testing.T) {
	for _, name := range []string{"raft goes on", "raft stands still"} {
		t.Run(name, func(t *testing.T) {
			r, stuck := three(t)
			stuck.state.refuse(cluster.ErrStorage)
			hold, release := barred(t)
			if name == "raft stands still" {
				stuck.disk.refuse(func(w write) bool {
					if len(w.entries) > 0 && strings.Contains(string(w.entries[0].Data), "held") {
						<-hold
					}
					return false
				})
			}
			var proposals sync.WaitGroup
			begun := time.Now()
			for _, message := range []string{"two", "held"} {
				proposals.Go(func() { _, _ = stuck.propose(message) })
				eventually(t, "the state is stuck", func() bool { return stuck.Stats().Fault != nil })
			}
			second := r.leader(r.others(stuck)...)
			second.mustPropose("three")
			t.Logf("another leader has committed a write after %v", time.Since(begun))
			if got := second.state.messages(); !strings.HasPrefix(got, "one two ") {
				t.Errorf("the new leader has %q", got)
			}
			release()
			stuck.state.refuse(nil)
			proposals.Wait()
			for _, n := range r.nodes {
				n.state.waitFor(t, second.state.messages())
			}
		})
	}
}

// barred returns a channel that holds up its readers until release is called,
// or the test ends.
func barred(t *testing.T) (hold <-chan struct{}, release func()) {
	t.Helper()
	closed := make(chan struct{})
	release = sync.OnceFunc(func() { close(closed) })
	t.Cleanup(release)
	return closed, release
}

// refuse makes Apply return err; nil is all is well.
func (m *memory) refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apply = func(uint64, string) error { return err }
}

// A leader whose disk neither takes nor refuses an entry falls silent.
func TestLeaderWithHangingDiskFallsSilent(t *testing.T) {
	r := newRig(t, 3)
	r.hangs = 2 * retryEvery
	r.bootstrap()
	hanging := r.leader()
	hold, release := barred(t)
	hanging.disk.refuse(func(w write) bool {
		if len(w.entries) > 0 {
			<-hold
		}
		return false
	})
	done := make(chan error, 1)
	go func() {
		_, err := hanging.propose("late")
		done <- err
	}()
	second := r.leader(r.others(hanging)...)
	second.mustPropose("two")
	release()
	if err := receive(t, done); err == nil {
		t.Error("an entry that nobody else has was acknowledged")
	}
	for _, n := range r.nodes {
		n.state.waitFor(t, "two")
	}
}

// The end of a log that is to be replaced stays until the disk takes what
// replaces it; raft would wait for ever for entries that it believes to have.
func TestEndOfLogIsReplacedAtOnce(t *testing.T) {
	r, first := three(t)
	first.isolate()
	for _, message := range []string{"lost", "lost", "lost"} {
		if _, err := first.propose(message); err == nil {
			t.Fatal("a proposal without a majority succeeded")
		}
		if !first.IsLeader() {
			break
		}
	}
	eventually(t, "the leader steps down", func() bool { return !first.IsLeader() })
	kept := first.Stats().LastIndex
	second := r.leader(r.others(first)...)
	second.mustPropose("two")
	// It would take the cut, and not the entry.
	asked := make(chan struct{}, 64)
	first.disk.refuse(func(w write) bool {
		if w.key == keyProbe && w.size >= probeSize || len(w.entries) > 0 {
			select {
			case asked <- struct{}{}:
			default:
			}
			return true
		}
		return false
	})
	first.heal()
	receive(t, asked)
	receive(t, asked)
	if last, err := first.guard.LastIndex(); err != nil || last != kept {
		t.Errorf("the log ends at %d, %v; it ended at %d", last, err, kept)
	}
	first.disk.refuse(nil)
	for _, n := range r.nodes {
		n.state.waitFor(t, "one two")
	}
}

// Raft has put a change of membership into force that its disk then refused.
func TestHalfMadeMembershipEndsRun(t *testing.T) {
	n := single(t)
	n.rig.leader()
	full := func(w write) bool { return w.size >= probeSize }
	n.disk.refuse(full)
	if err := n.AddNonvoter(t.Context(), "node-9", "127.0.0.1:9"); !errors.Is(err, ErrDisk) {
		t.Errorf("change on a full disk: %v, want %v", err, ErrDisk)
	}
	if got := who(n); got != " node-1*" {
		t.Errorf("membership is%s", got)
	}
	n.disk.refuse(nil)
	eventually(t, "the fault passes", func() bool { return n.Stats().Fault == nil })
	n.rig.leader()

	n.disk.refuse(func(w write) bool { return len(w.entries) > 0 && w.entries[0].Type == raft.LogConfiguration })
	if err := n.AddNonvoter(t.Context(), "node-9", "127.0.0.1:9"); !errors.Is(err, ErrDisk) {
		t.Errorf("change that is refused half-way: %v, want %v", err, ErrDisk)
	}
	err := receive(t, n.ended)
	n.ended <- err // for the rig
	if !errors.Is(err, ErrDisk) || !strings.Contains(err.Error(), "start again") {
		t.Errorf("Run: %v, want %v and advice", err, ErrDisk)
	}
	n.open()
	n.run()
	n.rig.leader()
	if got := who(n); got != " node-1*" {
		t.Errorf("membership is%s after the restart", got)
	}
}

// Quorum tells at once who leads and who follows, and soon who does not.
func TestQuorum(t *testing.T) {
	r, leader := three(t)
	for _, n := range r.nodes {
		eventually(t, n.name+" knows of a leader", n.Quorum)
	}
	follower := r.others(leader)[0]
	follower.isolate()
	eventually(t, "a follower without a leader says so", func() bool { return !follower.Quorum() })
	if !leader.Quorum() {
		t.Error("the leader lost its majority")
	}

	// Raft forgets a leader that is gone unless it stands still.
	still := r.others(leader)[1]
	hold, release := barred(t)
	held := make(chan struct{}, 1)
	still.disk.refuse(func(w write) bool {
		if len(w.entries) > 0 {
			select {
			case held <- struct{}{}:
			default:
			}
			<-hold
		}
		return false
	})
	proposed := make(chan error, 1)
	go func() {
		_, err := leader.propose("two")
		proposed <- err
	}()
	receive(t, held)
	leader.isolate()
	eventually(t, "the leader has no majority", func() bool { return !leader.Quorum() })
	eventually(t, "a follower that stands still does not count on its leader", func() bool { return !still.Quorum() })
	release()
	receive(t, proposed)
}
