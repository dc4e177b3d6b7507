package cluster

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/jaco-sh/jaco/desired"
)

// BuildEdge returns what the edge of a node needs to know. Overlay is what the
// node has said of its own replicas and the state does not hold yet. EventsSeen is
// left at 0.
//
// Only networks that the node's own view declares are in it: a leader alone cannot
// make a node build a network that nobody signed. It is false when that cannot be
// told, and the edge keeps what it has: before there is a cluster, without a view,
// or with one from before any claim on a node that has networks.
func BuildEdge(s *Snapshot, v *View, node string, overlay []ReplicaReport) (EdgeState, bool) {
	meta := s.Meta()
	if meta == nil || v == nil {
		return EdgeState{}, false
	}
	own := s.SlicesOnNode(node)
	if v.Claim == 0 && len(v.Deployments) == 0 && len(own) > 0 {
		return EdgeState{}, false
	}
	b := &edgeBuilder{snapshot: s, view: v, node: node, declared: v.Networks(), members: map[string][]Slice{}}
	b.said = make(map[string]ReplicaReport, len(overlay))
	for _, report := range overlay {
		b.said[report.ID] = report
	}
	e := EdgeState{Cluster: meta.ID, Node: node, Index: s.Index(), Pool: meta.Pool, Nodes: b.nodes()}
	e.Networks = b.networks(own)
	e.Services = b.services()
	return e, true
}

// edgeBuilder is the memory of one BuildEdge.
type edgeBuilder struct {
	snapshot *Snapshot
	view     *View
	node     string
	declared Networks
	said     map[string]ReplicaReport // by replica
	// The first step finds states, the second members of the node's networks, and
	// the third needs both.
	states  map[string]NodeState
	members map[string][]Slice
}

// nodes are the members that can be reached through the mesh.
func (b *edgeBuilder) nodes() []EdgeNode {
	members := b.snapshot.Nodes()
	b.states = make(map[string]NodeState, len(members))
	out := make([]EdgeNode, 0, len(members))
	for i := range members {
		m := &members[i]
		b.states[m.Name] = m.State
		place, ok := b.snapshot.MeshNode(m.Name)
		if !ok || len(place.Blocks) == 0 {
			continue
		}
		out = append(out, EdgeNode{
			Name: m.Name, PublicKey: slices.Clone(place.PublicKey[:]), Endpoint: endpointOf(m.Address, place.Port),
			Address: place.Address(), Blocks: slices.Clone(place.Blocks),
		})
	}
	return out
}

// endpointOf is where WireGuard of a node is: at the host of its control port.
// One that is no address is left out, and the node waits to be called.
func endpointOf(control string, port uint16) netip.AddrPort {
	at, err := netip.ParseAddrPort(control)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(at.Addr(), port)
}

// networks are those of the node's slices that its view declares.
func (b *edgeBuilder) networks(own []Slice) []EdgeNetwork {
	out := []EdgeNetwork{}
	for _, s := range own { // sorted by network, then serial
		piece := EdgeSlice{Serial: s.Serial, Prefix: s.Prefix}
		if n := len(out); n > 0 && out[n-1].Name == s.Network {
			out[n-1].Slices = append(out[n-1].Slices, piece)
			continue
		}
		declared, ok := b.declared[s.Network]
		if !ok {
			continue
		}
		b.members[s.Network] = b.snapshot.SlicesOf(s.Network)
		out = append(out, EdgeNetwork{
			Name: s.Network, Deployment: declared.Deployment, Network: declared.Definition.Name,
			Internal: declared.Definition.Internal, Labels: maps.Clone(declared.Definition.Labels),
			Slices: []EdgeSlice{piece}, Members: prefixesOf(b.members[s.Network]),
		})
	}
	return out
}

func prefixesOf(all []Slice) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, s := range all {
		out[i] = s.Prefix
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// services are those attached to one of the node's networks, in the accepted
// revision or in the one before, whose replicas may still run.
func (b *edgeBuilder) services() []EdgeService {
	out := []EdgeService{}
	for _, name := range slices.Sorted(maps.Keys(b.view.Deployments)) {
		a := b.view.Deployments[name]
		found := map[string]*EdgeService{}
		for _, revision := range []*Accepted{a, a.Previous} {
			if revision == nil || revision.Desired == nil {
				continue
			}
			for i := range revision.Desired.Services {
				b.attach(found, revision.Desired, &revision.Desired.Services[i])
			}
		}
		if len(found) == 0 {
			continue
		}
		b.endpoints(name, found)
		for _, service := range slices.Sorted(maps.Keys(found)) {
			out = append(out, *found[service])
		}
	}
	return out
}

// attach notes on which of the node's networks a service is. What the accepted
// revision says comes first and stands.
func (b *edgeBuilder) attach(found map[string]*EdgeService, d *desired.Deployment, spec *desired.Service) {
	for _, at := range spec.Container.Networks {
		network := d.EngineNetwork(at.Network)
		if _, here := b.members[network]; !here {
			continue
		}
		s := found[spec.Name]
		if s == nil {
			s = &EdgeService{Deployment: d.Name, Name: spec.Name, DNS: slices.Clone(spec.Container.DNS), Endpoints: []EdgeEndpoint{}}
			found[spec.Name] = s
		}
		if !slices.ContainsFunc(s.Networks, func(a EdgeAttachment) bool { return a.Network == network }) {
			s.Networks = append(s.Networks, EdgeAttachment{Network: network, Aliases: slices.Clone(at.Aliases)})
			slices.SortFunc(s.Networks, func(x, y EdgeAttachment) int { return strings.Compare(x.Network, y.Network) })
		}
	}
}

// endpoints adds the replicas of a deployment to its services.
func (b *edgeBuilder) endpoints(deployment string, found map[string]*EdgeService) {
	for _, r := range b.snapshot.ReplicasOf(deployment) {
		s := found[r.Service]
		if s == nil || r.Phase.Final() {
			continue
		}
		if report, ok := b.said[r.ID]; ok && r.Node == b.node {
			if r = withReport(r, report, b.snapshot.Time()); r.Phase.Final() {
				continue
			}
		}
		if r.ContainerID == "" && r.Addresses == "" {
			continue
		}
		s.Endpoints = append(s.Endpoints, EdgeEndpoint{
			Replica: r.ID, Slot: r.Slot, Node: r.Node, Addresses: b.addressesOf(&r), Ready: b.ready(&r),
		})
	}
	for _, s := range found {
		slices.SortFunc(s.Endpoints, func(x, y EdgeEndpoint) int {
			return cmp.Or(cmp.Compare(x.Slot, y.Slot), strings.Compare(x.Replica, y.Replica))
		})
	}
}

// addressesOf are a replica's addresses in the networks of this node, as far as
// they lie in a slice that its own node has of them: a node says nothing about
// addresses that are not its to give.
func (b *edgeBuilder) addressesOf(r *Replica) NetworkAddresses {
	all := r.Addresses.All()
	maps.DeleteFunc(all, func(network string, at netip.Addr) bool {
		return !slices.ContainsFunc(b.members[network], func(s Slice) bool { return s.Node == r.Node && s.Prefix.Contains(at) })
	})
	return NewNetworkAddresses(all)
}

// ready reports whether a replica takes traffic.
func (b *edgeBuilder) ready(r *Replica) bool {
	spec, _ := b.view.Spec(r.Deployment, r.Service, r.SpecHash)
	return !r.Stop && r.Serving(spec) && b.states[r.Node].Alive()
}
