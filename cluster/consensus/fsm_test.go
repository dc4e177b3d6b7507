package consensus

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

func TestPersistCancelsWhatItCannotWrite(t *testing.T) {
	full := errors.New("full")
	s := snapshot{failingState{full}}
	to := &sink{}
	if err := s.Persist(to); !errors.Is(err, full) || !to.canceled {
		t.Errorf("persist: %v, canceled %v", err, to.canceled)
	}
}

// A snapshot that the leader sent and that does not load leaves the node
// without a state to go on with.
func TestSnapshotThatDoesNotLoadEndsRun(t *testing.T) {
	n := single(t)
	n.rig.leader()
	n.mustPropose("one")
	n.state.mu.Lock()
	n.state.load = func() error { return cluster.ErrCorrupt }
	n.state.mu.Unlock()
	if err := n.fsm.Restore(io.NopCloser(strings.NewReader(""))); !errors.Is(err, cluster.ErrCorrupt) {
		t.Errorf("restore: %v", err)
	}
	err := receive(t, n.ended)
	n.ended <- err // for the rig
	if !errors.Is(err, cluster.ErrCorrupt) {
		t.Errorf("Run: %v, want %v", err, cluster.ErrCorrupt)
	}
}

func TestProposeRefusesWhatItCannotEncode(t *testing.T) {
	n := single(t)
	n.rig.leader()
	before := n.Stats().LastIndex
	if _, err := n.Propose(t.Context(), cluster.Actor{Name: "\xff"}, event("x")); err == nil {
		t.Error("took a name that is not text")
	}
	if after := n.Stats().LastIndex; after != before {
		t.Errorf("the log went from %d to %d", before, after)
	}
}

// Nothing of raft outlives Run.
func TestRunLeavesNoGoroutine(t *testing.T) {
	r := newRig(t, 3)
	r.bootstrap()
	r.leader().mustPropose("one")
	for _, n := range r.nodes {
		n.state.waitFor(t, "one")
	}
	for _, n := range r.nodes {
		if err := n.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	deadline := time.After(patience)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		buffer := make([]byte, 1<<20)
		stacks := string(buffer[:runtime.Stack(buffer, true)])
		if !strings.Contains(stacks, "hashicorp/raft") && !strings.Contains(stacks, "consensus.(*") {
			return
		}
		select {
		case <-again.C: // raft does not await its connection handlers
		case <-deadline:
			t.Fatalf("goroutines are left:\n%s", stacks)
		}
	}
}

// failingState saves nothing.
type failingState struct{ err error }

func (f failingState) Apply(index uint64, _ []byte) cluster.Result {
	return cluster.Result{Index: index}
}
func (f failingState) Save(io.Writer) error { return f.err }
func (f failingState) Load(io.Reader) error { return f.err }
