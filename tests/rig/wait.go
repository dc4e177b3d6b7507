package rig

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// pollInterval is the time between two looks at a condition.
const pollInterval = 25 * time.Millisecond

// Tailer has a log whose end helps to understand a failure: Proc, Engine,
// Daemon.
type Tailer interface{ Tail(lines int) string }

// WaitFor looks at a condition until it holds or the context ends. The
// condition returns what it saw, in words; the error shows the last of these
// and the ends of the logs given.
func WaitFor(ctx context.Context, desc string, cond func(context.Context) (ok bool, state string), logs ...Tailer) error {
	start := time.Now()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	last := "the condition was never looked at"
	for {
		ok, state := cond(ctx)
		if ok {
			return nil
		}
		// A look that the deadline cut short says less than the one before.
		if ctx.Err() == nil {
			last = state
		}
		select {
		case <-ctx.Done():
			var tails strings.Builder
			for _, l := range logs {
				tails.WriteString("\n" + l.Tail(30))
			}
			return fmt.Errorf("wait for %s: %w after %s; last state: %s%s",
				desc, ctx.Err(), time.Since(start).Round(time.Millisecond), last, tails.String())
		case <-tick.C:
		}
	}
}
