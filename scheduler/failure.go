package scheduler

import (
	"fmt"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// maxStarts is how often a replica may be started in one slot during a rollout
// without becoming healthy, before the slot counts as failed.
const maxStarts = 3

// noRollback starts the reason of a pause that should have been a rollback.
const noRollback = "rollback arrives with a later version; paused: "

// passOver goes on past the slots that failed in a rollout which goes on after
// failures: the old replica is stopped, as it is by Docker Swarm, or the slots
// that failed would hold ever more replicas. A replacement that fell ill before
// the rollout began has not been tried in it, and is: the old one stays.
func (p *pass) passOver(s *service) {
	for i := range s.slots {
		sl := &s.slots[i]
		why := p.failure(s, sl)
		switch {
		case sl.old == nil || why == "":
		case sl.current != nil && sl.current.CreatedAt.Before(s.rec.Rollout.StartedAt):
			p.halt(s, sl, sl.current, "fell ill before the rollout")
		default:
			p.halt(s, sl, sl.old, "the rollout goes on: "+why)
		}
	}
}

// judge pauses the rollout when more of its slots failed than it may lose. A
// replica that fell ill before it began says nothing of it: a move off a node
// must not stop for that.
func (p *pass) judge(s *service) {
	if s.spec.Update.FailureAction == desired.Continue {
		return
	}
	failed, first := 0, ""
	for i := range s.slots {
		r := s.slots[i].current
		if r != nil && r.CreatedAt.Before(s.rec.Rollout.StartedAt) {
			continue
		}
		if why := p.failure(s, &s.slots[i]); why != "" {
			failed++
			if first == "" {
				first = why
			}
		}
	}
	if failed == 0 || float64(failed) <= s.spec.Update.MaxFailureRatio*float64(len(s.slots)) {
		return
	}
	ro := &s.rec.Rollout
	ro.State = cluster.RolloutPaused
	ro.Failures += failed
	ro.Reason = first
	if s.spec.Update.FailureAction == desired.Rollback {
		ro.Reason = noRollback + first
	}
}

// failure tells why the slot counts as failed in this rollout, or "". A health
// verdict decides at once, as the engine retried before it gave one; a replica
// that ended gets maxStarts chances. Where a rollout goes on after failures, a
// slot that used them up counts while it is started yet again, too.
func (p *pass) failure(s *service, sl *slot) string {
	if sl.waits {
		return ""
	}
	if r := sl.current; r != nil {
		if r.Phase == cluster.Unhealthy {
			return fmt.Sprintf("slot %d on %s is unhealthy%s", sl.number, r.Node, because(r))
		}
		if ok, _ := p.settled(s, r); !ok && s.tolerant() && r.Attempt >= maxStarts && !r.CreatedAt.Before(s.rec.Rollout.StartedAt) {
			return fmt.Sprintf("slot %d on %s: %d starts failed", sl.number, r.Node, r.Attempt)
		}
		return ""
	}
	r := sl.last
	if !p.triedInRollout(s, r) || s.completed(sl) {
		return ""
	}
	if !p.restart(s, s.spec, r).never && (lasted(r, s.spec) || r.Attempt+1 < maxStarts) {
		return ""
	}
	starts := "1 start"
	if r.Attempt > 0 {
		starts = fmt.Sprintf("%d starts", r.Attempt+1)
	}
	return fmt.Sprintf("slot %d on %s: %s, never healthy%s", sl.number, r.Node, starts, because(r))
}

// because returns what the node said of the replica, to be appended.
func because(r *cluster.Replica) string {
	switch {
	case r.Reason != "":
		return ": " + r.Reason
	case r.Phase == cluster.Failed && !r.StartedAt.IsZero():
		return fmt.Sprintf(": exit status %d", r.ExitCode)
	case r.Phase.Final():
		return ": " + string(r.Phase)
	}
	return ""
}

// triedInRollout reports whether r is a start of the current spec in the
// present rollout that ended by itself. One that its node took along proves
// nothing.
func (p *pass) triedInRollout(s *service, r *cluster.Replica) bool {
	return r != nil && !r.Stop && r.Phase.Final() && r.Phase != cluster.Lost && r.SpecHash == s.spec.SpecHash &&
		!r.CreatedAt.Before(s.rec.Rollout.StartedAt)
}

// freeze leaves a paused rollout with what serves: replacements that did not
// pass are stopped where the old replica still runs or can come back.
func (p *pass) freeze(s *service) {
	for i := range s.slots {
		sl := &s.slots[i]
		if sl.current == nil || sl.waits {
			continue
		}
		if ok, _ := p.settled(s, sl.current); ok {
			continue
		}
		if sl.old != nil || sl.current.Phase == cluster.Unhealthy && s.previous != nil {
			p.halt(s, sl, sl.current, "its rollout is paused")
		}
	}
}

// tolerant reports whether a rollout of s may go on after failures.
func (s *service) tolerant() bool {
	return s.spec.Update.FailureAction == desired.Continue || s.spec.Update.MaxFailureRatio > 0
}
