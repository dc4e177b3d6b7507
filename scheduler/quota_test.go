package scheduler

import (
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// assigned counts what is meant to run of shop/web.
func (m *sim) assigned() (n int) {
	for _, r := range m.replicas {
		if !r.Stop && !r.Phase.Final() {
			n++
		}
	}
	return n
}

// TestFailedReplacementsDoNotPileUp rolls three replicas to a spec that never
// becomes healthy, with a node that goes down on the way: the rollout goes on to
// its end, with never more than one replica above three.
func TestFailedReplacementsDoNotPileUp(t *testing.T) {
	for name, change := range map[string]func(*desired.Update){
		"continue": func(u *desired.Update) { u.FailureAction = desired.Continue },
		"ratio":    func(u *desired.Update) { u.FailureAction, u.MaxFailureRatio = desired.Pause, 1 },
	} {
		for _, f := range []fate{sickens, crashes, falls} {
			t.Run(name+" "+string(f), func(t *testing.T) {
				m := newSim(t, "n1", "n2", "n3", "n4")
				m.accept("shop", svc("web", "v1", 3))
				m.settled(t)
				m.fate["v2-web"] = f
				m.accept("shop", svc("web", "v2", 3, updates(change)))
				most := 0
				for i := range 120 {
					m.round()
					most = max(most, m.assigned())
					if i == 20 {
						m.node("n2", cluster.NodeDown)
					}
				}
				if most > 4 {
					t.Errorf("%d are assigned at a time, at most 4 may be", most)
				}
				for _, r := range m.replicas {
					if r.SpecHash == "v1-web" && !r.Phase.Final() {
						t.Errorf("an old replica is left: %+v", r)
					}
				}
				if got := m.services["shop/web"].Rollout.State; got != cluster.RolloutDone {
					t.Errorf("the rollout is %q", got)
				}
			})
		}
	}
}

// TestRetriedSlotDoesNotHoldUpTheRest: a slot that used up its starts counts as
// failed also while it is started yet again, however long that takes.
func TestRetriedSlotDoesNotHoldUpTheRest(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 3))
	m.settled(t)
	m.accept("shop", svc("web", "v2", 3, updates(func(u *desired.Update) { u.FailureAction = desired.Continue })))
	for range 100 {
		m.plan()
		r := m.get(t, "shop", "web", 1)
		if r.SpecHash == "v2-web" {
			m.fate[r.ID] = crashes
			if r.Attempt >= maxStarts {
				m.fate[r.ID] = hangs
			}
		}
		if second := m.get(t, "shop", "web", 2); second.SpecHash == "v2-web" { // takes longer than the back-off of slot 1
			m.fate[second.ID] = hangs
			if r.Phase == cluster.Running && r.Attempt >= maxStarts {
				delete(m.fate, second.ID)
			}
		}
		m.round()
	}
	if r := m.get(t, "shop", "web", 1); r.Attempt != maxStarts || r.Phase != cluster.Running {
		t.Fatalf("slot 1 does not hang in its fourth start: %+v", r)
	}
	if r := m.get(t, "shop", "web", 3); r.SpecHash != "v2-web" || r.Phase != cluster.Healthy {
		t.Errorf("slot 3 waits for it: %+v", r)
	}
}

// TestLowerLimit lowers what an update may do at a time in the midst of it: what
// is too much goes, and the rollout comes to its end within the new limit.
func TestLowerLimit(t *testing.T) {
	for name, change := range map[string]func(*desired.Service){
		"parallelism": updates(func(u *desired.Update) { u.Parallelism = 1 }),
		"stop first":  stopFirst,
	} {
		t.Run(name, func(t *testing.T) {
			m := newSim(t, "n1", "n2", "n3")
			m.accept("shop", svc("web", "v1", 3))
			m.settled(t)
			m.accept("shop", svc("web", "v2", 3, updates(func(u *desired.Update) { u.Parallelism = 3 })))
			m.plan()
			if m.assigned() != 6 {
				t.Fatalf("%d are assigned, not 6", m.assigned())
			}
			spec := svc("web", "v2", 3, change)
			m.accept("shop", spec)
			limit := cluster.LimitOf(&spec).Replicas
			for m.services["shop/web"].Rollout.State != cluster.RolloutDone {
				r, busy := m.round()
				if m.assigned() > limit {
					t.Fatalf("%d are assigned, at most %d may be:\n%s", m.assigned(), limit, r)
				}
				if !busy {
					t.Fatalf("the rollout stands still: %s", r)
				}
			}
		})
	}
}

// TestStopFirstRetry: a replacement that ended beside its old replica is not
// started beside it again once the update stops first.
func TestStopFirstRetry(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 1))
	m.settled(t)
	m.accept("shop", svc("web", "v2", 1))
	m.plan()
	m.report(m.get(t, "shop", "web", 1), cluster.Failed, "no such image", 0)
	m.accept("shop", svc("web", "v2", 1, stopFirst))
	for m.services["shop/web"].Rollout.State != cluster.RolloutDone {
		r, busy := m.round()
		if m.assigned() > 1 || !busy {
			t.Fatalf("%d are assigned, busy %t:\n%s", m.assigned(), busy, r)
		}
	}
}

// TestSickBeforeTheRollout goes back to a spec whose replica is ill, from one
// that replaced it in another slot: illness from before is no verdict, so the
// replica is tried anew while the one that serves stays.
func TestSickBeforeTheRollout(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 1))
	m.settled(t)
	m.accept("shop", svc("web", "v2", 1))
	m.plan()
	second := m.get(t, "shop", "web", 1)
	m.report(second, cluster.Running, "", 0)
	for _, r := range m.replicas {
		if r.SpecHash == "v1-web" {
			m.report(r, cluster.Unhealthy, "connection refused", 0)
		}
	}
	m.accept("shop", svc("web", "v1", 1))
	m.plan()
	if second.Stop {
		t.Fatal("the one that serves is stopped for one that is ill")
	}
	m.settled(t)
	if r := m.get(t, "shop", "web", 1); r.SpecHash != "v1-web" || r.Serial <= second.Serial || r.Phase != cluster.Healthy {
		t.Errorf("it was not tried anew: %+v", r)
	}
}

// TestOverLimitWaits lowers the parallelism while three replacements are to be
// retried: one is, and the reason says what the others wait for.
func TestOverLimitWaits(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 3))
	m.settled(t)
	m.accept("shop", svc("web", "v2", 3, updates(func(u *desired.Update) { u.Parallelism = 0 })))
	m.plan()
	for slot := 1; slot <= 3; slot++ {
		m.report(m.get(t, "shop", "web", slot), cluster.Failed, "no such image", 0)
	}
	m.accept("shop", svc("web", "v2", 3))
	m.now = m.now.Add(time.Minute)
	m.plan()
	if m.assigned() != 4 {
		t.Errorf("%d are assigned, not 4", m.assigned())
	}
	if got, want := m.services["shop/web"].Reason, "slot 2 waits for other replicas to end: 4 of at most 4 are assigned"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	m.settled(t)
	if got := m.services["shop/web"]; got.Rollout.State != cluster.RolloutDone || got.Reason != "" {
		t.Errorf("it does not go on: %+v", got)
	}
}

// TestEmptySlotKeepsItsPlace: a slot that waits to be started again keeps its
// place while others have more replacements than a later commit allows.
func TestEmptySlotKeepsItsPlace(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 3))
	m.settled(t)
	m.fate["v2-web"] = hangs
	m.accept("shop", svc("web", "v2", 3, updates(func(u *desired.Update) { u.Parallelism = 2 })))
	m.settled(t)
	m.accept("shop", svc("web", "v2", 3))
	m.report(m.get(t, "shop", "web", 3), cluster.Failed, "killed", 137)
	m.settled(t)
	if r := m.get(t, "shop", "web", 3); r.Phase != cluster.Running || m.assigned() != 4 {
		t.Errorf("%d are assigned, slot 3 has %+v, %q", m.assigned(), r, m.services["shop/web"].Reason)
	}
}

// TestRetryLeavesRoomForAnEmptySlot: slots that have something to run do not
// take the place of one that has nothing and waits to be started again.
func TestRetryLeavesRoomForAnEmptySlot(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	slow := restarts(desired.Restart{Condition: desired.RestartAny, Delay: time.Hour})
	m.accept("shop", svc("web", "v1", 3))
	m.settled(t)
	m.accept("shop", svc("web", "v2", 3, slow, updates(func(u *desired.Update) { u.Parallelism = 0 })))
	m.plan()
	third := m.get(t, "shop", "web", 3)
	m.report(third, cluster.Healthy, "", 0)
	for slot := 1; slot <= 2; slot++ {
		m.report(m.get(t, "shop", "web", slot), cluster.Failed, "no such image", 0)
	}
	m.settle(3) // the old one of slot 3 is gone
	m.now = epoch.Add(30 * time.Minute)
	m.report(third, cluster.Failed, "killed", 137)
	m.accept("shop", svc("web", "v2", 3, slow))
	m.now = epoch.Add(70 * time.Minute)
	m.plan()
	if got, want := m.services["shop/web"].Reason, "slot 2 waits for others: 1 of at most 1 are being replaced"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	if m.assigned() != 3 {
		t.Errorf("%d are assigned, slot 3 has no room", m.assigned())
	}
}

// TestExtraOfASlotThatWaits: one too many is stopped in a slot that waits for
// its node, too, or it would take the place of another slot.
func TestExtraOfASlotThatWaits(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 1, volume("data")))
	m.settled(t)
	first := m.get(t, "shop", "web", 1)
	extra := *first
	extra.ID, extra.Serial = "extra", first.Serial+1
	m.replicas[extra.ID] = &extra
	m.node(first.Node, cluster.NodeDown)
	m.settled(t)
	if m.assigned() != 1 || first.Stop || first.Phase.Final() {
		t.Errorf("%d are assigned, the first is %+v", m.assigned(), first)
	}
	m.node(first.Node, cluster.NodeReady)
	m.settled(t)
	if m.assigned() != 1 || m.get(t, "shop", "web", 1).Node != first.Node {
		t.Errorf("%d are assigned, the newest is %+v", m.assigned(), m.get(t, "shop", "web", 1))
	}
}
