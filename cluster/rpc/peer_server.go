package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/desired"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// PeerLog is what the leader answers to members; a node that does not lead
// returns a NotLeaderError. node is the caller, by its certificate.
type PeerLog interface {
	// Propose puts an entry of node into the log. Its actor is node, its
	// command one that no other node is named in; whether node owns the
	// repository that it writes of, and the entry's time, are left to the
	// leader. A refusal of the state may be in the result or be the error.
	Propose(ctx context.Context, node string, entry cluster.Entry) (cluster.Result, error)
	// IssueToken makes a token for node, which has been checked.
	IssueToken(ctx context.Context, node string, request IssueTokenRequest) (*IssuedToken, error)
	// Join admits the node that asked node to be admitted. The request has been
	// checked but for its token.
	Join(ctx context.Context, node string, request *JoinRequest) (*Admission, error)
}

// PeerLiveness is about who lives. node is the caller, by its certificate.
type PeerLiveness interface {
	// Heartbeat takes what the caller, who is beat.Node, says of itself, and
	// returns this node's clock. Only the leader answers.
	Heartbeat(ctx context.Context, beat cluster.Heartbeat) (time.Time, error)
	// Soft returns what the leader knows and the log does not carry.
	Soft(ctx context.Context) (*cluster.LeaderStatus, error)
	// Probe says whether a node answers this one.
	Probe(ctx context.Context, node string) (bool, error)
}

// PeerSync is the sync of the answering node.
type PeerSync interface {
	// Poke has it look at the repository soon.
	Poke(ctx context.Context) error
	// Refresh has it ask the remote now, as Member's does.
	Refresh(ctx context.Context, revision string) (head string, contains bool, err error)
}

// PeerData is what the answering node holds.
type PeerData interface {
	// Logs calls each for every log line of the answering node's own replicas.
	Logs(ctx context.Context, request LogsRequest, each func(LogLine) error) error
	// Segment returns the bytes of an audit segment.
	Segment(ctx context.Context, first uint64, hash [32]byte) ([]byte, error)
}

// PeerSecrets gives out what opens the secrets of units: deployments, and
// cluster.yaml as "cluster". node is the caller, by its certificate.
type PeerSecrets interface {
	// Recipient returns what a unit's secrets are encrypted to.
	Recipient(ctx context.Context, unit string) (string, error)
	// UnitKey returns a unit's identity, which node may have because it runs the
	// unit; if it may not, an error that wraps ErrForbidden.
	UnitKey(ctx context.Context, node, unit string) (*identity.UnitKey, error)
}

// IssueTokenRequest is what a member asks the leader for, on an operator's
// behalf.
type IssueTokenRequest struct {
	Kind cluster.TokenKind
	TTL  time.Duration
	// Checkpoint is the asking node's own; for join tokens alone.
	Checkpoint []byte
	// Operator is who asks, as audit shows it: "uid:1000@node-1".
	Operator string
}

// check looks at what node asks for.
func (r *IssueTokenRequest) check(node string) error {
	if err := CheckTTL(r.Kind, r.TTL); err != nil {
		return err
	}
	if !strings.HasSuffix(r.Operator, "@"+node) {
		return forbidden("node %s asks for a token in the name of operator %q", node, r.Operator)
	}
	if r.Kind == cluster.TokenJoin && (len(r.Checkpoint) == 0 || len(r.Checkpoint) > cluster.MaxCheckpointBytes) {
		return fmt.Errorf("%w: a checkpoint of %d bytes", cluster.ErrInvalid, len(r.Checkpoint))
	}
	return nil
}

// peerServer translates for members, and has each speak for itself alone.
type peerServer struct {
	jacov1.UnimplementedPeerServer
	network *Network
}

// Propose implements the service.
func (s *peerServer) Propose(ctx context.Context, in *jacov1.ProposeRequest) (*jacov1.ProposeResponse, error) {
	entry, err := cluster.Decode(in.GetEntry())
	if err != nil {
		return nil, toStatus(err)
	}
	node := callerOf(ctx)
	if err := mayPropose(node, entry); err != nil {
		return nil, toStatus(err)
	}
	result, err := s.network.Log.Propose(ctx, node, entry)
	out := &jacov1.ProposeResponse{Index: result.Index}
	if err == nil {
		err = result.Err
	}
	switch reason, _ := refusal(err); reason {
	case reasonInvalid, reasonConflict, reasonExists, reasonToken:
		out.Refusal, out.Message = reason, err.Error()
		return out, nil
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return out, nil
}

// mayPropose returns an error that wraps ErrForbidden unless the entry is one
// that node may have put into the log: in its own name, about itself, and none
// of those that only the leader decides.
func mayPropose(node string, entry cluster.Entry) error {
	if entry.Actor != (cluster.Actor{Kind: cluster.ActorNode, Name: node}) {
		return forbidden("node %s proposes in the name of %s %q", node, entry.Actor.Kind, entry.Actor.Name)
	}
	switch command := entry.Command.(type) {
	case *cluster.ReportReplicas:
		if command.Node != node {
			return forbidden("node %s reports on the replicas of node %q", node, command.Node)
		}
	case *cluster.ReportMesh:
		if command.Node != node {
			return forbidden("node %s reports on the mesh of node %q", node, command.Node)
		}
	case *cluster.RecordEvents:
		for _, event := range command.Events {
			if event.Node != "" && event.Node != node {
				return forbidden("node %s records an event of node %q", node, event.Node)
			}
		}
	case *cluster.PutObjects, *cluster.AdvanceRevision, *cluster.RecordRefusal, *cluster.SetSync:
		// Of whoever owns the repository; who that is stands in the state.
	default:
		return forbidden("node %s proposes %s, which only the leader decides", node, command.Kind())
	}
	return nil
}

// Heartbeat implements the service.
func (s *peerServer) Heartbeat(ctx context.Context, in *jacov1.HeartbeatRequest) (*jacov1.HeartbeatResponse, error) {
	var beat cluster.Heartbeat
	if err := json.Unmarshal(in.GetHeartbeatJson(), &beat); err != nil {
		return nil, toStatus(fmt.Errorf("%w: heartbeat: %w", cluster.ErrInvalid, err))
	}
	if node := callerOf(ctx); beat.Node != node {
		return nil, toStatus(forbidden("node %s sends a heartbeat of node %q", node, beat.Node))
	}
	now, err := s.network.Liveness.Heartbeat(ctx, beat)
	if err != nil {
		return nil, toStatus(err)
	}
	return &jacov1.HeartbeatResponse{Time: timestamppb.New(now)}, nil
}

// Soft implements the service.
func (s *peerServer) Soft(ctx context.Context, _ *jacov1.SoftRequest) (*jacov1.SoftResponse, error) {
	soft, err := s.network.Liveness.Soft(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	data, err := json.Marshal(soft)
	if err != nil {
		return nil, toStatus(fmt.Errorf("encode the leader's status: %w", err))
	}
	return &jacov1.SoftResponse{SoftJson: data}, nil
}

// Probe implements the service.
func (s *peerServer) Probe(ctx context.Context, in *jacov1.ProbeRequest) (*jacov1.ProbeResponse, error) {
	answers, err := s.network.Liveness.Probe(ctx, in.GetNode())
	if err != nil {
		return nil, toStatus(err)
	}
	return &jacov1.ProbeResponse{Answers: answers}, nil
}

// Poke implements the service.
func (s *peerServer) Poke(ctx context.Context, _ *jacov1.PokeRequest) (*jacov1.PokeResponse, error) {
	if err := s.network.Sync.Poke(ctx); err != nil {
		return nil, toStatus(err)
	}
	return &jacov1.PokeResponse{}, nil
}

// Refresh implements the service.
func (s *peerServer) Refresh(ctx context.Context, in *jacov1.RefreshRequest) (*jacov1.RefreshResponse, error) {
	head, contains, err := s.network.Sync.Refresh(ctx, in.GetRevision())
	if err != nil {
		return nil, toStatus(err)
	}
	return &jacov1.RefreshResponse{Head: head, Contains: contains}, nil
}

// Logs implements the service.
func (s *peerServer) Logs(in *jacov1.LogsRequest, stream grpc.ServerStreamingServer[jacov1.LogsResponse]) error {
	return toStatus(s.network.Data.Logs(stream.Context(), logsRequest(in), func(line LogLine) error {
		return stream.Send(line.message())
	}))
}

// Segment implements the service.
func (s *peerServer) Segment(in *jacov1.SegmentRequest, stream grpc.ServerStreamingServer[jacov1.SegmentResponse]) error {
	var hash [32]byte
	if copy(hash[:], in.GetHash()) != len(hash) || len(in.GetHash()) != len(hash) {
		return toStatus(fmt.Errorf("%w: a hash of %d bytes", cluster.ErrInvalid, len(in.GetHash())))
	}
	data, err := s.network.Data.Segment(stream.Context(), in.GetFirst(), hash)
	if err != nil {
		return toStatus(err)
	}
	return sendChunks(data, func(chunk []byte) error { return stream.Send(&jacov1.SegmentResponse{Chunk: chunk}) })
}

// IssueToken implements the service.
func (s *peerServer) IssueToken(ctx context.Context, in *jacov1.IssueTokenRequest) (*jacov1.IssueTokenResponse, error) {
	node := callerOf(ctx)
	request := IssueTokenRequest{
		Kind: cluster.TokenKind(in.GetKind()), TTL: seconds(in.GetTtlSeconds()), Checkpoint: in.GetCheckpoint(), Operator: in.GetOperator(),
	}
	if err := request.check(node); err != nil {
		return nil, toStatus(err)
	}
	issued, err := s.network.Log.IssueToken(ctx, node, request)
	if err != nil {
		return nil, toStatus(err)
	}
	return issued.message(), nil
}

// Join implements the service.
func (s *peerServer) Join(ctx context.Context, in *jacov1.JoinRequest) (*jacov1.JoinResponse, error) {
	request, err := joinRequest(in, s.network.Identity.AuthorityHash())
	if err != nil {
		return nil, toStatus(err)
	}
	admission, err := s.network.Log.Join(ctx, callerOf(ctx), request)
	if err != nil {
		return nil, toStatus(err)
	}
	return admission.message(), nil
}

// Recipient implements the service.
func (s *peerServer) Recipient(ctx context.Context, in *jacov1.RecipientRequest) (*jacov1.RecipientResponse, error) {
	if err := CheckUnit(in.GetUnit()); err != nil {
		return nil, toStatus(err)
	}
	recipient, err := s.network.Secrets.Recipient(ctx, in.GetUnit())
	if err != nil {
		return nil, toStatus(err)
	}
	return &jacov1.RecipientResponse{Recipient: recipient}, nil
}

// UnitKey implements the service.
func (s *peerServer) UnitKey(ctx context.Context, in *jacov1.UnitKeyRequest) (*jacov1.UnitKeyResponse, error) {
	if err := CheckUnit(in.GetUnit()); err != nil {
		return nil, toStatus(err)
	}
	key, err := s.network.Secrets.UnitKey(ctx, callerOf(ctx), in.GetUnit())
	if err != nil {
		return nil, toStatus(err)
	}
	return &jacov1.UnitKeyResponse{Identity: key.Secret()}, nil
}

// ClusterUnit is the name of cluster.yaml among the units that have secrets.
const ClusterUnit = "cluster"

// CheckUnit returns an error that wraps cluster.ErrInvalid unless the name is a
// deployment's, which need not exist yet, or ClusterUnit.
func CheckUnit(unit string) error {
	if unit == ClusterUnit {
		return nil
	}
	if err := desired.CheckName(unit); err != nil {
		return fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
	}
	return nil
}

// sendChunks sends data in chunks of at most 256 KiB.
func sendChunks(data []byte, send func(chunk []byte) error) error {
	const size = 256 << 10
	for len(data) > 0 {
		n := min(size, len(data))
		if err := send(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
