package mesh

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/mesh/bridge"
	"github.com/jaco-sh/jaco/mesh/dns"
	"github.com/jaco-sh/jaco/mesh/firewall"
	"github.com/jaco-sh/jaco/mesh/wireguard"
)

var (
	// ErrNoBlock is returned by Build when the state gives the node no addresses
	// yet: it has joined, and no leader has got to it.
	ErrNoBlock = errors.New("the cluster has not given this node its block of addresses yet")
	// ErrConflict is returned by Build for a state in which addresses belong to
	// two, or to nobody.
	ErrConflict = errors.New("the state's addresses contradict each other")
)

// The labels of networks. They are the same as those of everything else that
// JACO makes on an engine (package agent); never rename one.
const (
	labelCluster    = "sh.jaco.cluster"
	labelDeployment = "sh.jaco.deployment"
	labelNetwork    = "sh.jaco.network"
)

// dnsPort is where the resolvers of a compose file's dns listen.
const dnsPort = 53

// Local is what only the machine itself knows.
type Local struct {
	Interface string         // of WireGuard, at most 15 bytes
	Mode      wireguard.Mode // asked for
	Key       wireguard.Key  // private
	Port      int            // WireGuard's, UDP
	MTU       int            // bytes; 0: WireGuard's own choice
	// Upstreams are asked for names that are not the mesh's; none: those of the
	// node's resolv.conf.
	Upstreams []netip.AddrPort
}

// Plan is the network that a node should have.
type Plan struct {
	WireGuard wireguard.Config
	Firewall  firewall.Config
	// Bridge has MTU 0 where Local has: it is known when WireGuard is up.
	Bridge bridge.Config
	DNS    dns.Config

	// slices are the bridges in the state's terms, in the order of Bridge.Networks.
	slices []slice
}

// slice is one bridge in the state's terms.
type slice struct {
	network string
	serial  int
	prefix  netip.Prefix
	engine  string // the engine's name
	bridge  string // the interface
}

// Build computes the network. It is pure and keeps nothing of the state. It
// fails with ErrNoBlock or ErrConflict; its DNS part is BuildDNS, which does not
// fail.
func Build(state *cluster.EdgeState, local Local) (Plan, error) {
	plan, err := buildHost(state, local)
	if err != nil {
		return Plan{}, err
	}
	plan.DNS = BuildDNS(state, local)
	return plan, nil
}

// buildHost computes all but the DNS part.
func buildHost(state *cluster.EdgeState, local Local) (Plan, error) {
	self, err := check(state)
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{
		WireGuard: wireguard.Config{
			Interface: local.Interface, Mode: local.Mode, PrivateKey: local.Key, Port: local.Port,
			Address: self.Address, MTU: local.MTU, Pool: state.Pool,
		},
		Firewall: firewall.Config{Mesh: local.Interface, MeshAddress: self.Address, Pool: state.Pool},
		Bridge:   bridge.Config{Cluster: state.Cluster, Mesh: local.Interface, MTU: local.MTU},
	}
	for _, n := range byName(state.Nodes) {
		if n.Ingress {
			plan.Firewall.Ingress = append(plan.Firewall.Ingress, n.Address)
		}
		if n.Name == state.Node {
			continue
		}
		plan.Firewall.Peers = append(plan.Firewall.Peers, n.Address)
		plan.WireGuard.Peers = append(plan.WireGuard.Peers, wireguard.Peer{
			Name: n.Name, PublicKey: wireguard.Key(n.PublicKey), Endpoint: n.Endpoint, Allowed: sortedPrefixes(n.Blocks),
		})
	}
	for _, n := range networksByName(state.Networks) {
		addNetwork(&plan, state.Cluster, n)
	}
	return plan, nil
}

// sameHost reports whether both plans ask the same of the kernel and the engine.
func (p *Plan) sameHost(other *Plan) bool {
	return reflect.DeepEqual(p.WireGuard, other.WireGuard) && reflect.DeepEqual(p.Firewall, other.Firewall) &&
		reflect.DeepEqual(p.Bridge, other.Bridge)
}

// addNetwork adds the bridges of one network.
func addNetwork(plan *Plan, clusterID string, n *cluster.EdgeNetwork) {
	members := sortedPrefixes(n.Members)
	for _, s := range n.Slices {
		prefix := s.Prefix.Masked()
		name := cluster.SliceNetwork(n.Name, s.Serial)
		gateway := prefix.Addr().Next()
		labels := maps.Clone(n.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels[labelCluster], labels[labelDeployment], labels[labelNetwork] = clusterID, n.Deployment, n.Network
		plan.Bridge.Networks = append(plan.Bridge.Networks, bridge.Network{
			Name: name, Bridge: bridge.Interface(name), Subnet: prefix, Gateway: gateway, Labels: labels,
		})
		plan.Firewall.Bridges = append(plan.Firewall.Bridges, firewall.Bridge{
			Name: bridge.Interface(name), Network: n.Name, Subnet: prefix, Gateway: gateway,
			Members: members, Internal: n.Internal,
		})
		plan.slices = append(plan.slices, slice{network: n.Name, serial: s.Serial, prefix: prefix, engine: name, bridge: bridge.Interface(name)})
	}
}

// BuildDNS computes what is answered, which hangs on nothing but the state.
func BuildDNS(state *cluster.EdgeState, local Local) dns.Config {
	config := dns.Config{Pool: state.Pool, Upstreams: local.Upstreams}
	for i := range state.Networks {
		n := &state.Networks[i]
		if n.Internal {
			config.Internal = append(config.Internal, n.Name)
		}
		for _, s := range n.Slices {
			config.Listeners = append(config.Listeners, dns.Listener{Address: s.Prefix.Masked().Addr().Next(), Network: n.Name})
		}
	}
	for i := range state.Services {
		addService(&config, &state.Services[i], state.Node)
	}
	return config
}

// addService adds a service and those of its replicas that may ask here.
func addService(config *dns.Config, s *cluster.EdgeService, node string) {
	service := dns.Service{Deployment: s.Deployment, Name: s.Name}
	var networks []string
	for _, at := range s.Networks {
		service.Networks = append(service.Networks, dns.Attachment{Network: at.Network, Aliases: at.Aliases})
		networks = append(networks, at.Network)
	}
	var upstreams []netip.AddrPort
	for _, resolver := range s.DNS {
		upstreams = append(upstreams, netip.AddrPortFrom(resolver, dnsPort))
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		addresses := e.Addresses.All()
		local := e.Node == node
		service.Endpoints = append(service.Endpoints, dns.Endpoint{Slot: e.Slot, Addresses: addresses, Ready: e.Ready, Local: local})
		if !local {
			continue
		}
		// One that is not ready asks too: it may become so by what it learns.
		for _, network := range slices.Sorted(maps.Keys(addresses)) {
			config.Clients = append(config.Clients, dns.Client{
				Address: addresses[network], Deployment: s.Deployment, Networks: networks, Upstreams: upstreams,
			})
		}
	}
	config.Services = append(config.Services, service)
}

func byName(nodes []cluster.EdgeNode) []cluster.EdgeNode {
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b cluster.EdgeNode) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

func networksByName(networks []cluster.EdgeNetwork) []*cluster.EdgeNetwork {
	out := make([]*cluster.EdgeNetwork, len(networks))
	for i := range networks {
		out[i] = &networks[i]
	}
	slices.SortFunc(out, func(a, b *cluster.EdgeNetwork) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func sortedPrefixes(prefixes []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(prefixes))
	for i, p := range prefixes {
		out[i] = p.Masked()
	}
	slices.SortFunc(out, comparePrefixes)
	return slices.Compact(out)
}

func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// owned is a prefix and whose it is.
type owned struct {
	prefix netip.Prefix
	owner  string
}

// disjoint fails when two owners share an address, or one has it twice.
func disjoint(all []owned) error {
	slices.SortStableFunc(all, func(a, b owned) int { return comparePrefixes(a.prefix, b.prefix) })
	for i := 1; i < len(all); i++ {
		// Of sorted prefixes that overlap, two neighbours do.
		if a, b := all[i-1], all[i]; a.prefix.Overlaps(b.prefix) {
			return fmt.Errorf("%w: %s of %s and %s of %s overlap", ErrConflict, a.prefix, a.owner, b.prefix, b.owner)
		}
	}
	return nil
}
