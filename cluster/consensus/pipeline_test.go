package consensus

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
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
	p := testPipeline(inner)
	p.silent, p.now = func() error { return stuck }, func() time.Time { return now }
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

// TestPipelineTellsOfCommits: the news goes out for what was sent before, and only
// from the leader of the connection's term.
func TestPipelineTellsOfCommits(t *testing.T) {
	inner := &countedPipeline{}
	p := testPipeline(inner)
	var stuck error
	var term, commit uint64
	var told []appendNews
	p.silent = func() error { return stuck }
	p.leads = func(asked uint64) (uint64, bool) { return commit, asked == term }
	p.send = func(args *raft.AppendEntriesRequest) error {
		if len(args.Entries) != 0 {
			t.Errorf("the news carries %d entries", len(args.Entries))
		}
		told = append(told, newsOf(args))
		return errors.New("lost on the way")
	}
	tell := func(what string, want ...appendNews) {
		t.Helper()
		told = nil
		p.tell()
		if !slices.Equal(told, want) {
			t.Errorf("%s: told %+v, want %+v", what, told, want)
		}
	}
	send := func(args raft.AppendEntriesRequest, want bool) {
		t.Helper()
		before := inner.sent
		if _, err := p.AppendEntries(&args, nil); err != nil {
			t.Fatal(err)
		}
		if sent := inner.sent > before; sent != want {
			t.Errorf("%+v: sent is %v", args, sent)
		}
	}
	commit = 3
	tell("before anything was sent")
	term = 2
	send(raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 7, PrevLogTerm: 1, LeaderCommitIndex: 7,
		Entries: []*raft.Log{{Index: 8, Term: 2}, {Index: 9, Term: 2}}}, true)
	commit = 7
	tell("nothing new")
	commit = 8
	tell("a commit", appendNews{2, 9, 2, 8})
	tell("the same again")
	commit = 12
	tell("more than the follower was sent", appendNews{2, 9, 2, 9})
	send(raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 9, PrevLogTerm: 2, LeaderCommitIndex: 9}, true)
	send(raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 9, PrevLogTerm: 2, LeaderCommitIndex: 9}, false)
	send(raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 9, PrevLogTerm: 2, LeaderCommitIndex: 9,
		Entries: []*raft.Log{{Index: 10, Term: 2}}}, true)
	term = 3
	tell("the leader of another term")
	term, stuck = 2, ErrDisk
	tell("behind a closed gate")
	stuck = nil
	tell("and behind an open one", appendNews{2, 10, 2, 10})
}

// hungPipeline takes nothing until it is closed.
type hungPipeline struct {
	raft.AppendPipeline
	closed chan struct{}
	once   sync.Once
}

func (p *hungPipeline) AppendEntries(*raft.AppendEntriesRequest, *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	<-p.closed
	return nil, raft.ErrPipelineShutdown
}

func (p *hungPipeline) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// TestPipelineGivesUp: an append that never gets its turn ends the pipeline.
func TestPipelineGivesUp(t *testing.T) {
	p := testPipeline(&hungPipeline{closed: make(chan struct{})})
	p.hangs = time.Millisecond
	ended := make(chan error, 1)
	go func() {
		_, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 1}, nil)
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, raft.ErrPipelineShutdown) {
			t.Errorf("an append that hangs: %v, want %v", err, raft.ErrPipelineShutdown)
		}
	case <-time.After(patience):
		t.Fatal("an append that hangs was not given up")
	}
	if p.last.Term != 0 {
		t.Error("what failed counts as sent")
	}
}

// testPipeline stands before inner, in a node that does not lead.
func testPipeline(inner raft.AppendPipeline) *gatedPipeline {
	g := &gate{guard: &guard{}, faults: newFaults("", slog.New(slog.DiscardHandler)), members: &members{}, hangs: patience}
	g.leads = func(uint64) (uint64, bool) { return 0, false }
	return newGatedPipeline(inner, g, func(*raft.AppendEntriesRequest) error { return nil }, time.Now)
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
