package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// liveModel knows only what the rules need: who was heard when, who said what
// of whom, and what is recorded.
type liveModel struct {
	rt       *rapid.T
	config   LivenessConfig
	one      *Liveness
	two      *Liveness // is told the same, and sees the members in another order
	now      time.Time
	names    []string
	members  map[string]Node
	index    uint64
	heard    map[string]time.Time // since when its silence counts
	beats    map[string]Heartbeat // the last of each
	asked    map[string]bool      // a second node was asked since
	said     map[string]opinion   // the last opinion that somebody asked for
	admitted map[string]time.Time // and not heard since
	assessed bool
}

func newLiveModel(rt *rapid.T) *liveModel {
	m := &liveModel{
		rt: rt, config: DefaultLivenessConfig(), now: start, members: map[string]Node{}, heard: map[string]time.Time{},
		beats: map[string]Heartbeat{}, asked: map[string]bool{}, said: map[string]opinion{}, admitted: map[string]time.Time{},
	}
	m.config.Self = "n1"
	for _, tracker := range []**Liveness{&m.one, &m.two} {
		var err error
		if *tracker, err = NewLiveness(m.config, start); err != nil {
			rt.Fatal(err)
		}
	}
	for i := range rapid.IntRange(1, 7).Draw(rt, "nodes") {
		name := fmt.Sprintf("n%d", i+1)
		state := rapid.SampledFrom([]NodeState{NodeReady, NodeNotReady, NodeSuspect, NodeDown}).Draw(rt, name)
		m.admit(name, state, byte(i+1))
	}
	return m
}

func (m *liveModel) admit(name string, state NodeState, key byte) {
	n := testNode(name)
	m.index++
	n.State, n.CertificateKey, n.ModifyIndex, n.Since = state, [32]byte{key}, m.index, m.now
	if !slices.Contains(m.names, name) {
		m.names = append(m.names, name)
	}
	m.members[name] = n
	m.heard[name] = m.now
	delete(m.beats, name)
	delete(m.asked, name)
	delete(m.said, name)
	delete(m.admitted, name)
	if m.assessed {
		m.admitted[name] = m.now
	}
}

func (m *liveModel) name(label string) string { return rapid.SampledFrom(m.names).Draw(m.rt, label) }

func (m *liveModel) list(reverse bool) []Node {
	var list []Node
	for _, name := range m.names {
		if n, ok := m.members[name]; ok {
			list = append(list, n)
		}
	}
	if reverse {
		slices.Reverse(list)
	}
	return list
}

func (m *liveModel) beat() {
	hb := Heartbeat{
		Node: m.name("beat"), Version: rapid.SampledFrom([]string{"v1", "v2"}).Draw(m.rt, "version"),
		Ready: rapid.Bool().Draw(m.rt, "ready"), Stopping: rapid.IntRange(0, 9).Draw(m.rt, "stopping") == 0,
		SentAt: m.now.Add(time.Duration(rapid.IntRange(-8, 8).Draw(m.rt, "clock")) * time.Second),
	}
	if _, member := m.members[hb.Node]; !member {
		return
	}
	m.one.Beat(hb, m.now)
	m.two.Beat(hb, m.now)
	m.heard[hb.Node], m.beats[hb.Node] = m.now, hb
	delete(m.asked, hb.Node)
	delete(m.said, hb.Node)
	delete(m.admitted, hb.Node)
}

func (m *liveModel) confirm() {
	node, by, answers := m.name("about"), m.name("by"), rapid.IntRange(0, 3).Draw(m.rt, "answers") == 0
	m.one.Confirm(node, by, answers, m.now)
	m.two.Confirm(node, by, answers, m.now)
	if m.asked[node] && by != node && by != m.config.Self {
		m.said[node] = opinion{by: by, answers: answers, at: m.now}
	}
}

func (m *liveModel) assess() {
	a, b := m.one.Assess(m.now, m.list(false)), m.two.Assess(m.now, m.list(true))
	if diff := cmp.Diff(a, b); diff != "" {
		m.rt.Fatalf("two trackers that were told the same differ:\n%s", diff)
	}
	m.assessed = true
	if !a.NextAt.IsZero() && !a.NextAt.After(m.now) {
		m.rt.Fatalf("the next time is %s, and it is %s", a.NextAt, m.now)
	}
	seen := map[string]bool{}
	for _, n := range a.Updates {
		if seen[n.Name] {
			m.rt.Fatalf("two updates of %s", n.Name)
		}
		seen[n.Name] = true
		m.judge(n)
	}
	m.checkPause(a)
	for _, p := range a.Probes {
		if n, member := m.members[p.By]; p.By == p.Node || p.By == m.config.Self || !member || n.Name == "" || m.now.Sub(m.heard[p.By]) >= m.config.Suspect {
			m.rt.Fatalf("%s is asked about %s", p.By, p.Node)
		}
		m.asked[p.Node] = true
	}
	// Nothing was heard in between: the same is said again, but for what comes once.
	again, _ := m.one.Assess(m.now, m.list(false)), m.two.Assess(m.now, m.list(true))
	if diff := cmp.Diff(a.Updates, again.Updates); diff != "" || len(again.Events) != 0 || len(again.Probes) != 0 {
		m.rt.Fatalf("asked again it says %+v:\n%s", again, diff)
	}
	if rapid.IntRange(0, 5).Draw(m.rt, "refused") == 0 {
		return
	}
	for _, n := range a.Updates {
		m.index++
		if n.State != m.members[n.Name].State {
			n.Since = m.now
		}
		n.ModifyIndex = m.index
		m.members[n.Name] = n
	}
	settled, _ := m.one.Assess(m.now, m.list(false)), m.two.Assess(m.now, m.list(true))
	if len(settled.Updates) != 0 || !settled.MassLossUntil.Equal(a.MassLossUntil) {
		m.rt.Fatalf("once written it changes its mind: %+v", settled)
	}
}

// judge holds one update against the rules.
func (m *liveModel) judge(n Node) {
	old, silence := m.members[n.Name], m.now.Sub(m.heard[n.Name])
	if old == n || old.ModifyIndex != n.ModifyIndex || old.CertificateKey != n.CertificateKey {
		m.rt.Fatalf("update from %+v to %+v", old, n)
	}
	hb, heard := m.beats[n.Name]
	if n.State.Alive() {
		if !heard || silence >= m.config.Suspect && !hb.Stopping && n.Name != m.config.Self {
			m.rt.Fatalf("%s is %s after %s", n.Name, n.State, silence)
		}
		if ready := hb.Ready && !hb.Stopping; ready != (n.State == NodeReady) {
			m.rt.Fatalf("%s is %s, and said %+v", n.Name, n.State, hb)
		}
		return
	}
	if n.Name == m.config.Self || silence < m.config.Suspect || hb.Stopping && silence < m.config.Restart {
		m.rt.Fatalf("%s is %s after %s", n.Name, n.State, silence)
	}
	if at, ok := m.admitted[n.Name]; ok && m.now.Sub(at) < m.config.Restart {
		m.rt.Fatalf("%s joined at %s and is %s", n.Name, at, n.State)
	}
	if n.State == NodeSuspect {
		if old.State == NodeDown {
			m.rt.Fatalf("%s was Down and is Suspect without having been heard", n.Name)
		}
		return
	}
	said, given := m.said[n.Name]
	switch recent := given && m.now.Sub(said.at) < m.config.Suspect; {
	case recent && said.answers:
		m.rt.Fatalf("%s is Down, and %s reaches it", n.Name, said.by)
	case recent && silence >= m.config.Down:
	case silence < m.config.Alone || m.anotherLives(n.Name):
		m.rt.Fatalf("%s is Down after %s without a second opinion", n.Name, silence)
	}
}

func (m *liveModel) anotherLives(node string) bool {
	for name := range m.members {
		hb, heard := m.beats[name]
		if name != node && name != m.config.Self && heard && !hb.Stopping && m.now.Sub(m.heard[name]) < m.config.Suspect {
			return true
		}
	}
	return false
}

// checkPause: a pause ends, and there is none when nobody is Down.
func (m *liveModel) checkPause(a Assessment) {
	if a.MassLossUntil.IsZero() {
		return
	}
	states := map[string]NodeState{}
	for name, n := range m.members {
		states[name] = n.State
	}
	for _, n := range a.Updates {
		states[n.Name] = n.State
	}
	down := 0
	for _, state := range states {
		if state == NodeDown {
			down++
		}
	}
	if left := a.MassLossUntil.Sub(m.now); down == 0 || left <= 0 || left > m.config.MassPause {
		m.rt.Fatalf("pause for %s with %d Down of %d", left, down, len(states))
	}
}

// TestLivenessProperty plays random heartbeats, opinions, silences and members
// and holds every update against the rules.
func TestLivenessProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newLiveModel(rt)
		m.assess()
		key := byte(100)
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			switch rapid.IntRange(0, 11).Draw(rt, "step") {
			case 0, 1, 2, 3:
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(rt, "time")) * 100 * time.Millisecond)
			case 4:
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 70).Draw(rt, "long")) * time.Second)
			case 5, 6, 7:
				m.beat()
			case 8, 9:
				m.confirm()
			case 10:
				m.assess()
			case 11:
				name := fmt.Sprintf("n%d", rapid.IntRange(2, 8).Draw(rt, "member"))
				if _, member := m.members[name]; member && rapid.Bool().Draw(rt, "leaves") {
					delete(m.members, name)
				} else {
					key++
					m.admit(name, NodeNotReady, key)
				}
				m.assess() // the member table's change wakes the leader's loop
			}
			if rapid.IntRange(0, 1).Draw(rt, "assess") == 1 {
				m.assess()
			}
		}
	})
}
