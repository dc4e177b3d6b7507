package rpc

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster/identity"
)

// proxy passes connections on to an address, until it is told to swallow them:
// then it takes what comes and answers nothing, as a node does that lost power.
type proxy struct {
	net.Listener
	to string

	mu     sync.Mutex // guards the fields below
	silent bool
	conns  []net.Conn
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: listener, to: to}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", p.to)
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			running.Go(func() { p.copy(out, in) })
			running.Go(func() { p.copy(in, out) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.cut()
		running.Wait()
	})
	return p
}

func (p *proxy) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		silent := p.silent
		p.mu.Unlock()
		if !silent {
			if _, writeErr := to.Write(buffer[:n]); writeErr != nil {
				err = writeErr
			}
		}
		if err != nil {
			from.Close()
			to.Close()
			return
		}
	}
}

func (p *proxy) swallow(silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = silent
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}

// TestSilentNodeFailsInTime: failover waits for no call to a dead node.
func TestSilentNodeFailsInTime(t *testing.T) {
	_, server, peers, where := twoNodes(t)
	server.node.poke = func() error { return nil }
	through := newProxy(t, server.address())
	where.set("node-1", through.Addr().String())
	if err := peers.Poke(t.Context(), "node-1"); err != nil {
		t.Fatal(err)
	}
	through.swallow(true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	err := peers.Poke(ctx, "node-1")
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrNotLeader) {
		t.Errorf("a silent node: %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("a call of 200 ms took %v", took)
	}
	// A call without a bound of its own ends too, before gRPC's pings would
	// notice that nobody answers.
	begin = time.Now()
	if err := peers.Poke(t.Context(), "node-1"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a silent node, without a deadline: %v", err)
	}
	if took := time.Since(begin); took > pingEvery {
		t.Errorf("a call without a deadline took %v", took)
	}
}

// TestRedialGoesOn has a node refuse every connection: however long that
// lasted, the next attempt is never far.
func TestRedialGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("on purpose: -short, and it waits for the pauses to grow")
	}
	t.Parallel()
	c := newFakeCluster(t, "0123456789abcdef")
	peers, where := c.peers(t, c.node(t, "node-2"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	where.set("node-1", listener.Addr().String())
	attempts := make(chan time.Time, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
			attempts <- time.Now()
		}
	}()
	var at []time.Time
	for len(at) < 9 {
		if err := peers.Poke(t.Context(), "node-1"); !errors.Is(err, ErrUnreachable) {
			t.Fatalf("poke: %v", err)
		}
		at = append(at, receiveFrom(t, attempts))
	}
	// Without a ceiling the last two pauses would be 3.2 s and 6.4 s; a stall
	// of this machine is taken for neither.
	if pause := min(at[7].Sub(at[6]), at[8].Sub(at[7])); pause > 2*redialMax {
		t.Errorf("after %d attempts the pause is %v", len(at), pause)
	}
}

// TestBrokenConnectionComesBack cuts the connection, stops and starts the node.
func TestBrokenConnectionComesBack(t *testing.T) {
	c, server, peers, where := twoNodes(t)
	server.node.poke = func() error { return nil }
	through := newProxy(t, server.address())
	where.set("node-1", through.Addr().String())
	soon := func(what string) {
		t.Helper()
		begin := time.Now()
		for {
			err := peers.Poke(t.Context(), "node-1")
			if err == nil {
				break
			}
			if !errors.Is(err, ErrUnreachable) {
				t.Fatalf("%s: %v, want %v", what, err, ErrUnreachable)
			}
			if time.Since(begin) > patience {
				t.Fatalf("%s: still %v", what, err)
			}
		}
		// The pause between attempts is redialMax at most, and jitter.
		if took := time.Since(begin); took > 10*redialMax {
			t.Errorf("%s: it took %v", what, took)
		}
	}
	soon("at first")
	through.cut()
	soon("after the connection broke")

	address := server.address()
	server.stop()
	through.cut()
	if err := peers.Poke(t.Context(), "node-1"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a stopped node: %v, want %v", err, ErrUnreachable)
	}
	again := c.serve(t, server.id, address)
	again.node.poke = func() error { return nil }
	soon("after the node came back")
}

// TestNodeMoves changes a node's address while the old one still answers.
func TestNodeMoves(t *testing.T) {
	c, server, peers, where := twoNodes(t)
	server.node.poke = func() error { return nil }
	if err := peers.Poke(t.Context(), "node-1"); err != nil {
		t.Fatal(err)
	}
	moved := c.serve(t, server.id, "127.0.0.1:0")
	pokes := 0
	moved.node.poke = func() error { pokes++; return nil }
	where.set("node-1", moved.address())
	if err := peers.Poke(t.Context(), "node-1"); err != nil || pokes != 1 {
		t.Errorf("poke after the move: %v; the new address was poked %d times", err, pokes)
	}
}

// TestNodeIsReplaced gives a node's name to another machine, whose key is
// another, at another address; the old one still runs and is not spoken to.
func TestNodeIsReplaced(t *testing.T) {
	c, server, peers, where := twoNodes(t)
	server.node.poke = func() error { return nil }
	if err := peers.Poke(t.Context(), "node-1"); err != nil {
		t.Fatal(err)
	}
	c.remove(server.id)
	if err := peers.Poke(t.Context(), "node-1"); !errors.Is(err, ErrUnreachable) || !errors.Is(err, identity.ErrNotMember) {
		t.Errorf("a node whose key is no member's: %v", err)
	}
	replacement := c.serve(t, c.node(t, "node-1"), "127.0.0.1:0")
	pokes := 0
	replacement.node.poke = func() error { pokes++; return nil }
	where.set("node-1", replacement.address())
	if err := peers.Poke(t.Context(), "node-1"); err != nil || pokes != 1 {
		t.Errorf("poke of the replacement: %v, %d times", err, pokes)
	}
}

// TestAnotherNodeAnswers: an address that changed hands is no reason to speak
// to whoever is there now.
func TestAnotherNodeAnswers(t *testing.T) {
	_, server, peers, where := twoNodes(t)
	where.set("node-3", server.address())
	if err := peers.Poke(t.Context(), "node-3"); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "node-1") {
		t.Errorf("node-1 answered for node-3: %v", err)
	}
	if err := peers.Poke(t.Context(), "node-9"); err == nil || errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "no such node") {
		t.Errorf("an unknown node: %v", err)
	}
}

// TestRemovedCallerIsRefusedAtOnce, over the connection that it had as a
// member; Recheck ends the connection itself.
func TestRemovedCallerIsRefusedAtOnce(t *testing.T) {
	c, server, peers, where := twoNodes(t)
	server.node.poke = func() error { return nil }
	ended := make(chan error, 1)
	following := make(chan struct{})
	server.node.logs = func(ctx context.Context, _ LogsRequest, _ func(LogLine) error) error {
		close(following)
		<-ctx.Done()
		return nil
	}
	go func() {
		ended <- peers.Logs(t.Context(), "node-1", LogsRequest{Follow: true}, func(LogLine) error { return nil })
	}()
	receiveFrom(t, following)
	c.remove(where.caller)
	if err := peers.Poke(t.Context(), "node-1"); !errors.Is(err, identity.ErrNotMember) || !strings.Contains(err.Error(), "not in the member table") {
		t.Errorf("a removed node: %v, want %v", err, identity.ErrNotMember)
	}
	server.listener.Recheck()
	if err := receiveFrom(t, ended); err == nil {
		t.Error("what a removed node follows ended well")
	}
	server.log.waitFor(t, "recheck", "no member any more")
}

func TestKeepAndClose(t *testing.T) {
	c := newFakeCluster(t, "0123456789abcdef")
	one, two, three := c.node(t, "node-1"), c.node(t, "node-2"), c.node(t, "node-3")
	first, second := c.serve(t, one, "127.0.0.1:0"), c.serve(t, three, "127.0.0.1:0")
	first.node.poke, second.node.poke = func() error { return nil }, func() error { return nil }
	through := newProxy(t, second.address())
	peers, where := c.peers(t, two, first, second)
	where.set("node-3", through.Addr().String())
	for _, node := range []string{"node-1", "node-3"} {
		if err := peers.Poke(t.Context(), node); err != nil {
			t.Fatal(err)
		}
	}
	peers.mu.Lock()
	kept, dropped := peers.links["node-1"], peers.links["node-3"]
	peers.mu.Unlock()
	peers.Keep([]string{"node-1", "node-2"})
	peers.mu.Lock()
	if peers.links["node-1"] != kept || peers.links["node-3"] != nil {
		t.Errorf("kept %v", peers.links)
	}
	peers.mu.Unlock()
	if got := dropped.GetState().String(); got != "SHUTDOWN" {
		t.Errorf("the dropped connection is %s", got)
	}
}

func TestRunClosesTheConnections(t *testing.T) {
	c := newFakeCluster(t, "0123456789abcdef")
	one, two := c.node(t, "node-1"), c.node(t, "node-2")
	server := c.serve(t, one, "127.0.0.1:0")
	following := make(chan struct{})
	server.node.logs = func(ctx context.Context, _ LogsRequest, _ func(LogLine) error) error {
		close(following)
		<-ctx.Done()
		return nil
	}
	d := &directory{cluster: c, caller: two, where: map[string]string{"node-1": server.address()}}
	peers := NewPeers(d.dial, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ran, ended := make(chan error, 1), make(chan error, 1)
	go func() { ran <- peers.Run(ctx) }()
	go func() {
		ended <- peers.Logs(t.Context(), "node-1", LogsRequest{Follow: true}, func(LogLine) error { return nil })
	}()
	receiveFrom(t, following)
	cancel()
	if err := receiveFrom(t, ran); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if err := receiveFrom(t, ended); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a call under way ended with %v", err)
	}
	if err := peers.Poke(t.Context(), "node-1"); !errors.Is(err, ErrClosed) {
		t.Errorf("a call afterwards: %v, want %v", err, ErrClosed)
	}
}
