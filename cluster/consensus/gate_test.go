package consensus

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestPipelineDoesNotRepeatItself: an idle leader says once a second what raft
// has it say thirty times, and news at once.
func TestPipelineDoesNotRepeatItself(t *testing.T) {
	var s said
	now := time.Unix(1, 0)
	request := func(term, previous, commit uint64, entries ...*raft.Log) *raft.AppendEntriesRequest {
		return &raft.AppendEntriesRequest{Term: term, PrevLogEntry: previous, PrevLogTerm: term, LeaderCommitIndex: commit, Entries: entries}
	}
	for _, step := range []struct {
		name  string
		after time.Duration
		args  *raft.AppendEntriesRequest
		want  bool
	}{
		{"the first", 0, request(2, 10, 10), false},
		{"the same", 30 * time.Millisecond, request(2, 10, 10), true},
		{"entries", 30 * time.Millisecond, request(2, 10, 10, &raft.Log{Index: 11}), false},
		{"entries again", time.Millisecond, request(2, 11, 10, &raft.Log{Index: 12}), false},
		{"after entries", 30 * time.Millisecond, request(2, 12, 10), false},
		{"the same after entries", 30 * time.Millisecond, request(2, 12, 10), true},
		{"a new commit index", 30 * time.Millisecond, request(2, 12, 12), false},
		{"the same commit index", 900 * time.Millisecond, request(2, 12, 12), true},
		{"the same after a second", 100 * time.Millisecond, request(2, 12, 12), false},
		{"a new term", 30 * time.Millisecond, request(3, 12, 12), false},
	} {
		now = now.Add(step.after)
		if got := s.again(step.args, now); got != step.want {
			t.Errorf("%s: left out %v, want %v", step.name, got, step.want)
		}
	}
}
