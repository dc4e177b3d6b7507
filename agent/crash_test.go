package agent

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// TestKilledAnywhere kills the agent at random moments while replicas come, go,
// crash and the engine goes away, and checks after each quiet spell that every
// assignment has exactly what it should have: none doubled, lost or started
// twice (the fake engine itself notes two running containers of one replica).
func TestKilledAnywhere(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inWorld(t, "", func(w *world) {
				s := &storm{world: w, rnd: rand.New(rand.NewPCG(seed, 0))}
				w.state.accept(accepted(rev1, shop("1", 50), nil))
				for range 8 {
					s.round()
				}
			})
		})
	}
}

// storm is one random history.
type storm struct {
	*world
	rnd    *rand.Rand
	serial int
	live   []string // replicas that are to run
	ended  []string // replicas that were told to stop or died
}

func (s *storm) round() {
	for range 1 + s.rnd.IntN(5) {
		s.disturb()
		s.pass(time.Duration(s.rnd.IntN(300)) * time.Millisecond)
	}
	if s.kill == nil {
		s.start()
	}
	s.engine.set("engine is up", func() { s.engine.down = false })
	s.pass(30 * time.Second)
	s.check()
}

// disturb does one thing to the world.
func (s *storm) disturb() {
	switch s.rnd.IntN(7) {
	case 0, 1:
		s.serial++
		id := fmt.Sprintf("r%03d", s.serial)
		r := replica(id, cluster.Assigned)
		r.Slot, r.CreateIndex = s.serial, uint64(s.serial)
		s.live = append(s.live, id)
		s.state.assign(r)
	case 2:
		if len(s.live) > 0 {
			i := s.rnd.IntN(len(s.live))
			s.state.stop(s.live[i])
			s.ended = append(s.ended, s.live[i])
			s.live = append(s.live[:i], s.live[i+1:]...)
		}
	case 3, 4:
		if s.kill != nil {
			s.kill()
		} else {
			s.start()
		}
	case 5:
		s.engine.set("engine goes away or comes back", func() {
			s.engine.down = !s.engine.down
			s.engine.cutStreamsLocked()
		})
	case 6:
		s.engine.set("the stream is cut", func() { s.engine.cutStreamsLocked() })
	}
	synctest.Wait()
}

// check compares what is recorded with what is there.
func (s *storm) check() {
	s.t.Helper()
	running := map[string]int{}
	s.engine.mu.Lock()
	for _, c := range s.engine.containers {
		running[c.Labels[LabelReplica]]++
		if c.Status != StatusRunning {
			s.t.Errorf("container %s is %s after a quiet spell", c.ID, c.Status)
		}
	}
	for id, n := range s.engine.began {
		if n > 1 {
			s.t.Errorf("the process of replica %s began %d times", id, n)
		}
	}
	s.engine.mu.Unlock()
	for _, id := range s.live {
		r := s.state.get(id)
		if r.Phase != cluster.Running || running[id] != 1 {
			s.t.Errorf("replica %s is %s (%s) with %d containers, want it to run in one", id, r.Phase, r.Reason, running[id])
		}
	}
	for _, id := range s.ended {
		if r := s.state.get(id); r.Phase != cluster.Stopped || running[id] != 0 {
			s.t.Errorf("replica %s is %s (%s) with %d containers, want it stopped without one", id, r.Phase, r.Reason, running[id])
		}
	}
	if s.t.Failed() {
		s.t.Log("\n" + s.log.String())
		s.t.FailNow()
	}
}
