package mesh

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
)

// TestBuild prints what is computed of a state.
func TestBuild(t *testing.T) {
	alone := &cluster.EdgeState{Cluster: "c1", Node: "n1", Pool: prefix("10.64.0.0/10"), Nodes: []cluster.EdgeNode{node(1)}}
	ingress := withNode(withNode(shop(), 0, func(n *cluster.EdgeNode) { n.Ingress = true }), 2, func(n *cluster.EdgeNode) { n.Ingress = true })
	ingress.Networks, ingress.Services = nil, nil
	grown := withNode(shop(), 1, func(n *cluster.EdgeNode) { n.Blocks = append([]netip.Prefix{prefix("10.80.0.0/20")}, n.Blocks...) })
	grown.Networks, grown.Services = nil, nil
	set := local
	set.MTU, set.Upstreams = 1380, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}
	for _, test := range []struct {
		name  string
		state *cluster.EdgeState
		local Local
	}{
		{"alone", alone, local},
		{"shop", shop(), local},
		{"ingress", ingress, local},
		{"grown", grown, set},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Build(test.state, test.local)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, test.name+".plan", plan.String())
		})
	}
}

// TestBuildKeepsOrder wants the same plan whatever order the state is in.
func TestBuildKeepsOrder(t *testing.T) {
	turned := shop()
	slices.Reverse(turned.Nodes)
	slices.Reverse(turned.Networks)
	for i := range turned.Networks {
		slices.Reverse(turned.Networks[i].Members)
	}
	a, err := buildHost(shop(), local)
	if err != nil {
		t.Fatal(err)
	}
	b, err := buildHost(turned, local)
	if err != nil {
		t.Fatal(err)
	}
	if !a.sameHost(&b) {
		t.Errorf("another order gave another plan:\n%s", cmp.Diff(a.String(), b.String()))
	}
}

// TestBuildRefuses wants every state refused by which addresses would be
// somebody else's too.
func TestBuildRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		state *cluster.EdgeState
		want  error
		says  string
	}{
		{"no pool", func() *cluster.EdgeState { s := shop(); s.Pool = netip.Prefix{}; return s }(), ErrConflict, "pool"},
		{"a pool of IPv6", func() *cluster.EdgeState { s := shop(); s.Pool = prefix("fd00::/8"); return s }(), ErrConflict, "pool"},
		{"not among the nodes", func() *cluster.EdgeState { s := shop(); s.Nodes = s.Nodes[1:]; return s }(), ErrNoBlock, ""},
		{"two nodes with one block", withNode(shop(), 1, func(n *cluster.EdgeNode) { n.Blocks = append(n.Blocks, prefix("10.64.48.0/20")) }), ErrConflict, "overlap"},
		{"a block in another", withNode(shop(), 1, func(n *cluster.EdgeNode) { n.Blocks = append(n.Blocks, prefix("10.64.16.0/24")) }), ErrConflict, "overlap"},
		{"a block with others between", withNode(shop(), 0, func(n *cluster.EdgeNode) { n.Blocks = append(n.Blocks, prefix("10.64.0.0/16")) }), ErrConflict, "overlap"},
		{"a block outside the pool", withNode(shop(), 1, func(n *cluster.EdgeNode) { n.Blocks = append(n.Blocks, prefix("10.0.0.0/20")) }), ErrConflict, "pool"},
		{"a block that holds the pool", withNode(shop(), 1, func(n *cluster.EdgeNode) { n.Blocks = []netip.Prefix{prefix("10.0.0.0/8")} }), ErrConflict, "pool"},
		{"a node without blocks", withNode(shop(), 1, func(n *cluster.EdgeNode) { n.Blocks = nil }), ErrConflict, "none of its blocks"},
		{"an address elsewhere", withNode(shop(), 1, func(n *cluster.EdgeNode) { n.Address = netip.MustParseAddr("10.64.48.1") }), ErrConflict, "none of its blocks"},
		{"no address", withNode(shop(), 1, func(n *cluster.EdgeNode) { n.Address = netip.Addr{} }), ErrConflict, "none of its blocks"},
		{"a short key", withNode(shop(), 1, func(n *cluster.EdgeNode) { n.PublicKey = n.PublicKey[:31] }), ErrConflict, "31 bytes"},
		{"one key for two", withNode(shop(), 1, func(n *cluster.EdgeNode) { n.PublicKey = node(1).PublicKey }), ErrConflict, "has the key of"},
		{"one name for two", withNode(shop(), 1, func(n *cluster.EdgeNode) { n.Name = "n3" }), ErrConflict, "n3"},
		{"a slice of another node", withNetwork(shop(), 0, func(n *cluster.EdgeNetwork) { n.Slices[0].Prefix = n.Members[1] }), ErrConflict, "this node's blocks"},
		{"a slice that is no member", withNetwork(shop(), 0, func(n *cluster.EdgeNetwork) { n.Members = n.Members[1:] }), ErrConflict, "not one of its members"},
		{"a slice there twice", withNetwork(shop(), 1, func(n *cluster.EdgeNetwork) { n.Slices[1].Serial = 1 }), ErrConflict, "twice"},
		{"a member of two networks", withNetwork(shop(), 0, func(n *cluster.EdgeNetwork) { n.Members = append(n.Members, prefix("10.64.32.16/28")) }), ErrConflict, "overlap"},
		{"a member around another's", withNetwork(shop(), 0, func(n *cluster.EdgeNetwork) { n.Members = append(n.Members, prefix("10.64.32.0/24")) }), ErrConflict, "overlap"},
		{"a member with a node's own address", withNetwork(shop(), 0, func(n *cluster.EdgeNetwork) { n.Members = append(n.Members, prefix("10.64.32.0/28")) }), ErrConflict, "overlap"},
		{"a member outside the pool", withNetwork(shop(), 0, func(n *cluster.EdgeNetwork) { n.Members = append(n.Members, prefix("192.168.0.0/24")) }), ErrConflict, "pool"},
		{"everybody a member", withNetwork(shop(), 0, func(n *cluster.EdgeNetwork) { n.Members = append(n.Members, prefix("0.0.0.0/0")) }), ErrConflict, "pool"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Build(test.state, local); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the error is %v, want %v with %q", err, test.want, test.says)
			}
		})
	}
}

// TestPlanHidesTheKey wants no private key in what is printed.
func TestPlanHidesTheKey(t *testing.T) {
	hidden := local
	for i := range hidden.Key {
		hidden.Key[i] = 0xab
	}
	plan, err := Build(shop(), hidden)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plan.String(), "abab") {
		t.Error("the plan prints the private key")
	}
}
