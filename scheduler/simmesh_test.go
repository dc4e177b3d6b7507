package scheduler

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// simMesh is the mesh of a sim: every member joins it with a block when the next
// plan is made, unless it is told to stay out.
type simMesh struct {
	pool   netip.Prefix
	nodes  map[string]*cluster.MeshNode
	slices []cluster.Slice
	out    map[string]bool // nodes that have no edge
	bare   bool            // nodes join without a block
}

func (m *sim) joinMesh() {
	s := &m.mesh
	if s.nodes == nil {
		s.nodes = map[string]*cluster.MeshNode{}
	}
	for _, name := range sortedKeys(s.nodes) {
		if m.nodes[name] == nil {
			s.leave(name)
		}
	}
	var joined []string
	for _, name := range sortedKeys(m.nodes) {
		if s.nodes[name] == nil && !s.out[name] {
			s.nodes[name] = &cluster.MeshNode{Node: name, PublicKey: [32]byte{1}, Port: 51820, Mode: "kernel", ModifyIndex: m.index}
			joined = append(joined, name)
		}
	}
	if s.bare || len(joined) == 0 {
		return
	}
	addresses := cluster.NewAddressPlan(s.pool, s.list(), nil)
	for _, name := range joined {
		block, err := addresses.Block(name)
		if err != nil {
			m.t.Fatalf("%v", err)
		}
		s.nodes[name].Blocks = []netip.Prefix{block}
	}
}

func (s *simMesh) leave(node string) {
	delete(s.nodes, node)
	s.slices = slices.DeleteFunc(s.slices, func(x cluster.Slice) bool { return x.Node == node })
}

func (s *simMesh) list() []cluster.MeshNode {
	out := make([]cluster.MeshNode, 0, len(s.nodes))
	for _, name := range sortedKeys(s.nodes) {
		out = append(out, *s.nodes[name])
	}
	return out
}

// apply does what the state machine does.
func (s *simMesh) apply(m *sim, p *cluster.ApplyPlan) error {
	for _, b := range p.Blocks {
		n := s.nodes[b.Node]
		if n == nil || b.Prefix.Bits() != cluster.BlockBits {
			return fmt.Errorf("cannot give %v", b)
		}
		for _, other := range s.nodes {
			if slices.ContainsFunc(other.Blocks, b.Prefix.Overlaps) {
				return fmt.Errorf("%v is %s's", b, other.Node)
			}
		}
		n.Blocks, n.ModifyIndex = append(slices.Clip(n.Blocks), b.Prefix), m.index
	}
	for _, k := range p.DropSlices {
		at := slices.IndexFunc(s.slices, func(x cluster.Slice) bool {
			return x.Network == k.Network && x.Node == k.Node && x.Serial == k.Serial
		})
		if at < 0 {
			return fmt.Errorf("no slice %v to drop", k)
		}
		for _, r := range m.replicas {
			if !r.Phase.Final() && r.Node == k.Node && s.slices[at].Prefix.Contains(r.Addresses.In(k.Network)) {
				return fmt.Errorf("slice %v holds %s", k, r.ID)
			}
		}
		s.slices = slices.Delete(s.slices, at, at+1)
		s.nodes[k.Node].ModifyIndex = m.index
	}
	for _, x := range p.Slices {
		n := s.nodes[x.Node]
		if n == nil || x.Prefix.Contains(n.Address()) || !slices.ContainsFunc(n.Blocks, func(b netip.Prefix) bool { return b.Contains(x.Prefix.Addr()) }) {
			return fmt.Errorf("cannot make %s", &x)
		}
		for _, other := range s.slices {
			if other.Node == x.Node && (other.Prefix.Overlaps(x.Prefix) || other.Network == x.Network && other.Serial == x.Serial) {
				return fmt.Errorf("%s meets %s", &x, &other)
			}
		}
		n.Next, n.ModifyIndex = lastOf(x.Prefix).Next(), m.index
		s.slices = append(s.slices, x)
	}
	slices.SortFunc(s.slices, func(a, b cluster.Slice) int { // as the state lists them
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Network, b.Network), cmp.Compare(a.Serial, b.Serial))
	})
	return nil
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	last := p.Addr()
	for range 1<<(32-p.Bits()) - 1 {
		last = last.Next()
	}
	return last
}

// connect gives a replica that starts its addresses. There must be slices for it:
// its node's gate would hold it back for ever.
func (m *sim) connect(r *cluster.Replica, spec *desired.Service) {
	if r.Addresses != "" || spec == nil || m.mesh.nodes[r.Node] == nil {
		return
	}
	at, d := map[string]netip.Addr{}, m.view.Deployments[r.Deployment].Desired
	declared := cluster.Networks{}
	for _, a := range spec.Container.Networks {
		declared[d.EngineNetwork(a.Network)] = cluster.DeclaredNetwork{}
	}
	if len(d.Networks) > 0 { // some may be external
		declared = m.view.Networks()
	}
	for _, name := range declared.Of(d, spec) {
		for _, s := range m.mesh.slices {
			if s.Network == name && s.Node == r.Node {
				at[name] = s.Gateway().Next()
			}
		}
		if !at[name].IsValid() {
			m.t.Fatalf("%s starts on %s without a slice of %s: %v", r.ID, r.Node, name, m.mesh.slices)
		}
	}
	r.Addresses = cluster.NewNetworkAddresses(at)
}

// checkSlices checks that at rest a node that is Ready has slices of the networks
// that something of its is of, and of no others.
func (w *world) checkSlices(t failer) {
	used, opaque := map[[2]string]bool{}, map[string]bool{}
	declared := w.view.Networks()
	for _, r := range w.replicas {
		d := w.view.Deployments[r.Deployment].Desired
		spec, _ := w.view.Spec(r.Deployment, r.Service, r.SpecHash)
		if spec == nil {
			spec = d.Service(r.Service)
			for name := range r.Addresses.All() {
				used[[2]string{r.Node, name}] = true
			}
			opaque[r.Node] = opaque[r.Node] || !r.Phase.Final() && r.Addresses == ""
		}
		for _, name := range declared.Of(d, spec) {
			used[[2]string{r.Node, name}] = true
		}
	}
	has := map[[2]string]bool{}
	for _, s := range w.mesh.slices {
		has[[2]string{s.Node, s.Network}] = true
		if w.nodes[s.Node].State == cluster.NodeReady && !opaque[s.Node] && !used[[2]string{s.Node, s.Network}] {
			w.show("slices")
			t.Fatalf("%s serves nothing:\n%s", &s, tail(w.log.String()))
		}
	}
	for _, r := range w.replicas {
		spec, _ := w.view.Spec(r.Deployment, r.Service, r.SpecHash)
		if r.Phase.Final() || spec == nil || w.mesh.nodes[r.Node] == nil {
			continue
		}
		for _, name := range declared.Of(w.view.Deployments[r.Deployment].Desired, spec) {
			if !has[[2]string{r.Node, name}] {
				t.Fatalf("%s runs on %s without a slice of %s", r.ID, r.Node, name)
			}
		}
	}
}
