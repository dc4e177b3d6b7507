package scheduler

import (
	"fmt"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// The back-off of restarts in one slot.
const (
	firstBackOff = time.Second
	maxBackOff   = time.Minute
	// healthyReset is how long a replica must have been healthy for the next
	// start to count as the first again.
	healthyReset = 10 * time.Minute
)

// gaveUp starts every reason that says that a slot is not started again.
const gaveUp = "gave up on "

// verdict says whether and when a slot gets its next replica.
type verdict struct {
	never   bool
	attempt int
	at      time.Time // not before; zero: now
	why     string
}

// fill gives every empty slot its replica: for the first time, after the one
// before made room, or after it ended.
func (p *pass) fill(s *service) {
	gate := p.gate(s)
	for i := range s.slots {
		sl := &s.slots[i]
		if sl.current != nil || sl.old != nil || sl.waits {
			continue
		}
		if sl.stopping > 0 {
			p.awaitStop(s, sl)
			continue
		}
		spec := s.specToFill(sl, gate)
		if spec == nil {
			s.say(reasonGate, gate)
			continue
		}
		v := p.restart(s, spec, sl.last)
		switch {
		case v.never:
			if !succeeded(sl.last) {
				s.say(reasonGaveUp, fmt.Sprintf("%sslot %d after %d restarts%s", gaveUp, sl.number, sl.last.Attempt, because(sl.last)))
			}
		case p.now.Before(v.at):
			p.out.wakeAt(v.at)
			d := decide(ActionWait, sl.last, v.why)
			p.out.note(d)
		default:
			p.create(s, sl, spec, v)
		}
	}
}

// awaitStop says so when what a slot waits for is a node that does not answer.
func (p *pass) awaitStop(s *service, sl *slot) {
	for _, r := range sl.replicas {
		if active(r) && !p.acts(r.Node) {
			p.silent(s, sl, r)
		}
	}
}

// specToFill is what an empty slot gets. While the new spec is not to be
// started, that is the one before, if this node still accepts it. nil: nothing
// yet.
func (s *service) specToFill(sl *slot, gate string) *desired.Service {
	switch spec := s.fallback(); {
	case gate == "", spec != s.spec:
		return spec
	case sl.last != nil && s.previous != nil:
		return s.previous
	}
	return nil
}

// restart judges the last replica of a slot before a replica of spec follows.
//
// A replica that was told to stop, that ran another spec, that is from before
// the present rollout, or that was lost with its node is followed at once: none
// of these is a restart. After one that ended by
// itself the restart policy decides. One that never became healthy is followed
// after a back-off from its end. After one that did, the back-off is a distance
// between starts: it counts from when it became healthy and is nothing the first
// time, so that one that comes up and falls over waits longer each time. One
// that was healthy until somebody's hand ended it is followed at once, and does
// not count.
func (p *pass) restart(s *service, spec *desired.Service, last *cluster.Replica) verdict {
	ro := &s.rec.Rollout
	switch {
	case last == nil:
		return verdict{why: "slot is empty"}
	case last.Stop:
		return verdict{why: "the replica before made room"}
	case last.SpecHash != spec.SpecHash:
		return verdict{why: "new spec"}
	case ro.State == cluster.RolloutProgressing && last.CreatedAt.Before(ro.StartedAt):
		return verdict{why: "rollout"}
	case last.Phase == cluster.Lost:
		return verdict{attempt: last.Attempt, why: "lost" + because(last)}
	}
	policy := spec.Restart
	attempt := last.Attempt + 1
	if ranFor(last) >= healthyReset || policy.Window > 0 && upFor(last) >= policy.Window {
		attempt = 0
	}
	switch {
	case policy.Condition == desired.RestartNone && last.Phase != cluster.Rejected,
		policy.Condition == desired.RestartOnFailure && succeeded(last),
		policy.MaxAttempts > 0 && attempt > policy.MaxAttempts:
		return verdict{never: true}
	}
	v := verdict{attempt: attempt, why: "ended" + because(last)}
	switch {
	case last.Drift && !last.HealthyAt.IsZero():
		v.attempt = last.Attempt // nothing is wrong with it
	case policy.Delay > 0:
		v.at = last.FinishedAt.Add(policy.Delay)
	case attempt == 0:
	case last.HealthyAt.IsZero():
		v.at = last.FinishedAt.Add(backOff(last.Attempt))
	case last.Attempt > 0:
		v.at = last.HealthyAt.Add(backOff(last.Attempt - 1))
	}
	return v
}

// backOff doubles from firstBackOff with each attempt.
func backOff(attempt int) time.Duration {
	d := firstBackOff
	for range attempt {
		if d *= 2; d >= maxBackOff {
			return maxBackOff
		}
	}
	return d
}

// ranFor is for how long a final replica had been healthy.
func ranFor(r *cluster.Replica) time.Duration {
	if r.HealthyAt.IsZero() {
		return 0
	}
	return r.FinishedAt.Sub(r.HealthyAt)
}

// upFor is for how long a final replica had been started.
func upFor(r *cluster.Replica) time.Duration {
	if r.StartedAt.IsZero() {
		return 0
	}
	return r.FinishedAt.Sub(r.StartedAt)
}

// lasted reports whether a final replica of spec had passed the gate of a
// rollout.
func lasted(r *cluster.Replica, spec *desired.Service) bool {
	return !r.HealthyAt.IsZero() && (hasHealthcheck(spec) || ranFor(r) >= spec.Update.Monitor)
}

// create places a replica of spec in the slot; false when it cannot.
func (p *pass) create(s *service, sl *slot, spec *desired.Service, v verdict) bool {
	if p.out.full() || !p.admits(s, sl) {
		return false
	}
	q := p.request(s, spec)
	q.pin, q.leaving, q.frees = s.pinFor(sl, spec), sl.old, false
	i := p.pick(q, sl.node())
	if i < 0 {
		sl.homeless = sl.old == nil
		p.unplaced(s, q)
		return false
	}
	if s.rec.Rollout.State == cluster.RolloutProgressing && p.triedInRollout(s, sl.last) && !lasted(sl.last, s.spec) {
		s.rec.Rollout.Failures++
	}
	n := &p.nodes[i]
	r := cluster.Replica{
		ID:         cluster.ReplicaID(p.in.ClusterID, s.key.Deployment, s.key.Service, sl.number, s.rec.NextSerial),
		Deployment: s.key.Deployment,
		Service:    s.key.Service,
		Slot:       sl.number,
		Serial:     s.rec.NextSerial,
		Node:       n.name,
		Revision:   s.revisionOf(spec),
		SpecHash:   spec.SpecHash,
		Attempt:    v.attempt,
		Phase:      cluster.Assigned,
	}
	s.rec.NextSerial++
	sl.touched = true
	if hasVolume(spec) {
		sl.keeper = nil // the new one is it
	}
	p.book(s, spec, i, r.ID)
	p.charge(&s.quota, r.Node, 1)
	if sl.old != nil {
		s.quota.pairs++
	}
	p.out.create(r, n, v.why)
	p.out.dependOnService(s)
	return true
}

// pinFor is the only node on which the slot may run spec, "" when any will do.
func (s *service) pinFor(sl *slot, spec *desired.Service) string {
	if s.spec.Mode == desired.Global || hasVolume(spec) {
		return sl.pin
	}
	return ""
}

// node is where the slot's replicas are or were last; "" when there are none.
func (sl *slot) node() string {
	switch {
	case sl.old != nil:
		return sl.old.Node
	case sl.last != nil:
		return sl.last.Node
	}
	return ""
}

// unplaced says why a slot has no node, for the first such slot of a service.
func (p *pass) unplaced(s *service, q *request) {
	if q.pin != "" && hasVolume(q.spec) && !p.acts(q.pin) {
		s.say(reasonVolume, p.volumeReason(q.pin))
		return
	}
	if s.reasons[reasonUnplaced] == "" {
		s.say(reasonUnplaced, p.explain(q))
	}
}
