package scheduler

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// TestUnchangedSpecConvergesAtOnce accepts a revision that changes no spec.
func TestUnchangedSpecConvergesAtOnce(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 2))
	m.settled(t)
	rev := m.accept("shop", svc("web", "v1", 2, updates(func(u *desired.Update) { u.Parallelism = 7 })))
	r := m.plan()
	if m.statuses["shop"].Converged != rev || len(r.Events) != 1 || r.Events[0].Type != cluster.EventConverged {
		t.Errorf("not converged at once: %s", r)
	}
	if len(r.Plan.Create)+len(r.Plan.Stop)+len(r.Plan.Services) > 0 {
		t.Errorf("an unchanged service was touched: %s", r)
	}
}

// TestPausedResumes checks what ends a pause: a new spec, or a new commit to
// the deployment; the latter gives the same spec another three starts.
func TestPausedResumes(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 2))
	m.settled(t)
	m.fate["v2-web"] = falls
	m.accept("shop", svc("web", "v2", 2))
	m.settled(t)
	rollout := func() cluster.Rollout { return m.services["shop/web"].Rollout }
	if rollout().State != cluster.RolloutPaused || !strings.HasPrefix(rollout().Reason, noRollback) ||
		!strings.HasSuffix(rollout().Reason, "3 starts, never healthy: panic: out of luck") {
		t.Fatalf("rollout %+v", rollout())
	}
	m.accept("shop", svc("web", "v2", 2), svc("other", "v1", 1))
	m.settled(t)
	if rollout().State != cluster.RolloutPaused || rollout().Failures != 3 {
		t.Fatalf("the second try: %+v", rollout())
	}
	delete(m.fate, "v2-web")
	m.accept("shop", svc("web", "v2", 2))
	m.settled(t)
	if rollout().State != cluster.RolloutDone || rollout().Reason != "" {
		t.Errorf("the third try: %+v", rollout())
	}
}

// TestFailureBounds checks when a rollout that loses slots goes on. Where it
// does, a failed slot is handled like any other: its old replica goes, and the
// rollout ends.
func TestFailureBounds(t *testing.T) {
	tests := []struct {
		name   string
		change func(*desired.Update)
		want   cluster.RolloutState
		failed []int // slots
	}{
		{"none may fail", func(*desired.Update) {}, cluster.RolloutPaused, []int{1}},
		{"a third may fail", func(u *desired.Update) { u.MaxFailureRatio = 0.34 }, cluster.RolloutDone, []int{1}},
		{"two of three fail", func(u *desired.Update) { u.MaxFailureRatio = 0.34 }, cluster.RolloutPaused, []int{1, 2}},
		{"failures are ignored", func(u *desired.Update) { u.FailureAction = desired.Continue }, cluster.RolloutDone, []int{1}},
		{"all failures are ignored", func(u *desired.Update) { u.FailureAction = desired.Continue }, cluster.RolloutDone, []int{1, 2, 3}},
	}
	for _, tt := range tests {
		for _, f := range []fate{sickens, falls, crashes} {
			t.Run(tt.name+" "+string(f), func(t *testing.T) {
				m := newSim(t, "n1", "n2", "n3")
				m.accept("shop", svc("web", "v1", 3))
				m.settled(t)
				m.accept("shop", svc("web", "v2", 3, updates(tt.change)))
				ends := tt.want == cluster.RolloutPaused
				for range 200 {
					m.plan()
					for _, r := range m.replicas {
						if r.SpecHash == "v2-web" && slices.Contains(tt.failed, r.Slot) {
							m.fate[r.ID] = f
						}
					}
					m.round()
				}
				if got := m.services["shop/web"].Rollout.State; got != tt.want {
					t.Errorf("rollout %q, want %q", got, tt.want)
				}
				for _, r := range m.replicas {
					old := r.SpecHash == "v1-web" && !r.Phase.Final() && !r.Stop
					if old && !ends {
						t.Errorf("the old replica of slot %d is left", r.Slot)
					}
					if !old && ends && r.Slot == 3 {
						t.Errorf("slot 3 rolled after the pause: %+v", r)
					}
				}
			})
		}
	}
}

// TestHealthDecides lets a replica whose healthcheck never answers hold up a
// rollout for as long as it takes, and no longer.
func TestHealthDecides(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 2))
	m.settled(t)
	m.fate["v2-web"] = hangs
	m.accept("shop", svc("web", "v2", 2))
	m.settled(t)
	m.now = m.now.Add(time.Hour)
	if r := m.plan(); r.Plan != nil {
		t.Fatalf("it went on without health: %s", r)
	}
	delete(m.fate, "v2-web")
	m.settled(t)
	if got := m.services["shop/web"].Rollout.State; got != cluster.RolloutDone {
		t.Errorf("rollout %q", got)
	}
}

// TestImageHealthcheck waits for a healthcheck that only the image has: its node
// reports such a replica as running without calling that healthy.
func TestImageHealthcheck(t *testing.T) {
	m := newSim(t, "n1")
	rev := m.accept("shop", svc("web", "v1", 1, noCheck))
	m.plan()
	r := m.get(t, "shop", "web", 1)
	m.report(r, cluster.Running, "", 0)
	r.HealthyAt = time.Time{}
	if got := m.plan(); got.Plan != nil || !got.Wake.IsZero() {
		t.Fatalf("running is taken for healthy: %s", got)
	}
	m.report(r, cluster.Healthy, "", 0)
	m.plan()
	if m.statuses["shop"] == nil || m.statuses["shop"].Converged != rev {
		t.Error("it does not converge once healthy")
	}
}

// TestDependencies starts and rolls services in the order of depends_on.
func TestDependencies(t *testing.T) {
	m := newSim(t, "n1", "n2")
	web := func(v string) desired.Service { return svc("web", v, 2, needs("db", desired.Healthy)) }
	m.fate["v1-db"] = hangs
	m.accept("shop", svc("db", "v1", 1), web("v1"), svc("log", "v1", 1, needs("db", desired.Started)))
	m.settled(t)
	count := func(service, hash string) (n int) {
		for _, r := range m.replicas {
			if r.Service == service && r.SpecHash == hash && !r.Phase.Final() {
				n++
			}
		}
		return n
	}
	if count("log", "v1-log") != 1 || count("web", "v1-web") != 0 {
		t.Fatal("the order is not kept")
	}
	if got, want := m.services["shop/web"].Reason, "waits for db to be healthy"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	if h := Health(m.input())[0]; h.State != cluster.HealthProgressing {
		t.Errorf("waiting is %s", h.State)
	}
	delete(m.fate, "v1-db")
	m.settled(t)

	m.fate["v2-db"] = hangs
	m.accept("shop", svc("db", "v2", 1), web("v2"), svc("log", "v1", 1, needs("db", desired.Started)))
	m.settled(t)
	if count("web", "v2-web") != 0 {
		t.Error("web rolls before db is healthy")
	}
	m.report(m.get(t, "shop", "web", 1), cluster.Failed, "killed", 137)
	m.settled(t)
	if count("web", "v1-web") != 2 {
		t.Error("while it waits, a replica is not replaced by one of the spec before")
	}
	delete(m.fate, "v2-db")
	m.settled(t)
	m.fate["v2-db"] = hangs
	m.report(m.get(t, "shop", "db", 1), cluster.Failed, "killed", 137)
	m.report(m.get(t, "shop", "web", 2), cluster.Failed, "killed", 137)
	m.settled(t)
	if r := m.get(t, "shop", "web", 2); r.Phase != cluster.Healthy {
		t.Error("a restart waits for a dependency")
	}
}

// TestExpect checks that a plan is void once what it rests on has changed.
func TestExpect(t *testing.T) {
	m := newSim(t, "n1", "n2")
	m.accept("shop", svc("web", "v1", 2))
	m.settled(t)
	m.accept("shop", svc("web", "v2", 2))
	m.plan()
	newer := m.get(t, "shop", "web", 1)
	m.report(newer, cluster.Healthy, "", 0)

	plan := Compute(m.input()).Plan
	if len(plan.Stop) != 1 {
		t.Fatalf("the old replica is not stopped: %+v", plan)
	}
	m.report(newer, cluster.Unhealthy, "changed its mind", 0)
	if err := m.apply(plan); err == nil {
		t.Error("the old replica is stopped although the new one fell ill")
	}
	plan = Compute(m.input()).Plan
	m.index++
	m.services["shop/web"].ModifyIndex = m.index
	if err := m.apply(plan); err == nil {
		t.Error("the service's record moved on and the plan was applied")
	}
}

// TestHealth checks the states that the transcripts do not show.
func TestHealth(t *testing.T) {
	m := newSim(t, "n1")
	m.accept("off", svc("web", "v1", 0))
	m.accept("new", svc("web", "v1", 1))
	m.view.Deployments["broken"] = &cluster.Accepted{Name: "broken"}
	check := func(name string, want cluster.HealthAxis, reason string) {
		t.Helper()
		for _, h := range Health(m.input()) {
			if h.Deployment == name && (h.State != want || h.Reason != reason) {
				t.Errorf("%s is %s: %q, want %s: %q", name, h.State, h.Reason, want, reason)
			}
		}
	}
	check("new", cluster.HealthMissing, "web: nothing of it runs yet")
	check("broken", cluster.HealthMissing, "nothing of it is known")
	m.plan()
	check("off", cluster.HealthSuspended, "")
	check("new", cluster.HealthProgressing, "web: 0 of 1 healthy")
	r := m.get(t, "new", "web", 1)
	m.report(r, cluster.Preparing, "pull web:v1: not found", 0)
	check("new", cluster.HealthProgressing, "web: 0 of 1 healthy; slot 1 on n1: Preparing: pull web:v1: not found")
	m.report(r, cluster.Unhealthy, "connection refused", 0)
	check("new", cluster.HealthDegraded, "web: slot 1 on n1 is unhealthy: connection refused")
	m.report(r, cluster.Failed, "killed", 137)
	check("new", cluster.HealthDegraded, "web: slot 1 on n1 failed: killed")
	delete(m.view.Deployments, "new")
	check("new", cluster.HealthProgressing, "web: is being removed")
	if got := Health(Input{}); got != nil {
		t.Errorf("without a view: %v", got)
	}
}
