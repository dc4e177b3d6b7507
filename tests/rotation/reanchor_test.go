package rotation

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// alone is a trust.yaml of one person.
func alone(name string) string { return strings.ReplaceAll(stage.TrustFile, "alice", name) }

// TestReanchor rewrites the history without root's word: no node follows until
// the operator of that very node says so.
func TestReanchor(t *testing.T) {
	c := stage.NewCluster(t, stage.ClusterConfig{Transport: stage.HTTP})
	p := &play{Cluster: c, carol: c.NewKey("carol")}
	c.Commit(files("shop", "first"))
	p.tell()
	c.Settle(patience)
	accepted, before := c.Head(), p.containers("")

	for _, step := range [][]string{{"checkout", "-q", "--orphan", "rewritten"}, {"rm", "-rfq", "."}} {
		rig.Must[string](t)(c.Repo.Git(t.Context(), step...))
	}
	anchor := c.CommitAs(p.carol, map[string]string{"trust.yaml": alone("carol"), "keys/carol.pub": p.carol.Public})
	tip := c.CommitAs(p.carol, files("shop", "second"))
	c.Check(c.Repo.ForcePush(t.Context()))
	c.Deliver(c.Leader())
	c.Eventually(patience, "the rewritten history to be refused", func(status *cluster.Status) (bool, string) {
		named := false
		for _, r := range status.Sync.Refused {
			named = named || r.Head == tip && r.Code == string(signing.ReasonRewritten)
		}
		return named && status.Sync.State == cluster.SyncStalled && status.Sync.Accepted == accepted, stage.Summary(status)
	})

	if after := p.containers(""); !slices.Equal(before, after) {
		t.Errorf("for a rewritten history containers changed from %v to %v", before, after)
	}

	// The order begins where the repository is followed: the others have not seen
	// the commit.
	leader := c.Leader()
	said := p.follower().JacoFails(1, "bootstrap", "reanchor", "--commit", anchor)
	if !strings.Contains(said, leader.Name()) {
		t.Errorf("a follower does not say where to begin:\n%s", said)
	}
	leader.Jaco("bootstrap", "reanchor", "--commit", anchor)
	leader.Eventually(patience, "the leader to go on", func(status *cluster.Status) (bool, string) {
		return status.Sync.Accepted == tip, stage.Summary(status)
	})
	for _, m := range c.Running() {
		if m.Name() == leader.Name() {
			continue
		}
		if got := m.Status().Sync.Accepted; got != accepted {
			t.Errorf("%s followed by itself to %s", m.Name(), got)
		}
		m.Jaco("bootstrap", "reanchor", "--commit", anchor)
	}
	p.accepted(tip)
	c.Settle(patience)

	c.Eventually(patience, "the log to tell of every operator", func(*cluster.Status) (bool, string) {
		var records []cluster.AuditRecord
		out := leader.Jaco("audit", "--type", string(cluster.EventReanchored), "-o", "json")
		c.Check(json.Unmarshal([]byte(out), &records))
		return len(records) == len(c.Running()), out
	}, leader)
	if out := leader.JacoFails(4, "audit", "verify", "--anchor", c.Anchor); !strings.Contains(out, "--reanchor") {
		t.Errorf("audit verify says:\n%s", out)
	}
	if out := leader.Jaco("audit", "verify", "--anchor", c.Anchor, "--reanchor", anchor); !strings.HasPrefix(out, "verified") {
		t.Errorf("audit verify says:\n%s", out)
	}
}
