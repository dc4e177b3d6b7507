package scheduler

import (
	"slices"

	"github.com/jaco-sh/jaco/cluster"
)

// converge records which deployments run whole, and forgets those that are gone.
func (p *pass) converge() {
	statuses := make(map[string]*cluster.DeploymentStatus, len(p.in.Deployments))
	for i := range p.in.Deployments {
		statuses[p.in.Deployments[i].Name] = &p.in.Deployments[i]
	}
	lacking := map[string]bool{}
	for _, s := range p.services {
		if !p.whole(s) {
			lacking[s.key.Deployment] = true
		}
	}
	for _, name := range sortedKeys(p.in.View.Deployments) {
		a := p.in.View.Deployments[name]
		if a.Desired == nil || lacking[name] {
			continue
		}
		if st := statuses[name]; st == nil || st.Converged != a.Revision {
			p.markConverged(a, st)
		}
	}
	for _, name := range sortedKeys(statuses) {
		if p.in.View.Deployments[name] == nil && !lacking[name] {
			p.out.plan.DropStatus = append(p.out.plan.DropStatus, name)
			p.expectStatus(name, statuses[name])
		}
	}
}

func (p *pass) markConverged(a *cluster.Accepted, was *cluster.DeploymentStatus) {
	st := cluster.DeploymentStatus{}
	if was != nil {
		st = *was
	}
	st.Name, st.Converged, st.ConvergedAt = a.Name, a.Revision, p.now
	p.out.plan.Deployments = append(p.out.plan.Deployments, st)
	p.expectStatus(a.Name, was)
	p.out.events = append(p.out.events, cluster.Event{
		Type: cluster.EventConverged, Deployment: a.Name, Revision: a.Revision,
		Message: "runs whole and healthy",
	})
}

func (p *pass) expectStatus(name string, was *cluster.DeploymentStatus) {
	var index uint64
	if was != nil {
		index = was.ModifyIndex
	}
	p.out.expect[expectKey{cluster.ExpectDeployment, name}] = index
}

// whole reports whether a service is exactly what is wanted: each slot holds
// one current, healthy replica and nothing else, or did its work; a retired
// service is whole when nothing of it is left.
func (p *pass) whole(s *service) bool {
	if s.untouchable {
		return false
	}
	if s.spec == nil {
		return !slices.ContainsFunc(s.replicas, p.remains)
	}
	if state := s.rec.Rollout.State; state == cluster.RolloutProgressing || state == cluster.RolloutPaused {
		return false
	}
	for i := range s.surplus {
		if slices.ContainsFunc(s.surplus[i].replicas, p.remains) {
			return false
		}
	}
	for i := range s.slots {
		sl := &s.slots[i]
		switch {
		case sl.touched || sl.stopping > 0 || sl.old != nil:
			return false
		case s.completed(sl):
		case sl.current == nil || !s.healthy(sl.current) || p.isDown(sl.current.Node):
			return false
		}
	}
	return true
}

// remains reports whether a replica is still to end, or ends with this plan.
func (p *pass) remains(r *cluster.Replica) bool { return active(r) || p.lost[r] }

// active reports whether a replica may still have a container.
func active(r *cluster.Replica) bool { return !r.Phase.Final() }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
