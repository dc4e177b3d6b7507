package consensus

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// countedPipeline counts what is sent.
type countedPipeline struct {
	raft.AppendPipeline
	sent int
}

func (p *countedPipeline) AppendEntries(*raft.AppendEntriesRequest, *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.sent++
	return nil, nil
}

// TestPipelineSaysNothingTwice: an empty append goes out when it says something
// new, after entries, and once a second.
func TestPipelineSaysNothingTwice(t *testing.T) {
	now := time.Unix(1000, 0)
	inner := &countedPipeline{}
	var stuck error
	p := &gatedPipeline{AppendPipeline: inner, silent: func() error { return stuck }, now: func() time.Time { return now }}
	entry := []*raft.Log{{Index: 8, Term: 2}}
	for _, step := range []struct {
		what string
		args raft.AppendEntriesRequest
		wait time.Duration // before it
		sent bool
	}{
		{"the first", raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 7, PrevLogTerm: 2, LeaderCommitIndex: 6}, 0, true},
		{"the same", raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 7, PrevLogTerm: 2, LeaderCommitIndex: 6}, 20 * time.Millisecond, false},
		{"a commit", raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 7, PrevLogTerm: 2, LeaderCommitIndex: 7}, 20 * time.Millisecond, true},
		{"the same", raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 7, PrevLogTerm: 2, LeaderCommitIndex: 7}, 20 * time.Millisecond, false},
		{"an entry", raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 7, PrevLogTerm: 2, LeaderCommitIndex: 7, Entries: entry}, 0, true},
		{"the same entry", raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 7, PrevLogTerm: 2, LeaderCommitIndex: 7, Entries: entry}, 0, true},
		{"as before the entry", raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 7, PrevLogTerm: 2, LeaderCommitIndex: 7}, 0, true},
		{"a second later", raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 7, PrevLogTerm: 2, LeaderCommitIndex: 7}, time.Second, true},
		{"another term", raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 7, PrevLogTerm: 2, LeaderCommitIndex: 7}, 0, true},
		{"another term's entry", raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 7, PrevLogTerm: 3, LeaderCommitIndex: 7}, 0, true},
	} {
		now = now.Add(step.wait)
		before := inner.sent
		if _, err := p.AppendEntries(&step.args, nil); err != nil {
			t.Fatal(err)
		}
		if sent := inner.sent > before; sent != step.sent {
			t.Errorf("%s: sent is %v", step.what, sent)
		}
	}
	stuck = ErrDisk
	if _, err := p.AppendEntries(&raft.AppendEntriesRequest{}, nil); !errors.Is(err, ErrDisk) {
		t.Errorf("behind a closed gate: %v", err)
	}
}
