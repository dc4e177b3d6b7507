package agent

import (
	"context"
	"errors"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// loop owns everything that is known: what the engine showed, and what is
// remembered. One goroutine runs it; the others talk to it through the inbox.
type loop struct {
	*Agent
	in      *inbox
	reports *reporter
	inspect *inspector
	exec    *executor

	observed   bool // the containers are known: the event stream stands
	wasLost    bool // the engine's absence was reported
	info       Info
	containers map[string]observation
	gone       map[string]time.Time // removed containers, since the last listing
	volumes    map[string]Volume
	memory     map[string]memory
	cancels    map[string]context.CancelFunc
	events     []cluster.Event // to be audited with the next reports
	blamed     map[string]bool // replicas and reasons that Misbehaviour was told of
}

// observation is a container and when somebody began to look at it.
type observation struct {
	Container
	at time.Time
}

func (l *loop) reset() {
	l.containers = map[string]observation{}
	l.gone = map[string]time.Time{}
	l.volumes = map[string]Volume{}
	l.memory = map[string]memory{}
	l.blamed = map[string]bool{}
	l.cancels = map[string]context.CancelFunc{}
}

// run is the loop: wait, take in what happened, compute, act, report.
func (l *loop) run(ctx context.Context) error {
	defer l.exec.wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	ready := l.Ready
	for {
		state, views := l.State.Changed(), l.Views.Changed()
		for _, m := range l.in.take() {
			l.receive(m)
		}
		var wake <-chan time.Time
		if ready == nil && l.observed {
			if at := l.pass(ctx); !at.IsZero() {
				timer.Reset(time.Until(at))
				wake = timer.C
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-state:
		case <-views:
		case <-l.in.ready:
		case <-wake:
		case <-ready:
			ready = nil
		}
	}
}

// pass computes once and carries out the result. It returns when to look again
// by the clock alone.
func (l *loop) pass(ctx context.Context) time.Time {
	now := time.Now()
	in := l.look(now)
	p := diff(in)
	assigned := make(map[string]bool, len(in.assigned))
	for _, r := range in.assigned {
		assigned[r.ID] = true
		if o, ok := p.outcomes[r.ID]; ok {
			l.fix(r, o)
		}
	}
	l.forget(assigned, p.waiting)
	for _, key := range p.cancel {
		l.cancels[key]()
	}
	l.exec.rooms.look(in.containers, func(replica string) bool { return l.memory[replica].busy == actStart })
	for _, a := range p.actions {
		l.Log.Debug("act", "action", string(a.kind), "key", a.key, "why", a.why)
		l.update(a.key, func(m *memory) { m.busy, m.reached = a.kind, progress{} })
		l.cancels[a.key] = l.exec.begin(ctx, a)
	}
	l.reports.want(now, p.reports, assigned, l.events)
	l.events = nil
	return p.wake
}

// look gathers what one pass looks at. The view is read before the state: a claim
// that it has judged is in any later state.
func (l *loop) look(now time.Time) *input {
	in := &input{
		cluster:     l.cfg.Cluster,
		now:         now,
		rejectAfter: l.cfg.RejectAfter,
		view:        l.Views.View(),
		containers:  make(map[string]Container, len(l.containers)),
		volumes:     l.volumes,
		memory:      l.memory,
	}
	snapshot := l.State.Read()
	in.assigned = snapshot.ReplicasOnNode(l.cfg.Node)
	for id, c := range l.containers {
		in.containers[id] = c.Container
	}
	if in.view == nil {
		return in
	}
	if claims := snapshot.ClaimsAfter(in.view.Claim); len(claims) > 0 {
		in.nextClaim = claims[0].Index
	}
	present, looked := map[string]bool{}, map[string]bool{}
	for _, c := range l.containers {
		present[c.Labels[LabelReplica]] = true
	}
	for _, r := range in.assigned {
		if r.Phase.Final() || r.Stop || present[r.ID] || l.memory[r.ID].outcome != nil || looked[r.Deployment] {
			continue
		}
		looked[r.Deployment] = true
		in.peers = append(in.peers, snapshot.ReplicasOf(r.Deployment)...)
	}
	return in
}

// fix remembers a replica's outcome and has its event audited, once.
func (l *loop) fix(r cluster.Replica, o outcome) {
	l.update(r.ID, func(m *memory) { m.outcome = &o })
	l.Log.Info("replica ended", "replica", r.ID, "deployment", r.Deployment, "service", r.Service,
		"phase", string(o.phase), "reason", o.reason)
	if o.event == "" {
		return
	}
	event := cluster.Event{
		Type: o.event, Node: l.cfg.Node, Deployment: r.Deployment, Service: r.Service,
		Replica: r.ID, Revision: r.Revision, Message: o.reason,
	}
	if o.event != cluster.EventLeaderMisbehaviour || l.Misbehaviour == nil {
		l.events = append(l.events, event)
		return
	}
	key := r.ID + " " + o.reason
	if l.blamed[key] {
		return // the assignment was taken away and made again
	}
	if len(l.blamed) >= maxBlamed {
		clear(l.blamed)
	}
	l.blamed[key] = true
	l.Misbehaviour(event)
}

// maxBlamed bounds the memory of what a leader was blamed for.
const maxBlamed = 1024

// forget drops the memory of what is neither assigned, present nor under way.
func (l *loop) forget(assigned map[string]bool, waiting map[string]time.Time) {
	present := map[string]bool{}
	for id, c := range l.containers {
		present[c.Labels[LabelReplica]] = true
		present["container:"+id] = true
	}
	for name := range l.volumes {
		present["volume:"+name] = true
	}
	for key, m := range l.memory {
		if m.busy == "" && !assigned[key] && !present[key] {
			delete(l.memory, key)
			continue
		}
		if m.waiting != waiting[key] {
			m.waiting = waiting[key]
			l.memory[key] = m
		}
	}
	for key, since := range waiting {
		l.update(key, func(m *memory) { m.waiting = since })
	}
	// Whoever has no container starts from nothing, with its files.
	err := l.exec.secrets.sweep(func(replica string) bool { return present[replica] || l.memory[replica].busy != "" })
	if err != nil {
		l.Log.Error("secrets of replicas that are gone are still in memory", "error", err)
	}
}

func (l *loop) update(key string, f func(*memory)) {
	m := l.memory[key]
	f(&m)
	l.memory[key] = m
}

// receive takes in one message.
func (l *loop) receive(m message) {
	switch m := m.(type) {
	case listed:
		l.onListed(m)
	case lost:
		l.onLost(m.err)
	case happened:
		l.onEvent(m.event)
	case looked:
		l.onLooked(m)
	case progressed:
		l.update(m.key, func(mem *memory) {
			mem.reached = m.progress
			if m.digest != "" {
				mem.digest = m.digest
			}
		})
	case done:
		l.onDone(m)
	}
}

// onListed replaces what is known by what the engine lists, except what was
// seen after the listing began.
func (l *loop) onListed(m listed) {
	old := l.containers
	l.containers = make(map[string]observation, len(m.containers))
	for _, c := range m.containers {
		if gone, ok := l.gone[c.ID]; ok && !gone.Before(m.at) {
			continue
		}
		l.containers[c.ID] = observation{Container: c, at: m.at}
	}
	for id, o := range old {
		if o.at.After(m.at) {
			l.containers[id] = o
		}
	}
	for _, o := range l.containers {
		if o.Status == StatusRunning && o.Health != HealthNone && o.Labels[LabelReplica] != "" {
			l.update(o.Labels[LabelReplica], func(m *memory) { m.suspect = o.HealthDue })
		}
	}
	l.gone = map[string]time.Time{}
	l.volumes = map[string]Volume{}
	for _, v := range m.volumes {
		l.volumes[v.Name] = v
	}
	for key, mem := range l.memory {
		if mem.busy == "" { // what failed may have failed because the engine was away
			mem.retryAt, mem.trouble = time.Time{}, ""
			l.memory[key] = mem
		}
	}
	l.observed = true
	l.info = m.info
	status := NodeStatus{Ready: true, Info: m.info}
	if !l.wasLost {
		l.reports.nodeState(status)
		return
	}
	l.wasLost = false
	l.Log.Info("the engine answers again", "version", m.info.Version)
	l.reports.nodeState(status, cluster.Event{Type: cluster.EventEngineBack, Node: l.cfg.Node,
		Message: "engine " + m.info.Version + " answers again"})
}

// onLost stops everything that needs the engine until it is back.
func (l *loop) onLost(err error) {
	l.observed = false
	for key, m := range l.memory {
		// An engine that goes down without live-restore ends its containers as if
		// by hand; nobody is to be blamed for that.
		m.seen.deadlySignal, m.seen.anySignal, m.seen.stopped = time.Time{}, time.Time{}, false
		l.memory[key] = m
	}
	if l.wasLost {
		return
	}
	l.wasLost = true
	l.Log.Error("the engine does not answer", "error", err)
	reason := clip(clean("the engine does not answer: "+err.Error()), 512)
	l.reports.nodeState(NodeStatus{Reason: reason, Info: l.info},
		cluster.Event{Type: cluster.EventEngineLost, Node: l.cfg.Node, Message: reason})
}

// onLooked takes in one inspection, unless something newer is known.
func (l *loop) onLooked(m looked) {
	if l.containers[m.id].at.After(m.at) {
		return
	}
	if gone, ok := l.gone[m.id]; ok && !gone.Before(m.at) {
		return
	}
	if m.container == nil {
		l.removed(m.id, m.at)
		return
	}
	if m.container.Labels[LabelCluster] == l.cfg.Cluster {
		l.containers[m.id] = observation{Container: *m.container, at: m.at}
	}
}

func (l *loop) removed(id string, at time.Time) {
	delete(l.containers, id)
	l.gone[id] = at
}

// onDone takes in the result of an action.
func (l *loop) onDone(d done) {
	delete(l.cancels, d.action.key)
	for _, v := range d.volumes {
		l.volumes[v.Name] = v
	}
	if d.action.kind == actVolume && d.trouble == nil {
		l.pruned(d.action.volume)
	}
	if d.container != nil {
		l.onLooked(looked{id: d.container.ID, at: d.at, container: d.container})
	}
	if d.gone != "" {
		l.removed(d.gone, d.at)
	}
	if d.touched != "" {
		l.inspect.look(d.touched)
	}
	m := l.memory[d.action.key]
	// Events that came while the action ran were not looked into. One of them
	// may name a container that was made after the action had given up.
	if d.action.kind == actStart && m.seen.container != "" && m.seen.last.After(d.at) {
		l.inspect.look(m.seen.container)
	}
	m.busy, m.reached = "", progress{}
	switch d.action.kind {
	case actStart:
		m.checks, m.passed = 0, ""
	case actCheck:
		m.checks++
		if d.hung { // what hangs may go on in there, and is not to be heaped up
			m.checks = maxChecks
		}
		if d.passed {
			m.passed = d.action.container.ID
		}
	default:
	}
	if d.action.kind == actRecheck {
		m.calm = time.Now().Add(recheckCalm)
	}
	if d.digest != "" {
		m.digest = d.digest
	}
	if d.trouble != nil {
		l.repeat(&m, d)
	} else {
		m.failed, m.tries, m.retryAt, m.trouble = "", 0, time.Time{}, ""
		if d.action.kind == actRecheck {
			m.suspect = time.Time{}
		}
	}
	l.memory[d.action.key] = m
	switch {
	case d.outcome != nil:
		l.fix(d.action.replica, *d.outcome)
	case d.action.kind == actAutopsy && d.trouble == nil:
		l.fix(d.action.replica, autopsy(*d.action.container, m.seen, d.lines))
	}
}

// pruned has the end of a volume audited.
func (l *loop) pruned(p cluster.PrunedVolume) {
	delete(l.volumes, p.Engine)
	l.Log.Info("volume pruned", "volume", p.Engine, "deployment", p.Deployment)
	l.events = append(l.events, cluster.Event{
		Type: cluster.EventVolumePruned, Node: l.cfg.Node, Deployment: p.Deployment, Revision: p.Revision,
		Message: "volume " + p.Engine + " was removed: " + p.Revision.Short() + " gave it up, and it had x-jaco-prune: true",
	})
}

// repeat notes an attempt that came to nothing and when the next one is due.
func (l *loop) repeat(m *memory, d done) {
	if errors.Is(d.trouble, context.Canceled) {
		return // it was given up on purpose
	}
	m.failed = d.action.kind
	if m.failed == actStart {
		m.digest = ""
	}
	var closed *closedError
	if !errors.As(d.trouble, &closed) { // a wait is no attempt
		m.tries++
	}
	m.retryAt = d.retryAt
	if m.retryAt.IsZero() {
		m.retryAt = time.Now().Add(l.cfg.backoff(m.tries))
	}
	before := m.trouble
	m.trouble = clip(clean(d.trouble.Error()), reasonBytes)
	if closed != nil && sameReason(before, m.trouble) {
		return // it goes on waiting for the same
	}
	l.Log.Warn("trying again later", "action", string(d.action.kind), "key", d.action.key,
		"tries", m.tries, "error", d.trouble)
}
