package scheduler

import (
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// pass is the memory of one Compute: the input, indexed, and the plan so far.
type pass struct {
	in       *Input
	now      time.Time
	nodes    []node // sorted by name
	nodeAt   map[string]int
	zones    []int      // how many replicas of the service in hand each zone has
	zoneSize []int      // nodes of each zone
	services []*service // sorted by key
	byKey    map[cluster.ServiceKey]*service
	// eligible caches which nodes a placement's fixed rules admit.
	eligible map[string][]bool
	inHand   *service // whose replicas node.here counts
	touched  []int    // nodes whose here is not 0
	// lost holds the copies that stand for replicas which end with their node:
	// the rest of the pass sees them as the plan leaves them.
	lost map[*cluster.Replica]bool
	down int // nodes that are Down, and not removed
	out  builder
}

// node is a member and what is left of it. Reservations of every replica that
// is not final count, those that are stopping included.
type node struct {
	name        string
	state       cluster.NodeState
	removed     bool // by a commit
	standing    standing
	zone        int // index of pass.zones
	labels      map[string]string
	modifyIndex uint64
	cpu, memory int64 // what is free; billionths of a core, bytes
	// usedCPU and usedMemory are what is reserved.
	usedCPU, usedMemory int64
	replicas            int // of all services, not final
	ports               []portUse
	here                int // of the service in hand, not final
}

// portUse is a host port that a replica holds.
type portUse struct {
	port  desired.Port
	owner string // replica id
}

// service is one service: what is wanted of it, what is recorded, what runs.
type service struct {
	key      cluster.ServiceKey
	accepted *cluster.Accepted // nil when the deployment is retired
	spec     *desired.Service  // nil when the service is retired
	previous *desired.Service  // of the accepted revision before, when it differs from spec
	// untouchable services belong to a deployment that is accepted but never
	// compiled: what is wanted of them is not known.
	untouchable bool

	old      *cluster.Service   // nil when nothing is recorded
	rec      cluster.Service    // what will be recorded
	replicas []*cluster.Replica // sorted by slot, then serial
	count    int                // of replicas
	slots    []slot             // wanted, sorted by number
	surplus  []slot             // no longer wanted
	restless bool               // not calm
	uprooted bool               // has a replica on a node that is down or leaves

	quota    quota      // of a service that is wanted
	requests []*request // at most one for each of spec and previous
	reasons  [reasonKinds]string
}

func newPass(in Input) *pass {
	p := &pass{
		in:       &in,
		now:      in.Now,
		nodeAt:   make(map[string]int, len(in.Nodes)),
		byKey:    make(map[cluster.ServiceKey]*service, len(in.Services)),
		eligible: map[string][]bool{},
		out:      newBuilder(in.Limit),
	}
	p.indexNodes()
	p.indexServices()
	p.indexReplicas()
	return p
}

func (p *pass) indexNodes() {
	p.nodes = make([]node, 0, len(p.in.Nodes))
	for i := range p.in.Nodes {
		n := &p.in.Nodes[i]
		settings := p.in.View.Cluster.Nodes[n.Name]
		p.nodes = append(p.nodes, node{
			name:        n.Name,
			state:       n.State,
			removed:     settings.Availability == desired.NodeRemoved,
			labels:      settings.Labels,
			modifyIndex: n.ModifyIndex,
			cpu:         n.CPU,
			memory:      n.Memory,
		})
	}
	slices.SortFunc(p.nodes, func(a, b node) int { return strings.Compare(a.name, b.name) })
	for i := range p.nodes {
		n := &p.nodes[i]
		p.nodeAt[n.name] = i
		n.standing = p.standing(n)
		if n.down() {
			p.down++
		}
	}
	p.indexZones()
	if p.down > 0 && p.paused() {
		p.out.wakeAt(p.in.MassLossUntil)
	}
}

// zoneLabel names what nodes fail together. Those without it are one zone:
// nothing says that they would not.
const zoneLabel = "zone"

// indexZones numbers the zones in the order of their first nodes.
func (p *pass) indexZones() {
	zoneAt := map[string]int{}
	for i := range p.nodes {
		n := &p.nodes[i]
		zone, known := zoneAt[n.labels[zoneLabel]]
		if !known {
			zone = len(p.zoneSize)
			zoneAt[n.labels[zoneLabel]] = zone
			p.zoneSize = append(p.zoneSize, 0)
		}
		n.zone = zone
		p.zoneSize[zone]++
	}
	p.zones = make([]int, len(p.zoneSize))
}

// indexServices gathers services from the view, the records and the replicas,
// so that none of the three can be forgotten when the others have moved on.
func (p *pass) indexServices() {
	for name, a := range p.in.View.Deployments {
		if a.Desired == nil {
			continue
		}
		for i := range a.Desired.Services {
			spec := &a.Desired.Services[i]
			s := p.service(cluster.ServiceKey{Deployment: name, Service: spec.Name})
			s.spec = spec
		}
	}
	for i := range p.in.Services {
		rec := &p.in.Services[i]
		s := p.service(cluster.ServiceKey{Deployment: rec.Deployment, Service: rec.Name})
		s.old, s.rec = rec, *rec
	}
	p.gather()
	slices.SortFunc(p.services, func(a, b *service) int { return compareKeys(a.key, b.key) })
	for _, s := range p.services {
		if s.accepted != nil {
			s.previous = previousSpec(s.accepted, s.key.Service, s.spec)
		}
	}
}

// gather gives each service its replicas. They share one array, as there may be
// ten thousand of them.
func (p *pass) gather() {
	of := make([]*service, len(p.in.Replicas))
	for i := range p.in.Replicas {
		r := &p.in.Replicas[i]
		of[i] = p.service(cluster.ServiceKey{Deployment: r.Deployment, Service: r.Service})
		of[i].count++
	}
	all := make([]*cluster.Replica, len(p.in.Replicas))
	for _, s := range p.services {
		s.replicas, all = all[:0:s.count], all[s.count:]
	}
	for i, s := range of {
		s.replicas = append(s.replicas, &p.in.Replicas[i])
	}
}

// service returns the service of that key and makes it when it is new.
func (p *pass) service(key cluster.ServiceKey) *service {
	if s := p.byKey[key]; s != nil {
		return s
	}
	a := p.in.View.Deployments[key.Deployment]
	s := &service{key: key, accepted: a, untouchable: a != nil && a.Desired == nil}
	s.rec.Deployment, s.rec.Name = key.Deployment, key.Service
	p.byKey[key] = s
	p.services = append(p.services, s)
	return s
}

// previousSpec returns the spec that a service had in the accepted revision
// before, or nil when it had none or has the same now.
func previousSpec(a *cluster.Accepted, name string, spec *desired.Service) *desired.Service {
	if a.Previous == nil || a.Previous.Desired == nil {
		return nil
	}
	services := a.Previous.Desired.Services
	i := sort.Search(len(services), func(i int) bool { return services[i].Name >= name })
	if i == len(services) || services[i].Name != name || spec != nil && services[i].SpecHash == spec.SpecHash {
		return nil
	}
	return &services[i]
}

func (p *pass) indexReplicas() {
	for _, s := range p.services {
		sortReplicas(s.replicas)
		for i, r := range s.replicas {
			if !r.Phase.Final() {
				p.settleOn(s, i)
			}
			if r.Serial >= s.rec.NextSerial {
				s.rec.NextSerial = r.Serial + 1
			}
		}
		if s.old == nil {
			s.rec.NextSerial = max(s.rec.NextSerial, p.in.Index)
		}
		s.rec.NextSerial = max(s.rec.NextSerial, 1)
	}
}

// settleOn books the i-th replica of s, which is not final, on its node, or
// takes it for lost when its node is gone.
func (p *pass) settleOn(s *service, i int) {
	r := s.replicas[i]
	n := p.node(r.Node)
	if p.isLost(s, r, n) {
		s.replicas[i] = p.markLost(r, n)
		return
	}
	if n == nil {
		return
	}
	if n.down() || n.standing == nodeLeaves {
		s.uprooted = true
	}
	n.occupy(s.likelySpecOf(r), r.ID)
}

// node returns the node of that name, or nil.
func (p *pass) node(name string) *node {
	if i, ok := p.nodeAt[name]; ok {
		return &p.nodes[i]
	}
	return nil
}

// specOf returns the spec that r runs, or nil when the view no longer has it.
func (s *service) specOf(r *cluster.Replica) *desired.Service {
	switch {
	case s.spec != nil && s.spec.SpecHash == r.SpecHash:
		return s.spec
	case s.previous != nil && s.previous.SpecHash == r.SpecHash:
		return s.previous
	}
	return nil
}

// likelySpecOf is specOf, and the present spec where that is not known: what a
// service reserves and publishes rarely changes.
func (s *service) likelySpecOf(r *cluster.Replica) *desired.Service {
	if spec := s.specOf(r); spec != nil {
		return spec
	}
	return s.spec
}

// occupy books a replica of spec on n.
func (n *node) occupy(spec *desired.Service, id string) {
	n.replicas++
	if spec == nil {
		return
	}
	n.usedCPU += spec.Container.Resources.CPUReservation
	n.usedMemory += spec.Container.Resources.MemoryReservation
	for _, port := range spec.Container.Ports {
		if port.Host != 0 {
			n.ports = append(n.ports, portUse{port: port, owner: id})
		}
	}
}

// hand counts the replicas of s on each node, for the filters and strategies.
// Few services place anything in a pass, so this is done when one first does.
func (p *pass) hand(s *service) {
	if p.inHand == s {
		return
	}
	for _, i := range p.touched {
		p.nodes[i].here, p.zones[p.nodes[i].zone] = 0, 0
	}
	p.inHand, p.touched = s, p.touched[:0]
	for _, r := range s.replicas {
		if i, ok := p.nodeAt[r.Node]; ok && !r.Phase.Final() {
			p.countOn(i)
		}
	}
}

// countOn adds a replica of the service in hand to the i-th node.
func (p *pass) countOn(i int) {
	p.nodes[i].here++
	p.zones[p.nodes[i].zone]++
	p.touched = append(p.touched, i)
}
