package rig_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
)

// silence is how long nothing must come through.
const silence = 150 * time.Millisecond

// line is one TCP connection between two spaces of a rig.
type line struct {
	name     string
	from, to net.Conn
	again    func(context.Context) (net.Conn, error)
}

// connect opens a line to a server that keeps listening.
func connect(t *testing.T, from, to *rig.Space) *line {
	t.Helper()
	l := rig.Must[net.Listener](t)(to.NetNS.Listen(t.Context(), "tcp", net.JoinHostPort(to.Address.String(), "0")))
	t.Cleanup(func() { l.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	n := &line{name: from.Name + " to " + to.Name, again: func(ctx context.Context) (net.Conn, error) {
		return from.NetNS.DialContext(ctx, "tcp", l.Addr().String())
	}}
	n.from = rig.Must[net.Conn](t)(n.again(ctx))
	n.to = rig.Must[net.Conn](t)(l.Accept())
	t.Cleanup(func() { n.from.Close(); n.to.Close() })
	return n
}

// say sends a byte that may arrive at any time.
func (n *line) say(t *testing.T, b byte) {
	t.Helper()
	if _, err := n.from.Write([]byte{b}); err != nil {
		t.Fatalf("%s: %v", n.name, err)
	}
}

// hears wants a byte, within the time that TCP takes to repeat itself.
func (n *line) hears(t *testing.T, want byte) {
	t.Helper()
	got := []byte{0}
	n.to.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := n.to.Read(got); err != nil || got[0] != want {
		t.Fatalf("%s: heard %q (%v), want %q", n.name, got, err, want)
	}
}

// silent wants neither data nor the end of the connection, at either end.
func (n *line) silent(t *testing.T) {
	t.Helper()
	for _, end := range []net.Conn{n.to, n.from} {
		end.SetReadDeadline(time.Now().Add(silence))
		if k, err := end.Read([]byte{0}); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: read %d bytes, %v; want nothing but a timeout", n.name, k, err)
		}
	}
}

// TestPartition cuts and heals, and looks at connections that were open before
// and at new ones.
func TestPartition(t *testing.T) {
	ctx := t.Context()
	r := rig.Start(t, rig.Config{Nodes: 3, NoEngine: true})
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	space := func(i int) *rig.Space { return &r.Nodes[i].Space }
	lan := &r.LAN.Space
	// Both directions: what the name says first sends.
	lines := map[string]*line{
		"12": connect(t, space(0), space(1)), "21": connect(t, space(1), space(0)), "23": connect(t, space(1), space(2)),
		"31": connect(t, space(2), space(0)), "1lan": connect(t, space(0), lan), "lan1": connect(t, lan, space(0)), "3lan": connect(t, space(2), lan),
	}
	b := byte('a')
	// step says something on every line and wants those to be cut, and no other.
	step := func(what string, cut ...string) {
		t.Helper()
		b++
		isCut := map[string]bool{}
		for _, name := range cut {
			isCut[name] = true
		}
		for name, n := range lines {
			n.say(t, b)
			if !isCut[name] {
				n.hears(t, b)
			}
		}
		var waits sync.WaitGroup
		for _, name := range cut {
			waits.Go(func() {
				lines[name].silent(t)
				dialTimesOut(t, what, lines[name])
			})
		}
		waits.Wait()
		check(r.Heal(ctx))
		for _, name := range cut {
			lines[name].hears(t, b)
		}
	}

	step("whole")
	check(r.Partition(ctx, r.Nodes[:1]))
	step("one against the rest", "12", "21", "31")
	check(r.Partition(ctx, r.Nodes[:1], r.Nodes[1:2], r.Nodes[2:]))
	step("each alone", "12", "21", "23", "31")
	check(r.Isolate(ctx, r.Nodes[0]))
	step("isolated", "12", "21", "31", "1lan", "lan1")
	check(r.Partition(ctx, r.Nodes[:1]))
	check(r.Partition(ctx, r.Nodes[:2]))
	check(r.Isolate(ctx, r.Nodes[2]))
	step("partition replaced, and one isolated", "23", "31", "3lan")

	check(r.Partition(ctx, r.Nodes[:2]))
	added := rig.Must[*rig.Node](t)(r.AddNode(ctx))
	lines["34"] = connect(t, space(2), &added.Space)
	step("added to the rest", "23", "31")
	if err := r.Partition(ctx, r.Nodes[:2], r.Nodes[1:]); err == nil {
		t.Error("a node was in two groups")
	}
}

// dialTimesOut wants silence for a new connection too, not a refusal.
func dialTimesOut(t *testing.T, what string, n *line) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), silence)
	defer cancel()
	conn, err := n.again(ctx)
	if err == nil {
		conn.Close()
	}
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%s: new connection %s: %v, want a timeout", what, n.name, err)
	}
}
