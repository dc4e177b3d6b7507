package scheduler

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// zone puts nodes into zones: "a" for n1 and n2, "b" for n3, and so on.
func (m *sim) zone(name string, nodes ...string) {
	for _, n := range nodes {
		m.label(n, zoneLabel, name)
	}
}

func TestSpread(t *testing.T) {
	three := []string{"n1", "n2", "n3"}
	tests := []struct {
		name   string
		nodes  []string
		setup  func(m *sim)
		accept []desired.Service
		want   map[string]string // by service, "" for all of them
	}{
		{name: "one service", nodes: three, accept: []desired.Service{svc("web", "v1", 9)}, want: map[string]string{"": "n1:3 n2:3 n3:3"}},
		{
			name: "three services", nodes: three,
			accept: []desired.Service{svc("a", "v1", 3), svc("b", "v1", 3), svc("c", "v1", 3)},
			want:   map[string]string{"a": "n1:1 n2:1 n3:1", "b": "n1:1 n2:1 n3:1", "c": "n1:1 n2:1 n3:1", "": "n1:3 n2:3 n3:3"},
		},
		{
			name: "services of two", nodes: three,
			accept: []desired.Service{svc("a", "v1", 2), svc("b", "v1", 2), svc("c", "v1", 2)},
			want:   map[string]string{"a": "n1:1 n2:1", "b": "n1:1 n3:1", "c": "n2:1 n3:1", "": "n1:2 n2:2 n3:2"},
		},
		{
			name: "zones before nodes", nodes: []string{"n1", "n2", "n3", "n4"},
			setup:  func(m *sim) { m.zone("a", "n1", "n2", "n3"); m.zone("b", "n4") },
			accept: []desired.Service{svc("web", "v1", 4)},
			want:   map[string]string{"": "n1:1 n2:1 n4:2"},
		},
		{
			name: "a zone that is full leaves the rest to others", nodes: []string{"n1", "n2", "n3", "n4"},
			setup:  func(m *sim) { m.zone("a", "n1", "n2", "n3"); m.zone("b", "n4") },
			accept: []desired.Service{svc("web", "v1", 4, maxPerNode(1))},
			want:   map[string]string{"": "n1:1 n2:1 n3:1 n4:1"},
		},
		{
			name: "nodes without a zone are one", nodes: []string{"n1", "n2", "n3"},
			setup:  func(m *sim) { m.zone("a", "n3") },
			accept: []desired.Service{svc("web", "v1", 4)},
			want:   map[string]string{"": "n1:1 n2:1 n3:2"},
		},
		{
			name: "zones of a volume's replicas that wait count", nodes: []string{"n1", "n2", "n3", "n4"},
			setup: func(m *sim) {
				m.zone("a", "n1", "n2")
				m.zone("b", "n3", "n4")
				m.accept("shop", svc("db", "v1", 1, volume("data")))
				m.settle(100)
				m.node("n1", cluster.NodeDown)
			},
			accept: []desired.Service{svc("db", "v1", 2, volume("data"))},
			want:   map[string]string{"": "n1:1 n3:1"},
		},
		{
			name: "pack knows no zones", nodes: []string{"n1", "n2"},
			setup:  func(m *sim) { m.zone("a", "n1"); m.zone("b", "n2") },
			accept: []desired.Service{svc("web", "v1", 3, pack)},
			want:   map[string]string{"": "n1:3"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newSim(t, tt.nodes...)
			if tt.setup != nil {
				tt.setup(m)
			}
			m.accept("shop", tt.accept...)
			m.settled(t)
			for service, want := range tt.want {
				if got := m.perNode(service); got != want {
					t.Errorf("%q runs on %s, want %s", service, got, want)
				}
			}
		})
	}
}

// TestNewNodesFillUp moves nothing to a node that joins or returns, and prefers
// it for what is new.
func TestNewNodesFillUp(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 9))
	m.settled(t)
	m.node("n3", cluster.NodeDown)
	m.settled(t)
	if got := m.perNode(""); got != "n1:5 n2:4" {
		t.Fatalf("after a loss: %s", got)
	}
	m.node("n3", cluster.NodeReady)
	m.join("n4")
	if r := m.plan(); r.Plan != nil {
		t.Errorf("something moves to a node that has room: %s", r)
	}
	m.accept("shop", svc("web", "v1", 12))
	m.accept("blog", svc("web", "v1", 3))
	m.settled(t)
	if got := m.perNode(""); got != "n1:5 n2:5 n3:3 n4:2" {
		t.Errorf("what is new: %s", got)
	}
}

// TestSpreadIsEven places any number of services on any nodes in any zones: no
// two zones, and no two nodes of one, differ by more than one in a service.
func TestSpreadIsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newSim(t)
		zones := map[string][]string{}
		for i := range rapid.IntRange(1, 8).Draw(t, "nodes") {
			name := fmt.Sprintf("n%d", i)
			m.join(name)
			zone := rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "zone")
			if zone != "" {
				m.zone(zone, name)
			}
			zones[zone] = append(zones[zone], name)
		}
		for i := range rapid.IntRange(1, 5).Draw(t, "services") {
			m.accept(fmt.Sprintf("app%d", i), svc("web", "v1", rapid.IntRange(0, 20).Draw(t, "replicas")))
		}
		m.plan()
		for app := range m.view.Deployments {
			on := map[string]int{}
			for _, r := range m.replicas {
				if r.Deployment == app {
					on[r.Node]++
				}
			}
			var sums []int
			for _, nodes := range zones {
				sum := 0
				var counts []int
				for _, n := range nodes {
					sum += on[n]
					counts = append(counts, on[n])
				}
				even(t, "nodes of a zone", counts)
				sums = append(sums, sum)
			}
			even(t, "zones", sums)
		}
	})
}

func even(t *rapid.T, what string, counts []int) {
	for _, a := range counts {
		for _, b := range counts {
			if a-b > 1 {
				t.Fatalf("%s: %v", what, counts)
			}
		}
	}
}
