package rpc

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/jaco-sh/jaco/cluster/identity"
)

const (
	// handshakeTimeout bounds what a silent or slow stranger can hold.
	handshakeTimeout = 5 * time.Second
	// maxHandshakes is how many may be under way. One more ends the oldest: an
	// honest handshake takes milliseconds, so the oldest is a stranger's.
	maxHandshakes = 64
	// maxWaiting is how many connections of a protocol may wait for Accept.
	maxWaiting = 64
	// acceptRetry is the pause after a passing error of the port, such as too
	// many open files.
	acceptRetry = 100 * time.Millisecond
)

// ErrListen is returned when the control port cannot be opened.
var ErrListen = errors.New("cannot open the control port")

// Listener is the control port: it does the TLS handshake of each connection
// and hands it to raft or gRPC, whichever was agreed on.
type Listener struct {
	port   net.Listener
	config *tls.Config
	logger *slog.Logger
	raft   *branch
	grpc   *branch

	mu         sync.Mutex // guards the fields below
	handshakes *list.List // of net.Conn, the oldest first
	closed     bool
}

// Listen opens the control port on address (host:port). Nothing is accepted
// before Run. Its errors wrap ErrListen and say what to do.
func Listen(ctx context.Context, address string, config *tls.Config, logger *slog.Logger) (*Listener, error) {
	port, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, explainListen(address, err)
	}
	return NewListener(port, config, logger), nil
}

// NewListener makes a control port of one that is open already.
func NewListener(port net.Listener, config *tls.Config, logger *slog.Logger) *Listener {
	return &Listener{
		port:       port,
		config:     config,
		logger:     logger,
		raft:       newBranch(port.Addr()),
		grpc:       newBranch(port.Addr()),
		handshakes: list.New(),
	}
}

func explainListen(address string, err error) error {
	advice := "check the address in jacod.yaml"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "another process listens there (ss -ltnp shows which): stop it, or set another port in jacod.yaml"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "this machine has no such address: set one of its own in jacod.yaml"
	case errors.Is(err, fs.ErrPermission):
		advice = "this port needs root: set one above 1023 in jacod.yaml"
	}
	return fmt.Errorf("%w %s: %w: %s", ErrListen, address, err, advice)
}

// Addr returns the address that is listened on.
func (l *Listener) Addr() net.Addr { return l.port.Addr() }

// Raft returns the connections that speak raft. Closing it closes them alone.
func (l *Listener) Raft() net.Listener { return l.raft }

// GRPC returns the connections that speak HTTP/2, for a server with
// HandshakenCredentials.
func (l *Listener) GRPC() net.Listener { return l.grpc }

// Run accepts connections until ctx ends, and returns nil then. Before it
// returns, the port is closed and every handshake has ended; connections that
// were handed over stay.
func (l *Listener) Run(ctx context.Context) error {
	var handshakes sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer handshakes.Wait()
	defer func() { _ = l.Close() }()
	defer stop()
	for {
		conn, err := l.port.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil || l.isClosed():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("control port: %w", err)
		default:
			l.logger.Warn("control port accepts nothing at the moment", "error", err)
			if !pause(ctx, acceptRetry) {
				return nil
			}
			continue
		}
		forget, ok := l.admit(conn)
		if !ok {
			conn.Close()
			return nil
		}
		handshakes.Go(func() {
			defer forget()
			l.handshake(ctx, conn, forget)
		})
	}
}

// Close closes the port, ends the handshakes and what waits for Accept.
func (l *Listener) Close() error {
	l.mu.Lock()
	l.closed = true
	for e := l.handshakes.Front(); e != nil; e = e.Next() {
		closeConn(e)
	}
	l.mu.Unlock()
	err := errors.Join(l.raft.Close(), l.grpc.Close())
	if portErr := l.port.Close(); !errors.Is(portErr, net.ErrClosed) {
		err = errors.Join(err, portErr)
	}
	return err
}

func (l *Listener) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// admit counts a handshake that begins and ends the oldest if there are too
// many; forget is to be called at its end.
func (l *Listener) admit(conn net.Conn) (forget func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, false
	}
	if l.handshakes.Len() >= maxHandshakes {
		oldest := l.handshakes.Front()
		closeConn(oldest)
		l.handshakes.Remove(oldest)
	}
	e := l.handshakes.PushBack(conn)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.handshakes.Remove(e) // no harm if it was removed before
	}, true
}

// closeConn closes the connection of a list's element.
func closeConn(e *list.Element) {
	if conn, ok := e.Value.(net.Conn); ok {
		conn.Close()
	}
}

// handshake brings one connection to the branch that it asked for. It forgets
// the handshake before it hands over: from then on, Close is not to end it.
func (l *Listener) handshake(ctx context.Context, raw net.Conn, forget func()) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Server(raw, l.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		// Only holders of a certificate of this cluster get that far.
		if errors.Is(err, identity.ErrNotMember) {
			l.logger.Warn("control port refused a node", "remote", raw.RemoteAddr().String(), "error", err)
			return
		}
		l.logger.Debug("control port refused a connection", "remote", raw.RemoteAddr().String(), "error", err)
		return
	}
	state := conn.ConnectionState()
	var to *branch
	switch state.NegotiatedProtocol {
	case identity.ProtocolRaft:
		to = l.raft
	case identity.ProtocolGRPC:
		to = l.grpc
	default:
		l.logger.Debug("control port refused a connection without a protocol", "remote", raw.RemoteAddr().String(), "node", identity.PeerNode(state))
		raw.Close()
		return
	}
	forget()
	if !to.offer(conn) {
		l.logger.Debug("nobody takes the connection", "remote", raw.RemoteAddr().String(), "protocol", state.NegotiatedProtocol)
		raw.Close()
	}
}

// pause returns false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// branch is a listener for the connections of one protocol.
type branch struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

var _ net.Listener = (*branch)(nil)

func newBranch(addr net.Addr) *branch {
	return &branch{addr: addr, conns: make(chan net.Conn, maxWaiting), closed: make(chan struct{})}
}

// offer hands a connection over unless nobody takes it.
func (b *branch) offer(conn net.Conn) bool {
	select {
	case <-b.closed:
		return false
	default:
	}
	select {
	case b.conns <- conn:
	default:
		return false
	}
	select {
	case <-b.closed: // meanwhile, and Close may have looked before
		b.drain()
	default:
	}
	return true
}

// Accept implements net.Listener.
func (b *branch) Accept() (net.Conn, error) {
	select {
	case <-b.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case conn := <-b.conns:
		return conn, nil
	case <-b.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (b *branch) Close() error {
	b.once.Do(func() { close(b.closed) })
	b.drain()
	return nil
}

// drain closes what waits for Accept.
func (b *branch) drain() {
	for {
		select {
		case conn := <-b.conns:
			conn.Close()
		default:
			return
		}
	}
}

// Addr implements net.Listener.
func (b *branch) Addr() net.Addr { return b.addr }

// Dialer returns the dial function for raft. config gives the TLS
// configuration for the node with the given address, pinned to its name.
func Dialer(config func(address string) (*tls.Config, error)) func(ctx context.Context, address string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		c, err := config(address)
		if err != nil {
			return nil, fmt.Errorf("dial node at %s: %w", address, err)
		}
		ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		defer cancel()
		conn, err := (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("dial node at %s: %w", address, err)
		}
		return conn, nil
	}
}

// HandshakenCredentials returns server credentials for the connections of
// Listener.GRPC, whose handshake is done: gRPC learns who is at the other end
// (credentials.TLSInfo) and does nothing more. They refuse other connections,
// and being used by a client.
func HandshakenCredentials() credentials.TransportCredentials { return handshaken{} }

type handshaken struct{}

var _ credentials.TransportCredentials = handshaken{}

// ServerHandshake implements credentials.TransportCredentials.
func (handshaken) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return nil, nil, fmt.Errorf("connection of type %T: want a TLS connection", conn)
	}
	state := secured.ConnectionState()
	if !state.HandshakeComplete || identity.PeerNode(state) == "" {
		return nil, nil, errors.New("connection without a finished handshake of two nodes")
	}
	return conn, credentials.TLSInfo{
		State:          state,
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (handshaken) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for servers only")
}

// Info implements credentials.TransportCredentials.
func (handshaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (handshaken) Clone() credentials.TransportCredentials { return handshaken{} }

// OverrideServerName implements credentials.TransportCredentials.
func (handshaken) OverrideServerName(string) error { return nil }
