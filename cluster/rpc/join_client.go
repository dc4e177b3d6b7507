package rpc

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

const (
	// greetTimeout bounds Hello and Renew, joinTimeout an admission, which
	// waits for the leader and the log.
	greetTimeout = 20 * time.Second
	joinTimeout  = 60 * time.Second
	// maxHello is a checkpoint with what goes with it.
	maxHello = cluster.MaxCheckpointBytes + 64<<10
)

// ErrCheckpoint is returned when the server shows another checkpoint, or
// another authority, than the token names.
var ErrCheckpoint = errors.New("the server does not show what the token names")

// JoinClient speaks to a member as a node that has no certificate, or none
// that is still valid. It keeps no connection. Its errors are for people; what
// a caller may branch on is ErrUnreachable, ErrNotJaco, ErrCheckpoint,
// ErrTokenKind, ErrNotLeader, identity.ErrForeignCluster, identity.ErrClock,
// identity.ErrNotMember, cluster.ErrToken, cluster.ErrExists and
// cluster.ErrInvalid.
type JoinClient struct {
	server string
	clock  func() time.Time
}

// NewJoinClient makes a client of the member with that control port
// (host:port). Certificates are judged by clock.
func NewJoinClient(server string, clock func() time.Time) *JoinClient {
	return &JoinClient{server: server, clock: clock}
}

// Hello asks what the token stands for. Nothing secret is sent.
func (c *JoinClient) Hello(ctx context.Context, token Token) (*HelloResult, error) {
	if err := token.WantKind(cluster.TokenJoin); err != nil {
		return nil, err
	}
	var out *jacov1.HelloResponse
	err := c.call(ctx, greetTimeout, c.config(token), func(ctx context.Context, api jacov1.JoinClient) (err error) {
		out, err = api.Hello(ctx, &jacov1.HelloRequest{TokenId: token.ID}, grpc.MaxCallRecvMsgSize(maxHello))
		return err
	})
	if err != nil {
		return nil, err
	}
	hash, err := identity.AuthorityHash(out.GetAuthority())
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", c.server, ErrCheckpoint, err)
	}
	if hash != token.Authority {
		return nil, fmt.Errorf("%s: %w: its authority is another: join by another member, and tell whoever runs this one", c.server, ErrCheckpoint)
	}
	if sha256.Sum256(out.GetCheckpoint()) != token.Checkpoint {
		return nil, fmt.Errorf("%s: %w: its checkpoint is another: join by another member, and tell whoever runs this one", c.server, ErrCheckpoint)
	}
	pool, err := parsePool(out.GetPool())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.server, err)
	}
	return &HelloResult{
		ClusterID: out.GetClusterId(), ClusterName: out.GetClusterName(), Authority: out.GetAuthority(),
		Checkpoint: out.GetCheckpoint(), Branch: out.GetBranch(), Pool: pool,
	}, nil
}

// Join asks to be admitted. The same request may be made again when its answer
// was lost.
func (c *JoinClient) Join(ctx context.Context, token Token, request *JoinRequest) (*Admission, error) {
	var out *jacov1.JoinResponse
	err := c.call(ctx, joinTimeout, c.config(token), func(ctx context.Context, api jacov1.JoinClient) (err error) {
		out, err = api.Join(ctx, request.message())
		return err
	})
	if err != nil {
		return nil, err
	}
	return admissionOf(out)
}

// Renew returns a new certificate, PEM, for the key of a member whose present
// one may have expired.
func (c *JoinClient) Renew(ctx context.Context, id *identity.Identity) ([]byte, error) {
	var out *jacov1.RenewResponse
	err := c.call(ctx, greetTimeout, id.RenewConfig(), func(ctx context.Context, api jacov1.JoinClient) (err error) {
		out, err = api.Renew(ctx, &jacov1.RenewRequest{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return out.GetCertificate(), nil
}

func (c *JoinClient) config(token Token) *tls.Config {
	return identity.StrangerConfig(token.Authority, identity.ProtocolJoin, c.clock)
}

// call makes one call over a connection of its own.
func (c *JoinClient) call(ctx context.Context, timeout time.Duration, config *tls.Config, do func(context.Context, jacov1.JoinClient) error) (err error) {
	if err := CheckServer(c.server); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	l, err := newLink(func() (string, *tls.Config, error) { return c.server, config, nil })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return explain(c.server, l, do(ctx, jacov1.NewJoinClient(l)))
}

// explain says what a stranger's failed call means and what to do about it.
func explain(server string, l *link, err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	if refused := fromReason(s); refused != nil {
		if errors.Is(refused, ErrNotFound) {
			return refused
		}
		return fmt.Errorf("%s refused: %w%s", server, refused, advise(refused))
	}
	switch s.Code() {
	case codes.Unavailable:
		return explainConnection(server, l.failed(), s.Message())
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		if cause := l.failed(); cause != nil {
			return explainConnection(server, cause, s.Message())
		}
		return fmt.Errorf("%s: %w in time: try again, or another member: %w", server, ErrUnreachable, context.DeadlineExceeded)
	case codes.Unimplemented:
		return fmt.Errorf("%s: %w: run the command on a node", server, forbidden("who reads from afar may not do this"))
	default:
		return fmt.Errorf("%s: %s", server, s.Message())
	}
}

// advise adds what to do to a refusal that does not say so by itself.
func advise(refused error) string {
	switch {
	case errors.Is(refused, cluster.ErrToken) && !strings.Contains(refused.Error(), "jaco bootstrap token"):
		return ": " + another(cluster.TokenJoin)
	case errors.Is(refused, identity.ErrNotMember):
		return ": a node that was removed joins anew, with a token and an empty data directory"
	}
	return ""
}

// explainConnection says why there was no connection. cause is nil when there
// was one, and it broke.
func explainConnection(server string, cause error, message string) error {
	var record tls.RecordHeaderError
	switch {
	case cause == nil:
		return fmt.Errorf("%s: %w any more: the connection broke, or too many were open; try again (%s)", server, ErrUnreachable, message)
	case errors.Is(cause, identity.ErrForeignCluster):
		return fmt.Errorf("%s: %w: name a member of the token's cluster, or have a token made there", server, cause)
	case errors.Is(cause, identity.ErrClock):
		return fmt.Errorf("%s: %w", server, cause)
	case errors.Is(cause, identity.ErrBadCertificate):
		return fmt.Errorf("%s: %w: somebody else answers in its place", server, cause)
	case errors.As(cause, &record), errors.Is(cause, identity.ErrProtocol), strings.Contains(cause.Error(), "no application protocol"),
		strings.Contains(cause.Error(), "protocol version not supported"):
		return fmt.Errorf("%s: %w: name the port of `listen` in the other node's jacod.yaml, 7000 by default (%w)", server, ErrNotJaco, cause)
	case errors.Is(cause, io.EOF), errors.Is(cause, syscall.ECONNRESET):
		return fmt.Errorf("%s: %w: it closed the connection at once: is this the control port, 7000 by default?", server, ErrUnreachable)
	}
	if _, ok := errors.AsType[*net.DNSError](cause); ok {
		return fmt.Errorf("%s: %w: its name leads nowhere: check it, or give an address (%w)", server, ErrUnreachable, cause)
	}
	return fmt.Errorf("%s: %w: is jacod running there, is it a member, is this its control port, and does a firewall let this machine through? (%w)",
		server, ErrUnreachable, cause)
}
