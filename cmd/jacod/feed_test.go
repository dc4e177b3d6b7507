package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// TestFeedTellsWhatChanges: the edge is told at once and whole, and nothing
// where nothing changed for it.
func TestFeedTellsWhatChanges(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	s.current = make(chan struct{})
	edge := startEdge(t, socket)
	f, _ := startFeed(t, s, socket)
	until(t, "the first report", func() bool { return f.mesh().Mode == "userspace" })
	wantClosed(t, f, "what the edge must know is not known yet", "shop_back")
	if n := edge.told(); n != 0 {
		t.Errorf("the edge was told %d states before one was known", n)
	}
	close(s.current)
	until(t, "the first state", func() bool { return edge.told() == 1 })
	until(t, "the report of the key", func() bool { return f.builtUpTo(2) })
	s.change(func() {}) // another entry of the log
	until(t, "a look at it", func() bool { return f.builtUpTo(3) })
	s.change(func() { s.edge.Services = []cluster.EdgeService{{Name: "api"}} })
	until(t, "the change", func() bool { return len(edge.last().Services) == 1 })
	if n := edge.told(); n != 2 {
		t.Errorf("the edge was told %d states, want 2: nothing that it needs to know changed in between", n)
	}
	// Unknown for a while: what it knew counts on.
	s.change(func() { s.known, s.edge.Services = false, nil })
	s.change(func() { s.known, s.edge.Services = true, []cluster.EdgeService{{Name: "api"}, {Name: "db"}} })
	until(t, "the second service", func() bool { return len(edge.last().Services) == 2 })
	for _, state := range edge.states[1:] {
		if len(state.Services) == 0 {
			t.Error("the edge was told a state that nobody knew")
		}
	}
}

// builtUpTo reports whether the state of that index was looked at.
func (f *feed) builtUpTo(index uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.builtIndex >= index
}

// TestOwnReportsComeAtOnce: the edge knows what the node said of a replica before
// the log does.
func TestOwnReportsComeAtOnce(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	edge := startEdge(t, socket)
	f, _ := startFeed(t, s, socket)
	until(t, "the first state", func() bool { return edge.told() > 0 })
	names := func() string {
		var names []string
		for _, service := range edge.last().Services {
			names = append(names, service.Name)
		}
		return strings.Join(names, ", ")
	}
	begun := time.Now()
	first := f.overlay.add([]cluster.ReplicaReport{{ID: "r1", Phase: cluster.Unhealthy, ContainerID: "c1"}, {ID: "r2", Phase: cluster.Healthy}})
	until(t, "the report", func() bool { return names() == "r1 Unhealthy, r2 Healthy" })
	t.Logf("the edge knew after %s", time.Since(begun))
	second := f.overlay.add([]cluster.ReplicaReport{{ID: "r1", Phase: cluster.Healthy}})
	until(t, "the second report", func() bool { return names() == "r1 Healthy, r2 Healthy" })
	if r := f.overlay.reports()[0]; r.ContainerID != "c1" {
		t.Errorf("the second report took away what it left out: %+v", r)
	}
	first() // is in the log; of r1 more was said since
	until(t, "the log's r2", func() bool { return names() == "r1 Healthy" })
	second()
	until(t, "the log's r1", func() bool { return names() == "" })
}

// TestMeshIsReported: the log says of the node what its edge does.
func TestMeshIsReported(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	edge := startEdge(t, socket)
	edge.say(func(r *cluster.EdgeReport) { r.PublicKey = nil })
	f, _ := startFeed(t, s, socket)
	until(t, "the edge", func() bool { return f.mesh().Mode == "userspace" })
	node := func() (node cluster.MeshNode, reported int) {
		s.read(func() {
			if reported = s.reported; s.node != nil {
				node = *s.node
			}
		})
		return
	}
	if _, n := node(); n != 0 {
		t.Error("an edge without a key was reported")
	}
	for i, change := range []func(*cluster.EdgeReport){
		func(r *cluster.EdgeReport) { r.PublicKey = []byte(strings.Repeat("a", 32)) },
		func(r *cluster.EdgeReport) { r.Port = 51821 },
		func(r *cluster.EdgeReport) { r.Mode = "kernel" },
		func(r *cluster.EdgeReport) { r.PublicKey = []byte(strings.Repeat("b", 32)) },
	} {
		edge.say(change)
		until(t, "the report", func() bool { _, n := node(); return n == i+1 })
	}
	if n, _ := node(); n.Port != 51821 || n.Mode != "kernel" || string(n.PublicKey[:]) != strings.Repeat("b", 32) {
		t.Errorf("the state says %+v", n)
	}
	edge.say(func(r *cluster.EdgeReport) { r.PeersAt = 1 }) // nothing of that
	s.change(func() { s.node = nil })                       // the member was replaced
	until(t, "another report", func() bool { _, n := node(); return n == 5 })
}

func repaired(number uint64, message string) cluster.EdgeEvent {
	return cluster.EdgeEvent{Number: number, Event: cluster.Event{Type: cluster.EventFirewallRepaired, Node: "n9", Message: message}}
}

// TestEventsAreRecordedOnce: through lost answers, restarts of jacod and of the
// edge.
func TestEventsAreRecordedOnce(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	edge := startEdge(t, socket)
	f, stop := startFeed(t, s, socket)
	edge.say(func(r *cluster.EdgeReport) { r.Events = []cluster.EdgeEvent{repaired(1, "rule 3 was gone")} })
	until(t, "the acknowledgement", func() bool { return edge.pending() == 0 })
	if want := "n1 firewall-repaired rule 3 was gone (event 1 of the edge)"; s.messages() != want {
		t.Errorf("the log has %q, want %q", s.messages(), want)
	}
	if f.repaired() != 1 {
		t.Errorf("%d repairs were counted", f.repaired())
	}

	// jacod ends after the entry, before the edge heard of it; its next process
	// finds it in the log.
	stop()
	s.change(func() {
		e := numbered("n1", repaired(2, "rule 4 was gone"))
		s.events = append(s.events, e)
	})
	edge.say(func(r *cluster.EdgeReport) {
		r.Events = []cluster.EdgeEvent{repaired(2, "rule 4 was gone"), repaired(3, "rule 5 was gone")}
	})
	f, _ = startFeed(t, s, socket)
	until(t, "the acknowledgement", func() bool { return edge.pending() == 0 })
	if got := strings.Count(s.messages(), "\n") + 1; got != 3 || !strings.Contains(s.messages(), "rule 5") {
		t.Errorf("the log has %q", s.messages())
	}
	if f.repaired() != 1 {
		t.Errorf("%d repairs were counted by the second process, want 1", f.repaired())
	}

	// An edge that lost its numbers counts anew.
	edge.stop()
	edge = startEdge(t, socket)
	edge.say(func(r *cluster.EdgeReport) {
		r.PID, r.Events = 101, []cluster.EdgeEvent{repaired(1, "the table was gone")}
	})
	until(t, "the acknowledgement", func() bool { return edge.pending() == 0 })
	if !strings.HasSuffix(s.messages(), "the table was gone (event 1 of the edge)") {
		t.Errorf("the log has %q", s.messages())
	}

	// What the log will never take does not hold up the rest.
	s.change(func() { s.refuse = cluster.ErrInvalid })
	edge.say(func(r *cluster.EdgeReport) { r.Events = []cluster.EdgeEvent{{Number: 2}} })
	until(t, "the acknowledgement", func() bool { return edge.pending() == 0 })
	s.change(func() { s.refuse = nil })
	edge.say(func(r *cluster.EdgeReport) { r.Events = []cluster.EdgeEvent{repaired(3, "the last")} })
	until(t, "the last", func() bool { return strings.Contains(s.messages(), "the last") })
}

// TestUnrecordedEventsStay: an event that the log did not take is not
// acknowledged.
func TestUnrecordedEventsStay(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	s.refuse = errors.New("no leader")
	edge := startEdge(t, socket)
	edge.say(func(r *cluster.EdgeReport) { r.Events = []cluster.EdgeEvent{repaired(1, "rule 3 was gone")} })
	startFeed(t, s, socket)
	until(t, "a state", func() bool { return edge.told() > 0 })
	s.change(func() { s.edge.Services = []cluster.EdgeService{{Name: "api"}} })
	until(t, "another state", func() bool { return len(edge.last().Services) == 1 })
	if seen := edge.last().EventsSeen; seen != 0 || edge.pending() != 1 {
		t.Errorf("events up to %d were acknowledged, %d are pending", seen, edge.pending())
	}
}

// TestTroubleCountsOnceItLasts: an edge that restarts makes no node NotReady, one
// that stays away does; its firewall is shown as it is in any case.
func TestTroubleCountsOnceItLasts(t *testing.T) {
	s, socket := newFakeState(), filepath.Join(t.TempDir(), "edge.sock")
	f, _ := startFeed(t, s, socket)
	pass := func(d time.Duration) { s.read(func() { s.clock = s.clock.Add(d) }) }
	until(t, "a refusal", func() bool { return strings.HasPrefix(f.mesh().Firewall.Reason, "the edge does not answer: ") })
	if problem := f.problem(); problem != "" {
		t.Errorf("a moment after the start: %q", problem)
	}
	pass(edgeGrace)
	if problem := f.problem(); !strings.HasPrefix(problem, "the edge does not answer: ") || f.mesh().Firewall.Ready {
		t.Errorf("an edge that stays away: %q, %+v", problem, f.mesh())
	}
	edge := startEdge(t, socket)
	until(t, "the edge", func() bool { return f.problem() == "" && f.mesh().Firewall.Ready })
	pass(time.Hour)
	edge.say(func(r *cluster.EdgeReport) { r.Firewall = cluster.FirewallStatus{Reason: "table inet jaco: busy"} })
	until(t, "the firewall", func() bool { return f.mesh().Firewall.Reason == "table inet jaco: busy" })
	if problem := f.problem(); problem != "" {
		t.Errorf("a firewall that was lost just now: %q", problem)
	}
	pass(edgeGrace - time.Second)
	edge.say(func(r *cluster.EdgeReport) { r.Firewall.Reason = "table inet jaco: still busy" })
	until(t, "another reason", func() bool { return f.mesh().Firewall.Reason == "table inet jaco: still busy" })
	pass(time.Second) // another reason is no other trouble
	if problem := f.problem(); problem != "the firewall is not ready: table inet jaco: still busy" {
		t.Errorf("a firewall that stays away: %q", problem)
	}
	var beats int
	s.read(func() { beats = s.beats })
	if beats == 0 {
		t.Error("nobody was told at once")
	}
}
