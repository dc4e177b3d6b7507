package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/scheduler"
)

// answers is what the control service says for a member.
type answers struct {
	member *member
}

var (
	_ rpc.Member = (*answers)(nil)
	_ rpc.Log    = (*answers)(nil)
)

// Status implements rpc.Member.
func (a *answers) Status() *cluster.Status {
	m := a.member
	snapshot, view := m.state.Read(), m.verifier.View()
	leader, _ := m.consensus.Leader()
	input := cluster.StatusInput{
		Snapshot: snapshot, View: view, Now: m.clock(), Health: map[string]cluster.DeploymentHealth{},
		Soft: cluster.SoftStatus{Node: m.info.Node, Version: version, Leader: leader, Term: m.consensus.Term()},
	}
	if fault := m.consensus.Stats().Fault; fault != nil {
		input.Soft.Fault = fault.Error()
	}
	if problem := m.verifier.Problem(); problem != nil {
		input.Soft.Problem = problem.Error()
	}
	input.Soft.Misled = m.misledText()
	input.Soft.Quorum, input.Soft.Voters = m.consensus.Quorum(), map[string]bool{}
	for _, server := range m.consensus.Servers() {
		input.Soft.Voters[server.Name] = server.Voter
	}
	input.Soft.FromLeader = a.fromLeader(leader)
	if syncer := m.syncer.Load(); syncer != nil {
		soft := syncer.Status()
		input.Soft.Head, input.Soft.FetchedAt, input.Soft.Fetching = soft.Head, soft.FetchedAt, soft.Fetching
	}
	for _, health := range scheduler.Health(scheduler.Input{
		ClusterID: m.info.Cluster, Now: m.clock(), View: view, Nodes: snapshot.Nodes(), Replicas: snapshot.Replicas(),
		Services: snapshot.Services(), Deployments: snapshot.DeploymentStatuses(),
	}) {
		input.Health[health.Deployment] = cluster.DeploymentHealth{Health: health.State, Reason: health.Reason}
	}
	return cluster.BuildStatus(input)
}

// softTimeout bounds asking the leader: a status without its answer is one too.
const softTimeout = time.Second

// fromLeader is what only the leader knows, nil when it does not answer.
func (a *answers) fromLeader(leader string) *cluster.LeaderStatus {
	m := a.member
	if t := m.term.Load(); t != nil {
		return t.status()
	}
	if leader == "" || leader == m.info.Node {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), softTimeout)
	defer cancel()
	status, err := m.peers.Soft(ctx, leader)
	if err != nil {
		m.logger.Debug("the leader does not say what it knows", "leader", leader, "error", err)
		return nil
	}
	return status
}

// Changed implements rpc.Member.
func (a *answers) Changed() (state, view <-chan struct{}) {
	return a.member.state.Changed(), a.member.verifier.Changed()
}

// Refresh implements rpc.Member.
func (a *answers) Refresh(ctx context.Context, revision string) (string, bool, error) {
	return a.member.refresh(ctx, revision)
}

// Trace implements rpc.Member: what the log reports, and as far as signatures
// bear it out, the proof.
func (a *answers) Trace(id string) (*cluster.TraceReport, error) {
	m := a.member
	report, err := cluster.Trace(m.state.Read(), id)
	if err != nil {
		return nil, err
	}
	proof, err := m.verifier.Prove(report.Deployment, report.Service, report.Revision, report.SpecHash)
	switch {
	case errors.Is(err, verifier.ErrUnproved):
	case err != nil:
		return nil, err
	default:
		report.Prove(proof.Signers, proof.TrustVersion)
	}
	return report, nil
}

// Export implements rpc.Member.
func (a *answers) Export(_ context.Context, w io.Writer) error {
	return cluster.WriteBundle(w, a.member.state.Read(), bundleSigner{a.member})
}

// bundleSigner signs the head of a bundle with the node's key.
type bundleSigner struct {
	member *member
}

// Sign implements cluster.BundleSigner.
func (s bundleSigner) Sign(digest [32]byte) (signature, certPEM []byte, err error) {
	return s.member.identity.Sign(digest[:])
}

// Audit implements rpc.Log.
func (a *answers) Audit(ctx context.Context, filter cluster.AuditFilter, follow bool, each func(cluster.AuditRecord) error) error {
	state := a.member.state
	for {
		changed := state.Changed()
		snapshot := state.Read()
		for record, err := range snapshot.Audit(filter) {
			if err != nil {
				return err
			}
			if err := each(record); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		filter.After = max(filter.After, snapshot.AuditHead().Number)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// Lines implements rpc.Log: the lines of every node's replicas.
func (a *answers) Lines(ctx context.Context, request rpc.LogsRequest, each func(rpc.LogLine) error) error {
	m := a.member
	replicas := m.logged(request)
	if len(replicas) == 0 {
		name := request.Deployment
		if request.Service != "" {
			name += "/" + request.Service
		}
		return fmt.Errorf("no container of %s: %w", name, rpc.ErrNotFound)
	}
	var local []cluster.Replica
	others := map[string]bool{}
	for _, r := range replicas {
		if r.Node == m.info.Node {
			local = append(local, r)
		} else {
			others[r.Node] = true
		}
	}
	streams := m.localStreams(request, local)
	for node := range others {
		streams = append(streams, func(ctx context.Context, line func(rpc.LogLine) error) error {
			return m.peers.Logs(ctx, node, request, line)
		})
	}
	return mergeStreams(ctx, request.Follow, streams, each)
}

// logged are the replicas whose lines are asked for.
func (m *member) logged(request rpc.LogsRequest) []cluster.Replica {
	var selected []cluster.Replica
	for _, r := range m.state.Read().ReplicasOf(request.Deployment) {
		if r.ContainerID != "" && r.Phase != cluster.Lost && (request.Service == "" || r.Service == request.Service) {
			selected = append(selected, r)
		}
	}
	return selected
}
