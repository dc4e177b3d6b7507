package agent

import (
	"cmp"
	"slices"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// diff decides what to do and what to report. It is called only when the state
// is current and the engine's containers are known; it reads nothing but in.
func diff(in *input) *plan {
	d := &differ{
		input: in,
		plan: &plan{
			outcomes: map[string]outcome{},
			waiting:  map[string]time.Time{},
		},
		own: map[string]*Container{},
	}
	assigned := slices.Clone(in.assigned)
	slices.SortFunc(assigned, func(a, b cluster.Replica) int { return cmp.Compare(a.ID, b.ID) })
	strays := d.match(assigned)
	d.excess, d.wrong = d.beyondDeclared()
	for _, r := range assigned {
		d.replica(r)
	}
	for _, c := range strays {
		d.stray(c)
	}
	d.unusedNetworks(assigned)
	d.prunedVolumes()
	d.giveUp(assigned)
	return d.plan
}

// differ carries one pass.
type differ struct {
	*input
	plan   *plan
	own    map[string]*Container // by replica
	excess map[string]bool       // new assignments beyond declared + surge
	wrong  map[string]bool       // those of them that no honest leader makes
}

// match gives each assignment its container and returns the containers that
// belong to none. Labels alone do not make a container a replica's: the spec
// must be the assigned one, and of several that claim a replica the one with
// its name wins.
func (d *differ) match(assigned []cluster.Replica) (strays []*Container) {
	byID := make(map[string]cluster.Replica, len(assigned))
	for _, r := range assigned {
		byID[r.ID] = r
	}
	for _, id := range sortedKeys(d.containers) {
		c := d.containers[id]
		r, ok := byID[c.Labels[LabelReplica]]
		if !ok || c.Labels[LabelSpec] != r.SpecHash || c.Labels[LabelDeployment] != r.Deployment ||
			c.Labels[LabelService] != r.Service {
			strays = append(strays, &c)
			continue
		}
		switch other := d.own[r.ID]; {
		case other == nil:
			d.own[r.ID] = &c
		case c.Name == ContainerName(r) && other.Name != c.Name:
			d.own[r.ID] = &c
			strays = append(strays, other)
		default:
			strays = append(strays, &c)
		}
	}
	return strays
}

// replica decides about one assignment.
func (d *differ) replica(r cluster.Replica) {
	m, c := d.memory[r.ID], d.own[r.ID]
	switch {
	case r.Phase.Final():
		if c != nil {
			d.act(action{kind: actRemove, key: r.ID, container: c, why: "over: " + string(r.Phase)})
		}
	case m.outcome != nil:
		d.over(r, c, *m.outcome)
	case r.Stop:
		d.stop(r, c)
	case m.busy == actAutopsy || m.busy == actRemove || m.busy == actRecheck:
		// The result decides.
	case m.busy == actStart:
		d.report(r, cluster.ReplicaReport{
			ID: r.ID, Phase: m.reached.phase, ContainerID: m.reached.container, ImageDigest: m.digest,
		})
	case c == nil:
		d.absent(r)
	default:
		d.present(r, c)
	}
}

// stop ends a replica that was told to.
func (d *differ) stop(r cluster.Replica, c *Container) {
	m := d.memory[r.ID]
	switch {
	case m.busy == actStart || m.busy == actCheck:
		d.plan.cancel = append(d.plan.cancel, r.ID)
		return // it gives up at once, and then there is more to say
	case c == nil && m.busy == "":
		d.decide(r, c, outcome{phase: cluster.Stopped, exitCode: m.seen.exitCode})
		return
	case c != nil:
		d.act(action{kind: actRemove, key: r.ID, container: c, why: "told to stop"})
		if m.failed == actRemove && (c.Status == StatusCreated || c.Status == StatusExited) {
			// Nothing runs any more. That the engine does not let go of what is
			// left must not hold up the deployment.
			d.decide(r, c, outcome{phase: cluster.Stopped, reason: "its container is left behind: " + m.trouble, exitCode: c.ExitCode})
			return
		}
	}
	if d.view != nil {
		d.report(r, cluster.ReplicaReport{ID: r.ID, Phase: cluster.Stopping})
	}
}

// absent decides about an assignment without a container.
func (d *differ) absent(r cluster.Replica) {
	if r.Phase.Live() || !d.memory[r.ID].seen.died.IsZero() {
		d.decide(r, nil, outcome{
			phase:  cluster.Failed,
			reason: "the container was removed by hand",
			event:  cluster.EventDriftCorrected,
		})
		return
	}
	d.begin(r, nil)
}

// begin starts a replica, from a container that an earlier start left behind
// or from nothing, and says why the last attempt came to nothing.
func (d *differ) begin(r cluster.Replica, c *Container) {
	if !d.takes(r) {
		return
	}
	m := d.memory[r.ID]
	s, a := specOf(d.view, r)
	d.act(action{kind: actStart, key: r.ID, replica: r, service: s, accepted: a, container: c, again: m.failed == actStart})
	if m.failed == actStart {
		d.report(r, cluster.ReplicaReport{ID: r.ID, Phase: cluster.Preparing, Reason: m.trouble})
	}
}

// present decides about an assignment with a container.
func (d *differ) present(r cluster.Replica, c *Container) {
	switch c.Status {
	case StatusCreated:
		d.begin(r, c)
	case StatusExited:
		d.act(action{kind: actAutopsy, key: r.ID, replica: r, container: c})
	case StatusPaused:
		if what := d.drift(r, c); what != "" {
			d.decide(r, c, outcome{phase: cluster.Failed, reason: what, event: cluster.EventDriftCorrected})
			return
		}
		// No event told that somebody did it: the agent may have been killed, or
		// the engine stopped, in the middle of a recheck. Right after one the
		// engine may believe in a pause that is over.
		if calm := d.memory[r.ID].calm; d.now.Before(calm) {
			d.wakeAt(calm)
			return
		}
		d.act(action{kind: actRecheck, key: r.ID, container: c, why: "found paused"})
	case StatusRunning:
		if what := d.drift(r, c); what != "" {
			d.decide(r, c, outcome{phase: cluster.Failed, reason: what, event: cluster.EventDriftCorrected})
			return
		}
		d.report(r, d.running(r, c))
		d.recheck(r, c)
		d.check(r, c)
	case StatusRemoving: // its end will be an event
	}
}

// recheckSlack is how long after the time a healthcheck may answer; recheckCalm
// how long after a recheck the engine may still speak of its pause.
const (
	recheckSlack = time.Second
	recheckCalm  = 2 * time.Second
)

// recheck has the healthcheck of a container looked into that the engine may
// have forgotten, when it should have answered and has not.
func (d *differ) recheck(r cluster.Replica, c *Container) {
	suspect := d.memory[r.ID].suspect
	if suspect.IsZero() || c.Health == HealthNone || c.HealthDue.After(suspect) {
		return
	}
	if due := suspect.Add(recheckSlack); d.now.Before(due) {
		d.wakeAt(due)
		return
	}
	d.act(action{kind: actRecheck, key: r.ID, container: c})
}

// firstCheck is how long after its start a container is checked for the first
// time, and then after twice as long each.
const firstCheck = 100 * time.Millisecond

// check has the healthcheck of a new container run before the engine does. The
// engine waits for a whole interval, 30 s where the file names none, and a
// rollout would wait as long for each replica. From the first check of the
// engine's on, its word alone counts.
func (d *differ) check(r cluster.Replica, c *Container) {
	m := d.memory[r.ID]
	if c.Health != HealthStarting || m.passed == c.ID {
		return
	}
	due := c.StartedAt.Add(firstCheck << min(m.checks, maxChecks))
	switch {
	case !due.Before(c.HealthDue): // the engine has answered by then
	case d.now.Before(due):
		d.wakeAt(due)
	default:
		d.act(action{kind: actCheck, key: r.ID, container: c})
	}
}

// maxChecks keeps the delay, which doubles, from running over.
const maxChecks = 20

// drift says what was done to a running container by hand, "" for nothing.
func (d *differ) drift(r cluster.Replica, c *Container) string {
	seen := d.memory[r.ID].seen
	switch {
	case seen.changed != "":
		return seen.changed
	case c.Name != ContainerName(r):
		return "the container was renamed by hand to " + c.Name
	case !seen.died.IsZero() && c.StartedAt.After(seen.died):
		return "the container was restarted by hand"
	}
	s, a := specOf(d.view, r)
	if s == nil {
		return "" // the revision is history here; the leader will stop the replica
	}
	// What stands in the place of networks is shown as one of that name.
	want := map[string]bool{string(s.Container.Isolation.Network): true}
	for _, at := range s.Container.Networks {
		name := a.Desired.EngineNetwork(at.Network)
		want[name] = true
		if _, ok := c.Networks[name]; !ok {
			return "the container was disconnected from network " + name + " by hand"
		}
	}
	for _, name := range sortedKeys(c.Networks) {
		if !want[name] {
			return "the container was connected to network " + name + " by hand"
		}
	}
	return ""
}

// running is the report on a container that runs as it should.
func (d *differ) running(r cluster.Replica, c *Container) cluster.ReplicaReport {
	rep := cluster.ReplicaReport{
		ID:          r.ID,
		Phase:       cluster.Running,
		ContainerID: c.ID,
		ImageDigest: d.memory[r.ID].digest,
		StartedAt:   c.StartedAt,
		// Running is all that such a container can say.
		NoHealthcheck: c.Health == HealthNone,
	}
	if rep.ImageDigest == "" && r.ImageDigest == "" {
		rep.ImageDigest = c.ImageID
	}
	switch c.Health {
	case HealthNone:
	case HealthStarting:
		if d.memory[r.ID].passed == c.ID {
			rep.Phase = cluster.Healthy
		}
	case HealthHealthy:
		rep.Phase = cluster.Healthy
	case HealthUnhealthy:
		rep.Phase = cluster.Unhealthy
		rep.Reason = "healthcheck failed"
		if c.HealthOutput != "" {
			rep.Reason += ": " + clip(clean(c.HealthOutput), healthBytes)
		}
	}
	names := sortedKeys(c.Networks)
	if s, a := specOf(d.view, r); s != nil && len(s.Container.Networks) > 0 {
		names = []string{a.Desired.EngineNetwork(s.Container.Networks[0].Network)}
	}
	if len(names) > 0 && c.Networks[names[0]].IsValid() {
		rep.Address = c.Networks[names[0]].String()
	}
	return rep
}

// stray removes a container that no assignment explains.
func (d *differ) stray(c *Container) {
	key := c.Labels[LabelReplica]
	if key == "" {
		key = "container:" + c.ID
	}
	d.act(action{kind: actRemove, key: key, container: c, why: "no assignment"})
}

// unusedNetworks removes the networks that no accepted revision declares and
// nothing here uses.
func (d *differ) unusedNetworks(assigned []cluster.Replica) {
	if d.view == nil {
		return
	}
	wanted := map[string]bool{}
	for _, first := range d.view.Deployments {
		for a := first; a != nil; a = a.Previous {
			if a.Desired == nil {
				continue
			}
			for _, n := range a.Desired.Networks {
				wanted[a.Desired.EngineNetwork(n.Name)] = true
			}
		}
	}
	for _, c := range d.containers {
		for name := range c.Networks {
			wanted[name] = true
		}
	}
	starting := map[string]bool{} // deployments
	for _, r := range assigned {
		if d.memory[r.ID].busy == actStart {
			starting[r.Deployment] = true
		}
	}
	for _, name := range sortedKeys(d.networks) {
		if !wanted[name] && !starting[d.networks[name].Labels[LabelDeployment]] {
			d.act(action{kind: actNetwork, key: "network:" + name, network: name, why: "unused"})
		}
	}
}

// prunedVolumes removes the volumes that a signed commit gave up, once no
// revision that may still run declares them. The engine keeps one that a
// container has; that is tried again.
func (d *differ) prunedVolumes() {
	if d.view == nil || len(d.view.Prune) == 0 {
		return
	}
	wanted := map[string]bool{}
	for _, first := range d.view.Deployments {
		for a := first; a != nil; a = a.Previous {
			if a.Desired == nil {
				continue
			}
			for _, v := range a.Desired.Volumes {
				wanted[a.Desired.EngineVolume(v.Name)] = true
			}
		}
	}
	for _, p := range d.view.Prune {
		v, present := d.volumes[p.Engine]
		// The labels must say the same: a volume that merely has the name may be
		// anybody's.
		if !present || wanted[p.Engine] || v.Labels[LabelDeployment] != p.Deployment || v.Labels[LabelVolume] != p.Volume {
			continue
		}
		d.act(action{kind: actVolume, key: "volume:" + p.Engine, volume: p, why: "given up, with x-jaco-prune: true"})
	}
}

// decide fixes a replica's outcome and reports it.
func (d *differ) decide(r cluster.Replica, c *Container, o outcome) {
	d.plan.outcomes[r.ID] = o
	d.over(r, c, o)
}

// over reports an outcome that is fixed.
func (d *differ) over(r cluster.Replica, c *Container, o outcome) {
	rep := cluster.ReplicaReport{ID: r.ID, Phase: o.phase, Reason: o.reason, ExitCode: o.exitCode, Drift: o.event == cluster.EventDriftCorrected}
	if c != nil {
		rep.ContainerID = c.ID
		rep.ImageDigest = d.memory[r.ID].digest
		rep.StartedAt = c.StartedAt
	}
	d.report(r, rep)
}

// report asks for rep unless the state says as much already.
func (d *differ) report(r cluster.Replica, rep cluster.ReplicaReport) {
	if rep.Phase != "" && isNews(r, rep) {
		d.plan.reports = append(d.plan.reports, rep)
	}
}

// act asks for an action, unless one is under way, a repeated one is not due
// yet, or this node accepted nothing so far: then nothing is touched.
func (d *differ) act(a action) {
	m := d.memory[a.key]
	switch {
	case d.view == nil || m.busy != "":
	case slices.ContainsFunc(d.plan.actions, func(b action) bool { return a.key == b.key }):
		// The next pass looks again.
	case m.failed == a.kind && d.now.Before(m.retryAt):
		d.wakeAt(m.retryAt)
	default:
		d.plan.actions = append(d.plan.actions, a)
	}
}

func (d *differ) wakeAt(t time.Time) {
	if d.plan.wake.IsZero() || t.Before(d.plan.wake) {
		d.plan.wake = t
	}
}

func short(hash string) string { return hash[:min(12, len(hash))] }
