package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/jaco-sh/jaco/cluster"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// ErrNotInitialized is returned by every method but Init before there is a
// cluster.
var ErrNotInitialized = errors.New("this node belongs to no cluster yet: run `jaco bootstrap init`")

// ErrNotFound is returned for a container, deployment or commit that the
// cluster does not know.
var ErrNotFound = errors.New("not found")

// Initializer makes a cluster of this node.
type Initializer interface {
	Init(ctx context.Context, request *InitRequest) (*InitResult, error)
}

// Member is what a node of a cluster answers. Its methods may be called
// concurrently.
type Member interface {
	// Status is the whole status at this moment.
	Status() *cluster.Status
	// Changed returns two channels, of the state and of the node's view: a
	// status taken afterwards holds until one of them is closed.
	Changed() (state, view <-chan struct{})
	// Refresh makes the leader ask the remote once. contains says whether the
	// head is or descends from the revision, which may be empty.
	Refresh(ctx context.Context, revision string) (head string, contains bool, err error)
	// Trace proves a container or replica back to its signatures.
	Trace(id string) (*cluster.TraceReport, error)
	// Export writes an audit bundle.
	Export(ctx context.Context, w io.Writer) error
}

// Log gives the log lines of replicas and the audit log.
type Log interface {
	// Audit calls each for every record that passes the filter, oldest first,
	// and with follow goes on until ctx ends.
	Audit(ctx context.Context, filter cluster.AuditFilter, follow bool, each func(cluster.AuditRecord) error) error
	// Lines calls each for every log line of the selected replicas; calls do
	// not overlap.
	Lines(ctx context.Context, request LogsRequest, each func(LogLine) error) error
}

// Server is the control service behind the local socket.
type Server struct {
	jacov1.UnimplementedControlServer
	initializer Initializer
	member      atomic.Pointer[attached]
}

// attached is what the node answers with once it belongs to a cluster.
type attached struct {
	Member
	Log
}

// NewServer returns a server that answers Init alone until Attach.
func NewServer(initializer Initializer) *Server { return &Server{initializer: initializer} }

// Attach makes the server answer for a member of a cluster.
func (s *Server) Attach(member Member, log Log) { s.member.Store(&attached{member, log}) }

// Serve answers on the listener until ctx ends; then it ends running calls and
// returns nil.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage))
	jacov1.RegisterControlServer(server, s)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		server.Stop() // watches never end by themselves
	}()
	err := server.Serve(listener)
	if ctx.Err() != nil {
		<-stopped
		return nil
	}
	return fmt.Errorf("serve the control socket: %w", err)
}

// maxMessage bounds one message in bytes, in both directions: a status of
// 10,000 replicas has about 5 MiB.
const maxMessage = 64 << 20

// Init implements the service.
func (s *Server) Init(ctx context.Context, in *jacov1.InitRequest) (*jacov1.InitResponse, error) {
	request := &InitRequest{
		ClusterName: in.GetClusterName(), Repo: in.GetRepo(), Branch: in.GetBranch(), Anchor: in.GetAnchor(),
		SSHKey: in.GetSshKey(), Token: in.GetToken(), KnownHosts: in.GetKnownHosts(),
	}
	for _, signer := range in.GetSigners() {
		request.Signers = append(request.Signers, Signer{signer.GetName(), signer.GetKey()})
	}
	result, err := s.initializer.Init(ctx, request)
	if err != nil {
		return nil, toStatus(err)
	}
	return &jacov1.InitResponse{
		ClusterId: result.ClusterID, Repo: result.Repo, Branch: result.Branch, Anchor: result.Anchor, Lines: result.Lines,
	}, nil
}

// Status implements the service.
func (s *Server) Status(in *jacov1.StatusRequest, stream grpc.ServerStreamingServer[jacov1.StatusResponse]) error {
	member, err := s.attached()
	if err != nil {
		return err
	}
	var last string
	for {
		state, view := member.Changed()
		data, err := json.Marshal(member.Status())
		if err != nil {
			return toStatus(fmt.Errorf("encode status: %w", err))
		}
		if string(data) != last {
			last = string(data)
			if err := stream.Send(&jacov1.StatusResponse{StatusJson: data}); err != nil {
				return err
			}
		}
		if !in.GetWatch() {
			return nil
		}
		select {
		case <-stream.Context().Done():
			return toStatus(stream.Context().Err()) // a watch has no end that is good
		case <-state:
		case <-view:
		}
	}
}

// Refresh implements the service.
func (s *Server) Refresh(ctx context.Context, in *jacov1.RefreshRequest) (*jacov1.RefreshResponse, error) {
	member, err := s.attached()
	if err != nil {
		return nil, err
	}
	head, contains, err := member.Refresh(ctx, in.GetRevision())
	if err != nil {
		return nil, toStatus(err)
	}
	return &jacov1.RefreshResponse{Head: head, Contains: contains}, nil
}

// Audit implements the service.
func (s *Server) Audit(in *jacov1.AuditRequest, stream grpc.ServerStreamingServer[jacov1.AuditResponse]) error {
	member, err := s.attached()
	if err != nil {
		return err
	}
	filter := cluster.AuditFilter{
		Since: fromTimestamp(in.GetSince()), Type: in.GetType(), Deployment: in.GetDeployment(),
		Revision: in.GetRevision(), Actor: in.GetActor(),
	}
	if number := in.GetNumber(); number > 0 {
		filter.After, filter.Limit = number-1, 1
	}
	return toStatus(member.Audit(stream.Context(), filter, in.GetFollow(), func(record cluster.AuditRecord) error {
		data, err := json.Marshal(record)
		if err != nil {
			return fmt.Errorf("encode audit record: %w", err)
		}
		return stream.Send(&jacov1.AuditResponse{RecordJson: data})
	}))
}

// Trace implements the service.
func (s *Server) Trace(_ context.Context, in *jacov1.TraceRequest) (*jacov1.TraceResponse, error) {
	member, err := s.attached()
	if err != nil {
		return nil, err
	}
	report, err := member.Trace(in.GetId())
	if err != nil {
		return nil, toStatus(err)
	}
	data, err := json.Marshal(report)
	if err != nil {
		return nil, toStatus(fmt.Errorf("encode trace: %w", err))
	}
	return &jacov1.TraceResponse{TraceJson: data}, nil
}

// Export implements the service.
func (s *Server) Export(_ *jacov1.ExportRequest, stream grpc.ServerStreamingServer[jacov1.ExportResponse]) error {
	member, err := s.attached()
	if err != nil {
		return err
	}
	return toStatus(member.Export(stream.Context(), chunkWriter{stream}))
}

// chunkWriter sends what is written as chunks of at most 256 KiB.
type chunkWriter struct {
	stream grpc.ServerStreamingServer[jacov1.ExportResponse]
}

func (w chunkWriter) Write(p []byte) (int, error) {
	const size = 256 << 10
	for sent := 0; sent < len(p); {
		end := min(sent+size, len(p))
		if err := w.stream.Send(&jacov1.ExportResponse{Chunk: p[sent:end]}); err != nil {
			return sent, err
		}
		sent = end
	}
	return len(p), nil
}

// Logs implements the service.
func (s *Server) Logs(in *jacov1.LogsRequest, stream grpc.ServerStreamingServer[jacov1.LogsResponse]) error {
	member, err := s.attached()
	if err != nil {
		return err
	}
	request := LogsRequest{
		Deployment: in.GetDeployment(), Service: in.GetService(), Follow: in.GetFollow(),
		Since: fromTimestamp(in.GetSince()), Tail: int(in.GetTail()),
	}
	return toStatus(member.Lines(stream.Context(), request, func(line LogLine) error {
		return stream.Send(&jacov1.LogsResponse{
			Service: line.Service, Slot: int32(line.Slot), Replica: line.Replica,
			Time: toTimestamp(line.Time), Stderr: line.Stderr, Line: line.Text,
		})
	}))
}

func (s *Server) attached() (*attached, error) {
	if member := s.member.Load(); member != nil {
		return member, nil
	}
	return nil, toStatus(ErrNotInitialized)
}

// toStatus gives an error the gRPC code that the client turns back.
func toStatus(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotInitialized):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, ErrNotFound), errors.Is(err, cluster.ErrNotFound):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unknown, err.Error())
}

// InitRequest is what `jaco bootstrap init` asks for.
type InitRequest struct {
	ClusterName string
	Repo        string // "" makes a bare repository in the data directory
	Branch      string
	Anchor      string // a full commit hash or "tip"; with Repo only
	Signers     []Signer
	SSHKey      []byte
	Token       []byte
	KnownHosts  []byte
}

// Signer is a name with public key material.
type Signer struct {
	Name string
	Key  []byte
}

// InitResult is what init made.
type InitResult struct {
	ClusterID string
	Repo      string
	Branch    string
	Anchor    string
	Lines     []string // for the operator
}

// LogsRequest selects log lines.
type LogsRequest struct {
	Deployment string
	Service    string // "" for every service
	Follow     bool
	Since      time.Time
	Tail       int // lines per replica; negative: all
}

// LogLine is one line that a container wrote.
type LogLine struct {
	Service string
	Slot    int
	Replica string
	Time    time.Time
	Stderr  bool
	Text    []byte // without the line's end
}
