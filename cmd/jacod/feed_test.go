package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// fakeState is the node's side of a feed.
type fakeState struct {
	mu       sync.Mutex
	clock    time.Time
	edge     cluster.EdgeState
	known    bool
	node     *cluster.MeshNode
	events   []cluster.Event
	refuse   error // of Record
	reported int
	beats    int
	bell     chan struct{}
	view     chan struct{}
	current  chan struct{}
}

func newFakeState() *fakeState {
	s := &fakeState{clock: noTime.AddDate(2026, 0, 0), known: true, bell: make(chan struct{}), view: make(chan struct{}), current: make(chan struct{})}
	close(s.current)
	s.edge = cluster.EdgeState{Node: "n1", Index: 1}
	return s
}

// change changes the state as an entry of the log does.
func (s *fakeState) change(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edge.Index++
	change()
	close(s.bell)
	s.bell = make(chan struct{})
}

// read reads what is guarded.
func (s *fakeState) read(read func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	read()
}

func (s *fakeState) deps(socket string) feedDeps {
	return feedDeps{
		Node: "n1", Socket: socket, Current: s.current, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Changed: func() (<-chan struct{}, <-chan struct{}) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.bell, s.view
		},
		Index: func() (index uint64) { s.read(func() { index = s.edge.Index }); return },
		Build: func(overlay []cluster.ReplicaReport) (edge cluster.EdgeState, known bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			edge = s.edge
			edge.Networks = slices.Clone(edge.Networks)
			for _, r := range overlay {
				edge.Services = append(slices.Clip(edge.Services), cluster.EdgeService{Name: r.ID + " " + string(r.Phase)})
			}
			return edge, s.known
		},
		MeshNode: func() (node cluster.MeshNode, known bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.node == nil {
				return node, false
			}
			return *s.node, true
		},
		ReportMesh: func(_ context.Context, key [32]byte, port uint16, mode string) error {
			s.change(func() { s.node, s.reported = &cluster.MeshNode{PublicKey: key, Port: port, Mode: mode}, s.reported+1 })
			return nil
		},
		Record: func(_ context.Context, events []cluster.Event) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.refuse != nil {
				return s.refuse
			}
			s.events = append(s.events, events...)
			return nil
		},
		Recorded: func(event cluster.Event) (found bool) {
			s.read(func() { found = slices.Contains(s.events, event) })
			return
		},
		Beat:  func() { s.read(func() { s.beats++ }) },
		Clock: func() (now time.Time) { s.read(func() { now = s.clock }); return },
	}
}

// messages are those of the recorded events.
func (s *fakeState) messages() string {
	var all []string
	s.read(func() {
		for _, e := range s.events {
			all = append(all, e.Node+" "+string(e.Type)+" "+e.Message)
		}
	})
	return strings.Join(all, "\n")
}

// network gives a network of the state a slice.
func (s *fakeState) network(name string, prefixes ...string) {
	s.change(func() {
		n := cluster.EdgeNetwork{Name: name}
		for i, p := range prefixes {
			n.Slices = append(n.Slices, cluster.EdgeSlice{Serial: i + 1, Prefix: netip.MustParsePrefix(p)})
		}
		s.edge.Networks = append(slices.DeleteFunc(slices.Clone(s.edge.Networks), func(o cluster.EdgeNetwork) bool { return o.Name == name }), n)
	})
}

// fakeEdge follows what it is told and says what a test has it say.
type fakeEdge struct {
	socket string
	stop   func()

	mu     sync.Mutex
	report cluster.EdgeReport
	states []*cluster.EdgeState
	lag    bool // it does not follow
	bell   chan struct{}
}

var _ rpc.EdgeHandler = (*fakeEdge)(nil)

// startEdge serves an edge on the socket until the test's end or stop.
func startEdge(t *testing.T, socket string) *fakeEdge {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	check(t, err)
	e := &fakeEdge{socket: socket, bell: make(chan struct{})}
	e.report = cluster.EdgeReport{
		Version: version, PID: 100, PublicKey: []byte(strings.Repeat("k", 32)), Port: 51820, Mode: "userspace",
		Firewall: cluster.FirewallStatus{Ready: true, Generation: 1},
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- rpc.ServeEdge(ctx, listener, e, slog.New(slog.NewTextHandler(io.Discard, nil))) }()
	e.stop = sync.OnceFunc(func() {
		cancel()
		check(t, <-served)
	})
	t.Cleanup(e.stop)
	return e
}

func (e *fakeEdge) Feed(ctx context.Context, states <-chan *cluster.EdgeState, reports func(*cluster.EdgeReport) error) error {
	for {
		e.mu.Lock()
		report, bell := e.report, e.bell
		e.mu.Unlock()
		if err := reports(&report); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case state := <-states:
			e.mu.Lock()
			e.states = append(e.states, state)
			if !e.lag {
				e.follow()
			}
			e.mu.Unlock()
		case <-bell:
		}
	}
}

// follow makes the report that of an edge that did all it was told.
func (e *fakeEdge) follow() {
	last := e.states[len(e.states)-1]
	e.report.Applied, e.report.Networks = last.Index, nil
	for _, n := range last.Networks {
		for _, s := range n.Slices {
			e.report.Networks = append(e.report.Networks, cluster.EdgeReady{Network: n.Name, Serial: s.Serial, Prefix: s.Prefix, Ready: true})
		}
	}
	e.report.Events = slices.DeleteFunc(slices.Clone(e.report.Events), func(ev cluster.EdgeEvent) bool { return ev.Number <= last.EventsSeen })
}

// say changes what the edge says.
func (e *fakeEdge) say(change func(*cluster.EdgeReport)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.report)
	close(e.bell)
	e.bell = make(chan struct{})
}

// last is the state that it was told last, nil before there is one.
func (e *fakeEdge) last() *cluster.EdgeState {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.states) == 0 {
		return nil
	}
	return e.states[len(e.states)-1]
}

func (e *fakeEdge) told() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.states)
}

// pending are the numbers of the events that were not acknowledged.
func (e *fakeEdge) pending() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.report.Events)
}

// startFeed runs a feed until the test's end or stop.
func startFeed(t *testing.T, s *fakeState, socket string) (f *feed, stop func()) {
	t.Helper()
	f = newFeed(s.deps(socket))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		check(t, <-ended)
	})
	t.Cleanup(stop)
	return f, stop
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ticker, over := time.NewTicker(time.Millisecond), time.After(patience)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-over:
			t.Fatalf("%s did not come", what)
		case <-ticker.C:
		}
	}
}

// isOpen asks the gate without waiting for long.
func isOpen(t *testing.T, f *feed, networks ...string) (string, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	bridges, err := f.Await(ctx, networks)
	if err != nil {
		return err.Error(), false
	}
	var text []string
	for _, n := range networks {
		for _, b := range bridges[n] {
			text = append(text, b.Network+" "+b.Gateway.String())
		}
	}
	return strings.Join(text, ", "), true
}

func wantOpen(t *testing.T, f *feed, bridges string, networks ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := f.Await(ctx, networks)
	check(t, err)
	if got, open := isOpen(t, f, networks...); !open || got != bridges {
		t.Errorf("the gate gives %q (open: %t), want %q", got, open, bridges)
	}
}

func wantClosed(t *testing.T, f *feed, reason string, networks ...string) {
	t.Helper()
	var got string
	until(t, "a closed gate that says "+reason, func() bool {
		text, open := isOpen(t, f, networks...)
		got = text
		return !open && strings.Contains(text, reason)
	})
	if !strings.HasPrefix(got, "the network is not ready on this node: ") {
		t.Errorf("the gate says %q", got)
	}
}

// TestGate walks through everything that opens and closes it.
func TestGate(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	f, _ := startFeed(t, s, socket)
	wantClosed(t, f, "the edge does not answer", "shop_back")
	edge := startEdge(t, socket)
	wantClosed(t, f, "network shop_back has no addresses on this node yet", "shop_back")
	s.network("shop_back", "10.64.0.16/28")
	wantOpen(t, f, "shop_back 10.64.0.17", "shop_back")
	s.network("shop_front", "10.64.0.32/28", "10.64.0.64/27")
	wantOpen(t, f, "shop_back 10.64.0.17, shop_front 10.64.0.33, shop_front.jaco-2 10.64.0.65", "shop_back", "shop_front")

	slice := func(network string, serial int, change func(*cluster.EdgeReady)) {
		edge.say(func(r *cluster.EdgeReport) {
			r.Networks = slices.Clone(r.Networks)
			for i := range r.Networks {
				if r.Networks[i].Network == network && r.Networks[i].Serial == serial {
					change(&r.Networks[i])
				}
			}
		})
	}
	slice("shop_front", 1, func(r *cluster.EdgeReady) { r.Ready, r.Reason = false, "its bridge has another subnet" })
	until(t, "the first slice's loss", func() bool { got, _ := isOpen(t, f, "shop_front"); return got == "shop_front.jaco-2 10.64.0.65" })
	slice("shop_front", 2, func(r *cluster.EdgeReady) { r.Ready = false })
	wantClosed(t, f, "network shop_front: its bridge has another subnet; network shop_front.jaco-2 is not isolated yet", "shop_back", "shop_front")
	wantOpen(t, f, "shop_back 10.64.0.17", "shop_back") // one is not held up by another

	edge.say(func(r *cluster.EdgeReport) { r.Firewall.Ready, r.Firewall.Reason = false, "operation not permitted" })
	wantClosed(t, f, "the firewall is not ready: operation not permitted", "shop_back")
	edge.say(func(r *cluster.EdgeReport) { r.Firewall.Ready, r.Problem = true, "no right to change the network" })
	wantClosed(t, f, "the edge cannot work: no right", "shop_back")
	edge.say(func(r *cluster.EdgeReport) { r.Problem = "" })
	wantOpen(t, f, "shop_back 10.64.0.17", "shop_back")

	edge.stop()
	wantClosed(t, f, "the edge does not answer", "shop_back")
	startEdge(t, socket)
	wantOpen(t, f, "shop_back 10.64.0.17", "shop_back")
}

// TestGateFollowsTheState: what the edge made ready for an earlier state does not
// let a container of the present one in.
func TestGateFollowsTheState(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	s.network("shop_back", "10.64.0.16/28")
	edge := startEdge(t, socket)
	f, _ := startFeed(t, s, socket)
	wantOpen(t, f, "shop_back 10.64.0.17", "shop_back")

	lag := func(on bool) {
		edge.say(func(*cluster.EdgeReport) {
			if edge.lag = on; !on {
				edge.follow()
			}
		})
	}
	lag(true)
	s.network("shop_back", "10.64.0.48/28")
	// At once: a caller who saw that change must not be let through by the report
	// of the time before.
	if got, open := isOpen(t, f, "shop_back"); open {
		t.Errorf("the gate lets a container into %s", got)
	}
	wantClosed(t, f, "does not follow the newest change", "shop_back")
	// An edge that follows, and has the old prefix still.
	edge.say(func(r *cluster.EdgeReport) { r.Applied = edge.states[len(edge.states)-1].Index })
	wantClosed(t, f, "network shop_back has the addresses 10.64.0.16/28, and the cluster gives it 10.64.0.48/28", "shop_back")
	lag(false)
	wantOpen(t, f, "shop_back 10.64.0.49", "shop_back")

	// The same prefix, but no way out any more: the rules must be those.
	lag(true)
	s.change(func() {
		s.edge.Networks = slices.Clone(s.edge.Networks)
		s.edge.Networks[0].Internal = true
	})
	if got, open := isOpen(t, f, "shop_back"); open {
		t.Errorf("the gate lets a container into %s", got)
	}
	lag(false)
	wantOpen(t, f, "shop_back 10.64.0.49", "shop_back")

	// What does not touch networks closes nothing.
	lag(true)
	s.change(func() { s.edge.Services = []cluster.EdgeService{{Name: "api"}} })
	until(t, "the service", func() bool { return len(edge.last().Services) == 1 })
	wantOpen(t, f, "shop_back 10.64.0.49", "shop_back")
}

// TestFeedTellsWhatChanges: the edge is told at once and whole, and nothing
// where nothing changed for it.
func TestFeedTellsWhatChanges(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	s.current = make(chan struct{})
	edge := startEdge(t, socket)
	f, _ := startFeed(t, s, socket)
	until(t, "the first report", func() bool { return f.mesh().Mode == "userspace" })
	wantClosed(t, f, "what the edge must know is not known yet", "shop_back")
	if n := edge.told(); n != 0 {
		t.Errorf("the edge was told %d states before one was known", n)
	}
	close(s.current)
	until(t, "the first state", func() bool { return edge.told() == 1 })
	until(t, "the report of the key", func() bool { return f.builtUpTo(2) })
	s.change(func() {}) // another entry of the log
	until(t, "a look at it", func() bool { return f.builtUpTo(3) })
	s.change(func() { s.edge.Services = []cluster.EdgeService{{Name: "api"}} })
	until(t, "the change", func() bool { return len(edge.last().Services) == 1 })
	if n := edge.told(); n != 2 {
		t.Errorf("the edge was told %d states, want 2: nothing that it needs to know changed in between", n)
	}
	// Unknown for a while: what it knew counts on.
	s.change(func() { s.known, s.edge.Services = false, nil })
	s.change(func() { s.known, s.edge.Services = true, []cluster.EdgeService{{Name: "api"}, {Name: "db"}} })
	until(t, "the second service", func() bool { return len(edge.last().Services) == 2 })
	for _, state := range edge.states[1:] {
		if len(state.Services) == 0 {
			t.Error("the edge was told a state that nobody knew")
		}
	}
}

// builtUpTo reports whether the state of that index was looked at.
func (f *feed) builtUpTo(index uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.builtIndex >= index
}

// TestOwnReportsComeAtOnce: the edge knows what the node said of a replica before
// the log does.
func TestOwnReportsComeAtOnce(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	edge := startEdge(t, socket)
	f, _ := startFeed(t, s, socket)
	until(t, "the first state", func() bool { return edge.told() > 0 })
	names := func() string {
		var names []string
		for _, service := range edge.last().Services {
			names = append(names, service.Name)
		}
		return strings.Join(names, ", ")
	}
	begun := time.Now()
	first := f.overlay.add([]cluster.ReplicaReport{{ID: "r1", Phase: cluster.Unhealthy, ContainerID: "c1"}, {ID: "r2", Phase: cluster.Healthy}})
	until(t, "the report", func() bool { return names() == "r1 Unhealthy, r2 Healthy" })
	t.Logf("the edge knew after %s", time.Since(begun))
	second := f.overlay.add([]cluster.ReplicaReport{{ID: "r1", Phase: cluster.Healthy}})
	until(t, "the second report", func() bool { return names() == "r1 Healthy, r2 Healthy" })
	if r := f.overlay.reports()[0]; r.ContainerID != "c1" {
		t.Errorf("the second report took away what it left out: %+v", r)
	}
	first() // is in the log; of r1 more was said since
	until(t, "the log's r2", func() bool { return names() == "r1 Healthy" })
	second()
	until(t, "the log's r1", func() bool { return names() == "" })
}

// TestMeshIsReported: the log says of the node what its edge does.
func TestMeshIsReported(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	edge := startEdge(t, socket)
	edge.say(func(r *cluster.EdgeReport) { r.PublicKey = nil })
	f, _ := startFeed(t, s, socket)
	until(t, "the edge", func() bool { return f.mesh().Mode == "userspace" })
	node := func() (node cluster.MeshNode, reported int) {
		s.read(func() {
			if reported = s.reported; s.node != nil {
				node = *s.node
			}
		})
		return
	}
	if _, n := node(); n != 0 {
		t.Error("an edge without a key was reported")
	}
	for i, change := range []func(*cluster.EdgeReport){
		func(r *cluster.EdgeReport) { r.PublicKey = []byte(strings.Repeat("a", 32)) },
		func(r *cluster.EdgeReport) { r.Port = 51821 },
		func(r *cluster.EdgeReport) { r.Mode = "kernel" },
		func(r *cluster.EdgeReport) { r.PublicKey = []byte(strings.Repeat("b", 32)) },
	} {
		edge.say(change)
		until(t, "the report", func() bool { _, n := node(); return n == i+1 })
	}
	if n, _ := node(); n.Port != 51821 || n.Mode != "kernel" || string(n.PublicKey[:]) != strings.Repeat("b", 32) {
		t.Errorf("the state says %+v", n)
	}
	edge.say(func(r *cluster.EdgeReport) { r.PeersAt = 1 }) // nothing of that
	s.change(func() { s.node = nil })                       // the member was replaced
	until(t, "another report", func() bool { _, n := node(); return n == 5 })
}

func repaired(number uint64, message string) cluster.EdgeEvent {
	return cluster.EdgeEvent{Number: number, Event: cluster.Event{Type: cluster.EventFirewallRepaired, Node: "n9", Message: message}}
}

// TestEventsAreRecordedOnce: through lost answers, restarts of jacod and of the
// edge.
func TestEventsAreRecordedOnce(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	edge := startEdge(t, socket)
	f, stop := startFeed(t, s, socket)
	edge.say(func(r *cluster.EdgeReport) { r.Events = []cluster.EdgeEvent{repaired(1, "rule 3 was gone")} })
	until(t, "the acknowledgement", func() bool { return edge.pending() == 0 })
	if want := "n1 firewall-repaired rule 3 was gone (event 1 of the edge)"; s.messages() != want {
		t.Errorf("the log has %q, want %q", s.messages(), want)
	}
	if f.repaired() != 1 {
		t.Errorf("%d repairs were counted", f.repaired())
	}

	// jacod ends after the entry, before the edge heard of it; its next process
	// finds it in the log.
	stop()
	s.change(func() {
		e := numbered("n1", repaired(2, "rule 4 was gone"))
		s.events = append(s.events, e)
	})
	edge.say(func(r *cluster.EdgeReport) {
		r.Events = []cluster.EdgeEvent{repaired(2, "rule 4 was gone"), repaired(3, "rule 5 was gone")}
	})
	f, _ = startFeed(t, s, socket)
	until(t, "the acknowledgement", func() bool { return edge.pending() == 0 })
	if got := strings.Count(s.messages(), "\n") + 1; got != 3 || !strings.Contains(s.messages(), "rule 5") {
		t.Errorf("the log has %q", s.messages())
	}
	if f.repaired() != 1 {
		t.Errorf("%d repairs were counted by the second process, want 1", f.repaired())
	}

	// An edge that lost its numbers counts anew.
	edge.stop()
	edge = startEdge(t, socket)
	edge.say(func(r *cluster.EdgeReport) {
		r.PID, r.Events = 101, []cluster.EdgeEvent{repaired(1, "the table was gone")}
	})
	until(t, "the acknowledgement", func() bool { return edge.pending() == 0 })
	if !strings.HasSuffix(s.messages(), "the table was gone (event 1 of the edge)") {
		t.Errorf("the log has %q", s.messages())
	}

	// What the log will never take does not hold up the rest.
	s.change(func() { s.refuse = cluster.ErrInvalid })
	edge.say(func(r *cluster.EdgeReport) { r.Events = []cluster.EdgeEvent{{Number: 2}} })
	until(t, "the acknowledgement", func() bool { return edge.pending() == 0 })
	s.change(func() { s.refuse = nil })
	edge.say(func(r *cluster.EdgeReport) { r.Events = []cluster.EdgeEvent{repaired(3, "the last")} })
	until(t, "the last", func() bool { return strings.Contains(s.messages(), "the last") })
}

// TestUnrecordedEventsStay: an event that the log did not take is not
// acknowledged.
func TestUnrecordedEventsStay(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	s.refuse = errors.New("no leader")
	edge := startEdge(t, socket)
	edge.say(func(r *cluster.EdgeReport) { r.Events = []cluster.EdgeEvent{repaired(1, "rule 3 was gone")} })
	startFeed(t, s, socket)
	until(t, "a state", func() bool { return edge.told() > 0 })
	s.change(func() { s.edge.Services = []cluster.EdgeService{{Name: "api"}} })
	until(t, "another state", func() bool { return len(edge.last().Services) == 1 })
	if seen := edge.last().EventsSeen; seen != 0 || edge.pending() != 1 {
		t.Errorf("events up to %d were acknowledged, %d are pending", seen, edge.pending())
	}
}

// TestTroubleCountsOnceItLasts: an edge that restarts makes no node NotReady, one
// that stays away does; its firewall is shown as it is in any case.
func TestTroubleCountsOnceItLasts(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	f, _ := startFeed(t, s, socket)
	pass := func(d time.Duration) { s.read(func() { s.clock = s.clock.Add(d) }) }
	until(t, "a refusal", func() bool { return strings.HasPrefix(f.mesh().Firewall.Reason, "the edge does not answer: ") })
	if problem := f.problem(); problem != "" {
		t.Errorf("a moment after the start: %q", problem)
	}
	pass(edgeGrace)
	if problem := f.problem(); !strings.HasPrefix(problem, "the edge does not answer: ") || f.mesh().Firewall.Ready {
		t.Errorf("an edge that stays away: %q, %+v", problem, f.mesh())
	}
	edge := startEdge(t, socket)
	until(t, "the edge", func() bool { return f.problem() == "" && f.mesh().Firewall.Ready })
	pass(time.Hour)
	edge.say(func(r *cluster.EdgeReport) { r.Firewall = cluster.FirewallStatus{Reason: "table inet jaco: busy"} })
	until(t, "the firewall", func() bool { return f.mesh().Firewall.Reason == "table inet jaco: busy" })
	if problem := f.problem(); problem != "" {
		t.Errorf("a firewall that was lost just now: %q", problem)
	}
	pass(edgeGrace - time.Second)
	edge.say(func(r *cluster.EdgeReport) { r.Firewall.Reason = "table inet jaco: still busy" })
	until(t, "another reason", func() bool { return f.mesh().Firewall.Reason == "table inet jaco: still busy" })
	pass(time.Second) // another reason is no other trouble
	if problem := f.problem(); problem != "the firewall is not ready: table inet jaco: still busy" {
		t.Errorf("a firewall that stays away: %q", problem)
	}
	var beats int
	s.read(func() { beats = s.beats })
	if beats == 0 {
		t.Error("nobody was told at once")
	}
}
