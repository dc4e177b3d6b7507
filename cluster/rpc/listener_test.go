package rpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/jaco-sh/jaco/cluster/identity"
)

const patience = 30 * time.Second

// pair is two nodes of a cluster, the first with its control port open.
type pair struct {
	one, two *identity.Identity
	listener *Listener
	log      *syncBuffer
	stop     context.CancelFunc
	ended    chan error
	removed  atomic.Bool // node-2, from the member table
}

func newPair(t *testing.T) *pair {
	t.Helper()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	random := rand.NewChaCha8([32]byte{})
	authority, err := identity.NewAuthority("0123456789abcdef", now, random)
	if err != nil {
		t.Fatal(err)
	}
	node := func(name string) *identity.Identity {
		store := identity.NewStore(filepath.Join(t.TempDir(), name), func() time.Time { return now }, random)
		id, err := store.Create(authority, name)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	p := &pair{one: node("node-1"), two: node("node-2"), log: &syncBuffer{}, ended: make(chan error, 1)}
	logger := slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if p.listener, err = Listen(t.Context(), "127.0.0.1:0", p.one.ServerConfig(p.member), logger); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.stop = cancel
	go func() { p.ended <- p.listener.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := receiveFrom(t, p.ended); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

func (p *pair) member(hash [32]byte) (string, bool) {
	for _, id := range []*identity.Identity{p.one, p.two} {
		if id.KeyHash() == hash && (id == p.one || !p.removed.Load()) {
			return id.Node(), true
		}
	}
	return "", false
}

func (p *pair) address() string { return p.listener.Addr().String() }

// dial connects to node-1 as node-2.
func (p *pair) dial(t *testing.T, protocol string) net.Conn {
	t.Helper()
	dial := Dialer(func(string) (*tls.Config, error) { return p.two.ClientConfig("node-1", protocol, p.member), nil })
	conn, err := dial(t.Context(), p.address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// mustPass sends a byte from one end to the other.
func mustPass(t *testing.T, from, to net.Conn) {
	t.Helper()
	if _, err := from.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	conns := make(chan net.Conn, 1)
	go func() {
		if conn, err := l.Accept(); err == nil {
			conns <- conn
		}
	}()
	conn := receiveFrom(t, conns)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func receiveFrom[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		return *new(T)
	}
}

// mustEnd waits until the other end closes the connection.
func mustEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := io.Copy(io.Discard, conn); errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("the connection stays open")
	}
}

func TestSplitByProtocol(t *testing.T) {
	p := newPair(t)
	for name, branch := range map[string]net.Listener{
		identity.ProtocolRaft: p.listener.Raft(), identity.ProtocolGRPC: p.listener.GRPC(),
	} {
		out := p.dial(t, name)
		in := accept(t, branch)
		mustPass(t, out, in)
		if got := identity.PeerNode(in.(*tls.Conn).ConnectionState()); got != "node-2" {
			t.Errorf("%s: the peer is %q", name, got)
		}
		if branch.Addr() != p.listener.Addr() {
			t.Errorf("%s: address %v", name, branch.Addr())
		}
	}
}

func TestRealGRPCCall(t *testing.T) {
	p := newPair(t)
	caller := make(chan string, 1)
	server := grpc.NewServer(grpc.Creds(HandshakenCredentials()), grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if from, ok := peer.FromContext(ctx); ok {
				if info, ok := from.AuthInfo.(credentials.TLSInfo); ok {
					caller <- identity.PeerNode(info.State)
				}
			}
			return handle(ctx, req)
		}))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- server.Serve(p.listener.GRPC()) }()
	defer func() {
		server.Stop()
		if err := receiveFrom(t, served); err != nil {
			t.Error(err)
		}
	}()
	client, err := grpc.NewClient(p.address(), grpc.WithTransportCredentials(
		credentials.NewTLS(p.two.ClientConfig("node-1", identity.ProtocolGRPC, p.member))))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer, err := grpc_health_v1.NewHealthClient(client).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("answer %v", answer)
	}
	if got := receiveFrom(t, caller); got != "node-2" {
		t.Errorf("the caller is %q", got)
	}
}

func TestHandshakenCredentialsRefuse(t *testing.T) {
	p := newPair(t)
	c := HandshakenCredentials()
	plain, other := net.Pipe()
	defer plain.Close()
	defer other.Close()
	if _, _, err := c.ServerHandshake(plain); err == nil {
		t.Error("took a plain connection")
	}
	if _, _, err := c.ServerHandshake(tls.Server(plain, p.one.ServerConfig(p.member))); err == nil {
		t.Error("took a connection before its handshake")
	}
	if _, _, err := c.ClientHandshake(t.Context(), "", plain); err == nil {
		t.Error("served as client credentials")
	}
}

func TestStrangersAreRefused(t *testing.T) {
	p := newPair(t)
	for name, c := range map[string]struct {
		first []byte
		log   string
	}{
		"HTTP":           {[]byte("GET / HTTP/1.1\r\n\r\n"), "first record does not look like a TLS handshake"},
		"zeros":          {make([]byte, 64), "first record does not look like a TLS handshake"},
		"broken hello":   {[]byte{22, 3, 1, 0, 4, 1, 0, 0, 0}, "refused a connection"},
		"closed at once": {nil, "EOF"},
	} {
		conn, err := net.Dial("tcp", p.address())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(c.first); err != nil {
			t.Fatal(err)
		}
		if c.first == nil {
			conn.(*net.TCPConn).CloseWrite()
		}
		mustEnd(t, conn)
		conn.Close()
		p.log.waitFor(t, name, c.log)
	}
	for name, c := range map[string]struct {
		spoil func(*tls.Config)
		log   string
	}{
		"unknown protocol": {func(c *tls.Config) { c.NextProtos = []string{"gopher"} }, "unsupported application protocols"},
		"no protocol":      {func(c *tls.Config) { c.NextProtos = nil }, "without a protocol"},
		"no certificate":   {func(c *tls.Config) { c.GetClientCertificate = nil }, "didn't provide a certificate"},
	} {
		config := p.two.ClientConfig("node-1", identity.ProtocolRaft, p.member)
		config.VerifyConnection = nil
		c.spoil(config)
		if conn, err := tls.Dial("tcp", p.address(), config); err == nil {
			mustEnd(t, conn)
			conn.Close()
		}
		p.log.waitFor(t, name, c.log)
	}
	mustPass(t, p.dial(t, identity.ProtocolRaft), accept(t, p.listener.Raft()))
}

// A node that was removed is refused, and the operator is told.
func TestRemovedNodeIsReported(t *testing.T) {
	p := newPair(t)
	config := p.two.ClientConfig("node-1", identity.ProtocolRaft, p.member)
	p.removed.Store(true)
	if conn, err := tls.Dial("tcp", p.address(), config); err == nil {
		mustEnd(t, conn)
		conn.Close()
	}
	p.log.waitFor(t, "removed node", "level=WARN msg=\"control port refused a node\"")
}

// A node that is removed loses the connections that it has, over both of the
// members' protocols, and nobody else does.
func TestRecheckEndsConnections(t *testing.T) {
	p := newPair(t)
	raft, grpc := p.dial(t, identity.ProtocolRaft), p.dial(t, identity.ProtocolGRPC)
	raftIn, grpcIn := accept(t, p.listener.Raft()), accept(t, p.listener.GRPC())
	mustPass(t, raft, raftIn)
	mustPass(t, grpc, grpcIn)
	p.listener.Recheck()
	mustPass(t, raft, raftIn)
	mustPass(t, grpc, grpcIn)
	p.removed.Store(true)
	p.listener.Recheck()
	mustEnd(t, raft)
	mustEnd(t, grpc)
	p.log.waitFor(t, "recheck", "node=node-2")
	p.listener.mu.Lock()
	defer p.listener.mu.Unlock()
	if len(p.listener.members) != 0 {
		t.Errorf("%d connections are followed after their end", len(p.listener.members))
	}
}

// However many strangers connect and say nothing, a member gets through at once.
func TestSilentConnectionsDoNotStall(t *testing.T) {
	p := newPair(t)
	var silent []net.Conn
	for range 3 * maxHandshakes {
		conn, err := net.Dial("tcp", p.address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	begin := time.Now()
	out := p.dial(t, identity.ProtocolRaft)
	mustPass(t, out, accept(t, p.listener.Raft()))
	if took := time.Since(begin); took > handshakeTimeout {
		t.Errorf("a member waited %v", took)
	}
	mustEnd(t, silent[0]) // the oldest made room
	p.listener.mu.Lock()
	under := p.listener.handshakes.Len()
	p.listener.mu.Unlock()
	if under > maxHandshakes {
		t.Errorf("%d handshakes are under way", under)
	}
}

func TestSilentConnectionTimesOut(t *testing.T) {
	if testing.Short() {
		t.Skip("on purpose: -short, and it takes the handshake's timeout")
	}
	t.Parallel()
	p := newPair(t)
	conn, err := net.Dial("tcp", p.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	mustEnd(t, conn)
	p.log.waitFor(t, "silent", "deadline exceeded")
}

func TestCloseEndsEverything(t *testing.T) {
	p := newPair(t)
	silent, err := net.Dial("tcp", p.address())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	waiting := p.dial(t, identity.ProtocolGRPC) // nobody accepts it
	taken := p.dial(t, identity.ProtocolRaft)
	in := accept(t, p.listener.Raft())
	errs := make(chan error, 1)
	go func() {
		_, err := p.listener.Raft().Accept()
		errs <- err
	}()
	for len(p.listener.grpc.conns) == 0 { // the client's handshake ends before the server's
		mustPass(t, taken, in)
	}
	p.stop()
	if err := receiveFrom(t, p.ended); err != nil {
		t.Fatal(err)
	}
	p.ended <- nil // for the cleanup
	mustEnd(t, silent)
	mustEnd(t, waiting)
	if err := receiveFrom(t, errs); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	mustPass(t, taken, in) // what was handed over is not ours any more
	if conn, err := net.Dial("tcp", p.address()); err == nil {
		conn.Close()
		t.Error("the port is still open")
	}
	if err := p.listener.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// One protocol's server may end while the other goes on.
func TestClosedBranchRefuses(t *testing.T) {
	p := newPair(t)
	if err := p.listener.Raft().Close(); err != nil {
		t.Fatal(err)
	}
	mustEnd(t, p.dial(t, identity.ProtocolRaft))
	mustPass(t, p.dial(t, identity.ProtocolGRPC), accept(t, p.listener.GRPC()))
}

// Connections that nobody takes do not pile up.
func TestUntakenConnectionsAreBounded(t *testing.T) {
	b := newBranch(&net.TCPAddr{}, unlimited)
	for i := range maxWaiting + 1 {
		here, there := net.Pipe()
		defer here.Close()
		defer there.Close()
		if got, want := b.offer(here), i < maxWaiting; got != want {
			t.Fatalf("connection %d taken = %v, want %v", i+1, got, want)
		}
	}
}

func TestListenErrors(t *testing.T) {
	p := newPair(t)
	for address, advice := range map[string]string{
		p.address():        "another process listens there",
		"192.0.2.1:7000":   "this machine has no such address",
		"127.0.0.1:x":      "check the address in jacod.yaml",
		"127.0.0.1:700000": "check the address in jacod.yaml",
	} {
		l, err := Listen(t.Context(), address, nil, nil)
		if err == nil {
			l.Close()
			t.Errorf("%s: opened", address)
			continue
		}
		if !errors.Is(err, ErrListen) || !strings.Contains(err.Error(), advice) || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v, want %q", address, err, advice)
		}
	}
}

func TestDialerErrors(t *testing.T) {
	unknown := errors.New("no node has this address")
	_, err := Dialer(func(string) (*tls.Config, error) { return nil, unknown })(t.Context(), "192.0.2.1:7000")
	if !errors.Is(err, unknown) || !strings.Contains(err.Error(), "192.0.2.1:7000") {
		t.Errorf("unknown address: %v", err)
	}
	p := newPair(t)
	_, err = Dialer(func(string) (*tls.Config, error) {
		return p.two.ClientConfig("node-3", identity.ProtocolRaft, p.member), nil
	})(t.Context(), p.address())
	if err == nil || !strings.Contains(err.Error(), "node-3") {
		t.Errorf("another node answers: %v", err)
	}
}

// syncBuffer is a log that can be waited for.
type syncBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
	more chan struct{}
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more != nil {
		close(b.more)
		b.more = nil
	}
	return b.data.Write(p)
}

// waitFor waits until text was logged, and forgets the log up to there.
func (b *syncBuffer) waitFor(t *testing.T, name, text string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		b.mu.Lock()
		found := strings.Contains(b.data.String(), text)
		if found {
			b.data.Reset()
		}
		if b.more == nil {
			b.more = make(chan struct{})
		}
		more := b.more
		b.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("%s: the log does not say %q:\n%s", name, text, b.data.String())
		}
	}
}
