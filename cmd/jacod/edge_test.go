package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/mesh"
	"github.com/jaco-sh/jaco/mesh/bridge"
	"github.com/jaco-sh/jaco/mesh/dns"
	"github.com/jaco-sh/jaco/mesh/firewall"
	"github.com/jaco-sh/jaco/mesh/wireguard"
)

// obedient is a host on which everything works at once.
type obedient struct {
	mu    sync.Mutex // guards what follows
	names dns.Config
}

func (*obedient) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}

type obedientWireGuard struct{ *obedient }

func (obedientWireGuard) Set(context.Context, wireguard.Config) (mesh.WireGuardResult, error) {
	return mesh.WireGuardResult{Mode: wireguard.Userspace, MTU: 1420}, nil
}

func (obedientWireGuard) Handshakes(context.Context) (map[string]time.Time, error) { return nil, nil }

type obedientFirewall struct{ *obedient }

func (obedientFirewall) Set(context.Context, firewall.Config) (mesh.FirewallResult, error) {
	return mesh.FirewallResult{Generation: 1}, nil
}

type obedientBridges struct{ *obedient }

func (obedientBridges) Set(_ context.Context, c bridge.Config) (mesh.BridgesResult, error) {
	r := mesh.BridgesResult{Ready: map[string]string{}}
	for _, n := range c.Networks {
		r.Ready[n.Name] = ""
	}
	return r, nil
}

type obedientDNS struct{ *obedient }

func (d obedientDNS) Set(c dns.Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names = c
}

func (obedientDNS) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (d obedientDNS) Status() dns.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	var s dns.Status
	for _, l := range d.names.Listeners {
		s.Listeners = append(s.Listeners, dns.ListenerStatus{Address: l.Address, Serving: true})
	}
	return s
}

type obedientProber struct{}

func (obedientProber) Probe(context.Context, []mesh.Target, int) ([]mesh.Probe, error) {
	return nil, nil
}

// runTestEdge runs an edge on an obedient host, with its files in a directory,
// and returns its socket and a function that ends it.
func runTestEdge(t *testing.T, directory string) (socket string, stop func()) {
	t.Helper()
	host := new(obedient)
	logger := slog.New(slog.DiscardHandler)
	store := newEdgeStore(directory, logger)
	e := &edgeProcess{name: "n1", store: store, logger: logger}
	e.mesh = mesh.New(mesh.Deps{
		WireGuard: obedientWireGuard{host}, Firewall: obedientFirewall{host}, Bridges: obedientBridges{host},
		DNS: obedientDNS{host}, Prober: obedientProber{}, Keep: store.keepMemory, Clock: time.Now, Logger: logger,
	}, mesh.Config{
		Local:     mesh.Local{Interface: "jaco0", Key: wireguard.Key{1}, Port: 51820},
		PublicKey: wireguard.Key{2}, Mode: wireguard.Userspace, Version: "v", PID: os.Getpid(), Memory: store.memory(),
	})
	if state := store.state(); state != nil {
		e.mesh.Update(state)
	}
	socket = filepath.Join(t.TempDir(), "edge.sock")
	ctx, cancel := context.WithCancel(t.Context())
	listener, err := listenEdge(ctx, socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- e.serve(ctx, listener, socket) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the edge ended with %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return socket, stop
}

// edgeState is one network on node n1.
func edgeState(index uint64) *cluster.EdgeState {
	key := make([]byte, 32)
	key[0] = 1
	block, slice := netip.MustParsePrefix("10.64.16.0/20"), netip.MustParsePrefix("10.64.16.16/28")
	return &cluster.EdgeState{
		Cluster: "c1", Node: "n1", Index: index, Pool: netip.MustParsePrefix("10.64.0.0/10"),
		Nodes: []cluster.EdgeNode{{Name: "n1", PublicKey: key, Address: block.Addr().Next(), Blocks: []netip.Prefix{block}}},
		Networks: []cluster.EdgeNetwork{{
			Name: "jaco_shop_front", Deployment: "shop", Network: "front",
			Slices: []cluster.EdgeSlice{{Serial: 1, Prefix: slice}}, Members: []netip.Prefix{slice},
		}},
	}
}

// dialEdge is a feeder.
func dialEdge(t *testing.T, socket string) *rpc.EdgeStream {
	t.Helper()
	stream, err := rpc.DialEdge(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Close() })
	return stream
}

// awaitReport receives until a report is as wanted.
func awaitReport(t *testing.T, stream *rpc.EdgeStream, want func(*cluster.EdgeReport) bool) *cluster.EdgeReport {
	t.Helper()
	for {
		report, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if want(report) {
			return report
		}
	}
}

func applied(index uint64) func(*cluster.EdgeReport) bool {
	return func(r *cluster.EdgeReport) bool { return r.Applied == index }
}

// TestEdgeFeed feeds an edge over its socket, restarts it, and has one feeder
// take another's place.
func TestEdgeFeed(t *testing.T) {
	directory := t.TempDir()
	socket, stop := runTestEdge(t, directory)
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v (%v), want 0600", info.Mode(), err)
	}
	stream := dialEdge(t, socket)
	first, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if first.Applied != 0 || first.Version != "v" || first.PID != os.Getpid() || !bytes.Equal(first.PublicKey[:1], []byte{2}) || first.Port != 51820 || first.Mode != "userspace" || first.Firewall.Ready {
		t.Errorf("an edge that knows nothing says %+v", first)
	}
	if err := stream.Send(edgeState(7)); err != nil {
		t.Fatal(err)
	}
	report := awaitReport(t, stream, applied(7))
	if len(report.Networks) != 1 || !report.Networks[0].Ready || !report.Firewall.Ready || report.Problem != "" {
		t.Errorf("the state is applied as %+v", report)
	}

	second := dialEdge(t, socket)
	awaitReport(t, second, applied(7)) // without a word from this feeder
	for {                              // what was under way still comes, and then the end
		if _, err := stream.Recv(); err != nil {
			break
		}
	}
	if err := second.Send(edgeState(8)); err != nil {
		t.Fatal(err)
	}
	awaitReport(t, second, applied(8))
	stop()

	socket, _ = runTestEdge(t, directory)
	stream = dialEdge(t, socket)
	awaitReport(t, stream, applied(8)) // from what it kept
	other := edgeState(9)
	other.Node = "n2"
	if err := stream.Send(other); err != nil {
		t.Fatal(err)
	}
	for {
		report, err := stream.Recv()
		if err == nil && report.Applied != 9 {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "this is the edge of n1") {
			t.Errorf("another node's state ends with report %+v and error %v", report, err)
		}
		break
	}
}

// TestEdgeStore reads back what was kept, whatever has happened to it.
func TestEdgeStore(t *testing.T) {
	for _, test := range []struct {
		name, file string // "-": there is none
		index      uint64 // 0: nothing is read
		aside      bool
	}{
		{"none", "-", 0, false},
		{"as it was written", "", 7, false},
		{"with fields of a later version", `{"node": "n1", "index": 5, "pool": "10.64.0.0/10", "more": {"x": [1]}}`, 5, false},
		{"empty", " ", 0, true},
		{"cut off", `{"node": "n1", "index": 7, "po`, 0, true},
		{"zeros, as after a power cut", strings.Repeat("\x00", 512), 0, true},
		{"another type", `{"node": "n1", "index": "seven"}`, 0, true},
		{"a prefix that is none", `{"node": "n1", "pool": "10.64.0.0/99"}`, 0, true},
		{"of nobody", `{}`, 0, false},
		{"null", `null`, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newEdgeStore(t.TempDir(), slog.New(slog.DiscardHandler))
			path := filepath.Join(s.directory, edgeStateFile)
			switch test.file {
			case "-":
			case "":
				s.keepState(edgeState(6))
				s.keepState(edgeState(7))
				s.writeState()
			default:
				if err := os.WriteFile(path, []byte(test.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var index uint64
			if state := s.state(); state != nil {
				index = state.Index
			}
			if index != test.index {
				t.Errorf("the state read has index %d, want %d", index, test.index)
			}
			data, err := os.ReadFile(path + corruptSuffix)
			if aside := err == nil; aside != test.aside || aside && string(data) != test.file {
				t.Errorf("set aside: %t with %q, want %t with what was there", aside, data, test.aside)
			}
			if _, err := os.Stat(path); test.aside && !errors.Is(err, fs.ErrNotExist) {
				t.Error("the damaged file is still there")
			}
			if entries, err := os.ReadDir(s.directory); err != nil || len(entries) > 1 {
				t.Errorf("left in the directory: %v, %v", entries, err)
			}
		})
	}
}

// TestEdgeMemory wants the memory on disk when it is said to be.
func TestEdgeMemory(t *testing.T) {
	s := newEdgeStore(t.TempDir(), slog.New(slog.DiscardHandler))
	want := mesh.Memory{Next: 9, Generation: 4, Events: []cluster.EdgeEvent{{Number: 8, Event: cluster.Event{Type: cluster.EventMeshRepaired, Message: "x"}}}}
	if err := s.keepMemory(want); err != nil {
		t.Fatal(err)
	}
	if got := newEdgeStore(s.directory, s.logger).memory(); got.Next != 9 || got.Generation != 4 || len(got.Events) != 1 || got.Events[0] != want.Events[0] {
		t.Errorf("read back %+v", got)
	}
	info, err := os.Stat(filepath.Join(s.directory, edgeMemoryFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v (%v), want 0600", info.Mode(), err)
	}
	s.directory = filepath.Join(s.directory, "none")
	if err := s.keepMemory(want); err == nil {
		t.Error("what cannot be written is said to be kept")
	}
}

// TestEdgeLock wants one edge in a directory, and no cleanup beside it.
func TestEdgeLock(t *testing.T) {
	config := DefaultConfig("n1")
	config.DataDir = filepath.Join(t.TempDir(), "data")
	config.Edge.Socket = filepath.Join(t.TempDir(), "edge.sock")
	directory, unlock, err := lockEdge(config.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(directory)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory's mode is %v (%v), want 0700", info.Mode(), err)
	}
	if _, _, err := lockEdge(config.DataDir); !errors.Is(err, errEdgeRuns) {
		t.Errorf("a second edge gets %v", err)
	}
	err = cleanUpEdge(t.Context(), config, slog.New(slog.DiscardHandler), io.Discard)
	if !errors.Is(err, errEdgeRuns) || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("a cleanup beside an edge gets %v", err)
	}
	unlock()
	if _, unlock, err = lockEdge(config.DataDir); err != nil {
		t.Errorf("after the first has ended the next gets %v", err)
	} else {
		unlock()
	}
}

// TestEdgeForgets wants nothing of the edge left but the file of its lock.
func TestEdgeForgets(t *testing.T) {
	directory, unlock, err := lockEdge(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	for _, name := range []string{edgeKeyFile, edgeStateFile, edgeMemoryFile, edgeStateFile + corruptSuffix} {
		if err := os.WriteFile(filepath.Join(directory, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // once more is no error
		if err := forgetEdge(directory, filepath.Join(directory, "none.sock"), io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(directory)
	if err != nil || len(entries) != 1 || entries[0].Name() != edgeLockFile {
		t.Errorf("left: %v, %v", entries, err)
	}
}
