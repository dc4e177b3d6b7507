package mesh

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/mesh/wireguard"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// node is a member with one block, 10.64.<16×number>.0/20.
func node(number int) cluster.EdgeNode {
	block := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64 + byte(number>>4), byte(number << 4), 0}), 20)
	key := make([]byte, len(wireguard.Key{}))
	key[0], key[1] = byte(number>>8), byte(number)
	return cluster.EdgeNode{
		Name: fmt.Sprintf("n%d", number), PublicKey: key,
		Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, byte(number >> 8), byte(number)}), 51820),
		Address:  block.Addr().Next(), Blocks: []netip.Prefix{block},
	}
}

var local = Local{Interface: "jaco0", Mode: wireguard.Auto, Key: wireguard.Key{7}, Port: 51820}

// shop is a state of three nodes with two networks of one deployment on n1.
func shop() *cluster.EdgeState {
	return &cluster.EdgeState{
		Cluster: "c1", Node: "n1", Index: 40, Pool: prefix("10.64.0.0/10"),
		Nodes: []cluster.EdgeNode{node(1), node(2), node(3)},
		Networks: []cluster.EdgeNetwork{
			{
				Name: "jaco_shop_back", Deployment: "shop", Network: "back", Internal: true,
				Slices:  []cluster.EdgeSlice{{Serial: 1, Prefix: prefix("10.64.16.32/28")}},
				Members: []netip.Prefix{prefix("10.64.16.32/28"), prefix("10.64.48.16/28")},
			},
			{
				Name: "jaco_shop_front", Deployment: "shop", Network: "front", Labels: map[string]string{"team": "a", labelCluster: "forged"},
				Slices:  []cluster.EdgeSlice{{Serial: 1, Prefix: prefix("10.64.16.16/28")}, {Serial: 2, Prefix: prefix("10.64.17.0/24")}},
				Members: []netip.Prefix{prefix("10.64.16.16/28"), prefix("10.64.17.0/24"), prefix("10.64.32.16/28")},
			},
		},
		Services: []cluster.EdgeService{
			{
				Deployment: "shop", Name: "db", Networks: []cluster.EdgeAttachment{{Network: "jaco_shop_back"}},
			},
			{
				Deployment: "shop", Name: "web", DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
				Networks: []cluster.EdgeAttachment{{Network: "jaco_shop_front", Aliases: []string{"www"}}, {Network: "jaco_shop_back"}},
				Endpoints: []cluster.EdgeEndpoint{
					{Replica: "r1", Slot: 1, Node: "n1", Ready: true, Addresses: "jaco_shop_back=10.64.16.34 jaco_shop_front=10.64.16.18"},
					{Replica: "r2", Slot: 2, Node: "n2", Ready: true, Addresses: "jaco_shop_front=10.64.32.18"},
					{Replica: "r3", Slot: 3, Node: "n1", Addresses: "jaco_shop_front=10.64.17.2"},
					{Replica: "r4", Slot: 4, Node: "n1"},
				},
			},
		},
	}
}

// withNode changes one node of a state.
func withNode(s *cluster.EdgeState, i int, change func(*cluster.EdgeNode)) *cluster.EdgeState {
	change(&s.Nodes[i])
	return s
}

// withNetwork changes one network of a state.
func withNetwork(s *cluster.EdgeState, i int, change func(*cluster.EdgeNetwork)) *cluster.EdgeState {
	change(&s.Networks[i])
	return s
}
