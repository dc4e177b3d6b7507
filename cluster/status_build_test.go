package cluster

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

var (
	oldCommit = signing.Hash{1}
	newCommit = signing.Hash{2}
)

// spec is a service whose hash is its version.
func spec(name, version string) desired.Service {
	return desired.Service{
		Name: name, Mode: desired.Replicated, Replicas: 2, SpecHash: version,
		Container: desired.Container{Image: name + ":" + version, Healthcheck: &desired.Healthcheck{Test: []string{"CMD", "true"}}},
	}
}

// accepted is a deployment shop at a revision with services.
func accepted(revision signing.Hash, services ...desired.Service) *Accepted {
	return &Accepted{
		Name: "shop", Revision: revision, Signers: []signing.Approval{{Signer: "alice"}},
		Desired: &desired.Deployment{Name: "shop", Services: services},
	}
}

// viewOf is a view of the deployment shop; nil: of none.
func viewOf(shop *Accepted) *View {
	v := &View{Claim: 7, Commit: newCommit, Anchor: anchorObject().ID, Signers: []string{"alice"}, Deployments: map[string]*Accepted{}}
	if shop != nil {
		v.Deployments["shop"] = shop
	}
	return v
}

// replicaAt is a replica of shop/api that reached a phase.
func (r *rig) replicaAt(slot int, serial uint64, specHash string, reports ...ReplicaReport) Replica {
	r.t.Helper()
	replica := testReplica(slot, serial)
	replica.SpecHash, replica.Revision = specHash, newCommit
	r.must(&ApplyPlan{Create: []Replica{replica}})
	for _, report := range reports {
		report.ID = replica.ID
		r.must(&ReportReplicas{Node: "node-1", Reports: []ReplicaReport{report}})
	}
	return replica
}

func (r *rig) converged(revision signing.Hash) {
	r.t.Helper()
	r.must(&ApplyPlan{Deployments: []DeploymentStatus{{Name: "shop", Converged: revision}}})
}

func (r *rig) status(view *View) *Status {
	r.t.Helper()
	return BuildStatus(StatusInput{Snapshot: r.state.Read(), View: view, Soft: SoftStatus{Node: "node-1"}})
}

func TestStatusAxes(t *testing.T) {
	invalid := &Invalid{Revision: newCommit, Reason: "deployments/shop/compose.yaml:3: no"}
	broken := accepted(oldCommit, spec("api", "1"))
	broken.Invalid = invalid
	waiting := viewOf(accepted(oldCommit, spec("api", "1")))
	waiting.Pending = []signing.Pending{{Unit: "shop", Revision: newCommit, Reason: "needs bob", Command: "git tag"}, {Unit: signing.ClusterUnit, Reason: "root"}}
	both := viewOf(broken)
	both.Pending = waiting.Pending
	fresh := viewOf(nil)
	fresh.Pending = []signing.Pending{{Unit: "shop", Revision: newCommit, Reason: "needs bob", Command: "git tag"}}
	waits := "change " + newCommit.Short() + " waits: needs bob\ngit tag"
	outdated := accepted(oldCommit, spec("api", "1"))
	outdated.Outdated = &Outdated{Reason: "1 of 2 approvals"}
	suspect := accepted(oldCommit, spec("api", "1"))
	suspect.Outdated = &Outdated{Suspect: true, Reason: "laptop lost"}

	for _, test := range []struct {
		name      string
		converged signing.Hash
		view      *View
		health    DeploymentHealth
		want      DeploymentState // without services
	}{
		{"runs what is wanted", newCommit, viewOf(accepted(newCommit, spec("api", "1"))), DeploymentHealth{HealthHealthy, ""},
			DeploymentState{Revision: newCommit.String(), Target: newCommit.String(), Signers: []string{"alice"}, Sync: AxisSynced, Health: HealthHealthy}},
		{"is on its way", oldCommit, viewOf(accepted(newCommit, spec("api", "1"))), DeploymentHealth{HealthProgressing, "api: 1 of 2"},
			DeploymentState{Revision: oldCommit.String(), Target: newCommit.String(), Signers: []string{"alice"}, Sync: AxisOutOfSync, Health: HealthProgressing, Reason: "api: 1 of 2"}},
		{"never ran", signing.Hash{}, viewOf(accepted(newCommit, spec("api", "1"))), DeploymentHealth{},
			DeploymentState{Target: newCommit.String(), Signers: []string{"alice"}, Sync: AxisOutOfSync, Health: HealthMissing}},
		{"does not compile", oldCommit, viewOf(broken), DeploymentHealth{HealthHealthy, ""},
			DeploymentState{Revision: oldCommit.String(), Target: oldCommit.String(), Signers: []string{"alice"}, Sync: AxisInvalid, Health: HealthHealthy, Reason: invalid.Reason}},
		{"never compiled", signing.Hash{}, viewOf(&Accepted{Name: "shop", Invalid: invalid}), DeploymentHealth{HealthMissing, "nothing"},
			DeploymentState{Signers: []string{}, Sync: AxisInvalid, Health: HealthMissing, Reason: invalid.Reason}},
		{"waits for a signature", oldCommit, waiting, DeploymentHealth{HealthHealthy, ""},
			DeploymentState{Revision: oldCommit.String(), Target: oldCommit.String(), Signers: []string{"alice"}, Sync: AxisAwaitingApproval, Health: HealthHealthy, Reason: waits}},
		{"would not be approved again", oldCommit, viewOf(outdated), DeploymentHealth{HealthHealthy, ""},
			DeploymentState{Revision: oldCommit.String(), Target: oldCommit.String(), Signers: []string{"alice"}, Sync: AxisPolicyOutdated, Health: HealthHealthy, Reason: "1 of 2 approvals"}},
		{"was approved with a compromised key", oldCommit, viewOf(suspect), DeploymentHealth{HealthHealthy, ""},
			DeploymentState{Revision: oldCommit.String(), Target: oldCommit.String(), Signers: []string{"alice"}, Sync: AxisSuspect, Health: HealthHealthy, Reason: "laptop lost"}},
		{"does not compile, and waits", oldCommit, both, DeploymentHealth{HealthHealthy, ""},
			DeploymentState{Revision: oldCommit.String(), Target: oldCommit.String(), Signers: []string{"alice"}, Sync: AxisInvalid, Health: HealthHealthy, Reason: invalid.Reason}},
		{"is new and waits", signing.Hash{}, fresh, DeploymentHealth{},
			DeploymentState{Signers: []string{}, Sync: AxisAwaitingApproval, Health: HealthMissing, Reason: waits}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := initialized(t)
			r.converged(test.converged)
			status := BuildStatus(StatusInput{
				Snapshot: r.state.Read(), View: test.view, Health: map[string]DeploymentHealth{"shop": test.health},
			})
			if len(status.Deployments) != 1 {
				t.Fatalf("status shows %+v", status.Deployments)
			}
			got := status.Deployments[0]
			got.Services = nil
			test.want.Name = "shop"
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("deployment (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStatusSignersOnce: who signed many commits of a deployment is one signer.
func TestStatusSignersOnce(t *testing.T) {
	r, shop := initialized(t), accepted(newCommit, spec("api", "1"))
	shop.Signers = []signing.Approval{{Signer: "bob", Key: "1"}, {Signer: "alice", Key: "2"}, {Signer: "bob", Key: "3"}}
	if got := r.status(viewOf(shop)).Deployments[0].Signers; !slices.Equal(got, []string{"alice", "bob"}) {
		t.Errorf("signers %q", got)
	}
}

// TestStatusRemovedDeployment follows a deployment that left the repository.
func TestStatusRemovedDeployment(t *testing.T) {
	r := initialized(t)
	replica := r.replicaAt(1, 1, "1", ReplicaReport{Phase: Healthy})
	status := r.status(viewOf(nil))
	if len(status.Deployments) != 1 || status.Deployments[0].Sync != AxisOutOfSync || status.Deployments[0].Services[0].Desired != 0 {
		t.Fatalf("while a replica is left: %+v", status.Deployments)
	}
	r.must(&ReportReplicas{Node: "node-1", Reports: []ReplicaReport{{ID: replica.ID, Phase: Stopped}}})
	if n := len(r.status(viewOf(nil)).Deployments); n != 1 {
		t.Errorf("a stopped replica's deployment is shown %d times", n)
	}
	r.must(&ApplyPlan{Remove: []string{replica.ID}})
	if got := r.status(viewOf(nil)).Deployments; len(got) != 0 {
		t.Errorf("after the last replica: %+v", got)
	}
}

// TestStatusService counts the replicas of one service.
func TestStatusService(t *testing.T) {
	r := initialized(t)
	r.must(&ApplyPlan{Services: []Service{{Deployment: "shop", Name: "api", NextSerial: 9, Rollout: Rollout{State: RolloutProgressing, SpecHash: "2"}}}})
	r.replicaAt(2, 1, "1", ReplicaReport{Phase: Healthy})
	stopping := r.replicaAt(1, 2, "1", ReplicaReport{Phase: Healthy})
	r.must(&ApplyPlan{Stop: []string{stopping.ID}})
	r.replicaAt(1, 3, "2", ReplicaReport{Phase: Healthy, ImageDigest: "sha256:new", ContainerID: "c1", Address: "172.18.0.2", StartedAt: start})
	r.replicaAt(2, 4, "2", ReplicaReport{Phase: Running})
	r.replicaAt(2, 5, "2", ReplicaReport{Phase: Failed, Reason: "exited with code 1"})
	r.must(&ApplyPlan{Create: []Replica{{
		ID: ReplicaID("0123456789abcdef", "shop", "old", 1, 1), Deployment: "shop", Service: "old", Slot: 1, Serial: 1,
		Node: "node-1", Revision: oldCommit, SpecHash: "0", Phase: Assigned,
	}}})
	services := r.status(viewOf(accepted(newCommit, spec("api", "2")))).Deployments[0].Services
	if len(services) != 2 || services[1].Name != "old" || services[1].Desired != 0 || len(services[1].Replicas) != 1 {
		t.Fatalf("a retired service must be shown beside: %+v", services)
	}
	got := services[0]
	var order []string
	for _, replica := range got.Replicas {
		order = append(order, string(rune('0'+replica.Slot))+" "+string(replica.Phase)+" "+replica.SpecHash)
	}
	want := []string{"1 Healthy 1", "1 Healthy 2", "2 Healthy 1", "2 Running 2", "2 Failed 2"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}
	first := got.Replicas[1]
	if first.ContainerID != "c1" || first.Address != "172.18.0.2" || first.StartedAt == nil || !first.StartedAt.Equal(start) || got.Replicas[0].StartedAt != nil {
		t.Errorf("replica %+v", first)
	}
	got.Replicas = nil
	if diff := cmp.Diff(ServiceStatus{
		Name: "api", Mode: "replicated", Image: "api:2", Digest: "sha256:new", Desired: 2, Running: 3, Healthy: 2, Updated: 2, Rollout: RolloutProgressing,
	}, got); diff != "" {
		t.Errorf("service (-want +got):\n%s", diff)
	}
}

// TestStatusRollout: what is recorded of a rollout towards another spec is not
// said of this one.
func TestStatusRollout(t *testing.T) {
	for _, test := range []struct {
		name   string
		record Service
		want   ServiceStatus
	}{
		{"of this spec", Service{Rollout: Rollout{State: RolloutPaused, SpecHash: "2", Reason: "crashed"}}, ServiceStatus{Rollout: RolloutPaused, Reason: "crashed"}},
		{"placement comes first", Service{Reason: "no node", Rollout: Rollout{State: RolloutPaused, SpecHash: "2", Reason: "crashed"}},
			ServiceStatus{Rollout: RolloutPaused, Reason: "no node"}},
		{"of an earlier spec", Service{Rollout: Rollout{State: RolloutPaused, SpecHash: "1", Reason: "crashed"}}, ServiceStatus{}},
		{"of an earlier spec, without a node", Service{Reason: "no node", Rollout: Rollout{State: RolloutDone, SpecHash: "1"}}, ServiceStatus{Reason: "no node"}},
		{"none yet", Service{}, ServiceStatus{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := initialized(t)
			test.record.Deployment, test.record.Name = "shop", "api"
			r.must(&ApplyPlan{Services: []Service{test.record}})
			got := r.status(viewOf(accepted(newCommit, spec("api", "2")))).Deployments[0].Services[0]
			if got.Rollout != test.want.Rollout || got.Reason != test.want.Reason {
				t.Errorf("rollout %q, reason %q, want %q, %q", got.Rollout, got.Reason, test.want.Rollout, test.want.Reason)
			}
		})
	}
}

func TestServing(t *testing.T) {
	checked, plain, disabled := spec("api", "1"), spec("api", "1"), spec("api", "1")
	plain.Container.Healthcheck = nil
	disabled.Container.Healthcheck = &desired.Healthcheck{Disable: true}
	other := spec("api", "2")
	for _, test := range []struct {
		name    string
		replica Replica
		spec    *desired.Service
		want    bool
	}{
		{"healthy", Replica{Phase: Healthy, SpecHash: "1"}, &checked, true},
		{"healthy, of another spec", Replica{Phase: Healthy, SpecHash: "0"}, &checked, true},
		{"healthy, retired", Replica{Phase: Healthy}, nil, true},
		{"running, its check has not answered", Replica{Phase: Running, SpecHash: "1"}, &checked, false},
		{"running, its check answered before", Replica{Phase: Running, SpecHash: "1", HealthyAt: start}, &checked, false},
		{"running, no check", Replica{Phase: Running, SpecHash: "1", HealthyAt: start}, &plain, true},
		{"running, check disabled", Replica{Phase: Running, SpecHash: "1", HealthyAt: start}, &disabled, true},
		{"running, no check in the file, perhaps in the image", Replica{Phase: Running, SpecHash: "1"}, &plain, false},
		{"running, of another spec, was healthy", Replica{Phase: Running, SpecHash: "1", HealthyAt: start}, &other, true},
		{"running, of another spec, never was", Replica{Phase: Running, SpecHash: "1"}, &other, false},
		{"running, retired, was healthy", Replica{Phase: Running, HealthyAt: start}, nil, true},
		{"unhealthy, was healthy", Replica{Phase: Unhealthy, SpecHash: "1", HealthyAt: start}, &plain, false},
		{"starting", Replica{Phase: Starting, SpecHash: "1"}, &plain, false},
		{"stopped", Replica{Phase: Stopped, SpecHash: "1", HealthyAt: start}, &plain, false},
	} {
		if got := test.replica.Serving(test.spec); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestStatusSync(t *testing.T) {
	r := initialized(t)
	r.must(&SetSync{State: SyncStalled, Reason: "unsigned", Head: oldCommit})
	for i, detail := range []string{"first", "second", "third"} {
		r.must(&RecordRefusal{Refusal: Refusal{
			Head: signing.Hash{byte(10 + i)}, Commit: signing.Hash{byte(20 + i)}, Reason: signing.ReasonUnsigned, Detail: detail, Advice: "do " + detail,
		}})
	}
	view := viewOf(nil)
	view.ClusterInvalid = &Invalid{Revision: newCommit, Reason: "cluster.yaml:1: no"}
	view.Pending = []signing.Pending{{Unit: "shop", Revision: newCommit, Need: 2, Command: "git …", Reason: "needs two"}}
	got := BuildStatus(StatusInput{Snapshot: r.state.Read(), View: view}).Sync
	want := SyncStatus{
		Repo: "/srv/fleet.git", Branch: "main", State: SyncStalled, Reason: "unsigned", Head: oldCommit.String(),
		Accepted: newCommit.String(), Claim: 7, Anchor: anchorObject().ID.String(), Signers: []string{"alice"},
		Pending: []PendingStatus{{Deployment: "shop", Revision: newCommit.String(), Have: []string{}, Need: 2, Eligible: []string{}, Command: "git …", Reason: "needs two"}},
		Invalid: &InvalidStatus{Revision: newCommit.String(), Reason: "cluster.yaml:1: no"},
	}
	for i, detail := range []string{"third", "second", "first"} { // newest first
		want.Refused = append(want.Refused, RefusalStatus{
			Revision: signing.Hash{byte(22 - i)}.String(), Head: signing.Hash{byte(12 - i)}.String(), Reason: detail,
			Code: string(signing.ReasonUnsigned), Advice: "do " + detail, At: start.Add(time.Duration(7-i) * time.Second),
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sync (-want +got):\n%s", diff)
	}
}

func TestStatusSoft(t *testing.T) {
	r := initialized(t)
	r.must(&SetSync{State: SyncSynced, Head: oldCommit})
	soft := SoftStatus{Node: "node-1", Version: "v2", Leader: "node-2", Term: 4, Quorum: true, Fetching: true, Head: newCommit, FetchedAt: start}
	got := BuildStatus(StatusInput{Snapshot: r.state.Read(), View: viewOf(nil), Soft: soft})
	if got.Sync.State != SyncFetching || got.Sync.Head != newCommit.String() || got.Sync.FetchedAt == nil || !got.Sync.FetchedAt.Equal(start) {
		t.Errorf("sync %+v", got.Sync)
	}
	want := ClusterStatus{
		ID: "0123456789abcdef", Name: "test", Version: "v2", Node: "node-1", Leader: "node-2", Term: 4, Index: r.index, Quorum: true,
		Nodes: 2, Ready: 2, Warnings: []string{},
	}
	if diff := cmp.Diff(want, got.Cluster); diff != "" {
		t.Errorf("cluster (-want +got):\n%s", diff)
	}
	r.must(&SetSync{State: SyncStalled, Reason: "x", Head: oldCommit})
	if got := BuildStatus(StatusInput{Snapshot: r.state.Read(), Soft: soft}).Sync.State; got != SyncStalled {
		t.Errorf("while a stalled repository is asked again it is %s", got)
	}
}

// TestStatusSyncOfTheLeader: what the leader's sync saw is shown by every node,
// beside what the node's own one saw later.
func TestStatusSyncOfTheLeader(t *testing.T) {
	r := initialized(t)
	r.must(&SetSync{State: SyncSynced, Head: oldCommit})
	third := signing.Hash{3}
	later := start.Add(time.Minute)
	for _, test := range []struct {
		name  string
		own   SoftStatus
		heard *LeaderStatus
		head  signing.Hash
		at    *time.Time
		state SyncState
	}{
		{"no leader", SoftStatus{}, nil, oldCommit, nil, SyncSynced},
		{"a leader that has seen nothing", SoftStatus{}, &LeaderStatus{}, oldCommit, nil, SyncSynced},
		{"the leader alone", SoftStatus{}, &LeaderStatus{Head: newCommit, FetchedAt: start}, newCommit, &start, SyncSynced},
		{"the leader is asking", SoftStatus{}, &LeaderStatus{Fetching: true}, oldCommit, nil, SyncFetching},
		{"its own is newer", SoftStatus{Head: third, FetchedAt: later}, &LeaderStatus{Head: newCommit, FetchedAt: start}, third, &later, SyncSynced},
		{"the leader's is newer", SoftStatus{Head: third, FetchedAt: start}, &LeaderStatus{Head: newCommit, FetchedAt: later}, newCommit, &later, SyncSynced},
		{"the leader's is newer and empty", SoftStatus{Head: third, FetchedAt: start}, &LeaderStatus{FetchedAt: later}, third, &later, SyncSynced},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.own.FromLeader = test.heard
			got := BuildStatus(StatusInput{Snapshot: r.state.Read(), Soft: test.own}).Sync
			if got.Head != test.head.String() || got.State != test.state {
				t.Errorf("head %s, state %s", got.Head, got.State)
			}
			if diff := cmp.Diff(test.at, got.FetchedAt); diff != "" {
				t.Errorf("fetched (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStatusListsAreNeverNull looks at the JSON of states with little in them:
// the values that may be null are named here, and none is a list.
func TestStatusListsAreNeverNull(t *testing.T) {
	mayBeNull := []string{"fetched_at", "invalid", "started_at", "cpu_pressure", "memory_pressure", "firewall", "index", "lag", "heartbeat_age", "clock_offset"}
	null := regexp.MustCompile(`"([a-z_]+)":null`)
	pending := viewOf(&Accepted{Name: "shop"})
	pending.Pending = []signing.Pending{{Unit: "shop"}}
	busy := initialized(t)
	busy.replicaAt(1, 1, "1")
	for name, status := range map[string]*Status{
		"nothing at all":    newRig(t).status(nil),
		"no view yet":       initialized(t).status(nil),
		"empty view":        initialized(t).status(&View{}),
		"empty deployment":  busy.status(pending),
		"service alone":     initialized(t).status(viewOf(accepted(newCommit, spec("api", "1")))),
		"replica, no view":  busy.status(nil),
		"without a service": initialized(t).status(viewOf(accepted(newCommit))),
	} {
		data, err := json.Marshal(status)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range null.FindAllStringSubmatch(string(data), -1) {
			if !slices.Contains(mayBeNull, match[1]) {
				t.Errorf("%s: %s is null:\n%s", name, match[1], data)
			}
		}
		if strings.Contains(string(data), "0001-01-01") {
			t.Errorf("%s: an unknown time is shown as one:\n%s", name, data)
		}
	}
}

// TestStatusIsPure builds the status of one state many times: maps must not
// show in it.
func TestStatusIsPure(t *testing.T) {
	r, view := initialized(t), viewOf(nil)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		view.Deployments[name] = accepted(newCommit, spec("z", "1"), spec("y", "1"), spec("x", "1"))
	}
	first, err := json.Marshal(r.status(view))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := json.Marshal(r.status(view))
		if err != nil {
			t.Fatal(err)
		}
		if string(again) != string(first) {
			t.Fatal("two statuses of one state differ")
		}
	}
}
