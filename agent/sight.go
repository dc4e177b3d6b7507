package agent

import (
	"syscall"
	"time"
)

// clockSlack bounds how far the clock is trusted to order events and
// inspections; it may have been set back in between.
const clockSlack = 10 * time.Second

// onEvent notes what an event says by itself and has its container looked at.
func (l *loop) onEvent(e Event) {
	switch e.Action {
	case ActionNetworkEnd:
		l.exec.prep.forgetNetwork(e.Network)
		delete(l.networks, e.Network)
		return
	case ActionConnect, ActionDisconnect:
		known, ok := l.containers[e.Container]
		if !ok {
			return
		}
		e.Replica = known.Labels[LabelReplica]
		if !l.memory[e.Replica].seen.died.IsZero() {
			return // a container that ends leaves its networks
		}
	default:
	}
	if e.Replica != "" {
		l.update(e.Replica, func(m *memory) { m.note(e) })
	}
	switch e.Action {
	case ActionDestroy:
		l.removed(e.Container, time.Now())
		return
	case ActionKill, ActionStop, ActionOOM:
		return // what they do to the container is an event of its own
	default:
	}
	known, ok := l.containers[e.Container]
	if e.Replica != "" && l.memory[e.Replica].busy != "" {
		if ok && e.Action == ActionDie { // so much is known, even if removing it fails
			known.Status, known.ExitCode = StatusExited, e.ExitCode
			l.containers[e.Container] = known
		}
		return // the action looks by itself
	}
	if since := known.at.Sub(e.Time); ok && since > 0 && since < clockSlack {
		return // somebody looked since
	}
	l.inspect.look(e.Container)
}

// note remembers what an event says of a replica's container. Events of what
// the agent does itself are not held against the replica.
func (m *memory) note(e Event) {
	m.seen.container = e.Container
	if e.Time.After(m.seen.last) {
		m.seen.last = e.Time
	}
	if m.busy == actRemove {
		if e.Action == ActionDie {
			m.seen.exitCode = e.ExitCode
		}
		return
	}
	switch e.Action {
	case ActionKill:
		m.seen.anySignal = e.Time
		if deadly(e.Signal) {
			m.seen.deadlySignal = e.Time
		}
	case ActionOOM:
		m.seen.oom = true
	case ActionStop:
		m.seen.stopped = true
	default:
	}
	if m.busy == actStart {
		return // a start that fails also dies
	}
	switch e.Action {
	case ActionDie:
		m.seen.died, m.seen.exitCode = e.Time, e.ExitCode
	case ActionPause:
		if m.busy == actRecheck || e.Time.Before(m.calm) {
			return
		}
		m.seen.changed = "the container was paused by hand"
	case ActionRename:
		m.seen.changed = "the container was renamed by hand"
	case ActionUpdate:
		m.seen.changed = "the container's settings were changed by hand"
	default:
	}
}

// deadly reports whether a signal is one that people send to end a process.
func deadly(signal int) bool {
	switch syscall.Signal(signal) {
	case syscall.SIGTERM, syscall.SIGKILL, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT:
		return true
	default:
		return false
	}
}
