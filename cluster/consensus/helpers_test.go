package consensus

import (
	"bytes"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/jaco-sh/jaco/cluster"
)

// sink is a raft.SnapshotSink in memory.
type sink struct {
	bytes.Buffer
	canceled bool
}

var _ raft.SnapshotSink = (*sink)(nil)

func (s *sink) ID() string    { return "sink" }
func (s *sink) Close() error  { return nil }
func (s *sink) Cancel() error { s.canceled = true; return nil }

// eventually waits until the condition holds, which nothing tells of.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !condition() {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// logEntry is an entry as raft hands it to the FSM.
func logEntry(t *testing.T, index uint64, message string) *raft.Log {
	t.Helper()
	data, err := cluster.Encode(cluster.Entry{Time: epoch, Command: event(message)})
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Type: raft.LogCommand, Data: data}
}
