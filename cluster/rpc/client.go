package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/jaco-sh/jaco/cluster"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
	"github.com/jaco-sh/jaco/signing"
)

// Client speaks to the control service of a daemon. It is safe for concurrent
// use.
type Client struct {
	closer  io.Closer
	api     jacov1.ControlClient
	explain func(error) error // makes a gRPC status an error that a person can read
}

// DialSocket prepares a client of the local daemon; the connection is made by
// the first call.
func DialSocket(path string) (*Client, error) {
	connection, err := grpc.NewClient("unix:"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket's permissions are the credential
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", path, err)
	}
	return &Client{connection, jacov1.NewControlClient(connection), func(err error) error { return explainSocket(path, err) }}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.closer.Close() }

// Init makes a cluster of the local node.
func (c *Client) Init(ctx context.Context, request *InitRequest) (*InitResult, error) {
	in := &jacov1.InitRequest{
		ClusterName: request.ClusterName, Repo: request.Repo, Branch: request.Branch, Anchor: request.Anchor,
		SshKey: request.SSHKey, Token: request.Token, KnownHosts: request.KnownHosts, Pool: poolText(request.Pool),
	}
	for _, s := range request.Signers {
		in.Signers = append(in.Signers, &jacov1.Signer{Name: s.Name, Key: s.Key})
	}
	out, err := c.api.Init(ctx, in)
	if err != nil {
		return nil, c.explain(err)
	}
	return &InitResult{out.GetClusterId(), out.GetRepo(), out.GetBranch(), out.GetAnchor(), out.GetLines()}, nil
}

// JoinCluster makes the local node a member of another node's cluster.
func (c *Client) JoinCluster(ctx context.Context, request *JoinClusterRequest) (*JoinClusterResult, error) {
	out, err := c.api.JoinCluster(ctx, &jacov1.JoinClusterRequest{Server: request.Server, Token: request.Token.Text()})
	if err != nil {
		return nil, c.explain(err)
	}
	return &JoinClusterResult{out.GetClusterId(), out.GetClusterName(), out.GetNode(), out.GetLines()}, nil
}

// Reanchor moves the pin of the local node to a commit of a rewritten history.
func (c *Client) Reanchor(ctx context.Context, commit signing.Hash) (*ReanchorResult, error) {
	out, err := c.api.Reanchor(ctx, &jacov1.ReanchorRequest{Commit: commit[:]})
	if err != nil {
		return nil, c.explain(err)
	}
	return &ReanchorResult{int(out.GetTrustVersion()), out.GetRoot(), out.GetLines()}, nil
}

// IssueToken makes a token that is good for so long.
func (c *Client) IssueToken(ctx context.Context, kind cluster.TokenKind, ttl time.Duration) (*IssuedToken, error) {
	out, err := c.api.IssueToken(ctx, &jacov1.IssueTokenRequest{Kind: string(kind), TtlSeconds: int64(ttl / time.Second)})
	if err != nil {
		return nil, c.explain(err)
	}
	return issuedToken(out)
}

// Recipient returns the age recipient of a deployment, which need not exist yet,
// or of ClusterUnit.
func (c *Client) Recipient(ctx context.Context, unit string) (string, error) {
	out, err := c.api.Recipient(ctx, &jacov1.RecipientRequest{Unit: unit})
	if err != nil {
		return "", c.explain(err)
	}
	return out.GetRecipient(), nil
}

// errStop ends a stream after its first message.
var errStop = errors.New("stop")

// Status asks for the status once.
func (c *Client) Status(ctx context.Context) (*cluster.Status, error) {
	var first *cluster.Status
	err := c.status(ctx, false, func(s *cluster.Status) error {
		first = s
		return errStop
	})
	if !errors.Is(err, errStop) {
		return nil, err
	}
	return first, nil
}

// WatchStatus calls each with the status now and after every change, until ctx
// ends or each returns an error, which is returned.
func (c *Client) WatchStatus(ctx context.Context, each func(*cluster.Status) error) error {
	if err := c.status(ctx, true, each); err != nil {
		return err
	}
	return errors.New("the daemon ended the watch")
}

func (c *Client) status(ctx context.Context, watch bool, each func(*cluster.Status) error) error {
	return receive(ctx, c.explain, func(ctx context.Context) (grpc.ServerStreamingClient[jacov1.StatusResponse], error) {
		return c.api.Status(ctx, &jacov1.StatusRequest{Watch: watch})
	}, func(message *jacov1.StatusResponse) error {
		s := new(cluster.Status)
		if err := json.Unmarshal(message.GetStatusJson(), s); err != nil {
			return fmt.Errorf("decode status: %w", err)
		}
		return each(s)
	})
}

// Refresh makes the leader ask the remote once and returns the head; contains
// says whether it is or descends from the revision (a prefix, may be empty).
func (c *Client) Refresh(ctx context.Context, revision string) (head string, contains bool, err error) {
	out, err := c.api.Refresh(ctx, &jacov1.RefreshRequest{Revision: revision})
	if err != nil {
		return "", false, c.explain(err)
	}
	return out.GetHead(), out.GetContains(), nil
}

// AuditRequest selects audit records.
type AuditRequest struct {
	Since      time.Time
	Type       string
	Deployment string
	Revision   string
	Actor      string
	Follow     bool
	Number     uint64 // one record; 0: all
}

// Audit calls each for every record, oldest first.
func (c *Client) Audit(ctx context.Context, request AuditRequest, each func(cluster.AuditRecord) error) error {
	in := &jacov1.AuditRequest{
		Since: toTimestamp(request.Since), Type: request.Type, Deployment: request.Deployment,
		Revision: request.Revision, Actor: request.Actor, Follow: request.Follow, Number: request.Number,
	}
	return receive(ctx, c.explain, func(ctx context.Context) (grpc.ServerStreamingClient[jacov1.AuditResponse], error) {
		return c.api.Audit(ctx, in)
	}, func(message *jacov1.AuditResponse) error {
		var record cluster.AuditRecord
		if err := json.Unmarshal(message.GetRecordJson(), &record); err != nil {
			return fmt.Errorf("decode audit record: %w", err)
		}
		return each(record)
	})
}

// Trace proves a container or replica back to its signatures.
func (c *Client) Trace(ctx context.Context, id string) (*cluster.TraceReport, error) {
	out, err := c.api.Trace(ctx, &jacov1.TraceRequest{Id: id})
	if err != nil {
		return nil, c.explain(err)
	}
	report := new(cluster.TraceReport)
	if err := json.Unmarshal(out.GetTraceJson(), report); err != nil {
		return nil, fmt.Errorf("decode trace: %w", err)
	}
	return report, nil
}

// Export writes an audit bundle to w.
func (c *Client) Export(ctx context.Context, w io.Writer) error {
	return receive(ctx, c.explain, func(ctx context.Context) (grpc.ServerStreamingClient[jacov1.ExportResponse], error) {
		return c.api.Export(ctx, &jacov1.ExportRequest{})
	}, func(message *jacov1.ExportResponse) error {
		_, err := w.Write(message.GetChunk())
		return err
	})
}

// Logs calls each for every log line.
func (c *Client) Logs(ctx context.Context, request LogsRequest, each func(LogLine) error) error {
	return receive(ctx, c.explain, func(ctx context.Context) (grpc.ServerStreamingClient[jacov1.LogsResponse], error) {
		return c.api.Logs(ctx, request.message())
	}, func(m *jacov1.LogsResponse) error { return each(logLine(m)) })
}

// receive reads a stream to its end. It cancels the call when each returns an
// error, which it returns as it is.
func receive[M any](ctx context.Context, explain func(error) error,
	open func(context.Context) (grpc.ServerStreamingClient[M], error), each func(*M) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := open(ctx)
	if err != nil {
		return explain(err)
	}
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return explain(err)
		}
		if err := each(message); err != nil {
			return err
		}
	}
}

// explainSocket turns a gRPC status of the local daemon back into an error that
// a person can read.
func explainSocket(socket string, err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	if refused := fromReason(s); refused != nil {
		return refused
	}
	switch s.Code() {
	case codes.Unavailable:
		return fmt.Errorf("no jacod answers at %s: is it running (systemctl status jacod), may you open the socket (group jaco), "+
			"and is it this one (--socket)? (%s)", socket, s.Message())
	case codes.FailedPrecondition:
		return ErrNotInitialized
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	default:
		return errors.New(s.Message())
	}
}

func toTimestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func fromTimestamp(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
