package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// node records a node's state, as the leader does.
func (l *fakeLog) node(t *testing.T, name string, state cluster.NodeState) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.apply(&cluster.UpdateNode{Node: cluster.Node{Name: name, Address: name + ":7000", State: state}}); err != nil {
		t.Fatal(err)
	}
}

// where is the node of the one replica that is not final, "" when there is not
// one.
func (l *fakeLog) where() string {
	where := ""
	for _, r := range l.state.Read().Replicas() {
		switch {
		case r.Phase.Final():
		case where != "":
			return ""
		default:
			where = r.Node
		}
	}
	return where
}

// TestNodeGoesDown loses and replaces at once what a node ran when it is
// recorded as Down, and leaves it there when the node returns.
func TestNodeGoesDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, v := newFakeLog(t), &fakeViews{changed: make(chan struct{}), view: webView(t)}
		l.node(t, "n2", cluster.NodeReady)
		start(t, l, v)
		await(t, func() bool { return l.where() == "n1" })
		l.report(t, cluster.Healthy)
		await(t, func() bool { _, ok := l.state.Read().DeploymentStatus("shop"); return ok })

		l.node(t, "n1", cluster.NodeSuspect)
		before := l.count()
		<-time.After(time.Hour) // the bubble's clock
		if got := l.count(); got != before {
			t.Errorf("%d proposals about a Suspect node", got-before)
		}
		at := time.Now()
		l.node(t, "n1", cluster.NodeDown)
		await(t, func() bool { return l.where() == "n2" })
		if took := time.Since(at); took > DefaultConfig().Ceiling {
			t.Errorf("replaced after %s, want at once", took)
		}
		if got := l.count(); got != before+1 {
			t.Errorf("%d plans to lose and replace", got-before)
		}
		l.report(t, cluster.Healthy)
		l.node(t, "n1", cluster.NodeReady)
		<-time.After(time.Hour) // the bubble's clock
		if got := l.state.Read().Replicas(); len(got) != 1 || got[0].Node != "n2" {
			t.Errorf("after its return: %+v", got)
		}
	})
}

// TestLoopWaitsOutMassLoss asks for the pause with each plan and is back when it
// is over, though nothing has changed.
func TestLoopWaitsOutMassLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, v := newFakeLog(t), &fakeViews{changed: make(chan struct{}), view: webView(t)}
		l.node(t, "n2", cluster.NodeReady)
		until := time.Now().Add(time.Minute)
		config := DefaultConfig()
		config.MassLossUntil = func() time.Time { return until }
		startWith(t, l, v, config)
		await(t, func() bool { return l.where() == "n1" })
		l.report(t, cluster.Healthy)
		l.node(t, "n1", cluster.NodeDown)
		await(t, func() bool { s, _ := l.state.Read().Service("shop", "web"); return s.Reason != "" })
		if got := l.where(); got != "n1" {
			t.Fatalf("moved to %q during the pause", got)
		}
		await(t, func() bool { return l.where() == "n2" })
		if late := time.Since(until); late < 0 || late > 10*time.Millisecond {
			t.Errorf("moved %s after the pause", late)
		}
	})
}

// nodeFalls is a log in which a node goes Down between the making of the first
// plan and its arrival.
type nodeFalls struct {
	*fakeLog
	t      *testing.T
	fallen bool
	err    error // what became of the plan
}

// Propose implements Proposer.
func (l *nodeFalls) Propose(ctx context.Context, c cluster.Command) error {
	first := !l.fallen
	if first {
		l.fallen = true
		l.node(l.t, "n1", cluster.NodeDown)
	}
	err := l.fakeLog.Propose(ctx, c)
	if first {
		l.err = err
	}
	return err
}

// TestPlanForFallenNode refuses a plan that was made while its node was Ready,
// and makes another.
func TestPlanForFallenNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, v := newFakeLog(t), &fakeViews{changed: make(chan struct{}), view: webView(t)}
		l.node(t, "n2", cluster.NodeReady)
		falls := &nodeFalls{fakeLog: l, t: t}
		s, err := New(l.state, v, falls, slog.New(slog.DiscardHandler), DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		runUntilDone(t, s)
		await(t, func() bool { return l.where() != "" })
		if l.where() != "n2" || !errors.Is(falls.err, cluster.ErrConflict) {
			t.Errorf("placed on %s, the first plan: %v", l.where(), falls.err)
		}
	})
}
