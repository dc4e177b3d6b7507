package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// journal collects lines with the time since it was made. Lines of one instant
// are sorted: what happens at once has no order.
type journal struct {
	began time.Time

	mu    sync.Mutex // guards the field below
	lines []string
}

func (j *journal) print(who, what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	at := time.Since(j.began)
	j.lines = append(j.lines, fmt.Sprintf("%10.4fs  %-7s %s", at.Seconds(), who, what))
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(slices.Sorted(slices.Values(j.lines)), "\n") + "\n"
}

func (j *journal) count(part string) int {
	n := 0
	for line := range strings.Lines(j.String()) {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// fakeState is the cluster: it takes reports as the real one does.
type fakeState struct {
	log *journal

	mu       sync.Mutex // guards the fields below
	replicas map[string]cluster.Replica
	claims   []cluster.Claim
	view     *cluster.View
	changed  chan struct{}
	faults   []error       // of the next calls of the reporter
	unknown  bool          // the node is not in the member table
	lag      time.Duration // between a commit and its arrival in this node's state
	events   []cluster.Event
	blamed   []cluster.Event // that Misbehaviour was told of
}

var (
	_ State    = (*fakeState)(nil)
	_ Views    = (*fakeState)(nil)
	_ Reporter = (*fakeState)(nil)
	_ Snapshot = fakeSnapshot{}
)

// fakeSnapshot is one moment of it.
type fakeSnapshot struct {
	replicas []cluster.Replica
	claims   []cluster.Claim
}

func (s fakeSnapshot) ReplicasOnNode(node string) []cluster.Replica {
	return s.only(func(r *cluster.Replica) bool { return r.Node == node })
}

func (s fakeSnapshot) ReplicasOf(deployment string) []cluster.Replica {
	return s.only(func(r *cluster.Replica) bool { return r.Deployment == deployment })
}

func (s fakeSnapshot) only(wanted func(*cluster.Replica) bool) (out []cluster.Replica) {
	for i := range s.replicas {
		if wanted(&s.replicas[i]) {
			out = append(out, s.replicas[i])
		}
	}
	return out
}

func (s fakeSnapshot) ClaimsAfter(number uint64) (out []cluster.Claim) {
	for _, c := range s.claims {
		if c.Number > number {
			out = append(out, c)
		}
	}
	return out
}

func (s *fakeState) Read() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fakeSnapshot{slices.Collect(maps.Values(s.replicas)), slices.Clone(s.claims)}
}

func (s *fakeState) View() *cluster.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view
}

func (s *fakeState) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *fakeState) changedLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *fakeState) faultLocked() error {
	if len(s.faults) == 0 {
		return nil
	}
	err := s.faults[0]
	s.faults = s.faults[1:]
	return err
}

func (s *fakeState) Report(_ context.Context, r *cluster.ReportReplicas) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.faultLocked(); err != nil {
		s.log.print("state", "refuses: "+err.Error())
		return err
	}
	for _, rep := range r.Reports {
		s.log.print("state", "report "+strings.ReplaceAll(reportString(rep), `\n`, " | "))
	}
	if s.lag == 0 {
		s.applyLocked(r.Reports)
		return nil
	}
	lag := s.lag
	go func() {
		<-time.After(lag)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.applyLocked(r.Reports)
	}()
	return nil
}

func (s *fakeState) applyLocked(reports []cluster.ReplicaReport) {
	for _, rep := range reports {
		rec, ok := s.replicas[rep.ID]
		if !ok || rec.Phase.Final() || order(rep.Phase) < order(rec.Phase) {
			continue
		}
		rec.Phase, rec.Reason = rep.Phase, rep.Reason
		if rep.ContainerID != "" {
			rec.ContainerID = rep.ContainerID
		}
		if rep.Address != "" {
			rec.Address = rep.Address
		}
		if rep.ImageDigest != "" {
			rec.ImageDigest = rep.ImageDigest
		}
		if !rep.StartedAt.IsZero() {
			rec.StartedAt = rep.StartedAt
		}
		s.replicas[rep.ID] = rec
	}
	s.changedLocked()
}

func (s *fakeState) Record(_ context.Context, events []cluster.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		s.log.print("state", fmt.Sprintf("event %s %s %q", e.Type, e.Replica, e.Message))
	}
	s.events = append(s.events, events...)
	return nil
}

func (s *fakeState) NodeState(_ context.Context, n NodeStatus) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unknown {
		return cluster.ErrNotFound
	}
	s.log.print("state", fmt.Sprintf("node ready=%t %q", n.Ready, n.Reason))
	return nil
}

// assign adds or replaces assignments, as a leader's plan does.
func (s *fakeState) assign(rs ...cluster.Replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rs {
		s.log.print("leader", fmt.Sprintf("assign %s stop=%t", r.ID, r.Stop))
		s.replicas[r.ID] = r
	}
	s.changedLocked()
}

func (s *fakeState) stop(ids ...string) {
	for _, id := range ids {
		r := s.get(id)
		r.Stop = true
		s.assign(r)
	}
}

func (s *fakeState) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.print("leader", "forget "+id)
	delete(s.replicas, id)
	s.changedLocked()
}

func (s *fakeState) accept(v *cluster.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view = v
	s.changedLocked()
}

// claim is a leader's word that the repository moved on.
func (s *fakeState) claim(c cluster.Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.print("leader", fmt.Sprintf("claim %d", c.Number))
	s.claims = append(s.claims, c)
	s.changedLocked()
}

func (s *fakeState) blame(e cluster.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.print("blame", fmt.Sprintf("%s %q", e.Replica, e.Message))
	s.blamed = append(s.blamed, e)
}

func (s *fakeState) get(id string) cluster.Replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replicas[id]
}

// world is a cluster of one node in virtual time.
type world struct {
	t      *testing.T
	log    *journal
	engine *fakeEngine
	state  *fakeState
	keys   *fakeKeys
	files  *fakeFiles
	ready  chan struct{}
	kill   func() // the agent that runs, as kill -9 does; nil when none does
}

// inWorld runs a scenario with an agent that is up, and compares what was
// printed with a golden file unless its name is empty.
func inWorld(t *testing.T, name string, scenario func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := &journal{began: time.Now()}
		ready := make(chan struct{})
		close(ready)
		w := &world{
			t: t, log: log, engine: newFakeEngine(log), ready: ready, keys: &fakeKeys{}, files: &fakeFiles{held: map[string][]SecretFile{}},
			state: &fakeState{log: log, replicas: map[string]cluster.Replica{},
				changed: make(chan struct{}), view: accepted(rev1, shop("1", 3), nil)},
		}
		w.start()
		synctest.Wait()
		scenario(w)
		w.kill()
		w.engine.mu.Lock()
		doubled := w.engine.doubled
		w.engine.cutStreamsLocked()
		w.engine.mu.Unlock()
		if len(doubled) > 0 {
			t.Errorf("replicas with two containers: %v", doubled)
		}
		if name != "" {
			golden(t, "loop/"+name+".txt", log.String())
		}
	})
}

// start brings up a new process.
func (w *world) start() {
	handle := &fakeHandle{fakeEngine: w.engine, dead: make(chan struct{})}
	a, err := New(Deps{Engine: handle, State: w.state, Views: w.state, Reporter: w.state,
		Keys: w.keys, SecretFiles: w.files, Ready: w.ready, Log: slog.New(slog.DiscardHandler), Misbehaviour: w.state.blame}, DefaultConfig("node-1", testCluster))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	w.kill = func() {
		close(handle.dead)
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the agent ended with %v", err)
		}
		w.log.print("world", "agent killed")
		w.kill = nil
	}
}

// pass lets virtual time go by.
func (w *world) pass(d time.Duration) {
	<-time.After(d) // virtual
	synctest.Wait()
}

// phases renders what the state records of all replicas.
func (w *world) phases() string {
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	var out []string
	for _, id := range slices.Sorted(maps.Keys(w.state.replicas)) {
		out = append(out, id+"="+string(w.state.replicas[id].Phase))
	}
	return strings.Join(out, " ")
}

func (w *world) expect(want string) {
	w.t.Helper()
	if got := w.phases(); got != want {
		w.t.Errorf("phases: %s, want %s", got, want)
	}
}
