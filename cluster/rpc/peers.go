package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// How long a call may take when its context does not say. Those that a loop
// makes every second are to fail before the next one.
const (
	softTimeout    = 2 * time.Second
	proposeTimeout = 15 * time.Second
	remoteTimeout  = 2 * time.Minute // of what asks the git host, or moves megabytes
)

// Peers are the connections of this node to the others. A connection is made
// when the first call needs it, kept, and made again when it broke, or when the
// node has another address or key. All methods may be called concurrently; each
// call ends with its context, or by a time of its own where that has none.
//
// A call that fails returns an error that wraps ErrUnreachable when the node
// did not answer, which leaves open whether it acted; else what the node said:
// ErrNotLeader, ErrForbidden, ErrNotFound, identity.ErrNotMember, or one of
// cluster.ErrConflict, ErrExists, ErrInvalid and ErrToken.
type Peers struct {
	target func(node string) (address string, config *tls.Config, err error)
	logger *slog.Logger

	mu     sync.Mutex // guards the fields below
	links  map[string]*link
	closed bool
}

// NewPeers makes the connections' keeper. dial says where a node is at this
// moment and how to know it (identity.ClientConfig for ProtocolGRPC); it is
// asked for every call and must be cheap.
func NewPeers(dial func(node string) (address string, config *tls.Config, err error), logger *slog.Logger) *Peers {
	return &Peers{target: dial, logger: logger, links: map[string]*link{}}
}

// Run keeps the connections until ctx ends, closes them, and returns nil. From
// then on every call returns ErrClosed.
func (p *Peers) Run(ctx context.Context) error {
	<-ctx.Done()
	p.mu.Lock()
	p.closed = true
	links := p.links
	p.links = map[string]*link{}
	p.mu.Unlock()
	for node, l := range links {
		p.close(node, l)
	}
	return nil
}

// Keep closes the connections to all nodes but those named.
func (p *Peers) Keep(nodes []string) {
	gone := map[string]*link{}
	p.mu.Lock()
	for node, l := range p.links {
		if !slices.Contains(nodes, node) {
			gone[node] = l
			delete(p.links, node)
		}
	}
	p.mu.Unlock()
	for node, l := range gone {
		p.close(node, l)
	}
}

func (p *Peers) close(node string, l *link) {
	if err := l.Close(); err != nil {
		p.logger.Debug("cannot close the connection to a node", "node", node, "error", err)
	}
}

// link returns the connection to a node, a new one if that which is there
// leads elsewhere by now.
func (p *Peers) link(node string) (*link, error) {
	address, config, err := p.target(node)
	if err != nil {
		return nil, err
	}
	l, stale, err := p.replace(node, address, config)
	if stale != nil {
		p.logger.Info("the address or key of a node changed: connecting anew", "node", node, "address", address)
		p.close(node, stale)
	}
	return l, err
}

// replace returns the connection to a node, and the one that made way for it.
func (p *Peers) replace(node, address string, config *tls.Config) (l, stale *link, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, ErrClosed
	}
	if l = p.links[node]; l != nil && !l.stale(address, config) {
		return l, nil, nil
	}
	stale = l
	delete(p.links, node)
	if l, err = newLink(func() (string, *tls.Config, error) { return p.target(node) }); err != nil {
		return nil, stale, err
	}
	p.links[node] = l
	return l, stale, nil
}

// call makes one call to a node; what names it in errors.
func (p *Peers) call(ctx context.Context, node, what string, timeout time.Duration, do func(context.Context, jacov1.PeerClient) error) error {
	if _, bounded := ctx.Deadline(); !bounded && timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	l, err := p.link(node)
	if err == nil {
		err = do(ctx, jacov1.NewPeerClient(l))
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s node %s: %w", what, node, explainPeer(ctx, l, err))
}

// explainPeer turns what a call to a member returned back into what that
// member said, or why it said nothing.
func explainPeer(ctx context.Context, l *link, err error) error {
	s, ok := status.FromError(err)
	if !ok || l == nil {
		return err
	}
	if refused := fromReason(s); refused != nil {
		return refused
	}
	switch s.Code() {
	case codes.Unavailable:
		if cause := l.failed(); cause != nil {
			return fmt.Errorf("it %w: %w", ErrUnreachable, cause)
		}
		return fmt.Errorf("it %w: %s", ErrUnreachable, s.Message())
	case codes.Canceled:
		if ctx.Err() == nil {
			return fmt.Errorf("it %w: %s", ErrUnreachable, s.Message()) // its connection was given up
		}
		return context.Canceled
	case codes.DeadlineExceeded:
		return fmt.Errorf("it %w in time: %w", ErrUnreachable, context.DeadlineExceeded)
	default:
		return errors.New(s.Message())
	}
}
