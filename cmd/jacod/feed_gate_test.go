package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

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
