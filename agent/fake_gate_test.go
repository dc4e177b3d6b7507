package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

// fakeGate is a mesh that has made every network, but those that it is told to
// hold closed.
type fakeGate struct {
	log *journal

	mu      sync.Mutex        // guards the fields below
	closed  map[string]string // why, by network
	bridges map[string][]Bridge
	changed chan struct{}
	asked   int
}

var _ Gate = (*fakeGate)(nil)

func newFakeGate(log *journal) *fakeGate {
	return &fakeGate{log: log, closed: map[string]string{}, bridges: map[string][]Bridge{}, changed: make(chan struct{})}
}

func (g *fakeGate) Await(ctx context.Context, networks []string) (map[string][]Bridge, error) {
	g.mu.Lock()
	g.asked++
	g.mu.Unlock()
	for {
		g.mu.Lock()
		changed, missing := g.changed, ""
		out := map[string][]Bridge{}
		for _, n := range networks {
			if why := g.closed[n]; why != "" && missing == "" {
				missing = fmt.Sprintf("network %s: %s", n, why)
			}
			if out[n] = g.bridges[n]; out[n] == nil {
				out[n] = []Bridge{{Network: n, Gateway: netip.MustParseAddr("10.0.0.1"), Capacity: 250}}
			}
		}
		g.mu.Unlock()
		if missing == "" {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.New(missing)
		case <-changed:
		}
	}
}

// set changes the gate under its lock.
func (g *fakeGate) set(what string, change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.log.print("mesh", what)
	change()
	close(g.changed)
	g.changed = make(chan struct{})
}
