package rpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// maxSegment is far above any audit segment, whose entries are small.
const maxSegment = 256 << 20

// Propose has the leader, which node is taken for, put an entry of this node
// into the log. What the state refuses is in the result and is the error too.
func (p *Peers) Propose(ctx context.Context, node string, entry cluster.Entry) (cluster.Result, error) {
	data, err := cluster.Encode(entry)
	if err != nil {
		return cluster.Result{}, err
	}
	var out *jacov1.ProposeResponse
	err = p.call(ctx, node, "propose to", proposeTimeout, func(ctx context.Context, api jacov1.PeerClient) (err error) {
		out, err = api.Propose(ctx, &jacov1.ProposeRequest{Entry: data})
		return err
	})
	if err != nil {
		return cluster.Result{}, err
	}
	result := cluster.Result{Index: out.GetIndex()}
	if out.GetRefusal() != "" {
		result.Err = &remoteError{out.GetMessage(), meaning(out.GetRefusal())}
	}
	return result, result.Err
}

// Heartbeat tells the leader, which node is taken for, how this node is, and
// returns the leader's clock.
func (p *Peers) Heartbeat(ctx context.Context, node string, beat cluster.Heartbeat) (time.Time, error) {
	data, err := json.Marshal(beat)
	if err != nil {
		return time.Time{}, fmt.Errorf("encode heartbeat: %w", err)
	}
	var out *jacov1.HeartbeatResponse
	err = p.call(ctx, node, "send a heartbeat to", softTimeout, func(ctx context.Context, api jacov1.PeerClient) (err error) {
		out, err = api.Heartbeat(ctx, &jacov1.HeartbeatRequest{HeartbeatJson: data})
		return err
	})
	return fromTimestamp(out.GetTime()), err
}

// Soft asks the leader, which node is taken for, what it knows and the log does
// not carry.
func (p *Peers) Soft(ctx context.Context, node string) (*cluster.LeaderStatus, error) {
	soft := new(cluster.LeaderStatus)
	err := p.call(ctx, node, "ask", softTimeout, func(ctx context.Context, api jacov1.PeerClient) error {
		out, err := api.Soft(ctx, &jacov1.SoftRequest{})
		if err != nil {
			return err
		}
		if err := json.Unmarshal(out.GetSoftJson(), soft); err != nil {
			return fmt.Errorf("decode its status: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return soft, nil
}

// Probe asks a node whether another one answers it.
func (p *Peers) Probe(ctx context.Context, node, about string) (bool, error) {
	var out *jacov1.ProbeResponse
	err := p.call(ctx, node, "ask", softTimeout, func(ctx context.Context, api jacov1.PeerClient) (err error) {
		out, err = api.Probe(ctx, &jacov1.ProbeRequest{Node: about})
		return err
	})
	return out.GetAnswers(), err
}

// Poke has the sync of a node look at the repository soon.
func (p *Peers) Poke(ctx context.Context, node string) error {
	return p.call(ctx, node, "poke", softTimeout, func(ctx context.Context, api jacov1.PeerClient) error {
		_, err := api.Poke(ctx, &jacov1.PokeRequest{})
		return err
	})
}

// Refresh has the sync of a node ask the remote now.
func (p *Peers) Refresh(ctx context.Context, node, revision string) (head string, contains bool, err error) {
	var out *jacov1.RefreshResponse
	err = p.call(ctx, node, "refresh by", remoteTimeout, func(ctx context.Context, api jacov1.PeerClient) (err error) {
		out, err = api.Refresh(ctx, &jacov1.RefreshRequest{Revision: revision})
		return err
	})
	return out.GetHead(), out.GetContains(), err
}

// Logs calls each for every log line of a node's own replicas. With Follow it
// goes on until ctx ends or the node is lost.
func (p *Peers) Logs(ctx context.Context, node string, request LogsRequest, each func(LogLine) error) error {
	timeout := remoteTimeout
	if request.Follow {
		timeout = 0
	}
	var stopped error
	err := p.call(ctx, node, "read logs of", timeout, func(ctx context.Context, api jacov1.PeerClient) error {
		return receive(ctx, asIs, func(ctx context.Context) (grpc.ServerStreamingClient[jacov1.LogsResponse], error) {
			return api.Logs(ctx, request.message())
		}, func(m *jacov1.LogsResponse) error {
			stopped = each(logLine(m))
			return stopped
		})
	})
	if stopped != nil {
		return stopped
	}
	return err
}

// asIs leaves an error to be explained later.
func asIs(err error) error { return err }

// Segment returns the bytes of an audit segment, which have the hash.
func (p *Peers) Segment(ctx context.Context, node string, first uint64, hash [32]byte) ([]byte, error) {
	var data bytes.Buffer
	err := p.call(ctx, node, "fetch an audit segment from", remoteTimeout, func(ctx context.Context, api jacov1.PeerClient) error {
		stream, err := api.Segment(ctx, &jacov1.SegmentRequest{First: first, Hash: hash[:]})
		if err != nil {
			return err
		}
		for {
			chunk, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if data.Len()+len(chunk.GetChunk()) > maxSegment {
				return fmt.Errorf("segment %d: %w: larger than %d bytes", first, cluster.ErrCorrupt, maxSegment)
			}
			data.Write(chunk.GetChunk())
		}
		if sha256.Sum256(data.Bytes()) != hash {
			return fmt.Errorf("segment %d: %w: it is not the one that was asked for", first, cluster.ErrCorrupt)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return data.Bytes(), nil
}

// errSwapped is returned when the leader made a token for another checkpoint
// or cluster than it was asked to.
var errSwapped = errors.New("the leader made a token that does not carry what this node pins: nobody may join with it")

// IssueToken has the leader, which node is taken for, make a token. The token
// must lead to what this node itself pins: its authority, and for a join token
// the request's checkpoint.
func (p *Peers) IssueToken(ctx context.Context, node string, authority [32]byte, request IssueTokenRequest) (*IssuedToken, error) {
	var issued *IssuedToken
	err := p.call(ctx, node, "have a token made by", proposeTimeout, func(ctx context.Context, api jacov1.PeerClient) error {
		out, err := api.IssueToken(ctx, &jacov1.IssueTokenRequest{
			Kind: string(request.Kind), TtlSeconds: int64(request.TTL / time.Second), Checkpoint: request.Checkpoint, Operator: request.Operator,
		})
		if err != nil {
			return err
		}
		issued, err = issuedToken(out)
		return err
	})
	if err != nil {
		return nil, err
	}
	want := Token{ID: issued.Token.ID, Secret: issued.Token.Secret, Kind: request.Kind, Authority: authority}
	if request.Kind == cluster.TokenJoin {
		want.Checkpoint = sha256.Sum256(request.Checkpoint)
	}
	if issued.Token != want {
		return nil, fmt.Errorf("have a token made by node %s: %w", node, errSwapped)
	}
	return issued, nil
}

// Join passes a stranger's request on to the leader, which node is taken for.
func (p *Peers) Join(ctx context.Context, node string, request *JoinRequest) (*Admission, error) {
	var out *jacov1.JoinResponse
	err := p.call(ctx, node, "have a node admitted by", joinTimeout, func(ctx context.Context, api jacov1.PeerClient) (err error) {
		out, err = api.Join(ctx, request.message())
		return err
	})
	if err != nil {
		return nil, err
	}
	return admissionOf(out)
}

// Recipient asks a voter what the secrets of a unit are encrypted to.
func (p *Peers) Recipient(ctx context.Context, node, unit string) (string, error) {
	var out *jacov1.RecipientResponse
	err := p.call(ctx, node, "ask", softTimeout, func(ctx context.Context, api jacov1.PeerClient) (err error) {
		out, err = api.Recipient(ctx, &jacov1.RecipientRequest{Unit: unit})
		return err
	})
	return out.GetRecipient(), err
}

// UnitKey asks a voter for the identity of a unit that this node runs.
func (p *Peers) UnitKey(ctx context.Context, node, unit string) (*identity.UnitKey, error) {
	var key *identity.UnitKey
	err := p.call(ctx, node, "ask", softTimeout, func(ctx context.Context, api jacov1.PeerClient) error {
		out, err := api.UnitKey(ctx, &jacov1.UnitKeyRequest{Unit: unit})
		if err != nil {
			return err
		}
		key, err = identity.ParseUnitKey(out.GetIdentity())
		return err
	})
	return key, err
}
