package consensus

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// guarded returns a guard over a moody disk in memory, as of a running raft.
func guarded(t *testing.T) (*guard, *moodyDisk) {
	t.Helper()
	memory := raft.NewInmemStore()
	below := &moodyDisk{disk: struct {
		raft.LogStore
		raft.StableStore
	}{memory, memory}}
	faults := newFaults("dir", testConfig(t, "dir", "node-1", "a:1").Logger)
	faults.live.Store(true)
	return newGuard(below, faults), below
}

func entries(first, last uint64) []*raft.Log {
	var out []*raft.Log
	for i := first; i <= last; i++ {
		out = append(out, &raft.Log{Index: i, Term: 1, Data: []byte("data")})
	}
	return out
}

// A vote of which only a part was written must not look like one that was
// given: raft grants a vote again that it finds written, without a look at
// the candidate.
func TestVoteIsWrittenWholeOrNot(t *testing.T) {
	g, below := guarded(t)
	vote := func(term uint64, name string) error {
		if err := g.SetUint64([]byte(keyLastVoteTerm), term); err != nil {
			return err
		}
		return g.Set([]byte(keyLastVoteName), []byte(name))
	}
	written := func() (uint64, string) {
		term, _ := g.GetUint64([]byte(keyLastVoteTerm))
		name, _ := g.Get([]byte(keyLastVoteName))
		return term, string(name)
	}
	if err := vote(3, "b"); err != nil {
		t.Fatal(err)
	}
	if term, name := written(); term != 3 || name != "b" {
		t.Fatalf("wrote %s in term %d", name, term)
	}
	for _, refused := range []string{keyLastVoteName, keyLastVoteTerm} {
		below.refuse(func(w write) bool { return w.key == refused })
		if err := vote(5, "c"); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("without %s: %v", refused, err)
		}
		if term, name := written(); term == 5 {
			t.Errorf("without %s: a vote for %s in term %d", refused, name, term)
		}
	}
	below.refuse(nil)
	if err := vote(5, "c"); err != nil {
		t.Fatal(err)
	}
	if term, name := written(); term != 5 || name != "c" {
		t.Errorf("wrote %s in term %d", name, term)
	}
}

// Raft begins by writing the term that it has read.
func TestKnownTermNeedsNoDisk(t *testing.T) {
	g, below := guarded(t)
	g.faults.live.Store(false)
	if err := g.SetUint64([]byte(keyCurrentTerm), 4); err != nil {
		t.Fatal(err)
	}
	below.refuse(everything)
	if err := g.SetUint64([]byte(keyCurrentTerm), 4); err != nil {
		t.Errorf("the same term: %v", err)
	}
	if err := g.SetUint64([]byte(keyCurrentTerm), 5); err == nil {
		t.Error("another term was written")
	}
	if g.term.Load() != 4 || newGuard(below, g.faults).term.Load() != 4 {
		t.Errorf("term %d", g.term.Load())
	}
}

// watched runs the guard's watch within a bubble until the test ends.
func watched(t *testing.T, g *guard) (end func()) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		g.watch()
		close(ended)
	}()
	return func() {
		close(g.faults.closing)
		<-ended
	}
}

// The fault lasts until the disk has taken as much as it has refused, and
// watch finds that out by itself.
func TestFaultLastsUntilThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, below := guarded(t)
		end := watched(t, g)
		entry := entries(1, 1)
		entry[0].Data = make([]byte, 1<<20)
		below.refuse(func(w write) bool { return w.size > 100_000 })
		if err := g.StoreLogs(entry); err == nil {
			t.Fatal("the disk took it")
		}
		if err := g.StoreLogs(entries(1, 9)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			g.faults.wait()
			synctest.Wait()
			if g.faults.current() == nil {
				t.Error("the fault has passed")
			}
			if err := g.ready(); err != nil {
				t.Errorf("it takes a vote: %v", err)
			}
		}
		below.refuse(nil)
		g.faults.wait()
		synctest.Wait()
		if err := g.faults.current(); err != nil {
			t.Errorf("the fault lasts: %v", err)
		}
		if left, err := g.Get([]byte(keyProbe)); err != nil || len(left) > 8 {
			t.Errorf("%d bytes of the probe are left, %v", len(left), err)
		}
		end()
	})
}

// A disk that hangs is not waited for.
func TestDiskThatHangsIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, below := guarded(t)
		end := watched(t, g)
		hold := make(chan struct{})
		below.refuse(func(write) bool { <-hold; return false })
		for range 3 {
			begun := time.Now()
			if err := g.ready(); !errors.Is(err, errHangs) || time.Since(begun) != readyWithin {
				t.Errorf("%v after %v, want %v after %v", err, time.Since(begun), errHangs, readyWithin)
			}
		}
		close(hold)
		synctest.Wait()
		if err := g.ready(); err != nil {
			t.Error(err)
		}
		end()
		<-time.After(2 * readyFor)
		if err := g.ready(); !errors.Is(err, ErrNotRunning) {
			t.Errorf("after the end: %v, want %v", err, ErrNotRunning)
		}
	})
}

// A disk that takes the end of the log away and then not what replaces it,
// though there was room a moment before, leaves raft with a wrong idea of it.
func TestHalfReplacedEndIsFatal(t *testing.T) {
	g, below := guarded(t)
	if err := g.StoreLogs(entries(1, 9)); err != nil {
		t.Fatal(err)
	}
	last := func() uint64 {
		index, err := g.LastIndex()
		if err != nil {
			t.Fatal(err)
		}
		return index
	}
	below.refuse(func(w write) bool { return len(w.entries) > 0 })
	if err := g.DeleteRange(5, 9); err != nil || last() != 9 {
		t.Fatalf("the cut did not wait: %v, %d", err, last())
	}
	if err := g.StoreLogs(entries(5, 6)); err == nil {
		t.Fatal("the disk took it")
	}
	err := receive(t, g.faults.ended)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "from entry 5 on") {
		t.Errorf("fatal fault is %v", err)
	}

	// Old entries go at once, all of them too.
	below.refuse(nil)
	if err := g.DeleteRange(1, 2); err != nil {
		t.Fatal(err)
	}
	if first, err := g.FirstIndex(); err != nil || first != 3 {
		t.Errorf("the log begins at %d, %v", first, err)
	}
	if err := g.DeleteRange(3, last()); err != nil || last() != 0 {
		t.Errorf("the log ends at %d, %v", last(), err)
	}
	if err := g.StoreLogs(entries(10, 12)); err != nil || last() != 12 {
		t.Errorf("the log ends at %d, %v", last(), err)
	}
}

// Raft that stands still does not collect one connection after the other.
func TestGateRefusesWhatRaftDoesNotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{rpcs: make(chan raft.RPC), closed: make(chan struct{})}
		if err := g.deliver(raft.RPC{}); !errors.Is(err, errStuck) {
			t.Errorf("deliver: %v, want %v", err, errStuck)
		}
		answers := make(chan raft.RPCResponse, 1)
		snapshot := strings.NewReader("the rest of a snapshot")
		refuse(raft.RPC{Reader: snapshot, RespChan: answers}, errStuck)
		if answer := <-answers; !errors.Is(answer.Error, errStuck) || snapshot.Len() > 0 {
			t.Errorf("answer %v, %d bytes are left", answer.Error, snapshot.Len())
		}
		close(g.closed)
		if err := g.deliver(raft.RPC{}); !errors.Is(err, raft.ErrTransportShutdown) {
			t.Errorf("deliver: %v, want %v", err, raft.ErrTransportShutdown)
		}
	})
}
