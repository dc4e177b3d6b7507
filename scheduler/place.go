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
	for q.ranking.Len() > 0 {
		i := q.ranking.order[0]
		if p.refuse(q, i).kind == fits {
			return i
		}
		heap.Pop(q.ranking) // what refuses now refuses to the end of the pass
	}
	return -1
}

// book takes the place on node i for a replica of spec and keeps the rankings
// of the service in hand in order.
func (p *pass) book(s *service, spec *desired.Service, i int, id string) {
	p.nodes[i].occupy(spec, id)
	p.nodes[i].here++
	p.touched = append(p.touched, i)
	for _, q := range s.requests {
		if q.ranking != nil && q.ranking.at[i] >= 0 {
			heap.Fix(q.ranking, q.ranking.at[i])
		}
	}
}

// ranking is the nodes that can take a replica, the best one first.
type ranking struct {
	nodes []node
	pack  bool
	order []int // heap of node indexes
	at    []int // position of a node in order; -1 when it is not there
}

func (p *pass) rank(q *request) *ranking {
	r := &ranking{
		nodes: p.nodes,
		pack:  q.spec.Placement.Strategy == desired.Pack,
		order: make([]int, 0, len(p.nodes)),
		at:    make([]int, len(p.nodes)),
	}
	for i := range p.nodes {
		r.at[i] = -1
		if p.refuse(q, i).kind == fits {
			r.at[i] = len(r.order)
			r.order = append(r.order, i)
		}
	}
	heap.Init(r)
	return r
}

// Len implements heap.Interface.
func (r *ranking) Len() int { return len(r.order) }

// Less implements heap.Interface. Spread takes the node with the fewest
// replicas of the service, then of all; pack the one with the most reserved.
// The name decides between equals, as nodes are sorted by it.
func (r *ranking) Less(i, j int) bool {
	a, b := &r.nodes[r.order[i]], &r.nodes[r.order[j]]
	if r.pack {
		switch {
		case a.usedMemory != b.usedMemory:
			return a.usedMemory > b.usedMemory
		case a.usedCPU != b.usedCPU:
			return a.usedCPU > b.usedCPU
		case a.replicas != b.replicas:
			return a.replicas > b.replicas
		}
		return r.order[i] < r.order[j]
	}
	switch {
	case a.here != b.here:
		return a.here < b.here
	case a.replicas != b.replicas:
		return a.replicas < b.replicas
	}
	return r.order[i] < r.order[j]
}

// Swap implements heap.Interface.
func (r *ranking) Swap(i, j int) {
	r.order[i], r.order[j] = r.order[j], r.order[i]
	r.at[r.order[i]], r.at[r.order[j]] = i, j
}

// Push implements heap.Interface; a ranking only shrinks.
func (r *ranking) Push(any) {}

// Pop implements heap.Interface.
func (r *ranking) Pop() any {
	n := len(r.order) - 1
	i := r.order[n]
	r.order, r.at[i] = r.order[:n], -1
	return i
}
