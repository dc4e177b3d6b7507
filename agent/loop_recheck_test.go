package agent

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// TestLoopRecheck restarts an engine that forgets its healthchecks.
func TestLoopRecheck(t *testing.T) {
	play(t, []scenario{
		{"engine-forgets-healthchecks", func(w *world) {
			w.engine.set("containers have a healthcheck", func() { w.engine.unchecked = false })
			w.state.assign(assigned("a", "b")...)
			w.pass(2 * time.Second)
			w.engine.set("engine is restarted, and checks b only", func() { w.engine.cutStreamsLocked() })
			w.pass(5 * time.Second)
			w.engine.by("check of b answers", "b", func(c *fakeContainer) { c.HealthDue = c.HealthDue.Add(fakeInterval) })
			w.pass(time.Minute)
			w.expect("a=Healthy b=Running")
			w.engine.by("docker pause", "a", func(c *fakeContainer) {
				c.Status = StatusPaused
				w.engine.emitLocked(c, Event{Action: ActionPause})
			})
			w.pass(5 * time.Second)
			w.expect("a=Failed b=Running")
		}},
		{"engine-lost-in-a-recheck", func(w *world) {
			w.engine.set("containers have a healthcheck", func() { w.engine.unchecked = false })
			w.state.assign(assigned("a")...)
			w.pass(2 * time.Second)
			w.engine.set("engine is restarted", func() { w.engine.cutStreamsLocked() })
			w.pass(5 * time.Second)
			w.engine.set("and goes down between pause and unpause", func() {
				w.engine.faults["recheck"] = []error{fmt.Errorf("EOF: %w", ErrUnavailable)}
			})
			w.pass(5 * time.Second)
			w.engine.set("a is still paused", func() {
				w.engine.containers["a-c"].Status = StatusPaused
				w.engine.cutStreamsLocked()
			})
			w.pass(time.Minute)
			w.expect("a=Healthy")
		}},
	})
}

// TestLoopCheck: a replica is healthy when its own healthcheck passes, long
// before the engine runs it for the first time.
func TestLoopCheck(t *testing.T) {
	play(t, []scenario{
		{"healthy-before-the-first-check", func(w *world) {
			w.engine.set("containers have a healthcheck that passes the third time, or never", func() {
				w.engine.unchecked = false
				w.engine.failing = map[string]int{"a": 2}
			})
			w.state.assign(assigned("a", "b")...)
			w.pass(2 * time.Second)
			w.expect("a=Healthy b=Running")
			w.engine.by("the engine's check fails", "a", func(c *fakeContainer) {
				c.Health, c.HealthDue = HealthUnhealthy, c.HealthDue.Add(fakeInterval)
				w.engine.emitLocked(c, Event{Action: ActionHealth})
			})
			w.pass(time.Minute)
			w.expect("a=Unhealthy b=Running")
		}},
		{"check-that-hangs-is-not-repeated", func(w *world) {
			w.engine.set("a healthcheck does not end in time", func() {
				w.engine.unchecked = false
				w.engine.faults["check"] = []error{context.DeadlineExceeded}
			})
			w.state.assign(assigned("a")...)
			w.pass(time.Minute)
			w.expect("a=Running")
		}},
		{"told-to-stop-in-a-check", func(w *world) {
			w.engine.set("containers have a healthcheck that hangs", func() {
				w.engine.unchecked = false
				w.engine.stuck["check a-c"] = true
			})
			w.state.assign(assigned("a")...)
			w.pass(2 * time.Second)
			w.state.stop("a")
			w.pass(2 * time.Second)
			w.expect("a=Stopped")
		}},
	})
}
