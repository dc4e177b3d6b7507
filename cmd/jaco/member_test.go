package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/signing"
)

// Times and commits of the fake cluster.
var (
	noon    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	commitA = strings.Repeat("a1", 20)
	commitB = strings.Repeat("b2", 20)
	commitC = strings.Repeat("c3", 20)
)

// fakeMember answers for a cluster in memory, which is in one of states.
type fakeMember struct {
	signed *signedCluster

	mu      sync.Mutex // guards the fields below
	state   string
	changed chan struct{} // closed and replaced at each change

	server *rpc.Server // set by serve
}

var (
	_ rpc.Member      = (*fakeMember)(nil)
	_ rpc.Log         = (*fakeMember)(nil)
	_ rpc.Initializer = (*fakeMember)(nil)
	_ rpc.Joiner      = (*fakeMember)(nil)
	_ rpc.TokenIssuer = (*fakeMember)(nil)
)

func newFakeMember(signed *signedCluster) *fakeMember {
	return &fakeMember{signed: signed, changed: make(chan struct{})}
}

// run serves until the end of the script.
func (m *fakeMember) run(ts *testscript.TestScript, serve func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx) }()
	ts.Defer(func() {
		cancel()
		<-ended
	})
}

// enter brings the cluster into a state.
func (m *fakeMember) enter(state string) error {
	if states[state] == nil {
		return fmt.Errorf("no state %s", state)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = state
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

func (m *fakeMember) present() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// Init implements rpc.Initializer.
func (m *fakeMember) Init(_ context.Context, r *rpc.InitRequest) (*rpc.InitResult, error) {
	lines := []string{fmt.Sprintf("name %s, branch %s, anchor %s", r.ClusterName, r.Branch, r.Anchor)}
	for _, s := range r.Signers {
		lines = append(lines, fmt.Sprintf("signer %s: %d bytes", s.Name, len(s.Key)))
	}
	lines = append(lines, fmt.Sprintf("ssh key %d, token %d, known hosts %d bytes", len(r.SSHKey), len(r.Token), len(r.KnownHosts)))
	return &rpc.InitResult{ClusterID: "0123456789abcdef", Repo: r.Repo, Branch: r.Branch, Anchor: r.Anchor, Lines: lines}, nil
}

// newFakeToken makes the same token in every run.
func newFakeToken(kind cluster.TokenKind, authority [32]byte) (rpc.Token, error) {
	return rpc.NewToken(rand.NewChaCha8([32]byte{1}), kind, authority, [32]byte{0xc4})
}

// IssueToken implements rpc.TokenIssuer.
func (m *fakeMember) IssueToken(_ context.Context, _ string, kind cluster.TokenKind, ttl time.Duration) (*rpc.IssuedToken, error) {
	if m.present() == "leaderless" {
		return nil, &rpc.NotLeaderError{}
	}
	token, err := newFakeToken(kind, [32]byte{0xca})
	return &rpc.IssuedToken{Token: token, ExpiresAt: noon.Add(ttl)}, err
}

// Recipient implements rpc.Recipients.
func (m *fakeMember) Recipient(_ context.Context, unit string) (string, error) {
	if m.present() == "leaderless" {
		return "", errors.New("no voter answers")
	}
	return "age1recipientof" + unit, nil
}

// JoinCluster implements rpc.Joiner.
func (m *fakeMember) JoinCluster(_ context.Context, r *rpc.JoinClusterRequest) (*rpc.JoinClusterResult, error) {
	if r.Server == "10.0.0.9:7000" {
		return nil, fmt.Errorf("%s refused: %w: token %s was used by node node-2", r.Server, cluster.ErrToken, r.Token.ID)
	}
	if m.present() != "" {
		return nil, errors.New("this node belongs to cluster 0123456789abcdef already")
	}
	return &rpc.JoinClusterResult{
		ClusterID: "0123456789abcdef", ClusterName: "test", Node: "node-2", Lines: []string{"by " + r.Server + " with " + r.Token.String()},
	}, nil
}

// Status implements rpc.Member.
func (m *fakeMember) Status() *cluster.Status {
	status := fullStatus()
	if m.present() == "signed" {
		status.Sync.Anchor = m.signed.anchor.String()
	}
	states[m.present()](status)
	return status
}

// Changed implements rpc.Member.
func (m *fakeMember) Changed() (state, view <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed, nil
}

// Refresh implements rpc.Member: commits are equal to their heads, and only
// commitB is in the history.
func (m *fakeMember) Refresh(ctx context.Context, revision string) (string, bool, error) {
	if m.present() == "leaderless" {
		<-ctx.Done()
		return "", false, fmt.Errorf("no leader: %w", ctx.Err())
	}
	head := m.Status().Sync.Head
	return head, revision != "" && strings.HasPrefix(head, revision), nil
}

// Reanchor implements rpc.Member: the commit must be known.
func (m *fakeMember) Reanchor(_ context.Context, operator string, commit signing.Hash) (*rpc.ReanchorResult, error) {
	if commit.String() != commitB {
		return nil, fmt.Errorf("reanchor at %s: %w", commit.Short(), rpc.ErrNotFound)
	}
	return &rpc.ReanchorResult{TrustVersion: 2, Root: []string{"alice"}, Lines: []string{"trusted by the word of " + operator}}, nil
}

// Trace implements rpc.Member.
func (m *fakeMember) Trace(id string) (*cluster.TraceReport, error) {
	if id != "c0ffee" {
		return nil, fmt.Errorf("no container or replica %s: %w", id, rpc.ErrNotFound)
	}
	return &cluster.TraceReport{
		Container: "c0ffee", Replica: "r1", Node: "node-1", Deployment: "shop", Service: "api", Slot: 1, CreatedAt: noon,
		Facts: []cluster.Fact{
			{Name: "container", Value: "c0ffee", Source: cluster.FactReported},
			{Name: "signers", Value: "alice SHA256:abc", Source: cluster.FactSigned},
		},
	}, nil
}

// Plan implements rpc.Member: it plans on a cluster that runs the deployment web.
func (m *fakeMember) Plan(ctx context.Context, files []rpc.PlanFile) ([]byte, error) {
	return planFor(ctx, files)
}

// Export implements rpc.Member.
func (m *fakeMember) Export(_ context.Context, w io.Writer) error {
	_, err := w.Write(m.signed.bundle)
	return err
}

// auditRecords is the audit log of the fake cluster.
var auditRecords = []cluster.AuditRecord{
	{Number: 1, Index: 3, Time: noon, Type: string(cluster.KindInitCluster), Actor: "operator uid:0@node-1", Message: "cluster test"},
	{Number: 2, Index: 4, Time: noon.Add(time.Minute), Type: string(cluster.KindPutObjects), Actor: "node node-1", Message: "12 objects"},
	{Number: 3, Index: 5, Time: noon.Add(2 * time.Minute), Type: string(cluster.KindAdvanceRevision), Actor: "node node-1", Revision: commitA, Message: "claim 1"},
	{Number: 4, Index: 6, Time: noon.Add(3 * time.Minute), Type: string(cluster.EventInvalid), Actor: "node node-1", Deployment: "shop",
		Service: "api", Node: "node-1", Revision: commitB, Message: "compose.yaml:3: no\nsecond line"},
	{Number: 5, Index: 7, Time: noon.Add(time.Hour), Type: string(cluster.KindApplyPlan), Actor: "node node-1", Message: "stop 1", Outcome: "node moved on"},
}

// Audit implements rpc.Log.
func (m *fakeMember) Audit(_ context.Context, f cluster.AuditFilter, _ bool, each func(cluster.AuditRecord) error) error {
	sent := 0
	for _, r := range auditRecords {
		if r.Number <= f.After || r.Time.Before(f.Since) || f.Type != "" && r.Type != f.Type || f.Deployment != "" && r.Deployment != f.Deployment ||
			!strings.HasPrefix(r.Revision, f.Revision) || f.Actor != "" && r.Actor != f.Actor || f.Limit > 0 && sent == f.Limit {
			continue
		}
		sent++
		if err := each(r); err != nil {
			return err
		}
	}
	return nil // a followed log ends here too, which spares the scripts a kill
}

// Lines implements rpc.Log.
func (m *fakeMember) Lines(_ context.Context, r rpc.LogsRequest, each func(rpc.LogLine) error) error {
	if r.Deployment != "shop" {
		return fmt.Errorf("no container of %s: %w", r.Deployment, rpc.ErrNotFound)
	}
	for i, line := range []rpc.LogLine{
		{Service: "api", Slot: 1, Text: []byte("one")}, {Service: "api", Slot: 2, Text: []byte("two"), Stderr: true}, {Service: "db", Slot: 1, Text: []byte("three")},
	} {
		if r.Service != "" && r.Service != line.Service || r.Tail >= 0 && i >= r.Tail {
			continue
		}
		if err := each(line); err != nil {
			return err
		}
	}
	return nil
}
