package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/mesh/wireguard"
)

// large is a cluster of so many nodes and networks, as the node with the number
// self sees it: each network has a slice there and on others.
func large(nodes, networks, self, spread int) *cluster.EdgeState {
	s := &cluster.EdgeState{Cluster: "c1", Node: fmt.Sprintf("n%d", self), Index: 1, Pool: prefix("10.64.0.0/10")}
	next := make([]netip.Addr, nodes) // the next free /28 of each
	for i := range nodes {
		n := node(i)
		s.Nodes = append(s.Nodes, n)
		next[i] = skip(n.Blocks[0].Addr())
	}
	for i := range networks {
		n := cluster.EdgeNetwork{Name: fmt.Sprintf("jaco_d%d_net", i), Deployment: fmt.Sprintf("d%d", i), Network: "net"}
		for j := range spread {
			at := (self + j*(i+1)) % nodes
			p := netip.PrefixFrom(next[at], 28)
			if !s.Nodes[at].Blocks[0].Contains(p.Addr()) || slices.Contains(n.Members, p) {
				continue
			}
			next[at] = skip(next[at])
			n.Members = append(n.Members, p)
			if at == self {
				n.Slices = append(n.Slices, cluster.EdgeSlice{Serial: len(n.Slices) + 1, Prefix: p})
			}
		}
		if len(n.Slices) > 0 {
			s.Networks = append(s.Networks, n)
		}
	}
	return s
}

// skip is the address 16 further on.
func skip(a netip.Addr) netip.Addr {
	for range 16 {
		a = a.Next()
	}
	return a
}

// TestBuildProperty looks at the plans of every node of a cluster: no two peers
// share an address, everything that a network has is routed to where it is, and
// all nodes agree on who has what.
func TestBuildProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.IntRange(1, 40).Draw(t, "nodes")
		networks := rapid.IntRange(0, 30).Draw(t, "networks")
		spread := rapid.IntRange(1, 6).Draw(t, "spread")
		owners := map[netip.Prefix]string{}
		for self := range nodes {
			state := large(nodes, networks, self, spread)
			plan, err := Build(state, local)
			if err != nil {
				t.Fatalf("node %d: %v", self, err)
			}
			checkPlan(t, state, plan)
			for _, p := range plan.WireGuard.Peers {
				for _, allowed := range p.Allowed {
					if owner, known := owners[allowed]; known && owner != p.Name {
						t.Errorf("%s is %s's for some and %s's for others", allowed, owner, p.Name)
					}
					owners[allowed] = p.Name
				}
			}
		}
	})
}

// TestBuildThousand is the same look at a few nodes of a thousand.
func TestBuildThousand(t *testing.T) {
	for _, self := range []int{0, 1, 500, 999} {
		state := large(1000, 200, self, 12)
		plan, err := Build(state, local)
		if err != nil {
			t.Fatal(err)
		}
		if len(plan.WireGuard.Peers) != 999 || len(plan.Firewall.Bridges) < 200 {
			t.Fatalf("%d peers and %d bridges", len(plan.WireGuard.Peers), len(plan.Firewall.Bridges))
		}
		checkPlan(t, state, plan)
	}
}

// failer is a testing.T or a rapid.T.
type failer interface {
	Errorf(format string, args ...any)
	Helper()
}

// checkPlan compares pairs naively, unlike what it checks.
func checkPlan(t failer, state *cluster.EdgeState, plan Plan) {
	t.Helper()
	var all []netip.Prefix
	keys := map[wireguard.Key]bool{}
	for _, p := range plan.WireGuard.Peers {
		if keys[p.PublicKey] {
			t.Errorf("two peers have the key of %s", p.Name)
		}
		keys[p.PublicKey] = true
		for _, allowed := range p.Allowed {
			if allowed.Contains(plan.WireGuard.Address) {
				t.Errorf("%s of %s holds the node's own address", allowed, p.Name)
			}
			for _, other := range all {
				if other.Overlaps(allowed) {
					t.Errorf("two peers are allowed %s and %s", other, allowed)
				}
			}
		}
		all = append(all, p.Allowed...)
	}
	routed := func(p netip.Prefix) bool {
		return slices.ContainsFunc(all, func(outer netip.Prefix) bool { return outer.Bits() <= p.Bits() && outer.Contains(p.Addr()) })
	}
	for _, b := range plan.Firewall.Bridges {
		for _, m := range b.Members {
			if m != b.Subnet && !routed(m) && !ownPrefix(state, m) {
				t.Errorf("member %s of %s is routed nowhere", m, b.Network)
			}
		}
		if !slices.Contains(b.Members, b.Subnet) {
			t.Errorf("%s is not a member of its own network", b.Subnet)
		}
	}
	if len(plan.DNS.Listeners) != len(plan.Bridge.Networks) || len(plan.Bridge.Networks) != len(plan.Firewall.Bridges) {
		t.Errorf("%d listeners, %d bridges, %d with rules", len(plan.DNS.Listeners), len(plan.Bridge.Networks), len(plan.Firewall.Bridges))
	}
}

func ownPrefix(state *cluster.EdgeState, p netip.Prefix) bool {
	for _, n := range state.Nodes {
		if n.Name == state.Node {
			return holds(n.Blocks, p)
		}
	}
	return false
}

// BenchmarkBuild is the node of a thousand with 200 networks; the budget is 20
// ms (issue: mesh.Build at 1,000 nodes).
func BenchmarkBuild(b *testing.B) {
	state := large(1000, 200, 500, 12)
	for i := range 2000 {
		n := &state.Networks[i%len(state.Networks)]
		state.Services = append(state.Services, cluster.EdgeService{
			Deployment: n.Deployment, Name: fmt.Sprintf("s%d", i), Networks: []cluster.EdgeAttachment{{Network: n.Name}},
			Endpoints: []cluster.EdgeEndpoint{{Slot: 1, Node: state.Node, Ready: true, Addresses: cluster.NewNetworkAddresses(map[string]netip.Addr{
				n.Name: n.Slices[0].Prefix.Addr().Next().Next(),
			})}},
		})
	}
	for b.Loop() {
		if _, err := Build(state, local); err != nil {
			b.Fatal(err)
		}
	}
	if per := b.Elapsed().Seconds() / float64(b.N); per > 0.020 {
		b.Errorf("%.1f ms for 1,000 nodes, want 20 at most", per*1000)
	}
}
