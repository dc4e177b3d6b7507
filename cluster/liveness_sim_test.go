package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tick is the step of the simulated time.
const tick = 100 * time.Millisecond

// liveSim is a leader n1 that listens to a cluster: it writes what it decides
// into the member table and keeps a transcript of it.
type liveSim struct {
	t        *testing.T
	config   LivenessConfig
	tracker  *Liveness
	now      time.Time
	members  map[string]Node
	index    uint64
	silent   map[string]bool // whose heartbeats do not arrive
	beats    map[string]Heartbeat
	clock    map[string]time.Duration // how far a node's clock is ahead
	opinions func(p Probe) (answers, given bool)
	pending  []probeAnswer
	next     time.Time
	pause    time.Time
	frozen   bool // the leader does not run
	refuse   bool // the log takes no update
	lines    []string
}

type probeAnswer struct {
	Probe
	answers bool
	at      time.Time
}

// newLiveSim begins a term in which every node is Ready.
func newLiveSim(t *testing.T, nodes ...string) *liveSim {
	s := &liveSim{
		t: t, config: DefaultLivenessConfig(), now: start, members: map[string]Node{}, silent: map[string]bool{}, beats: map[string]Heartbeat{}, clock: map[string]time.Duration{},
	}
	s.opinions = func(p Probe) (bool, bool) { return !s.silent[p.Node], true }
	for i, name := range nodes {
		n := testNode(name)
		n.CertificateKey, n.CPU, n.Memory, n.Since = [32]byte{byte(i + 1)}, 2e9, 1<<30, start.Add(-time.Hour)
		s.put(n)
		s.beats[name] = Heartbeat{Node: name, Version: "v1", Ready: true, CPU: 2e9, Memory: 1 << 30}
	}
	s.term()
	return s
}

// term begins a new term of n1.
func (s *liveSim) term() {
	s.t.Helper()
	s.config.Self = "n1"
	tracker, err := NewLiveness(s.config, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	s.tracker, s.next, s.pending, s.pause = tracker, time.Time{}, nil, time.Time{}
	s.assess()
}

// put writes a record as the state does.
func (s *liveSim) put(n Node) {
	old, known := s.members[n.Name]
	s.index++
	n.ModifyIndex = s.index
	if !known {
		n.CreateIndex = s.index
	} else if n.State != old.State {
		n.Since = s.now
	}
	s.members[n.Name] = n
}

func (s *liveSim) list() []Node {
	var list []Node
	for _, n := range s.members { // in no order: the tracker must not care
		list = append(list, n)
	}
	return list
}

// run lets time pass: every node beats once a second, each at its own moment.
func (s *liveSim) run(d time.Duration) {
	s.t.Helper()
	names := make([]string, 0, len(s.beats))
	for name := range s.beats {
		names = append(names, name)
	}
	slices.Sort(names)
	for range int(d / tick) {
		s.now = s.now.Add(tick)
		if s.frozen {
			continue
		}
		moment := int(s.now.Sub(start)/tick) % 10
		heard := false
		for i, name := range names {
			if i%10 == moment && !s.silent[name] {
				s.beat(name)
				heard = true
			}
		}
		for _, answer := range s.pending {
			if !s.now.Before(answer.at) {
				s.tracker.Confirm(answer.Node, answer.By, answer.answers, s.now)
				heard = true
			}
		}
		s.pending = slices.DeleteFunc(s.pending, func(a probeAnswer) bool { return !s.now.Before(a.at) })
		if heard || !s.next.IsZero() && !s.now.Before(s.next) {
			s.assess()
		}
	}
}

func (s *liveSim) beat(name string) {
	hb := s.beats[name]
	hb.SentAt = s.now.Add(s.clock[name])
	s.tracker.Beat(hb, s.now)
}

func (s *liveSim) assess() {
	a := s.tracker.Assess(s.now, s.list())
	s.next = a.NextAt
	if !a.MassLossUntil.Equal(s.pause) {
		s.pause = a.MassLossUntil
		if s.pause.IsZero() {
			s.say("the pause is over")
		} else {
			s.say("pause until %s", s.pause.Sub(start))
		}
	}
	for _, n := range a.Updates {
		s.say("%s %s: %s", n.Name, n.State, n.Reason)
		if !s.refuse {
			s.put(n)
		}
	}
	for _, p := range a.Probes {
		s.say("ask %s about %s", p.By, p.Node)
		if answers, given := s.opinions(p); given {
			s.pending = append(s.pending, probeAnswer{p, answers, s.now.Add(2 * tick)})
		}
	}
	for _, e := range a.Events {
		s.say("%s %s", e.Type, e.Message)
	}
}

func (s *liveSim) say(format string, args ...any) {
	s.lines = append(s.lines, strings.TrimSpace(fmt.Sprintf("%s ", s.now.Sub(start))+fmt.Sprintf(format, args...)))
}

// want compares what was said since the last time; lines of questions are left
// out unless the wanted text has some.
func (s *liveSim) want(text string) {
	s.t.Helper()
	var want []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			want = append(want, line)
		}
	}
	got := s.lines
	if !strings.Contains(text, "ask ") {
		got = slices.DeleteFunc(slices.Clone(got), func(line string) bool { return strings.Contains(line, " ask ") })
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); diff != "" {
		s.t.Errorf("transcript (-want +got):\n%s", diff)
	}
	s.lines = nil
}
