package scheduler

import (
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// database is three of db with a volume, settled on n1, n2 and n3.
func database(t *testing.T, replicas int) *sim {
	m := newSim(t, "n1", "n2", "n3", "n4")
	m.accept("shop", svc("db", "v1", replicas, volume("data")))
	m.settled(t)
	return m
}

const waitsForN2 = "waits for node n2, which is down: its volume data is there"

// TestVolumeWaits waits for the node that has the data, in whatever phase the
// replica is, and goes on with the same replica when it is back.
func TestVolumeWaits(t *testing.T) {
	m := database(t, 3)
	m.node("n2", cluster.NodeDown)
	r := m.plan()
	if len(r.Plan.Lose)+len(r.Plan.Create)+len(r.Plan.Stop) > 0 || len(r.Events) != 1 || r.Events[0].Type != cluster.EventDegraded {
		t.Fatalf("planned %s", r)
	}
	if got := m.services["shop/db"].Reason; got != waitsForN2 {
		t.Errorf("reason %q", got)
	}
	if again := m.plan(); again.Plan != nil || !again.Wake.IsZero() {
		t.Errorf("planned again: %s", again)
	}
	h := Health(m.input())[0]
	if h.State != cluster.HealthDegraded || h.Reason != "db: "+waitsForN2 || h.Services[0].Running != 2 || h.Services[0].Healthy != 2 || h.Services[0].Updated != 2 {
		t.Errorf("health %+v", h)
	}
	m.node("n2", cluster.NodeReady)
	m.settled(t)
	if r := m.get(t, "shop", "db", 2); r.Serial != 2 || m.services["shop/db"].Reason != "" {
		t.Errorf("after its return: %+v, %q", r, m.services["shop/db"].Reason)
	}
}

// TestVolumeIsRemembered brings a slot back to its data after its replica ended
// while the node was away, or was scaled away before, or was lost when the node
// joined anew.
func TestVolumeIsRemembered(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, m *sim)
	}{
		{"it failed", func(t *testing.T, m *sim) {
			m.report(m.get(t, "shop", "db", 2), cluster.Failed, "killed", 137)
			m.node("n2", cluster.NodeDown)
		}},
		{"it was scaled away", func(t *testing.T, m *sim) {
			m.fate["v1-db"] = sickens
			m.report(m.get(t, "shop", "db", 2), cluster.Unhealthy, "", 0)
			m.accept("shop", svc("db", "v1", 2, volume("data")))
			m.settled(t)
			delete(m.fate, "v1-db")
			m.node("n2", cluster.NodeDown)
			m.accept("shop", svc("db", "v1", 3, volume("data")))
		}},
		{"it was scaled away while its node was down", func(t *testing.T, m *sim) {
			m.node("n2", cluster.NodeDown)
			m.accept("shop", svc("db", "v1", 2, volume("data")))
			m.settled(t)
			m.accept("shop", svc("db", "v1", 3, volume("data")))
		}},
		{"its node joined anew", func(t *testing.T, m *sim) {
			m.expel("n2")
			m.join("n2")
			m.node("n2", cluster.NodeDown)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := database(t, 3)
			tt.change(t, m)
			m.settled(t)
			if got := m.services["shop/db"].Reason; got != waitsForN2 {
				t.Errorf("reason %q", got)
			}
			if got := m.perNode(""); strings.Contains(got, "n4") {
				t.Errorf("runs on %s", got)
			}
			m.node("n2", cluster.NodeReady)
			m.settled(t)
			if got := m.perNode(""); got != "n1:1 n2:1 n3:1" {
				t.Errorf("after its return it runs on %s", got)
			}
		})
	}
}

// TestVolumeOfRemovedNode gives a slot up to a commit that removes its node:
// gracefully from one that answers, at once from one that does not.
func TestVolumeOfRemovedNode(t *testing.T) {
	tests := map[string]func(t *testing.T, m *sim){
		"it is Ready": func(_ *testing.T, m *sim) { m.remove("n2") },
		"it is Down": func(t *testing.T, m *sim) {
			m.node("n2", cluster.NodeDown)
			m.settled(t)
			m.remove("n2")
		},
		"it is no member any more": func(t *testing.T, m *sim) {
			m.node("n2", cluster.NodeDown)
			m.settled(t)
			m.remove("n2")
			m.expel("n2")
		},
		"its replica had ended": func(t *testing.T, m *sim) {
			m.report(m.get(t, "shop", "db", 2), cluster.Failed, "killed", 137)
			m.node("n2", cluster.NodeDown)
			m.settled(t)
			m.remove("n2")
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			m := database(t, 3)
			change(t, m)
			m.settled(t)
			if got := m.perNode(""); got != "n1:1 n3:1 n4:1" || m.services["shop/db"].Reason != "" {
				t.Errorf("runs on %s, reason %q", got, m.services["shop/db"].Reason)
			}
		})
	}
}

// TestVolumeReason names the node's state, whatever it is.
func TestVolumeReason(t *testing.T) {
	m := database(t, 3)
	m.report(m.get(t, "shop", "db", 2), cluster.Failed, "killed", 137)
	m.node("n2", cluster.NodeNotReady)
	m.settled(t)
	if got, want := m.services["shop/db"].Reason, "waits for node n2, which is NotReady: its volume data is there"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}

// TestVolumeOfOtherSpec is about specs that disagree: only a replica whose own
// spec and the present one have a volume is bound to it.
func TestVolumeOfOtherSpec(t *testing.T) {
	anonymous := func(s *desired.Service) {
		s.Container.Mounts = append(s.Container.Mounts,
			desired.Mount{Kind: desired.VolumeMount, Target: "/anonymous"}, desired.Mount{Kind: desired.TmpfsMount, Target: "/tmp"})
	}
	tests := []struct {
		name     string
		was, is  func(*desired.Service)
		wantNode string
	}{
		{"a volume is new", noCheck, volume("data"), "n2"},
		{"the volume is gone", volume("data"), noCheck, "n2"},
		{"neither has a name", anonymous, anonymous, "n2"},
		{"another volume", volume("data"), volume("more"), "n1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newSim(t, "n1", "n2")
			m.accept("shop", svc("db", "v1", 1, tt.was))
			m.settled(t)
			m.node("n1", cluster.NodeDown)
			m.accept("shop", svc("db", "v2", 1, tt.is))
			m.settled(t)
			if r := m.get(t, "shop", "db", 1); r.Node != tt.wantNode {
				t.Errorf("runs on %s, want %s: %q", r.Node, tt.wantNode, m.services["shop/db"].Reason)
			}
		})
	}
}

// TestVolumeRollsWithoutDownNode ends a rollout without the slot that waits, and
// takes it along when its node is back.
func TestVolumeRollsWithoutDownNode(t *testing.T) {
	m := database(t, 3)
	m.node("n2", cluster.NodeDown)
	rev := m.accept("shop", svc("db", "v2", 3, volume("data")))
	m.settled(t)
	specs := func() (out string) {
		for slot := 1; slot <= 3; slot++ {
			out += m.get(t, "shop", "db", slot).SpecHash + " "
		}
		return out
	}
	if got := specs(); got != "v2-db v1-db v2-db " {
		t.Fatalf("rolled to %s", got)
	}
	if s := m.services["shop/db"]; s.Rollout.State != cluster.RolloutDone || s.Reason != waitsForN2 || m.statuses["shop"].Converged == rev {
		t.Errorf("%+v, %+v", s, m.statuses["shop"])
	}
	m.node("n2", cluster.NodeReady)
	m.settled(t)
	if got := specs(); got != "v2-db v2-db v2-db " || m.statuses["shop"].Converged != rev {
		t.Errorf("after its return: %s", got)
	}
}

// TestServiceCalledNode is not taken for a node that must come back.
func TestServiceCalledNode(t *testing.T) {
	m := newSim(t, "n1")
	m.fate["v1-node"] = hangs
	m.accept("shop", svc("node", "v1", 1), svc("web", "v1", 1, needs("node", desired.Healthy)))
	m.settled(t)
	if h := Health(m.input())[0]; m.services["shop/web"].Reason != "waits for node to be healthy" || h.State != cluster.HealthProgressing {
		t.Errorf("reason %q, %s", m.services["shop/web"].Reason, h.State)
	}
}
