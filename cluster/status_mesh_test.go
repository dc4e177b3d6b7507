package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// meshed is what the leader heard of the mesh of the nodes of grown: n1 and n2
// lose full-size packets between each other, and nobody reaches n3, which is
// Down, nor n4, which is Suspect.
func meshed(index uint64) *LeaderStatus {
	soft := heard(index)
	silent := []PeerStatus{
		{Node: "n3", HandshakeAge: 500, Mode: "kernel", Reason: "it does not answer"},
		{Node: "n4", HandshakeAge: 7, Mode: "kernel", Reason: "it does not answer"},
	}
	for name, peers := range map[string][]PeerStatus{
		"n1": append([]PeerStatus{{Node: "n2", HandshakeAge: 3, RTT: 0.5, MTU: 1280, Mode: "kernel", Reason: "packets of 1420 bytes are lost"}}, silent...),
		"n2": append([]PeerStatus{{Node: "n1", HandshakeAge: 3, RTT: 0.5, MTU: 1280, Mode: "kernel", Reason: "packets of 1420 bytes get lost"}}, silent...),
		"n3": {{Node: "n1", HandshakeAge: -1, Reason: "it does not answer"}}, // said before it was lost
	} {
		node := soft.Nodes[name]
		node.Mesh = &MeshBeat{Mode: "kernel", Firewall: FirewallStatus{Ready: true, Generation: 4}, PeersAt: 9, Peers: peers}
		soft.Nodes[name] = node
	}
	n5 := soft.Nodes["n5"]
	n5.Mesh = &MeshBeat{Firewall: FirewallStatus{Reason: "the edge does not answer: connection refused"}}
	soft.Nodes["n5"] = n5
	return soft
}

func TestStatusNamesBrokenPairs(t *testing.T) {
	r := grown(t)
	input := StatusInput{
		Snapshot: r.state.Read(), View: viewOf(nil),
		Soft: SoftStatus{Node: "n5", Leader: "n1", Quorum: true, Voters: threeVoters(), FromLeader: meshed(r.index)},
	}
	status := BuildStatus(input)
	reasons := map[string]string{}
	for _, n := range status.Nodes {
		reasons[n.Name] = n.Reason
		if n.Name != "n4" && n.Firewall == nil || n.Name == "n4" && (n.Firewall != nil || n.WireGuard != "" || n.Peers == nil || len(n.Peers) > 0) {
			t.Errorf("node %s: %+v", n.Name, n)
		}
	}
	if reasons["n1"] != "n1 ↔ n2: packets of 1420 bytes are lost" || reasons["n2"] != "n2 ↔ n1: packets of 1420 bytes get lost" ||
		strings.Contains(reasons["n3"], "↔") ||
		reasons["n5"] != "jacod is stopping; nothing moves while it restarts; no container starts: the edge does not answer: connection refused" {
		t.Errorf("reasons: %q", reasons)
	}
	var warnings []string
	for _, w := range status.Cluster.Warnings {
		if strings.HasPrefix(w, "the mesh") {
			warnings = append(warnings, w)
		}
	}
	if diff := cmp.Diff([]string{"the mesh is broken between n1 ↔ n2: packets of 1420 bytes are lost"}, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}

	// The answering node knows its own edge itself, without a leader too.
	input.Soft.FromLeader = nil
	input.Soft.Mesh = &MeshBeat{Mode: "userspace", Firewall: FirewallStatus{Ready: true, Generation: 5}, PeersAt: 1, Peers: []PeerStatus{{Node: "n2"}, {Node: "n1"}}}
	for _, n := range BuildStatus(input).Nodes {
		if own := n.Name == "n5"; own != (n.Firewall != nil) || own && (n.WireGuard != "userspace" || n.Firewall.Generation != 5 || n.Peers[0].Node != "n1") {
			t.Errorf("without a leader, node %s: %+v", n.Name, n)
		}
	}
}

// TestManyBrokenPairsAreOneWarning: where a whole network is broken, its pairs are
// counted.
func TestManyBrokenPairsAreOneWarning(t *testing.T) {
	r := newRig(t)
	r.must(testInit())
	var nodes []NodeStatus
	for i := range 8 {
		name := fmt.Sprintf("m%d", i)
		r.must(&UpdateNode{Node: testNode(name)})
		n := NodeStatus{Name: name}
		for j := range 8 {
			if i != j {
				n.Peers = append(n.Peers, PeerStatus{Node: fmt.Sprintf("m%d", j), Reason: "it does not answer"})
			}
		}
		nodes = append(nodes, n)
	}
	got := pairWarnings(StatusInput{Snapshot: r.state.Read()}, nodes)
	if len(got) != maxPairWarnings+1 || !strings.Contains(got[maxPairWarnings], fmt.Sprintf("%d more pairs", 8*7/2-maxPairWarnings)) {
		t.Errorf("28 broken pairs warn:\n%s", strings.Join(got, "\n"))
	}
}

// TestPeersAreToldOnce: of a round of probes one heartbeat to each leader tells,
// and the leader keeps it.
func TestPeersAreToldOnce(t *testing.T) {
	full := &MeshBeat{Mode: "kernel", Firewall: FirewallStatus{Ready: true, Generation: 4}, PeersAt: 7}
	for i := range 1000 {
		p := PeerStatus{Node: fmt.Sprintf("node-%03d", 999-i), HandshakeAge: 3, RTT: 0.25, MTU: 1420, Mode: "kernel"}
		if p.Node == "node-500" {
			p.Reason = "it does not answer"
		}
		full.Peers = append(full.Peers, p)
	}
	first, later := full.Told(-1), full.Told(7)
	if len(first.Peers) != MaxPeersTold || !slices.IsSortedFunc(first.Peers, func(a, b PeerStatus) int { return strings.Compare(a.Node, b.Node) }) ||
		first.Peers[0].Node != "node-000" || first.Peers[MaxPeersTold-1].Node != "node-500" {
		t.Errorf("of 1000 peers %d are told: %+v", len(first.Peers), first.Peers)
	}
	if full.Peers[0].Node != "node-999" || len(full.Peers) != 1000 {
		t.Error("what the node knows was changed by telling it")
	}
	if data, err := json.Marshal(later); err != nil || len(data) > 128 {
		t.Errorf("a heartbeat without news has %d bytes: %s, %v", len(data), data, err)
	}

	l, err := NewLiveness(livenessOf("n1"), start)
	if err != nil {
		t.Fatal(err)
	}
	heard := func(beat *MeshBeat) *MeshBeat {
		l.Beat(Heartbeat{Node: "n2", Ready: true, Mesh: beat, SentAt: start}, start)
		return l.Soft(start)["n2"].Mesh
	}
	if got := heard(first); len(got.Peers) != MaxPeersTold {
		t.Errorf("the leader heard of %d peers", len(got.Peers))
	}
	if got := heard(later); len(got.Peers) != MaxPeersTold || later.Peers != nil {
		t.Errorf("after a heartbeat without news the leader knows of %d peers", len(got.Peers))
	}
	next := *full
	next.PeersAt, next.Peers = 8, full.Peers[:2]
	if got := heard(next.Told(7)); len(got.Peers) != 2 {
		t.Errorf("after another round the leader knows of %d peers", len(got.Peers))
	}
	gone := MeshBeat{Firewall: FirewallStatus{Reason: "the edge does not answer"}}
	if got := heard(gone.Told(8)); len(got.Peers) != 0 {
		t.Errorf("without an edge the leader knows of %d peers", len(got.Peers))
	}
	if got := heard(nil); got != nil {
		t.Errorf("a node without an edge has %+v", got)
	}
}

func livenessOf(leader string) LivenessConfig {
	config := DefaultLivenessConfig()
	config.Self = leader
	return config
}
