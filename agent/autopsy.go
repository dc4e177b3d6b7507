package agent

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jaco-sh/jaco/cluster"
)

// reasonLines and reasonBytes bound what of a container's log is kept as the
// reason of its end, healthBytes what of a failed check's output: every node
// stores them.
const (
	reasonLines = 20
	reasonBytes = 2 << 10
	healthBytes = 256
)

// signalWindow is how long after any signal an end is put down to it;
// deadlySlack is added to the grace period for signals that end a process.
const (
	signalWindow = time.Second
	deadlySlack  = 5 * time.Second
)

// autopsy says why a replica's container ended. A process that ended by itself
// is told from one that somebody stopped by what went through the engine
// before: a crash sends no signal.
func autopsy(c Container, seen sightings, lines []string) outcome {
	code := c.ExitCode
	if code == 0 {
		code = seen.exitCode
	}
	o := outcome{phase: cluster.Failed, exitCode: code}
	died := seen.died
	signalled := !died.IsZero() &&
		(within(seen.anySignal, died, signalWindow) || within(seen.deadlySignal, died, c.StopGrace+deadlySlack))
	switch {
	case c.OOMKilled || seen.oom:
		o.reason = fmt.Sprintf("out of memory, exited with code %d", code)
	case seen.changed != "":
		o.reason, o.event = seen.changed, cluster.EventDriftCorrected
	case seen.stopped || signalled:
		o.reason, o.event = fmt.Sprintf("the container was stopped by hand, exited with code %d", code), cluster.EventDriftCorrected
	case c.Error != "":
		o.reason = "cannot start: " + c.Error
	default:
		o.reason = fmt.Sprintf("exited with code %d", code)
	}
	if o.event == cluster.EventDriftCorrected && code == 0 {
		// It did not end by itself: a restart policy that spares what succeeded
		// must not take it for done. 137 is what a killed process leaves.
		o.exitCode = 137
	}
	o.reason = withLog(o.reason, lines)
	return o
}

// within reports whether end came at most window after signal.
func within(signal, end time.Time, window time.Duration) bool {
	return !signal.IsZero() && !end.Before(signal) && end.Sub(signal) <= window
}

// withLog adds the last lines of a log to a reason, as many as fit.
func withLog(reason string, lines []string) string {
	reason = clip(reason, reasonBytes)
	room := reasonBytes - len(reason)
	first := len(lines)
	for first > 0 && len(lines)-first < reasonLines {
		line := clean(lines[first-1])
		if room -= len(line) + 1; room < 0 {
			break
		}
		first--
	}
	var b strings.Builder
	b.WriteString(reason)
	for _, line := range lines[first:] {
		b.WriteString("\n" + clean(line))
	}
	return b.String()
}

// clean makes a line from a container fit for a terminal: valid UTF-8 without
// control characters.
func clean(line string) string {
	line = strings.ToValidUTF8(strings.TrimRight(line, "\r\n"), "�")
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' {
			return ' '
		}
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, line)
}

// clip cuts s to at most n bytes at a character's border.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
