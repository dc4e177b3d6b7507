package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The reasons that the tracker writes. They change only with what they are
// about, because each new text is a log entry; status adds what changes by the
// second.
const (
	reasonStopping = "jacod is stopping"
	reasonEngine   = "the engine does not answer"
	reasonSilent   = "no heartbeat since "
	reasonRefuses  = "does not follow the leader"
	reasonDown     = "does not answer since "
)

// Assessment is what follows from what was heard.
type Assessment struct {
	// Updates are the members whose record is to be written, by UpdateNode with
	// Expect set to their ModifyIndex; at most one a member. They come again with
	// the next assessment until the member's record says the same.
	Updates []Node
	// Probes are the second opinions to ask for now.
	Probes []Probe
	// Events are to be recorded. Each comes once.
	Events []Event
	// MassLossUntil is until when the replicas of nodes that are Down stay where
	// they are, because too many went at once; zero: no such loss. It is to be
	// told to the scheduler before Updates are proposed.
	MassLossUntil time.Time
	// NextAt is when to assess again although nothing is heard; zero: never.
	NextAt time.Time
}

// Probe asks the node By whether Node answers it. The answer goes to Confirm;
// an opinion that nobody could give is left out, and another node is asked a
// heartbeat later. To confirm in time an answer must not take longer than from
// Suspect to Down, less a heartbeat.
type Probe struct {
	Node string
	By   string
}

// Assess judges the members as they are recorded.
func (l *Liveness) Assess(at time.Time, members []Node) Assessment {
	members = slices.SortedFunc(slices.Values(members), func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	if !l.next.IsZero() && at.Sub(l.next) > l.config.Suspect {
		l.awake = at
	}
	l.follow(at, members)
	var a Assessment
	a.Events = l.judgeClocks(at, members)
	live := l.live(at, members)
	doubtful := 0
	for _, n := range members {
		w := l.nodes[n.Name]
		judged := l.judge(at, n, live)
		if judged != n {
			a.Updates = append(a.Updates, judged)
		}
		w.count(judged.State, at)
		if !l.silent(at, judged) {
			continue
		}
		if w.opinion == nil || !w.opinion.answers {
			doubtful++
		}
		if by := l.ask(w, live, at); by != "" {
			a.Probes = append(a.Probes, Probe{Node: n.Name, By: by})
		}
	}
	var event *Event
	if a.MassLossUntil, event = l.massLoss(at, members, doubtful); event != nil {
		a.Events = append(a.Events, *event)
	}
	l.next = l.nextAt(at, members)
	a.NextAt = l.next
	return a
}

// follow begins to watch new members and forgets those that are none.
func (l *Liveness) follow(at time.Time, members []Node) {
	known := make(map[string]bool, len(members))
	for _, n := range members {
		known[n.Name] = true
		w := l.nodes[n.Name]
		if w == nil || w.member && w.key != n.CertificateKey {
			w = &watch{since: at, offSince: at}
			l.nodes[n.Name] = w
		}
		if w.member {
			continue
		}
		w.member, w.key, w.clock = true, n.CertificateKey, clockPart(n.Reason)
		if l.assessed {
			// It has just joined, and has to fetch what it missed.
			if w.heard.IsZero() {
				w.excused = at.Add(l.config.Restart)
			}
			continue
		}
		w.since = l.start
		if n.State == NodeNotReady && strings.HasPrefix(n.Reason, reasonStopping) && w.heard.IsZero() {
			w.excused = l.start.Add(l.config.Restart) // it told the leader before
		}
		if n.State == NodeDown {
			w.down = n.Since
			if w.down.After(l.start) {
				w.down = l.start
			}
		}
	}
	for name := range l.nodes {
		if !known[name] {
			delete(l.nodes, name)
		}
	}
	l.assessed = true
}

// live lists, in order, the nodes beside the leader that can give an opinion.
func (l *Liveness) live(at time.Time, members []Node) []string {
	var live []string
	for _, n := range members {
		if w := l.nodes[n.Name]; n.Name != l.config.Self && l.fresh(w, at) && !w.beat.Stopping {
			live = append(live, n.Name)
		}
	}
	return live
}

// judge returns the member's record as it should be. Where nothing new is
// known, that is the record as it is: a node that is Down stays so until it is
// heard.
func (l *Liveness) judge(at time.Time, n Node, live []string) Node {
	w := l.nodes[n.Name]
	self := n.Name == l.config.Self
	if l.fresh(w, at) || !w.heard.IsZero() && (self || at.Before(w.excused)) {
		return l.following(w, w.said(n))
	}
	if !l.silent(at, n) {
		return n
	}
	silence, said := at.Sub(l.silentSince(w)), w.opinion
	recent := said != nil && at.Sub(said.at) < l.config.Suspect
	denied, reached := recent && !said.answers, recent && said.answers
	since := l.lastSign(w).UTC().Format(time.RFC3339)
	switch {
	case denied && silence >= l.config.Down:
		n.State, n.Reason = NodeDown, reasonDown+since+", nor to node "+said.by
	case !reached && len(live) == 0 && silence >= l.config.Alone:
		n.State, n.Reason = NodeDown, reasonDown+since+"; no second node is left to ask"
	case said != nil && said.answers:
		n.State, n.Reason = NodeSuspect, "node "+said.by+" reaches it, the leader does not: look at the network between the two"
	case n.State == NodeSuspect && w.heard.IsZero():
		// An earlier leader found it silent and said since when.
	default:
		n.State, n.Reason = NodeSuspect, reasonSilent+since
	}
	return n
}

// following is the record of a node that was heard, NotReady where the node has
// judged the leader's newest claim too and refuses it: it would refuse what that
// claim brings, time and again. What the leader refuses as well holds nobody up.
func (l *Liveness) following(w *watch, n Node) Node {
	leader := l.nodes[l.config.Self]
	if leader == nil || w.beat.Refusal == "" || leader.beat.Refusal != "" || w.beat.Claim != leader.beat.Claim {
		return n
	}
	n.State, n.Reason = NodeNotReady, joinReasons(reasonRefuses, n.Reason)
	return n
}

// silent reports whether a member that is not yet Down has been silent for too
// long.
func (l *Liveness) silent(at time.Time, n Node) bool {
	w := l.nodes[n.Name]
	return n.State != NodeDown && n.Name != l.config.Self && !at.Before(w.excused) && at.Sub(l.silentSince(w)) >= l.config.Suspect
}

// lastSign returns when the node was last heard, or began to be listened to.
func (l *Liveness) lastSign(w *watch) time.Time {
	if w.heard.IsZero() {
		return w.since
	}
	return w.heard
}

// said returns the record as the last heartbeat wants it. Capacities stay as
// they are while the engine does not tell them.
func (w *watch) said(n Node) Node {
	hb := &w.beat
	n.State, n.Reason = NodeReady, hb.Reason
	if !hb.Ready {
		n.State = NodeNotReady
		if n.Reason == "" {
			n.Reason = reasonEngine
		}
	}
	if hb.Fault != "" {
		n.State, n.Reason = NodeNotReady, joinReasons(hb.Fault, n.Reason)
	}
	if hb.Stopping {
		n.State, n.Reason = NodeNotReady, reasonStopping
	}
	n.Reason = joinReasons(n.Reason, w.clock)
	n.Version = hb.Version
	if hb.CPU != 0 {
		n.CPU = hb.CPU
	}
	if hb.Memory != 0 {
		n.Memory = hb.Memory
	}
	return n
}

// count remembers since when the node is Down.
func (w *watch) count(state NodeState, at time.Time) {
	switch {
	case state != NodeDown:
		w.down = time.Time{}
	case w.down.IsZero():
		w.down = at
	}
}

// ask returns who is to be asked about a silent node now; "": nobody. Whoever
// answers is asked again, so that the reason does not change with every
// question; whoever does not is passed over the next time.
func (l *Liveness) ask(w *watch, live []string, at time.Time) string {
	if len(live) == 0 || !w.asked.IsZero() && at.Sub(w.asked) < l.config.Heartbeat {
		return ""
	}
	answered := w.opinion != nil && w.opinion.by == w.by && !w.opinion.at.Before(w.asked)
	if !answered || !slices.Contains(live, w.by) {
		next := slices.IndexFunc(live, func(by string) bool { return by > w.by })
		w.by = live[max(0, next)]
	}
	w.asked = at
	return w.by
}

// massLoss decides whether so many nodes went down at once that it is more
// likely the network: at least two and more than a third of all. They go down
// one after the other, because each was last heard at another moment; so while
// one is down and others are silent, those count as if they were down too.
func (l *Liveness) massLoss(at time.Time, members []Node, doubtful int) (time.Time, *Event) {
	var last time.Time
	for _, n := range members {
		if down := l.nodes[n.Name].down; down.After(last) {
			last = down
		}
	}
	if last.IsZero() { // who went is back: there is nothing to hold
		l.massUntil = time.Time{}
		return time.Time{}, nil
	}
	var gone []string
	for _, n := range members {
		if down := l.nodes[n.Name].down; !down.IsZero() && last.Sub(down) < l.config.MassPause {
			gone = append(gone, n.Name)
		}
	}
	mass := func(lost int) bool { return lost >= 2 && 3*lost > len(members) }
	until := last.Add(l.config.MassPause)
	var event *Event
	switch {
	case mass(len(gone)):
		if !l.massUntil.After(last) && last.After(l.start) {
			event = &Event{Type: EventMassLoss, Message: fmt.Sprintf("nodes %s, of %d, went down at once: their replicas stay where they are until %s",
				strings.Join(gone, ", "), len(members), until.UTC().Format(time.RFC3339))}
		}
		if until.After(l.massUntil) {
			l.massUntil = until
		}
	case mass(len(gone) + doubtful):
	default:
		until = l.massUntil
	}
	if !at.Before(until) {
		until = time.Time{}
	}
	return until, event
}

// nextAt is the next moment at which time alone changes the judgement.
func (l *Liveness) nextAt(at time.Time, members []Node) time.Time {
	var next time.Time
	consider := func(t time.Time) {
		if t.After(at) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	consider(l.massUntil)
	for _, n := range members {
		w := l.nodes[n.Name]
		if n.Name == l.config.Self {
			continue
		}
		consider(w.excused)
		since := l.silentSince(w)
		for _, limit := range []time.Duration{l.config.Suspect, l.config.Down, l.config.Alone} {
			consider(since.Add(limit))
		}
		if !w.asked.IsZero() {
			consider(w.asked.Add(l.config.Heartbeat))
		}
		if w.opinion != nil {
			consider(w.opinion.at.Add(l.config.Suspect))
		}
	}
	return next
}
