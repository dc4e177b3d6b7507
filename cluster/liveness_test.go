package cluster

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func (s *liveSim) stop(nodes ...string) {
	for _, name := range nodes {
		s.silent[name] = true
	}
}

func (s *liveSim) start(nodes ...string) {
	for _, name := range nodes {
		delete(s.silent, name)
	}
}

// says changes what a node's heartbeats say.
func (s *liveSim) says(node string, change func(*Heartbeat)) {
	hb := s.beats[node]
	change(&hb)
	s.beats[node] = hb
}

// TestLivenessConfirmed: a node is suspected after 3 s and Down after 6, when a
// second node cannot reach it either. What is written then stays.
func TestLivenessConfirmed(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3")
	s.run(10 * time.Second)
	s.want("")
	s.stop("n3") // last heard at 9.2 s
	s.run(100 * time.Second)
	s.want(`
		12.2s n3 Suspect: no heartbeat since 2026-03-01T12:00:09Z
		12.2s ask n2 about n3
		13.2s ask n2 about n3
		14.2s ask n2 about n3
		15.2s n3 Down: does not answer since 2026-03-01T12:00:09Z, nor to node n2`)
	s.start("n3")
	s.run(10 * time.Second)
	s.want("1m50.2s n3 Ready:")
}

// TestLivenessReachedByAnother: what cuts the leader off from a node is no
// reason to give it up, and is written once.
func TestLivenessReachedByAnother(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3", "n4")
	s.run(time.Second)
	s.stop("n3")
	s.opinions = func(Probe) (bool, bool) { return true, true }
	s.run(60 * time.Second)
	s.want(`
		3.2s n3 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		3.4s n3 Suspect: node n2 reaches it, the leader does not: look at the network between the two`)
	s.start("n3")
	s.run(time.Second)
	s.stop("n3") // again: what n2 said was about the time before
	s.opinions = func(Probe) (bool, bool) { return true, false }
	s.run(3 * time.Second)
	s.opinions = func(Probe) (bool, bool) { return true, true }
	s.run(8 * time.Second)
	s.want(`
		1m1.2s n3 Ready:
		1m4.2s n3 Suspect: no heartbeat since 2026-03-01T12:01:01Z
		1m5.4s n3 Suspect: node n2 reaches it, the leader does not: look at the network between the two`)
	s.stop("n2") // who was asked is gone: n4 is asked, and does not reach it
	s.opinions = func(p Probe) (bool, bool) { return false, p.By == "n4" }
	s.run(10 * time.Second)
	s.want(`
		1m14.4s n3 Down: does not answer since 2026-03-01T12:01:01Z, nor to node n4
		1m15.1s pause until 2m14.4s
		1m15.1s n2 Suspect: no heartbeat since 2026-03-01T12:01:12Z
		1m18.1s pause until 2m18.1s
		1m18.1s n2 Down: does not answer since 2026-03-01T12:01:12Z, nor to node n4
		1m18.1s mass-loss nodes n2, n3, of 4, went down at once: their replicas stay where they are until 2026-03-01T12:02:18Z`)
}

// TestLivenessAlone: without a second node to ask, the leader waits longer and
// then decides alone.
func TestLivenessAlone(t *testing.T) {
	s := newLiveSim(t, "n1", "n2")
	s.run(2 * time.Second)
	s.stop("n2")
	s.run(20 * time.Second)
	s.want(`
		4.1s n2 Suspect: no heartbeat since 2026-03-01T12:00:01Z
		11.1s n2 Down: does not answer since 2026-03-01T12:00:01Z; no second node is left to ask`)
}

// TestLivenessLastOpinion: that the last node to be asked reached it holds for
// as long as an opinion does, also when that node has gone too.
func TestLivenessLastOpinion(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3")
	s.run(time.Second)
	s.stop("n3")
	s.opinions = func(Probe) (bool, bool) { return true, true }
	s.run(20 * time.Second)
	s.stop("n2") // last heard at 20.1 s, last asked at 22.2 s
	s.run(5 * time.Second)
	s.want(`
		3.2s n3 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		3.4s n3 Suspect: node n2 reaches it, the leader does not: look at the network between the two
		23.1s n2 Suspect: no heartbeat since 2026-03-01T12:00:20Z
		25.4s pause until 1m25.4s
		25.4s n3 Down: does not answer since 2026-03-01T12:00:00Z; no second node is left to ask`)
}

// TestLivenessNobodyAnswers: as long as there are nodes to ask, each is asked in
// turn, and without an opinion nothing is given up.
func TestLivenessNobodyAnswers(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3", "n4")
	s.run(time.Second)
	s.stop("n4")
	s.opinions = func(Probe) (bool, bool) { return false, false }
	s.run(18 * time.Second)
	s.lines = s.lines[:5]
	s.want(`
		3.3s n4 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		3.3s ask n2 about n4
		4.3s ask n3 about n4
		5.3s ask n2 about n4
		6.3s ask n3 about n4`)
	s.opinions = func(p Probe) (bool, bool) { return false, p.By == "n3" }
	s.run(3 * time.Second)
	s.want(`
		19.3s ask n2 about n4
		20.3s ask n3 about n4
		20.5s n4 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n3`)
}

// TestLivenessUnasked: an opinion counts only about a node that is silent now,
// from another one, and not for long.
func TestLivenessUnasked(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3")
	s.run(time.Second)
	s.tracker.Confirm("n3", "n2", false, s.now) // nobody asked
	s.tracker.Confirm("n9", "n2", false, s.now)
	s.opinions = func(Probe) (bool, bool) { return false, false }
	s.stop("n3")
	s.run(2200 * time.Millisecond)
	s.tracker.Confirm("n3", "n2", false, s.now) // is 3 s old when it could count
	s.run(800 * time.Millisecond)
	s.tracker.Confirm("n3", "n3", false, s.now)
	s.tracker.Confirm("n3", "n1", false, s.now)
	s.tracker.Confirm("n3", "", false, s.now)
	s.run(9 * time.Second)
	s.want("3.2s n3 Suspect: no heartbeat since 2026-03-01T12:00:00Z")

	s.start("n3")
	s.run(2 * time.Second)
	s.stop("n3") // at 15 s, last heard at 14.2 s
	s.want("13.2s n3 Ready:")
	s.run(2 * time.Second)
	s.tracker.Confirm("n3", "n2", false, s.now) // asked for before it was heard again
	s.run(8 * time.Second)
	s.want("17.2s n3 Suspect: no heartbeat since 2026-03-01T12:00:14Z")
	s.tracker.Confirm("n3", "n2", true, s.now)
	s.run(2 * time.Second)
	s.want("25.1s n3 Suspect: node n2 reaches it, the leader does not: look at the network between the two")
}

// TestLivenessPlannedStop: an announced stop moves nothing for a minute.
func TestLivenessPlannedStop(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3")
	s.run(time.Second)
	s.says("n3", func(hb *Heartbeat) { hb.Stopping, hb.Ready = true, false })
	s.run(500 * time.Millisecond)
	s.stop("n3")
	s.run(40 * time.Second)
	s.says("n3", func(hb *Heartbeat) { hb.Stopping, hb.Ready, hb.Version = false, true, "v2" })
	s.start("n3")
	s.run(2 * time.Second)
	s.want(`
		1.2s n3 NotReady: jacod is stopping
		42.2s n3 Ready:`)
	if s.members["n3"].Version != "v2" {
		t.Errorf("version %s", s.members["n3"].Version)
	}

	s.says("n3", func(hb *Heartbeat) { hb.Stopping = true })
	s.run(time.Second)
	s.stop("n3") // and does not come back
	s.run(80 * time.Second)
	s.want(`
		44.2s n3 NotReady: jacod is stopping
		1m44.2s n3 Suspect: no heartbeat since 2026-03-01T12:00:44Z
		1m44.4s n3 Down: does not answer since 2026-03-01T12:00:44Z, nor to node n2`)
}

// TestLivenessStoppingGivesNoOpinion: whom it asks will not be there for long.
func TestLivenessStoppingGivesNoOpinion(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3", "n4")
	s.run(time.Second)
	s.stop("n3")
	s.says("n2", func(hb *Heartbeat) { hb.Stopping = true })
	s.run(3 * time.Second)
	s.want(`
		1.1s n2 NotReady: jacod is stopping
		3.2s n3 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		3.2s ask n4 about n3`)
}

// TestLivenessHeardBeforeKnown: a heartbeat that is faster than the record of
// its node counts.
func TestLivenessHeardBeforeKnown(t *testing.T) {
	s := newLiveSim(t, "n1", "n2")
	s.run(time.Second)
	joined := testNode("n3")
	joined.State, joined.Reason, joined.CertificateKey = NodeNotReady, "joining", [32]byte{3}
	s.tracker.Beat(Heartbeat{Node: "n3", Version: "v1", Ready: true, SentAt: s.now}, s.now)
	s.put(joined)
	s.stop("n3")
	s.run(10 * time.Second)
	s.want(`
		1.1s n3 Ready:
		4s n3 Suspect: no heartbeat since 2026-03-01T12:00:01Z
		7s n3 Down: does not answer since 2026-03-01T12:00:01Z, nor to node n2`)
}

// TestLivenessSaid: a record says what the last heartbeat says, and changes with
// nothing else.
func TestLivenessSaid(t *testing.T) {
	record := testNode("n2")
	record.CertificateKey, record.CPU, record.Memory, record.ModifyIndex = [32]byte{2}, 4, 5, 9
	for _, test := range []struct {
		name string
		hb   Heartbeat
		want func(*Node)
	}{
		{"nothing new", Heartbeat{Version: "v1", Ready: true, CPU: 4, Memory: 5}, func(*Node) {}},
		{"what changes by the second", Heartbeat{Version: "v1", Ready: true, CPU: 4, Memory: 5, Index: 7, Claim: 3, Refusal: "no", CPUPressure: new(float64)}, func(*Node) {}},
		{"another build and machine", Heartbeat{Version: "v2", Ready: true, CPU: 6, Memory: 7}, func(n *Node) { n.Version, n.CPU, n.Memory = "v2", 6, 7 }},
		{"its engine does not tell", Heartbeat{Version: "v1"}, func(n *Node) { n.State, n.Reason = NodeNotReady, "the engine does not answer" }},
		{"its engine says why", Heartbeat{Version: "v1", Reason: "starting"}, func(n *Node) { n.State, n.Reason = NodeNotReady, "starting" }},
		{"its disk is full", Heartbeat{Version: "v1", Ready: true, Fault: "disk full"}, func(n *Node) { n.State, n.Reason = NodeNotReady, "disk full" }},
		{"both", Heartbeat{Version: "v1", Fault: "disk full", Reason: "no engine"}, func(n *Node) { n.State, n.Reason = NodeNotReady, "disk full; no engine" }},
		{"it stops", Heartbeat{Version: "v1", Ready: true, Stopping: true, Fault: "x", Reason: "y"}, func(n *Node) { n.State, n.Reason = NodeNotReady, "jacod is stopping" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newLiveSim(t, "n1")
			test.hb.Node, test.hb.SentAt = "n2", s.now
			s.tracker.Beat(test.hb, s.now)
			want := record
			test.want(&want)
			var wanted []Node
			if want != record {
				wanted = []Node{want}
			}
			if diff := cmp.Diff(wanted, s.tracker.Assess(s.now, []Node{record}).Updates); diff != "" {
				t.Errorf("updates (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLivenessRefusedUpdate: what the log did not take comes again.
func TestLivenessRefusedUpdate(t *testing.T) {
	s := newLiveSim(t, "n1", "n2")
	s.run(time.Second)
	s.says("n2", func(hb *Heartbeat) { hb.Ready = false })
	s.refuse = true
	s.run(500 * time.Millisecond)
	s.refuse = false
	s.run(2 * time.Second)
	s.want(`
		1.1s n2 NotReady: the engine does not answer
		2s n2 NotReady: the engine does not answer`)

	s.says("n2", func(hb *Heartbeat) { hb.Stopping = true })
	s.refuse = true
	s.run(time.Second)
	s.stop("n2")
	s.run(10 * time.Second)
	s.lines = nil
	s.refuse = false
	s.run(time.Second)
	s.want("15s n2 NotReady: jacod is stopping")
}

func TestLivenessSoft(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3")
	s.clock["n2"] = 90 * time.Second
	s.stop("n3")
	s.run(time.Second)
	want := map[string]NodeSoft{
		"n1": {Heartbeat: s.beats["n1"], Age: 500 * time.Millisecond},
		"n2": {Heartbeat: s.beats["n2"], Age: 1400 * time.Millisecond, ClockOffset: 90 * time.Second},
	}
	n1, n2 := want["n1"], want["n2"]
	n1.SentAt, n2.SentAt = start.Add(time.Second), start.Add(tick+90*time.Second)
	want["n1"], want["n2"] = n1, n2
	if diff := cmp.Diff(want, s.tracker.Soft(s.now.Add(500*time.Millisecond))); diff != "" {
		t.Errorf("soft (-want +got):\n%s", diff)
	}
	if got := s.tracker.Soft(start)["n2"].Age; got != 0 {
		t.Errorf("an age of %s", got)
	}
	delete(s.members, "n2")
	s.run(time.Second - tick) // until its next heartbeat
	if got := s.tracker.Soft(s.now); len(got) != 1 {
		t.Errorf("of a removed node it knows %+v", got)
	}
}

func TestLivenessConfig(t *testing.T) {
	config := DefaultLivenessConfig()
	if _, err := NewLiveness(config, start); err == nil {
		t.Error("a tracker without a leader was made")
	}
	config.Self = "n1"
	if _, err := NewLiveness(config, start); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*LivenessConfig){
		"no heartbeat": func(c *LivenessConfig) { c.Heartbeat = 0 },
		"suspect":      func(c *LivenessConfig) { c.Suspect = c.Heartbeat },
		"down":         func(c *LivenessConfig) { c.Down = c.Suspect },
		"alone":        func(c *LivenessConfig) { c.Alone = c.Down - 1 },
		"restart":      func(c *LivenessConfig) { c.Restart = 0 },
		"pause":        func(c *LivenessConfig) { c.MassPause = 0 },
		"clock":        func(c *LivenessConfig) { c.ClockWarning = 0 },
	} {
		wrong := config
		change(&wrong)
		if wrong.Validate() == nil {
			t.Errorf("%s: %+v is taken", name, wrong)
		}
	}
}

// TestLivenessRefuses: what the leader accepted and a node refuses cannot run
// there; what both refuse, or the node has not judged yet, changes nothing.
func TestLivenessRefuses(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3")
	judged := func(node string, claim uint64, refusal string) {
		s.says(node, func(hb *Heartbeat) { hb.Claim, hb.Refusal = claim, refusal })
	}
	s.run(time.Second)
	s.want("")
	judged("n1", 3, "")
	judged("n2", 3, "")
	judged("n3", 3, "wrong-time: back-dated")
	s.run(2 * time.Second)
	judged("n1", 4, "") // n3 has yet to judge that one
	s.run(2 * time.Second)
	judged("n1", 5, "unsigned")
	judged("n3", 5, "unsigned")
	s.run(2 * time.Second)
	s.want(`
		2s n3 NotReady: does not follow the leader
		4s n3 Ready:`)
}
