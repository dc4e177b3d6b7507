package rpc

import (
	"context"
	"crypto/ed25519"
	"fmt"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// JoinServer answers those who are no members, or whose certificate expired.
// Any member may be asked; it passes on what only the leader can do.
type JoinServer interface {
	// Hello returns what a join token stands for, by its public id. It returns
	// an error that wraps cluster.ErrToken where CheckToken would, but for the
	// secret.
	Hello(ctx context.Context, tokenID string) (*HelloResult, error)
	// Join admits a node. The request has been checked but for its token.
	Join(ctx context.Context, request *JoinRequest) (*Admission, error)
	// Renew issues a certificate to a member for the key that it has. That the
	// caller is that member, and holds the key, has been checked.
	Renew(ctx context.Context, node string, public ed25519.PublicKey) (certPEM []byte, err error)
}

// joinServer translates for strangers.
type joinServer struct {
	jacov1.UnimplementedJoinServer
	network *Network
}

// Hello implements the service.
func (s *joinServer) Hello(ctx context.Context, in *jacov1.HelloRequest) (*jacov1.HelloResponse, error) {
	hello, err := s.network.Join.Hello(ctx, in.GetTokenId())
	if err != nil {
		return nil, toStatus(err)
	}
	if len(hello.Checkpoint) == 0 {
		// A used token has none: say so, before the node stumbles over its hash.
		return nil, toStatus(fmt.Errorf("%w: token %s was used: %s", cluster.ErrToken, in.GetTokenId(), another(cluster.TokenJoin)))
	}
	return &jacov1.HelloResponse{
		ClusterId: hello.ClusterID, ClusterName: hello.ClusterName, Authority: hello.Authority,
		Checkpoint: hello.Checkpoint, Branch: hello.Branch, Pool: poolText(hello.Pool),
	}, nil
}

// Join implements the service.
func (s *joinServer) Join(ctx context.Context, in *jacov1.JoinRequest) (*jacov1.JoinResponse, error) {
	request, err := joinRequest(in, s.network.Identity.AuthorityHash())
	if err != nil {
		return nil, toStatus(err)
	}
	admission, err := s.network.Join.Join(ctx, request)
	if err != nil {
		return nil, toStatus(err)
	}
	return admission.message(), nil
}

// Renew implements the service.
func (s *joinServer) Renew(ctx context.Context, _ *jacov1.RenewRequest) (*jacov1.RenewResponse, error) {
	state, ok := stateOf(ctx)
	if !ok {
		return nil, toStatus(fmt.Errorf("renew certificate: %w: not over the control port", identity.ErrNotMember))
	}
	node, public, err := s.network.Identity.VerifyRenewal(state, s.network.Members)
	if err != nil {
		return nil, toStatus(err)
	}
	certPEM, err := s.network.Join.Renew(ctx, node, public)
	if err != nil {
		return nil, toStatus(err)
	}
	return &jacov1.RenewResponse{Certificate: certPEM}, nil
}
