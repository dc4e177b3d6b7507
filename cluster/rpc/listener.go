package rpc

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

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
	// maxJoining and maxReading are how many strangers may have a connection
	// open at once. One more is turned away: members never share with them.
	maxJoining = 16
	maxReading = 64
	unlimited  = 0
	// acceptRetry is the pause after a passing error of the port, such as too
	// many open files.
	acceptRetry = 100 * time.Millisecond
)

// ErrListen is returned when the control port cannot be opened.
var ErrListen = errors.New("cannot open the control port")

// Listener is the control port: it does the TLS handshake of each connection
// and hands it to whoever serves the protocol that was agreed on.
type Listener struct {
	port   net.Listener
	config *tls.Config
	logger *slog.Logger
	raft   *branch
	grpc   *branch
	join   *branch
	read   *branch

	mu         sync.Mutex             // guards the fields below
	handshakes *list.List             // of net.Conn, the oldest first
	members    map[*tls.Conn]struct{} // handed over and open
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
		raft:       newBranch(port.Addr(), unlimited),
		grpc:       newBranch(port.Addr(), unlimited),
		join:       newBranch(port.Addr(), maxJoining),
		read:       newBranch(port.Addr(), maxReading),
		handshakes: list.New(),
		members:    map[*tls.Conn]struct{}{},
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

// Join returns the connections of those who want to join or to renew, Read
// those of readers with a token. Nobody has been told from anybody yet.
func (l *Listener) Join() net.Listener { return l.join }

// Read is described at Join.
func (l *Listener) Read() net.Listener { return l.read }

// Recheck ends the connections of nodes that are members no more. Whoever
// removes a node calls it: by itself a connection is checked when it is made.
func (l *Listener) Recheck() {
	l.mu.Lock()
	open := slices.Collect(maps.Keys(l.members))
	l.mu.Unlock()
	for _, conn := range open {
		l.recheck(conn)
	}
}

// recheck ends the connection of a node that is no member any more.
func (l *Listener) recheck(conn *tls.Conn) {
	state := conn.ConnectionState()
	if err := l.config.VerifyConnection(state); err != nil {
		l.logger.Warn("control port ends the connection of a node that is no member any more",
			"remote", conn.RemoteAddr().String(), "node", identity.PeerNode(state), "error", err)
		conn.NetConn().Close()
	}
}

// Run accepts connections until ctx ends, and returns nil then. Before it
// returns, the port is closed and every handshake has ended; connections that
// were handed over stay.
func (l *Listener) Run(ctx context.Context) error {
	var handshakes sync.WaitGroup
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = l.Close()
	})
	defer handshakes.Wait()
	defer func() {
		_ = l.Close()
		if !stop() {
			<-closed // the port is shut when the first Close ends, not the second
		}
	}()
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
	err := errors.Join(l.raft.Close(), l.grpc.Close(), l.join.Close(), l.read.Close())
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
func (l *Listener) handshake(ctx context.Context, accepted net.Conn, forget func()) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw := &trackedConn{Conn: accepted}
	conn := tls.Server(raw, l.config)
	remote := raw.RemoteAddr().String()
	if err := conn.HandshakeContext(ctx); err != nil {
		accepted.Close()
		// Only holders of a certificate of this cluster get that far.
		if errors.Is(err, identity.ErrNotMember) {
			l.logger.Warn("control port refused a node", "remote", remote, "error", err)
			return
		}
		l.logger.Debug("control port refused a connection", "remote", remote, "error", err)
		return
	}
	state := conn.ConnectionState()
	var to *branch
	switch state.NegotiatedProtocol {
	case identity.ProtocolRaft:
		to = l.raft
	case identity.ProtocolGRPC:
		to = l.grpc
	case identity.ProtocolJoin:
		to = l.join
	case identity.ProtocolRead:
		to = l.read
	default:
		l.logger.Debug("control port refused a connection without a protocol", "remote", remote, "node", identity.PeerNode(state))
		accepted.Close()
		return
	}
	forget()
	release, ok := to.reserve()
	if !ok {
		l.logger.Warn("control port turned a stranger away: too many are connected", "remote", remote, "protocol", state.NegotiatedProtocol)
		accepted.Close()
		return
	}
	if identity.PeerNode(state) != "" {
		release = l.follow(conn, release)
	}
	raw.whenClosed(release)
	if identity.PeerNode(state) != "" {
		l.recheck(conn) // Recheck may have looked before it was followed
	}
	if !to.offer(conn) {
		l.logger.Debug("nobody takes the connection", "remote", remote, "protocol", state.NegotiatedProtocol)
		_ = raw.Close() // gives its place back
	}
}

// follow has Recheck know a member's connection until release is called.
func (l *Listener) follow(conn *tls.Conn, release func()) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members[conn] = struct{}{}
	return func() {
		l.mu.Lock()
		delete(l.members, conn)
		l.mu.Unlock()
		release()
	}
}

// trackedConn tells when it is closed.
type trackedConn struct {
	net.Conn

	mu     sync.Mutex // guards the fields below
	closed bool
	then   func()
}

// whenClosed has then called once when the connection is closed, at once when
// it is already.
func (c *trackedConn) whenClosed(then func()) {
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.then = then
	}
	c.mu.Unlock()
	if closed {
		then()
	}
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	c.mu.Lock()
	then := c.then
	c.closed, c.then = true, nil
	c.mu.Unlock()
	if then != nil {
		then()
	}
	return c.Conn.Close()
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
	places chan struct{} // one value for each open connection; nil: unlimited
}

var _ net.Listener = (*branch)(nil)

// newBranch makes a branch for at most limit open connections.
func newBranch(addr net.Addr, limit int) *branch {
	b := &branch{addr: addr, conns: make(chan net.Conn, maxWaiting), closed: make(chan struct{})}
	if limit != unlimited {
		b.places = make(chan struct{}, limit)
	}
	return b
}

// reserve takes a place for one connection until release is called, unless all
// are taken.
func (b *branch) reserve() (release func(), ok bool) {
	if b.places == nil {
		return func() {}, true
	}
	select {
	case b.places <- struct{}{}:
		return func() { <-b.places }, true
	default:
		return nil, false
	}
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
