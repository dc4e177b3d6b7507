package consensus

import (
	"log/slog"
	"slices"
	"testing"
	"time"
)

// BenchmarkFailover takes the time from the death of a leader, whose
// connections break, until another one has committed a write, with the default
// timers. Use -benchtime=20x or so: an operation is one death.
func BenchmarkFailover(b *testing.B) {
	r := newRig(b, 3)
	r.logger = slog.New(slog.DiscardHandler)
	r.bootstrap()
	leader := r.leader()
	written := "0"
	leader.mustPropose(written)
	var took []time.Duration
	for b.Loop() {
		for _, n := range r.nodes {
			n.state.waitFor(b, written)
		}
		begun := time.Now()
		leader.isolate()
		next := r.leader(r.others(leader)...)
		next.mustPropose("1")
		took = append(took, time.Since(begun))
		written += " 1"
		leader.heal()
		leader = next
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-max")
	b.ReportMetric(0, "ns/op") // the waiting for the old leader is in there
}
