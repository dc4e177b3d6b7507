package rpc

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// DialServer prepares a client that reads from afar, from any member's control
// port (host:port) with a read token. The connection is made by the first call;
// what changes anything, and Refresh, is refused by the member. Certificates
// are judged by clock.
func DialServer(server string, token Token, clock func() time.Time) (*Client, error) {
	if err := CheckServer(server); err != nil {
		return nil, err
	}
	if err := token.WantKind(cluster.TokenRead); err != nil {
		return nil, err
	}
	config := identity.StrangerConfig(token.Authority, identity.ProtocolRead, clock)
	l, err := newLink(func() (string, *tls.Config, error) { return server, config, nil },
		grpc.WithPerRPCCredentials(bearer{token.ID, token.Secret}))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", server, err)
	}
	return &Client{
		closer: l, api: jacov1.NewControlClient(l),
		explain: func(err error) error { return explain(server, l, err) },
	}, nil
}

const (
	bearerHeader = "authorization"
	bearerScheme = "Bearer "
)

// bearer shows a read token with every call.
type bearer struct {
	id     string
	secret Secret
}

var _ credentials.PerRPCCredentials = bearer{}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{bearerHeader: bearerScheme + b.id + "." + base64.RawURLEncoding.EncodeToString(b.secret[:])}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (bearer) RequireTransportSecurity() bool { return true }

// parseBearer reads what GetRequestMetadata wrote. Errors wrap
// cluster.ErrToken.
func parseBearer(header string) (bearer, error) {
	bad := fmt.Errorf("%w: none was shown, or not a whole one: give --token-file with a read token", cluster.ErrToken)
	text, found := strings.CutPrefix(header, bearerScheme)
	id, encoded, whole := strings.Cut(text, ".")
	if !found || !whole {
		return bearer{}, bad
	}
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != tokenIDBytes {
		return bearer{}, bad
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	b := bearer{id: id}
	if err != nil || len(secret) != len(b.secret) {
		return bearer{}, bad
	}
	copy(b.secret[:], secret)
	return b, nil
}
