package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jaco-sh/jaco/desired"
)

// refusal is why a node cannot take a replica; its zero value is that it can.
type refusal struct {
	kind refusalKind
	at   int // index of the constraint, port or state that decided
}

// refusalKind names a filter. The filters ask in this order, the lasting
// reasons first, and the first that refuses is the one that is told.
type refusalKind int

const (
	fits refusalKind = iota
	refusedPin
	refusedConstraint
	refusedHosts
	refusedMemory
	refusedCPU
	refusedState
	refusedPort
	refusedMax
)

// refuse asks every filter whether n, the i-th node, can take a replica.
func (p *pass) refuse(q *request, i int) refusal {
	n := &p.nodes[i]
	if q.pin != "" && q.pin != n.name {
		return refusal{kind: refusedPin}
	}
	if n.removed { // bringing it back or labelling it would not help
		return refusal{kind: refusedState, at: n.stateOrder()}
	}
	if q.admitted != nil && !q.admitted[i] {
		return fixedRefusal(q.spec, n)
	}
	if r := roomRefusal(q, n); r.kind != fits {
		return r
	}
	if n.standing != nodeServes {
		return refusal{kind: refusedState, at: n.stateOrder()}
	}
	if r := portRefusal(q, n); r.kind != fits {
		return r
	}
	return maxRefusal(q, n)
}

// fixedRefusal asks what only a commit can change: constraints and hosts.
func fixedRefusal(spec *desired.Service, n *node) refusal {
	for i, c := range spec.Placement.Constraints {
		if !satisfies(c, n) {
			return refusal{kind: refusedConstraint, at: i}
		}
	}
	if spec.Placement.Strategy == desired.Hosts && !slices.Contains(spec.Placement.Hosts, n.name) {
		return refusal{kind: refusedHosts}
	}
	return refusal{}
}

func satisfies(c desired.Constraint, n *node) bool {
	if c.Key == "node.hostname" {
		return (n.name == c.Value) == c.Equal
	}
	label, ok := strings.CutPrefix(c.Key, "node.labels.")
	if !ok {
		return false // desired refuses other keys; if one came through, nothing matches it
	}
	value, has := n.labels[label]
	return (has && value == c.Value) == c.Equal
}

// roomRefusal asks whether the reservations fit. A service that reserves
// nothing fits anywhere, also on a node whose capacity is not known yet.
func roomRefusal(q *request, n *node) refusal {
	want := q.spec.Container.Resources
	usedCPU, usedMemory := n.usedCPU, n.usedMemory
	if q.frees && q.leaving != nil && q.leaving.Node == n.name {
		if spec := q.service.likelySpecOf(q.leaving); spec != nil {
			usedCPU -= spec.Container.Resources.CPUReservation
			usedMemory -= spec.Container.Resources.MemoryReservation
		}
	}
	if want.MemoryReservation > 0 && usedMemory+want.MemoryReservation > n.memory {
		return refusal{kind: refusedMemory}
	}
	if want.CPUReservation > 0 && usedCPU+want.CPUReservation > n.cpu {
		return refusal{kind: refusedCPU}
	}
	return refusal{}
}

// portRefusal asks whether the host ports are free, whoever holds them.
func portRefusal(q *request, n *node) refusal {
	if len(n.ports) == 0 {
		return refusal{}
	}
	for i, port := range q.spec.Container.Ports {
		if port.Host == 0 {
			continue
		}
		for _, use := range n.ports {
			freed := q.frees && q.leaving != nil && use.owner == q.leaving.ID
			if !freed && portsClash(port, use.port) {
				return refusal{kind: refusedPort, at: i}
			}
		}
	}
	return refusal{}
}

func portsClash(a, b desired.Port) bool {
	return a.Host == b.Host && a.Protocol == b.Protocol &&
		(a.HostIP == b.HostIP || anyAddress(a.HostIP) || anyAddress(b.HostIP))
}

func anyAddress(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }

// maxRefusal asks whether the node holds as many of the service as it may. The
// replica that makes room for the new one does not count: two in one slot are
// one.
func maxRefusal(q *request, n *node) refusal {
	limit := q.spec.Placement.MaxReplicasPerNode
	if limit == 0 {
		return refusal{}
	}
	here := n.here
	if q.leaving != nil && q.leaving.Node == n.name {
		here--
	}
	if here >= limit {
		return refusal{kind: refusedMax}
	}
	return refusal{}
}

// explain tells why no node can take a replica, each node counted under the
// first filter that refused it. States come first, as they pass by themselves.
func (p *pass) explain(q *request) string {
	counts := map[refusal]int{}
	for i := range p.nodes {
		r := p.refuse(q, i)
		if r.kind != fits && (r.kind != refusedPin || hasVolume(q.spec)) {
			counts[r]++
		}
	}
	kinds := make([]refusal, 0, len(counts))
	for r := range counts {
		kinds = append(kinds, r)
	}
	slices.SortFunc(kinds, func(a, b refusal) int {
		switch x, y := a.kind == refusedState, b.kind == refusedState; {
		case x && !y:
			return -1
		case y && !x:
			return 1
		}
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.at, b.at))
	})
	parts := make([]string, 0, len(kinds))
	for _, r := range kinds {
		parts = append(parts, strconv.Itoa(counts[r])+" "+describe(q.spec, r, counts[r]))
	}
	if len(parts) == 0 {
		return noNode + "the cluster has none for it"
	}
	return noNode + strings.Join(parts, ", ")
}

// noNode starts every reason that says that a replica has no place.
const noNode = "no node: "

// describe says what a refusal is about, to follow the number of nodes.
func describe(spec *desired.Service, r refusal, nodes int) string {
	switch r.kind {
	case refusedPin:
		return "without its volume"
	case refusedConstraint:
		return describeConstraint(spec.Placement.Constraints[r.at])
	case refusedHosts:
		return "not among its hosts"
	case refusedMemory:
		return "short of " + formatBytes(spec.Container.Resources.MemoryReservation)
	case refusedCPU:
		cores := float64(spec.Container.Resources.CPUReservation) / 1e9
		return "short of " + strconv.FormatFloat(cores, 'g', -1, 64) + " CPU"
	case refusedState:
		if nodes == 1 {
			return "is " + stateName(r.at)
		}
		return "are " + stateName(r.at)
	case refusedPort:
		port := spec.Container.Ports[r.at]
		return fmt.Sprintf("host port %d/%s taken", port.Host, port.Protocol)
	case refusedMax:
		return fmt.Sprintf("with %d of at most %d replicas a node",
			spec.Placement.MaxReplicasPerNode, spec.Placement.MaxReplicasPerNode)
	default:
		return "fit"
	}
}

func describeConstraint(c desired.Constraint) string {
	label, isLabel := strings.CutPrefix(c.Key, "node.labels.")
	switch {
	case isLabel && c.Equal:
		return "lack label " + label + "=" + c.Value
	case isLabel:
		return "have label " + label + "=" + c.Value
	case c.Equal:
		return "not " + c.Key + "==" + c.Value
	}
	return "excluded by " + c.Key + "!=" + c.Value
}

// formatBytes writes a size in the largest binary unit that divides it.
func formatBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return strconv.FormatInt(n, 10) + " " + units[i]
}
