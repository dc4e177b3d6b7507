package mesh

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
)

// TestPace writes down what is told of somebody who fights.
func TestPace(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	fight := note{cluster.EventFirewallRepaired, "the table is gone"}
	other := func(i int) note { return note{cluster.EventFirewallRepaired, fmt.Sprintf("rule %d", i)} }
	p := newPacer(start)
	tell := func(at time.Duration, notes ...note) []string {
		var out []string
		for _, n := range p.admit(start.Add(at), notes, false) {
			out = append(out, n.message)
		}
		return out
	}
	want := func(got []string, messages ...string) {
		t.Helper()
		if diff := cmp.Diff(messages, got); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	}
	for i := range sameBurst {
		want(tell(time.Duration(i)*time.Millisecond, fight), fight.message)
	}
	want(tell(time.Second, fight, fight))
	want(tell(2*time.Second, other(0)), "rule 0") // another difference does not wait for the fight
	want(tell(3*time.Second, fight))
	want(tell(19 * time.Second))
	want(tell(21*time.Second), "the table is gone; 3 times since it was told last")
	want(tell(22*time.Second, fight))
	want(tell(41*time.Second), fight.message)
	want(tell(10*time.Minute, fight, fight), fight.message, fight.message)

	// A fight with many faces: all of them are told, at the pace of all, until
	// there are more than are kept apart.
	var many []note
	for i := range anyBurst + maxHeld + 10 {
		many = append(many, other(i))
	}
	at := 2 * time.Hour
	first := tell(at, many...)
	if len(first) != anyBurst || !p.holds() {
		t.Errorf("%d told at once, want %d and some held", len(first), anyBurst)
	}
	var later []string
	for range 200 {
		at += anyEvery
		later = append(later, tell(at)...)
	}
	if len(later) != maxHeld+1 || later[len(later)-1] != tooMany+"; 10 times since it was told last" || p.holds() {
		t.Errorf("told later: %d, the last %q; want %d", len(later), later[len(later)-1], maxHeld+1)
	}
	if len(p.same) > 2*maxHeld {
		t.Errorf("%d differences are remembered", len(p.same))
	}
}

// newTestJournal is one without a loop; write is called by hand.
func newTestJournal(memory Memory, keep func(Memory) error) *journal {
	return newJournal(Deps{Keep: keep, Clock: time.Now, Logger: slog.New(slog.DiscardHandler)}, memory, func() {})
}

// events prints what is pending.
func (j *journal) events() string {
	var out []string
	for _, e := range j.pending() {
		out = append(out, fmt.Sprintf("%d %s", e.Number, e.Event.Message))
	}
	return strings.Join(out, ", ")
}

// TestNumbers wants numbers that grow by one whatever the process goes through.
func TestNumbers(t *testing.T) {
	var kept Memory
	keep := func(m Memory) error { kept = m; return nil }
	for _, test := range []struct {
		name   string
		memory Memory
		seen   uint64 // 0: nothing
		add    string
		want   string
		next   uint64
	}{
		{"the first", Memory{}, 0, "a", "1 a", 2},
		{"after a restart", Memory{Next: 9}, 0, "a", "9 a", 10},
		{"with some not taken", Memory{Next: 9, Events: events(7, 8)}, 0, "a", "7 e7, 8 e8, 9 a", 10},
		{"taken in part", Memory{Next: 9, Events: events(7, 8)}, 7, "a", "8 e8, 9 a", 10},
		{"taken", Memory{Next: 9, Events: events(7, 8)}, 8, "", "", 9},
		{"the journal was lost", Memory{}, 50, "a", "51 a", 52},
		{"lost after some were told", Memory{Next: 3, Events: events(1, 2)}, 50, "a", "51 e1, 52 e2, 53 a", 54},
		{"a number that is behind", Memory{Events: events(7)}, 0, "a", "7 e7, 8 a", 9},
	} {
		t.Run(test.name, func(t *testing.T) {
			kept = Memory{}
			j := newTestJournal(test.memory, keep)
			if test.seen > 0 {
				j.seen(test.seen)
			}
			if test.add != "" {
				j.repaired(cluster.EventMeshRepaired, []string{test.add}, true)
			}
			j.write(newPacer(time.Now()), false)
			if got := j.events(); got != test.want {
				t.Errorf("pending %q, want %q", got, test.want)
			}
			if kept.Next != test.next {
				t.Errorf("the next number is stored as %d, want %d", kept.Next, test.next)
			}
		})
	}
}

func events(numbers ...uint64) []cluster.EdgeEvent {
	var out []cluster.EdgeEvent
	for _, n := range numbers {
		out = append(out, cluster.EdgeEvent{Number: n, Event: cluster.Event{Message: fmt.Sprintf("e%d", n)}})
	}
	return out
}

// TestToldWhenRight wants a difference told once the facility is right again,
// with everything that was found until then.
func TestToldWhenRight(t *testing.T) {
	j := newTestJournal(Memory{}, func(Memory) error { return errors.New("no space") })
	p := newPacer(time.Now())
	j.repaired(cluster.EventFirewallRepaired, []string{"a"}, false)
	j.repaired(cluster.EventFirewallRepaired, []string{"a", "b"}, false)
	j.repaired(cluster.EventMeshRepaired, nil, true)
	j.write(p, false)
	if got := j.events(); got != "" {
		t.Errorf("told %q before it is right", got)
	}
	j.repaired(cluster.EventFirewallRepaired, nil, true)
	j.write(p, false)
	if got := j.events(); got != "1 a; b" { // also when it cannot be stored
		t.Errorf("told %q", got)
	}
	j.repaired(cluster.EventFirewallRepaired, nil, true)
	j.write(p, false)
	if got := j.events(); got != "1 a; b" {
		t.Errorf("told %q", got)
	}
}

// TestBounds wants texts and lists that do not grow with what goes wrong.
func TestBounds(t *testing.T) {
	long := strings.Repeat("ä", maxMessage)
	for _, test := range []struct {
		name        string
		differences []string
		ends        string
	}{
		{"one that is too long", []string{long}, "ä…"},
		{"one more than fits", []string{strings.Repeat("a", maxMessage-1), "b", "c"}, "a; and 2 more"},
		{"two that fit", []string{"a", "b"}, "a; b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := message(test.differences)
			if !strings.HasSuffix(got, test.ends) || len(got) > maxMessage+len("…; and 12345 more") || !utf8.ValidString(got) {
				t.Errorf("%d bytes that end in %q", len(got), got[max(0, len(got)-40):])
			}
		})
	}
	j := newTestJournal(Memory{}, func(Memory) error { return nil })
	p := newPacer(time.Now())
	for i := range maxEvents + 50 {
		j.repaired(cluster.EventMeshRepaired, []string{fmt.Sprint("d", i)}, true)
		j.write(p, true)
	}
	all := j.pending()
	last := all[len(all)-1]
	if len(all) != maxEvents || last.Number != maxEvents+50 || last.Event.Message != fmt.Sprintf("d%d; there were more before it than are kept", maxEvents+49) {
		t.Errorf("%d kept, the last %+v", len(all), last)
	}
	if all[0].Event.Message != "d0" {
		t.Errorf("the oldest is %+v", all[0])
	}
}
