package scheduler

import (
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// TestRestart ends one replica in different ways and looks at what follows it,
// and when.
func TestRestart(t *testing.T) {
	type end struct {
		attempt int
		healthy time.Duration // for how long it was; 0: never
		phase   cluster.Phase // default Failed
		exit    int
		drift   bool
	}
	any := desired.Restart{Condition: desired.RestartAny}
	tests := []struct {
		name    string
		policy  desired.Restart
		end     end
		after   time.Duration // from its end until it is replaced
		attempt int
		never   bool
	}{
		{name: "never healthy", policy: any, end: end{exit: 1}, after: time.Second, attempt: 1},
		{name: "never healthy again", policy: any, end: end{attempt: 3, exit: 1}, after: 8 * time.Second, attempt: 4},
		{name: "at most a minute", policy: any, end: end{attempt: 30, exit: 1}, after: time.Minute, attempt: 31},
		{name: "fell over soon", policy: any, end: end{healthy: 200 * time.Millisecond}, attempt: 1},
		{name: "fell over soon again", policy: any, end: end{attempt: 1, healthy: 200 * time.Millisecond}, after: 800 * time.Millisecond, attempt: 2},
		{name: "keeps falling over", policy: any, end: end{attempt: 4, healthy: 6 * time.Second}, after: 2 * time.Second, attempt: 5},
		{name: "served for longer than its back-off", policy: any, end: end{attempt: 3, healthy: 5 * time.Second}, attempt: 4},
		{name: "served for ten minutes", policy: any, end: end{attempt: 9, healthy: 10 * time.Minute}, attempt: 0},
		{name: "ended by hand", policy: any, end: end{attempt: 4, healthy: time.Second, drift: true}, attempt: 4},
		{name: "ended by hand before it was healthy", policy: any, end: end{attempt: 1, drift: true}, after: 2 * time.Second, attempt: 2},
		{name: "rejected", policy: any, end: end{phase: cluster.Rejected}, after: time.Second, attempt: 1},
		{name: "fixed delay", policy: desired.Restart{Delay: 7 * time.Second}, end: end{attempt: 5, healthy: time.Hour / 2, exit: 1}, after: 7 * time.Second, attempt: 0},
		{name: "none", policy: desired.Restart{Condition: desired.RestartNone}, end: end{healthy: time.Hour, exit: 1}, never: true},
		{name: "none, but it never ran", policy: desired.Restart{Condition: desired.RestartNone}, end: end{phase: cluster.Rejected}, after: time.Second, attempt: 1},
		{name: "on failure, failed", policy: desired.Restart{Condition: desired.RestartOnFailure}, end: end{healthy: time.Minute, exit: 3}, attempt: 1},
		{name: "on failure, done", policy: desired.Restart{Condition: desired.RestartOnFailure}, end: end{healthy: time.Minute}, never: true},
		{name: "attempts left", policy: desired.Restart{MaxAttempts: 2}, end: end{attempt: 1, exit: 1}, after: 2 * time.Second, attempt: 2},
		{name: "no attempts left", policy: desired.Restart{MaxAttempts: 2}, end: end{attempt: 2, exit: 1}, never: true},
		{
			name: "up for the window", policy: desired.Restart{MaxAttempts: 2, Window: 30 * time.Second},
			end: end{attempt: 2, healthy: 40 * time.Second, exit: 1}, attempt: 0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newSim(t, "n1")
			m.accept("shop", svc("job", "v1", 1, restarts(tt.policy)))
			m.plan()
			r := m.get(t, "shop", "job", 1)
			r.Attempt, r.Drift = tt.end.attempt, tt.end.drift
			if tt.end.healthy > 0 {
				m.report(r, cluster.Healthy, "", 0)
				m.now = m.now.Add(tt.end.healthy)
			}
			if tt.end.phase == "" {
				tt.end.phase = cluster.Failed
			}
			m.report(r, tt.end.phase, "it ended", tt.end.exit)
			ended := m.now

			result := m.plan()
			if result.Plan == nil || len(result.Plan.Create) == 0 {
				if tt.never {
					if !result.Wake.IsZero() {
						t.Errorf("wakes at %s for nothing", result.Wake)
					}
					return
				}
				if got := result.Wake.Sub(ended); got != tt.after {
					t.Fatalf("wakes after %s, want %s", got, tt.after)
				}
				m.now = result.Wake
				result = m.plan()
			} else if tt.after > 0 || tt.never {
				t.Fatalf("replaced at once: %s", result)
			}
			next := m.get(t, "shop", "job", 1)
			if next == r || next.Attempt != tt.attempt {
				t.Errorf("attempt %d follows, want %d: %s", next.Attempt, tt.attempt, result)
			}
			if m.replicas[r.ID] != nil {
				t.Error("the record of the replica before stayed")
			}
		})
	}
}

// TestFinished checks how deployments stand whose work is done, or failed for
// good.
func TestFinished(t *testing.T) {
	tests := []struct {
		name   string
		exit   int
		health cluster.HealthAxis
		reason string
	}{
		{"done", 0, cluster.HealthHealthy, ""},
		{"failed", 3, cluster.HealthDegraded, "migrate: gave up on slot 1 after 0 restarts: exit status 3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newSim(t, "n1")
			rev := m.accept("shop", svc("migrate", "v1", 1, noCheck, restarts(desired.Restart{Condition: desired.RestartNone})))
			m.settle(20)
			m.report(m.get(t, "shop", "migrate", 1), cluster.Failed, "", tt.exit)
			m.settled(t)
			h := Health(m.input())[0]
			if h.State != tt.health || h.Reason != tt.reason {
				t.Errorf("%s: %q, want %s: %q", h.State, h.Reason, tt.health, tt.reason)
			}
			if converged := m.statuses["shop"].Converged == rev; !converged {
				t.Error("it never converged while it ran")
			}
			second := m.accept("shop", svc("migrate", "v2", 1, noCheck, restarts(desired.Restart{Condition: desired.RestartNone})))
			m.fate["v2-migrate"] = succeedsF
			m.settled(t)
			if got := m.get(t, "shop", "migrate", 1); got.SpecHash != "v2-migrate" {
				t.Errorf("the new spec did not run: %+v", got)
			}
			if m.statuses["shop"].Converged != second {
				t.Error("work that is done does not count as converged")
			}
		})
	}
}
