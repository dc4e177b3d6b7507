package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/cluster"
)

func TestAutopsy(t *testing.T) {
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	tests := []struct {
		name  string
		c     Container
		seen  sightings
		lines []string
		want  string
		drift bool
	}{
		{name: "a crash", c: Container{ExitCode: 3}, seen: sightings{died: noon},
			lines: []string{"panic: no database", "goroutine 1"},
			want:  "exited with code 3\npanic: no database\ngoroutine 1"},
		{name: "done by itself", c: Container{}, seen: sightings{died: noon}, want: "exited with code 0"},
		{name: "nobody watched", c: Container{ExitCode: 137}, want: "exited with code 137"},
		{name: "docker stop", c: Container{ExitCode: 143, StopGrace: 10 * time.Second},
			seen: sightings{died: noon, deadlySignal: ago(9 * time.Second)},
			want: "the container was stopped by hand, exited with code 143", drift: true},
		{name: "docker stop with a signal of its own", c: Container{},
			seen: sightings{died: noon, anySignal: ago(10 * time.Millisecond)},
			want: "the container was stopped by hand, exited with code 0", drift: true},
		{name: "the engine said so", c: Container{}, seen: sightings{died: noon, stopped: true},
			want: "the container was stopped by hand, exited with code 0", drift: true},
		{name: "an old signal is not to blame", c: Container{ExitCode: 1, StopGrace: 10 * time.Second},
			seen: sightings{died: noon, anySignal: ago(time.Minute), deadlySignal: ago(time.Hour)},
			want: "exited with code 1"},
		{name: "a signal after the end is not to blame", c: Container{ExitCode: 1},
			seen: sightings{died: noon, anySignal: noon.Add(time.Second)}, want: "exited with code 1"},
		{name: "out of memory", c: Container{ExitCode: 137, OOMKilled: true}, seen: sightings{died: noon},
			want: "out of memory, exited with code 137"},
		{name: "out of memory by event", c: Container{ExitCode: 137}, seen: sightings{died: noon, oom: true},
			want: "out of memory, exited with code 137"},
		{name: "restarted: the code is the event's", c: Container{}, seen: sightings{died: noon, exitCode: 7},
			want: "exited with code 7"},
		{name: "never ran", c: Container{ExitCode: 127, Error: "no such file"}, want: "cannot start: no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := autopsy(tt.c, tt.seen, tt.lines)
			if o.reason != tt.want || o.phase != cluster.Failed {
				t.Errorf("got %s %q, want %q", o.phase, o.reason, tt.want)
			}
			if drift := o.event == cluster.EventDriftCorrected; drift != tt.drift {
				t.Errorf("taken for drift: %t, want %t", drift, tt.drift)
			}
		})
	}
}

// TestWithLogBounds: whatever a container writes, its reason is bounded, fit
// for a terminal, and ends with the last line that fits.
func TestWithLogBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.String(), 0, 40).Draw(t, "lines")
		got := withLog("exited with code 1", lines)
		if len(got) > reasonBytes || !utf8.ValidString(got) {
			t.Fatalf("%d bytes, valid %t", len(got), utf8.ValidString(got))
		}
		parts := strings.Split(got, "\n")
		if parts[0] != "exited with code 1" || len(parts) > 1+reasonLines {
			t.Fatalf("%d lines, first %q", len(parts), parts[0])
		}
		if len(parts) > 1 && parts[len(parts)-1] != clean(lines[len(lines)-1]) {
			t.Fatalf("last line %q, want %q", parts[len(parts)-1], clean(lines[len(lines)-1]))
		}
		if strings.ContainsAny(strings.Join(parts, ""), "\x00\x1b\x7f\r\t") {
			t.Fatalf("control characters in %q", got)
		}
	})
	long := make([]string, 100)
	for i := range long {
		long[i] = fmt.Sprint("line ", i)
	}
	if got := withLog("x", long); !strings.HasPrefix(got, "x\nline 80\n") || !strings.HasSuffix(got, "line 99") {
		t.Errorf("the last %d lines are expected, got %q", reasonLines, got)
	}
}
