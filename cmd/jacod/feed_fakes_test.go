package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
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
