package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/jaco-sh/jaco/cluster"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// edgeDeadAfter is how long the other process may leave a ping unanswered: both
// share one machine, so that silence means that it is stopped or very busy.
const edgeDeadAfter = 10 * time.Second

// EdgeHandler is the edge, as its socket serves it.
type EdgeHandler interface {
	// Feed serves one feeder until ctx ends, which it does when the feeder goes
	// away or another one takes its place. Calls never overlap. It calls reports
	// at once, and again at every change; from one goroutine at a time. Of states
	// that arrive faster than they are taken the newest is kept; the channel is
	// never closed. A report that cannot be sent is an error, and ends the feed.
	Feed(ctx context.Context, states <-chan *cluster.EdgeState, reports func(*cluster.EdgeReport) error) error
}

// ServeEdge answers the feed on a unix socket until ctx ends; then it returns
// nil. It closes the listener. Only root and the user of this process are
// served, whatever the socket's permissions are.
func ServeEdge(ctx context.Context, listener net.Listener, handler EdgeHandler, logger *slog.Logger) error {
	server := grpc.NewServer(
		grpc.Creds(edgeCredentials{}),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: edgeDeadAfter}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery / 2, PermitWithoutStream: true}),
	)
	jacov1.RegisterEdgeServer(server, &edgeServer{handler: handler, logger: logger})
	return serve(ctx, server, listener, "edge's socket")
}

// edgeServer lets one feeder at a time through to the handler.
type edgeServer struct {
	jacov1.UnimplementedEdgeServer
	handler EdgeHandler
	logger  *slog.Logger

	mu      sync.Mutex // guards the fields below
	end     context.CancelCauseFunc
	serving sync.Mutex // held while the handler serves
}

// errReplaced ends a feed for the one that came after it: jacod was started
// again, and its old connection may linger.
var errReplaced = errors.New("another feeder took the place of this one")

// Feed implements the service.
func (s *edgeServer) Feed(stream grpc.BidiStreamingServer[jacov1.FeedRequest, jacov1.FeedResponse]) error {
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	s.mu.Lock()
	if s.end != nil {
		s.end(errReplaced)
	}
	s.end = end
	s.mu.Unlock()
	s.serving.Lock()
	defer s.serving.Unlock()
	if ctx.Err() != nil {
		return edgeStatus(context.Cause(ctx))
	}

	states := make(chan *cluster.EdgeState, 1)
	// The reader ends with the stream, which ends when this returns.
	go func() { end(receiveStates(stream, states)) }()
	s.logger.Debug("a feeder came")
	err := s.handler.Feed(ctx, states, func(report *cluster.EdgeReport) error {
		data, err := json.Marshal(report)
		if err != nil {
			return fmt.Errorf("encode the edge's report: %w", err)
		}
		return stream.Send(&jacov1.FeedResponse{Report: data})
	})
	if ctx.Err() != nil { // the reason is the first, not what came of it
		err = context.Cause(ctx)
	}
	s.logger.Debug("the feeder is gone", "error", err)
	return edgeStatus(err)
}

// edgeStatus is what the feeder is told; nothing when it hung up itself.
func edgeStatus(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Aborted, err.Error())
}

// receiveStates takes states from the stream until it ends, and returns why. It
// is the only one that puts into the channel.
func receiveStates(stream grpc.BidiStreamingServer[jacov1.FeedRequest, jacov1.FeedResponse], states chan *cluster.EdgeState) error {
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		state := new(cluster.EdgeState)
		if err := json.Unmarshal(message.GetState(), state); err != nil {
			return status.Errorf(codes.InvalidArgument, "decode the edge's state: %v", err)
		}
		select {
		case <-states: // was not taken yet, and says less than this one
		default:
		}
		states <- state
	}
}

// EdgeStream is jacod's end of the feed. One goroutine may send while another
// one receives.
type EdgeStream struct {
	socket     string
	connection *grpc.ClientConn
	stream     grpc.BidiStreamingClient[jacov1.FeedRequest, jacov1.FeedResponse]
	cancel     context.CancelFunc
}

// DialEdge opens the feed of the edge that listens at the socket. The feed ends
// with ctx or by Close. It fails with ErrUnreachable when nobody answers there
// who is root or this process's own user. An edge that turns the caller away is
// known by Recv.
func DialEdge(ctx context.Context, socket string) (*EdgeStream, error) {
	var failure atomic.Pointer[error] // of the last attempt to connect
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			failure.Store(&err)
		}
		return conn, err
	}
	connection, err := grpc.NewClient("passthrough:///edge",
		grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(edgeCredentials{}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: edgeDeadAfter}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", socket, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := jacov1.NewEdgeClient(connection).Feed(ctx)
	if err != nil {
		cancel()
		err = explainEdge(socket, err)
		if cause := failure.Load(); cause != nil && errors.Is(err, ErrUnreachable) {
			err = unreachable("%v: is it running (systemctl status jacod-edge), and is edge.socket the same for both?", *cause)
		}
		return nil, errors.Join(err, connection.Close())
	}
	return &EdgeStream{socket: socket, connection: connection, stream: stream, cancel: cancel}, nil
}

// Send tells the edge what it must know.
func (e *EdgeStream) Send(state *cluster.EdgeState) error {
	data, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode the edge's state: %w", err)
	}
	if err := e.stream.Send(&jacov1.FeedRequest{State: data}); err != nil {
		// The reason is what Recv gets.
		return unreachable("the feed at %s has ended", e.socket)
	}
	return nil
}

// Recv waits for the edge's next report.
func (e *EdgeStream) Recv() (*cluster.EdgeReport, error) {
	message, err := e.stream.Recv()
	if err != nil {
		return nil, explainEdge(e.socket, err)
	}
	report := new(cluster.EdgeReport)
	if err := json.Unmarshal(message.GetReport(), report); err != nil {
		return nil, fmt.Errorf("decode the edge's report: %w", err)
	}
	return report, nil
}

// Close ends the feed. A running Recv returns.
func (e *EdgeStream) Close() error {
	e.cancel()
	return e.connection.Close()
}

// explainEdge makes the error of a feed one that a person can read.
func explainEdge(socket string, err error) error {
	if errors.Is(err, io.EOF) {
		return unreachable("it ended the feed at %s", socket)
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch s.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("%w: the edge at %s: %s", ErrForbidden, socket, s.Message())
	case codes.Aborted, codes.InvalidArgument:
		return fmt.Errorf("the edge at %s: %s", socket, s.Message())
	default:
		return unreachable("the connection to %s broke: %s", socket, s.Message())
	}
}

// unreachable is an ErrUnreachable whose text leaves it to the caller to say so.
func unreachable(format string, args ...any) error {
	return &remoteError{message: fmt.Sprintf(format, args...), reason: ErrUnreachable}
}

// edgeCredentials are those of the edge's socket, for both of its ends: the
// kernel says who is at the other one, and only root and this process's own user
// are trusted with a node's network.
type edgeCredentials struct{}

var _ credentials.TransportCredentials = edgeCredentials{}

// ServerHandshake implements credentials.TransportCredentials.
func (edgeCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if err := trustPeer(peerUID(conn)); err != nil {
		return nil, nil, err
	}
	return conn, socketInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (edgeCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if err := trustPeer(peerUID(conn)); err != nil {
		return nil, nil, err
	}
	return insecure.NewCredentials().ClientHandshake(ctx, authority, conn)
}

// trustPeer refuses everybody but root and the user of this process.
func trustPeer(uid uint32, known bool) error {
	switch {
	case !known:
		return fmt.Errorf("%w: it is not known who is at the other end of the edge's socket", ErrForbidden)
	case uid != 0 && int(uid) != os.Geteuid():
		return fmt.Errorf("%w: at the other end of the edge's socket is user %d, who is neither root nor this process's own", ErrForbidden, uid)
	}
	return nil
}

// Info implements credentials.TransportCredentials.
func (edgeCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "socket"}
}

// Clone implements credentials.TransportCredentials.
func (c edgeCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (edgeCredentials) OverrideServerName(string) error { return nil }
