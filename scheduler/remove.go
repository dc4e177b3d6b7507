package scheduler

import (
	"slices"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// retire stops a service that is no longer wanted and forgets it once nothing
// of it is left.
func (p *pass) retire(s *service) {
	if p.end(s, s.replicas, "the service is retired") > 0 || s.old == nil {
		return
	}
	p.out.plan.DropService = append(p.out.plan.DropService, s.key)
	p.out.dependOnService(s)
	p.out.note(Decision{Action: ActionDrop, Deployment: s.key.Deployment, Service: s.key.Service, Why: "nothing is left of it"})
}

// removeSurplus ends the slots that scaling down, or a global service's node
// that no longer qualifies, left over.
func (p *pass) removeSurplus(s *service) {
	for i := range s.surplus {
		replicas := s.surplus[i].replicas
		if s.spec.Mode != desired.Global && hasVolume(s.spec) {
			// The slot may be wanted again, and then where its volume is.
			keeper := p.keeperOf(s, &s.surplus[i])
			replicas = slices.DeleteFunc(slices.Clone(replicas), func(r *cluster.Replica) bool {
				return r == keeper && r.Phase.Final()
			})
		}
		p.end(s, replicas, "the slot is no longer wanted")
	}
}

// end stops, loses and forgets replicas and returns how many are not final yet.
func (p *pass) end(s *service, replicas []*cluster.Replica, why string) int {
	left := 0
	for _, r := range replicas {
		n := p.node(r.Node)
		switch {
		case r.Phase.Final():
			p.out.remove(s, r, why)
			continue
		case n != nil && n.standing == nodeGone: // a volume is waited for no more
			p.release(s, r)
			p.out.lose(s, r, n)
		case !r.Stop:
			p.release(s, r)
			p.out.stop(s, r, why)
		}
		left++
	}
	return left
}

// forget drops final records that say nothing any more. The newest one of a
// slot stays while nothing replaced it: it holds the back-off, the node and
// the reason of a failure. One that was lost stays until the slot serves again:
// it says why it does not. The one that knows where the volume is stays, too.
func (p *pass) forget(s *service) {
	for i := range s.slots {
		sl := &s.slots[i]
		created := sl.touched && sl.stopping == 0
		replaced := created || sl.current != nil || sl.last != nil && sl.last.Stop && sl.old != nil
		if sl.last != nil && sl.last.Phase == cluster.Lost {
			replaced = sl.current != nil && s.healthy(sl.current) || sl.old != nil && s.healthy(sl.old)
		}
		for _, r := range sl.replicas {
			if r.Phase.Final() && !p.lost[r] && r != sl.keeper && (replaced || r != sl.last) {
				p.out.remove(s, r, "replaced")
			}
		}
	}
}
