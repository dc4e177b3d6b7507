package scheduler

import (
	"cmp"
	"slices"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// meshPass is the part of a pass that gives out addresses. A network is known by
// its number here, so that ten thousand replicas are counted without comparing
// names; numbers follow the order of the names.
type meshPass struct {
	declared cluster.Networks
	names    []string
	numbers  map[string]int32
	// expected is how many containers of each network a node may come to hold;
	// nil before a slice is first made.
	expected []int
	plan     *cluster.AddressPlan // nil before something is given out
	usedUp   string               // why the first node that could not be given more was not
	// holders are the replicas of each node that said their addresses; nil before
	// somebody asks.
	holders map[string][]*cluster.Replica
	// unserved says which networks lack addresses for replicas that run, and why.
	unserved map[int32]string
}

// netUse is a network on a node.
type netUse struct {
	network int32
	need    int32 // replicas that are not final, those of this plan among them
	room    int32 // containers that its slices hold
	kept    bool  // something on the node is still of it
}

// usualNets is how many networks of a node there is room for from the start.
const usualNets = 12

// indexMesh numbers the networks, and sets down what nodes have of them.
func (p *pass) indexMesh() {
	m := &p.mesh
	m.declared = p.in.View.Networks()
	m.names = sortedKeys(m.declared)
	m.numbers = make(map[string]int32, len(m.names))
	for i, name := range m.names {
		m.numbers[name] = int32(i)
	}
	for _, s := range p.services {
		if s.accepted == nil {
			continue
		}
		s.networks = p.networksOf(s.accepted, s.spec)
		if s.previous != nil {
			s.before = p.networksOf(s.accepted.Previous, s.previous)
		}
	}
	if len(p.in.Slices) > 0 {
		all := make([]netUse, usualNets*len(p.nodes))
		for i := range p.nodes {
			p.nodes[i].nets, all = all[:0:usualNets], all[usualNets:]
		}
	}
	for i := range p.in.Mesh {
		if n := p.node(p.in.Mesh[i].Node); n != nil {
			n.place = &p.in.Mesh[i]
			n.free = cluster.SlicesPerBlock*len(n.place.Blocks) - min(1, len(n.place.Blocks))
		}
	}
	for i := range p.in.Slices {
		s := &p.in.Slices[i]
		n := p.node(s.Node)
		if n == nil {
			continue
		}
		n.free -= 1 << (cluster.MinSliceBits - s.Prefix.Bits())
		if number, ok := m.numbers[s.Network]; ok {
			n.use(number).room += int32(s.Capacity())
		}
	}
}

// networksOf are the numbers of the networks that a service of a revision needs.
func (p *pass) networksOf(a *cluster.Accepted, spec *desired.Service) []int32 {
	names := p.mesh.declared.Of(a.Desired, spec)
	if len(names) == 0 {
		return nil
	}
	out := make([]int32, len(names))
	for i, name := range names {
		out[i] = p.mesh.numbers[name]
	}
	return out
}

// networksFor are those that the service needs when it runs spec.
func (s *service) networksFor(spec *desired.Service) []int32 {
	switch spec {
	case nil:
		return nil
	case s.previous:
		return s.before
	}
	return s.networks
}

// use is the node's entry of a network.
func (n *node) use(network int32) *netUse {
	for i := range n.nets {
		if n.nets[i].network == network {
			return &n.nets[i]
		}
	}
	n.nets = append(n.nets, netUse{network: network})
	return &n.nets[len(n.nets)-1]
}

// attach books a replica on its networks.
func (n *node) attach(networks []int32) {
	for _, network := range networks {
		n.use(network).need++
	}
}

// inMesh reports whether replicas with networks can be placed on n at all.
func (n *node) inMesh() bool { return n.place != nil && (len(n.place.Blocks) > 0 || n.given) }

// meshRefusal asks whether the node can connect the replica: it is in the mesh,
// and has addresses for its networks. A replica that makes room for it gives its
// own back.
func meshRefusal(q *request, n *node) refusal {
	switch {
	case len(q.networks) == 0:
		return refusal{}
	case n.dry && !n.hasRoom(q):
		return refusal{kind: refusedAddresses}
	case !n.inMesh():
		return refusal{kind: refusedMesh}
	}
	return refusal{}
}

// hasRoom reports whether the slices that the node has hold one more replica.
func (n *node) hasRoom(q *request) bool {
	for _, network := range q.networks {
		u := n.use(network)
		need := u.need + 1
		if q.frees && q.leaving != nil && q.leaving.Node == n.name {
			need--
		}
		if need > u.room {
			return false
		}
	}
	return true
}

// openMesh gives each node of the mesh its first block, and running replicas the
// addresses that they lack: those from before there was a mesh.
func (p *pass) openMesh() {
	for i := range p.nodes {
		n := &p.nodes[i]
		if n.place == nil || n.removed {
			continue
		}
		var err error
		if !n.inMesh() {
			err = p.giveBlock(n)
		}
		if !slices.ContainsFunc(n.nets, func(u netUse) bool { return u.need > u.room }) {
			continue
		}
		slices.SortFunc(n.nets, func(a, b netUse) int { return cmp.Compare(a.network, b.network) })
		for _, u := range n.nets {
			if u.need <= u.room {
				continue
			}
			if err == nil {
				err = p.allot(n, []int32{u.network}, 0)
			}
			if err != nil {
				p.lack(u.network, err)
			}
		}
	}
}

// lack notes that a network has no addresses where its replicas run.
func (p *pass) lack(network int32, err error) {
	if p.mesh.unserved == nil {
		p.mesh.unserved = map[int32]string{}
	}
	if p.mesh.unserved[network] == "" {
		p.mesh.unserved[network] = err.Error()
	}
}

// lacks says why a service has replicas without addresses, "" when none has.
func (p *pass) lacks(s *service) string {
	if len(p.mesh.unserved) == 0 {
		return ""
	}
	for _, network := range s.networks {
		if why := p.mesh.unserved[network]; why != "" {
			return why
		}
	}
	return ""
}

// addresses is what is left to give out.
func (p *pass) addresses() *cluster.AddressPlan {
	if p.mesh.plan == nil {
		p.mesh.plan = cluster.NewAddressPlan(p.in.Pool, p.in.Mesh, p.in.Slices)
	}
	return p.mesh.plan
}

// giveBlock gives n its next block.
func (p *pass) giveBlock(n *node) error {
	block, err := p.addresses().Block(n.name)
	if err != nil {
		p.dry(n, err)
		return err
	}
	p.takeBlock(n, cluster.NodeBlock{Node: n.name, Prefix: block})
	return nil
}

func (p *pass) takeBlock(n *node, block cluster.NodeBlock) {
	if !n.inMesh() {
		n.free-- // the node's own address
	}
	n.given = true
	n.free += cluster.SlicesPerBlock
	p.out.plan.Blocks = append(p.out.plan.Blocks, block)
	p.out.dependOnMesh(n)
}

// allot makes the slices that networks lack on n for its replicas and as many
// more, of all networks or of none. A node that has nothing left is dry from then
// on.
func (p *pass) allot(n *node, networks []int32, more int) error {
	var made []cluster.Slice
	var blocks []cluster.NodeBlock
	for _, network := range networks {
		need, room := int(n.use(network).need)+more, int(n.use(network).room)
		for room < need {
			s, block, err := p.addresses().Slice(p.mesh.names[network], n.name, max(p.expect(network), need)-room)
			if err != nil {
				p.dry(n, err)
				return err
			}
			made, room = append(made, s), room+s.Capacity()
			if block != nil {
				blocks = append(blocks, *block)
			}
		}
	}
	for _, block := range blocks {
		p.takeBlock(n, block)
	}
	for _, s := range made {
		n.use(p.mesh.numbers[s.Network]).room += int32(s.Capacity())
		n.free -= 1 << (cluster.MinSliceBits - s.Prefix.Bits())
		p.out.plan.Slices = append(p.out.plan.Slices, s)
		p.out.dependOnMesh(n)
	}
	return nil
}

// dry notes that n can be given nothing, and why.
func (p *pass) dry(n *node, err error) {
	n.dry = true
	if p.mesh.usedUp == "" {
		p.mesh.usedUp = err.Error()
	}
}

// place finds a node for one more replica as pick does, with the addresses that
// it needs there.
func (p *pass) place(q *request, prefer string) int {
	for {
		i := p.pick(q, prefer)
		if i < 0 || len(q.networks) == 0 {
			return i
		}
		if p.allot(&p.nodes[i], q.networks, 1) == nil {
			p.out.dependOnMesh(&p.nodes[i])
			return i
		}
	}
}

// expect is how many containers of a network a node may come to hold, by what
// the services that are attached to it declare.
func (p *pass) expect(network int32) int {
	m := &p.mesh
	if m.expected == nil {
		m.expected = make([]int, len(m.names))
		for _, s := range p.services {
			if len(s.networks) == 0 {
				continue
			}
			share := p.share(s)
			for _, n := range s.networks {
				m.expected[n] += share
			}
		}
	}
	return m.expected[network]
}

// share is how many replicas of a service, with those that an update starts
// first, a node may come to hold when they are laid out as the service asks.
func (p *pass) share(s *service) int {
	limit := cluster.LimitOf(s.spec)
	if limit.Global {
		return limit.Slot
	}
	share := limit.Replicas
	if s.spec.Placement.Strategy != desired.Pack {
		nodes := len(p.nodes)
		if admitted := p.admitted(s.spec); admitted != nil {
			nodes = 0
			for _, fits := range admitted {
				if fits {
					nodes++
				}
			}
		}
		share = (limit.Replicas + max(nodes, 1) - 1) / max(nodes, 1)
	}
	if most := s.spec.Placement.MaxReplicasPerNode; most > 0 {
		share = min(share, most*limit.Slot)
	}
	return share
}

// growMesh gives a further block to each node that has few slices left.
func (p *pass) growMesh() {
	for i := range p.nodes {
		n := &p.nodes[i]
		if !n.inMesh() || n.removed || n.free > cluster.FewSlices {
			continue
		}
		if p.giveBlock(n) != nil {
			return // nor is there one for the others
		}
	}
}

// releaseMesh gives back the slices that serve nothing any more: those of a
// network that no accepted revision declares, or of which the node holds no
// replica, not even the record of one. A record stays until another replica takes
// its place, so that a restart, or an update that stops first, keeps the network.
// Nodes that are not Ready keep what they have.
func (p *pass) releaseMesh() {
	if len(p.in.Slices) == 0 {
		return
	}
	p.keepNetworks()
	for i := range p.in.Slices {
		s := &p.in.Slices[i]
		n := p.node(s.Node)
		if n == nil || n.place == nil || n.state != cluster.NodeReady || n.opaque {
			continue
		}
		number, declared := p.mesh.numbers[s.Network]
		if declared && n.use(number).kept || p.holds(s) {
			continue
		}
		p.out.plan.DropSlices = append(p.out.plan.DropSlices, cluster.SliceKey{Network: s.Network, Node: s.Node, Serial: s.Serial})
		p.out.dependOnMesh(n)
	}
	slices.SortFunc(p.out.plan.DropSlices, func(a, b cluster.SliceKey) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Network, b.Network), cmp.Compare(a.Serial, b.Serial))
	})
}

// keepNetworks marks the networks of which the plan leaves something on a node.
func (p *pass) keepNetworks() {
	removed := make(map[string]bool, len(p.out.plan.Remove))
	for _, id := range p.out.plan.Remove {
		removed[id] = true
	}
	for _, s := range p.services {
		for _, r := range s.replicas {
			n := p.node(r.Node)
			if n == nil || removed[r.ID] {
				continue
			}
			spec := s.specOf(r)
			for _, network := range s.networksFor(cmp.Or(spec, s.spec)) {
				n.use(network).kept = true
			}
			// What is of a revision that the view has dropped, and has not said where
			// it is, may be attached to anything.
			n.opaque = n.opaque || spec == nil && active(r) && r.Addresses == ""
		}
	}
	for _, r := range p.out.plan.Create {
		s, n := p.byKey[cluster.ServiceKey{Deployment: r.Deployment, Service: r.Service}], p.node(r.Node)
		for _, network := range s.networksFor(s.specOf(&r)) {
			n.use(network).kept = true
		}
	}
}

// holds reports whether a replica that is not final says that it has an address
// in a slice: the log keeps it then.
func (p *pass) holds(s *cluster.Slice) bool {
	if p.mesh.holders == nil {
		p.mesh.holders = map[string][]*cluster.Replica{}
		for i := range p.in.Replicas {
			if r := &p.in.Replicas[i]; !r.Phase.Final() && r.Addresses != "" {
				p.mesh.holders[r.Node] = append(p.mesh.holders[r.Node], r)
			}
		}
	}
	return slices.ContainsFunc(p.mesh.holders[s.Node], func(r *cluster.Replica) bool {
		return s.Prefix.Contains(r.Addresses.In(s.Network))
	})
}
