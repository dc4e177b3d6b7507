package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/jaco-sh/jaco/cluster"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
	"github.com/jaco-sh/jaco/signing"
)

// Initializer makes a cluster of this node.
type Initializer interface {
	Init(ctx context.Context, request *InitRequest) (*InitResult, error)
}

// Joiner makes this node a member of another node's cluster.
type Joiner interface {
	JoinCluster(ctx context.Context, request *JoinClusterRequest) (*JoinClusterResult, error)
}

// TokenIssuer makes tokens.
type TokenIssuer interface {
	// IssueToken makes a token for the operator ("uid:1000") who asks for it.
	// Kind and time to live have been checked.
	IssueToken(ctx context.Context, operator string, kind cluster.TokenKind, ttl time.Duration) (*IssuedToken, error)
}

// Recipients says what secrets are encrypted to.
type Recipients interface {
	// Recipient returns the age recipient of a unit: a deployment's, or
	// ClusterUnit. The name has been checked.
	Recipient(ctx context.Context, unit string) (string, error)
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
	// Reanchor moves this node's own pin for the operator ("uid:1000") who asks.
	Reanchor(ctx context.Context, operator string, commit signing.Hash) (*ReanchorResult, error)
	// Trace proves a container or replica back to its signatures.
	Trace(id string) (*cluster.TraceReport, error)
	// Export writes an audit bundle.
	Export(ctx context.Context, w io.Writer) error
	// Plan answers, in JSON, what the cluster would do with the files of a working
	// tree. It changes nothing.
	Plan(ctx context.Context, files []PlanFile) ([]byte, error)
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
	joiner      Joiner
	member      atomic.Pointer[attached]
}

// attached is what the node answers with once it belongs to a cluster.
type attached struct {
	Member
	Log
	TokenIssuer
	Recipients
}

// NewServer returns a server that answers Init and JoinCluster alone until
// Attach.
func NewServer(initializer Initializer, joiner Joiner) *Server {
	return &Server{initializer: initializer, joiner: joiner}
}

// Attach makes the server answer for a member of a cluster.
func (s *Server) Attach(member Member, log Log, issuer TokenIssuer, recipients Recipients) {
	s.member.Store(&attached{member, log, issuer, recipients})
}

// Serve answers on the listener until ctx ends; then it ends running calls and
// returns nil.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(grpc.Creds(socketCredentials{}), grpc.MaxRecvMsgSize(maxMessage))
	jacov1.RegisterControlServer(server, s)
	return serve(ctx, server, listener, "control socket")
}

// serve runs a gRPC server until ctx ends, and returns nil then.
func serve(ctx context.Context, server *grpc.Server, listener net.Listener, what string) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		server.Stop() // watches never end by themselves
	})
	err := server.Serve(listener)
	if stop() {
		server.Stop()
	} else {
		<-stopped
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve the %s: %w", what, err)
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
	var err error
	if request.Pool, err = parsePool(in.GetPool()); err != nil {
		return nil, toStatus(err)
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

// parsePool reads a prefix; nothing is the zero one.
func parsePool(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	pool, err := netip.ParsePrefix(text)
	if err != nil {
		return pool, fmt.Errorf("%w: pool: %w", cluster.ErrInvalid, err)
	}
	return pool, nil
}

// poolText is what parsePool reads.
func poolText(pool netip.Prefix) string {
	if !pool.IsValid() {
		return ""
	}
	return pool.String()
}

// JoinCluster implements the service.
func (s *Server) JoinCluster(ctx context.Context, in *jacov1.JoinClusterRequest) (*jacov1.JoinClusterResponse, error) {
	token, err := ParseToken(in.GetToken())
	if err != nil {
		return nil, toStatus(err)
	}
	if err := token.WantKind(cluster.TokenJoin); err != nil {
		return nil, toStatus(err)
	}
	if err := CheckServer(in.GetServer()); err != nil {
		return nil, toStatus(err)
	}
	result, err := s.joiner.JoinCluster(ctx, &JoinClusterRequest{Server: in.GetServer(), Token: token})
	if err != nil {
		return nil, toStatus(err)
	}
	return &jacov1.JoinClusterResponse{
		ClusterId: result.ClusterID, ClusterName: result.ClusterName, Node: result.Node, Lines: result.Lines,
	}, nil
}

// IssueToken implements the service.
func (s *Server) IssueToken(ctx context.Context, in *jacov1.IssueTokenRequest) (*jacov1.IssueTokenResponse, error) {
	member, err := s.attached()
	if err != nil {
		return nil, err
	}
	kind, ttl := cluster.TokenKind(in.GetKind()), seconds(in.GetTtlSeconds())
	if err := CheckTTL(kind, ttl); err != nil {
		return nil, toStatus(err)
	}
	issued, err := member.IssueToken(ctx, operatorOf(ctx), kind, ttl)
	if err != nil {
		return nil, toStatus(err)
	}
	return issued.message(), nil
}

// Recipient implements the service.
func (s *Server) Recipient(ctx context.Context, in *jacov1.RecipientRequest) (*jacov1.RecipientResponse, error) {
	member, err := s.attached()
	if err != nil {
		return nil, err
	}
	if err := CheckUnit(in.GetUnit()); err != nil {
		return nil, toStatus(err)
	}
	recipient, err := member.Recipient(ctx, in.GetUnit())
	if err != nil {
		return nil, toStatus(err)
	}
	return &jacov1.RecipientResponse{Recipient: recipient}, nil
}

// Reanchor implements the service.
func (s *Server) Reanchor(ctx context.Context, in *jacov1.ReanchorRequest) (*jacov1.ReanchorResponse, error) {
	member, err := s.attached()
	if err != nil {
		return nil, err
	}
	if len(in.GetCommit()) != len(signing.Hash{}) {
		return nil, toStatus(fmt.Errorf("%w: a commit's id has %d bytes", cluster.ErrInvalid, len(signing.Hash{})))
	}
	result, err := member.Reanchor(ctx, operatorOf(ctx), signing.Hash(in.GetCommit()))
	if err != nil {
		return nil, toStatus(err)
	}
	return &jacov1.ReanchorResponse{TrustVersion: int64(result.TrustVersion), Root: result.Root, Lines: result.Lines}, nil
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

// chunkWriter sends what is written.
type chunkWriter struct {
	stream grpc.ServerStreamingServer[jacov1.ExportResponse]
}

func (w chunkWriter) Write(p []byte) (int, error) {
	err := sendChunks(p, func(chunk []byte) error { return w.stream.Send(&jacov1.ExportResponse{Chunk: chunk}) })
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Logs implements the service.
func (s *Server) Logs(in *jacov1.LogsRequest, stream grpc.ServerStreamingServer[jacov1.LogsResponse]) error {
	member, err := s.attached()
	if err != nil {
		return err
	}
	return toStatus(member.Lines(stream.Context(), logsRequest(in), func(line LogLine) error {
		return stream.Send(line.message())
	}))
}

func (s *Server) attached() (*attached, error) {
	if member := s.member.Load(); member != nil {
		return member, nil
	}
	return nil, toStatus(ErrNotInitialized)
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
	// Pool is where the addresses of containers come from; zero: the default.
	Pool netip.Prefix
}

// ReanchorResult is what a node trusts after its pin was moved.
type ReanchorResult struct {
	TrustVersion int
	Root         []string // who may change trust.yaml from now on
	Lines        []string // for the operator
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

// JoinClusterRequest is what `jaco bootstrap join` asks for.
type JoinClusterRequest struct {
	Server string // host:port of any member's control port
	Token  Token  // to join with
}

// JoinClusterResult is what the node became a member of.
type JoinClusterResult struct {
	ClusterID   string
	ClusterName string
	Node        string   // the name that it joined under
	Lines       []string // for the operator
}

// IssuedToken is a token as it was made.
type IssuedToken struct {
	Token     Token
	ExpiresAt time.Time
}

func (i *IssuedToken) message() *jacov1.IssueTokenResponse {
	return &jacov1.IssueTokenResponse{Token: i.Token.Text(), Id: i.Token.ID, ExpiresAt: toTimestamp(i.ExpiresAt)}
}

// issuedToken reads what message wrote.
func issuedToken(m *jacov1.IssueTokenResponse) (*IssuedToken, error) {
	token, err := ParseToken(m.GetToken())
	if err != nil {
		return nil, fmt.Errorf("the answer's token: %w", err)
	}
	return &IssuedToken{Token: token, ExpiresAt: fromTimestamp(m.GetExpiresAt())}, nil
}

// seconds is a duration of n seconds: 0 for less, the longest one for more.
func seconds(n int64) time.Duration {
	const most = int64(math.MaxInt64 / time.Second)
	return time.Duration(min(max(n, 0), most)) * time.Second
}

// LogsRequest selects log lines.
type LogsRequest struct {
	Deployment string
	Service    string // "" for every service
	Follow     bool
	Since      time.Time
	Tail       int // lines per replica; negative: all
}

func logsRequest(m *jacov1.LogsRequest) LogsRequest {
	return LogsRequest{
		Deployment: m.GetDeployment(), Service: m.GetService(), Follow: m.GetFollow(),
		Since: fromTimestamp(m.GetSince()), Tail: int(m.GetTail()),
	}
}

func (r LogsRequest) message() *jacov1.LogsRequest {
	return &jacov1.LogsRequest{
		Deployment: r.Deployment, Service: r.Service, Follow: r.Follow,
		Since: toTimestamp(r.Since), Tail: int32(max(r.Tail, -1)),
	}
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

func logLine(m *jacov1.LogsResponse) LogLine {
	return LogLine{
		Service: m.GetService(), Slot: int(m.GetSlot()), Replica: m.GetReplica(),
		Time: fromTimestamp(m.GetTime()), Stderr: m.GetStderr(), Text: m.GetLine(),
	}
}

func (l LogLine) message() *jacov1.LogsResponse {
	return &jacov1.LogsResponse{
		Service: l.Service, Slot: int32(l.Slot), Replica: l.Replica,
		Time: toTimestamp(l.Time), Stderr: l.Stderr, Line: l.Text,
	}
}
