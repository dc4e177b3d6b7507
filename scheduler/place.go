package scheduler

import (
	"container/heap"
	"strconv"
	"strings"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// request asks for nodes for replicas of one spec of the service in hand.
type request struct {
	service *service
	spec    *desired.Service
	// admitted has a false for each node that the spec's fixed rules exclude;
	// nil when there are none.
	admitted []bool
	ranking  *ranking // made when the first free choice is due

	// Of one pick:
	pin     string
	leaving *cluster.Replica // makes room for the new one in its slot
	frees   bool             // and does so before the new one starts
}

// request returns the service's request for spec.
func (p *pass) request(s *service, spec *desired.Service) *request {
	for _, q := range s.requests {
		if q.spec == spec {
			return q
		}
	}
	q := &request{service: s, spec: spec, admitted: p.admitted(spec)}
	s.requests = append(s.requests, q)
	return q
}

// admitted says for each node whether constraints and hosts let spec run there;
// nil when it has neither. Services with the same rules share the answer.
func (p *pass) admitted(spec *desired.Service) []bool {
	if len(spec.Placement.Constraints) == 0 && spec.Placement.Strategy != desired.Hosts {
		return nil
	}
	key := placementKey(spec.Placement)
	if known, ok := p.eligible[key]; ok {
		return known
	}
	admitted := make([]bool, len(p.nodes))
	for i := range p.nodes {
		admitted[i] = fixedRefusal(spec, &p.nodes[i]).kind == fits
	}
	p.eligible[key] = admitted
	return admitted
}

// placementKey is equal for placements with equal fixed rules. Every part is
// quoted, so that no two rules can run together.
func placementKey(pl desired.Placement) string {
	var b strings.Builder
	for _, c := range pl.Constraints {
		b.WriteString(strconv.Quote(c.Key) + strconv.FormatBool(c.Equal) + strconv.Quote(c.Value))
	}
	if pl.Strategy == desired.Hosts {
		b.WriteByte('@')
		for _, h := range pl.Hosts {
			b.WriteString(strconv.Quote(h))
		}
	}
	return b.String()
}

// qualifies reports whether the fixed rules of s admit the i-th node.
func (p *pass) qualifies(s *service, i int) bool {
	q := p.request(s, s.spec)
	return q.admitted == nil || q.admitted[i]
}

// pick returns the index of the node for one more replica, or -1. The preferred
// node wins when it fits, so that a slot stays where it is.
func (p *pass) pick(q *request, prefer string) int {
	p.hand(q.service)
	if q.pin != "" {
		prefer = q.pin
	}
	if i, ok := p.nodeAt[prefer]; ok && p.refuse(q, i).kind == fits {
		return i
	}
	if q.pin != "" {
		return -1
	}
	if q.ranking == nil {
		q.ranking = p.rank(q)
	}
	for {
		best := q.ranking.best()
		if best == nil {
			return -1
		}
		if i := best.order[0]; p.refuse(q, i).kind == fits {
			return i
		}
		heap.Pop(best) // what refuses now refuses to the end of the pass
	}
}

// book takes the place on node i for a replica of spec and keeps the rankings
// of the service in hand in order.
func (p *pass) book(s *service, spec *desired.Service, i int, id string) {
	p.nodes[i].occupy(spec, id)
	p.countOn(i)
	for _, q := range s.requests {
		if q.ranking != nil {
			q.ranking.fix(i)
		}
	}
}

// ranking is the nodes that can take a replica, in groups that are spread over
// before what is in them.
type ranking struct {
	groups []*group // by zone; with pack a single one
	zones  []int    // replicas of the service in each zone
	at     []int    // position of a node in its group; -1 when it is not there
}

// group is the nodes of one zone, a heap with the best one first.
type group struct {
	ranking *ranking
	nodes   []node
	pack    bool
	zone    int
	order   []int // indexes of nodes
}

func (p *pass) rank(q *request) *ranking {
	r := &ranking{zones: p.zones, at: make([]int, len(p.nodes))}
	pack := q.spec.Placement.Strategy == desired.Pack
	sizes := p.zoneSize
	if pack {
		sizes = []int{len(p.nodes)}
	}
	groups, room := make([]group, len(sizes)), make([]int, len(p.nodes))
	r.groups = make([]*group, len(sizes))
	for z, size := range sizes {
		groups[z] = group{ranking: r, nodes: p.nodes, pack: pack, zone: z, order: room[:0:size]}
		r.groups[z], room = &groups[z], room[size:]
	}
	for i := range p.nodes {
		r.at[i] = -1
		if p.refuse(q, i).kind == fits {
			g := r.groupOf(i, p.nodes)
			r.at[i] = len(g.order)
			g.order = append(g.order, i)
		}
	}
	for _, g := range r.groups {
		heap.Init(g)
	}
	return r
}

// groupOf is the group that the i-th of nodes belongs to.
func (r *ranking) groupOf(i int, nodes []node) *group {
	if len(r.groups) == 1 {
		return r.groups[0]
	}
	return r.groups[nodes[i].zone]
}

// best is the group with the best node, nil when there is none: that of the
// zone with the fewest replicas of the service. The nodes decide between equals.
func (r *ranking) best() *group {
	var best *group
	for _, g := range r.groups {
		switch {
		case len(g.order) == 0:
		case best == nil, r.zones[g.zone] < r.zones[best.zone],
			r.zones[g.zone] == r.zones[best.zone] && g.before(g.order[0], best.order[0]):
			best = g
		}
	}
	return best
}

// fix puts the i-th node where it belongs after one more replica went there.
func (r *ranking) fix(i int) {
	if r.at[i] >= 0 {
		heap.Fix(r.groupOf(i, r.groups[0].nodes), r.at[i])
	}
}

// before reports whether the i-th node is better than the j-th. Spread takes the
// node with the fewest replicas of the service, then of all; pack the one with
// the most reserved. The name decides between equals, as nodes are sorted by it.
func (g *group) before(i, j int) bool {
	a, b := &g.nodes[i], &g.nodes[j]
	switch {
	case g.pack && a.usedMemory != b.usedMemory:
		return a.usedMemory > b.usedMemory
	case g.pack && a.usedCPU != b.usedCPU:
		return a.usedCPU > b.usedCPU
	case g.pack && a.replicas != b.replicas:
		return a.replicas > b.replicas
	case g.pack:
		return i < j
	case a.here != b.here:
		return a.here < b.here
	case a.replicas != b.replicas:
		return a.replicas < b.replicas
	}
	return i < j
}

// Len implements heap.Interface.
func (g *group) Len() int { return len(g.order) }

// Less implements heap.Interface.
func (g *group) Less(i, j int) bool { return g.before(g.order[i], g.order[j]) }

// Swap implements heap.Interface.
func (g *group) Swap(i, j int) {
	g.order[i], g.order[j] = g.order[j], g.order[i]
	g.ranking.at[g.order[i]], g.ranking.at[g.order[j]] = i, j
}

// Push implements heap.Interface; a group only shrinks.
func (g *group) Push(any) {}

// Pop implements heap.Interface.
func (g *group) Pop() any {
	n := len(g.order) - 1
	i := g.order[n]
	g.order, g.ranking.at[i] = g.order[:n], -1
	return i
}
