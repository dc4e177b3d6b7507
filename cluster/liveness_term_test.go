package cluster

import (
	"testing"
	"time"
)

// TestLivenessNewTerm: nobody is suspected before it had time to be heard, and
// what an earlier leader wrote stays until it is known better.
func TestLivenessNewTerm(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3", "n4", "n5", "n6", "n7")
	for node, state := range map[string]Node{
		"n3": {State: NodeSuspect, Reason: "no heartbeat since 11:59"},
		"n4": {State: NodeDown, Reason: "does not answer since yesterday"},
		"n5": {State: NodeNotReady, Reason: "jacod is stopping"},
		"n6": {State: NodeSuspect, Reason: "no heartbeat since 11:58"},
	} {
		n := s.members[node]
		n.State, n.Reason = state.State, state.Reason
		s.members[node] = n
	}
	s.stop("n3", "n4", "n5", "n7")
	s.term()
	s.run(70 * time.Second)
	s.want(`
		500ms n6 Ready:
		3s n7 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		6s n3 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n2
		6s n7 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n2
		1m0s pause until 1m6s
		1m0s n5 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		1m0.2s pause until 2m0.2s
		1m0.2s n5 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n2
		1m0.2s mass-loss nodes n3, n5, n7, of 7, went down at once: their replicas stay where they are until 2026-03-01T12:02:00Z`)
}

// TestLivenessLeaderSlept: a silence that the leader did not listen to is none.
func TestLivenessLeaderSlept(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3")
	s.run(time.Second)
	s.frozen = true
	s.run(30 * time.Second)
	s.frozen = false
	s.stop("n3")
	s.run(20 * time.Second)
	s.want(`
		34.1s n3 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		37.1s n3 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n2`)
	s.frozen = true
	s.run(30 * time.Second)
	s.frozen = false
	s.run(20 * time.Second)
	s.want("") // and does not bring back the dead

	s = newLiveSim(t, "n1", "n2", "n3")
	s.run(time.Second)
	s.stop("n3")
	s.run(1500 * time.Millisecond)
	s.frozen = true // for a moment, which is no sleep
	s.run(2 * time.Second)
	s.frozen = false
	s.run(5 * time.Second)
	s.want(`
		4.6s n3 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		6.2s n3 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n2`)
}

// TestLivenessFirstAssessment: silence counts from the begin of the term,
// whenever its loop comes to look at the members.
func TestLivenessFirstAssessment(t *testing.T) {
	s := newLiveSim(t, "n1", "n2")
	tracker, err := NewLiveness(s.config, s.now)
	if err != nil {
		t.Fatal(err)
	}
	s.tracker, s.now = tracker, s.now.Add(2*time.Second)
	s.assess()
	s.stop("n2")
	s.run(2 * time.Second)
	s.want("3s n2 Suspect: no heartbeat since 2026-03-01T12:00:00Z")
}

// TestLivenessInTime: it asks to be called at each limit, also where nothing
// else happens then.
func TestLivenessInTime(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3")
	s.config.Down = 6500 * time.Millisecond
	s.term()
	s.stop("n1", "n3")
	s.run(10 * time.Second)
	s.want(`
		3s n3 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		6.5s n3 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n2`)
	alone := newLiveSim(t, "n1")
	if !alone.next.IsZero() {
		t.Errorf("with nobody else it wants to be called at %s", alone.next)
	}
}

// TestLivenessLeaderItself: the leader goes by its own heartbeats, and is never
// suspected for the lack of them.
func TestLivenessLeaderItself(t *testing.T) {
	s := newLiveSim(t, "n1", "n2")
	n := s.members["n1"]
	n.State, n.Reason = NodeDown, "of the term before"
	s.put(n)
	s.stop("n1")
	s.run(30 * time.Second)
	s.want("")
	s.start("n1")
	s.run(time.Second)
	s.stop("n1")
	s.run(30 * time.Second)
	s.want("31s n1 Ready:")
}

// TestLivenessJoins: a node that has just joined has a minute to be heard; so
// has another machine that takes the name of one that is down.
func TestLivenessJoins(t *testing.T) {
	s := newLiveSim(t, "n1", "n2")
	s.run(time.Second)
	joined := testNode("n3")
	joined.State, joined.Reason, joined.CertificateKey = NodeNotReady, "joining", [32]byte{3}
	s.put(joined)
	s.stop("n3")
	s.beats["n3"] = Heartbeat{Node: "n3", Ready: true}
	s.run(70 * time.Second)
	s.want(`
		1m1.1s n3 Suspect: no heartbeat since 2026-03-01T12:00:01Z
		1m1.3s n3 Down: does not answer since 2026-03-01T12:00:01Z, nor to node n2`)

	joined.CertificateKey = [32]byte{4}
	s.put(joined)
	s.run(10 * time.Second)
	s.start("n3")
	s.run(time.Second)
	s.stop("n3")
	delete(s.members, "n2") // a removed node is not asked, and is nobody's concern
	s.run(12 * time.Second)
	s.want(`
		1m21.2s n3 Ready:
		1m24.2s n3 Suspect: no heartbeat since 2026-03-01T12:01:21Z
		1m31.2s n3 Down: does not answer since 2026-03-01T12:01:21Z; no second node is left to ask`)
}
