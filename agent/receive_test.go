package agent

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
)

// idleLoop is a loop that nobody runs: tests give it messages.
func idleLoop(t *testing.T) *loop {
	t.Helper()
	a := &Agent{cfg: DefaultConfig("node-1", testCluster), Deps: Deps{Log: slog.New(slog.DiscardHandler)}}
	l := &loop{Agent: a, in: newInbox(), inspect: newInspector(nil, nil)}
	l.reports = newReporter(nil, a.cfg, a.Log)
	l.exec = newExecutor(a, l.in.put)
	l.reset()
	return l
}

// known renders what the loop knows of containers.
func (l *loop) known() string {
	var out []string
	for _, id := range sortedKeys(l.containers) {
		out = append(out, fmt.Sprintf("%s=%s", id, l.containers[id].Status))
	}
	return strings.Join(out, " ")
}

// TestReceiveOrder: whatever order answers and events arrive in, the newest
// look wins, and what is gone stays gone.
func TestReceiveOrder(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	c := func(status Status) *Container {
		c := containerOf(replica("a", cluster.Running))
		c.Status = status
		return &c
	}
	list := func(s int, cs ...*Container) listed {
		m := listed{at: at(s)}
		for _, c := range cs {
			m.containers = append(m.containers, *c)
		}
		return m
	}
	tests := []struct {
		name     string
		messages []message
		want     string
	}{
		{"listed", []message{list(1, c(StatusRunning))}, "c-a=running"},
		{"a newer look wins", []message{list(1, c(StatusRunning)), looked{"c-a", at(2), c(StatusExited)}}, "c-a=exited"},
		{"an older look loses", []message{list(2, c(StatusExited)), looked{"c-a", at(1), c(StatusRunning)}}, "c-a=exited"},
		{"an older look that found nothing loses", []message{list(2, c(StatusRunning)), looked{"c-a", at(1), nil}}, "c-a=running"},
		{"a look that found nothing", []message{list(1, c(StatusRunning)), looked{"c-a", at(2), nil}}, ""},
		{"an older list loses", []message{looked{"c-a", at(2), c(StatusExited)}, list(1, c(StatusRunning))}, "c-a=exited"},
		{"an older list without it loses", []message{looked{"c-a", at(2), c(StatusRunning)}, list(1)}, "c-a=running"},
		{"a newer list without it wins", []message{looked{"c-a", at(1), c(StatusRunning)}, list(2)}, ""},
		{"removed, then an older look", []message{
			list(1, c(StatusRunning)), done{gone: "c-a", at: at(3)}, looked{"c-a", at(2), c(StatusRunning)}}, ""},
		{"removed, then an older list", []message{
			list(1, c(StatusRunning)), done{gone: "c-a", at: at(3)}, list(2, c(StatusRunning))}, ""},
		{"a container of another cluster", []message{
			looked{"x", at(1), &Container{ID: "x", Labels: map[string]string{LabelCluster: "beef"}}}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := idleLoop(t)
			for _, m := range tt.messages {
				l.receive(m)
			}
			if got := l.known(); got != tt.want {
				t.Errorf("known: %q, want %q", got, tt.want)
			}
		})
	}
}

// TestLateCreate: a container that an event names while its start gives up is
// looked at when the start has ended.
func TestLateCreate(t *testing.T) {
	l := idleLoop(t)
	l.update("a", func(m *memory) { m.busy = actStart })
	l.receive(happened{Event{Action: ActionCreate, Container: "c-a", Replica: "a", Time: noon}})
	if _, ok := l.inspect.take(); ok {
		t.Error("looked at while the start is under way")
	}
	l.receive(done{action: action{kind: actStart, key: "a"}, trouble: context.Canceled})
	if id, ok := l.inspect.take(); !ok || id != "c-a" {
		t.Errorf("looked at %q, want c-a", id)
	}
}

// TestEngineBackRetriesAtOnce: what failed while the engine was away does not
// sit out its back-off.
func TestEngineBackRetriesAtOnce(t *testing.T) {
	l := idleLoop(t)
	l.update("a", func(m *memory) { m.failed, m.tries, m.retryAt = actStart, 9, noon.Add(time.Hour) })
	l.receive(lost{fmt.Errorf("gone: %w", ErrUnavailable)})
	l.receive(listed{at: noon})
	if m := l.memory["a"]; !m.retryAt.IsZero() || m.failed != actStart {
		t.Errorf("retry at %v", m.retryAt)
	}
}

func TestSightings(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	event := func(s int, a EventAction) Event { return Event{Action: a, Container: "c", Time: at(s)} }
	die := Event{Action: ActionDie, Container: "c", Time: at(3), ExitCode: 143}
	kill := func(signal int) Event { return Event{Action: ActionKill, Container: "c", Time: at(2), Signal: signal} }
	tests := []struct {
		name   string
		busy   actionKind
		events []Event
		want   sightings
	}{
		{"a crash", "", []Event{die}, sightings{died: at(3), exitCode: 143, last: at(3)}},
		{"docker stop", "", []Event{kill(15), die, event(4, ActionStop)},
			sightings{anySignal: at(2), deadlySignal: at(2), died: at(3), exitCode: 143, stopped: true, last: at(4)}},
		{"docker kill -s HUP", "", []Event{kill(1)}, sightings{anySignal: at(2), last: at(2)}},
		{"docker pause", "", []Event{event(1, ActionPause)}, sightings{changed: "the container was paused by hand", last: at(1)}},
		{"docker rename", "", []Event{event(1, ActionRename)}, sightings{changed: "the container was renamed by hand", last: at(1)}},
		{"out of memory", "", []Event{event(1, ActionOOM), die}, sightings{oom: true, died: at(3), exitCode: 143, last: at(3)}},
		{"our own stop is not held against it", actRemove, []Event{kill(15), die, event(4, ActionStop)},
			sightings{exitCode: 143, last: at(4)}},
		{"a start that fails dies too", actStart, []Event{event(1, ActionCreate), die}, sightings{last: at(3)}},
		{"killed in the middle of a start", actStart, []Event{kill(9)},
			sightings{anySignal: at(2), deadlySignal: at(2), last: at(2)}},
		{"events out of order", "", []Event{event(5, ActionHealth), event(1, ActionStart)}, sightings{last: at(5)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := memory{busy: tt.busy}
			for _, e := range tt.events {
				m.note(e)
			}
			tt.want.container = "c"
			if diff := cmp.Diff(tt.want, m.seen, cmp.AllowUnexported(sightings{})); diff != "" {
				t.Errorf("sightings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	c := DefaultConfig("n", "c")
	for tries, want := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1000: time.Minute,
	} {
		if got := c.backoff(tries); got != want {
			t.Errorf("after %d attempts: %v, want %v", tries, got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	if err := DefaultConfig("n", "c").Validate(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no node": func(c *Config) { c.Node = "" }, "no cluster": func(c *Config) { c.Cluster = "" },
		"no workers": func(c *Config) { c.Workers = 0 }, "no patience": func(c *Config) { c.RejectAfter = 0 },
		"no call time": func(c *Config) { c.CallTimeout = 0 }, "no pull time": func(c *Config) { c.PullTimeout = 0 },
		"negative delay": func(c *Config) { c.Coalesce = -1 }, "negative transient": func(c *Config) { c.Transient = -1 },
		"back-off backwards": func(c *Config) { c.BackoffMax = c.BackoffMin - 1 },
	} {
		c := DefaultConfig("n", "c")
		spoil(&c)
		if c.Validate() == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := New(Deps{}, DefaultConfig("n", "c")); err == nil {
		t.Error("an agent without an engine was made")
	}
}

// TestNodeStateHoldsUpNothing: a cluster that does not know this node yet still
// hears of its replicas.
func TestNodeStateHoldsUpNothing(t *testing.T) {
	inWorld(t, "", func(w *world) {
		w.state.mu.Lock()
		w.state.unknown = true
		w.state.mu.Unlock()
		w.state.assign(assigned("a")...)
		w.pass(20 * time.Second)
		w.expect("a=Running")
		w.state.mu.Lock()
		w.state.unknown = false
		w.state.mu.Unlock()
		w.pass(10 * time.Second)
		if n := w.log.count("node ready=true"); n != 1 {
			t.Errorf("the node's state was taken %d times, want once", n)
		}
	})
}
