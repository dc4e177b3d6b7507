package scheduler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// TestVolumeOfWhatNeverRan binds a slot to no node that said that its replica
// never ran: there is no data.
func TestVolumeOfWhatNeverRan(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("db", "v1", 1, volume("data")))
	m.plan()
	m.report(m.get(t, "shop", "db", 1), cluster.Rejected, "no such spec is accepted", 0)
	m.node("n1", cluster.NodeDown)
	m.settled(t)
	if diff := cmp.Diff([]string{"1 n2 v1-db"}, m.shown()); diff != "" {
		t.Errorf("(-want +got), %+v:\n%s", m.services["shop/db"], diff)
	}
}

// TestVolumeOfWhatWasToStop loses a replica with a volume that was told to stop
// when its node died. Its slot waits for the node all the same.
func TestVolumeOfWhatWasToStop(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("db", "v1", 1, volume("data")))
	m.settled(t)
	m.accept("shop", svc("db", "v2", 1, volume("data")))
	m.plan()
	m.node("n1", cluster.NodeDown)
	if r := m.plan(); m.lost(r) != "db.1@n1" || placed(r) != "" {
		t.Errorf("planned %s", r)
	}
	m.settled(t)
	if got, want := m.services["shop/db"].Reason, "waits for node n1, which is down: its volume data is there"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	m.node("n1", cluster.NodeReady)
	m.settled(t)
	if diff := cmp.Diff([]string{"1 n1 v2-db"}, m.shown()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSurplusVolumeIsLostAtOnce does not tell a Down node to stop what it will
// not hear of.
func TestSurplusVolumeIsLostAtOnce(t *testing.T) {
	m := database(t, 3)
	m.node("n2", cluster.NodeDown)
	m.plan()
	m.accept("shop", svc("db", "v1", 2, volume("data")))
	if r := m.plan(); m.lost(r) != "db.2@n2" || len(r.Plan.Stop) > 0 {
		t.Errorf("planned %s", r)
	}
}

// TestUncompiledIsNotLost leaves a deployment alone of which nothing compiled,
// also on a node that is down: what is wanted of it is not known.
func TestUncompiledIsNotLost(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 1))
	m.settled(t)
	m.view.Deployments["shop"].Desired = nil
	m.node("n1", cluster.NodeDown)
	if r := m.plan(); r.Plan != nil {
		t.Errorf("planned %s", r)
	}
	if h := Health(m.input())[0]; h.Reason != "web: no accepted revision compiles" {
		t.Errorf("health %+v", h)
	}
}

// TestSurplusOnSilentNode does not take a slot that is to stop on a node that
// does not answer for one that makes room.
func TestSurplusOnSilentNode(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 3, stopFirst))
	m.settled(t)
	m.report(m.get(t, "shop", "web", 1), cluster.Unhealthy, "", 0)
	m.node("n1", cluster.NodeNotReady)
	rev := m.accept("shop", svc("web", "v1", 2, stopFirst))
	m.settled(t)
	m.accept("shop", svc("web", "v2", 2, stopFirst))
	m.settled(t)
	if diff := cmp.Diff([]string{"1 n1 v1-web", "2 n2 v2-web", "3 n3 v2-web"}, m.shown()); diff != "" {
		t.Errorf("(-want +got), %s, %+v:\n%s", rev, m.services["shop/web"], diff)
	}
}

// TestSurgeWhileSilent starts no further replacement while one waits beside its
// old replica for a node to answer: that would be more than the surge.
func TestSurgeWhileSilent(t *testing.T) {
	m := newSim(t, "n1", "n2", "n3")
	m.accept("shop", svc("web", "v1", 2))
	m.settled(t)
	m.accept("shop", svc("web", "v2", 2, constraint("node.hostname", true, "n3")))
	m.plan()
	m.report(m.get(t, "shop", "web", 1), cluster.Healthy, "", 0)
	m.node("n3", cluster.NodeNotReady)
	m.view.Deployments["shop"].Desired.Services[0].Placement.Constraints = nil
	if r := m.plan(); placed(r) != "" || len(r.Plan.Stop) > 0 {
		t.Errorf("planned %s", r)
	}
	if got, want := m.services["shop/web"].Reason, "slot 1 waits for n3, which is NotReady"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}

// TestDownIsNotUp counts a replica on a Down node neither for what waits for it
// nor for a deployment to be converged, whatever it last said.
func TestDownIsNotUp(t *testing.T) {
	m := newSim(t, "n1", "n2")
	db := svc("db", "v1", 1, volume("data"))
	m.accept("shop", db)
	m.settled(t)
	m.node("n1", cluster.NodeDown)
	m.settled(t)
	rev := m.accept("shop", db)
	m.settled(t)
	if m.statuses["shop"].Converged == rev {
		t.Error("converged with a replica on a node that is down")
	}
	m.accept("shop", db, svc("web", "v1", 1, needs("db", desired.Healthy)))
	m.settled(t)
	if got, want := m.services["shop/web"].Reason, "waits for db to be healthy"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}

// TestLimitAndLoss drops no status of a deployment whose replicas a plan had no
// room to lose.
func TestLimitAndLoss(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 1))
	m.settled(t)
	m.node("n1", cluster.NodeDown)
	delete(m.view.Deployments, "shop")
	m.accept("aaa", svc("web", "v1", 2))
	in := m.input()
	in.Limit = 1
	r := Compute(in)
	if !r.More || len(r.Plan.Lose)+len(r.Plan.DropStatus) > 0 {
		t.Errorf("planned %s, drops %v", r, r.Plan.DropStatus)
	}
}

// TestHealthDuringPause is what the leader says, which knows of the pause.
func TestHealthDuringPause(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 2))
	m.settled(t)
	m.node("n1", cluster.NodeDown)
	m.node("n2", cluster.NodeDown)
	m.pause = m.now.Add(time.Minute)
	m.plan()
	if h := Health(m.input())[0]; h.State != cluster.HealthMissing || !strings.HasPrefix(h.Reason, "web: 2 of 2 nodes are down: waiting until ") {
		t.Errorf("health %+v", h)
	}
}

// TestRemovedSaysSo names a removal before a label that would not help.
func TestRemovedSaysSo(t *testing.T) {
	m := newSim(t, "n1")
	m.remove("n1")
	m.accept("shop", svc("web", "v1", 1, constraint("node.labels.ssd", true, "true")))
	m.plan()
	if got, want := m.services["shop/web"].Reason, "no node: 1 is removed"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}
