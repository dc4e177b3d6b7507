package scheduler

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// TestMassLoss holds everything while too many nodes are down at once, says so,
// and moves it when the time is over.
func TestMassLoss(t *testing.T) {
	lose := func(t *testing.T) *sim {
		m := newSim(t, "n1", "n2", "n3")
		m.accept("shop", svc("web", "v1", 3), svc("db", "v1", 3, volume("data")))
		m.accept("blog", svc("web", "v1", 1, constraint("node.hostname", true, "n1")))
		m.settled(t)
		m.now = epoch.Add(time.Minute)
		m.pause = m.now.Add(31 * time.Second)
		m.node("n2", cluster.NodeDown)
		m.node("n3", cluster.NodeDown)
		return m
	}
	const reason = "2 of 3 nodes are down: waiting until 12:01:31 before moving replicas"

	t.Run("waits, then moves", func(t *testing.T) {
		m := lose(t)
		r := m.plan()
		if len(r.Plan.Lose)+len(r.Plan.Create)+len(r.Plan.Stop) > 0 || !r.Wake.Equal(m.pause) {
			t.Fatalf("planned %s", r)
		}
		if got := m.services["shop/web"].Reason; got != reason {
			t.Errorf("reason %q", got)
		}
		if got := m.services["shop/db"].Reason; got != waitsForN2 {
			t.Errorf("what waits for a volume says %q", got)
		}
		if got := m.services["blog/web"].Reason; got != "" {
			t.Errorf("what lost nothing says %q", got)
		}
		if r := m.plan(); r.Plan != nil || !r.Wake.Equal(m.pause) {
			t.Errorf("planned again: %s", r)
		}
		m.now = m.pause
		r = m.plan()
		if got := m.lost(r); got != "web.1@n2 web.2@n3" || placed(r) != "web.1@n1 web.2@n1" {
			t.Errorf("lost %q: %s", got, r)
		}
		m.settled(t)
		if got := m.services["shop/web"].Reason; got != "" {
			t.Errorf("reason %q stays", got)
		}
	})
	t.Run("they come back in time", func(t *testing.T) {
		m := lose(t)
		m.plan()
		m.node("n2", cluster.NodeReady)
		m.plan()
		want := "1 of 3 nodes is down: waiting until 12:01:31 before moving replicas"
		if got := m.services["shop/web"].Reason; got != want {
			t.Errorf("reason %q, want %q", got, want)
		}
		m.node("n3", cluster.NodeReady)
		m.pause = time.Time{}
		m.settled(t)
		for _, r := range m.replicas {
			if r.Serial > 3 || r.Phase != cluster.Healthy {
				t.Errorf("%+v is not the one from before", r)
			}
		}
	})
	t.Run("a commit removes one", func(t *testing.T) {
		m := lose(t)
		m.plan()
		m.remove("n3")
		r := m.plan()
		if got := m.lost(r); got != "db.2@n3 web.2@n3" {
			t.Errorf("lost %q: %s", got, r)
		}
		want := "1 of 2 nodes is down: waiting until 12:01:31 before moving replicas"
		if got := m.services["shop/web"].Reason; got != want {
			t.Errorf("reason %q, want %q", got, want)
		}
	})
	t.Run("what is retired waits too", func(t *testing.T) {
		m := lose(t)
		delete(m.view.Deployments, "shop")
		r := m.plan()
		if len(r.Plan.Lose) > 0 || !r.Wake.Equal(m.pause) {
			t.Errorf("planned %s", r)
		}
		m.settled(t)
		if m.services["shop/web"] != nil || m.now.Before(m.pause) {
			t.Errorf("left: %v at %s", m.services, m.now)
		}
	})
	t.Run("a failure on a node that answers is no loss", func(t *testing.T) {
		m := lose(t)
		m.report(m.get(t, "shop", "web", 3), cluster.Failed, "killed", 137)
		if got := placed(m.plan()); got != "web.3@n1" {
			t.Errorf("placed %q", got)
		}
	})
}

// TestRolloutLosesNode loses a node at any moment of a rollout, which may return
// at any later one: the rollout ends, no slot is doubled, and never fewer serve
// than the update allows and the loss leaves.
func TestRolloutLosesNode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"n1", "n2", "n3", "n4", "n5"}
		m := newSim(t, names...)
		n, parallel := rapid.IntRange(1, 4).Draw(t, "replicas"), rapid.IntRange(1, 2).Draw(t, "parallelism")
		shape, least := func(*desired.Service) {}, n
		switch rapid.IntRange(0, 2).Draw(t, "order") {
		case 0:
			shape, least = stopFirst, max(0, n-parallel)
		case 1:
			shape, least = hostPort(80), max(0, n-parallel)
		}
		spec := func(version string) desired.Service {
			return svc("web", version, n, shape, updates(func(u *desired.Update) { u.Parallelism = parallel }))
		}
		m.accept("shop", spec("v1"))
		if !m.settle(200) {
			t.Fatal("the first version does not come up")
		}
		rev := m.accept("shop", spec("v2"))
		victim := rapid.SampledFrom(names).Draw(t, "victim")
		falls := rapid.IntRange(0, 12*n).Draw(t, "falls")
		returns := falls + rapid.IntRange(1, 60).Draw(t, "returns")
		died := map[int]bool{} // slots that served on the victim and have not served since
		for i := range 1000 {
			switch i {
			case falls:
				for _, r := range m.replicas {
					if r.Node == victim && r.Phase == cluster.Healthy && !r.Stop {
						died[r.Slot] = true
					}
				}
				m.powerOff(victim)
			case returns:
				m.reboot(victim)
			}
			m.plan()
			if serving := m.serving(t, died); serving < least-len(died) {
				t.Fatalf("%d of %d serve, at least %d must, and %d died", serving, n, least, len(died))
			}
			if st := m.statuses["shop"]; st.Converged == rev && i > returns {
				return
			}
			if ids := m.byAge(); len(ids) > 0 {
				m.advance(m.replicas[rapid.SampledFrom(ids).Draw(t, "replica")])
			}
			m.now = m.now.Add(10 * time.Millisecond)
		}
		for m.settle(1000); m.statuses["shop"].Converged != rev; {
			t.Fatalf("the rollout does not end:\n%s", tail(m.log.String()))
		}
	})
}

// serving counts slots that serve, takes them out of died, and checks that none
// has two of a kind.
func (m *sim) serving(t *rapid.T, died map[int]bool) int {
	slots, kinds := map[int]bool{}, map[string]int{}
	for _, r := range m.replicas {
		if r.Phase.Final() || r.Stop {
			continue
		}
		kinds[string(rune('0'+r.Slot))+r.SpecHash]++
		if r.Phase == cluster.Healthy && m.nodes[r.Node].State == cluster.NodeReady {
			slots[r.Slot] = true
			delete(died, r.Slot)
		}
	}
	for kind, n := range kinds {
		if n > 1 {
			t.Fatalf("%d of %s", n, kind)
		}
	}
	return len(slots)
}

// TestRolloutWithoutRoom ends although a slot has no node any more, and fills
// it with the new spec when there is one.
func TestRolloutWithoutRoom(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 3, hostPort(80)))
	m.settled(t)
	m.node("n3", cluster.NodeDown)
	rev := m.accept("shop", svc("web", "v2", 3, hostPort(80)))
	m.settled(t)
	s := m.services["shop/web"]
	if got, want := s.Reason, "no node: 1 is Down, 2 host port 80/tcp taken"; s.Rollout.State != cluster.RolloutDone || got != want {
		t.Errorf("%+v, want the reason %q", s, want)
	}
	for slot := 1; slot <= 2; slot++ {
		if r := m.get(t, "shop", "web", slot); r.SpecHash != "v2-web" || r.Phase != cluster.Healthy {
			t.Errorf("slot %d is %+v", slot, r)
		}
	}
	m.node("n3", cluster.NodeReady)
	m.settled(t)
	if r := m.get(t, "shop", "web", 3); r.SpecHash != "v2-web" || m.statuses["shop"].Converged != rev {
		t.Errorf("slot 3 is %+v", r)
	}
}

// TestUnprovenRolloutStaysOpen does not call a rollout done of which nothing was
// started: its spec still has to show what it is worth.
func TestUnprovenRolloutStaysOpen(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 1))
	m.settled(t)
	m.node("n1", cluster.NodeDown)
	m.accept("shop", svc("web", "v2", 1))
	m.settled(t)
	if s := m.services["shop/web"]; s.Rollout.State != cluster.RolloutProgressing || s.Reason != "no node: 1 is Down" {
		t.Fatalf("%+v", s)
	}
	m.fate["v2-web"] = crashes
	m.node("n1", cluster.NodeReady)
	m.settled(t)
	if s := m.services["shop/web"]; s.Rollout.State != cluster.RolloutPaused {
		t.Errorf("%+v", s)
	}
	if r := m.get(t, "shop", "web", 1); r.SpecHash != "v1-web" || r.Phase != cluster.Healthy {
		t.Errorf("slot 1 is %+v", r)
	}
}

// TestLostReplacementIsTriedAgain starts a replacement that its node took along
// anew, beside the old replica, and holds nothing against its spec.
func TestLostReplacementIsTriedAgain(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.label("n2", "ssd", "true")
	m.label("n3", "ssd", "true")
	m.accept("shop", svc("web", "v1", 1))
	m.settled(t)
	onSSD := constraint("node.labels.ssd", true, "true")
	rev := m.accept("shop", svc("web", "v2", 1, onSSD))
	for i, node := range []string{"n2", "n3", "n2", "n3"} {
		m.plan()
		if r := m.get(t, "shop", "web", 1); r.Node != node || r.SpecHash != "v2-web" {
			t.Fatalf("try %d: %+v", i, r)
		}
		m.node(node, cluster.NodeDown)
		r := m.plan()
		if len(r.Plan.Lose) != 1 || m.services["shop/web"].Rollout.Failures > 0 {
			t.Fatalf("try %d: %+v\n%s", i, m.services["shop/web"], r)
		}
		if other := map[string]string{"n2": "n3", "n3": "n2"}[node]; m.get(t, "shop", "web", 1).Node != other {
			t.Fatalf("try %d is not followed at once: %s", i, r)
		}
		m.node(node, cluster.NodeReady)
	}
	m.settled(t)
	if m.statuses["shop"].Converged != rev || len(m.replicas) != 1 {
		t.Errorf("%+v", m.services["shop/web"])
	}
}

// TestStopFirstCountsWhoCanBeHeard stops nothing while another replica is on a
// node that may be dying, and says what it waits for.
func TestStopFirstCountsWhoCanBeHeard(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 3, stopFirst))
	m.settled(t)
	m.node("n3", cluster.NodeSuspect)
	m.accept("shop", svc("web", "v2", 3, stopFirst))
	if r := m.plan(); len(r.Plan.Stop) > 0 {
		t.Errorf("planned %s", r)
	}
	if got, want := m.services["shop/web"].Reason, "slot 3 waits for n3, which is Suspect"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	m.node("n3", cluster.NodeDown)
	r := m.plan()
	if len(r.Plan.Stop) > 0 || m.lost(r) != "web.3@n3" || placed(r) != "web.3@n1" {
		t.Errorf("planned %s", r)
	}
	m.settled(t)
	if s := m.services["shop/web"]; s.Rollout.State != cluster.RolloutDone {
		t.Errorf("%+v", s)
	}
}

// TestStopOnDownNode does not wait for a replica to stop whose node is gone.
func TestStopOnDownNode(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 1, stopFirst))
	m.settled(t)
	m.accept("shop", svc("web", "v2", 1, stopFirst))
	m.plan()
	m.node("n1", cluster.NodeNotReady)
	m.plan()
	if got, want := m.services["shop/web"].Reason, "slot 1 waits for n1, which is NotReady"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	m.node("n1", cluster.NodeDown)
	if r := m.plan(); m.lost(r) != "web.1@n1" || placed(r) != "web.1@n2" {
		t.Errorf("planned %s", r)
	}
}

// TestHealthOfLoss checks what status says of a loss in its stages.
func TestHealthOfLoss(t *testing.T) {
	m := newSim(t, "n1", "n2")
	byHost := func(name string) func(*desired.Service) { return constraint("node.hostname", true, name) }
	m.accept("all", svc("db", "v1", 1, volume("data"), byHost("n2")))
	m.accept("some", svc("db", "v1", 1, volume("data"), byHost("n2")), svc("web", "v1", 1, byHost("n1")))
	m.accept("bound", svc("web", "v1", 1, byHost("n2")))
	m.accept("free", svc("web", "v1", 2))
	m.settled(t)
	check := func(name string, want cluster.HealthAxis, reason string) {
		t.Helper()
		for _, h := range Health(m.input()) {
			if h.Deployment == name && (h.State != want || !strings.Contains(h.Reason, reason)) {
				t.Errorf("%s is %s: %q, want %s: %q", name, h.State, h.Reason, want, reason)
			}
		}
	}
	m.node("n2", cluster.NodeDown)
	for range 2 { // before and after the scheduler took note
		check("all", cluster.HealthMissing, "db: "+waitsForN2)
		check("some", cluster.HealthDegraded, "db: "+waitsForN2)
		check("free", cluster.HealthProgressing, "web: 1 of 2 healthy")
		m.plan()
	}
	check("bound", cluster.HealthMissing, "web: no node: 1 is Down, 1 not node.hostname==n2")
	m.settled(t)
	check("free", cluster.HealthHealthy, "")

	m.node("n2", cluster.NodeReady)
	m.settled(t)
	m.node("n1", cluster.NodeDown)
	m.node("n2", cluster.NodeDown)
	m.pause = m.now.Add(time.Minute)
	m.plan()
	m.pause = time.Time{} // only the leader knows of a pause
	check("free", cluster.HealthMissing, "web: 2 of 2 nodes are down: waiting until ")
}
