package consensus

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestThreeNodesFailOver(t *testing.T) {
	r := newRig(t, 3)
	r.bootstrap()
	first := r.leader()
	first.mustPropose("one")
	for _, n := range r.nodes {
		n.state.waitFor(t, "one")
	}
	follower := r.others(first)[0]
	_, err := follower.propose("elsewhere")
	var notLeader *NotLeaderError
	if !errors.As(err, &notLeader) || notLeader.Leader != first.name || notLeader.Address != first.address || !errors.Is(err, ErrNotLeader) {
		t.Errorf("propose on a follower: %v, want the leader's name and address", err)
	}
	if follower.LastContact().IsZero() {
		t.Error("a follower has heard of no leader")
	}

	// The leader is cut off. It must stop leading before it knows why, and what
	// it could not bring to a majority must never be applied.
	term := first.Term()
	first.isolate()
	_, err = first.propose("lost")
	if !errors.Is(err, ErrUncertain) && !errors.Is(err, ErrNotLeader) {
		t.Errorf("propose without a majority: %v, want %v or %v", err, ErrUncertain, ErrNotLeader)
	}
	second := r.leader(r.others(first)...)
	if second.Term() <= term {
		t.Errorf("term %d after %d", second.Term(), term)
	}
	second.mustPropose("two")
	first.heal()
	for _, n := range r.nodes {
		n.state.waitFor(t, "one two")
	}

	// A node that was away catches up.
	third := r.others(second)[0]
	if err := third.stop(); err != nil {
		t.Fatal(err)
	}
	second.mustPropose("three")
	third.open()
	third.run()
	third.state.waitFor(t, "one two three")
}

// A node that was away for longer than the log reaches back gets a snapshot.
func TestSnapshotIsInstalled(t *testing.T) {
	r := newRig(t, 3)
	r.bootstrap()
	leader := r.leader()
	away := r.others(leader)[0]
	leader.mustPropose("one")
	away.state.waitFor(t, "one")
	away.isolate()
	leader.mustPropose("two")
	config := leader.raft.ReloadableConfig()
	config.TrailingLogs = 0
	if err := leader.raft.ReloadConfig(config); err != nil {
		t.Fatal(err)
	}
	if err := leader.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	leader.mustPropose("three")
	away.heal()
	away.state.waitFor(t, "one two three")
	if away.state.loads == 0 {
		t.Error("no snapshot was loaded")
	}
}

func TestLeadershipTransfer(t *testing.T) {
	r := newRig(t, 3)
	r.bootstrap()
	first := r.leader()
	first.mustPropose("one")
	for _, n := range r.nodes {
		n.state.waitFor(t, "one")
	}
	// On a loaded machine the other may not win its election in time.
	for first.IsLeader() {
		if err := first.LeadershipTransfer(r.ctx); r.ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	second := r.leader(r.others(first)...)
	second.mustPropose("two")

	// A planned stop hands over by itself.
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
	third := r.leader(r.others(second)...)
	if _, _, err := third.WaitLeader(t.Context()); err != nil {
		t.Error(err)
	}
	third.state.waitFor(t, "one two")
}

func TestWhileLeaderFollowsTheTerms(t *testing.T) {
	r := newRig(t, 3)
	r.bootstrap()
	leader := r.leader()
	leader.mustPropose("one")

	type term struct {
		past  string
		cause error
	}
	begun, ended := make(chan term, 8), make(chan term, 8)
	ctx, cancel := context.WithCancel(t.Context())
	var loop sync.WaitGroup
	result := make(chan error, 1)
	loop.Go(func() {
		result <- leader.WhileLeader(ctx, func(ctx context.Context) error {
			begun <- term{past: leader.state.messages()}
			<-ctx.Done()
			ended <- term{cause: context.Cause(ctx)}
			return errors.New("stopped half-way") // after the end of the term: no reason to give up
		})
	})
	defer loop.Wait()
	defer cancel()
	if got := receive(t, begun); got.past != "one" {
		t.Errorf("the term began with %q applied", got.past)
	}

	// Without a majority the lease runs out.
	leader.isolate()
	if got := receive(t, ended); !errors.Is(got.cause, ErrTermEnded) {
		t.Errorf("the term ended by %v, want %v", got.cause, ErrTermEnded)
	}
	second := r.leader(r.others(leader)...)
	second.mustPropose("two")
	leader.heal()
	leader.state.waitFor(t, "one two")

	// Leading again, it sees what the other leader did in between.
	for !leader.IsLeader() {
		if at := r.leader(); at != leader {
			// The transfer goes to whoever is furthest along, which may be the third,
			// and may time out on a loaded machine.
			if err := at.LeadershipTransfer(r.ctx); r.ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	if got := receive(t, begun); got.past != "one two" {
		t.Errorf("the second term began with %q applied, want all that was committed before", got.past)
	}
	cancel()
	if got := receive(t, ended); !errors.Is(got.cause, context.Canceled) {
		t.Errorf("the term ended by %v, want %v", got.cause, context.Canceled)
	}
	if err := <-result; err != nil {
		t.Errorf("WhileLeader: %v", err)
	}
}

func TestWhileLeaderErrors(t *testing.T) {
	n := single(t)
	broken := errors.New("broken")
	if err := n.WhileLeader(t.Context(), func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error of fn: got %v", err)
	}

	// A sign of lost leadership in a term that goes on: fn is called again.
	calls := 0
	err := n.WhileLeader(t.Context(), func(context.Context) error {
		switch calls++; calls {
		case 1:
			return &NotLeaderError{}
		case 2:
			return ErrDisk
		}
		return broken
	})
	if !errors.Is(err, broken) || calls != 3 {
		t.Errorf("%d calls, %v; want 3 and %v", calls, err, broken)
	}

	// fn that is done early is not called again in the same term.
	ctx, cancel := context.WithCancel(t.Context())
	calls = 0
	done := make(chan error, 1)
	called := make(chan struct{}, 8)
	go func() {
		done <- n.WhileLeader(ctx, func(context.Context) error {
			calls++
			called <- struct{}{}
			return nil
		})
	}()
	receive(t, called)
	n.mustPropose("one")
	cancel()
	if err := receive(t, done); err != nil || calls != 1 {
		t.Errorf("%d calls, %v; want 1", calls, err)
	}

	// Run's end ends the term and the waiting.
	begun := make(chan struct{})
	var cause error
	go func() {
		done <- n.WhileLeader(t.Context(), func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			cause = context.Cause(ctx)
			return ctx.Err()
		})
	}()
	receive(t, begun)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, done); !errors.Is(err, ErrNotRunning) || !errors.Is(cause, ErrTermEnded) {
		t.Errorf("WhileLeader: %v, want %v; cause %v, want %v", err, ErrNotRunning, cause, ErrTermEnded)
	}
}

// A term that is lost and won again before anybody looked is a new term.
func TestLeadershipFlap(t *testing.T) {
	l := newLeadership()
	l.gain()
	first, changed := l.term()
	if first == nil {
		t.Fatal("not leading after gain")
	}
	l.gain()
	second, _ := l.term()
	if !isClosed(first) || !isClosed(changed) || second == nil || isClosed(second) {
		t.Error("the flap was not seen")
	}
	l.lose()
	if third, _ := l.term(); third != nil || !isClosed(second) {
		t.Error("leading after lose")
	}
	l.lose() // once more does no harm
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		return *new(T)
	}
}
