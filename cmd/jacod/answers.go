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
	"github.com/jaco-sh/jaco/gitsync"
	"github.com/jaco-sh/jaco/scheduler"
	"github.com/jaco-sh/jaco/signing"
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
		Snapshot: snapshot, View: view, Health: map[string]cluster.DeploymentHealth{},
		Soft: cluster.SoftStatus{Node: m.info.Node, Version: version, Leader: leader, Term: m.consensus.Term()},
	}
	if fault := m.consensus.Stats().Fault; fault != nil {
		input.Soft.Fault = fault.Error()
	}
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

// Changed implements rpc.Member.
func (a *answers) Changed() (state, view <-chan struct{}) {
	return a.member.state.Changed(), a.member.verifier.Changed()
}

// errNoSync is returned while no node follows the repository.
var errNoSync = errors.New("no leader follows the repository right now")

// Refresh implements rpc.Member.
func (a *answers) Refresh(ctx context.Context, revision string) (string, bool, error) {
	syncer, head, err := a.refresh(ctx)
	if err != nil {
		return "", false, err
	}
	contains := false
	if revision != "" {
		if contains, err = syncer.Contains(head, revision); err != nil {
			return "", false, err
		}
	}
	return head.String(), contains, nil
}

// syncerEvery is how often it is looked whether this node leads again.
const syncerEvery = 100 * time.Millisecond

// refresh asks the sync. Between two terms of leadership there is none: it
// waits for the next for as long as ctx allows.
func (a *answers) refresh(ctx context.Context) (*gitsync.Syncer, signing.Hash, error) {
	ticker := time.NewTicker(syncerEvery)
	defer ticker.Stop()
	for {
		if syncer := a.member.syncer.Load(); syncer != nil {
			head, err := syncer.Refresh(ctx)
			if !errors.Is(err, gitsync.ErrNotRunning) {
				return syncer, head, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, signing.Hash{}, fmt.Errorf("%w: %w", errNoSync, ctx.Err())
		case <-ticker.C:
		}
	}
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

// Lines implements rpc.Log.
func (a *answers) Lines(ctx context.Context, request rpc.LogsRequest, each func(rpc.LogLine) error) error {
	var selected []cluster.Replica
	for _, r := range a.member.state.Read().ReplicasOf(request.Deployment) {
		if r.ContainerID != "" && (request.Service == "" || r.Service == request.Service) {
			selected = append(selected, r)
		}
	}
	if len(selected) == 0 {
		name := request.Deployment
		if request.Service != "" {
			name += "/" + request.Service
		}
		return fmt.Errorf("no container of %s: %w", name, rpc.ErrNotFound)
	}
	return mergeLogs(ctx, a.member.agent, selected, request, each)
}
