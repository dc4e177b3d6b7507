package cluster

import (
	"errors"
	"fmt"
	"time"
)

// LivenessConfig says how long which silence means what.
type LivenessConfig struct {
	// Self is the leader's own name: it is the one that listens, and is never
	// suspected. There is no default.
	Self string
	// Heartbeat is how often a node lets itself be heard, and how often a second
	// node is asked about a silent one; default 1 s.
	Heartbeat time.Duration
	// Suspect is the silence after which a node's endpoints step back and a
	// second opinion is asked for; default 3 s.
	Suspect time.Duration
	// Down is the silence after which a node's replicas are placed elsewhere,
	// once a second node cannot reach it either; default 6 s.
	Down time.Duration
	// Alone is the same where there is no second node to ask; default 10 s.
	Alone time.Duration
	// Restart is how long a node that announced its stop, or has just joined, may
	// be silent: as long as an upgrade takes; default 60 s.
	Restart time.Duration
	// MassPause is how long nothing is placed elsewhere after many nodes went
	// down at once, which looks like a broken network; default 60 s.
	MassPause time.Duration
	// ClockWarning is how far a clock may be off before it is named; default 5 s.
	ClockWarning time.Duration
}

// DefaultLivenessConfig returns the defaults, without Self.
func DefaultLivenessConfig() LivenessConfig {
	return LivenessConfig{
		Heartbeat:    time.Second,
		Suspect:      3 * time.Second,
		Down:         6 * time.Second,
		Alone:        10 * time.Second,
		Restart:      60 * time.Second,
		MassPause:    60 * time.Second,
		ClockWarning: 5 * time.Second,
	}
}

// Validate says what is wrong with the configuration.
func (c LivenessConfig) Validate() error {
	switch {
	case c.Self == "":
		return errors.New("liveness: no name of the leader")
	case c.Heartbeat <= 0 || c.Suspect <= c.Heartbeat || c.Down <= c.Suspect || c.Alone < c.Down:
		return fmt.Errorf("liveness: want 0 < heartbeat < suspect < down <= alone, have %s, %s, %s, %s", c.Heartbeat, c.Suspect, c.Down, c.Alone)
	case c.Restart <= 0 || c.MassPause <= 0 || c.ClockWarning <= 0:
		return fmt.Errorf("liveness: restart %s, mass pause %s and clock warning %s must be positive", c.Restart, c.MassPause, c.ClockWarning)
	}
	return nil
}

// Liveness turns heartbeats into the states of nodes. The leader's loop owns
// one for the time of its term and calls it from one goroutine: Beat and
// Confirm when something was heard, and Assess after each of them and at
// NextAt. It decides and writes nothing, and knows the time from its arguments
// alone; a time that carries a monotonic reading makes it safe against a
// leader's clock that is set.
//
// A node that this term has not heard yet counts as silent since the term
// began, so that nobody is suspected before it had time to find the leader.
type Liveness struct {
	config LivenessConfig
	start  time.Time
	// awake is when this process was found to have slept: a silence that nobody
	// listened to says nothing, so that all of them count from here.
	awake time.Time
	// next is when Assess asked to be called again.
	next time.Time
	// assessed says that Assess has seen the members once.
	assessed  bool
	nodes     map[string]*watch
	massUntil time.Time
}

// watch is what is known of one node.
type watch struct {
	// member says that Assess has seen it among the members, with this key of
	// its certificate: another one is another machine.
	member bool
	key    [32]byte
	since  time.Time // when it began to be watched
	heard  time.Time // when it was last heard; zero: never in this term
	beat   Heartbeat
	// offset is how far its clock was ahead of the leader's.
	offset time.Duration
	// excused is until when it may be silent.
	excused time.Time
	// asked is when by was last asked about its silence.
	asked time.Time
	by    string
	// opinion is the last answer since it fell silent; nil: none.
	opinion *opinion
	// down is since when it is Down; zero: it is not.
	down time.Time
	// clock says how its clock is off, "" when it is not; named is the
	// difference that the text is about. off is the difference that lasts since
	// offSince, give or take what is worth a warning.
	clock    string
	named    time.Duration
	off      time.Duration
	offSince time.Time
}

// opinion is what a second node says of a silent one.
type opinion struct {
	by      string
	answers bool
	at      time.Time
}

// NewLiveness returns the tracker of a term that begins at start.
func NewLiveness(config LivenessConfig, start time.Time) (*Liveness, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return &Liveness{config: config, start: start, awake: start, nodes: map[string]*watch{}}, nil
}

// Beat takes a heartbeat that arrived at a time. The caller has checked that it
// comes from the node that it names. The leader's own belong here too.
func (l *Liveness) Beat(hb Heartbeat, at time.Time) {
	w := l.nodes[hb.Node]
	if w == nil {
		w = &watch{since: at, offSince: at}
		l.nodes[hb.Node] = w
	}
	if hb.Mesh != nil {
		mesh := *hb.Mesh // the caller's own stays as it is
		mesh.keepPeers(w.beat.Mesh)
		hb.Mesh = &mesh
	}
	w.heard, w.beat, w.offset = at, hb, hb.SentAt.Sub(at)
	w.asked, w.opinion, w.excused = time.Time{}, nil, time.Time{}
	if hb.Stopping {
		w.excused = at.Add(l.config.Restart)
	}
}

// Confirm takes the opinion of the node by, which was asked whether node
// answers it. One that nobody asked for, or that comes after the node was heard
// again, says nothing.
func (l *Liveness) Confirm(node, by string, answers bool, at time.Time) {
	w := l.nodes[node]
	if w == nil || w.asked.IsZero() || by == node || by == l.config.Self || by == "" {
		return
	}
	w.opinion = &opinion{by: by, answers: answers, at: at}
}

// Soft returns what was heard of each node in this term.
func (l *Liveness) Soft(at time.Time) map[string]NodeSoft {
	out := make(map[string]NodeSoft, len(l.nodes))
	for name, w := range l.nodes {
		if !w.heard.IsZero() {
			out[name] = NodeSoft{Heartbeat: w.beat, Age: max(0, at.Sub(w.heard)), ClockOffset: w.offset}
		}
	}
	return out
}

// fresh reports whether the node was heard so lately that nothing is suspected.
func (l *Liveness) fresh(w *watch, at time.Time) bool {
	return !w.heard.IsZero() && at.Sub(w.heard) < l.config.Suspect
}

// silentSince is from when on the node's silence counts.
func (l *Liveness) silentSince(w *watch) time.Time {
	since := w.since
	for _, t := range []time.Time{w.heard, l.awake} {
		if t.After(since) {
			since = t
		}
	}
	return since
}
