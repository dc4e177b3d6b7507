package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// clockReason begins the part of a node's reason that is about its clock. It is
// the last part, so that a new leader finds it.
const clockReason = "its clock is "

// clockPart returns that part of a recorded reason, "" where there is none.
func clockPart(reason string) string {
	if i := strings.Index(reason, clockReason); i >= 0 {
		return reason[i:]
	}
	return ""
}

// judgeClocks names the nodes whose clock is off, the leader included: the
// clock that most of them agree on is taken for the right one. A difference is
// believed once it has lasted as long as it takes to suspect a node: when the
// leader's clock is set, the others are heard one after the other. A text stays
// as it is until the clock has moved on by as much as is worth a warning.
func (l *Liveness) judgeClocks(at time.Time, members []Node) []Event {
	var heard []Node
	var offsets []time.Duration
	for _, n := range members {
		if w := l.nodes[n.Name]; l.fresh(w, at) {
			heard, offsets = append(heard, n), append(offsets, w.offset)
		}
	}
	right := middle(offsets)
	var events []Event
	for _, n := range heard {
		if text := l.nodes[n.Name].judgeClock(at, right, l.config); text != "" {
			events = append(events, Event{Type: EventClockOff, Node: n.Name, Message: "node " + n.Name + ": " + text})
		}
	}
	return events
}

// judgeClock judges one clock and returns the text when it is named for the
// first time.
func (w *watch) judgeClock(at time.Time, right time.Duration, config LivenessConfig) string {
	off := w.offset - right
	if (off - w.off).Abs() > config.ClockWarning {
		w.off, w.offSince = off, at
	}
	if at.Sub(w.offSince) < config.Suspect {
		return ""
	}
	limit := config.ClockWarning
	if w.clock != "" { // what hovers about the limit is told once
		limit -= limit / 5
	}
	known := w.clock != ""
	switch {
	case off.Abs() <= limit:
		w.clock, w.named = "", 0
	case !known || (off-w.named).Abs() > config.ClockWarning:
		w.clock, w.named = clockText(off), off
	}
	if known {
		return ""
	}
	return w.clock
}

func clockText(off time.Duration) string {
	side := "ahead of"
	if off < 0 {
		side = "behind"
	}
	return fmt.Sprintf("%s%s %s the other nodes': see that it is synchronised", clockReason, off.Abs().Round(time.Second), side)
}

// middle returns the median; of two middles the one that is closer to the
// leader's own clock, which is 0.
func middle(offsets []time.Duration) time.Duration {
	if len(offsets) == 0 {
		return 0
	}
	slices.Sort(offsets)
	low, high := offsets[(len(offsets)-1)/2], offsets[len(offsets)/2]
	if low.Abs() < high.Abs() {
		return low
	}
	return high
}
