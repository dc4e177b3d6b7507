package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jaco-sh/jaco/cluster"
)

// DeploymentHealth is how a deployment stands to what is wanted of it.
type DeploymentHealth struct {
	Deployment string
	State      cluster.HealthAxis
	// Reason says what the state rests on, "" when all is well.
	Reason   string
	Services []ServiceHealth // sorted by name; retired ones while they last
}

// ServiceHealth is the same of a service.
type ServiceHealth struct {
	Service string
	State   cluster.HealthAxis
	Reason  string
	// Desired is how many replicas are wanted, for a global service one for
	// each node that qualifies.
	Desired int
	// Running, Healthy and Updated count slots, not containers: those with a
	// live replica, with a healthy one, and with a live one of the present spec.
	Running, Healthy, Updated int
}

// Health judges every deployment of the view, and those that are still being
// removed, sorted by name. It looks at the same state as Compute and by the
// same rules, so that status never contradicts what the scheduler does. With a
// nil view it returns nothing.
//
// A deployment is Degraded when a rollout is paused, a replica failed or is
// unhealthy, or one has no node or waits for one that is down; Missing when
// nothing of it runs or is on its way; Suspended when it wants no replica; Progressing while it moves towards
// what is wanted by itself.
func Health(in Input) []DeploymentHealth {
	if in.View == nil {
		return nil
	}
	p := newPass(in)
	byName := map[string]*DeploymentHealth{}
	for name := range in.View.Deployments {
		byName[name] = &DeploymentHealth{Deployment: name}
	}
	for _, s := range p.services {
		if s.spec != nil {
			p.chooseSlots(s)
		}
		d := byName[s.key.Deployment]
		if d == nil {
			d = &DeploymentHealth{Deployment: s.key.Deployment}
			byName[s.key.Deployment] = d
		}
		d.Services = append(d.Services, p.serviceHealth(s))
	}
	all := make([]DeploymentHealth, 0, len(byName))
	for _, name := range sortedKeys(byName) {
		d := byName[name]
		d.State, d.Reason = combine(d.Services)
		all = append(all, *d)
	}
	return all
}

// combine returns the worst state of the services and its reason. What is
// missing beside something that runs is on its way, unless it waits for a node.
func combine(services []ServiceHealth) (cluster.HealthAxis, string) {
	count := map[cluster.HealthAxis]int{}
	reason := map[cluster.HealthAxis]string{}
	stuck := ""
	for _, s := range services {
		count[s.State]++
		if s.State == cluster.HealthMissing && lasting(s.Reason) && stuck == "" {
			stuck = s.Service + ": " + s.Reason
		}
		if _, ok := reason[s.State]; !ok && s.Reason != "" {
			reason[s.State] = s.Service + ": " + s.Reason
		}
	}
	switch {
	case len(services) == 0:
		return cluster.HealthMissing, "nothing of it is known"
	case count[cluster.HealthDegraded] > 0:
		return cluster.HealthDegraded, reason[cluster.HealthDegraded]
	case count[cluster.HealthMissing] == len(services)-count[cluster.HealthSuspended] && count[cluster.HealthMissing] > 0:
		return cluster.HealthMissing, reason[cluster.HealthMissing]
	case stuck != "":
		return cluster.HealthDegraded, stuck
	case count[cluster.HealthProgressing] > 0:
		return cluster.HealthProgressing, reason[cluster.HealthProgressing]
	case count[cluster.HealthMissing] > 0:
		return cluster.HealthProgressing, reason[cluster.HealthMissing]
	case count[cluster.HealthSuspended] == len(services):
		return cluster.HealthSuspended, ""
	}
	return cluster.HealthHealthy, ""
}

func (p *pass) serviceHealth(s *service) ServiceHealth {
	h := ServiceHealth{Service: s.key.Service, Desired: len(s.slots)}
	if s.spec == nil {
		h.State, h.Reason = cluster.HealthProgressing, "is being removed"
		if s.untouchable {
			h.State, h.Reason = cluster.HealthMissing, "no accepted revision compiles"
		}
		return h
	}
	whole := p.count(s, &h)
	switch trouble := p.trouble(s); {
	case trouble != "" && h.Running == 0 && s.bereft():
		h.State, h.Reason = cluster.HealthMissing, trouble
	case trouble != "":
		h.State, h.Reason = cluster.HealthDegraded, trouble
	case h.Desired == 0 && whole:
		h.State = cluster.HealthSuspended
	case whole && s.rec.Rollout.SpecHash == s.spec.SpecHash:
		h.State = cluster.HealthHealthy
	case len(s.replicas) == 0 && s.rec.Reason == "":
		h.State, h.Reason = cluster.HealthMissing, "nothing of it runs yet"
	default:
		h.State, h.Reason = cluster.HealthProgressing, s.advancement(h)
	}
	return h
}

// count fills the numbers and reports whether the service is whole.
func (p *pass) count(s *service, h *ServiceHealth) bool {
	for i := range s.slots {
		sl := &s.slots[i]
		done := s.completed(sl)
		running, healthy := done, done
		for _, r := range sl.replicas {
			if !r.Stop && !p.isDown(r.Node) {
				running = running || r.Phase.Live()
				healthy = healthy || s.healthy(r)
			}
		}
		if running {
			h.Running++
		}
		if healthy {
			h.Healthy++
		}
		if done || sl.current != nil && sl.current.Phase.Live() && !p.isDown(sl.current.Node) {
			h.Updated++
		}
	}
	return p.whole(s)
}

// trouble says why the service is degraded, or "".
func (p *pass) trouble(s *service) string {
	if s.rec.Rollout.State == cluster.RolloutPaused && s.rec.Rollout.SpecHash == s.spec.SpecHash {
		if reason := s.rec.Rollout.Reason; strings.HasPrefix(reason, noRollback) {
			return reason
		}
		return "rollout paused: " + s.rec.Rollout.Reason
	}
	if lasting(s.rec.Reason) {
		return s.rec.Reason
	}
	if p.await(s); s.reason() != "" {
		return s.reason()
	}
	for i := range s.slots {
		sl := &s.slots[i]
		for _, r := range []*cluster.Replica{sl.current, sl.old} {
			if r != nil && r.Phase == cluster.Unhealthy {
				return fmt.Sprintf("slot %d on %s is unhealthy%s", sl.number, r.Node, because(r))
			}
		}
		if r := sl.last; sl.current == nil && r != nil && !r.Stop && r.Phase != cluster.Lost && r.SpecHash == s.spec.SpecHash && !s.completed(sl) {
			return fmt.Sprintf("slot %d on %s failed%s", sl.number, r.Node, because(r))
		}
	}
	return ""
}

// bereft reports whether the service is short because nodes are away: the rest
// of what Missing takes is that nothing of it runs.
func (s *service) bereft() bool {
	return awaitsNode(s.rec.Reason) || slices.ContainsFunc(s.slots, func(sl slot) bool {
		return sl.waits || sl.current == nil && sl.old == nil && sl.last != nil && sl.last.Phase == cluster.Lost
	})
}

// advancement says how far a service is on its way.
func (s *service) advancement(h ServiceHealth) string {
	if s.rec.Reason != "" {
		return s.rec.Reason
	}
	text := fmt.Sprintf("%d of %d healthy", h.Healthy, h.Desired)
	if s.rec.Rollout.State == cluster.RolloutProgressing {
		text = fmt.Sprintf("%d of %d updated, %s", h.Updated, h.Desired, text)
	}
	for i := range s.slots {
		if r := s.slots[i].current; r != nil && !r.Phase.Live() && r.Reason != "" {
			return fmt.Sprintf("%s; slot %d on %s: %s: %s", text, r.Slot, r.Node, r.Phase, r.Reason)
		}
	}
	return text
}
