package consensus

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// countedPipeline counts what is sent.
type countedPipeline struct {
	raft.AppendPipeline
	sent int
	last raft.AppendEntriesRequest
}

func (p *countedPipeline) AppendEntries(args *raft.AppendEntriesRequest, _ *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.sent++
	p.last = *args
	return nil, nil
}

func nobodyLeads(uint64) (uint64, bool) { return 0, false }

// TestPipelineSaysNothingTwice: an empty append goes out when it says something
// new, after entries, and once a second.
func TestPipelineSaysNothingTwice(t *testing.T) {
	now := time.Unix(1000, 0)
	inner := &countedPipeline{}
	var stuck error
	p := newGatedPipeline(inner, func() error { return stuck }, nobodyLeads, func() time.Time { return now })
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

// TestPipelineTellsOfCommits: the news goes out behind what was sent before, and
// only from the leader of the connection's term.
func TestPipelineTellsOfCommits(t *testing.T) {
	now := time.Unix(1000, 0)
	inner := &countedPipeline{}
	var stuck error
	var term, commit uint64
	leads := func(asked uint64) (uint64, bool) { return commit, asked == term }
	p := newGatedPipeline(inner, func() error { return stuck }, leads, func() time.Time { return now })
	tell := func(what string, want bool) {
		t.Helper()
		before := inner.sent
		p.tell()
		if sent := inner.sent > before; sent != want {
			t.Errorf("%s: told is %v", what, sent)
		}
	}
	send := func(args raft.AppendEntriesRequest) {
		t.Helper()
		if _, err := p.AppendEntries(&args, nil); err != nil {
			t.Fatal(err)
		}
	}
	commit = 3
	tell("before anything was sent", false)
	term = 2
	send(raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 7, PrevLogTerm: 1, LeaderCommitIndex: 7,
		Entries: []*raft.Log{{Index: 8, Term: 2}, {Index: 9, Term: 2}}})
	commit = 7
	tell("nothing new", false)
	commit = 9
	tell("a commit", true)
	if got, want := newsOf(&inner.last), (appendNews{2, 9, 2, 9}); got != want || len(inner.last.Entries) != 0 {
		t.Errorf("told %+v with %d entries, want %+v without", got, len(inner.last.Entries), want)
	}
	tell("the same again", false)
	before := inner.sent
	send(raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 9, PrevLogTerm: 2, LeaderCommitIndex: 9})
	if inner.sent != before {
		t.Error("raft repeats what was told")
	}
	commit, term = 10, 3
	tell("the leader of another term", false)
	term, stuck = 2, ErrDisk
	tell("behind a closed gate", false)
}

// TestFollowersHearOfCommits: with a CommitTimeout that would be far too long,
// every follower applies an entry all the same.
func TestFollowersHearOfCommits(t *testing.T) {
	r := newRig(t, 3)
	r.commitTimeout = 4 * patience
	r.bootstrap()
	leader := r.leader()
	eventually(t, "the followers' connections are open", func() bool {
		ps := leader.fsm.pipelines
		ps.mu.Lock()
		defer ps.mu.Unlock()
		return len(ps.open) == 2
	})
	want := ""
	for _, message := range []string{"one", "two", "three"} {
		leader.mustPropose(message)
		want = strings.TrimSpace(want + " " + message)
		for _, n := range r.nodes {
			n.state.waitFor(t, want)
		}
	}
}
