package main

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/tests/rig"
)

// TestDaemonWithEdge makes a cluster of a node with an edge, and looks at what
// the one says of the other.
func TestDaemonWithEdge(t *testing.T) {
	n := newTestNode(t)
	edge := startEdge(t, n.config.Edge.Socket)
	n.conflicts = []string{"10.64.0.0/16 via eth0"}
	n.start(t)
	alice := rig.Must[*rig.Key](t)(rig.StartGit(t).NewSSHKey(t.Context(), "alice", "ed25519"))
	request := &rpc.InitRequest{ClusterName: "test", Signers: []rpc.Signer{{Name: "alice", Key: []byte(alice.Public)}}}
	_, err := n.client.Init(t.Context(), request)
	if err == nil || !strings.Contains(err.Error(), "10.64.0.0/10, overlap with what this host reaches otherwise: 10.64.0.0/16 via eth0; name another prefix with --pool") {
		t.Errorf("a pool in which the host has a route: %v", err)
	}
	n.conflicts = nil
	request.Pool = netip.MustParsePrefix("198.51.100.0/20")
	if _, err = n.client.Init(t.Context(), request); err == nil || !strings.Contains(err.Error(), "pool 198.51.100.0/20") {
		t.Errorf("a pool that is none: %v", err)
	}
	if got := names(t, n.config.DataDir); len(got) != 1 || got[0] != "lock" {
		t.Errorf("refused inits leave %q", got)
	}
	request.Pool = netip.MustParsePrefix("10.128.0.0/12")
	_, err = n.client.Init(t.Context(), request)
	check(t, err)
	n.leads(t)
	n.eventually(t, "the pool", func() bool { return edge.last() != nil && edge.last().Pool == request.Pool })
	n.eventually(t, "the edge in the node's status", func() bool {
		node := n.node(t)
		return node.WireGuard == "userspace" && node.Firewall != nil && node.Firewall.Ready && node.Firewall.Generation == 1
	})
	edge.say(func(r *cluster.EdgeReport) {
		r.PeersAt, r.Peers = 1, []cluster.PeerStatus{{Node: "n2", MTU: 1420}}
		r.Firewall = cluster.FirewallStatus{Reason: "operation not permitted", Generation: 2}
		r.Events = []cluster.EdgeEvent{repaired(1, "rule 3 was gone")}
	})
	n.eventually(t, "the lost firewall", func() bool {
		node := n.node(t)
		return node.Firewall != nil && !node.Firewall.Ready && strings.Contains(node.Reason, "no container starts: operation not permitted") && len(node.Peers) == 1
	})
	n.eventually(t, "the acknowledgement", func() bool { return edge.pending() == 0 })
	n.audited(t, "firewall-repaired", 1)
	n.audited(t, string(cluster.KindReportMesh), 1)
	n.stop(t)

	// The same event is offered to the next process.
	edge.say(func(r *cluster.EdgeReport) {
		r.Events = []cluster.EdgeEvent{repaired(1, "rule 3 was gone"), repaired(2, "rule 4 was gone")}
	})
	n.start(t)
	n.leads(t)
	n.eventually(t, "the acknowledgement", func() bool { return edge.pending() == 0 })
	n.audited(t, "firewall-repaired", 2)
	n.audited(t, string(cluster.KindReportMesh), 1)
	n.stop(t)
}

// node is this node's status.
func (n *testNode) node(t *testing.T) cluster.NodeStatus {
	t.Helper()
	status, err := n.client.Status(t.Context())
	check(t, err)
	if len(status.Nodes) == 0 {
		return cluster.NodeStatus{}
	}
	return status.Nodes[0]
}

// audited counts audit entries of a type.
func (n *testNode) audited(t *testing.T, kind string, want int) {
	t.Helper()
	var got []string
	check(t, n.client.Audit(t.Context(), rpc.AuditRequest{Type: kind}, func(r cluster.AuditRecord) error {
		got = append(got, r.Message)
		return nil
	}))
	if len(got) != want {
		t.Errorf("the audit log has %d of %s, want %d: %q", len(got), kind, want, got)
	}
}

// TestJoinLooksAtRoutesFirst: a node whose routes are in the way is refused, and
// the token is still good once they are gone.
func TestJoinLooksAtRoutesFirst(t *testing.T) {
	one, two := newTestNode(t), newTestNode(t)
	two.config.Name = "n2"
	one.start(t)
	alice := rig.Must[*rig.Key](t)(rig.StartGit(t).NewSSHKey(t.Context(), "alice", "ed25519"))
	_, err := one.client.Init(t.Context(), &rpc.InitRequest{
		ClusterName: "test", Signers: []rpc.Signer{{Name: "alice", Key: []byte(alice.Public)}}, Pool: netip.MustParsePrefix("10.128.0.0/12"),
	})
	check(t, err)
	one.leads(t)
	token, err := one.client.IssueToken(t.Context(), cluster.TokenJoin, time.Hour)
	check(t, err)

	two.conflicts = []string{"10.130.0.0/16 via eth0", "10.131.7.0/24 via br-1a2b"}
	two.start(t)
	join := &rpc.JoinClusterRequest{Server: one.config.Listen, Token: token.Token}
	_, err = two.client.JoinCluster(t.Context(), join)
	if err == nil || !strings.Contains(err.Error(), "10.128.0.0/12, overlap with what this host reaches otherwise: 10.130.0.0/16 via eth0, 10.131.7.0/24 via br-1a2b") ||
		!strings.Contains(err.Error(), "the token is still good") {
		t.Errorf("a node with routes in the pool: %v", err)
	}
	if got := names(t, two.config.DataDir); len(got) != 1 || got[0] != "lock" {
		t.Errorf("a refused join leaves %q", got)
	}
	two.conflicts = nil
	_, err = two.client.JoinCluster(t.Context(), join)
	check(t, err)
	_, err = two.client.JoinCluster(t.Context(), join)
	if err == nil || errors.Is(err, cluster.ErrToken) {
		t.Errorf("a second join: %v", err)
	}

	// The leader hears of the other's peers in one heartbeat, and keeps that.
	edge := startEdge(t, two.config.Edge.Socket)
	edge.say(func(r *cluster.EdgeReport) {
		r.PublicKey = []byte(strings.Repeat("b", 32))
		r.PeersAt, r.Peers = 1, []cluster.PeerStatus{{Node: "n1", MTU: 1420}}
	})
	other := func() cluster.NodeStatus {
		status, err := one.client.Status(t.Context())
		check(t, err)
		return status.Nodes[len(status.Nodes)-1]
	}
	one.eventually(t, "the other's peers", func() bool { return len(other().Peers) == 1 && other().WireGuard == "userspace" })
	edge.say(func(r *cluster.EdgeReport) { r.Firewall.Generation = 9 })
	one.eventually(t, "another heartbeat", func() bool { return other().Firewall.Generation == 9 })
	if n := other(); n.Name != "n2" || len(n.Peers) != 1 {
		t.Errorf("after a heartbeat without news: %+v", n)
	}
	two.stop(t)
	one.stop(t)
}
