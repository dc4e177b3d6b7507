package scheduler

import (
	"fmt"
	"slices"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// weigh begins, pauses and tidies up a rollout: it stops what has served its
// time and starts nothing.
func (p *pass) weigh(s *service) {
	p.begin(s)
	ro := &s.rec.Rollout
	if ro.State == cluster.RolloutProgressing {
		p.judge(s)
	}
	p.swap(s)
	if ro.State == cluster.RolloutProgressing {
		p.passOver(s)
		p.shed(s)
	}
	if ro.State == cluster.RolloutPaused {
		p.freeze(s)
	}
}

// rollOut replaces old replicas by current ones, as many at a time and as fast
// as the service's update rules allow. Empty slots come before it: they take
// nothing away, and whether they have a place tells what the rest must serve.
func (p *pass) rollOut(s *service) {
	if s.rec.Rollout.State != cluster.RolloutProgressing {
		return
	}
	if why := p.gate(s); why != "" {
		s.say(reasonGate, why)
		return
	}
	p.retry(s)
	p.step(s)
}

// begin notices a new spec, a replica that must move, and the commit that asks
// for another try of a paused rollout.
func (p *pass) begin(s *service) {
	ro := &s.rec.Rollout
	hash := s.spec.SpecHash
	moves, ran := false, false
	for i := range s.slots {
		sl := &s.slots[i]
		moves = moves || sl.old != nil && !sl.waits
		ran = ran || slices.ContainsFunc(sl.replicas, func(r *cluster.Replica) bool {
			return r.SpecHash != hash && (r.Stop || r.Phase.Final())
		})
	}
	state := cluster.RolloutNone
	switch {
	case ro.SpecHash != hash:
		if moves || ran {
			state = cluster.RolloutProgressing
		}
	case ro.State == cluster.RolloutPaused && ro.Revision != s.accepted.Revision,
		ro.State != cluster.RolloutPaused && ro.State != cluster.RolloutProgressing && moves:
		state = cluster.RolloutProgressing
	case ro.State == cluster.RolloutProgressing:
		ro.Revision = s.accepted.Revision // what came before a pause does not end it
		return
	default:
		return
	}
	*ro = cluster.Rollout{State: state, Revision: s.accepted.Revision, SpecHash: hash, StartedAt: p.now}
}

// swap stops what is one too many in its slot: the old replica whose
// replacement passed the gate, and any that no rule explains.
func (p *pass) swap(s *service) {
	for i := range s.slots {
		sl := &s.slots[i]
		for _, r := range sl.extra {
			p.halt(s, sl, r, "one too many in its slot")
		}
		if sl.waits || sl.old == nil {
			continue
		}
		if sl.current == nil {
			if s.completed(sl) {
				p.halt(s, sl, sl.old, fmt.Sprintf("#%d did its work", sl.last.Serial))
			}
			continue
		}
		ok, at := p.settled(s, sl.current)
		switch {
		case ok && !p.acts(sl.current.Node): // it may be dead by now
			p.silent(s, sl, sl.current)
		case ok:
			p.dependOnServing(sl.current)
			p.halt(s, sl, sl.old, fmt.Sprintf("replaced by #%d", sl.current.Serial))
		case !at.IsZero():
			p.out.wakeAt(at)
		}
	}
}

// halt tells a replica of sl to stop.
func (p *pass) halt(s *service, sl *slot, r *cluster.Replica, why string) {
	if sl.paired() && (r == sl.old || r == sl.current) {
		s.quota.pairs--
	}
	p.release(s, r)
	p.out.stop(s, r, why)
	sl.stopping++
	sl.touched = true
	switch r {
	case sl.old:
		sl.old = nil
	case sl.current:
		sl.current = nil
	}
}

// besideOld reports whether the slot's replacement ended and is to be started
// once more beside the old replica. Where the old one has to stop first, the slot
// waits for its turn like any other.
func (p *pass) besideOld(s *service, sl *slot) bool {
	return s.order() == desired.StartFirst && p.triedInRollout(s, sl.last)
}

// retry starts a replacement that ended once more, beside the old replica.
func (p *pass) retry(s *service) {
	for i := range s.slots {
		sl := &s.slots[i]
		if sl.old == nil || sl.current != nil || sl.stopping > 0 || sl.waits || !p.besideOld(s, sl) {
			continue
		}
		v := p.restart(s, s.spec, sl.last)
		switch {
		case v.never:
		case p.now.Before(v.at):
			p.out.wakeAt(v.at)
		default:
			p.create(s, sl, s.spec, v)
		}
	}
}

// step starts replacing further slots while the parallelism allows, those
// whose old replica does not serve first.
func (p *pass) step(s *service) {
	parallel := s.spec.Update.Parallelism
	if parallel <= 0 {
		parallel = len(s.slots)
	}
	now := p.progress(s)
	queue := p.waiting(s)
	if len(queue) == 0 || !p.delayOver(s) || p.shrinking(s) {
		return
	}
	for _, sl := range queue {
		if now.inFlight >= parallel {
			return
		}
		if s.order() == desired.StartFirst {
			if p.create(s, sl, s.spec, verdict{why: "rollout"}) {
				now.inFlight++
			}
			continue
		}
		serving := p.carries(s, sl.old)
		if serving && now.serving-1 < now.slots-parallel || !p.wouldFit(s, sl) {
			continue
		}
		p.dependOnAllServing(s)
		p.halt(s, sl, sl.old, "makes room for the new spec")
		now.inFlight++
		if serving {
			now.serving--
		}
	}
}

// shrinking reports whether surplus slots are being stopped. Until they are, no
// wanted one is stopped for a new spec: nothing would tell the two apart. The
// slots of a global service are told apart by their nodes.
func (p *pass) shrinking(s *service) bool {
	if s.spec.Mode == desired.Global || s.order() != desired.StopFirst {
		return false
	}
	return slices.ContainsFunc(s.surplus, func(sl slot) bool {
		return slices.ContainsFunc(sl.replicas, func(r *cluster.Replica) bool { return active(r) && p.acts(r.Node) })
	})
}

// progress is how far a rollout is.
type progress struct {
	slots    int // that some node could run now
	inFlight int // of them, being replaced
	serving  int // of them, with a replica that serves
}

// progress counts the slots. Failed ones, which the rollout may lose if it came
// here, hold nothing up; those that have no node count for nothing, or a rollout
// would wait with them.
func (p *pass) progress(s *service) progress {
	var n progress
	for i := range s.slots {
		sl := &s.slots[i]
		if sl.waits || sl.homeless {
			continue
		}
		n.slots++
		settled := false
		if r := sl.current; r != nil {
			var at time.Time
			if settled, at = p.settled(s, r); !settled && !at.IsZero() {
				p.out.wakeAt(at)
			}
			if !settled && !p.acts(r.Node) || settled && !p.carries(s, r) {
				p.silent(s, sl, r)
			}
		}
		if settled && p.carries(s, sl.current) || sl.old != nil && p.carries(s, sl.old) {
			n.serving++
		}
		waits := sl.old != nil && sl.current == nil && !p.besideOld(s, sl)
		replaced := settled && sl.old == nil
		if !replaced && !waits && !s.completed(sl) && p.failure(s, sl) == "" {
			n.inFlight++
		}
	}
	return n
}

// silent says that a slot waits to hear from the node of r.
func (p *pass) silent(s *service, sl *slot, r *cluster.Replica) {
	if n := p.node(r.Node); n != nil {
		s.say(reasonSilent, fmt.Sprintf("slot %d waits for %s, which is %s", sl.number, n.name, n.stateText()))
	}
}

// waiting lists the slots whose turn has not come.
func (p *pass) waiting(s *service) []*slot {
	var queue []*slot
	for i := range s.slots {
		sl := &s.slots[i]
		switch {
		case sl.old == nil || sl.current != nil || sl.stopping > 0 || sl.waits || p.besideOld(s, sl):
		case !p.acts(sl.old.Node):
			p.silent(s, sl, sl.old)
		default:
			queue = append(queue, sl)
		}
	}
	slices.SortStableFunc(queue, func(a, b *slot) int {
		switch x, y := s.healthy(a.old), s.healthy(b.old); {
		case !x && y:
			return -1
		case x && !y:
			return 1
		}
		return 0
	})
	return queue
}

// delayOver reports whether update_config.delay has passed since the last batch
// became healthy.
func (p *pass) delayOver(s *service) bool {
	if s.spec.Update.Delay <= 0 {
		return true
	}
	last := p.lastStep(s)
	at := last.Add(s.spec.Update.Delay)
	if last.IsZero() || !p.now.Before(at) {
		return true
	}
	p.out.wakeAt(at)
	return false
}

// lastStep is when the newest replica of this rollout passed the gate; zero
// when none did.
func (p *pass) lastStep(s *service) time.Time {
	var last time.Time
	for i := range s.slots {
		r := s.slots[i].current
		if r == nil || r.CreatedAt.Before(s.rec.Rollout.StartedAt) {
			continue
		}
		if ok, _ := p.settled(s, r); !ok {
			continue
		}
		if at := s.settledAt(r); at.After(last) {
			last = at
		}
	}
	return last
}

// order is start-first unless the spec says otherwise or two replicas of it
// cannot share a node: a fixed host port and a volume belong to one at a time.
func (s *service) order() desired.Order {
	fixed := slices.ContainsFunc(s.spec.Container.Ports, func(p desired.Port) bool { return p.Host != 0 })
	if s.spec.Update.Order == desired.StopFirst || fixed || hasVolume(s.spec) {
		return desired.StopFirst
	}
	return desired.StartFirst
}

// wouldFit reports whether the new replica finds a place once the old one is
// gone. Without one the old one stays.
func (p *pass) wouldFit(s *service, sl *slot) bool {
	q := p.request(s, s.spec)
	q.pin, q.leaving, q.frees = sl.pin, sl.old, true
	if p.pick(q, sl.old.Node) >= 0 {
		return true
	}
	p.unplaced(s, q)
	return false
}

// dependOnAllServing makes the plan void when a replica that serves changes:
// the count of those that may stop rests on them.
func (p *pass) dependOnAllServing(s *service) {
	for i := range s.slots {
		for _, r := range []*cluster.Replica{s.slots[i].current, s.slots[i].old} {
			if r != nil && p.carries(s, r) {
				p.dependOnServing(r)
			}
		}
	}
}

// dependOnServing makes the plan void when r or its node changes.
func (p *pass) dependOnServing(r *cluster.Replica) {
	p.out.dependOn(r)
	p.out.dependOnNode(r.Node, p.node(r.Node))
}

// finishRollout closes a rollout in which every slot has passed the gate, or
// failed and was passed over, and no old replica is left. Slots that have no node
// are not waited for once another one showed what the spec is worth.
func (p *pass) finishRollout(s *service) {
	ro := &s.rec.Rollout
	if ro.State != cluster.RolloutProgressing && ro.State != cluster.RolloutPaused {
		return
	}
	if last := p.lastStep(s); !last.IsZero() {
		ro.StepAt = last
	}
	passed, away := 0, 0
	for i := range s.slots {
		sl := &s.slots[i]
		switch {
		case sl.waits, sl.homeless && !sl.touched:
			away++
			continue
		case sl.old != nil || sl.touched && sl.current == nil:
			return
		case s.completed(sl), ro.State == cluster.RolloutProgressing && p.failure(s, sl) != "":
			passed++
			continue
		case sl.current == nil:
			return
		}
		ok, at := p.settled(s, sl.current)
		if !ok {
			if !at.IsZero() {
				p.out.wakeAt(at)
			}
			return
		}
		passed++
	}
	if away == 0 || passed > 0 {
		ro.State, ro.Reason = cluster.RolloutDone, ""
	}
}
