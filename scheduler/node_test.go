package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// remove is a commit that takes a node out; expel is what the leader does then.
func (m *sim) remove(name string) {
	settings := m.view.Cluster.Nodes[name]
	settings.Availability = desired.NodeRemoved
	m.view.Cluster.Nodes[name] = settings
}

func (m *sim) expel(name string) {
	m.index++
	delete(m.nodes, name)
	for _, r := range m.replicas {
		if r.Node == name && !r.Phase.Final() {
			r.Phase, r.Reason, r.FinishedAt, r.ModifyIndex = cluster.Lost, "node "+name+" was removed", m.now, m.index
		}
	}
}

// join adds a node that is new or comes back.
func (m *sim) join(name string) {
	m.index++
	m.nodes[name] = &cluster.Node{Name: name, State: cluster.NodeReady, CPU: 4e9, Memory: 8 * gib, ModifyIndex: m.index}
}

// powerOff ends what runs on a node, and the node; reboot brings it back without
// its containers.
func (m *sim) powerOff(name string) {
	m.node(name, cluster.NodeDown)
	for id, node := range m.containers {
		if node == name {
			delete(m.containers, id)
		}
	}
}

func (m *sim) reboot(name string) {
	m.node(name, cluster.NodeReady)
	for _, id := range m.byAge() {
		if r := m.replicas[id]; r.Node == name && !r.Phase.Final() {
			m.report(r, cluster.Failed, "the container is gone", 0)
		}
	}
}

// sweep is what agents do that can be heard: they end containers of replicas
// that are over or unknown.
func (m *sim) sweep() {
	for id, name := range m.containers {
		r, n := m.replicas[id], m.nodes[name]
		if n != nil && n.State == cluster.NodeReady && (r == nil || r.Phase.Final()) {
			delete(m.containers, id)
		}
	}
}

// perNode counts what is not final on each node: "n1:3 n2:3".
func (m *sim) perNode(service string) string {
	count := map[string]int{}
	for _, r := range m.replicas {
		if !r.Phase.Final() && (service == "" || r.Service == service) {
			count[r.Node]++
		}
	}
	var out []string
	for _, name := range sortedKeys(count) {
		out = append(out, fmt.Sprintf("%s:%d", name, count[name]))
	}
	return strings.Join(out, " ")
}

// lost lists what a plan loses: "web.1@n1".
func (m *sim) lost(r Result) string {
	if r.Plan == nil {
		return ""
	}
	var out []string
	for _, id := range r.Plan.Lose {
		l := m.replicas[id]
		out = append(out, fmt.Sprintf("%s.%d@%s", l.Service, l.Slot, l.Node))
	}
	return strings.Join(out, " ")
}

// TestNodeStates changes what is known of n1, which runs slot 1 of three, and
// looks at what becomes of it, at where a fourth replica goes, and at what the
// nodes say of a service that only n1 could run.
func TestNodeStates(t *testing.T) {
	state := func(s cluster.NodeState) func(*sim) { return func(m *sim) { m.node("n1", s) } }
	also := func(all ...func(*sim)) func(*sim) {
		return func(m *sim) {
			for _, f := range all {
				f(m)
			}
		}
	}
	removed := func(m *sim) { m.remove("n1") }
	tests := []struct {
		name   string
		change func(*sim)
		kind   func(*desired.Service)
		lost   string
		placed string
		reason string // of a service bound to n1
	}{
		{name: "Ready", change: func(*sim) {}, placed: "only.1@n1 web.4@n2"},
		{name: "NotReady", change: state(cluster.NodeNotReady), placed: "web.4@n2",
			reason: "no node: 1 is NotReady, 2 not node.hostname==n1"},
		{name: "Suspect", change: state(cluster.NodeSuspect), placed: "web.4@n2",
			reason: "no node: 1 is Suspect, 2 not node.hostname==n1"},
		{name: "Down", change: state(cluster.NodeDown), lost: "web.1@n1", placed: "web.1@n2 web.4@n3",
			reason: "no node: 1 is Down, 2 not node.hostname==n1"},
		{name: "Down with a volume", change: state(cluster.NodeDown), kind: volume("data"), placed: "web.4@n2",
			reason: "no node: 1 is Down, 2 not node.hostname==n1"},
		{name: "removed and Ready", change: removed, placed: "web.4@n2", // slot 1 moves after it, one at a time
			reason: "no node: 1 is removed, 2 not node.hostname==n1"},
		{name: "removed and Suspect", change: also(removed, state(cluster.NodeSuspect)), lost: "web.1@n1", placed: "web.1@n2 web.4@n3",
			reason: "no node: 1 is removed, 2 not node.hostname==n1"},
		{name: "removed and Down, with a volume", change: also(removed, state(cluster.NodeDown)), kind: volume("data"),
			lost: "web.1@n1", placed: "web.1@n2 web.4@n3", reason: "no node: 1 is removed, 2 not node.hostname==n1"},
		{name: "no member", change: func(m *sim) { delete(m.nodes, "n1") }, lost: "web.1@n1", placed: "web.1@n2 web.4@n3",
			reason: "no node: 2 not node.hostname==n1"},
		{name: "no member, with a volume", change: func(m *sim) { delete(m.nodes, "n1") }, kind: volume("data"),
			lost: "web.1@n1", placed: "web.1@n2 web.4@n3", reason: "no node: 2 not node.hostname==n1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newSim(t, "n1", "n2", "n3")
			kinds := []func(*desired.Service){}
			if tt.kind != nil {
				kinds = append(kinds, tt.kind)
			}
			m.accept("shop", svc("web", "v1", 3, kinds...))
			m.settled(t)
			tt.change(m)
			m.accept("shop", svc("web", "v1", 4, kinds...), svc("only", "v1", 1, constraint("node.hostname", true, "n1")))
			in := m.input()
			r := Compute(in)
			if got := m.lost(r); got != tt.lost {
				t.Errorf("lost %q, want %q", got, tt.lost)
			}
			got := strings.Fields(placed(r))
			slices.Sort(got)
			want := strings.Fields(tt.placed)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("placed (-want +got):\n%s", diff)
			}
			if len(r.Plan.Stop) > 0 {
				t.Errorf("stopped: %s", r)
			}
			if err := m.apply(r.Plan); err != nil {
				t.Fatal(err)
			}
			if got := m.services["shop/only"].Reason; got != tt.reason {
				t.Errorf("reason %q\n  want   %q", got, tt.reason)
			}
		})
	}
}

// TestLossIsVoidWhenTheNodeReturns refuses a plan that loses replicas of a node
// which came back, or places their replacements on one that went down.
func TestLossIsVoidWhenTheNodeReturns(t *testing.T) {
	changes := map[string]func(m *sim){
		"the node comes back":      func(m *sim) { m.node("n1", cluster.NodeReady) },
		"the new node goes down":   func(m *sim) { m.node("n2", cluster.NodeDown) },
		"the replica says it fell": func(m *sim) { m.report(m.get(t, "shop", "web", 1), cluster.Failed, "", 1) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			m := newSim(t, "n1", "n2")
			m.accept("shop", svc("web", "v1", 1))
			m.settled(t)
			m.node("n1", cluster.NodeDown)
			plan := Compute(m.input()).Plan
			if len(plan.Lose) != 1 || len(plan.Create) != 1 {
				t.Fatalf("not lost and replaced at once: %+v", plan)
			}
			change(m)
			if err := m.apply(plan); err == nil {
				t.Error("the plan was applied")
			}
		})
	}
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 1))
	m.settled(t)
	was := *m.nodes["n1"]
	delete(m.nodes, "n1")
	plan := Compute(m.input()).Plan
	m.nodes["n1"] = &was
	if err := m.apply(plan); err == nil {
		t.Error("a plan that knows no such node was applied when there is one")
	}
}

// TestDependsOnTheNodeThatServes stops the old replica for a new one only while
// the new one's node can be heard.
func TestDependsOnTheNodeThatServes(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.label("n1", "ssd", "true")
	onSSD := constraint("node.labels.ssd", true, "true")
	m.accept("shop", svc("web", "v1", 1, onSSD))
	m.settled(t)
	m.label("n1", "ssd", "false")
	m.label("n2", "ssd", "true")
	m.plan()
	m.report(m.get(t, "shop", "web", 1), cluster.Healthy, "", 0)

	plan := Compute(m.input()).Plan
	if len(plan.Stop) != 1 {
		t.Fatalf("the old one is not stopped: %+v", plan)
	}
	m.node("n2", cluster.NodeSuspect)
	if err := m.apply(plan); err == nil {
		t.Error("the old one is stopped for one on a Suspect node")
	}
	if r := m.plan(); r.Plan == nil || len(r.Plan.Stop) > 0 {
		t.Errorf("planned %s", r)
	}
	if got, want := m.services["shop/web"].Reason, "slot 1 waits for n2, which is Suspect"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	m.node("n2", cluster.NodeReady)
	m.settled(t)
	if r := m.get(t, "shop", "web", 1); len(m.replicas) != 1 || r.Node != "n2" || m.services["shop/web"].Reason != "" {
		t.Errorf("%d replicas, %+v", len(m.replicas), r)
	}
}

// TestLostIsNoFailure replaces what was lost whatever the restart policy says,
// and counts it for nothing.
func TestLostIsNoFailure(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("job", "v1", 1, noCheck, restarts(desired.Restart{Condition: desired.RestartNone})))
	m.settled(t)
	m.fate["v1-job"] = hangs
	m.node("n1", cluster.NodeDown)
	r := m.plan()
	if got := placed(r); got != "job.1@n2" || r.Plan.Create[0].Attempt != 0 {
		t.Fatalf("placed %q: %s", got, r)
	}

	m.accept("shop", svc("job", "v1", 1, noCheck))
	m.node("n1", cluster.NodeReady)
	for range 2 { // two failures, then a loss in the middle of the third start
		m.report(m.get(t, "shop", "job", 1), cluster.Failed, "killed", 137)
		m.now = m.now.Add(time.Minute)
		m.plan()
	}
	last := *m.get(t, "shop", "job", 1)
	m.node(last.Node, cluster.NodeDown)
	m.plan()
	if r := m.get(t, "shop", "job", 1); r.Serial != last.Serial+1 || r.Attempt != last.Attempt || r.Attempt == 0 {
		t.Errorf("%+v follows %+v", r, last)
	}
}

// TestLostStaysUntilReplaced keeps the record of a lost replica until its slot
// serves again.
func TestLostStaysUntilReplaced(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 1))
	m.settled(t)
	old := m.get(t, "shop", "web", 1)
	m.node("n1", cluster.NodeDown)
	m.plan()
	m.plan()
	if m.replicas[old.ID] == nil || old.Phase != cluster.Lost {
		t.Fatal("the lost replica is forgotten before another serves")
	}
	m.report(m.get(t, "shop", "web", 1), cluster.Healthy, "", 0)
	m.plan()
	if m.replicas[old.ID] != nil {
		t.Error("the lost replica is never forgotten")
	}
}

// TestRetiredOnDownNode loses and forgets what nobody wants, volume or not.
func TestRetiredOnDownNode(t *testing.T) {
	t.Run("deployment", func(t *testing.T) {
		m := newSim(t, "n1", "n2", "n3")
		m.accept("shop", svc("web", "v1", 3), svc("db", "v1", 3, volume("data")))
		m.settled(t)
		m.node("n2", cluster.NodeDown)
		m.plan()
		delete(m.view.Deployments, "shop")
		m.settled(t)
		if len(m.replicas)+len(m.services)+len(m.statuses) > 0 {
			t.Errorf("left: %v %v %v", m.replicas, m.services, m.statuses)
		}
	})
	t.Run("service", func(t *testing.T) {
		m := newSim(t, "n1", "n2", "n3")
		m.accept("shop", svc("web", "v1", 1), svc("db", "v1", 3, volume("data")))
		m.settled(t)
		m.node("n2", cluster.NodeDown)
		rev := m.accept("shop", svc("web", "v1", 1))
		m.settled(t)
		if m.services["shop/db"] != nil || m.statuses["shop"].Converged != rev {
			t.Errorf("db is left or holds up the rest: %v", m.services)
		}
	})
	t.Run("slot", func(t *testing.T) {
		m := newSim(t, "n1", "n2", "n3")
		m.accept("shop", svc("db", "v1", 3, volume("data")))
		m.settled(t)
		m.node("n2", cluster.NodeDown)
		rev := m.accept("shop", svc("db", "v1", 2, volume("data")))
		m.settled(t)
		if got := m.perNode("db"); got != "n1:1 n3:1" || m.statuses["shop"].Converged != rev {
			t.Errorf("scaled down to %s, %+v", got, m.services["shop/db"])
		}
	})
}

// TestGlobalFollowsNodes has one on each node that can run it, and waits for
// none that cannot, unless its data is there.
func TestGlobalFollowsNodes(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("log", "v1", 0, global))
	m.accept("metrics", svc("store", "v1", 0, global, volume("data")))
	m.settled(t)
	m.node("n2", cluster.NodeDown)
	m.settled(t)
	if got := m.perNode("log"); got != "n1:1 n3:1" {
		t.Errorf("log runs on %s", got)
	}
	if got, want := m.services["metrics/store"].Reason, "waits for node n2, which is down: its volume data is there"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	for _, h := range Health(m.input()) {
		if want := map[string]cluster.HealthAxis{"shop": cluster.HealthHealthy, "metrics": cluster.HealthDegraded}[h.Deployment]; h.State != want {
			t.Errorf("%s is %s: %s", h.Deployment, h.State, h.Reason)
		}
	}
	m.node("n2", cluster.NodeReady)
	m.settled(t)
	if got := m.perNode(""); got != "n1:2 n2:2 n3:2" {
		t.Errorf("after its return: %s", got)
	}
	m.remove("n3")
	m.settled(t)
	if got := m.perNode(""); got != "n1:2 n2:2" {
		t.Errorf("after a removal: %s", got)
	}
}
