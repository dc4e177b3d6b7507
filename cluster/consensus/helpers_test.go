package consensus

import (
	"bytes"
	"testing"

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

// logEntry is an entry as raft hands it to the FSM.
func logEntry(t *testing.T, index uint64, message string) *raft.Log {
	t.Helper()
	data, err := cluster.Encode(cluster.Entry{Time: epoch, Command: event(message)})
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Type: raft.LogCommand, Data: data}
}
