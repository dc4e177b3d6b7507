package cluster

import (
	"testing"
	"time"
)

// TestLivenessMassLoss: when many go at once nothing is to be moved, from the
// first one on, although they go down one after the other.
func TestLivenessMassLoss(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3", "n4", "n5")
	s.run(time.Second)
	s.stop("n2", "n4")
	s.run(70 * time.Second)
	s.want(`
		3.1s n2 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		3.3s n4 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		6.1s pause until 1m6.1s
		6.1s n2 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n3
		6.3s pause until 1m6.3s
		6.3s n4 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n3
		6.3s mass-loss nodes n2, n4, of 5, went down at once: their replicas stay where they are until 2026-03-01T12:01:06Z
		1m6.3s the pause is over`)
	s.stop("n3") // long after the others: a loss of its own
	s.run(20 * time.Second)
	s.want(`
		1m13.2s n3 Suspect: no heartbeat since 2026-03-01T12:01:10Z
		1m16.2s n3 Down: does not answer since 2026-03-01T12:01:10Z, nor to node n5`)
}

// TestLivenessMassLossAvoided: who was only silent for a moment does not hold
// back the others, and neither does a node that another one reaches.
func TestLivenessMassLossAvoided(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3", "n4", "n5")
	s.run(time.Second)
	s.stop("n2", "n4")
	s.run(5500 * time.Millisecond)
	s.start("n4")
	s.run(10 * time.Second)
	s.want(`
		3.1s n2 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		3.3s n4 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		6.1s pause until 1m6.1s
		6.1s n2 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n3
		6.3s pause until 1m6.3s
		6.3s n4 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n3
		6.3s mass-loss nodes n2, n4, of 5, went down at once: their replicas stay where they are until 2026-03-01T12:01:06Z
		7.3s n4 Ready:`)

	s = newLiveSim(t, "n1", "n2", "n3", "n4", "n5")
	s.run(time.Second)
	s.stop("n2", "n4")
	s.run(5200 * time.Millisecond)
	s.start("n4") // heard at 6.3 s
	s.run(10 * time.Second)
	s.want(`
		3.1s n2 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		3.3s n4 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		6.1s pause until 1m6.1s
		6.1s n2 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n3
		6.3s the pause is over
		6.3s n4 Ready:`)

	s = newLiveSim(t, "n1", "n2", "n3", "n4", "n5")
	s.run(time.Second)
	s.stop("n2", "n4")
	s.opinions = func(p Probe) (bool, bool) { return p.Node == "n4", true }
	s.run(10 * time.Second)
	s.want(`
		3.1s n2 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		3.3s n4 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		3.5s n4 Suspect: node n3 reaches it, the leader does not: look at the network between the two
		6.1s n2 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n3`)
}

// TestLivenessMassLossBounds: a third is not more than a third, and one is not
// two.
func TestLivenessMassLossBounds(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3", "n4", "n5", "n6")
	s.run(time.Second)
	s.stop("n2", "n4")
	s.run(20 * time.Second)
	s.want(`
		3.1s n2 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		3.3s n4 Suspect: no heartbeat since 2026-03-01T12:00:00Z
		6.1s n2 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n3
		6.3s n4 Down: does not answer since 2026-03-01T12:00:00Z, nor to node n3`)
	s.stop("n5") // the third within a minute
	s.run(10 * time.Second)
	s.want(`
		23.4s pause until 1m6.3s
		23.4s n5 Suspect: no heartbeat since 2026-03-01T12:00:20Z
		26.4s pause until 1m26.4s
		26.4s n5 Down: does not answer since 2026-03-01T12:00:20Z, nor to node n3
		26.4s mass-loss nodes n2, n4, n5, of 6, went down at once: their replicas stay where they are until 2026-03-01T12:01:26Z`)
	s.start("n2", "n4", "n5") // all are back: there is nothing to hold
	s.run(5 * time.Second)
	s.want(`
		31.1s n2 Ready:
		31.3s n4 Ready:
		31.4s the pause is over
		31.4s n5 Ready:`)
	s.stop("n3") // and what follows is a loss of its own
	s.run(10 * time.Second)
	s.want(`
		38.2s n3 Suspect: no heartbeat since 2026-03-01T12:00:35Z
		41.2s n3 Down: does not answer since 2026-03-01T12:00:35Z, nor to node n2`)
}

// TestLivenessMassLossSurvivesTheLeader: a new leader goes by what is recorded,
// and says nothing twice.
func TestLivenessMassLossSurvivesTheLeader(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3", "n4", "n5")
	s.run(time.Second)
	s.stop("n2", "n4")
	s.run(10 * time.Second)
	s.lines = nil
	s.term()
	s.run(60 * time.Second)
	s.want(`
		11s pause until 1m6.3s
		1m6.3s the pause is over`)

	for _, name := range []string{"n2", "n4"} { // a leader whose clock is an hour ahead wrote this
		n := s.members[name]
		n.Since = s.now.Add(time.Hour)
		s.members[name] = n
	}
	s.term()
	s.run(61 * time.Second)
	s.want(`
		1m11s pause until 2m11s
		2m11s the pause is over`)
}
