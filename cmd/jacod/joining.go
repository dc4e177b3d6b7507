package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/cluster/verifier"
)

// joinJob is one join on its way to the goroutine that owns the member.
type joinJob struct {
	request *rpc.JoinClusterRequest
	result  *rpc.JoinClusterResult // filled in before done
	done    chan error
}

const (
	// admitTimeout bounds being admitted, repeats included.
	admitTimeout = 30 * time.Second
	// arriveTimeout bounds the wait for the log and its verification; what is
	// not there then still comes.
	arriveTimeout = 60 * time.Second
)

// JoinCluster implements rpc.Joiner.
func (d *daemon) JoinCluster(ctx context.Context, request *rpc.JoinClusterRequest) (*rpc.JoinClusterResult, error) {
	if m := d.member.Load(); m != nil {
		return nil, fmt.Errorf("this node belongs to cluster %s already", m.info.Cluster)
	}
	job := joinJob{request: request, result: new(rpc.JoinClusterResult), done: make(chan error, 1)}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case d.joins <- job:
	}
	if err := <-job.done; err != nil { // it ends by itself, one way or the other
		return nil, err
	}
	m := d.member.Load()
	if m == nil {
		return nil, errors.New("this node stopped while it joined")
	}
	job.result.Lines = m.arrival(ctx)
	return job.result, nil
}

// runJoin has this node admitted and opens its stores. On failure nothing is
// left on this node.
func (d *daemon) runJoin(ctx context.Context, job joinJob) (m *member, err error) {
	dataDir := d.config.DataDir
	if err := beginInit(dataDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, abandonInit(dataDir))
		}
	}()
	token := job.request.Token
	client := rpc.NewJoinClient(job.request.Server, d.clock)
	hello, err := client.Hello(ctx, token)
	if err != nil {
		return nil, err
	}
	record, err := verifier.PinCheckpoint(filepath.Join(dataDir, trustDirectory), hello.Checkpoint, token.Checkpoint)
	if err != nil {
		return nil, err
	}
	if record.ClusterID != hello.ClusterID {
		return nil, fmt.Errorf("%s names itself cluster %s, and its checkpoint is of cluster %s", job.request.Server, hello.ClusterID, record.ClusterID)
	}
	if record.Branch != hello.Branch { // it decides whom require_target is for
		return nil, fmt.Errorf("%s says that the cluster follows the branch %q, and its checkpoint that it is %q", job.request.Server, hello.Branch, record.Branch)
	}
	candidate, err := identity.NewCandidate(rand.Reader)
	if err != nil {
		return nil, err
	}
	admission, err := d.beAdmitted(ctx, client, token, candidate)
	if err != nil {
		return nil, err
	}
	if _, err := newIdentityStore(dataDir, d.clock).Admit(candidate, d.config.Name, hello.Authority, admission.Certificate); err != nil {
		return nil, err
	}
	info := membership{
		Cluster: record.ClusterID, Node: d.config.Name, Address: d.address, Branch: record.Branch,
		Joining: true, Peers: admission.Members,
	}
	if err := errors.Join(saveMembership(dataDir, info), endInit(dataDir)); err != nil {
		return nil, err
	}
	*job.result = rpc.JoinClusterResult{ClusterID: info.Cluster, ClusterName: hello.ClusterName, Node: info.Node}
	return openMember(ctx, d.config, d.logger, d.clock, info, d.control)
}

// beAdmitted repeats the same request while its answer may have been lost.
func (d *daemon) beAdmitted(ctx context.Context, client *rpc.JoinClient, token rpc.Token, candidate *identity.Candidate) (*rpc.Admission, error) {
	ctx, cancel := context.WithTimeout(ctx, admitTimeout)
	defer cancel()
	request, err := rpc.NewJoinRequest(token, candidate, d.config.Name, d.address, version)
	if err != nil {
		return nil, err
	}
	for {
		admission, err := client.Join(ctx, token, request)
		if !errors.Is(err, rpc.ErrUnreachable) && !errors.Is(err, rpc.ErrNotLeader) || !pause(ctx, time.Second) {
			return admission, err
		}
	}
}

// arrival waits until the log has come and this node has verified it, and says
// how that went.
func (m *member) arrival(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, arriveTimeout)
	defer cancel()
	for {
		state, views := m.state.Changed(), m.verifier.Changed()
		if problem := m.verifier.Problem(); errors.Is(problem, verifier.ErrForeignHistory) {
			return []string{"This node runs nothing: " + problem.Error()}
		}
		if view := m.verifier.View(); view != nil && m.isCurrent() {
			return []string{fmt.Sprintf("Verified up to commit %s under its own trust.", view.Commit.Short())}
		}
		select {
		case <-ctx.Done():
			return []string{"The cluster's log has not come whole yet: watch `jaco status nodes`."}
		case <-state:
		case <-views:
		case <-m.current:
		}
	}
}

func (m *member) isCurrent() bool {
	select {
	case <-m.current:
		return true
	default:
		return false
	}
}
