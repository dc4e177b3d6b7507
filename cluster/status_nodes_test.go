package cluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// grown returns a cluster with a node in every state: n1 leads, n2 answers.
func grown(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	first := testInit()
	first.Node = testNode("n1")
	r.must(first)
	for name, n := range map[string]Node{
		"n2": {State: NodeReady},
		"n3": {State: NodeDown, Reason: "does not answer since 2026-03-01T11:58:00Z, nor to node n2"},
		"n4": {State: NodeSuspect, Reason: "no heartbeat since 2026-03-01T12:00:00Z"},
		"n5": {State: NodeNotReady, Reason: "jacod is stopping"},
	} {
		full := testNode(name)
		full.State, full.Reason = n.State, n.Reason
		r.must(&UpdateNode{Node: full})
	}
	return r
}

// heard is what the leader of grown knows.
func heard(index uint64) *LeaderStatus {
	cpu, memory := 12.5, 0.25
	beat := func(index uint64) NodeSoft {
		return NodeSoft{Heartbeat: Heartbeat{Commit: newCommit, Claim: 7, Index: index, Ready: true}, Age: 400 * time.Millisecond}
	}
	nodes := map[string]NodeSoft{"n1": beat(index - 1), "n2": beat(index), "n3": beat(index - 4), "n4": beat(index), "n5": beat(index)}
	n1, n3, n4 := nodes["n1"], nodes["n3"], nodes["n4"]
	n1.CPUPressure, n1.MemoryPressure, n1.ClockOffset = &cpu, &memory, 1500600*time.Microsecond
	n3.Age, n3.Refusal = 2*time.Hour, "unsigned: of the time before"
	n4.Age = 4900 * time.Millisecond
	nodes["n1"], nodes["n3"], nodes["n4"] = n1, n3, n4
	return &LeaderStatus{Leader: "n1", Index: index, Nodes: nodes, Head: newCommit, FetchedAt: start}
}

func threeVoters() map[string]bool {
	return map[string]bool{"n1": true, "n2": true, "n3": true, "n4": false}
}

// TestStatusDocument pins the whole document of a cluster with something of
// everything, as a node shows it with a leader and without.
func TestStatusDocument(t *testing.T) {
	r := newRig(t)
	first := testInit()
	first.Node = testNode("n1")
	r.must(first)
	for _, name := range []string{"n2", "n3"} {
		r.must(&UpdateNode{Node: testNode(name)})
	}
	r.must(&SetSync{State: SyncSynced, Head: newCommit})
	r.must(&ApplyPlan{Services: []Service{{Deployment: "shop", Name: "api", NextSerial: 9, Rollout: Rollout{State: RolloutDone, SpecHash: "2"}}}})
	for slot, node := range []string{"n1", "n3"} {
		replica := testReplica(slot+1, uint64(slot+1))
		replica.SpecHash, replica.Revision, replica.Node = "2", newCommit, node
		r.must(&ApplyPlan{Create: []Replica{replica}})
		r.must(&ReportReplicas{Node: node, Reports: []ReplicaReport{{ID: replica.ID, Phase: Healthy, ContainerID: "c" + node, StartedAt: start}}})
	}
	down := testNode("n3")
	down.State, down.Reason = NodeDown, "does not answer since 2026-03-01T12:00:06Z, nor to node n2"
	r.must(&UpdateNode{Node: down})
	lost := testReplica(2, 2)
	r.must(&ApplyPlan{Lose: []string{lost.ID}})
	r.converged(newCommit)

	view := viewOf(accepted(newCommit, spec("api", "2")))
	view.Cluster.Nodes = map[string]desired.NodeSettings{"n1": {Labels: map[string]string{"zone": "a"}}, "n3": {Availability: desired.NodeRemoved}}
	input := StatusInput{
		Snapshot: r.state.Read(), View: view, Health: map[string]DeploymentHealth{"shop": {HealthProgressing, "api: 1 of 2 healthy"}},
		Soft: SoftStatus{
			Node: "n2", Version: "v1", Leader: "n1", Term: 3, Quorum: true, FromLeader: heard(r.index + 2),
			Voters: map[string]bool{"n1": true, "n2": true, "n3": true},
		},
	}
	compare(t, "testdata/status.json", BuildStatus(input))
	input.Soft.Leader, input.Soft.Quorum, input.Soft.FromLeader = "", false, nil
	compare(t, "testdata/status-leaderless.json", BuildStatus(input))
}

// TestStatusNodes shows each state with its reason, as n2 does.
func TestStatusNodes(t *testing.T) {
	r := grown(t)
	input := StatusInput{
		Snapshot: r.state.Read(), View: viewOf(nil),
		Soft: SoftStatus{Node: "n2", Leader: "n1", Quorum: true, Voters: threeVoters(), FromLeader: heard(r.index)},
	}
	type row struct {
		Name, Role, State, Availability, Accepted, Reason string
		Lag                                               uint64
	}
	known := newCommit.String()
	want := []row{
		{"n1", "voter", "Ready", "active", known, "", 0}, // it leads: its heartbeat is as old as any
		{"n2", "voter", "Ready", "active", known, "", 0},
		{"n3", "voter", "Down", "active", known, "does not answer since 2026-03-01T11:58:00Z, nor to node n2; its replicas run elsewhere; " +
			"start it, or remove it with a signed nodes.n3.availability: removed", 4},
		{"n4", "non-voter", "Suspect", "active", known, "no heartbeat for 4s", 0},
		{"n5", "non-voter", "NotReady", "active", known, "jacod is stopping; nothing moves while it restarts", 0},
	}
	var got []row
	status := BuildStatus(input)
	for _, n := range status.Nodes {
		got = append(got, row{n.Name, n.Role, string(n.State), n.Availability, n.Accepted, n.Reason, *n.Lag})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if status.Cluster.Ready != 2 || status.Cluster.Nodes != 5 || status.Cluster.Voters != 3 {
		t.Errorf("cluster %+v", status.Cluster)
	}
	n1 := status.Nodes[0]
	if *n1.Index != r.index-1 || *n1.HeartbeatAge != 0.4 || *n1.ClockOffset != 1.501 || *n1.CPUPressure != 12.5 || *n1.MemoryPressure != 0.25 {
		t.Errorf("n1 %+v", n1)
	}

	input.Soft.FromLeader = heard(r.index - 1) // as it was an entry ago
	if ahead := BuildStatus(input).Nodes[1]; *ahead.Index != r.index || *ahead.Lag != 0 {
		t.Errorf("ahead of what the leader said n2 lags by %d", *ahead.Lag)
	}
	input.Soft.FromLeader = nil // then each node knows itself alone
	for _, n := range BuildStatus(input).Nodes {
		if n.Lag != nil || n.HeartbeatAge != nil || n.ClockOffset != nil || n.CPUPressure != nil || n.MemoryPressure != nil {
			t.Errorf("without a leader: %+v", n)
		}
		if own := n.Name == "n2"; own != (n.Accepted != "") || own != (n.Index != nil) || own && *n.Index != r.index {
			t.Errorf("without a leader: %+v", n)
		}
		if n.Name == "n4" && n.Reason != "no heartbeat since 2026-03-01T12:00:00Z" {
			t.Errorf("without a leader n4 is silent: %s", n.Reason)
		}
	}
}

// TestStatusNodeReasons: what a person can act on is in the reason of the node,
// and said once.
func TestStatusNodeReasons(t *testing.T) {
	refused := viewOf(nil)
	refused.Refusal = &signing.Refusal{Reason: signing.ReasonUnsigned, Detail: "it has no signature"}
	removed := viewOf(nil)
	removed.Cluster.Nodes = map[string]desired.NodeSettings{"n1": {Availability: desired.NodeRemoved, Labels: map[string]string{"a": "b"}}}
	const leaves = "a signed commit removes it: it leaves once a leader has taken that up"
	ready := func(change func(*NodeSoft)) *NodeSoft {
		soft := NodeSoft{Heartbeat: Heartbeat{Claim: 7}}
		change(&soft)
		return &soft
	}
	for _, test := range []struct {
		name    string
		node    Node
		soft    SoftStatus
		heard   *NodeSoft
		view    *View
		waiting bool // a replica is still its
		state   NodeState
		want    string
	}{
		{name: "ready", node: Node{State: NodeReady}, state: NodeReady},
		{name: "ready, with a clock", node: Node{State: NodeReady, Reason: "its clock is 1h0m0s ahead"}, state: NodeReady, want: "its clock is 1h0m0s ahead"},
		{name: "no engine", node: Node{State: NodeNotReady, Reason: "the engine does not answer"}, state: NodeNotReady, want: "the engine does not answer"},
		{name: "unheard", node: Node{State: NodeNotReady}, state: NodeNotReady, want: "it has not said yet that it can run anything"},
		{name: "reached by another", node: Node{State: NodeSuspect, Reason: "node n2 reaches it, the leader does not"}, heard: ready(func(*NodeSoft) {}),
			state: NodeSuspect, want: "node n2 reaches it, the leader does not"},
		{name: "down, with a replica that waits", node: Node{State: NodeDown, Reason: "does not answer since T"}, waiting: true, state: NodeDown,
			want: "does not answer since T; 1 of its replicas waits for it, or for another place; start it, or remove it with a signed nodes.n1.availability: removed"},
		{name: "down, without a reason", node: Node{State: NodeDown, Reason: "gone"}, state: NodeDown,
			want: "does not answer since 2026-03-01T12:00:02Z; gone; its replicas run elsewhere; start it, or remove it with a signed nodes.n1.availability: removed"},
		{name: "down and removed", node: Node{State: NodeDown, Reason: "does not answer since T"}, view: removed, state: NodeDown,
			want: "does not answer since T; its replicas run elsewhere; " + leaves},
		{name: "removed", node: Node{State: NodeReady}, view: removed, state: NodeReady, want: leaves},
		{name: "refuses", node: Node{State: NodeReady}, heard: ready(func(s *NodeSoft) { s.Refusal = "unsigned: it has no signature" }), state: NodeReady,
			want: "refuses claim 7: unsigned: it has no signature"},
		{name: "refuses, itself", node: Node{State: NodeReady}, soft: SoftStatus{Node: "n1"}, view: refused, state: NodeReady,
			want: "refuses claim 7: unsigned: it has no signature"},
		{name: "follows again, itself", node: Node{State: NodeReady}, soft: SoftStatus{Node: "n1"}, view: viewOf(nil),
			heard: ready(func(s *NodeSoft) { s.Refusal = "unsigned: a second ago" }), state: NodeReady},
		{name: "lags", node: Node{State: NodeReady}, heard: ready(func(s *NodeSoft) { s.Index = 499 }), state: NodeReady, want: "is 501 entries behind the leader"},
		{name: "lags a little", node: Node{State: NodeReady}, heard: ready(func(s *NodeSoft) { s.Index = 500 }), state: NodeReady},
		{name: "disk full", node: Node{State: NodeReady}, soft: SoftStatus{Node: "n1", Fault: "disk full"}, view: refused, state: NodeNotReady,
			want: "disk full; refuses claim 7: unsigned: it has no signature"},
		{name: "disk full, and recorded", node: Node{State: NodeNotReady, Reason: "disk full; no engine"}, soft: SoftStatus{Node: "n1", Fault: "disk full"},
			state: NodeNotReady, want: "disk full; no engine"},
		{name: "disk full elsewhere", node: Node{State: NodeReady}, soft: SoftStatus{Node: "n2", Fault: "disk full"}, state: NodeReady},
		{name: "contradicts the checkpoint", node: Node{State: NodeReady}, soft: SoftStatus{Node: "n1", Problem: "another history", Fault: "disk full"},
			state: NodeNotReady, want: "disk full; another history"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			first := testInit()
			first.Node = testNode("n1")
			r.must(first)
			first.Node.State, first.Node.Reason = test.node.State, test.node.Reason
			r.must(&UpdateNode{Node: first.Node})
			if test.waiting {
				replica := testReplica(1, 1)
				replica.Node = "n1"
				r.must(&ApplyPlan{Create: []Replica{replica}})
			}
			if test.heard != nil {
				if test.heard.Index == 0 {
					test.heard.Index = 1000
				}
				test.soft.FromLeader = &LeaderStatus{Leader: "n9", Index: 1000, Nodes: map[string]NodeSoft{"n1": *test.heard}}
				if test.soft.Node == "n1" {
					test.soft.FromLeader.Index = r.index
				}
			}
			got := BuildStatus(StatusInput{Snapshot: r.state.Read(), View: test.view, Soft: test.soft}).Nodes[0]
			if got.State != test.state || got.Reason != test.want {
				t.Errorf("%s: %q\nwant %s: %q", got.State, got.Reason, test.state, test.want)
			}
			if test.view == removed && (got.Availability != "removed" || got.Labels["a"] != "b") {
				t.Errorf("availability %s, labels %v", got.Availability, got.Labels)
			}
		})
	}
}

func TestStatusWarnings(t *testing.T) {
	set := func(names ...string) map[string]bool {
		voters := map[string]bool{}
		for _, name := range names {
			voters[name] = true
		}
		return voters
	}
	pause := &LeaderStatus{MassLossUntil: start.Add(2 * time.Minute)}
	for _, test := range []struct {
		name  string
		nodes string // of n1 to n5 in grown's order, those that are members: "n1 n2 n3!" (! is Down)
		soft  SoftStatus
		want  []string
	}{
		{"whole", "n1 n2 n3", SoftStatus{Quorum: true, Voters: set("n1", "n2", "n3")}, nil},
		{"voters not known", "n1", SoftStatus{Quorum: true}, nil},
		{"one of one", "n1", SoftStatus{Quorum: true, Voters: set("n1")}, []string{"1 of 1 voters: losing n1 stops all changes; add two nodes"}},
		{"one of two nodes", "n1 n2", SoftStatus{Quorum: true, Voters: set("n1")}, []string{"1 of 1 voters: losing n1 stops all changes; add one node"}},
		{"two of two nodes", "n1 n2", SoftStatus{Quorum: true, Voters: set("n1", "n2")}, []string{"2 of 2 voters: losing n1 or n2 stops all changes; add one node"}},
		{"one of three nodes", "n1 n2 n3", SoftStatus{Quorum: true, Voters: set("n1")},
			[]string{"1 of 1 voters: losing n1 stops all changes; the next nodes vote once they have caught up"}},
		{"one of three voters is down", "n1 n2 n3!", SoftStatus{Quorum: true, Voters: set("n1", "n2", "n3")},
			[]string{"2 of 3 voters answer: losing n1 or n2 stops all changes; start n3, or add a node that takes over"}},
		{"one of five voters is down", "n1 n2 n3! n4 n5", SoftStatus{Quorum: true, Voters: set("n1", "n2", "n3", "n4", "n5")}, nil},
		{"a non-voter is down", "n1 n2 n3 n4!", SoftStatus{Quorum: true, Voters: set("n1", "n2", "n3")}, nil},
		{"no leader", "n1 n2 n3", SoftStatus{Node: "n2", Voters: set("n1", "n2", "n3")}, []string{"no leader: nothing can change until " +
			"1 more of the voters n1, n3 answers; what runs keeps running; this is the state of node n2 as of AT (index INDEX)"}},
		{"no leader of five", "n1 n2 n3", SoftStatus{Node: "n2", Voters: set("n1", "n2", "n3", "n4", "n5")}, []string{"no leader: nothing can change until " +
			"2 more of the voters n1, n3, n4, n5 answer; what runs keeps running; this is the state of node n2 as of AT (index INDEX)"}},
		{"no leader, as a non-voter sees it", "n1 n2 n3 n4", SoftStatus{Node: "n4", Voters: set("n1", "n2", "n3")}, []string{"no leader: nothing can change until " +
			"2 of the voters n1, n2, n3 answer; what runs keeps running; this is the state of node n4 as of AT (index INDEX)"}},
		{"no leader of one", "n1", SoftStatus{Node: "n1", Voters: set("n1")}, []string{"no leader: nothing can change until " +
			"this node, the only voter, leads again; what runs keeps running; this is the state of node n1 as of AT (index INDEX)"}},
		{"no leader, voters not known", "n1", SoftStatus{Node: "n1"}, []string{"no leader: nothing can change until " +
			"most of the voters answer; what runs keeps running; this is the state of node n1 as of AT (index INDEX)"}},
		{"mass loss", "n1 n2 n3! n4! n5", SoftStatus{Quorum: true, Voters: set("n1", "n2", "n5"), FromLeader: pause},
			[]string{"nodes n3, n4 went down at once, which looks like a broken network: their replicas stay where they are until 2026-03-01T12:02:00Z"}},
		{"mass loss to come", "n1 n2 n3! n4 n5", SoftStatus{Quorum: true, Voters: set("n1", "n2", "n5"), FromLeader: pause},
			[]string{"node n3 went down and others are silent, which looks like a broken network: their replicas stay where they are until 2026-03-01T12:02:00Z"}},
		{"mass loss before it is recorded", "n1 n2 n3", SoftStatus{Quorum: true, FromLeader: pause},
			[]string{"nodes fell silent at once, which looks like a broken network: their replicas stay where they are until 2026-03-01T12:02:00Z"}},
		{"mass loss beside one that is down for long", "n1 n2 n3! n4! n5", SoftStatus{Quorum: true, FromLeader: &LeaderStatus{MassLossUntil: start.Add(time.Hour)}},
			[]string{"nodes fell silent at once, which looks like a broken network: their replicas stay where they are until 2026-03-01T13:00:00Z"}},
		{"another history", "n1 n2 n3", SoftStatus{Node: "n3", Quorum: true, Problem: "claim 3 contradicts the checkpoint", Voters: set("n1", "n2", "n3")},
			[]string{"node n3 does not follow the log: claim 3 contradicts the checkpoint"}},
		{"misled", "n1 n2 n3", SoftStatus{Node: "n3", Quorum: true, Misled: "claim 4 refused (unsigned): no signature", Voters: set("n1", "n2", "n3")},
			[]string{"node n3 refused what a leader gave it: claim 4 refused (unsigned): no signature; " +
				"find out which node lied and replace it (jaco audit --type leader-misbehaviour; docs/trust.md)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			for i, name := range strings.Fields(test.nodes) {
				name, down := strings.CutSuffix(name, "!")
				n := testNode(name)
				if down {
					n.State = NodeDown
				}
				if i == 0 {
					first := testInit()
					first.Node = n
					r.must(first)
					continue
				}
				r.must(&UpdateNode{Node: n})
			}
			want := []string{}
			for _, text := range test.want {
				text = strings.NewReplacer("AT", r.now.Format(time.RFC3339), "INDEX", string(rune('0'+r.index))).Replace(text)
				want = append(want, text)
			}
			got := BuildStatus(StatusInput{Snapshot: r.state.Read(), Soft: test.soft}).Cluster
			if diff := cmp.Diff(want, got.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if got.Quorum != test.soft.Quorum || got.Node != test.soft.Node {
				t.Errorf("cluster %+v", got)
			}
		})
	}
	got := BuildStatus(StatusInput{Snapshot: newRig(t).state.Read(), Soft: SoftStatus{Node: "n1"}}).Cluster.Warnings
	if len(got) != 1 || !strings.HasSuffix(got[0], "this is the state of node n1 (index 0)") {
		t.Errorf("before there is a cluster: %q", got)
	}
}

// TestStatusLost: a lost replica is shown with its node until another one runs
// in its slot.
func TestStatusLost(t *testing.T) {
	r := initialized(t)
	lost := r.replicaAt(1, 1, "2", ReplicaReport{Phase: Healthy})
	r.replicaAt(2, 2, "2", ReplicaReport{Phase: Healthy})
	down := testNode("node-1")
	down.State = NodeDown
	r.must(&UpdateNode{Node: down})
	r.must(&ApplyPlan{Lose: []string{lost.ID}})
	next := testReplica(1, 3)
	next.SpecHash, next.Node = "2", "node-2"
	r.must(&ApplyPlan{Create: []Replica{next}})
	replicas := func() []string {
		var out []string
		for _, replica := range r.status(viewOf(accepted(newCommit, spec("api", "2")))).Deployments[0].Services[0].Replicas {
			out = append(out, replica.Node+" "+string(replica.Phase))
		}
		return out
	}
	if got, want := replicas(), []string{"node-1 Lost", "node-2 Assigned", "node-1 Healthy"}; !slices.Equal(got, want) {
		t.Errorf("before it is replaced: %q, want %q", got, want)
	}
	r.must(&ReportReplicas{Node: "node-2", Reports: []ReplicaReport{{ID: next.ID, Phase: Running}}})
	if got, want := replicas(), []string{"node-2 Running", "node-1 Healthy"}; !slices.Equal(got, want) {
		t.Errorf("after: %q, want %q", got, want)
	}
}

// TestStatusCountsNoReplicaOfADownNode: what a node said before it went down
// counts no more; what one that is merely silent said still does.
func TestStatusCountsNoReplicaOfADownNode(t *testing.T) {
	r := initialized(t)
	for i, state := range []NodeState{NodeReady, NodeSuspect, NodeDown} {
		n := testNode("node-" + string(rune('1'+i)))
		r.must(&UpdateNode{Node: n})
		replica := testReplica(i+1, uint64(i+1))
		replica.SpecHash, replica.Node = "2", n.Name
		r.must(&ApplyPlan{Create: []Replica{replica}})
		r.must(&ReportReplicas{Node: n.Name, Reports: []ReplicaReport{{ID: replica.ID, Phase: Healthy}}})
		n.State = state
		r.must(&UpdateNode{Node: n})
	}
	got := r.status(viewOf(accepted(newCommit, spec("api", "2")))).Deployments[0].Services[0]
	if got.Running != 2 || got.Healthy != 2 || got.Updated != 2 || len(got.Replicas) != 3 {
		t.Errorf("running %d, healthy %d, updated %d of %d shown", got.Running, got.Healthy, got.Updated, len(got.Replicas))
	}
}

func TestRefusalText(t *testing.T) {
	v := viewOf(nil)
	if got := v.RefusalText() + (*View)(nil).RefusalText(); got != "" {
		t.Errorf("who follows says %q", got)
	}
	v.Refusal = &signing.Refusal{Reason: signing.ReasonMerge, Detail: "two bases"}
	if got := v.RefusalText(); got != "merge: two bases" {
		t.Errorf("refusal %q", got)
	}
}

// TestStatusOfRemovedNode: a node that knows that it was removed does not wait
// for voters that will never answer it.
func TestStatusOfRemovedNode(t *testing.T) {
	view := &View{Cluster: desired.Cluster{Nodes: map[string]desired.NodeSettings{"n2": {Availability: desired.NodeRemoved}}}}
	warned := func(node string, quorum bool) string {
		soft := SoftStatus{Node: node, Quorum: quorum, Voters: map[string]bool{"n1": true, "n3": true, "n4": true}}
		return strings.Join(BuildStatus(StatusInput{Snapshot: grown(t).state.Read(), View: view, Soft: soft}).Cluster.Warnings, "\n")
	}
	if got := warned("n2", false); !strings.HasPrefix(got, "a signed commit removed node n2 from the cluster") || strings.Contains(got, "no leader") {
		t.Errorf("the removed node says %q", got)
	}
	if got := warned("n1", false); !strings.HasPrefix(got, "no leader") {
		t.Errorf("another node says %q", got)
	}
	if got := warned("n2", true); strings.Contains(got, "removed node") {
		t.Errorf("a node that has not left yet says %q", got)
	}
}
