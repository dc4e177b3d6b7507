package scheduler

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

var update = flag.Bool("update", false, "write the golden files anew")

const gib = 1 << 30

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// failer is a test of either kind, plain or rapid.
type failer interface {
	Fatalf(format string, args ...any)
}

// sim is a cluster without machines: a state that plans are applied to, and
// agents that bring each replica on by one phase at a time.
type sim struct {
	t        failer
	now      time.Time
	index    uint64
	view     *cluster.View
	nodes    map[string]*cluster.Node
	replicas map[string]*cluster.Replica
	services map[string]*cluster.Service
	statuses map[string]*cluster.DeploymentStatus
	// fate is what becomes of replicas of a spec hash, or of one replica by its
	// id; without one they come up and stay.
	fate map[string]fate
	// containers is what really runs, by replica id, and on which node. An agent
	// that cannot be heard changes nothing there until it is back.
	containers map[string]string
	pause      time.Time // of mass loss
	log        strings.Builder
}

// fate is how the replicas of a spec behave.
type fate string

const (
	crashes   fate = "crashes"  // Failed out of Starting
	sickens   fate = "sickens"  // Unhealthy instead of Healthy
	hangs     fate = "hangs"    // Running, its healthcheck never answers
	succeedsF fate = "succeeds" // runs once and ends with 0
	falls     fate = "falls"    // Failed right after Running
	rejected  fate = "rejected" // refused by its node
)

func newSim(t failer, nodes ...string) *sim {
	m := &sim{t: t,
		now: epoch, nodes: map[string]*cluster.Node{}, replicas: map[string]*cluster.Replica{},
		services: map[string]*cluster.Service{}, statuses: map[string]*cluster.DeploymentStatus{},
		fate: map[string]fate{}, containers: map[string]string{},
		view: &cluster.View{Deployments: map[string]*cluster.Accepted{}, Cluster: desired.Cluster{Nodes: map[string]desired.NodeSettings{}}},
	}
	for _, name := range nodes {
		m.index++
		m.nodes[name] = &cluster.Node{Name: name, State: cluster.NodeReady, CPU: 4e9, Memory: 8 * gib, ModifyIndex: m.index}
	}
	return m
}

func (m *sim) node(name string, state cluster.NodeState) {
	m.index++
	m.nodes[name].State, m.nodes[name].ModifyIndex = state, m.index
}

func (m *sim) label(node, key, value string) {
	labels := map[string]string{key: value}
	settings := m.view.Cluster.Nodes[node]
	maps.Copy(labels, settings.Labels)
	labels[key] = value
	settings.Labels = labels
	m.view.Cluster.Nodes[node] = settings
}

// accept makes a deployment's services what is wanted, as a new revision.
func (m *sim) accept(name string, services ...desired.Service) signing.Hash {
	m.view.Claim++
	var rev signing.Hash
	rev[0], rev[1] = byte(m.view.Claim>>8), byte(m.view.Claim)
	rev[2] = 0xc0
	a := &cluster.Accepted{Name: name, Revision: rev, Claim: m.view.Claim, Desired: &desired.Deployment{Name: name}}
	if old := m.view.Deployments[name]; old != nil {
		previous := *old
		previous.Previous = nil
		a.Previous = &previous
	}
	a.Desired.Services = slices.SortedFunc(slices.Values(services), func(a, b desired.Service) int { return strings.Compare(a.Name, b.Name) })
	m.view.Deployments[name] = a
	return rev
}

func (m *sim) input() Input {
	in := Input{ClusterID: "0123456789abcdef", Now: m.now, View: m.view, MassLossUntil: m.pause}
	for _, k := range sortedKeys(m.nodes) {
		in.Nodes = append(in.Nodes, *m.nodes[k])
	}
	for _, k := range sortedKeys(m.replicas) {
		in.Replicas = append(in.Replicas, *m.replicas[k])
	}
	for _, k := range sortedKeys(m.services) {
		in.Services = append(in.Services, *m.services[k])
	}
	for _, k := range sortedKeys(m.statuses) {
		in.Deployments = append(in.Deployments, *m.statuses[k])
	}
	return in
}

// plan computes and applies once.
func (m *sim) plan() Result {
	r := Compute(m.input())
	if r.Plan != nil {
		if err := m.apply(r.Plan); err != nil {
			m.t.Fatalf("the plan cannot be applied: %v\n%s", err, r)
		}
	}
	return r
}

// apply does what the state machine does, and refuses what it refuses.
func (m *sim) apply(p *cluster.ApplyPlan) error {
	m.index++
	for _, e := range p.Expect {
		if got := m.modifyIndex(e); got != e.ModifyIndex {
			return fmt.Errorf("%s %s is at %d, expected %d", e.Kind, e.Key, got, e.ModifyIndex)
		}
	}
	for _, s := range p.Services {
		s.ModifyIndex = m.index
		m.services[s.Deployment+"/"+s.Name] = &s
	}
	for _, id := range p.Lose {
		r := m.replicas[id]
		if r == nil || r.Phase.Final() {
			return fmt.Errorf("cannot lose %s: %+v", id, r)
		}
		r.Phase, r.Reason, r.FinishedAt, r.ModifyIndex = cluster.Lost, "node "+r.Node+" is down", m.now, m.index
	}
	for _, r := range p.Create {
		if m.replicas[r.ID] != nil || r.ID == "" || r.Slot < 1 || r.Revision.IsZero() || m.nodes[r.Node] == nil {
			return fmt.Errorf("cannot create %+v", r)
		}
		r.CreatedAt, r.ModifyIndex = m.now, m.index
		m.replicas[r.ID] = &r
	}
	for _, id := range p.Stop {
		r := m.replicas[id]
		if r == nil || r.Stop || r.Phase.Final() {
			return fmt.Errorf("cannot stop %s: %+v", id, r)
		}
		r.Stop, r.ModifyIndex = true, m.index
	}
	for _, id := range p.Remove {
		if r := m.replicas[id]; r == nil || !r.Phase.Final() {
			return fmt.Errorf("cannot remove %s: %+v", id, r)
		}
		delete(m.replicas, id)
	}
	for _, k := range p.DropService {
		for _, r := range m.replicas {
			if r.Deployment == k.Deployment && r.Service == k.Service {
				return fmt.Errorf("cannot drop %v: %s is left", k, r.ID)
			}
		}
		delete(m.services, k.Deployment+"/"+k.Service)
	}
	for _, d := range p.Deployments {
		d.ModifyIndex = m.index
		m.statuses[d.Name] = &d
	}
	for _, name := range p.DropStatus {
		delete(m.statuses, name)
	}
	return nil
}

func (m *sim) modifyIndex(e cluster.Expectation) uint64 {
	switch e.Kind {
	case cluster.ExpectReplica:
		if r := m.replicas[e.Key]; r != nil {
			return r.ModifyIndex
		}
	case cluster.ExpectService:
		if s := m.services[e.Key]; s != nil {
			return s.ModifyIndex
		}
	case cluster.ExpectNode:
		if n := m.nodes[e.Key]; n != nil {
			return n.ModifyIndex
		}
	case cluster.ExpectDeployment:
		if d := m.statuses[e.Key]; d != nil {
			return d.ModifyIndex
		}
	case cluster.ExpectMesh: // no pass plans addresses yet
	}
	return 0
}

// report sets a replica's phase as its node would.
func (m *sim) report(r *cluster.Replica, phase cluster.Phase, reason string, exit int) {
	m.index++
	r.Phase, r.Reason, r.ExitCode, r.ModifyIndex = phase, reason, exit, m.index
	spec, _ := m.view.Spec(r.Deployment, r.Service, r.SpecHash)
	if phase.Live() && r.StartedAt.IsZero() {
		r.StartedAt = m.now
	}
	healthy := phase == cluster.Healthy || phase == cluster.Running && (spec == nil || !hasHealthcheck(spec))
	if healthy && r.HealthyAt.IsZero() {
		r.HealthyAt = m.now
	}
	if phase.Live() {
		m.containers[r.ID] = r.Node
	}
	if phase.Final() {
		r.FinishedAt = m.now
		delete(m.containers, r.ID)
	}
}

// advance brings r one phase on, if there is one; its node must be Ready.
func (m *sim) advance(r *cluster.Replica) bool {
	if r.Phase.Final() || m.nodes[r.Node] == nil || m.nodes[r.Node].State != cluster.NodeReady {
		return false
	}
	if r.Stop {
		if r.Phase == cluster.Stopping {
			m.report(r, cluster.Stopped, "", 0)
		} else {
			m.report(r, cluster.Stopping, "", 0)
		}
		return true
	}
	f, own := m.fate[r.ID]
	if !own {
		f = m.fate[r.SpecHash]
	}
	spec, _ := m.view.Spec(r.Deployment, r.Service, r.SpecHash)
	switch r.Phase {
	case cluster.Assigned:
		if f == rejected {
			m.report(r, cluster.Rejected, "no such spec is accepted", 0)
		} else {
			m.report(r, cluster.Preparing, "", 0)
		}
	case cluster.Preparing:
		m.report(r, cluster.Starting, "", 0)
	case cluster.Starting:
		if f == crashes {
			m.report(r, cluster.Failed, "no such image", 0)
		} else {
			m.report(r, cluster.Running, "", 0)
		}
	case cluster.Running:
		switch {
		case f == falls:
			m.report(r, cluster.Failed, "panic: out of luck", 2)
		case f == succeedsF:
			m.report(r, cluster.Failed, "", 0)
		case f == hangs || spec == nil || !hasHealthcheck(spec):
			return false
		case f == sickens:
			m.report(r, cluster.Unhealthy, "connection refused", 0)
		default:
			m.report(r, cluster.Healthy, "", 0)
		}
	case cluster.Unhealthy:
		if f == sickens {
			return false
		}
		m.report(r, cluster.Healthy, "", 0)
	default:
		return false
	}
	return true
}

// round plans, then brings every replica one phase on. It reports whether
// anything happened; when nothing did, time jumps to the next wake.
func (m *sim) round() (Result, bool) {
	r := m.plan()
	busy := r.Plan != nil
	for _, id := range m.byAge() {
		if m.advance(m.replicas[id]) {
			busy = true
		}
	}
	m.sweep()
	if !busy && !r.Wake.IsZero() {
		m.now = r.Wake
		return r, true
	}
	m.now = m.now.Add(100 * time.Millisecond)
	return r, busy
}

// settle runs rounds until nothing happens and nothing will, or until the
// limit of rounds. Plans go to the log.
func (m *sim) settle(rounds int) bool {
	for range rounds {
		at := m.now
		r, busy := m.round()
		if r.Plan != nil {
			fmt.Fprintf(&m.log, "-- %s\n%s", at.Format("15:04:05.0"), r)
		}
		if !busy {
			return true
		}
	}
	return false
}

// byAge lists the ids of replicas in a fixed order.
func (m *sim) byAge() []string {
	ids := slices.Collect(maps.Keys(m.replicas))
	slices.SortFunc(ids, func(a, b string) int {
		x, y := m.replicas[a], m.replicas[b]
		return strings.Compare(fmt.Sprintf("%s/%s %06d", x.Deployment, x.Service, x.Serial),
			fmt.Sprintf("%s/%s %06d", y.Deployment, y.Service, y.Serial))
	})
	return ids
}

// get returns the newest replica of a slot.
func (m *sim) get(t *testing.T, deployment, service string, slot int) *cluster.Replica {
	t.Helper()
	var newest *cluster.Replica
	for _, r := range m.replicas {
		if r.Deployment == deployment && r.Service == service && r.Slot == slot && (newest == nil || r.Serial > newest.Serial) {
			newest = r
		}
	}
	if newest == nil {
		t.Fatalf("no replica in slot %d of %s/%s", slot, deployment, service)
	}
	return newest
}

// show writes what runs to the log.
func (m *sim) show(title string) {
	fmt.Fprintf(&m.log, "== %s\n", title)
	for _, id := range m.byAge() {
		r := m.replicas[id]
		stop := ""
		if r.Stop {
			stop = " stop"
		}
		fmt.Fprintf(&m.log, "   %s/%s.%d#%d %s %.8s %s%s\n", r.Deployment, r.Service, r.Slot, r.Serial, r.Node, r.SpecHash, r.Phase, stop)
	}
	for _, k := range sortedKeys(m.services) {
		s := m.services[k]
		fmt.Fprintf(&m.log, "   %s rollout=%q failures=%d reason=%q\n", k, s.Rollout.State, s.Rollout.Failures, s.Reason)
	}
	for _, h := range Health(m.input()) {
		fmt.Fprintf(&m.log, "   %s is %s: %s\n", h.Deployment, h.State, h.Reason)
	}
}

// golden compares the log with testdata/<name>.golden.
func (m *sim) golden(t *testing.T, name string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(m.log.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(m.log.String(), "\n")); diff != "" {
		t.Errorf("%s (-want +got), -update rewrites it:\n%s", path, diff)
	}
}

// svc is a replicated service with a healthcheck and the defaults of desired.
func svc(name, version string, replicas int, change ...func(*desired.Service)) desired.Service {
	s := desired.Service{
		Name: name, Mode: desired.Replicated, Replicas: replicas,
		Placement: desired.Placement{Strategy: desired.Spread},
		Container: desired.Container{
			Image:       name + ":" + version,
			Networks:    []desired.Attachment{{Network: "default"}},
			Healthcheck: &desired.Healthcheck{Test: []string{"CMD", "true"}},
		},
		SpecHash: version + "-" + name,
		Update:   desired.Update{Order: desired.StartFirst, Parallelism: 1, Monitor: 5 * time.Second, FailureAction: desired.Rollback},
		Restart:  desired.Restart{Condition: desired.RestartAny},
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

func noCheck(s *desired.Service)   { s.Container.Healthcheck = nil }
func global(s *desired.Service)    { s.Mode = desired.Global }
func stopFirst(s *desired.Service) { s.Update.Order = desired.StopFirst }
func pack(s *desired.Service)      { s.Placement.Strategy = desired.Pack }

func memory(bytes int64) func(*desired.Service) {
	return func(s *desired.Service) { s.Container.Resources.MemoryReservation = bytes }
}

func cpu(nano int64) func(*desired.Service) {
	return func(s *desired.Service) { s.Container.Resources.CPUReservation = nano }
}

func hostPort(port uint16) func(*desired.Service) {
	return func(s *desired.Service) {
		s.Container.Ports = append(s.Container.Ports, desired.Port{Host: port, Container: 80, Protocol: "tcp"})
	}
}

func constraint(key string, equal bool, value string) func(*desired.Service) {
	return func(s *desired.Service) {
		s.Placement.Constraints = append(s.Placement.Constraints, desired.Constraint{Key: key, Equal: equal, Value: value})
	}
}

func hosts(names ...string) func(*desired.Service) {
	return func(s *desired.Service) { s.Placement.Strategy, s.Placement.Hosts = desired.Hosts, names }
}

func volume(name string) func(*desired.Service) {
	return func(s *desired.Service) {
		s.Container.Mounts = append(s.Container.Mounts, desired.Mount{Kind: desired.VolumeMount, Volume: name, Target: "/data"})
	}
}

func maxPerNode(n int) func(*desired.Service) {
	return func(s *desired.Service) { s.Placement.MaxReplicasPerNode = n }
}

func needs(service string, c desired.Condition) func(*desired.Service) {
	return func(s *desired.Service) {
		s.DependsOn = append(s.DependsOn, desired.Dependency{Service: service, Condition: c, Required: true})
	}
}

func updates(f func(*desired.Update)) func(*desired.Service) {
	return func(s *desired.Service) { f(&s.Update) }
}

func restarts(r desired.Restart) func(*desired.Service) {
	return func(s *desired.Service) { s.Restart = r }
}
