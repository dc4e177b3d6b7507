package scheduler

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// stamp gives what an action made the raft indexes that the log would have
// given it.
func (m *sim) stamp() {
	for _, a := range m.view.Deployments {
		if a.ClaimIndex == 0 {
			m.index++
			a.ClaimIndex = m.index
			m.view.ClaimIndex = m.index
		}
	}
	for _, r := range m.replicas {
		if r.CreateIndex == 0 {
			m.index++
			r.CreateIndex = m.index
		}
	}
}

// checkLimits lets every service be judged as the agents judge it.
func (m *sim) checkLimits(t failer) {
	of := map[cluster.ServiceKey][]cluster.Replica{}
	for _, r := range m.replicas {
		key := cluster.ServiceKey{Deployment: r.Deployment, Service: r.Service}
		of[key] = append(of[key], *r)
	}
	for key, replicas := range of {
		slices.SortFunc(replicas, func(a, b cluster.Replica) int { return cmp.Compare(a.CreateIndex, b.CreateIndex) })
		if _, wrong := m.view.Excess(key.Deployment, key.Service, replicas); len(wrong) > 0 {
			t.Fatalf("honest assignments of %v would be refused: %v, limits %+v, known from %d\n%+v", key, wrong,
				m.view.Limits(key.Deployment, key.Service), m.view.KnownFrom(key.Deployment), replicas)
		}
	}
}

// TestHonestPlansKeepTheLimits treats a cluster at random: what the scheduler
// plans is never more than an agent takes from a leader.
func TestHonestPlansKeepTheLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"n1", "n2", "n3", "n4"}
		w := &world{sim: newSim(t, names[:rapid.IntRange(1, 4).Draw(t, "nodes")]...), surge: map[string]int{}}
		actions := w.actions()
		retire, check := actions["retire"], actions[""]
		for name, action := range actions {
			actions[name] = func(t *rapid.T) {
				action(t)
				w.stamp()
			}
		}
		actions["retire"] = func(t *rapid.T) {
			retire(t)
			w.index++
			w.view.ClaimIndex = w.index
		}
		actions[""] = func(t *rapid.T) {
			check(t)
			w.stamp()
			w.checkLimits(t)
		}
		t.Repeat(actions)
	})
}

// TestLimitsHoldThroughRollouts rolls services of every kind, good and bad, and
// looks after every plan.
func TestLimitsHoldThroughRollouts(t *testing.T) {
	for name, shape := range map[string]func(*desired.Service){
		"one at a time":   func(*desired.Service) {},
		"all at once":     updates(func(u *desired.Update) { u.Parallelism = 0 }),
		"two, tolerant":   updates(func(u *desired.Update) { u.Parallelism, u.MaxFailureRatio = 2, 0.5 }),
		"goes on anyway":  updates(func(u *desired.Update) { u.FailureAction = desired.Continue }),
		"one, tolerant":   updates(func(u *desired.Update) { u.MaxFailureRatio = 0.5 }),
		"stop first":      stopFirst,
		"with a port":     hostPort(80),
		"with a volume":   volume("data"),
		"on each node":    global,
		"without a check": noCheck,
	} {
		for _, f := range []fate{"", crashes, sickens, falls, hangs} {
			t.Run(name+" "+string(f), func(t *testing.T) {
				m := newSim(t, "n1", "n2", "n3", "n4")
				for i, replicas := range []int{3, 3, 5, 2, 4} {
					version := string(rune('a' + i))
					m.accept("shop", svc("web", version, replicas, shape))
					if i%2 == 1 {
						m.fate[version+"-web"] = f
					}
					for range 60 {
						m.round()
						m.stamp()
						m.checkLimits(t)
					}
				}
			})
		}
	}
}
