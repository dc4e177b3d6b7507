package scheduler

import (
	"slices"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// slot is one place of a service: what runs in it and what last ended in it.
// Besides a replica that is stopping it holds at most an old and a current one,
// and both only while a start-first rollout replaces one by the other.
type slot struct {
	number int
	// pin is the only node that the slot may be on: that of a global service's
	// slot, or the one that holds its volume. "" is any.
	pin string
	// keeper is the replica that pin follows from; nil for a global service.
	keeper *cluster.Replica
	// waits is set when the pin's node is Down and holds the slot's volume.
	// Nothing is done about such a slot, and nothing waits for it.
	waits bool
	// homeless is set when the slot is empty and no node can take what it is to
	// run: a rollout goes on without it.
	homeless bool
	replicas []*cluster.Replica // by age

	current  *cluster.Replica   // runs the spec, on a node that qualifies
	old      *cluster.Replica   // to be replaced
	extra    []*cluster.Replica // more of either than there may be
	stopping int                // told to stop and not final yet
	last     *cluster.Replica   // the newest that is final
	touched  bool               // this pass created or stopped something here
}

// classify sorts the slot's replicas into the fields above.
func (p *pass) classify(s *service, sl *slot) {
	for _, r := range sl.replicas {
		switch {
		case r.Phase.Final():
			sl.last = r
		case r.Stop:
			sl.stopping++
		case r.SpecHash == s.spec.SpecHash && !p.misplaced(s, sl, r):
			sl.current = p.keepBetter(s, sl, sl.current, r)
		default:
			sl.old = p.keepBetter(s, sl, sl.old, r)
		}
	}
}

// keepBetter returns the one of two replicas that serves better, the older one
// of equals, and puts the other among the slot's extra ones.
func (p *pass) keepBetter(s *service, sl *slot, a, b *cluster.Replica) *cluster.Replica {
	if a == nil {
		return b
	}
	if !p.carries(s, a) && p.carries(s, b) {
		a, b = b, a
	}
	sl.extra = append(sl.extra, b)
	return a
}

// misplaced reports whether r must move because its node does not qualify any
// more. A volume stays where it is unless its node is removed, and nothing
// moves off a node that does not answer.
func (p *pass) misplaced(s *service, sl *slot, r *cluster.Replica) bool {
	if sl.pin == "" && !s.uprooted && p.request(s, s.spec).admitted == nil {
		return false
	}
	i, known := p.nodeAt[r.Node]
	switch {
	case !known:
		return false
	case p.nodes[i].standing != nodeServes || hasVolume(s.spec):
		return p.nodes[i].standing == nodeLeaves
	}
	return sl.pin != "" && sl.pin != r.Node || !p.qualifies(s, i)
}

// hasVolume reports whether the service keeps data on its node.
func hasVolume(spec *desired.Service) bool {
	return slices.ContainsFunc(spec.Container.Mounts, func(m desired.Mount) bool {
		return m.Kind == desired.VolumeMount && m.Volume != ""
	})
}

// chooseSlots splits the slots that exist into wanted and surplus ones and adds
// those that are missing.
func (p *pass) chooseSlots(s *service) {
	groups := groupSlots(s.replicas, s.spec.Replicas)
	if s.spec.Mode == desired.Global {
		p.chooseGlobal(s, groups)
	} else {
		p.chooseReplicated(s, groups)
	}
	keeps := hasVolume(s.spec)
	for i := range s.slots {
		sl := &s.slots[i]
		if keeps && sl.pin == "" {
			if sl.keeper = p.keeperOf(s, sl); sl.keeper != nil {
				sl.pin = sl.keeper.Node
			}
		}
		sl.waits = keeps && p.isDown(sl.pin) && hasVolume(s.fallback())
		p.classify(s, sl)
	}
}

// fallback is the spec that an empty slot gets: the present one, or that before
// while the rollout of the present one is paused.
func (s *service) fallback() *desired.Service {
	if s.rec.Rollout.State == cluster.RolloutPaused && s.rec.Rollout.SpecHash == s.spec.SpecHash && s.previous != nil {
		return s.previous
	}
	return s.spec
}

// calm reports whether a service is exactly what is wanted and recorded as
// such: a healthy replica of the spec in each slot, on a node that qualifies,
// and nothing else. There is nothing to decide about it, and its slots need not
// be worked out: without any, it counts as whole and as up. Nearly all services
// are calm nearly always, which is what makes a pass over a large fleet cheap.
func (p *pass) calm(s *service) bool {
	if s.old == nil || s.uprooted || s.rec.Reason != "" || s.rec.NextSerial != s.old.NextSerial ||
		s.rec.Rollout.SpecHash != s.spec.SpecHash ||
		s.rec.Rollout.State == cluster.RolloutProgressing || s.rec.Rollout.State == cluster.RolloutPaused ||
		s.spec.Mode == desired.Global || len(s.replicas) != s.spec.Replicas {
		return false
	}
	admitted := p.admitted(s.spec)
	for i, r := range s.replicas {
		switch {
		case r.Stop, r.SpecHash != s.spec.SpecHash, !s.healthy(r),
			i > 0 && s.replicas[i-1].Slot == r.Slot:
			return false
		case admitted != nil:
			if at, known := p.nodeAt[r.Node]; !known || !admitted[at] {
				return false
			}
		}
	}
	return true
}

// groupSlots cuts sorted replicas into slots, with room for want of them.
func groupSlots(replicas []*cluster.Replica, want int) []slot {
	count := 0
	for i, r := range replicas {
		if i == 0 || r.Slot != replicas[i-1].Slot {
			count++
		}
	}
	groups := make([]slot, 0, max(count, want))
	for start := 0; start < len(replicas); {
		end := start + 1
		for end < len(replicas) && replicas[end].Slot == replicas[start].Slot {
			end++
		}
		groups = append(groups, slot{number: replicas[start].Slot, replicas: replicas[start:end]})
		start = end
	}
	return groups
}

// chooseReplicated keeps the slots that serve best, the lowest of equals, and
// fills up with the lowest free numbers. Slots keep their numbers.
func (p *pass) chooseReplicated(s *service, groups []slot) {
	want := max(s.spec.Replicas, 0)
	if len(groups) > want {
		order := make([]int, len(groups))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return p.compareWorth(s, &groups[a], &groups[b]) })
		keep := make([]bool, len(groups))
		for _, i := range order[:want] {
			keep[i] = true
		}
		for i := range groups {
			if keep[i] {
				s.slots = append(s.slots, groups[i])
			} else {
				s.surplus = append(s.surplus, groups[i])
			}
		}
		return
	}
	s.slots = groups
	if len(groups) == want {
		return
	}
	numbers := freeNumbers(groups)
	for len(s.slots) < want {
		s.slots = append(s.slots, slot{number: numbers()})
	}
	slices.SortFunc(s.slots, func(a, b slot) int { return a.number - b.number })
}

// compareWorth orders slots for scaling down; the last ones go. Of two with a
// volume in which nothing is left but records, the one that ended later is still
// wanted, and the other merely remembered.
func (p *pass) compareWorth(s *service, a, b *slot) int {
	x, y := p.worth(s, a), p.worth(s, b)
	if x == onlyRecords && y == onlyRecords && hasVolume(s.spec) {
		return ended(b).Compare(ended(a))
	}
	return x - y
}

// ended is when the newest replica of a slot did.
func ended(sl *slot) time.Time { return sl.replicas[len(sl.replicas)-1].FinishedAt }

// onlyRecords is the worth of a slot in which everything is final.
const onlyRecords = 3

// worth ranks a slot by the best that is in it; the lowest is the best. What
// stops on a node that does not answer is the last: that may never end.
func (p *pass) worth(s *service, sl *slot) int {
	worth := onlyRecords + 1
	for _, r := range sl.replicas {
		switch {
		case r.Phase.Final():
			worth = min(worth, onlyRecords)
		case r.Stop && p.acts(r.Node):
			worth = min(worth, 2)
		case r.Stop:
		case p.carries(s, r):
			return 0
		default:
			worth = min(worth, 1)
		}
	}
	return worth
}

// freeNumbers returns a function that counts through the slot numbers, from 1,
// that no group has. The groups are sorted by number.
func freeNumbers(groups []slot) func() int {
	next, i := 0, 0
	return func() int {
		next++
		for i < len(groups) && groups[i].number <= next {
			if groups[i].number == next {
				next++
			}
			i++
		}
		return next
	}
}

// chooseGlobal gives each node that qualifies one slot. A node that does not
// answer keeps the one it has and gets none; one that is gone has none but for
// a volume. Slots in which something is meant to run come before those that are
// only remembered.
func (p *pass) chooseGlobal(s *service, groups []slot) {
	taken := make(map[string]bool, len(p.nodes))
	for _, running := range []bool{true, false} {
		for _, g := range groups {
			node, runs := home(g.replicas)
			if runs != running {
				continue
			}
			i, known := p.nodeAt[node]
			if !known || taken[node] || !p.keepsGlobal(s, i) {
				s.surplus = append(s.surplus, g)
				continue
			}
			taken[node], g.pin = true, node
			s.slots = append(s.slots, g)
		}
	}
	numbers := freeNumbers(groups)
	for i := range p.nodes {
		n := &p.nodes[i]
		if n.standing == nodeServes && !taken[n.name] && p.qualifies(s, i) {
			s.slots = append(s.slots, slot{number: numbers(), pin: n.name})
		}
	}
	slices.SortFunc(s.slots, func(a, b slot) int { return a.number - b.number })
}

// keepsGlobal reports whether the i-th node keeps the slot that a global
// service has on it.
func (p *pass) keepsGlobal(s *service, i int) bool {
	switch n := &p.nodes[i]; n.standing {
	case nodeServes:
		return p.qualifies(s, i)
	case nodeSilent:
		return true
	case nodeGone:
		return !n.removed && hasVolume(s.spec)
	default:
		return false
	}
}

// home is the node that a slot's replicas are on: that of the oldest one which
// is meant to run, else that of the newest.
func home(replicas []*cluster.Replica) (node string, runs bool) {
	for _, r := range replicas {
		if !r.Stop && !r.Phase.Final() {
			return r.Node, true
		}
	}
	return replicas[len(replicas)-1].Node, false
}

// healthy reports whether r serves as its spec asks. A replica without a
// healthcheck is healthy when it runs; only its node knows whether the image
// brings one, and says so by what sets HealthyAt.
func (s *service) healthy(r *cluster.Replica) bool {
	switch r.Phase {
	case cluster.Healthy:
		return true
	case cluster.Running:
		spec := s.specOf(r)
		return !r.HealthyAt.IsZero() && (spec == nil || !hasHealthcheck(spec))
	default:
		return false
	}
}

// hasHealthcheck reports whether the spec names a healthcheck.
func hasHealthcheck(spec *desired.Service) bool {
	h := spec.Container.Healthcheck
	return h != nil && !h.Disable && len(h.Test) > 0 && h.Test[0] != "NONE"
}

// settled reports whether r passed the gate of a rollout: its healthcheck says
// so, or it ran for the monitor period when there is none. When only time is
// missing, at is the moment that it will have passed.
func (p *pass) settled(s *service, r *cluster.Replica) (ok bool, at time.Time) {
	if !s.healthy(r) {
		return false, time.Time{}
	}
	at = s.settledAt(r)
	return !p.now.Before(at), at
}

// settledAt is when a healthy replica of the present spec passes the gate.
func (s *service) settledAt(r *cluster.Replica) time.Time {
	if r.Phase == cluster.Healthy {
		return r.HealthyAt
	}
	return r.HealthyAt.Add(s.spec.Update.Monitor)
}

// completed reports whether the slot's last replica of the spec ended well and
// is, by the restart policy, not to be started again: it did what it was for.
func (s *service) completed(sl *slot) bool {
	r := sl.last
	return r != nil && sl.current == nil && !r.Stop && r.SpecHash == s.spec.SpecHash &&
		succeeded(r) && s.spec.Restart.Condition != desired.RestartAny && s.spec.Restart.Condition != ""
}

// succeeded reports whether r ran and ended by itself with status 0.
func succeeded(r *cluster.Replica) bool {
	return r.Phase == cluster.Failed && r.ExitCode == 0 && !r.StartedAt.IsZero()
}
