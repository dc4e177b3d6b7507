package firewall

import (
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName is our table's, of the family inet. No other table is ever touched.
const tableName = "jaco"

const loopback = "lo"

const dnsPort = 53

// The sets. Rules name no bridge and no container, so that there are as many of
// them with one network as with thousands.
const (
	setBridges  = "bridges"  // our bridges
	setInternal = "internal" // those without a way out
	setGateways = "gateways" // bridge . its own address
	setLocal    = "local"    // bridge . its subnet: who may send there
	setOwn      = "own"      // mesh . what this node has: its mesh address and subnets
	setMembers  = "members"  // bridge . prefix of its network, on whatever node
	setPeers    = "peers"    // mesh addresses of the other nodes
	setIngress  = "ingress"  // mesh addresses whose processes reach every network
)

// The chains.
const (
	chainPrerouting       = "prerouting"
	chainPreroutingBridge = "prerouting_bridge"
	chainPreroutingMesh   = "prerouting_mesh"
	chainForward          = "forward"
	chainForwardBridge    = "forward_bridge"
	chainForwardMesh      = "forward_mesh"
	chainForwardOutside   = "forward_outside"
	chainInput            = "input"
	chainInputBridge      = "input_bridge"
	chainInputMesh        = "input_mesh"
	chainOutput           = "output"
	chainOutputBridge     = "output_bridge"
	chainOutputMesh       = "output_mesh"
	chainPostrouting      = "postrouting"
	chainLeave            = "leave"
)

// Render computes the table of a configuration that is valid. The same
// configuration gives the same table, whatever the order in its lists.
func Render(c Config) Table {
	t := Table{sets: renderSets(&c)}
	t.chains = append(t.chains, renderPrerouting(&c)...)
	t.chains = append(t.chains, renderForward(&c)...)
	t.chains = append(t.chains, renderInput(&c)...)
	t.chains = append(t.chains, renderOutput(&c)...)
	t.chains = append(t.chains, renderPostrouting(&c)...)
	return t
}

func renderSets(c *Config) []set {
	var bridges, internal, gateways, local, members []element
	own := []element{span(c.Mesh, netip.PrefixFrom(c.MeshAddress, 32))}
	var subnets []netip.Prefix
	for i := range c.Bridges {
		b := &c.Bridges[i]
		bridges = append(bridges, point(nameKey(b.Name)))
		if b.Internal {
			internal = append(internal, point(nameKey(b.Name)))
		}
		gateways = append(gateways, point(nameKey(b.Name)+addressKey(b.Gateway)))
		local = append(local, span(b.Name, b.Subnet))
		subnets = append(subnets, b.Subnet)
		for _, m := range disjoint(b.Members) {
			members = append(members, span(b.Name, m))
		}
	}
	for _, s := range disjoint(subnets) {
		own = append(own, span(c.Mesh, s))
	}
	name, pair, address := []field{ifname()}, []field{ifname(), ipv4Address()}, []field{ipv4Address()}
	return []set{
		newSet(setBridges, false, name, bridges),
		newSet(setInternal, false, name, internal),
		newSet(setGateways, false, pair, gateways),
		newSet(setLocal, true, pair, local),
		newSet(setOwn, true, pair, own),
		newSet(setMembers, true, pair, members),
		newSet(setPeers, false, address, points(c.Peers)),
		newSet(setIngress, false, address, points(c.Ingress)),
	}
}

func points(addresses []netip.Addr) []element {
	out := make([]element, len(addresses))
	for i, a := range addresses {
		out[i] = point(addressKey(a))
	}
	return out
}

func baseChain(name, kind string, h hook, p priority, rules ...rule) chain {
	return chain{name: name, base: &base{kind: kind, hook: h, priority: p}, rules: normalised(rules)}
}

func plainChain(name string, rules ...rule) chain {
	return chain{name: name, rules: normalised(rules)}
}

// renderPrerouting lets nobody pretend to be somebody. It comes before any
// translation of addresses, so that what it sees is what was on the wire: a
// container has an address of its own bridge, a node's packets come by the mesh,
// and nothing from anywhere else has to do with the pool. What else comes from a
// bridge, IPv6 too, has no sender that could be checked.
func renderPrerouting(c *Config) []chain {
	return []chain{
		baseChain(chainPrerouting, "filter", hook{"prerouting", unix.NF_INET_PRE_ROUTING}, priority{"raw", -300},
			when().interfaceIs(in(), loopback).accept(),
			when().interfaceIn(in(), setBridges).continueIn(chainPreroutingBridge),
			when().interfaceIs(in(), c.Mesh).continueIn(chainPreroutingMesh),
			when().addressIs(source(), c.Pool).drop(),
			when().addressIs(destination(), c.Pool).drop(),
		),
		plainChain(chainPreroutingBridge,
			when().pairIn(in(), source(), setGateways).drop(),
			when().pairIn(in(), source(), setLocal).accept(),
			when().drop(),
		),
		// WireGuard itself takes from each node only the node's own addresses.
		plainChain(chainPreroutingMesh,
			when().pairIn(in(), source(), setOwn).drop(),
			when().addressIs(source(), c.Pool).pairIn(in(), destination(), setOwn).accept(),
			when().drop(),
		),
	}
}

// renderForward says who may talk to whom. Between members of a network nothing
// is remembered: each packet of either direction is judged by its two addresses
// and the bridge, so that a connection that began while the table was away ends
// when it is back. Where one side may begin and the other only answer, the
// direction is asked for.
func renderForward(c *Config) []chain {
	return []chain{
		baseChain(chainForward, "filter", hook{"forward", unix.NF_INET_FORWARD}, priority{"filter", 0},
			when().interfaceIs(out(), c.Mesh).clampMSS(),
			when().interfaceIs(in(), c.Mesh).clampMSS(),
			when().interfaceIn(in(), setBridges).continueIn(chainForwardBridge),
			when().interfaceIs(in(), c.Mesh).continueIn(chainForwardMesh),
			when().interfaceIn(out(), setBridges).continueIn(chainForwardOutside),
			when().interfaceIs(out(), c.Mesh).drop(),
			when().addressIs(source(), c.Pool).drop(),
			when().addressIs(destination(), c.Pool).drop(),
		),
		// From containers: to their network, here and elsewhere; to ingress nodes in
		// answer; out, unless their network is internal. What conntrack cannot place
		// would leave with the container's own address.
		plainChain(chainForwardBridge,
			when().interfaceIs(out(), c.Mesh).pairIn(in(), destination(), setMembers).accept(),
			when().pairIn(in(), destination(), setMembers).pairIn(out(), source(), setMembers).accept(),
			when().interfaceIs(out(), c.Mesh).addressIn(destination(), setIngress).answer().accept(),
			when().interfaceIs(out(), c.Mesh).drop(),
			when().interfaceIn(out(), setBridges).drop(),
			when().addressIs(destination(), c.Pool).drop(),
			when().ipv6().drop(),
			when().interfaceIn(in(), setInternal).drop(),
			when().state("invalid", expr.CtStateBitINVALID).drop(),
		),
		// From other nodes: to their own network, whatever the sender's node thinks
		// of it; from ingress nodes to all; and what a node on the way has to say of
		// a packet of ours, without which path MTU discovery fails.
		plainChain(chainForwardMesh,
			when().pairIn(out(), source(), setMembers).accept(),
			when().interfaceIn(out(), setBridges).addressIn(source(), setIngress).accept(),
			when().interfaceIn(out(), setBridges).addressIn(source(), setPeers).icmp().state("related", expr.CtStateBitRELATED).accept(),
			when().drop(),
		),
		// From outside: to published ports, and in answer.
		plainChain(chainForwardOutside,
			when().ipv6().drop(),
			when().interfaceIn(out(), setInternal).drop(),
			when().published().accept(),
			when().answer().accept(),
			when().drop(),
		),
	}
}

// renderInput leaves containers the node's DNS and a ping of their gateway, and
// other nodes a ping of this one. Answers come only to what renderOutput lets the
// node's processes do. What comes from elsewhere is not our business.
func renderInput(c *Config) []chain {
	self := netip.PrefixFrom(c.MeshAddress, 32)
	return []chain{
		baseChain(chainInput, "filter", hook{"input", unix.NF_INET_LOCAL_IN}, priority{"filter", 0},
			when().interfaceIn(in(), setBridges).continueIn(chainInputBridge),
			when().interfaceIs(in(), c.Mesh).continueIn(chainInputMesh),
		),
		plainChain(chainInputBridge,
			when().pairIn(in(), destination(), setGateways).port("udp", unix.IPPROTO_UDP, dnsPort).accept(),
			when().pairIn(in(), destination(), setGateways).port("tcp", unix.IPPROTO_TCP, dnsPort).accept(),
			when().pairIn(in(), destination(), setGateways).echoRequest().accept(),
			when().pairIn(in(), destination(), setMembers).answer().accept(),
			when().addressNot(destination(), c.Pool).answer().accept(),
			when().drop(),
		),
		plainChain(chainInputMesh,
			when().addressIs(destination(), self).addressIn(source(), setPeers).echoRequest().accept(),
			when().addressIs(destination(), self).icmp().answer().accept(),
			when().addressIn(destination(), setIngress).answer().accept(),
			when().drop(),
		),
	}
}

// renderOutput holds the node's own processes to an address that is theirs: to
// containers the gateway of that network or one outside the pool, to other nodes
// the mesh address, and that for more than ICMP only on ingress nodes. Without
// the mesh nothing for the pool leaves, for it would leave in clear.
func renderOutput(c *Config) []chain {
	return []chain{
		baseChain(chainOutput, "filter", hook{"output", unix.NF_INET_LOCAL_OUT}, priority{"filter", 0},
			when().interfaceIn(out(), setBridges).continueIn(chainOutputBridge),
			when().interfaceIs(out(), c.Mesh).continueIn(chainOutputMesh),
			when().interfaceNot(out(), loopback).addressIs(destination(), c.Pool).drop(),
		),
		plainChain(chainOutputBridge,
			when().pairIn(out(), source(), setMembers).accept(),
			when().addressIs(source(), c.Pool).drop(),
		),
		plainChain(chainOutputMesh,
			when().addressNot(source(), netip.PrefixFrom(c.MeshAddress, 32)).drop(),
			when().addressIn(source(), setIngress).accept(),
			when().icmp().accept(),
			when().drop(),
		),
	}
}

// renderPostrouting gives containers the node's address outside. What still has
// one of the pool there after all translations began while the table was away,
// and is dropped.
func renderPostrouting(c *Config) []chain {
	leaves := func() *builder {
		return when().addressIs(source(), c.Pool).interfaceNotIn(out(), setBridges).interfaceNot(out(), c.Mesh)
	}
	postrouting := hook{"postrouting", unix.NF_INET_POST_ROUTING}
	return []chain{
		baseChain(chainPostrouting, "nat", postrouting, priority{"srcnat", 100},
			leaves().addressNot(destination(), c.Pool).masquerade(),
		),
		baseChain(chainLeave, "filter", postrouting, priority{"srcnat + 10", 110},
			leaves().interfaceNot(out(), loopback).drop(),
		),
	}
}
