package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/scheduler"
	"github.com/jaco-sh/jaco/scheduler/preview"
	"github.com/jaco-sh/jaco/signing"
)

// planTimeout bounds the work on one plan, which a reader from afar can ask for.
const planTimeout = 20 * time.Second

// errNoView is returned while this node cannot say what is accepted.
var errNoView = errors.New("this node does not know yet what the cluster accepted: try again in a moment, or ask another node")

// Plan implements rpc.Member. One is made at a time: it takes as much of the
// processor as a rollout's plans together.
func (a *answers) Plan(ctx context.Context, files []rpc.PlanFile) ([]byte, error) {
	m := a.member
	ctx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	select {
	case m.planning <- struct{}{}:
		defer func() { <-m.planning }()
	case <-ctx.Done():
		return nil, fmt.Errorf("another plan is being made: %w", ctx.Err())
	}
	in, err := m.planInput()
	if err != nil {
		return nil, err
	}
	var tree []preview.File
	for _, f := range files {
		tree = append(tree, preview.File{Path: f.Path, Mode: preview.Mode(f.Mode), Data: f.Data})
	}
	if in.Tree, err = preview.NewTree(tree); err != nil {
		return nil, err
	}
	plan, err := preview.Compute(ctx, in)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(plan)
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return data, nil
}

// planInput is what this node accepted, and the state that it knows.
func (m *member) planInput() (preview.Input, error) {
	record, view, snapshot := m.verifier.Record(), m.verifier.View(), m.state.Read()
	meta := snapshot.Meta()
	if view == nil || meta == nil {
		return preview.Input{}, errNoView
	}
	commit, err := signing.ReadCommit(m.objects, record.Position.Commit)
	if err != nil {
		return preview.Input{}, fmt.Errorf("read the accepted commit: %w", err)
	}
	trust, err := signing.LoadTrust(m.objects, record.Position.Commit)
	if err != nil {
		return preview.Input{}, fmt.Errorf("read the policy in force: %w", err)
	}
	var stalled string
	if sync := snapshot.Sync(); sync.State == cluster.SyncStalled {
		stalled = sync.Reason
	}
	now := m.clock()
	if at := snapshot.Time(); at.After(now) {
		now = at
	}
	return preview.Input{
		Trust: trust, Accepted: m.objects, Against: record.Position.Commit, Base: commit.Tree, Units: record.Position.Units, Now: now,
		ClusterName: meta.Name, Stalled: stalled,
		State: &scheduler.Input{
			ClusterID: meta.ID, Now: now, Index: snapshot.Index(), View: view, Nodes: snapshot.Nodes(), Replicas: snapshot.Replicas(),
			Services: snapshot.Services(), Deployments: snapshot.DeploymentStatuses(),
		},
	}, nil
}
