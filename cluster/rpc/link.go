package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/jaco-sh/jaco/cluster/identity"
)

const (
	// redialFirst and redialMax bound the pause between two attempts to
	// connect: failover waits for the next one.
	redialFirst = 50 * time.Millisecond
	redialMax   = time.Second
	// connectTimeout bounds one attempt, handshake included. A lost SYN is
	// repeated by the kernel after 1 s, so that this allows for one loss.
	connectTimeout = 3 * time.Second
	// deadAfter is how long a node may leave data unacknowledged before its
	// connection is given up.
	deadAfter = 3 * time.Second
	// pingEvery is when a silent connection with a call under way is tried;
	// gRPC allows no less.
	pingEvery = 10 * time.Second
)

// target says where a node is at this moment, and how to know it.
type target func() (address string, config *tls.Config, err error)

// link is a gRPC connection over TLS that knows to whom it leads, and why it
// leads nowhere. It connects when it is used, and again when it broke.
type link struct {
	*grpc.ClientConn
	target target

	mu      sync.Mutex // guards the fields below
	address string     // of the last attempt
	state   *tls.ConnectionState
	failure error // of the last attempt; nil when it succeeded
}

func newLink(to target, options ...grpc.DialOption) (*link, error) {
	l := &link{target: to}
	options = append([]grpc.DialOption{
		grpc.WithContextDialer(l.dial),
		grpc.WithTransportCredentials(linkCredentials{l}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: redialFirst, Multiplier: 2, Jitter: 0.2, MaxDelay: redialMax},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: deadAfter}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig(),
	}, options...)
	conn, err := grpc.NewClient("passthrough:///jaco", options...)
	if err != nil {
		return nil, fmt.Errorf("prepare a connection: %w", err)
	}
	l.ClientConn = conn
	return l, nil
}

// dial makes the TCP connection of one attempt.
func (l *link) dial(ctx context.Context, _ string) (net.Conn, error) {
	address, _, err := l.target()
	if err != nil {
		l.note("", nil, err)
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		l.note(address, nil, err)
		return nil, err
	}
	l.mu.Lock()
	l.address = address
	l.mu.Unlock()
	return conn, nil
}

// handshake ends one attempt. In TLS 1.3 a server judges the client's
// certificate after the client is through, and its refusal would be lost to the
// first write. So the server's first byte is awaited: gRPC servers speak first.
func (l *link) handshake(ctx context.Context, raw net.Conn) (*startedConn, error) {
	_, config, err := l.target()
	if err != nil {
		return nil, err
	}
	conn := &startedConn{Conn: tls.Client(raw, config)}
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	// gRPC closes raw when ctx ends, and with it this read.
	if _, err := io.ReadFull(conn.Conn, conn.first[:]); err != nil {
		return nil, explainAlert(err)
	}
	return conn, nil
}

// explainAlert says what a server's refusal of our certificate means.
func explainAlert(err error) error {
	switch {
	case strings.Contains(err.Error(), "tls: bad certificate"):
		return fmt.Errorf("it says that this node is %w (%w)", identity.ErrNotMember, err)
	case strings.Contains(err.Error(), "tls: expired certificate"):
		return fmt.Errorf("this node's certificate has expired by its clock (%w)", err)
	}
	return err
}

// startedConn is a connection whose first byte was read already.
type startedConn struct {
	*tls.Conn
	first [1]byte
	given bool // only one goroutine reads
}

// Read implements net.Conn.
func (c *startedConn) Read(p []byte) (int, error) {
	if c.given || len(p) == 0 {
		return c.Conn.Read(p)
	}
	c.given = true
	return copy(p, c.first[:]), nil
}

func (l *link) note(address string, state *tls.ConnectionState, failure error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if address != "" {
		l.address = address
	}
	l.state, l.failure = state, failure
}

// failed returns why the last attempt to connect failed; nil when it did not.
func (l *link) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// stale reports whether the link leads elsewhere than it should by now: to
// another address, or to a node whose key is no member's any more.
func (l *link) stale(address string, config *tls.Config) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.address != "" && l.address != address {
		return true
	}
	return l.state != nil && config.VerifyConnection(*l.state) != nil
}

// linkCredentials do the handshake of a link. gRPC's own would offer h2 beside
// the protocol that the configuration names.
type linkCredentials struct {
	link *link
}

var _ credentials.TransportCredentials = linkCredentials{}

// ClientHandshake implements credentials.TransportCredentials.
func (c linkCredentials) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, err := c.link.handshake(ctx, raw)
	if err != nil {
		c.link.note("", nil, err)
		return nil, nil, err
	}
	state := conn.ConnectionState()
	c.link.note("", &state, nil)
	return conn, tlsInfo(state), nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (linkCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for clients only")
}

// Info implements credentials.TransportCredentials.
func (linkCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (c linkCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (linkCredentials) OverrideServerName(string) error { return nil }
