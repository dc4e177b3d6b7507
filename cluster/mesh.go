package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// MeshNode is a member's place in the mesh. It exists once the node's edge has
// said its key, and is taken away with the member.
type MeshNode struct {
	Node string
	// PublicKey is the WireGuard key (Curve25519) that the node made for itself;
	// the private half never leaves it.
	PublicKey [32]byte
	// Port is WireGuard's, UDP, at the host of Node.Address.
	Port uint16
	// Mode is "kernel" or "userspace": who encrypts on that node.
	Mode string
	// Blocks are the prefixes of the pool that are this node's alone: a /20 at
	// first, one more whenever few are left. Empty until a leader has given the
	// first. What is in them is routed to the node, whoever uses it there.
	Blocks []netip.Prefix
	// Next is where the search for the next slice begins: behind the one that was
	// made last, so that addresses which were given back are used again last, when
	// no node takes them for the earlier network's any more.
	Next netip.Addr

	CreateIndex uint64
	ModifyIndex uint64
}

// Address is the node's own address in the mesh: the first of its first block,
// which no slice ever holds. It is invalid before there is a block.
func (n *MeshNode) Address() netip.Addr {
	if len(n.Blocks) == 0 {
		return netip.Addr{}
	}
	return n.Blocks[0].Addr().Next()
}

// Slice is the part of a node's blocks that one network has there: the subnet
// of one bridge. A network whose slice is full gets another one, with another
// bridge and the same membership.
type Slice struct {
	// Network is the engine's name of the network (desired.Deployment.EngineNetwork),
	// which is what makes two networks one.
	Network string
	Node    string
	Serial  int // from 1
	Prefix  netip.Prefix

	CreateIndex uint64
	ModifyIndex uint64
}

// Gateway is the bridge's own address, the first of the slice; DNS answers there.
func (s *Slice) Gateway() netip.Addr { return s.Prefix.Masked().Addr().Next() }

// Capacity is how many containers the slice holds: its addresses without the
// network's, the gateway's and the broadcast's.
func (s *Slice) Capacity() int { return 1<<(32-s.Prefix.Bits()) - 3 }

// sliceMark stands between a network's name and the number of a further slice.
const sliceMark = ".jaco-"

// SliceNetwork is the engine's name of a slice's own network: the first slice
// has the network's, so that a node with one slice shows what compose would.
func SliceNetwork(network string, serial int) string {
	if serial <= 1 {
		return network
	}
	return network + sliceMark + strconv.Itoa(serial)
}

// NetworkOfSlice is the network that SliceNetwork made a name for.
func NetworkOfSlice(name string) string {
	network, number, found := cutLast(name, sliceMark)
	if !found {
		return name
	}
	if n, err := strconv.Atoi(number); err != nil || n < 2 || strconv.Itoa(n) != number {
		return name
	}
	return network
}

func cutLast(s, mark string) (before, after string, found bool) {
	i := strings.LastIndex(s, mark)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(mark):], true
}

// NetworkAddresses are a replica's addresses by network (Slice.Network), in a
// comparable form: "shop_back=10.64.0.19 shop_front=10.64.0.35", by name. The
// empty one has none.
type NetworkAddresses string

// NewNetworkAddresses puts addresses into their form; invalid ones are left out.
func NewNetworkAddresses(addresses map[string]netip.Addr) NetworkAddresses {
	var parts []string
	for network, address := range addresses {
		if address.IsValid() {
			parts = append(parts, network+"="+address.String())
		}
	}
	slices.Sort(parts)
	return NetworkAddresses(strings.Join(parts, " "))
}

// All returns the addresses by network.
func (a NetworkAddresses) All() map[string]netip.Addr {
	all := map[string]netip.Addr{}
	for part := range strings.FieldsSeq(string(a)) {
		network, text, _ := cutLast(part, "=")
		if address, err := netip.ParseAddr(text); err == nil {
			all[network] = address
		}
	}
	return all
}

// In is the address in one network; the zero address when there is none.
func (a NetworkAddresses) In(network string) netip.Addr {
	for part := range strings.FieldsSeq(string(a)) {
		if name, text, found := cutLast(part, "="); found && name == network {
			address, _ := netip.ParseAddr(text) // what is none is the zero address
			return address
		}
	}
	return netip.Addr{}
}

// EdgeState is everything that a node's edge needs to know: what the node
// accepted and what the state says of it, and nothing else. It is a value; its
// JSON is the wire between jacod and jacod edge and what the edge keeps on disk.
// Fields are added, never renamed.
type EdgeState struct {
	Cluster string `json:"cluster"` // Meta.ID
	Node    string `json:"node"`    // the edge's own
	Index   uint64 `json:"index"`   // raft index of the state
	// Pool is where all addresses of the mesh come from.
	Pool netip.Prefix `json:"pool"`
	// Nodes are the members that have a key and a block, the edge's own among
	// them, by name.
	Nodes []EdgeNode `json:"nodes"`
	// Networks are those that have a slice on this node, by name.
	Networks []EdgeNetwork `json:"networks"`
	// Services are those that can be asked for by containers of Networks, by
	// deployment and name.
	Services []EdgeService `json:"services"`
	// EventsSeen is the number of the newest of the edge's events that is in the
	// audit log: it and those before need not be said again.
	EventsSeen uint64 `json:"events_seen"`
}

// EdgeNode is a member as its peers see it.
type EdgeNode struct {
	Name      string         `json:"name"`
	PublicKey []byte         `json:"public_key"` // 32 bytes
	Endpoint  netip.AddrPort `json:"endpoint"`
	Address   netip.Addr     `json:"address"` // in the mesh
	Blocks    []netip.Prefix `json:"blocks"`
	Ingress   bool           `json:"ingress"` // its own processes may reach containers of every network
}

// EdgeNetwork is one network as this node has it.
type EdgeNetwork struct {
	Name       string `json:"name"`       // Slice.Network
	Deployment string `json:"deployment"` // that declares it
	Network    string `json:"network"`    // its name there
	// Internal networks have no way out of the cluster.
	Internal bool              `json:"internal"`
	Labels   map[string]string `json:"labels,omitempty"` // the file's own
	// Slices are this node's, by serial; Members are the prefixes of all nodes,
	// this one's among them, sorted.
	Slices  []EdgeSlice    `json:"slices"`
	Members []netip.Prefix `json:"members"`
}

// EdgeSlice is one bridge.
type EdgeSlice struct {
	Serial int          `json:"serial"`
	Prefix netip.Prefix `json:"prefix"`
}

// EdgeService is one service with its endpoints.
type EdgeService struct {
	Deployment string `json:"deployment"`
	Name       string `json:"name"`
	// Networks are the networks it is attached to, by Slice.Network, with its
	// aliases there.
	Networks []EdgeAttachment `json:"networks"`
	// DNS are the resolvers that its containers ask for names that are not the
	// mesh's, instead of the node's own.
	DNS       []netip.Addr   `json:"dns,omitempty"`
	Endpoints []EdgeEndpoint `json:"endpoints"` // by slot, then replica
}

// EdgeAttachment is a service on a network.
type EdgeAttachment struct {
	Network string   `json:"network"` // Slice.Network
	Aliases []string `json:"aliases,omitempty"`
}

// EdgeEndpoint is one replica that has a container.
type EdgeEndpoint struct {
	Replica   string           `json:"replica"`
	Slot      int              `json:"slot"`
	Node      string           `json:"node"`
	Addresses NetworkAddresses `json:"addresses"`
	// Ready says that it takes traffic: Healthy, or Running without a
	// healthcheck, not stopping, on a node that answers.
	Ready bool `json:"ready"`
}

// EdgeReport is what an edge says to its jacod: at once when it changes, and
// whole each time. Its JSON is the wire; fields are added, never renamed.
type EdgeReport struct {
	Version string `json:"version"` // of the edge's program
	PID     int    `json:"pid"`
	// Applied is the Index of the EdgeState that DNS, firewall and mesh follow.
	Applied uint64 `json:"applied"`
	// PublicKey, Port and Mode are what MeshNode records.
	PublicKey []byte `json:"public_key"`
	Port      uint16 `json:"port"`
	Mode      string `json:"mode"`
	// Problem is why the edge cannot work at all, "" when it can: no right to
	// change the network, no WireGuard.
	Problem  string         `json:"problem,omitempty"`
	Firewall FirewallStatus `json:"firewall"`
	// Networks are the slices that are there as they should be: their bridge with
	// the right subnet, and a firewall that was read back and isolates it.
	Networks []EdgeReady `json:"networks"`
	// Peers are as the last round of probes found them, at PeersAt.
	Peers   []PeerStatus `json:"peers"`
	PeersAt int64        `json:"peers_at"` // Unix seconds; 0: never
	// Events are those that jacod has not seen yet, by number.
	Events []EdgeEvent `json:"events,omitempty"`
}

// EdgeReady is whether containers may start on a slice.
type EdgeReady struct {
	Network string       `json:"network"` // Slice.Network
	Serial  int          `json:"serial"`
	Prefix  netip.Prefix `json:"prefix"`
	Ready   bool         `json:"ready"`
	Reason  string       `json:"reason,omitempty"` // why not
}

// EdgeEvent is something worth an audit entry. Numbers grow by one for each,
// across restarts of the edge too.
type EdgeEvent struct {
	Number uint64 `json:"number"`
	Event  Event  `json:"event"`
}

// String prints a slice for people.
func (s *Slice) String() string {
	return fmt.Sprintf("%s on %s: %s", SliceNetwork(s.Network, s.Serial), s.Node, s.Prefix)
}
