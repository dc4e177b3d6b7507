package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// shown lists what is not final: "2 n2 v1-web".
func (m *sim) shown() (out []string) {
	for _, id := range m.byAge() {
		if r := m.replicas[id]; !r.Phase.Final() {
			out = append(out, fmt.Sprintf("%d %s %s", r.Slot, r.Node, r.SpecHash))
		}
	}
	return out
}

// TestScaleDownKeepsWhoCanBeHeard gives up the slot on the node that may be
// dying, whatever its replica last said.
func TestScaleDownKeepsWhoCanBeHeard(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 3))
	m.settled(t)
	m.node("n2", cluster.NodeSuspect)
	m.accept("shop", svc("web", "v1", 2))
	r := m.plan()
	if len(r.Plan.Stop) != 1 || m.replicas[r.Plan.Stop[0]].Slot != 2 {
		t.Errorf("planned %s", r)
	}
}

// TestScaledAwayStaysAway does not take a slot that is only remembered for its
// volume for one that makes room for a new spec.
func TestScaledAwayStaysAway(t *testing.T) {
	m := database(t, 3)
	m.fate["v1-db"] = sickens
	m.report(m.get(t, "shop", "db", 1), cluster.Unhealthy, "", 0)
	m.accept("shop", svc("db", "v1", 2, volume("data")))
	m.settled(t)
	delete(m.fate, "v1-db")
	m.node("n1", cluster.NodeDown)
	rev := m.accept("shop", svc("db", "v2", 2, volume("data")))
	m.settled(t)
	if diff := cmp.Diff([]string{"2 n2 v2-db", "3 n3 v2-db"}, m.shown()); diff != "" || m.statuses["shop"].Converged != rev {
		t.Errorf("(-want +got), %+v:\n%s", m.services["shop/db"], diff)
	}
}

// TestShrinksBeforeItRolls stops what is surplus first: a wanted slot that makes
// room at the same time could not be told from it.
func TestShrinksBeforeItRolls(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 3, stopFirst))
	m.settled(t)
	m.fate["v1-web"] = sickens
	m.report(m.get(t, "shop", "web", 1), cluster.Unhealthy, "", 0)
	m.accept("shop", svc("web", "v2", 2, stopFirst))
	r := m.plan()
	if len(r.Plan.Stop) != 1 || m.replicas[r.Plan.Stop[0]].Slot != 1 {
		t.Errorf("planned %s", r)
	}
	m.settled(t)
	if diff := cmp.Diff([]string{"2 n2 v2-web", "3 n3 v2-web"}, m.shown()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestMoveIgnoresOldIllness moves off a node although a replica elsewhere has
// been ill for longer: that says nothing of the move.
func TestMoveIgnoresOldIllness(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 2))
	m.settled(t)
	ill := m.get(t, "shop", "web", 1)
	m.fate[ill.ID] = sickens
	m.report(ill, cluster.Unhealthy, "", 0)
	m.now = m.now.Add(time.Minute)
	m.remove("n2")
	m.settled(t)
	if diff := cmp.Diff([]string{"1 n1 v1-web", "2 n3 v1-web"}, m.shown()); diff != "" {
		t.Errorf("(-want +got), %+v:\n%s", m.services["shop/web"], diff)
	}
}

// TestVolumeOutlivesOtherRecords remembers where a volume is while a spec
// without one runs elsewhere, as after a pause.
func TestVolumeOutlivesOtherRecords(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("db", "v1", 1))
	m.settled(t)
	m.fate["v2-db"] = falls
	m.accept("shop", svc("db", "v2", 1, volume("data")))
	m.settled(t)
	if got := m.services["shop/db"].Rollout.State; got != cluster.RolloutPaused {
		t.Fatalf("rollout %q", got)
	}
	m.node("n1", cluster.NodeDown)
	m.settled(t)
	m.node("n1", cluster.NodeReady)
	m.settled(t)
	if diff := cmp.Diff([]string{"1 n2 v1-db"}, m.shown()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	m.accept("shop", svc("db", "v3", 1, volume("data")))
	m.settled(t)
	if diff := cmp.Diff([]string{"1 n1 v3-db"}, m.shown()); diff != "" {
		t.Errorf("(-want +got), %+v:\n%s", m.services["shop/db"], diff)
	}
}

// TestReturnOfRetired rolls out a deployment that comes back with another spec
// while its replicas still stop: the new one has to pass the gate.
func TestReturnOfRetired(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 1))
	m.settled(t)
	delete(m.view.Deployments, "shop")
	m.plan()
	m.accept("shop", svc("web", "v2", 1, updates(func(u *desired.Update) { u.FailureAction = desired.Pause })))
	m.plan()
	if got := m.services["shop/web"].Rollout.State; got != cluster.RolloutProgressing {
		t.Errorf("rollout %q", got)
	}
}

// TestGlobalRollsWhileItShrinks waits for no surplus slot: the slots of a global
// service are told apart by their nodes.
func TestGlobalRollsWhileItShrinks(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("log", "v1", 0, global, stopFirst))
	m.settled(t)
	m.remove("n1")
	m.accept("shop", svc("log", "v2", 0, global, stopFirst))
	if r := m.plan(); len(r.Plan.Stop) != 2 {
		t.Errorf("planned %s", r)
	}
}

// TestCommitDuringRollout gives a spec no second chance for a commit that came
// before its rollout was paused.
func TestCommitDuringRollout(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("shop", svc("web", "v1", 1))
	m.settled(t)
	m.fate["v2-web"] = crashes
	m.accept("shop", svc("web", "v2", 1))
	m.plan()
	m.accept("shop", svc("web", "v2", 1), svc("other", "v1", 1))
	m.settled(t)
	if s := m.services["shop/web"]; s.Rollout.State != cluster.RolloutPaused || s.NextSerial != 2+maxStarts {
		t.Errorf("%+v", s)
	}
}
