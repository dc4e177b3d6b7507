package agent

import (
	"context"
	"time"
)

func (h *fakeHandle) Recheck(ctx context.Context, id string) error {
	return serveErr(ctx, h, "recheck", id, fakeQuick, func() error {
		c, err := h.findLocked(id)
		if err != nil {
			return err
		}
		if c.Status == StatusRunning {
			h.emitLocked(c, Event{Action: ActionPause})
		}
		h.emitLocked(c, Event{Action: ActionUnpause})
		c.Status, c.Health, c.HealthDue = StatusRunning, HealthHealthy, time.Now().Add(fakeInterval)
		h.emitLocked(c, Event{Action: ActionHealth})
		go h.afterthought(c)
		return nil
	})
}

// afterthought is what Docker does when it hears of a pause after it is over:
// it believes in it until it hears of its end.
func (f *fakeEngine) afterthought(c *fakeContainer) {
	for _, step := range []struct {
		status Status
		action EventAction
	}{{StatusPaused, ActionPause}, {StatusRunning, ActionUnpause}} {
		<-time.After(30 * time.Millisecond)
		f.mu.Lock()
		c.Status = step.status
		f.emitLocked(c, Event{Action: step.action})
		f.mu.Unlock()
	}
}

// Check fails unless it is told to pass, as the check of a program that does
// not answer yet.
func (h *fakeHandle) Check(ctx context.Context, id string) (bool, error) {
	passed := false
	err := serveErr(ctx, h, "check", id, fakeQuick, func() error {
		c, err := h.findLocked(id)
		if err != nil {
			return err
		}
		left, answers := h.failing[c.Labels[LabelReplica]]
		if answers && left == 0 {
			passed = true
		} else if answers {
			h.failing[c.Labels[LabelReplica]]--
		}
		return nil
	})
	return passed, err
}
