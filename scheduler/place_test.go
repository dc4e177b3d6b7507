package scheduler

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// placed lists where a plan creates replicas: "web.1@n1".
func placed(r Result) string {
	if r.Plan == nil {
		return ""
	}
	var out []string
	for _, c := range r.Plan.Create {
		out = append(out, fmt.Sprintf("%s.%d@%s", c.Service, c.Slot, c.Node))
	}
	return strings.Join(out, " ")
}

// placement is one service on the three nodes n1, n2 and n3.
type placement struct {
	name   string
	setup  func(m *sim)
	spec   desired.Service
	want   string
	reason string
}

func TestStrategies(t *testing.T) {
	testPlace(t, []placement{
		{name: "spread", spec: svc("web", "v1", 5), want: "web.1@n1 web.2@n2 web.3@n3 web.4@n1 web.5@n2"},
		{
			name: "spread avoids its own before it avoids others", want: "web.1@n2 web.2@n3 web.3@n1",
			setup: func(m *sim) {
				m.accept("aaa", svc("a", "v1", 3, constraint("node.hostname", true, "n1")))
				m.plan()
			},
			spec: svc("web", "v1", 3),
		},
		{name: "pack", spec: svc("web", "v1", 3, pack, memory(3*gib)), want: "web.1@n1 web.2@n1 web.3@n2"},
		{
			name: "pack goes on where most is reserved", want: "web.1@n3",
			setup: func(m *sim) {
				m.accept("aaa", svc("a", "v1", 1, memory(gib), constraint("node.hostname", true, "n3")))
				m.plan()
			},
			spec: svc("web", "v1", 1, pack),
		},
		{name: "hosts", spec: svc("web", "v1", 3, hosts("n2", "n3")), want: "web.1@n2 web.2@n3 web.3@n2"},
		{name: "hosts that are not there", spec: svc("web", "v1", 1, hosts("n9")), reason: "no node: 3 not among its hosts"},
		{name: "global", spec: svc("web", "v1", 0, global), want: "web.1@n1 web.2@n2 web.3@n3"},
		{
			name: "global by label", want: "web.1@n2",
			setup: func(m *sim) { m.label("n2", "ssd", "true") },
			spec:  svc("web", "v1", 0, global, constraint("node.labels.ssd", true, "true")),
		},
	})
}

func TestFilters(t *testing.T) {
	testPlace(t, []placement{
		{name: "hostname", spec: svc("web", "v1", 2, constraint("node.hostname", true, "n3")), want: "web.1@n3 web.2@n3"},
		{name: "not that hostname", spec: svc("web", "v1", 3, constraint("node.hostname", false, "n1")), want: "web.1@n2 web.2@n3 web.3@n2"},
		{name: "a label that is missing is not equal", spec: svc("web", "v1", 1, constraint("node.labels.old", false, "true")), want: "web.1@n1"},
		{
			name: "every reason at once", want: "",
			setup: func(m *sim) {
				for _, n := range []string{"n4", "n5", "n6", "n7"} {
					m.nodes[n] = &cluster.Node{Name: n, State: cluster.NodeReady, CPU: 4e9, Memory: 8 * gib}
				}
				for _, n := range []string{"n2", "n3", "n4", "n5", "n6", "n7"} {
					m.label(n, "ssd", "true")
				}
				m.accept("aaa", svc("a", "v1", 1, constraint("node.hostname", true, "n5"), hostPort(8080)))
				m.plan()
				m.nodes["n3"].Memory = gib / 4
				m.node("n2", cluster.NodeNotReady)
				m.node("n4", cluster.NodeNotReady)
				m.node("n7", cluster.NodeDown)
				m.nodes["n6"].CPU = 1e9
			},
			spec: svc("web", "v1", 1, constraint("node.labels.ssd", true, "true"), memory(gib/2), cpu(15e8), hostPort(8080)),
			reason: "no node: 1 is Down, 2 are NotReady, 1 lack label ssd=true, 1 short of 512 MiB, 1 short of 1.5 CPU, " +
				"1 host port 8080/tcp taken",
		},
		{
			name: "at most so many a node", spec: svc("web", "v1", 7, maxPerNode(2)),
			want:   "web.1@n1 web.2@n2 web.3@n3 web.4@n1 web.5@n2 web.6@n3",
			reason: "no node: 3 with 2 of at most 2 replicas a node",
		},
		{
			name: "a port on one address leaves others free", want: "web.1@n1",
			setup: func(m *sim) {
				other := svc("a", "v1", 1, constraint("node.hostname", true, "n1"), hostPort(80))
				other.Container.Ports[0].HostIP = "10.0.0.1"
				m.accept("aaa", other)
				m.plan()
			},
			spec: svc("web", "v1", 1, constraint("node.hostname", true, "n1"), hostPort(80), func(s *desired.Service) {
				s.Container.Ports[0].HostIP = "10.0.0.2"
			}),
		},
		{
			name: "a port on every address takes all of them",
			setup: func(m *sim) {
				m.accept("aaa", svc("a", "v1", 1, constraint("node.hostname", true, "n1"), hostPort(80)))
				m.plan()
			},
			spec: svc("web", "v1", 1, constraint("node.hostname", true, "n1"), hostPort(80), func(s *desired.Service) {
				s.Container.Ports[0].HostIP = "10.0.0.2"
			}),
			reason: "no node: 2 not node.hostname==n1, 1 host port 80/tcp taken",
		},
		{
			name: "no node at all", setup: func(m *sim) { clear(m.nodes) }, spec: svc("web", "v1", 1),
			reason: "no node: the cluster has none for it",
		},
	})
}

func testPlace(t *testing.T, tests []placement) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newSim(t, "n1", "n2", "n3")
			if tt.setup != nil {
				tt.setup(m)
			}
			m.accept("shop", tt.spec)
			r := m.plan()
			if got := placed(r); got != tt.want {
				t.Errorf("placed %q, want %q", got, tt.want)
			}
			if got := m.services["shop/web"].Reason; got != tt.reason {
				t.Errorf("reason %q\n  want   %q", got, tt.reason)
			}
			if tt.reason != "" && (len(r.Events) != 1 || r.Events[0].Type != cluster.EventDegraded) {
				t.Errorf("events %v, want one that it is degraded", r.Events)
			}
			if again := Compute(m.input()); again.Plan != nil {
				t.Errorf("the same is planned twice: %s", again)
			}
		})
	}
}

// TestReasonGoesAway writes a reason once, and once more when it is gone.
func TestReasonGoesAway(t *testing.T) {
	m := newSim(t, "n1")
	m.node("n1", cluster.NodeNotReady)
	m.accept("shop", svc("web", "v1", 1))
	m.plan()
	m.node("n1", cluster.NodeReady)
	if got := placed(m.plan()); got != "web.1@n1" {
		t.Fatalf("placed %q", got)
	}
	if got := m.services["shop/web"].Reason; got != "" {
		t.Errorf("reason %q stayed", got)
	}
}

// TestNotReadyMovesNothing changes the spec while a node is away: its slot
// waits, the others roll.
func TestNotReadyMovesNothing(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 3))
	m.settled(t)
	m.node("n2", cluster.NodeNotReady)
	m.accept("shop", svc("web", "v2", 3))
	m.settled(t)
	var got []string
	for _, id := range m.byAge() {
		r := m.replicas[id]
		got = append(got, fmt.Sprintf("%d %s %s %s", r.Slot, r.Node, r.SpecHash, r.Phase))
	}
	want := []string{"2 n2 v1-web Healthy", "1 n1 v2-web Healthy", "3 n3 v2-web Healthy"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := m.services["shop/web"].Reason; got != "slot 2 waits for n2, which is NotReady" {
		t.Errorf("reason %q", got)
	}
	m.node("n2", cluster.NodeReady)
	m.settled(t)
	if r := m.get(t, "shop", "web", 2); r.SpecHash != "v2-web" || r.Node != "n2" {
		t.Errorf("slot 2 is %+v", r)
	}
}

// TestVolumeStays keeps a slot on the node that has its data, even when a
// label that it was placed by is gone.
func TestVolumeStays(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.label("n2", "disk", "big")
	byLabel := constraint("node.labels.disk", true, "big")
	m.accept("shop", svc("db", "v1", 1, volume("data"), byLabel))
	m.settled(t)
	m.label("n2", "disk", "small")
	m.label("n1", "disk", "big")
	m.settled(t)
	if r := m.get(t, "shop", "db", 1); r.Node != "n2" || r.Serial != 1 {
		t.Fatalf("the replica moved to %s", r.Node)
	}
	m.report(m.get(t, "shop", "db", 1), cluster.Failed, "killed", 137)
	m.settled(t)
	const want = "no node: 1 without its volume, 1 lack label disk=big"
	if got := m.services["shop/db"].Reason; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}

// TestStopFirstLooksBeforeItLeaps keeps the old replica when the new one would
// find no room, and counts what the old one leaves behind when it would.
func TestStopFirstLooksBeforeItLeaps(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 1, stopFirst, memory(6*gib)))
	m.settled(t)
	m.accept("shop", svc("web", "v2", 1, stopFirst, memory(9*gib)))
	m.settled(t)
	if r := m.get(t, "shop", "web", 1); r.SpecHash != "v1-web" || r.Phase != cluster.Healthy {
		t.Errorf("slot 1 is %+v", r)
	}
	if got, want := m.services["shop/web"].Reason, "no node: 1 short of 9 GiB"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	m.accept("shop", svc("web", "v3", 1, stopFirst, memory(7*gib)))
	m.settled(t)
	if r := m.get(t, "shop", "web", 1); r.SpecHash != "v3-web" || r.Phase != cluster.Healthy {
		t.Errorf("slot 1 is %+v", r)
	}
}

// TestScaleDown takes what does not serve first, then the highest slots.
func TestScaleDown(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 5))
	m.settled(t)
	m.fate["v1-web"] = sickens
	m.report(m.get(t, "shop", "web", 2), cluster.Unhealthy, "", 0)
	m.accept("shop", svc("web", "v1", 3))
	m.settled(t)
	var slots []int
	for _, id := range m.byAge() {
		slots = append(slots, m.replicas[id].Slot)
	}
	if diff := cmp.Diff([]int{1, 3, 4}, slots); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
	delete(m.fate, "v1-web")
	m.accept("shop", svc("web", "v1", 4))
	m.settled(t)
	if r := m.get(t, "shop", "web", 2); r.Phase != cluster.Healthy {
		t.Errorf("slot 2 is not filled again: %+v", r)
	}
}

// TestNothingKnown checks that nothing is done for want of knowledge.
func TestNothingKnown(t *testing.T) {
	running := newSim(t, "n1")
	running.accept("shop", svc("web", "v1", 1))
	running.settled(t)

	tests := map[string]*cluster.View{
		"no view":              nil,
		"nothing accepted yet": {},
		"never compiled":       {Claim: 3, Deployments: map[string]*cluster.Accepted{"shop": {Name: "shop"}}},
	}
	for name, view := range tests {
		t.Run(name, func(t *testing.T) {
			in := running.input()
			in.View = view
			if r := Compute(in); r.Plan != nil || !r.Wake.IsZero() {
				t.Errorf("planned: %s", r)
			}
		})
	}
}

// TestLimit cuts a large plan into parts that together are the same.
func TestLimit(t *testing.T) {
	whole, parts := newSim(t, "n1", "n2", "n3"), newSim(t, "n1", "n2", "n3")
	for _, m := range []*sim{whole, parts} {
		for _, d := range []string{"a", "b", "c"} {
			m.accept(d, svc("web", "v1", 5))
		}
	}
	whole.plan()
	rounds := 0
	for more := true; more; rounds++ {
		in := parts.input()
		in.Limit = 4
		r := Compute(in)
		if len(r.Plan.Create) > 4 {
			t.Fatalf("%d are created at once", len(r.Plan.Create))
		}
		if err := parts.apply(r.Plan); err != nil {
			t.Fatal(err)
		}
		more = r.More
	}
	if rounds != 4 {
		t.Errorf("%d rounds, want 4", rounds)
	}
	where := func(m *sim) (out []string) {
		for _, id := range m.byAge() {
			out = append(out, id+" "+m.replicas[id].Node)
		}
		return out
	}
	if diff := cmp.Diff(where(whole), where(parts)); diff != "" {
		t.Errorf("(-whole +parts):\n%s", diff)
	}
}
