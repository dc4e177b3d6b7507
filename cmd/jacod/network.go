package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/consensus"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// network is what this node answers to other members.
type network struct {
	member *member
}

// networkLog is network as rpc.PeerLog, whose Join is another's than that of
// rpc.JoinServer.
type networkLog struct {
	member *member
}

var (
	_ rpc.PeerLog      = networkLog{}
	_ rpc.PeerLiveness = network{}
	_ rpc.PeerSync     = network{}
	_ rpc.PeerData     = network{}
	_ rpc.PeerSecrets  = network{}
)

// serveMembers answers other nodes on the control port.
func (m *member) serveMembers(ctx context.Context) error {
	n, d := network{m}, door{m}
	return rpc.ServeNetwork(ctx, m.control, rpc.Network{
		Identity: m.identity, Members: m.memberName,
		Log: networkLog{m}, Liveness: n, Sync: n, Data: n, Secrets: n, Join: d, Tokens: d, Control: m.operator,
	})
}

// Propose implements rpc.PeerLog: the entry becomes this leader's, with its
// time.
func (n networkLog) Propose(ctx context.Context, node string, entry cluster.Entry) (cluster.Result, error) {
	m := n.member
	if m.term.Load() == nil {
		return cluster.Result{}, m.notLeader()
	}
	switch entry.Command.(type) {
	case *cluster.PutObjects, *cluster.AdvanceRevision, *cluster.RecordRefusal, *cluster.SetSync:
		if meta := m.state.Read().Meta(); meta == nil || meta.Repo.Owner != node {
			return cluster.Result{}, fmt.Errorf("%w: node %s does not hold the repository", rpc.ErrForbidden, node)
		}
	}
	result, err := m.consensus.Propose(ctx, cluster.Actor{Kind: cluster.ActorNode, Name: node}, entry.Command)
	return result, m.toPeer(err)
}

// toPeer says in the words of the wire why this node could not do something.
func (m *member) toPeer(err error) error {
	switch {
	case errors.Is(err, consensus.ErrNotLeader), errors.Is(err, consensus.ErrDisk), errors.Is(err, consensus.ErrNotRunning):
		return m.notLeader()
	case errors.Is(err, consensus.ErrUncertain), errors.Is(err, consensus.ErrBusy):
		return fmt.Errorf("%w: %w", rpc.ErrUnreachable, err)
	}
	return err
}

// IssueToken implements rpc.PeerLog.
func (n networkLog) IssueToken(ctx context.Context, _ string, request rpc.IssueTokenRequest) (*rpc.IssuedToken, error) {
	issued, err := n.member.issue(ctx, request)
	return issued, n.member.toPeer(err)
}

// Join implements rpc.PeerLog.
func (n networkLog) Join(ctx context.Context, _ string, request *rpc.JoinRequest) (*rpc.Admission, error) {
	t := n.member.term.Load()
	if t == nil {
		return nil, n.member.notLeader()
	}
	admission, err := t.admit(ctx, request)
	return admission, n.member.toPeer(err)
}

// Heartbeat implements rpc.PeerLiveness.
func (n network) Heartbeat(_ context.Context, beat cluster.Heartbeat) (time.Time, error) {
	t := n.member.term.Load()
	if t == nil {
		return time.Time{}, n.member.notLeader()
	}
	t.beat(beat)
	return n.member.clock(), nil
}

// Soft implements rpc.PeerLiveness. A term begins once everything of earlier
// ones is applied, so that the index is the end of the log.
func (n network) Soft(context.Context) (*cluster.LeaderStatus, error) {
	t := n.member.term.Load()
	if t == nil {
		return nil, n.member.notLeader()
	}
	return t.status(), nil
}

// Probe implements rpc.PeerLiveness: any answer is one.
func (n network) Probe(ctx context.Context, node string) (bool, error) {
	_, err := n.member.peers.Soft(ctx, node)
	return !errors.Is(err, rpc.ErrUnreachable) && !errors.Is(err, context.DeadlineExceeded), nil
}

// Poke implements rpc.PeerSync.
func (n network) Poke(context.Context) error {
	if syncer := n.member.syncer.Load(); syncer != nil {
		syncer.Poke()
		return nil
	}
	return fmt.Errorf("node %s: %w", n.member.info.Node, errNoSync)
}

// Refresh implements rpc.PeerSync.
func (n network) Refresh(ctx context.Context, revision string) (string, bool, error) {
	return n.member.refreshHere(ctx, revision)
}

// Logs implements rpc.PeerData.
func (n network) Logs(ctx context.Context, request rpc.LogsRequest, each func(rpc.LogLine) error) error {
	m := n.member
	replicas := slices.DeleteFunc(m.logged(request), func(r cluster.Replica) bool { return r.Node != m.info.Node })
	return mergeStreams(ctx, request.Follow, m.localStreams(request, replicas), each)
}

// Segment implements rpc.PeerData.
func (n network) Segment(_ context.Context, first uint64, hash [32]byte) ([]byte, error) {
	for _, s := range n.member.state.Read().Segments() {
		if s.First == first && s.Hash == hash {
			return n.member.audit.Segment(s)
		}
	}
	return nil, fmt.Errorf("audit segment %d: %w", first, cluster.ErrNotFound)
}

// segmentRetry is the pause before a segment is asked for again that nobody had.
const segmentRetry = 5 * time.Second

// fetchSegments brings the audit segments that a snapshot named and did not
// bring.
func (m *member) fetchSegments(ctx context.Context) error {
	for {
		changed := m.state.Changed()
		var retry <-chan time.Time
		if missing := m.state.Read().MissingSegments(); len(missing) > 0 && !m.fetchAll(ctx, missing) {
			timer := time.NewTimer(segmentRetry)
			defer timer.Stop()
			retry = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-retry:
		}
	}
}

// fetchAll returns false when one of them is still missing.
func (m *member) fetchAll(ctx context.Context, missing []cluster.Segment) bool {
	all := true
	for _, s := range missing {
		if err := m.fetchSegment(ctx, s); err != nil {
			m.logger.Warn("an audit segment is missing", "first", s.First, "error", err)
			all = false
		}
	}
	return all
}

func (m *member) fetchSegment(ctx context.Context, s cluster.Segment) error {
	var errs []error
	for _, peer := range m.known() {
		if peer.Name == m.info.Node {
			continue
		}
		body, err := m.peers.Segment(ctx, peer.Name, s.First, s.Hash)
		if err == nil {
			if err = cluster.CheckSegment(s, body); err == nil {
				return m.audit.PutSegment(s, body)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
