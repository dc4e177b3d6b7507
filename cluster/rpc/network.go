package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

const (
	// maxPeerMessage is the largest that a member sends: one object alone, or a
	// checkpoint, with what goes around it.
	maxPeerMessage = max(cluster.MaxObjectBytes, cluster.MaxCheckpointBytes) + 1<<20
	// maxStrangerMessage is far above any request of a stranger, which hold
	// names and keys; so is maxStrangerHeader.
	maxStrangerMessage = 16 << 10
	maxStrangerHeader  = 16 << 10
	// maxStrangerStreams is how many calls one stranger may have under way.
	maxStrangerStreams = 8
)

// Network is what a member answers on the control port. All of it is needed.
type Network struct {
	// Identity and Members say whose connections and renewals are good.
	Identity *identity.Identity
	Members  identity.MemberCheck

	Log      PeerLog
	Liveness PeerLiveness
	Sync     PeerSync
	Data     PeerData
	Secrets  PeerSecrets
	Join     JoinServer
	Tokens   ReadTokens
	// Control is the service of the local socket; readers reach its reading
	// half.
	Control *Server
}

// Check returns an error that names what is missing.
func (n *Network) Check() error {
	for _, part := range []struct {
		name    string
		missing bool
	}{
		{"Identity", n.Identity == nil},
		{"Members", n.Members == nil},
		{"Log", n.Log == nil},
		{"Liveness", n.Liveness == nil},
		{"Sync", n.Sync == nil},
		{"Data", n.Data == nil},
		{"Secrets", n.Secrets == nil},
		{"Join", n.Join == nil},
		{"Tokens", n.Tokens == nil},
		{"Control", n.Control == nil},
	} {
		if part.missing {
			return fmt.Errorf("serve the control port: %s is missing", part.name)
		}
	}
	return nil
}

// ServeNetwork answers members, those who want to become one, and readers on
// the control port until ctx ends, and returns nil then. Each of the three has
// a server of its own, so that strangers use up nothing of the members'.
func ServeNetwork(ctx context.Context, listener *Listener, network Network) error {
	if err := network.Check(); err != nil {
		return err
	}
	group, groupContext := errgroup.WithContext(ctx)
	group.Go(func() error {
		return serve(groupContext, network.peerServer(), listener.GRPC(), "members on the control port")
	})
	group.Go(func() error {
		return serve(groupContext, network.joinServer(), listener.Join(), "joining nodes on the control port")
	})
	group.Go(func() error {
		return serve(groupContext, network.readServer(), listener.Read(), "readers on the control port")
	})
	if err := group.Wait(); ctx.Err() == nil {
		return err
	}
	return nil // the listener may have been told to end a moment before its servers
}

// peerServer is for members: their connections come with the handshake done
// and the certificate checked, and stay open for good.
func (n *Network) peerServer() *grpc.Server {
	guard := memberGuard{n.Identity, n.Members}
	server := grpc.NewServer(
		grpc.Creds(HandshakenCredentials()),
		grpc.UnaryInterceptor(guard.unary), grpc.StreamInterceptor(guard.stream),
		grpc.MaxRecvMsgSize(maxPeerMessage),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: deadAfter}),
		// A link pings a little more often than this allows by default.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery / 2, PermitWithoutStream: true}),
	)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	jacov1.RegisterPeerServer(server, &peerServer{network: n})
	return server
}

// joinServer is for strangers who make one call and go.
func (n *Network) joinServer() *grpc.Server {
	server := grpc.NewServer(append(strangerOptions(identity.ProtocolJoin),
		grpc.UnaryInterceptor(limitTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: greetTimeout, MaxConnectionAge: joinTimeout, MaxConnectionAgeGrace: joinTimeout,
			Time: pingEvery, Timeout: deadAfter,
		}))...)
	jacov1.RegisterJoinServer(server, &joinServer{network: n})
	return server
}

// readServer is for strangers who show a token with every call, and may follow
// what they read.
func (n *Network) readServer() *grpc.Server {
	guard := tokenGuard{n.Tokens}
	server := grpc.NewServer(append(strangerOptions(identity.ProtocolRead),
		grpc.UnaryInterceptor(guard.unary), grpc.StreamInterceptor(guard.stream),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: joinTimeout, Time: pingEvery, Timeout: deadAfter,
		}))...)
	jacov1.RegisterControlServer(server, readControl{server: n.Control})
	return server
}

func strangerOptions(protocol string) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(handshaken{protocol: protocol}),
		grpc.MaxRecvMsgSize(maxStrangerMessage),
		grpc.MaxHeaderListSize(maxStrangerHeader),
		grpc.MaxConcurrentStreams(maxStrangerStreams),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery / 2}),
	}
}

// limitTime bounds a call of somebody who may have set no bound.
func limitTime(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	return handle(ctx, request)
}

// memberGuard checks with each call that the caller is a member still: its
// connection may be older than its removal.
type memberGuard struct {
	identity *identity.Identity
	members  identity.MemberCheck
}

// callerKey is the context key of the calling node's name.
type callerKey struct{}

// callerOf returns the name of the node that calls, from its certificate.
func callerOf(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}

func (g memberGuard) admit(ctx context.Context) (context.Context, error) {
	state, ok := stateOf(ctx)
	if !ok {
		return nil, toStatus(fmt.Errorf("%w: not over the control port", identity.ErrNotMember))
	}
	node, err := g.identity.CheckPeer(state, g.members)
	if err != nil {
		return nil, toStatus(err)
	}
	return context.WithValue(ctx, callerKey{}, node), nil
}

func (g memberGuard) unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	ctx, err := g.admit(ctx)
	if err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

func (g memberGuard) stream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx, err := g.admit(stream.Context())
	if err != nil {
		return err
	}
	return handle(server, contextStream{stream, ctx})
}

// contextStream is a stream with another context.
type contextStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // gRPC has no other way to hand a stream's context on
}

// Context implements grpc.ServerStream.
func (s contextStream) Context() context.Context { return s.ctx }

// tokenGuard checks with each call that the caller has a read token, and ends
// the call when the token expires.
type tokenGuard struct {
	tokens ReadTokens
}

func (g tokenGuard) unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	expires, err := g.check(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	ctx, cancel := context.WithDeadline(ctx, expires)
	defer cancel()
	return handle(ctx, request)
}

func (g tokenGuard) stream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	expires, err := g.check(stream.Context())
	if err != nil {
		return toStatus(err)
	}
	ctx, cancel := context.WithDeadlineCause(stream.Context(), expires, errTokenEnded)
	defer cancel()
	err = handle(server, contextStream{stream, ctx})
	if errors.Is(context.Cause(ctx), errTokenEnded) {
		return toStatus(fmt.Errorf("%w at %s: %s", errTokenEnded, expires.UTC().Format(time.RFC3339), another(cluster.TokenRead)))
	}
	return err
}

// errTokenEnded ends what is followed with a token.
var errTokenEnded = fmt.Errorf("%w: it expired", cluster.ErrToken)
