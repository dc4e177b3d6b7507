package consensus

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Stream is how raft reaches the other nodes. Both directions come
// authenticated and encrypted.
type Stream struct {
	// Listener yields the connections of other nodes. Run closes it.
	Listener net.Listener
	// Dial connects to the node with the given address.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// layer is the stream as raft wants it. It knows every connection in use:
// raft's transport does not cut them when it closes, so a node that has shut
// down would go on answering its peers.
type layer struct {
	listener net.Listener
	address  advertised
	dial     func(address string, timeout time.Duration) (net.Conn, error)
	cancel   context.CancelFunc // ends dials that are under way

	mu     sync.Mutex // guards the fields below
	conns  map[*conn]struct{}
	closed bool
}

var _ raft.StreamLayer = (*layer)(nil)

// newLayer wraps s. The dials outlive the end of ctx, because handing the
// leadership over at the end needs them; Close ends them.
func newLayer(ctx context.Context, s Stream, address string) *layer {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	return &layer{
		listener: s.Listener,
		address:  advertised(address),
		cancel:   cancel,
		conns:    map[*conn]struct{}{},
		dial: func(address string, timeout time.Duration) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			return s.Dial(ctx, address)
		},
	}
}

// Accept implements net.Listener.
func (l *layer) Accept() (net.Conn, error) {
	c, err := l.listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.track(c)
}

// Dial implements raft.StreamLayer.
func (l *layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := l.dial(string(address), timeout)
	if err != nil {
		return nil, fmt.Errorf("dial raft at %s: %w", address, err)
	}
	return l.track(c)
}

// Addr implements net.Listener: the address that other nodes know.
func (l *layer) Addr() net.Addr { return l.address }

// Close implements net.Listener. It also cuts every connection.
func (l *layer) Close() error {
	l.cancel()
	l.mu.Lock()
	l.closed = true
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	for c := range conns {
		c.cut()
	}
	return l.listener.Close()
}

func (l *layer) track(c net.Conn) (net.Conn, error) {
	tracked := &conn{Conn: c, layer: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		tracked.cut()
		return nil, net.ErrClosed
	}
	l.conns[tracked] = struct{}{}
	return tracked, nil
}

func (l *layer) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// conn is one connection in use.
type conn struct {
	net.Conn
	layer *layer
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.layer.forget(c)
	return c.Conn.Close()
}

// cut closes the connection at once: a TLS connection would first try to say
// goodbye, for up to 5 s if the other end does not read.
func (c *conn) cut() {
	if inner, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		inner.NetConn().Close()
		return
	}
	c.Conn.Close()
}

// advertised is an address as other nodes know it.
type advertised string

// Network implements net.Addr.
func (a advertised) Network() string { return "tcp" }

// String implements net.Addr.
func (a advertised) String() string { return string(a) }
