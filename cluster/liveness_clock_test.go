package cluster

import (
	"testing"
	"time"
)

// TestLivenessClock: a clock that is off is named once, the node stays usable,
// and what its clock does by the second writes nothing.
func TestLivenessClock(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3", "n4")
	s.clock["n2"], s.clock["n3"] = 4900*time.Millisecond, time.Hour
	s.run(10 * time.Second)
	s.want(`
		3.2s n3 Ready: its clock is 1h0m0s ahead of the other nodes': see that it is synchronised
		3.2s clock-off node n3: its clock is 1h0m0s ahead of the other nodes': see that it is synchronised`)
	for range 30 { // it drifts by 3 s
		s.clock["n3"] += tick
		s.run(time.Second)
	}
	s.want("")
	s.says("n3", func(hb *Heartbeat) { hb.Ready = false })
	s.clock["n3"] = -9 * time.Second
	s.run(5 * time.Second)
	s.want(`
		40.2s n3 NotReady: the engine does not answer; its clock is 1h0m0s ahead of the other nodes': see that it is synchronised
		43.2s n3 NotReady: the engine does not answer; its clock is 9s behind the other nodes': see that it is synchronised`)
	s.says("n3", func(hb *Heartbeat) { hb.Ready = true })
	s.clock["n3"] = -4900 * time.Millisecond // what was named stays so
	s.run(5 * time.Second)
	s.want(`45.2s n3 Ready: its clock is 9s behind the other nodes': see that it is synchronised`)
	s.clock["n3"] = -3900 * time.Millisecond
	s.run(5 * time.Second)
	s.want(`53.2s n3 Ready:`)
	s.clock["n3"] = -4900 * time.Millisecond // what was not named stays so too
	s.run(5 * time.Second)
	s.want("")
	s.clock["n3"] = -time.Minute
	s.run(2 * time.Second)
	s.clock["n3"] = 0 // a moment is no difference
	s.run(5 * time.Second)
	s.want("")
	s.clock["n3"] = -time.Minute
	s.run(5 * time.Second)
	s.want(`
		1m10.2s n3 Ready: its clock is 1m0s behind the other nodes': see that it is synchronised
		1m10.2s clock-off node n3: its clock is 1m0s behind the other nodes': see that it is synchronised`)
}

// TestLivenessClockOfTheLeader: where most clocks agree, the leader's own may be
// the one that is off.
func TestLivenessClockOfTheLeader(t *testing.T) {
	s := newLiveSim(t, "n1", "n2", "n3")
	s.clock["n2"], s.clock["n3"] = time.Hour, time.Hour+time.Second
	s.run(10 * time.Second)
	s.want(`
		4s n1 Ready: its clock is 1h0m0s behind the other nodes': see that it is synchronised
		4s clock-off node n1: its clock is 1h0m0s behind the other nodes': see that it is synchronised`)
	s.term() // the text is taken over, and the event not repeated
	s.run(10 * time.Second)
	s.want("")
	s.clock["n2"], s.clock["n3"] = 0, 0 // it is set; the others are heard one after the other
	s.run(10 * time.Second)
	s.want("23.1s n1 Ready:")

	two := newLiveSim(t, "n1", "n2")
	two.clock["n2"] = -time.Hour
	two.run(4 * time.Second)
	two.want(`
		4s n2 Ready: its clock is 1h0m0s behind the other nodes': see that it is synchronised
		4s clock-off node n2: its clock is 1h0m0s behind the other nodes': see that it is synchronised`)
}

func TestMiddle(t *testing.T) {
	for _, test := range []struct {
		offsets []time.Duration
		want    time.Duration
	}{
		{nil, 0},
		{[]time.Duration{7}, 7},
		{[]time.Duration{9, 0}, 0},
		{[]time.Duration{0, -9}, 0},
		{[]time.Duration{9, 0, 8}, 8},
		{[]time.Duration{9, 0, 0, 9}, 0},
		{[]time.Duration{-9, 0, 9, -9, -9}, -9},
	} {
		if got := middle(test.offsets); got != test.want {
			t.Errorf("middle of %v is %d, want %d", test.offsets, got, test.want)
		}
	}
}
