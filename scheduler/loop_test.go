package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// fakeLog is a real state with a log of one voter: what is proposed is applied at
// once.
type fakeLog struct {
	mu       sync.Mutex
	state    *cluster.State
	index    uint64
	proposed []cluster.Command
	fail     []error // answers to the next plans, before any is applied
}

func newFakeLog(t *testing.T) *fakeLog {
	t.Helper()
	state, err := cluster.NewState(cluster.NewMemoryObjects(), cluster.NewMemoryAudit())
	if err != nil {
		t.Fatal(err)
	}
	l := &fakeLog{state: state}
	node := cluster.Node{Name: "n1", Address: "10.0.0.1:7000", State: cluster.NodeReady}
	meta := cluster.Meta{ID: "0123456789abcdef", Name: "jaco", CA: []byte("ca"), Anchor: [20]byte{1}, Repo: cluster.Repo{URL: "/srv/fleet.git", Branch: "main"}}
	if err := l.apply(&cluster.InitCluster{Meta: meta, Node: node}); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *fakeLog) apply(c cluster.Command) error {
	data, err := cluster.Encode(cluster.Entry{Time: time.Now(), Actor: cluster.Actor{Kind: cluster.ActorNode, Name: "n1"}, Command: c})
	if err != nil {
		return err
	}
	l.index++
	return l.state.Apply(l.index, data).Err
}

// Propose implements Proposer.
func (l *fakeLog) Propose(_ context.Context, c cluster.Command) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proposed = append(l.proposed, c)
	if len(l.fail) > 0 {
		err := l.fail[0]
		l.fail = l.fail[1:]
		return err
	}
	return l.apply(c)
}

// report lets the node report on every replica.
func (l *fakeLog) report(t *testing.T, phase cluster.Phase) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.state.Read().Replicas() {
		err := l.apply(&cluster.ReportReplicas{Node: r.Node, Reports: []cluster.ReplicaReport{{ID: r.ID, Phase: phase}}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// claim records claims up to a number.
func (l *fakeLog) claim(t *testing.T, last uint64) {
	t.Helper()
	commit := signing.Object{Type: signing.CommitObject, Data: []byte("tree\n")}
	id, err := signing.HashObject(commit)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.apply(&cluster.PutObjects{Objects: []cluster.StoredObject{{ID: id, Object: commit}}}); err != nil {
		t.Fatal(err)
	}
	first := uint64(1)
	if c, ok := l.state.Read().LastClaim(); ok {
		first = c.Number + 1
	}
	for n := first; n <= last; n++ {
		claim := cluster.Claim{Number: n, From: id, Commit: id, Digest: [32]byte{byte(n)}}
		if err := l.apply(&cluster.AdvanceRevision{Claim: claim}); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *fakeLog) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.proposed)
}

// fakeViews shows one view, which may be replaced.
type fakeViews struct {
	mu      sync.Mutex
	view    *cluster.View
	changed chan struct{}
}

func (v *fakeViews) View() *cluster.View {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.view
}

func (v *fakeViews) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

func (v *fakeViews) set(view *cluster.View) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.view = view
	close(v.changed)
	v.changed = make(chan struct{})
}

// start runs a scheduler inside a synctest bubble until the test ends.
func start(t *testing.T, l *fakeLog, v *fakeViews) {
	t.Helper()
	startWith(t, l, v, DefaultConfig())
}

func startWith(t *testing.T, l *fakeLog, v *fakeViews, config Config) {
	t.Helper()
	s, err := New(l.state, v, l, slog.New(slog.DiscardHandler), config)
	if err != nil {
		t.Fatal(err)
	}
	runUntilDone(t, s)
}

func runUntilDone(t *testing.T, s *Scheduler) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// webView wants one replica of one service.
func webView(t *testing.T) *cluster.View {
	m := newSim(t)
	m.accept("shop", svc("web", "v1", 1))
	return m.view
}

// TestRun takes a deployment from nothing to converged through the real state,
// restarts what fails, and then keeps still.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, v := newFakeLog(t), &fakeViews{changed: make(chan struct{})}
		start(t, l, v)
		synctest.Wait()
		if l.count() != 0 {
			t.Fatalf("planned without a view: %v", l.proposed)
		}
		v.set(webView(t))
		await(t, func() bool { return len(l.state.Read().Replicas()) == 1 })
		l.report(t, cluster.Healthy)
		await(t, func() bool { _, ok := l.state.Read().DeploymentStatus("shop"); return ok })

		at := time.Now()
		l.report(t, cluster.Failed)
		await(t, func() bool { rs := l.state.Read().Replicas(); return len(rs) == 1 && rs[0].Serial == 2 })
		if took := time.Since(at); took > 50*time.Millisecond {
			t.Errorf("replaced after %s, want at once", took)
		}
		at = time.Now()
		l.report(t, cluster.Failed)
		await(t, func() bool { rs := l.state.Read().Replicas(); return len(rs) == 1 && rs[0].Serial == 3 })
		if took := time.Since(at); took < 2*time.Second || took > 2100*time.Millisecond {
			t.Errorf("replaced after %s, want the back-off", took)
		}
		l.report(t, cluster.Healthy)
		await(t, func() bool { return l.state.Read().Replicas()[0].Phase == cluster.Healthy })

		before := l.count()
		<-time.After(time.Hour) // the bubble's clock
		if got := l.count(); got != before {
			t.Errorf("%d proposals in an idle hour", got-before)
		}
		var kinds []string
		for _, c := range l.proposed {
			kinds = append(kinds, string(c.Kind()))
		}
		plan, events := string(cluster.KindApplyPlan), string(cluster.KindRecordEvents)
		if diff := cmp.Diff([]string{plan, plan, events, plan, plan}, kinds); diff != "" {
			t.Errorf("proposals (-want +got):\n%s", diff)
		}
	})
}

// await lets the bubble's clock run until ok, for at most a minute of it.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	for range 60_000 {
		synctest.Wait()
		if ok() {
			return
		}
		<-time.After(time.Millisecond) // the bubble's clock
	}
	t.Fatal("it does not happen")
}

// TestProposalFails plans again at once after a conflict, and after a pause
// otherwise.
func TestProposalFails(t *testing.T) {
	tests := []struct {
		err   error
		after time.Duration
	}{
		{fmt.Errorf("apply: %w", cluster.ErrConflict), time.Millisecond},
		{errors.New("disk full"), time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, v := newFakeLog(t), &fakeViews{changed: make(chan struct{}), view: webView(t)}
				l.fail = []error{tt.err}
				at := time.Now()
				start(t, l, v)
				await(t, func() bool { return len(l.state.Read().Replicas()) == 1 })
				if took := time.Since(at); took != tt.after {
					t.Errorf("planned again after %s, want %s", took, tt.after)
				}
			})
		})
	}
}

// TestBurst answers a burst of changes with one plan, and a burst without end
// before it ends.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, v := newFakeLog(t), &fakeViews{changed: make(chan struct{})}
		start(t, l, v)
		synctest.Wait()
		at := time.Now()
		for range 100 {
			v.set(webView(t))
			<-time.After(time.Millisecond) // the bubble's clock
			if len(l.state.Read().Replicas()) > 0 {
				break
			}
		}
		synctest.Wait()
		if took := time.Since(at); took < 49*time.Millisecond || took > 52*time.Millisecond {
			t.Errorf("planned after %s, want the ceiling", took)
		}
		if l.count() != 1 {
			t.Errorf("%d plans for a burst", l.count())
		}
	})
}

// TestStaleView plans nothing from a view that has not judged the newest claim.
func TestStaleView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, v := newFakeLog(t), &fakeViews{changed: make(chan struct{}), view: webView(t)}
		s, err := New(l.state, v, l, slog.New(slog.DiscardHandler), DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		l.claim(t, v.view.Claim)
		if _, ok := s.input(); !ok {
			t.Fatal("nothing is planned from a view that judged every claim")
		}
		l.claim(t, v.view.Claim+1)
		if _, ok := s.input(); ok {
			t.Error("planned from a view that is behind")
		}
	})
}

// TestClock plans for the time of the clock that it was given.
func TestClock(t *testing.T) {
	l, v := newFakeLog(t), &fakeViews{changed: make(chan struct{}), view: webView(t)}
	config := DefaultConfig()
	at := time.Now().Add(time.Hour)
	config.Clock = func() time.Time { return at }
	s, err := New(l.state, v, l, slog.New(slog.DiscardHandler), config)
	if err != nil {
		t.Fatal(err)
	}
	if in, ok := s.input(); !ok || !in.Now.Equal(at) {
		t.Errorf("planned for %s (%v), want %s", in.Now, ok, at)
	}
}

func TestConfig(t *testing.T) {
	tests := map[string]func(*Config){
		"quiet is -1ns":  func(c *Config) { c.Quiet = -1 },
		"ceiling is 1ns": func(c *Config) { c.Ceiling = 1 },
		"limit is -1":    func(c *Config) { c.Limit = -1 },
		"retry is 0s":    func(c *Config) { c.Retry = 0 },
		"clock is nil":   func(c *Config) { c.Clock = nil },
	}
	for want, spoil := range tests {
		c := DefaultConfig()
		spoil(&c)
		if _, err := New(nil, nil, nil, nil, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
