package isolation

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// TestOpenNode has the world look at nodes without any rule: every way to break
// in that is tried has to work there, or the test of the matrix proves nothing
// by it.
func TestOpenNode(t *testing.T) {
	ctx := t.Context()
	r := rig.Start(t, rig.Config{Nodes: 2})
	var endpoints []*stage.Endpoint
	for i, node := range r.Nodes {
		rig.Must[string](t)(node.Engine.Build(ctx, stage.NewPeerImage(t)))
		for j, name := range []string{"one", "two"} {
			subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, byte(16 * i), byte(16 * (j + 1))}), 28)
			endpoints = append(endpoints, openPeer(t, node, name, subnet, i+1))
		}
	}
	for i, node := range r.Nodes {
		for _, command := range []string{
			"nft flush ruleset",
			// What a mesh's interface does, without one.
			"ip route add 10.64." + []string{"16", "0"}[i] + ".0/20 via " + r.Nodes[1-i].Address.String(),
			"sysctl -q -w net.ipv4.conf.all.rp_filter=0", "sysctl -q -w net.ipv4.conf.default.rp_filter=0", "sysctl -q -w net.ipv4.conf.eth0.rp_filter=0",
			"sysctl -q -w net.ipv4.conf.all.accept_local=1",
		} {
			words := strings.Fields(command)
			if _, err := node.Run(ctx, words[0], words[1:]...); err != nil {
				t.Fatal(err)
			}
		}
	}
	w := newWorld(t, r, endpoints)
	if missing := w.round(ctx, true); missing != "" {
		t.Errorf("did not arrive:\n%s", missing)
	}
	seen := w.allTaken()
	w.close()
	for _, way := range []string{
		"icmp aa/one/1 on n1 to aa/two/1 on n1,", "tcp aa/one/1 on n1 to aa/two/1 on n1,", "udp aa/one/1 on n1 to aa/two/1 on n1,",
		"udp aa/one/1 on n1 to aa/two/2 on n2,", "with its gateway's source", "with the source of a member elsewhere", "with the source of a member beside it",
		"with a source outside", "with the LAN's source", "to its own gateway", "to host n1", "to the gateway of",
		"host n1 with the bridge of aa/one/1 on n1 to aa/two/1 on n1", "host n1 with its address in the LAN to aa/two/2 on n2", "host n1 with the bridge of aa/one/1 on n1 to aa/one/2 on n2",
		"the LAN with its own address to", "the LAN with the address of", "the LAN with the gateway's to",
	} {
		found := false
		for _, v := range seen {
			// The echo of a datagram comes from who was sent it.
			found = found || strings.Contains(v.what, way) && v.seen == v.from
		}
		if !found {
			t.Errorf("nothing arrived of: %s", way)
		}
	}
	for _, v := range seen {
		spoofed := strings.Contains(v.what, "source") && v.seen == v.from
		for _, e := range endpoints {
			if spoofed && strings.Contains(v.what, " "+e.String()+" to ") && v.seen == addressOf(e) {
				t.Errorf("the sender's own address is no spoofed one: %s", v.what)
			}
		}
	}
	t.Logf("%s, %d that must not", w, len(seen))
}

// openPeer runs a peer on a network of its node.
func openPeer(t *testing.T, node *rig.Node, name string, subnet netip.Prefix, slot int) *stage.Endpoint {
	t.Helper()
	ctx := t.Context()
	in := map[string]any{"Name": name, "IPAM": map[string]any{"Config": []map[string]string{{"Subnet": subnet.String()}}}}
	if err := node.Engine.Do(ctx, http.MethodPost, "/networks/create", in, nil); err != nil {
		t.Fatal(err)
	}
	id := rig.Must[string](t)(node.Engine.RunContainer(ctx, rig.RunSpec{Name: "peer-" + name, Image: stage.PeerImage, Network: name}))
	details := rig.Must[rig.Details](t)(node.Engine.Inspect(ctx, id))
	at := details.NetworkSettings.Networks[name]
	return &stage.Endpoint{
		Node: node, ID: id, Deployment: "aa", Service: name, Slot: slot, NetNS: rig.NetNSOf(details.State.Pid),
		Addresses: map[string]netip.Addr{name: netip.MustParseAddr(at.IPAddress)}, Gateways: map[string]netip.Addr{name: netip.MustParseAddr(at.Gateway)},
	}
}
