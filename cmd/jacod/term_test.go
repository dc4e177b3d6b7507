package main

import (
	"testing"
	"time"
)

// TestUntil: the only node of a cluster has nobody to look at again, and does
// not do so all the time.
func TestUntil(t *testing.T) {
	now := time.Unix(1000, 0)
	leads := &term{member: &member{clock: func() time.Time { return now }}}
	for next, want := range map[time.Time]time.Duration{
		now.Add(time.Second): time.Second, now.Add(-time.Second): 0, {}: 1<<63 - 1,
	} {
		if got := leads.until(next); got != want {
			t.Errorf("until %v: %v, want %v", next, got, want)
		}
	}
}
