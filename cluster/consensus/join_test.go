package consensus

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
)

// form bootstraps the first node and lets the others join as non-voters.
func (r *rig) form() *testNode {
	r.t.Helper()
	first := r.nodes[0]
	first.open()
	if err := first.Bootstrap(); err != nil {
		r.t.Fatal(err)
	}
	first.run()
	r.leader(first)
	for _, n := range r.others(first) {
		n.join = true
		n.open()
		n.run()
		if err := first.AddNonvoter(r.ctx, n.name, n.address); err != nil {
			r.t.Fatal(err)
		}
	}
	return first
}

func TestJoin(t *testing.T) {
	r := newRig(t, 3)
	first := r.form()
	first.mustPropose("one")
	joined := r.nodes[1]
	joined.state.waitFor(t, "one")
	if joined.Stats().Role != "follower" || joined.Stats().Voters != 1 || len(joined.Servers()) != 3 {
		t.Errorf("joined as %+v among %+v", joined.Stats(), joined.Servers())
	}

	// A log is taken up as it is, with Join and without.
	for _, join := range []bool{true, false} {
		joined.join = join
		joined.restart()
		eventually(t, "it hears of its leader", joined.Quorum)
		joined.state.waitFor(t, "one")
	}

	// It votes when it is told to, and can lead.
	for _, n := range r.others(first) {
		if err := first.Promote(r.ctx, n.name); err != nil {
			t.Fatal(err)
		}
	}
	first.isolate()
	second := r.leader(r.others(first)...)
	second.mustPropose("two")
	first.heal()
	first.state.waitFor(t, "one two")
}

// A node that waits for its leader holds no election: it would be one of one.
func TestJoiningNodeDoesNotStand(t *testing.T) {
	n := newRig(t, 1).nodes[0]
	n.join = true
	n.open()
	timedOut := make(chan struct{}, 16)
	n.cfg.Logger = slog.New(slog.NewTextHandler(writerFunc(func(line []byte) {
		if strings.Contains(string(line), "no known peers, aborting election") {
			timedOut <- struct{}{}
		}
	}), nil))
	n.run()
	receive(t, timedOut)
	if stats := n.Stats(); stats.Role != "follower" || stats.Term != 0 || stats.LastIndex != 0 {
		t.Errorf("a node without a configuration: %+v", stats)
	}
	if n.Quorum() || n.Servers() != nil {
		t.Errorf("it knows of %+v", n.Servers())
	}

	// It is still waiting after a restart, and still needs to be told.
	n.restart()
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n.join = false
	n.open()
	if has, err := n.HasState(); has || err != nil {
		t.Errorf("has state = %v, %v", has, err)
	}
	if err := n.Run(t.Context()); !errors.Is(err, ErrNoState) {
		t.Errorf("Run without Join: %v, want %v", err, ErrNoState)
	}
}

// Join makes a log where there is none, and nothing else good.
func TestJoinRefusesDamage(t *testing.T) {
	n := single(t)
	n.rig.leader()
	n.mustPropose("one")
	if err := errors.Join(n.Snapshot(t.Context()), n.stop(), os.Remove(logPath(n))); err != nil {
		t.Fatal(err)
	}
	n.join = true
	n.open()
	if err := n.Run(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("Run: %v, want %v", err, ErrDamaged)
	}
	if _, err := os.Stat(logPath(n)); err == nil {
		t.Error("a log was made")
	}
}

// writerFunc is an io.Writer.
type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
