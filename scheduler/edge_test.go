package scheduler

import (
	"testing"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// TestStartFirstOnFullNodes rolls where every node holds as many as it may: two
// in one slot are one.
func TestStartFirstOnFullNodes(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 2, maxPerNode(1)))
	m.settled(t)
	rev := m.accept("shop", svc("web", "v2", 2, maxPerNode(1)))
	m.settled(t)
	if m.statuses["shop"].Converged != rev {
		t.Errorf("reason %q", m.services["shop/web"].Reason)
	}
}

// TestStopFirstCountsWhatServes stops nothing that serves while another one
// does not and cannot be replaced.
func TestStopFirstCountsWhatServes(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 3, stopFirst))
	m.settled(t)
	m.report(m.get(t, "shop", "web", 2), cluster.Unhealthy, "", 0)
	m.node("n2", cluster.NodeNotReady)
	m.accept("shop", svc("web", "v2", 3, stopFirst))
	if r := m.plan(); len(r.Plan.Stop) > 0 {
		t.Errorf("one of the two that serve is stopped: %s", r)
	}
	m.node("n2", cluster.NodeReady)
	r := m.plan()
	if len(r.Plan.Stop) != 1 || r.Plan.Stop[0] != m.get(t, "shop", "web", 2).ID {
		t.Errorf("the one that does not serve is not the first: %s", r)
	}
}

// TestSickFirst begins a rollout with the slot that does not serve.
func TestSickFirst(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 3))
	m.settled(t)
	m.report(m.get(t, "shop", "web", 3), cluster.Unhealthy, "", 0)
	m.accept("shop", svc("web", "v2", 3))
	if got := placed(m.plan()); got != "web.3@n3" {
		t.Errorf("placed %q", got)
	}
}

// TestStopFirstRestsOnOthers makes a stop void when another replica changes.
func TestStopFirstRestsOnOthers(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 3, stopFirst))
	m.settled(t)
	m.accept("shop", svc("web", "v2", 3, stopFirst))
	plan := Compute(m.input()).Plan
	m.report(m.get(t, "shop", "web", 3), cluster.Unhealthy, "", 0)
	if err := m.apply(plan); err == nil {
		t.Error("a replica is stopped while another fell ill")
	}
}

// TestPauseStopsWhatIsUnderWay pauses with a second replacement on its way.
func TestPauseStopsWhatIsUnderWay(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 3))
	m.settled(t)
	m.fate["v2-web"] = hangs
	m.accept("shop", svc("web", "v2", 3, updates(func(u *desired.Update) { u.Parallelism = 2 })))
	m.settled(t)
	if n := len(m.replicas); n != 5 {
		t.Fatalf("%d replicas, want 2 under way", n)
	}
	m.report(m.get(t, "shop", "web", 1), cluster.Unhealthy, "connection refused", 0)
	delete(m.fate, "v2-web")
	m.fate[m.get(t, "shop", "web", 1).ID] = sickens
	m.fate[m.get(t, "shop", "web", 2).ID] = hangs
	m.settled(t)
	for _, r := range m.replicas {
		if r.SpecHash != "v1-web" || r.Phase != cluster.Healthy {
			t.Errorf("slot %d holds %s, %s", r.Slot, r.SpecHash, r.Phase)
		}
	}
}

// TestWorkDoneReplacesWhatRan lets the new spec end well before the old
// replica was stopped.
func TestWorkDoneReplacesWhatRan(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("job", "v1", 1, noCheck))
	m.settled(t)
	m.fate["v2-job"] = succeedsF
	rev := m.accept("shop", svc("job", "v2", 1, noCheck, restarts(desired.Restart{Condition: desired.RestartOnFailure})))
	m.settled(t)
	if r := m.get(t, "shop", "job", 1); len(m.replicas) != 1 || r.Serial != 2 || m.statuses["shop"].Converged != rev {
		t.Errorf("%d replicas, the last is #%d, %+v", len(m.replicas), r.Serial, m.services["shop/job"])
	}
}

// TestOneTooMany keeps the better of two replicas that share a slot.
func TestOneTooMany(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 1))
	m.settled(t)
	twin := *m.get(t, "shop", "web", 1)
	older := m.get(t, "shop", "web", 1)
	m.report(older, cluster.Unhealthy, "", 0)
	m.fate[older.ID] = sickens
	twin.ID, twin.Serial, twin.Node = "twintwintwin", 9, "n2"
	m.replicas[twin.ID] = &twin
	m.settled(t)
	if len(m.replicas) != 1 || m.replicas[twin.ID] == nil {
		t.Error("not the healthy one of two is kept")
	}
	if got := m.services["shop/web"].NextSerial; got != 10 {
		t.Errorf("next serial %d, want one above all", got)
	}
}

// TestTwoInOneSlot notices that a slot is empty although the numbers add up.
func TestTwoInOneSlot(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 2))
	m.settled(t)
	m.get(t, "shop", "web", 2).Slot = 1
	m.settled(t)
	if a, b := m.get(t, "shop", "web", 1), m.get(t, "shop", "web", 2); len(m.replicas) != 2 || a.Serial != 1 || b.Serial != 3 {
		t.Errorf("slot 1 has #%d, slot 2 has #%d", a.Serial, b.Serial)
	}
}

// TestOptionalDependency does not wait for what is not required.
func TestOptionalDependency(t *testing.T) {
	m := newSim(t, "n1")
	web := svc("web", "v1", 1, needs("db", desired.Healthy))
	web.DependsOn[0].Required = false
	m.fate["v1-db"] = hangs
	m.accept("shop", svc("db", "v1", 1), web)
	if got := placed(m.plan()); got != "db.1@n1 web.1@n1" {
		t.Errorf("placed %q", got)
	}
}

// TestRetiredServiceHoldsUpConvergence converges when what was taken out of a
// deployment is gone.
func TestRetiredServiceHoldsUpConvergence(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 1), svc("old", "v1", 1))
	m.settled(t)
	rev := m.accept("shop", svc("web", "v1", 1))
	if m.plan(); m.statuses["shop"].Converged == rev {
		t.Error("converged while a retired service runs")
	}
	m.settled(t)
	if m.statuses["shop"].Converged != rev {
		t.Error("never converged")
	}
}

// TestSurplusHoldsUpConvergence does so while scaling down is not done, and
// TestMonitorHoldsUpConvergence while a new replica is being watched.
func TestSurplusHoldsUpConvergence(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 2))
	m.settled(t)
	rev := m.accept("shop", svc("web", "v1", 1))
	if m.plan(); m.statuses["shop"].Converged == rev {
		t.Error("converged while a surplus replica runs")
	}
}

func TestMonitorHoldsUpConvergence(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 1, noCheck, stopFirst))
	m.settled(t)
	rev := m.accept("shop", svc("web", "v2", 1, noCheck, stopFirst))
	for m.get(t, "shop", "web", 1).SpecHash != "v2-web" || m.get(t, "shop", "web", 1).Phase != cluster.Running {
		m.round()
	}
	if m.plan(); m.statuses["shop"].Converged == rev {
		t.Error("converged before the monitor period is over")
	}
	m.settled(t)
	if m.statuses["shop"].Converged != rev {
		t.Error("never converged")
	}
}

// TestPinnedSlotDoesNotHinderOthers places a new slot of a service while one
// of its slots waits for the node of its volume.
func TestPinnedSlotDoesNotHinderOthers(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("db", "v1", 1, volume("data")))
	m.settled(t)
	m.node("n1", cluster.NodeNotReady)
	m.report(m.get(t, "shop", "db", 1), cluster.Failed, "killed", 137)
	m.accept("shop", svc("db", "v1", 2, volume("data")))
	if got := placed(m.plan()); got != "db.2@n2" {
		t.Errorf("placed %q", got)
	}
}

// TestUnknownSpecHoldsItsPort takes a replica whose spec the view has dropped
// for one like the present spec.
func TestUnknownSpecHoldsItsPort(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 1, hostPort(80)))
	m.settled(t)
	m.fate["v1-db"] = hangs
	web := func(v string) desired.Service { return svc("web", v, 1, hostPort(80), needs("db", desired.Healthy)) }
	m.accept("shop", svc("db", "v1", 1), web("v2"))
	m.settled(t)
	m.accept("shop", svc("db", "v1", 1), web("v3"), svc("api", "v1", 1, hostPort(80)))
	m.settled(t)
	if got, want := m.services["shop/api"].Reason, "no node: 1 host port 80/tcp taken"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}

// TestResumeDoesNotWait starts a slot in back-off at once when a commit asks
// for another try.
func TestResumeDoesNotWait(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 1, stopFirst))
	m.settled(t)
	m.fate["v2-web"] = crashes
	for range 2 { // the second try has no spec to fall back to
		m.accept("shop", svc("web", "v2", 1, stopFirst))
		m.settle(60)
	}
	last := m.get(t, "shop", "web", 1)
	if last.SpecHash != "v2-web" || last.Attempt < maxStarts {
		t.Fatalf("it does not go on trying: %+v", last)
	}
	for !last.Phase.Final() {
		m.advance(last)
	}
	m.accept("shop", svc("web", "v2", 1, stopFirst))
	m.plan()
	if r := m.get(t, "shop", "web", 1); r.Serial != last.Serial+1 || r.Attempt != 0 {
		t.Errorf("the slot waits: %+v", r)
	}
}

// TestWantedAgainWhileStopping takes scaling down back before it is done: the
// deployment is whole only once the slot is filled anew.
func TestWantedAgainWhileStopping(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 2))
	m.settled(t)
	m.accept("shop", svc("web", "v1", 1))
	m.plan()
	rev := m.accept("shop", svc("web", "v1", 2))
	m.plan()
	if st := m.statuses["shop"]; st.Converged == rev {
		t.Error("converged with a replica that is stopping")
	}
	m.settled(t)
	if st := m.statuses["shop"]; st.Converged != rev || m.get(t, "shop", "web", 2).Serial != 3 {
		t.Errorf("slot 2 was not filled anew: %+v", st)
	}
}

// TestNothingToMove leaves records alone where a replica cannot move anyway.
func TestNothingToMove(t *testing.T) {
	byLabel := constraint("node.labels.disk", true, "big")
	tests := []struct {
		name string
		spec desired.Service
		lose cluster.NodeState
	}{
		{"its node is away", svc("web", "v1", 1, byLabel), cluster.NodeNotReady},
		{"it has a volume", svc("web", "v1", 1, byLabel, volume("data")), cluster.NodeReady},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newSim(t, "n1", "n2")
			m.label("n2", "disk", "big")
			m.accept("shop", tt.spec)
			m.settled(t)
			m.label("n2", "disk", "small")
			m.label("n1", "disk", "big")
			m.node("n2", tt.lose)
			if r := m.plan(); r.Plan != nil {
				t.Errorf("planned: %s", r)
			}
		})
	}
}
