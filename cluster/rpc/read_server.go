package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// ReadTokens judges read tokens.
type ReadTokens interface {
	// Check returns when the token expires, or an error that wraps
	// cluster.ErrToken; CheckToken does the judging.
	Check(ctx context.Context, id string, secret Secret) (expires time.Time, err error)
}

// check judges the token of one call.
func (g tokenGuard) check(ctx context.Context) (time.Time, error) {
	var header string
	if values := metadata.ValueFromIncomingContext(ctx, bearerHeader); len(values) == 1 {
		header = values[0]
	}
	shown, err := parseBearer(header)
	if err != nil {
		return time.Time{}, err
	}
	return g.tokens.Check(ctx, shown.id, shown.secret)
}

// readControl is the reading half of the control service. What is not
// forwarded here, the network never reaches.
type readControl struct {
	jacov1.UnimplementedControlServer
	server *Server
}

// Status implements the service.
func (r readControl) Status(in *jacov1.StatusRequest, stream grpc.ServerStreamingServer[jacov1.StatusResponse]) error {
	return r.server.Status(in, stream)
}

// Audit implements the service.
func (r readControl) Audit(in *jacov1.AuditRequest, stream grpc.ServerStreamingServer[jacov1.AuditResponse]) error {
	return r.server.Audit(in, stream)
}

// Trace implements the service.
func (r readControl) Trace(ctx context.Context, in *jacov1.TraceRequest) (*jacov1.TraceResponse, error) {
	return r.server.Trace(ctx, in)
}

// Export implements the service.
func (r readControl) Export(in *jacov1.ExportRequest, stream grpc.ServerStreamingServer[jacov1.ExportResponse]) error {
	return r.server.Export(in, stream)
}

// Logs implements the service.
func (r readControl) Logs(in *jacov1.LogsRequest, stream grpc.ServerStreamingServer[jacov1.LogsResponse]) error {
	return r.server.Logs(in, stream)
}

// Recipient implements the service: to whom secrets are encrypted is no secret,
// and whoever writes one has to know.
func (r readControl) Recipient(ctx context.Context, in *jacov1.RecipientRequest) (*jacov1.RecipientResponse, error) {
	return r.server.Recipient(ctx, in)
}
