package consensus

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/cluster"
)

// single returns a bootstrapped cluster of one.
func single(t *testing.T) *testNode {
	t.Helper()
	r := newRig(t, 1)
	n := r.nodes[0]
	n.open()
	if err := n.Bootstrap(); err != nil {
		t.Fatal(err)
	}
	n.run()
	return n
}

func TestSingleVoterKeepsItsState(t *testing.T) {
	n := single(t)
	if got := n.rig.leader(); got != n {
		t.Fatalf("leader is %v", got)
	}
	first := n.mustPropose("one")
	if first.Index == 0 || !first.Changed {
		t.Errorf("result %+v", first)
	}
	if got, want := n.state.content.Lines[0], "12:00:00 node/node-1 one"; got != want {
		t.Errorf("applied %q, want %q: the clock's time and the actor", got, want)
	}
	if name, address := n.Leader(); name != "node-1" || address != n.address {
		t.Errorf("leader is %s at %s", name, address)
	}
	n.mustPropose("two")

	n.restart()
	n.rig.leader()
	n.state.waitFor(t, "one two")
	if second := n.mustPropose("three"); second.Index <= first.Index {
		t.Errorf("index %d after a restart, %d before", second.Index, first.Index)
	}
	if n.state.loads != 0 {
		t.Errorf("loaded %d snapshots, there is none", n.state.loads)
	}
}

func TestRefusedCommandReturnsTheStatesError(t *testing.T) {
	n := single(t)
	n.rig.leader()
	n.state.apply = func(_ uint64, message string) error {
		if message == "bad" {
			return cluster.ErrConflict
		}
		return nil
	}
	result, err := n.propose("bad")
	if !errors.Is(err, cluster.ErrConflict) || result.Index == 0 {
		t.Fatalf("result %+v, error %v, want %v", result, err, cluster.ErrConflict)
	}
	n.mustPropose("good")
	n.state.waitFor(t, "good")
}

func TestSnapshotAndRestore(t *testing.T) {
	n := single(t)
	n.rig.leader()
	n.mustPropose("one")
	n.mustPropose("two")
	if err := n.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	taken := n.Stats().SnapshotIndex
	if taken == 0 {
		t.Error("no snapshot is counted")
	}
	if err := n.Snapshot(t.Context()); err != nil {
		t.Errorf("second snapshot with nothing new: %v", err)
	}
	n.mustPropose("three")

	n.restart()
	n.rig.leader()
	n.state.waitFor(t, "one two three")
	if n.state.loads != 1 {
		t.Errorf("loaded %d snapshots, want 1", n.state.loads)
	}
	if got := n.Stats().SnapshotIndex; got != taken {
		t.Errorf("snapshot at %d, want %d", got, taken)
	}
}

// Raft files a snapshot under an index that the state may have passed when it
// is written. Nothing may be applied twice for that.
func TestSnapshotAheadOfItsIndex(t *testing.T) {
	n := single(t)
	n.rig.leader()
	n.mustPropose("one")
	snap, err := n.fsm.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	n.mustPropose("two")
	sink := &sink{}
	if err := snap.Persist(sink); err != nil {
		t.Fatal(err)
	}
	restored := newMemory()
	if err := restored.Load(strings.NewReader(sink.String())); err != nil {
		t.Fatal(err)
	}
	if got := restored.messages(); got != "one two" {
		t.Errorf("the snapshot holds %q", got)
	}
	if restored.content.Index != n.state.content.Index {
		t.Error("the snapshot does not know how far it goes")
	}
}

func TestUnknownCommandEndsRun(t *testing.T) {
	n := single(t)
	n.rig.leader()
	n.mustPropose("one")
	n.state.apply = func(_ uint64, message string) error {
		if message == "future" {
			return cluster.ErrUnknownCommand
		}
		return nil
	}
	if _, err := n.propose("future"); !errors.Is(err, ErrHalted) || !errors.Is(err, cluster.ErrUnknownCommand) {
		t.Errorf("propose: %v, want %v", err, ErrHalted)
	}
	err := <-n.ended
	n.ended <- err // for the rig
	if !errors.Is(err, cluster.ErrUnknownCommand) || !strings.Contains(err.Error(), "upgrade jacod") {
		t.Fatalf("Run returned %v, want %v and advice", err, cluster.ErrUnknownCommand)
	}
	if got := n.state.messages(); got != "one" {
		t.Errorf("applied %q behind the unknown command", got)
	}
	if _, err := n.propose("after"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("propose after Run: %v, want %v", err, ErrNotRunning)
	}

	// A build that knows the command takes the log up where this one stopped.
	n.open()
	n.run()
	n.rig.leader()
	n.state.waitFor(t, "one future")
}

// What was passed over must not be lost in a snapshot.
func TestHaltedStateIsNotSaved(t *testing.T) {
	faults := newFaults("dir", testConfig(t, t.TempDir(), "node-1", "a:1").Logger)
	state := newMemory()
	state.apply = func(uint64, string) error { return cluster.ErrUnknownCommand }
	f := &fsm{state: state, faults: faults, members: &members{}, pipelines: &pipelines{}}
	for index := range uint64(3) {
		result := f.Apply(logEntry(t, index+1, "x")).(cluster.Result)
		if !errors.Is(result.Err, ErrHalted) || result.Index != index+1 {
			t.Errorf("entry %d: %+v, want %v", index+1, result, ErrHalted)
		}
	}
	if _, err := f.Snapshot(); !errors.Is(err, ErrHalted) {
		t.Errorf("snapshot: %v, want %v", err, ErrHalted)
	}
	if err := <-faults.ended; !errors.Is(err, cluster.ErrUnknownCommand) || !strings.Contains(err.Error(), "entry 1 ") {
		t.Errorf("fatal fault is %v, want the first entry's", err)
	}
}

// An entry that the state's own disk refused is applied when there is room
// again: it is neither lost nor the end of Run.
func TestStorageFaultIsTriedAgain(t *testing.T) {
	n := single(t)
	n.rig.leader()
	refused := make(chan struct{}, 16)
	attempts := 0
	n.state.apply = func(_ uint64, message string) error {
		if attempts++; message == "big" && attempts < 3 {
			refused <- struct{}{}
			return cluster.ErrStorage
		}
		return nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := n.propose("big")
		done <- err
	}()
	<-refused
	<-refused // the fault was noted before the second attempt
	if fault := n.Stats().Fault; !errors.Is(fault, cluster.ErrStorage) {
		t.Errorf("fault is %v, want %v", fault, cluster.ErrStorage)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if fault := n.Stats().Fault; fault != nil {
		t.Errorf("fault stays: %v", fault)
	}
	n.state.waitFor(t, "big")
}

func TestStopDuringStorageFault(t *testing.T) {
	n := single(t)
	n.rig.leader()
	refused := make(chan struct{}, 1)
	n.state.apply = func(uint64, string) error {
		select {
		case refused <- struct{}{}:
		default:
		}
		return cluster.ErrStorage
	}
	done := make(chan error, 1)
	go func() {
		_, err := n.propose("big")
		done <- err
	}()
	<-refused
	if err := n.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := <-done; err == nil {
		t.Error("the proposal succeeded")
	}
	n.open()
	n.run()
	n.rig.leader()
	n.state.waitFor(t, "big")
}

func TestBeforeAndAfterRun(t *testing.T) {
	r := newRig(t, 1)
	n := r.nodes[0]
	n.open()
	if has, err := n.HasState(); has || err != nil {
		t.Errorf("has state = %v, %v", has, err)
	}
	if _, err := n.propose("early"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("propose before Run: %v, want %v", err, ErrNotRunning)
	}
	if n.IsLeader() || n.Term() != 0 || n.Stats().Role != "shutdown" || !n.LastContact().IsZero() {
		t.Errorf("stats before Run: %+v", n.Stats())
	}
	if err := n.Bootstrap(); err != nil {
		t.Fatal(err)
	}
	if has, err := n.HasState(); !has || err != nil {
		t.Errorf("has state = %v, %v", has, err)
	}
	if err := n.Bootstrap(); !errors.Is(err, ErrBootstrapped) {
		t.Errorf("second bootstrap: %v, want %v", err, ErrBootstrapped)
	}
	n.run()
	r.leader()
	stats := n.Stats()
	if stats.Role != "leader" || stats.Term == 0 || stats.Term != n.Term() || stats.Voters != 1 || stats.Fault != nil {
		t.Errorf("stats %+v", stats)
	}
	if got := n.LastContact(); !got.Equal(epoch) {
		t.Errorf("leader's last contact is %v, want the clock's %v", got, epoch)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); err == nil {
		t.Error("Run ran twice")
	}
	if err := n.WhileLeader(t.Context(), nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("WhileLeader after Run: %v, want %v", err, ErrNotRunning)
	}
	if _, _, err := n.WaitLeader(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("WaitLeader after Run: %v, want %v", err, ErrNotRunning)
	}
}

// refusal is a directory that Run must not take up.
type refusal struct {
	prepare func(t *testing.T, n *testNode)
	want    error
	advice  string
}

func bootstrapped(t *testing.T, n *testNode) {
	t.Helper()
	if err := n.Bootstrap(); err != nil {
		t.Fatal(err)
	}
}

func logPath(n *testNode) string { return filepath.Join(n.dir, "raft", logFile) }

func refusals() map[string]refusal {
	return map[string]refusal{
		"nothing there": {func(*testing.T, *testNode) {}, ErrNoState, "bootstrap init"},
		"log removed beside a snapshot": {func(t *testing.T, n *testNode) {
			bootstrapped(t, n)
			n.run()
			n.rig.leader()
			n.mustPropose("one")
			if err := n.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(n.stop(), os.Remove(logPath(n))); err != nil {
				t.Fatal(err)
			}
			n.open()
		}, ErrDamaged, "missing beside its snapshots"},
		"log emptied": {func(t *testing.T, n *testNode) {
			bootstrapped(t, n)
			if err := os.Truncate(logPath(n), 0); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged, "restore"},
		"log overwritten": {func(t *testing.T, n *testNode) {
			bootstrapped(t, n)
			if err := os.WriteFile(logPath(n), make([]byte, 64<<10), 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, "restore"},
		"log's pages overwritten": {func(t *testing.T, n *testNode) {
			bootstrapped(t, n)
			data, err := os.ReadFile(logPath(n))
			if err != nil {
				t.Fatal(err)
			}
			page := os.Getpagesize()
			for i := 2 * page; i < len(data); i++ { // behind the two meta pages
				data[i] = 0xff
			}
			if err := os.WriteFile(logPath(n), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged, "restore"},
		"log cut short": {func(t *testing.T, n *testNode) {
			bootstrapped(t, n)
			n.run()
			n.rig.leader()
			n.mustPropose(strings.Repeat("x", 1<<20))
			info, err := os.Stat(logPath(n))
			if err := errors.Join(err, n.stop(), os.Truncate(logPath(n), info.Size()/2)); err != nil {
				t.Fatal(err)
			}
			n.open()
		}, ErrDamaged, "cut short"},
		"log a directory": {func(t *testing.T, n *testNode) {
			if err := os.MkdirAll(logPath(n), 0o700); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged, "no regular file"},
		"in use": {func(t *testing.T, n *testNode) {
			bootstrapped(t, n)
			s, err := n.openStores(false)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.close() })
		}, nil, "second jacod"},
		"snapshot that does not load": {func(t *testing.T, n *testNode) {
			bootstrapped(t, n)
			n.run()
			n.rig.leader()
			n.mustPropose("one")
			if err := errors.Join(n.Snapshot(t.Context()), n.stop()); err != nil {
				t.Fatal(err)
			}
			n.open()
			n.state.load = func() error { return cluster.ErrCorrupt }
		}, cluster.ErrCorrupt, "restore"},
	}
}

func TestRunRefuses(t *testing.T) {
	for name, c := range refusals() {
		t.Run(name, func(t *testing.T) {
			n := newRig(t, 1).nodes[0]
			n.open()
			c.prepare(t, n)
			err := n.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.advice) {
				t.Fatalf("Run: %v, want one that says %q", err, c.advice)
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("Run: %v, want %v", err, c.want)
			}
			if conn, err := net.Dial("tcp", n.address); err == nil {
				conn.Close()
				t.Error("the listener is still open")
			}
		})
	}
}

func TestConfigValidate(t *testing.T) {
	good := testConfig(t, "dir", "node-1", "127.0.0.1:7000")
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"Dir":                func(c *Config) { c.Dir = "" },
		"Node":               func(c *Config) { c.Node = "" },
		"Address":            func(c *Config) { c.Address = "" },
		"Clock":              func(c *Config) { c.Clock = nil },
		"Logger":             func(c *Config) { c.Logger = nil },
		"ApplyTimeout":       func(c *Config) { c.ApplyTimeout = 0 },
		"LeaderLeaseTimeout": func(c *Config) { c.Lease = c.Heartbeat + 1 },
		"ElectionTimeout":    func(c *Config) { c.Election = c.Heartbeat - 1 },
		"CommitTimeout":      func(c *Config) { c.CommitTimeout = 0 },
		"SnapshotInterval":   func(c *Config) { c.SnapshotInterval = 0 },
	} {
		cfg := good
		spoil(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without a good %s: %v", name, err)
		}
	}
	if _, err := New(good, nil, Stream{}); err == nil {
		t.Error("New took no state and no stream")
	}
}

func TestProposeHonoursItsContext(t *testing.T) {
	n := single(t)
	n.rig.leader()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Propose(ctx, cluster.Actor{}, event("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	begun, hold := make(chan struct{}), make(chan struct{})
	n.state.apply = func(uint64, string) error {
		close(begun)
		<-hold
		return nil
	}
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if _, err := n.Propose(ctx, cluster.Actor{}, event("slow")); !errors.Is(err, ErrUncertain) || !errors.Is(err, context.Canceled) {
		t.Errorf("context that ends under way: %v, want %v", err, ErrUncertain)
	}
	close(hold)
	n.state.waitFor(t, "slow")
}
