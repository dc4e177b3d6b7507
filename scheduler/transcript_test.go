package scheduler

import (
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
	for _, name := range sortedKeys(stories) {
		t.Run(name, func(t *testing.T) {
			m := newSim(t, "n1", "n2", "n3")
			stories[name](t, m)
			m.golden(t, name)
		})
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
}
