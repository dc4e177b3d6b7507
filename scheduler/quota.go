package scheduler

import (
	"fmt"

	"github.com/jaco-sh/jaco/cluster"
)

// quota counts what is assigned of a service against what its spec allows, as
// the plan leaves it. Agents refuse what is beyond cluster.LimitOf and hold it
// against the leader, so no creation may pass it, whatever led there.
type quota struct {
	limit cluster.Limit
	total int
	on    []int // of a global service, at each node
	// pairs is how many slots have an old and a current replica, and surge how
	// many may. What is beyond would take the places of slots that are empty.
	pairs, surge int
}

// newQuota counts the replicas of s that are meant to run.
func (p *pass) newQuota(s *service) quota {
	q := quota{limit: cluster.LimitOf(s.spec)}
	q.surge = q.limit.Replicas - len(s.slots)
	if q.limit.Global {
		q.on = make([]int, len(p.nodes))
		q.surge = len(s.slots)
	}
	if q.limit.Slot < 2 {
		q.surge = 0
	}
	for i := range s.slots {
		if s.slots[i].paired() {
			q.pairs++
		}
	}
	for _, r := range s.replicas {
		if !r.Stop && active(r) {
			p.charge(&q, r.Node, 1)
		}
	}
	return q
}

// paired reports whether the slot has a replica and its replacement.
func (sl *slot) paired() bool { return sl.old != nil && sl.current != nil }

// charge books n more replicas of a service on a node.
func (p *pass) charge(q *quota, node string, n int) {
	q.total += n
	if i, ok := p.nodeAt[node]; ok && q.on != nil {
		q.on[i] += n
	}
}

// release gives back the place of a replica that this plan ends.
func (p *pass) release(s *service, r *cluster.Replica) {
	if s.spec != nil && !r.Stop && active(r) {
		p.charge(&s.quota, r.Node, -1)
	}
}

// admits reports whether the slot may get one more replica, and says so when it
// must wait for others to go.
func (p *pass) admits(s *service, sl *slot) bool {
	q := &s.quota
	have, where := q.total, ""
	if i, ok := p.nodeAt[sl.pin]; ok && q.on != nil {
		have, where = q.on[i], " on "+sl.pin
	}
	switch {
	case have >= q.limit.Replicas:
		s.say(reasonLimit, fmt.Sprintf("slot %d waits for other replicas to end: %d of at most %d are assigned%s",
			sl.number, have, q.limit.Replicas, where))
	case sl.old != nil && q.pairs >= q.surge:
		s.say(reasonLimit, fmt.Sprintf("slot %d waits for others: %d of at most %d are being replaced",
			sl.number, q.pairs, q.surge))
	default:
		return true
	}
	return false
}

// shed stops the replacements that are too many because a commit lowered the
// limits in the midst of a rollout, those of the highest slots first. Their turn
// comes again.
func (p *pass) shed(s *service) {
	for i := len(s.slots) - 1; i >= 0 && s.quota.pairs > s.quota.surge; i-- {
		if sl := &s.slots[i]; sl.paired() {
			p.halt(s, sl, sl.current, "more at a time than the update now allows")
		}
	}
}
