package agent

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// This file is what the agent does not take from a leader (guarantee G1): what to
// run, and how many, is for the accepted revisions to say.

// beyondDeclared finds the new assignments of each service that exceed, on all
// nodes together, what the accepted revisions declare plus what an update may
// add, and those of them that no honest leader makes. Those that this node took
// up already come first: nothing that runs is refused because the leader was slow
// to scale down.
func (d *differ) beyondDeclared() (excess, wrong map[string]bool) {
	if d.view == nil {
		return nil, nil
	}
	groups := map[cluster.ServiceKey][]cluster.Replica{}
	for _, r := range d.peers {
		if d.memory[r.ID].outcome != nil {
			continue // it has ended, and the state will hear of it
		}
		key := cluster.ServiceKey{Deployment: r.Deployment, Service: r.Service}
		groups[key] = append(groups[key], r)
	}
	excess, wrong = map[string]bool{}, map[string]bool{}
	for key, rs := range groups {
		slices.SortFunc(rs, func(a, b cluster.Replica) int {
			return cmp.Or(cmp.Compare(d.rank(a), d.rank(b)), cmp.Compare(a.CreateIndex, b.CreateIndex), cmp.Compare(a.ID, b.ID))
		})
		over, never := d.view.Excess(key.Deployment, key.Service, rs)
		for _, r := range rs {
			excess[r.ID] = over[r.ID] && d.rank(r) > 0
			wrong[r.ID] = never[r.ID] && d.rank(r) > 0
		}
	}
	return excess, wrong
}

// rank is 0 for an assignment that this node took up already, 1 for any other.
// The recorded phase has no say: it came through the leader.
func (d *differ) rank(r cluster.Replica) int {
	m := d.memory[r.ID]
	if d.own[r.ID] != nil || m.busy != "" || m.tries > 0 {
		return 0
	}
	return 1
}

// takes reports whether this node may start r, and decides to reject it when it
// never will.
func (d *differ) takes(r cluster.Replica) bool {
	if d.view == nil {
		return false
	}
	s, _ := specOf(d.view, r)
	if s != nil && !d.excess[r.ID] {
		return true
	}
	if d.nextClaim != 0 && d.nextClaim <= r.CreateIndex {
		// The leader may have accepted what this node has yet to judge; the view
		// changes when it has.
		return false
	}
	if s == nil {
		d.reject(r, d.unknown(r), r.CreateIndex > d.view.KnownFrom(r.Deployment))
		return false
	}
	since := d.memory[r.ID].waiting
	if since.IsZero() {
		since = d.now
	}
	if due := since.Add(d.rejectAfter); d.now.Before(due) || !d.wrong[r.ID] {
		d.plan.waiting[r.ID] = since
		if d.wrong[r.ID] {
			d.wakeAt(due)
		}
		return false
	}
	d.reject(r, fmt.Sprintf("more replicas of %s/%s than the accepted revision allows: %s",
		r.Deployment, r.Service, allowed(d.view.Limits(r.Deployment, r.Service))), true)
	return false
}

// reject ends an assignment that this node does not take. What an honest leader
// may have assigned before it knew better is not held against it.
func (d *differ) reject(r cluster.Replica, reason string, wrong bool) {
	o := outcome{phase: cluster.Rejected, reason: reason}
	if wrong {
		o.event = cluster.EventLeaderMisbehaviour
	}
	d.decide(r, nil, o)
}

// unknown says what this node never accepted of an assignment.
func (d *differ) unknown(r cluster.Replica) string {
	for a := d.view.Deployments[r.Deployment]; a != nil; a = a.Previous {
		if a.Desired == nil || a.Desired.Service(r.Service) == nil {
			continue
		}
		return fmt.Sprintf("this node accepted no such spec: %s of %s/%s at %s", short(r.SpecHash), r.Deployment, r.Service, r.Revision.Short())
	}
	return fmt.Sprintf("no revision that this node accepted has a service %s/%s", r.Deployment, r.Service)
}

// allowed says how many replicas the limits of a service allow at most.
func allowed(limits []cluster.Limit) string {
	var most cluster.Limit
	for _, l := range limits {
		most.Replicas, most.Slot, most.Global = max(most.Replicas, l.Replicas), max(most.Slot, l.Slot), l.Global
	}
	where := "on all nodes together"
	if most.Global {
		where = "on a node"
	}
	return fmt.Sprintf("%d %s, %d in a slot", most.Replicas, where, most.Slot)
}

// giveUp ends the starts of replicas that are over or that nobody assigns any
// more: another node may run what takes their place.
func (d *differ) giveUp(assigned []cluster.Replica) {
	wanted := make(map[string]bool, len(assigned))
	for _, r := range assigned {
		wanted[r.ID] = !r.Phase.Final()
	}
	if d.view == nil {
		return
	}
	for _, key := range sortedKeys(d.memory) {
		if d.memory[key].busy == actStart && !wanted[key] {
			d.plan.cancel = append(d.plan.cancel, key)
		}
	}
}

// specOf finds what r is to run in the node's own view: in the accepted revision
// that the assignment names, if that one has the hash, else in the newest that
// has it. Nil: this node accepted no such spec.
func specOf(v *cluster.View, r cluster.Replica) (*desired.Service, *cluster.Accepted) {
	if v == nil {
		return nil, nil
	}
	for a := v.Deployments[r.Deployment]; a != nil; a = a.Previous {
		if a.Revision != r.Revision || a.Desired == nil {
			continue
		}
		if s := a.Desired.Service(r.Service); s != nil && s.SpecHash == r.SpecHash {
			return s, a
		}
	}
	return v.Spec(r.Deployment, r.Service, r.SpecHash)
}
