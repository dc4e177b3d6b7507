package main

import (
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// fullStatus has a value in every field, so that the golden file shows all of
// them. Everything in it is converged.
func fullStatus() *cluster.Status {
	at := noon
	cpu, memory, age, offset := 12.5, 40.25, 0.4, -1.25
	index, lag := uint64(40), uint64(2)
	return &cluster.Status{
		Cluster: cluster.ClusterStatus{
			ID: "0123456789abcdef", Name: "test", Version: "v1.2.3", Node: "node-1", Leader: "node-1", Term: 3, Index: 42, Quorum: true, Voters: 1,
			Nodes: 2, Ready: 1, Warnings: []string{},
		},
		Sync: cluster.SyncStatus{
			Repo: "https://git.example.com/fleet.git", Branch: "main", State: cluster.SyncSynced, Head: commitB, Accepted: commitB,
			Claim: 7, Anchor: commitC, FetchedAt: &at, Signers: []string{"alice"}, Pending: []cluster.PendingStatus{}, Refused: []cluster.RefusalStatus{},
		},
		Deployments: []cluster.DeploymentState{
			{
				Name: "blog", Revision: commitB, Target: commitB, Signers: []string{"alice"}, Sync: cluster.AxisSynced, Health: cluster.HealthHealthy,
				Services: []cluster.ServiceStatus{},
			},
			{
				Name: "shop", Revision: commitB, Target: commitB, Signers: []string{"alice", "bob"}, Sync: cluster.AxisSynced, Health: cluster.HealthHealthy,
				Services: []cluster.ServiceStatus{shopAPI(at), {Name: "db", Mode: "replicated", Image: "db:1", Replicas: []cluster.ReplicaStatus{}}},
			},
		},
		Nodes: []cluster.NodeStatus{
			{
				Name: "node-1", Address: "10.0.0.1:7000", Role: "voter", State: cluster.NodeReady, Availability: "active",
				Labels: map[string]string{"ssd": "true", "zone": "a"}, Version: "v1.2.3", Replicas: 1, CPUPressure: &cpu, MemoryPressure: &memory,
				Accepted: commitB, Index: &index, Lag: &lag, HeartbeatAge: &age, ClockOffset: &offset, Firewall: &cluster.FirewallStatus{Ready: true, Generation: 4},
				Peers: []cluster.PeerStatus{{Node: "node-2", HandshakeAge: 1.5, RTT: 0.25, MTU: 1420}},
			},
			{
				Name: "node-2", Address: "10.0.0.2:7000", Role: "non-voter", State: cluster.NodeNotReady, Availability: "active",
				Labels: map[string]string{}, Peers: []cluster.PeerStatus{}, Reason: "the engine does not answer",
			},
		},
		Routes: []cluster.RouteStatus{{
			Domain: "shop.example.com", Path: "/", Listen: "443/tcp", Deployment: "shop", Service: "api", Port: 8080, TLS: "auto", Endpoints: 1, Ready: true,
		}},
		Certificates: []cluster.CertificateStatus{{Domain: "shop.example.com", Issuer: "ACME", NotAfter: &at, State: "valid"}},
	}
}

func shopAPI(at time.Time) cluster.ServiceStatus {
	return cluster.ServiceStatus{
		Name: "api", Mode: "replicated", Image: "shop:2", Digest: "sha256:12", Desired: 1, Running: 1, Healthy: 1, Updated: 1, Rollout: cluster.RolloutDone,
		Replicas: []cluster.ReplicaStatus{{
			ID: "r1abcdefghij", Slot: 1, Node: "node-1", Phase: cluster.Healthy, Revision: commitB, SpecHash: "5bec",
			ContainerID: "c0ffee0123456789", Address: "172.18.0.2", StartedAt: &at,
		}},
	}
}

// states are what the cluster of a script may be in, each as a change to
// fullStatus.
var states = map[string]func(*cluster.Status){
	"converged": func(*cluster.Status) {},
	"signed":    func(*cluster.Status) {},
	"empty": func(s *cluster.Status) {
		s.Deployments = []cluster.DeploymentState{}
	},
	"progressing": progress,
	"refused": func(s *cluster.Status) {
		s.Sync.State, s.Sync.Reason, s.Sync.Accepted = cluster.SyncStalled, "unsigned: commit b2b2b2b2b2b2: it has no signature", commitA
		s.Sync.Refused = []cluster.RefusalStatus{
			{
				Revision: commitC, Reason: "it has no signature", At: noon, Head: commitB, Code: "unsigned",
				Advice: "drop the commit:\n  git rebase --onto c3c3c3c3c3c3^ c3c3c3c3c3c3",
			},
			{Revision: commitA, Reason: "long ago", At: noon.Add(-time.Hour), Head: commitC, Code: "tampered", Advice: "over"},
		}
	},
	"invalid": func(s *cluster.Status) {
		shop(s).Sync, shop(s).Reason = cluster.AxisInvalid, "deployments/shop/compose.yaml:3: services.api.privileged: refused, not planned\ndeployments/shop/compose.yaml:9: more"
	},
	"invalid-cluster": func(s *cluster.Status) {
		s.Sync.Invalid = &cluster.InvalidStatus{Revision: commitB, Reason: "cluster.yaml:1: sync.interval: 1s is not between 5s and 1h0m0s"}
	},
	"paused": func(s *cluster.Status) {
		progress(s)
		shop(s).Health, shop(s).Reason = cluster.HealthDegraded, "api: paused: exited with code 3"
		shop(s).Services[0].Rollout, shop(s).Services[0].Reason = cluster.RolloutPaused, "paused: exited with code 3\nlast line of the log"
		shop(s).Services[0].Replicas[0].Phase, shop(s).Services[0].Replicas[0].Reason = cluster.Failed, "exited with code 3\nlast line of the log"
	},
	"awaiting": func(s *cluster.Status) {
		shop(s).Sync, shop(s).Reason = cluster.AxisAwaitingApproval, "needs one more of bob"
		s.Sync.Pending = []cluster.PendingStatus{{
			Deployment: "shop", Revision: commitB, Have: []string{"alice"}, Need: 2, Eligible: []string{"bob", "carol"},
			Command: "git tag -s approve/shop/1 b2b2b2b2b2b2", Reason: "needs one more",
		}}
	},
	"unreachable": func(s *cluster.Status) {
		s.Sync.State, s.Sync.Reason, s.Sync.FetchedAt = cluster.SyncUnreachable, "repository unreachable: connection refused", nil
	},
	"leaderless": func(s *cluster.Status) {
		s.Cluster.Leader, s.Cluster.Quorum = "", false
		s.Cluster.Warnings = []string{"no leader: nothing can change until 1 more of the voters node-2 answers"}
	},
	"fragile": func(s *cluster.Status) {
		s.Cluster.Warnings = []string{"1 of 1 voters: losing node-1 stops all changes; add one node", "nodes went down at once"}
		offset, memory := 3600.0, 1.5
		n := &s.Nodes[1]
		n.State, n.Availability, n.Reason = cluster.NodeDown, "removed", "does not answer since 2026-11-23T11:58:00Z, nor to node n3; its replicas run elsewhere"
		n.ClockOffset, n.MemoryPressure = &offset, &memory
	},
	"behind": func(s *cluster.Status) { // a head is fetched and not judged yet
		s.Sync.Accepted, s.Sync.State = commitA, cluster.SyncFetching
	},
}

func shop(s *cluster.Status) *cluster.DeploymentState { return &s.Deployments[1] }

func progress(s *cluster.Status) {
	shop(s).Sync, shop(s).Revision = cluster.AxisOutOfSync, commitA
	shop(s).Health, shop(s).Reason = cluster.HealthProgressing, "api: 0 of 1 healthy"
	shop(s).Services[0].Healthy, shop(s).Services[0].Rollout = 0, cluster.RolloutProgressing
}
