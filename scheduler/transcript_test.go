package scheduler

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// TestTranscripts plays whole stories and compares every plan with its golden
// file: what is done, in which order, and why.
func TestTranscripts(t *testing.T) {
	stories := map[string]func(t *testing.T, m *sim){
		"initial": func(t *testing.T, m *sim) {
			m.accept("shop", svc("db", "v1", 1, volume("data")), svc("web", "v1", 3, needs("db", desired.Healthy)))
			m.settled(t)
		},
		"rollout-start-first": func(t *testing.T, m *sim) {
			m.accept("shop", svc("web", "v1", 3))
			m.settled(t)
			m.accept("shop", svc("web", "v2", 3))
			m.settled(t)
		},
		"rollout-stop-first": func(t *testing.T, m *sim) {
			m.accept("shop", svc("web", "v1", 3, hostPort(8080)))
			m.settled(t)
			m.accept("shop", svc("web", "v2", 3, hostPort(8080)))
			m.settled(t)
		},
		"rollout-no-healthcheck": func(t *testing.T, m *sim) {
			m.accept("shop", svc("web", "v1", 2, noCheck))
			m.settled(t)
			m.accept("shop", svc("web", "v2", 2, noCheck, updates(func(u *desired.Update) { u.Delay = 3 * time.Second })))
			m.settled(t)
		},
		"rollout-pauses": func(t *testing.T, m *sim) {
			m.accept("shop", svc("web", "v1", 3))
			m.settled(t)
			m.fate["v2-web"] = crashes
			m.accept("shop", svc("web", "v2", 3))
			m.settled(t)
			m.show("an old replica dies")
			m.report(m.get(t, "shop", "web", 3), cluster.Failed, "killed", 137)
			m.settled(t)
			m.accept("shop", svc("web", "v3", 3))
			m.settled(t)
		},
		"rollout-unhealthy-stop-first": func(t *testing.T, m *sim) {
			m.accept("shop", svc("web", "v1", 2, stopFirst))
			m.settled(t)
			m.fate["v2-web"] = sickens
			m.accept("shop", svc("web", "v2", 2, stopFirst, updates(func(u *desired.Update) { u.FailureAction = desired.Pause })))
			m.settled(t)
		},
		"drift": func(t *testing.T, m *sim) {
			m.accept("shop", svc("web", "v1", 2))
			m.settled(t)
			m.now = m.now.Add(time.Minute)
			m.report(m.get(t, "shop", "web", 2), cluster.Failed, "the container was removed by hand", 0)
			m.settled(t)
			m.now = m.now.Add(3 * time.Second)
			m.report(m.get(t, "shop", "web", 2), cluster.Failed, "the container was stopped by hand", 143)
			m.settled(t)
		},
		"scale-and-retire": func(t *testing.T, m *sim) {
			m.accept("shop", svc("web", "v1", 4), svc("job", "v1", 1))
			m.settled(t)
			m.accept("shop", svc("web", "v1", 2))
			m.settled(t)
			delete(m.view.Deployments, "shop")
			m.settled(t)
		},
		"label-moves": func(t *testing.T, m *sim) {
			m.label("n1", "ssd", "true")
			m.accept("shop", svc("web", "v1", 2, constraint("node.labels.ssd", true, "true")))
			m.settled(t)
			m.label("n1", "ssd", "false")
			m.label("n2", "ssd", "true")
			m.settled(t)
		},
	}
	maps.Copy(stories, lossStories())
	for _, name := range sortedKeys(stories) {
		t.Run(name, func(t *testing.T) {
			m := newSim(t, "n1", "n2", "n3")
			stories[name](t, m)
			m.golden(t, name)
		})
	}
}

// lossStories are those in which nodes die, return, flap and leave.
func lossStories() map[string]func(t *testing.T, m *sim) {
	three := func(t *testing.T, m *sim) {
		m.accept("shop", svc("web", "v1", 3), svc("db", "v1", 2, volume("data")))
		m.settled(t)
	}
	return map[string]func(t *testing.T, m *sim){
		"node-dies-and-returns": func(t *testing.T, m *sim) {
			three(t, m)
			m.powerOff("n2")
			m.settled(t)
			m.reboot("n2")
			m.settled(t)
		},
		"node-is-cut-off": func(t *testing.T, m *sim) { // its containers run on meanwhile
			three(t, m)
			m.node("n2", cluster.NodeSuspect)
			m.settled(t)
			m.node("n2", cluster.NodeDown)
			m.settled(t)
			if len(m.containers) <= len(m.replicas)-1 {
				t.Errorf("%d containers: what is cut off does not run on", len(m.containers))
			}
			m.node("n2", cluster.NodeReady)
			m.settled(t)
		},
		"node-flaps": func(t *testing.T, m *sim) {
			three(t, m)
			for range 3 {
				m.node("n2", cluster.NodeSuspect)
				m.plan()
				m.node("n2", cluster.NodeReady)
				m.plan()
			}
			m.settled(t)
			for range 2 { // it is gone before the replacement has come up
				m.node("n2", cluster.NodeDown)
				m.round()
				m.node("n2", cluster.NodeReady)
				m.round()
			}
			m.settled(t)
		},
		"both-nodes-of-a-slot-die": func(t *testing.T, m *sim) {
			three(t, m)
			m.powerOff("n2")
			m.round()
			m.powerOff("n1")
			m.settled(t)
			m.reboot("n2")
			m.settled(t)
		},
		"mass-loss": func(t *testing.T, m *sim) {
			three(t, m)
			m.now = epoch.Add(time.Minute)
			m.pause = m.now.Add(time.Minute)
			m.node("n2", cluster.NodeDown)
			m.node("n3", cluster.NodeDown)
			m.plan()
			m.show("paused")
			m.settled(t)
		},
		"rollout-loses-node": func(t *testing.T, m *sim) {
			three(t, m)
			m.accept("shop", svc("web", "v2", 3), svc("db", "v2", 2, volume("data")))
			for m.get(t, "shop", "web", 2).SpecHash != "v2-web" {
				m.round()
			}
			m.show("when slot 2 has its new replica")
			m.powerOff("n1")
			m.settled(t)
			m.reboot("n1")
			m.settled(t)
		},
		"node-is-removed": func(t *testing.T, m *sim) {
			three(t, m)
			m.remove("n2")
			m.settled(t)
			m.expel("n2")
			m.settled(t)
		},
		"dead-node-is-removed": func(t *testing.T, m *sim) {
			three(t, m)
			m.powerOff("n1")
			m.settled(t)
			m.remove("n1")
			m.expel("n1")
			m.settled(t)
		},
	}
}

// settled lets the cluster come to rest, shows it, and checks that a state at
// rest asks for nothing.
func (m *sim) settled(t *testing.T) {
	t.Helper()
	if !m.settle(300) {
		m.show("not at rest")
		t.Fatalf("the cluster does not come to rest:\n%s", m.log.String())
	}
	if r := Compute(m.input()); r.Plan != nil || !r.Wake.IsZero() || r.Events != nil {
		t.Fatalf("a plan for a cluster at rest:\n%s", r)
	}
	m.show("at rest")
	m.checkContainers(t)
}

// checkContainers checks that on the nodes that can be heard exactly those
// containers run that should, and that no slot has two.
func (m *sim) checkContainers(t *testing.T) {
	t.Helper()
	slots := map[string]int{}
	for id, name := range m.containers {
		if m.nodes[name] == nil || m.nodes[name].State != cluster.NodeReady {
			continue
		}
		r := m.replicas[id]
		if r == nil || r.Phase.Final() {
			t.Errorf("%s runs on %s for nothing", id, name)
			continue
		}
		slot := fmt.Sprintf("%s/%s.%d", r.Deployment, r.Service, r.Slot)
		if slots[slot]++; slots[slot] > 1 && m.services[r.Deployment+"/"+r.Service].Rollout.State != cluster.RolloutProgressing {
			t.Errorf("slot %s runs twice", slot)
		}
	}
}
