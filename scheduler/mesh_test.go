package scheduler

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// networks attaches a service; none are the host's own network.
func networks(names ...string) func(*desired.Service) {
	return func(s *desired.Service) {
		s.Container.Networks = nil
		for _, name := range names {
			s.Container.Networks = append(s.Container.Networks, desired.Attachment{Network: name})
		}
		if len(names) == 0 {
			s.Container.Isolation.Network = desired.HostNetwork
		}
	}
}

// define adds definitions of networks to an accepted deployment.
func (m *sim) define(deployment string, definitions ...desired.Network) {
	d := m.view.Deployments[deployment].Desired
	d.Networks = append(d.Networks, definitions...)
}

// given prints the mesh's part of a plan, one thing a line.
func given(p *cluster.ApplyPlan) string {
	var lines []string
	if p == nil {
		return ""
	}
	for _, b := range p.Blocks {
		lines = append(lines, fmt.Sprintf("%s for %s", b.Prefix, b.Node))
	}
	for _, s := range p.Slices {
		lines = append(lines, s.String())
	}
	for _, k := range p.DropSlices {
		lines = append(lines, fmt.Sprintf("drop %s on %s", cluster.SliceNetwork(k.Network, k.Serial), k.Node))
	}
	return strings.Join(lines, "\n")
}

func wantGiven(t *testing.T, what string, p *cluster.ApplyPlan, want ...string) {
	t.Helper()
	if got := given(p); got != strings.Join(want, "\n") {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, strings.Join(want, "\n"))
	}
}

// TestSlicesWithReplicas: the plan that creates replicas brings the slices, one of
// a network on a node, and the node's first block.
func TestSlicesWithReplicas(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.mesh.bare = true
	m.accept("shop", svc("api", "v1", 3, networks("back", "front")), svc("web", "v1", 2, networks("front")), svc("agent", "v1", 1, networks()))
	r := m.plan()
	if len(r.Plan.Create) != 6 {
		t.Fatalf("%s", r)
	}
	wantGiven(t, "the first plan", r.Plan, "10.64.0.0/20 for n1", "10.64.16.0/20 for n2",
		"jaco_shop_back on n2: 10.64.16.16/28", "jaco_shop_front on n2: 10.64.16.32/28",
		"jaco_shop_back on n1: 10.64.0.16/28", "jaco_shop_front on n1: 10.64.0.32/28")
	for _, name := range []string{"n1", "n2"} {
		if !slices.Contains(r.Plan.Expect, cluster.Expectation{Kind: cluster.ExpectMesh, Key: name, ModifyIndex: m.nodes["n2"].ModifyIndex}) {
			t.Errorf("the plan does not depend on %s's place in the mesh: %v", name, r.Plan.Expect)
		}
	}
	if !m.settle(100) {
		t.Fatal("not at rest")
	}
}

// TestOutsideMesh: a node without an edge takes only what has no networks of the
// mesh.
func TestOutsideMesh(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.mesh.out = map[string]bool{"n1": true, "n2": true}
	m.accept("host", svc("host", "v1", 1, networks()))
	m.accept("lan", svc("lan", "v1", 1, networks("lan")))
	m.define("lan", desired.Network{Name: "lan", Engine: "lan", External: true})
	m.accept("shop", svc("web", "v1", 1))
	m.accept("user", svc("user", "v1", 1, networks("net")))
	m.define("user", desired.Network{Name: "net", Engine: "jaco_shop_default", External: true})
	if !m.settle(100) {
		t.Fatal("not at rest")
	}
	for service, want := range map[string]string{
		"host/host": "", "lan/lan": "", "shop/web": "no node: 2 are not in the mesh yet", "user/user": "no node: 2 are not in the mesh yet",
	} {
		if got := m.services[service].Reason; got != want {
			t.Errorf("%s says %q, want %q", service, got, want)
		}
	}
	m.node("n2", cluster.NodeDown)
	m.plan()
	if got, want := m.services["shop/web"].Reason, "no node: 1 is Down, 1 is not in the mesh yet"; got != want {
		t.Errorf("with a node down: %q, want %q", got, want)
	}
	delete(m.mesh.out, "n1")
	r := m.plan()
	wantGiven(t, "once one reports", r.Plan, "jaco_shop_default on n1: 10.64.0.16/28")
	if len(r.Plan.Create) != 2 || r.Plan.Create[0].Node != "n1" {
		t.Errorf("%s", r)
	}
}

// TestPoolUsedUp: what finds no address says so, and is placed where there are
// some.
func TestPoolUsedUp(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.mesh.pool, m.mesh.bare = netip.MustParsePrefix("10.99.0.0/20"), true
	m.accept("shop", svc("web", "v1", 2))
	m.settle(100)
	if got := m.perNode(""); got != "n1:2" {
		t.Errorf("with one block for two nodes: %s", got)
	}
	m.accept("pinned", svc("db", "v1", 1, hosts("n2")))
	m.settle(100)
	if got, want := m.services["pinned/db"].Reason, "no node: 1 not among its hosts, 1 without an address for it: the pool 10.99.0.0/20 has no free block for node n2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// Neither does a plan come back for it again and again.
	if r := Compute(m.input()); r.Plan != nil {
		t.Errorf("not at rest: %s\n%s", r, given(r.Plan))
	}
}

// TestNodeUsedUp: of two networks that a replica needs a node that can give one
// gives none.
func TestNodeUsedUp(t *testing.T) {
	m := newSim(t, "n1")
	m.mesh.pool = netip.MustParsePrefix("10.99.0.0/20")
	var crowd []desired.Service
	var names []string
	for i := range cluster.SlicesPerBlock - 2 {
		names = append(names, fmt.Sprintf("net-%03d", i))
	}
	crowd = append(crowd, svc("crowd", "v1", 1, networks(names...)))
	m.accept("crowd", crowd...)
	m.settle(100)
	if len(m.mesh.slices) != cluster.SlicesPerBlock-2 {
		t.Fatalf("%d slices", len(m.mesh.slices))
	}
	m.accept("shop", svc("two", "v1", 1, networks("a", "b")))
	m.settle(100)
	if why := m.services["shop/two"].Reason; !strings.HasPrefix(why, "no node: 1 without an address for it: the pool") || len(m.mesh.slices) != cluster.SlicesPerBlock-2 {
		t.Errorf("%q with %d slices", why, len(m.mesh.slices))
	}
	m.accept("shop", svc("one", "v1", 1, networks("a")))
	m.settle(100)
	if got := m.perNode("one"); got != "n1:1" {
		t.Errorf("one runs on %q: %+v", got, m.services["shop/one"])
	}
	// The crowd's own networks take more of it.
	m.accept("crowd", svc("crowd", "v1", 3, networks(names...)))
	m.settle(100)
	if got := m.perNode("crowd"); got != "n1:3" {
		t.Errorf("the crowd runs on %q: %+v", got, m.services["crowd/crowd"])
	}
}

// TestSliceSizes: a slice is made for what its node may come to hold, and another
// one when that is not enough.
func TestSliceSizes(t *testing.T) {
	for _, tt := range []struct {
		name    string
		service desired.Service
		want    []string
	}{
		{"few", svc("web", "v1", 6), []string{"jaco_shop_default on n1: 10.64.0.16/28", "jaco_shop_default on n2: 10.64.16.16/28"}},
		{"many", svc("web", "v1", 60), []string{"jaco_shop_default on n1: 10.64.0.64/26", "jaco_shop_default on n2: 10.64.16.64/26"}},
		{"all on one", svc("web", "v1", 60, pack), []string{"jaco_shop_default on n1: 10.64.0.64/26"}},
		{"all on the only one", svc("web", "v1", 60, hosts("n2")), []string{"jaco_shop_default on n2: 10.64.16.64/26"}},
		{"no more than some", svc("web", "v1", 26, hosts("n2"), maxPerNode(5)), []string{"jaco_shop_default on n2: 10.64.16.16/28"}},
		{"one each", svc("web", "v1", 0, global), []string{"jaco_shop_default on n1: 10.64.0.16/28", "jaco_shop_default on n2: 10.64.16.16/28"}},
		{"beyond the largest", svc("web", "v1", 300, hosts("n2")),
			[]string{"jaco_shop_default on n2: 10.64.17.0/24", "jaco_shop_default.jaco-2 on n2: 10.64.18.0/26"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newSim(t, "n1", "n2")
			m.accept("shop", tt.service)
			wantGiven(t, "the plan", m.plan().Plan, tt.want...)
		})
	}
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 10, stopFirst))
	wantGiven(t, "ten", m.plan().Plan, "jaco_shop_default on n1: 10.64.0.16/28")
	m.accept("shop", svc("web", "v1", 13, stopFirst))
	three := m.plan().Plan
	wantGiven(t, "three more", three)
	if !slices.ContainsFunc(three.Expect, func(e cluster.Expectation) bool { return e.Kind == cluster.ExpectMesh && e.Key == "n1" }) {
		t.Errorf("what is placed on a slice does not depend on it: %v", three.Expect)
	}
	m.accept("shop", svc("web", "v1", 40, stopFirst))
	wantGiven(t, "many more", m.plan().Plan, "jaco_shop_default.jaco-2 on n1: 10.64.0.32/27")
}

// TestFurtherBlock: a node is given its next block while it has some slices left.
func TestFurtherBlock(t *testing.T) {
	m := newSim(t, "n1", "n2")
	var names []string
	for i := range cluster.SlicesPerBlock - 1 - cluster.FewSlices {
		names = append(names, fmt.Sprintf("net-%03d", i))
	}
	m.accept("most", svc("most", "v1", 1, networks(names[1:]...), hosts("n1")))
	if r := m.plan(); len(r.Plan.Slices) != len(names)-1 || len(r.Plan.Blocks) != 0 {
		t.Errorf("%d slices, %v", len(r.Plan.Slices), r.Plan.Blocks)
	}
	m.accept("shop", svc("web", "v1", 1, hosts("n1")))
	r := m.plan()
	wantGiven(t, "with few left", r.Plan, "10.64.32.0/20 for n1", "jaco_shop_default on n1: 10.64.15.112/28")
	if m.settle(100); len(m.mesh.nodes["n1"].Blocks) != 2 {
		t.Errorf("n1 has %v", m.mesh.nodes["n1"].Blocks)
	}
	m = newSim(t, "n1")
	m.mesh.bare = true
	m.accept("most", svc("most", "v1", 1, networks(names...)))
	if r := m.plan(); len(r.Plan.Blocks) != 2 {
		t.Errorf("with the first one nearly used up: %v", r.Plan.Blocks)
	}
}

// TestNetworkStays: neither a restart nor an update, nor a node that does not
// answer, takes a network away.
func TestNetworkStays(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 2, stopFirst), svc("db", "v1", 1, volume("data"), networks("back")))
	m.settle(100)
	had := fmt.Sprint(m.mesh.slices)
	stays := func(what string) {
		t.Helper()
		for range 400 {
			r, busy := m.round()
			if r.Plan != nil && len(r.Plan.DropSlices)+len(r.Plan.Slices) > 0 {
				t.Fatalf("%s: %s\n%s", what, given(r.Plan), r)
			}
			if !busy {
				break
			}
		}
		if got := fmt.Sprint(m.mesh.slices); got != had {
			t.Errorf("%s: %s, were %s", what, got, had)
		}
	}
	m.accept("shop", svc("web", "v2", 2, stopFirst), svc("db", "v2", 1, volume("data"), networks("back")))
	stays("an update that stops first")
	m.report(m.get(t, "shop", "web", 1), cluster.Failed, "killed", 137)
	m.report(m.get(t, "shop", "db", 1), cluster.Failed, "killed", 137)
	stays("restarts")
	m.node("n1", cluster.NodeSuspect)
	m.node("n2", cluster.NodeNotReady)
	stays("nodes that do not answer")
}

// TestNetworkGoes: what serves nothing is given back, and used again last.
func TestNetworkGoes(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 2))
	m.accept("blog", svc("web", "v1", 1, hosts("n1")))
	m.settle(100)
	m.node("n2", cluster.NodeDown)
	m.settle(100)
	if n := len(m.mesh.slices); n != 3 {
		t.Fatalf("a node that is down lost its slices: %v", m.mesh.slices)
	}
	m.node("n2", cluster.NodeReady)
	wantGiven(t, "once it is back", m.plan().Plan, "drop jaco_shop_default on n2")

	delete(m.view.Deployments, "blog")
	var dropped []string
	for range 20 {
		if r, _ := m.round(); r.Plan != nil && given(r.Plan) != "" {
			dropped = append(dropped, given(r.Plan))
		}
	}
	if want := "drop jaco_blog_default on n1"; strings.Join(dropped, "; ") != want {
		t.Errorf("after the removal of a deployment: %v, want %s", dropped, want)
	}
	m.accept("news", svc("web", "v1", 1, hosts("n1")))
	wantGiven(t, "the next", m.plan().Plan, "jaco_news_default on n1: 10.64.0.48/28")
}

// TestNobodyHoldsUpPlans: a node that says that a replica has an address where it
// has none keeps that slice, and nothing else.
func TestNobodyHoldsUpPlans(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 1))
	m.accept("blog", svc("web", "v1", 1))
	m.settle(100)
	liar := m.get(t, "shop", "web", 1)
	liar.Addresses += " jaco_blog_default=10.64.0.18"
	delete(m.view.Deployments, "blog")
	if !m.settle(100) || len(m.mesh.slices) != 2 {
		t.Errorf("slices: %v", m.mesh.slices)
	}
	m.accept("news", svc("web", "v1", 1))
	if m.settle(100); len(m.mesh.slices) != 3 {
		t.Errorf("slices: %v", m.mesh.slices)
	}
}

// TestUnknownReplicaKeepsNetworks: what runs, is of no revision that the view has,
// and has not said where it is, may be anywhere.
func TestUnknownReplicaKeepsNetworks(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 1))
	m.settle(100)
	r := m.get(t, "shop", "web", 1)
	r.Stop, r.Addresses = true, ""
	delete(m.view.Deployments, "shop")
	if p := Compute(m.input()).Plan; p != nil && len(p.DropSlices) > 0 {
		t.Errorf("given back: %s", given(p))
	}
	r.Addresses = "elsewhere=10.64.0.99"
	wantGiven(t, "once it has said so", Compute(m.input()).Plan, "drop jaco_shop_default on n1")
}

// TestAddressesForWhatRuns: replicas from before there was a mesh are given
// addresses without being replaced, and say so when there are none.
func TestAddressesForWhatRuns(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 4))
	m.settle(100)
	m.mesh.slices = nil
	for _, n := range m.mesh.nodes {
		n.Blocks, n.Next = nil, netip.Addr{}
	}
	for _, r := range m.replicas {
		r.Addresses = ""
	}
	r := m.plan()
	if len(r.Plan.Create)+len(r.Plan.Stop) > 0 {
		t.Errorf("%s", r)
	}
	wantGiven(t, "the plan", r.Plan, "10.64.0.0/20 for n1", "10.64.16.0/20 for n2",
		"jaco_shop_default on n1: 10.64.0.16/28", "jaco_shop_default on n2: 10.64.16.16/28")

	m.mesh.slices, m.mesh.pool = nil, netip.MustParsePrefix("192.168.0.0/20")
	for _, n := range m.mesh.nodes {
		n.Blocks = nil
	}
	m.settle(100)
	if got, want := m.services["shop/web"].Reason, "no address: the pool 192.168.0.0/20 has no free block for node n2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	m.mesh.pool = netip.MustParsePrefix("192.168.0.0/16")
	m.settle(100)
	if got := m.services["shop/web"].Reason; got != "" {
		t.Errorf("with a larger pool: %q", got)
	}
}
