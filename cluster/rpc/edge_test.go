package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"

	"github.com/jaco-sh/jaco/cluster"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// fakeEdge reports the index of every state that it takes.
type fakeEdge struct {
	feeding atomic.Int32 // calls of Feed under way
	overlap atomic.Bool
	got     chan *cluster.EdgeState
	ended   chan error // why a call of Feed ended
	say     chan *cluster.EdgeReport
}

func (e *fakeEdge) Feed(ctx context.Context, states <-chan *cluster.EdgeState, reports func(*cluster.EdgeReport) error) error {
	if e.feeding.Add(1) > 1 {
		e.overlap.Store(true)
	}
	defer e.feeding.Add(-1)
	if err := reports(&cluster.EdgeReport{Version: "v1", PID: 7}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			e.ended <- context.Cause(ctx)
			return nil
		case state := <-states:
			e.got <- state
			if err := reports(&cluster.EdgeReport{Version: "v1", Applied: state.Index}); err != nil {
				return err
			}
		case report := <-e.say:
			if err := reports(report); err != nil {
				return err
			}
		}
	}
}

// serveEdge serves an edge on a socket, until the end of the test or stop.
func serveEdge(t *testing.T, edge EdgeHandler) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "edge.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- ServeEdge(ctx, listener, edge, slog.New(slog.NewTextHandler(io.Discard, nil))) }()
	stop = func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("ServeEdge: %v", err)
		}
		served <- nil
	}
	t.Cleanup(stop)
	return socket, stop
}

func newFakeEdge() *fakeEdge {
	return &fakeEdge{got: make(chan *cluster.EdgeState, 10), ended: make(chan error, 10), say: make(chan *cluster.EdgeReport)}
}

func dialEdge(t *testing.T, socket string) *EdgeStream {
	t.Helper()
	stream, err := DialEdge(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Close() })
	return stream
}

func recv(t *testing.T, stream *EdgeStream) *cluster.EdgeReport {
	t.Helper()
	report, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestFeedCarriesEverything(t *testing.T) {
	edge := newFakeEdge()
	socket, _ := serveEdge(t, edge)
	stream := dialEdge(t, socket)
	if report := recv(t, stream); report.PID != 7 {
		t.Errorf("the first report is %+v", report)
	}
	want := &cluster.EdgeState{
		Cluster: "0123456789abcdef", Node: "n1", Index: 42, Pool: netip.MustParsePrefix("10.64.0.0/10"), EventsSeen: 3,
		Nodes: []cluster.EdgeNode{{
			Name: "n1", PublicKey: []byte{1, 0xff}, Endpoint: netip.MustParseAddrPort("192.0.2.1:51820"), Address: netip.MustParseAddr("10.64.0.1"),
			Blocks: []netip.Prefix{netip.MustParsePrefix("10.64.0.0/20")}, Ingress: true,
		}},
		// More than gRPC takes by itself.
		Services: []cluster.EdgeService{{Deployment: "shop", Name: strings.Repeat("x", 8<<20)}},
	}
	if err := stream.Send(want); err != nil {
		t.Fatal(err)
	}
	values := cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}, netip.AddrPort{})
	if diff := cmp.Diff(want, receiveFrom(t, edge.got), values); diff != "" {
		t.Errorf("state (-sent +received):\n%s", diff[:min(len(diff), 2000)])
	}
	if report := recv(t, stream); report.Applied != 42 {
		t.Errorf("the report after the state is %+v", report)
	}
	said := &cluster.EdgeReport{
		Version: "v2", PID: 8, Applied: 9, PublicKey: []byte{9}, Port: 51820, Mode: "kernel", Problem: "none", PeersAt: 5,
		Firewall: cluster.FirewallStatus{Ready: true, Reason: "r", Generation: 6},
		Networks: []cluster.EdgeReady{{Network: "shop_back", Serial: 2, Prefix: netip.MustParsePrefix("10.64.0.16/28"), Ready: true, Reason: "x"}},
		Peers:    []cluster.PeerStatus{{Node: "n2", HandshakeAge: -1, RTT: 0.5, MTU: 1420, Mode: "kernel", Reason: "lost"}},
		Events:   []cluster.EdgeEvent{{Number: 3, Event: cluster.Event{Type: cluster.EventMeshRepaired, Message: "m"}}},
	}
	edge.say <- said
	if diff := cmp.Diff(said, recv(t, stream), values); diff != "" {
		t.Errorf("report (-sent +received):\n%s", diff)
	}
}

// sentStates is a stream on which so many states came before it ended.
type sentStates struct {
	grpc.BidiStreamingServer[jacov1.FeedRequest, jacov1.FeedResponse]
	came, all uint64
}

func (s *sentStates) Recv() (*jacov1.FeedRequest, error) {
	if s.came == s.all {
		return nil, io.EOF
	}
	s.came++
	return &jacov1.FeedRequest{State: fmt.Appendf(nil, `{"index":%d}`, s.came)}, nil
}

// TestNewestStateCounts: an edge that is busy finds the newest state, not all
// those that came before, and holds nobody up.
func TestNewestStateCounts(t *testing.T) {
	states := make(chan *cluster.EdgeState, 1)
	if err := receiveStates(&sentStates{all: 100}, states); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if state := <-states; state.Index != 100 || len(states) > 0 {
		t.Errorf("the edge finds state %d and %d more, want the last of 100 alone", state.Index, len(states))
	}
}

// TestNewFeederTakesOver: of two feeders the later one is served, and never both
// at once.
func TestNewFeederTakesOver(t *testing.T) {
	edge := newFakeEdge()
	socket, _ := serveEdge(t, edge)
	first := dialEdge(t, socket)
	recv(t, first)
	second := dialEdge(t, socket)
	recv(t, second)
	if err := receiveFrom(t, edge.ended); !errors.Is(err, errReplaced) {
		t.Errorf("the first feed ended because of %v, want %v", err, errReplaced)
	}
	if _, err := first.Recv(); err == nil || !strings.Contains(err.Error(), errReplaced.Error()) {
		t.Errorf("the first feeder is told %v", err)
	}
	if err := second.Send(&cluster.EdgeState{Index: 5}); err != nil {
		t.Fatal(err)
	}
	if report := recv(t, second); report.Applied != 5 {
		t.Errorf("the second feeder receives %+v", report)
	}
	if edge.overlap.Load() {
		t.Error("two feeders were served at once")
	}
}

// TestFeedEnds: each end notices the other's.
func TestFeedEnds(t *testing.T) {
	edge := newFakeEdge()
	socket, stop := serveEdge(t, edge)
	stream := dialEdge(t, socket)
	recv(t, stream)
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	receiveFrom(t, edge.ended)
	if _, err := stream.Recv(); !errors.Is(err, context.Canceled) {
		t.Errorf("a closed feed receives %v", err)
	}

	stream = dialEdge(t, socket)
	recv(t, stream)
	stop()
	if _, err := stream.Recv(); !errors.Is(err, ErrUnreachable) {
		t.Errorf("without an edge a feed receives %v, want %v", err, ErrUnreachable)
	}
	_, err := DialEdge(t.Context(), socket)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "is it running") || strings.Contains(err.Error(), "rpc error") {
		t.Errorf("without an edge, dialling says %v", err)
	}
}

// failingEdge cannot serve.
type failingEdge struct{}

func (failingEdge) Feed(context.Context, <-chan *cluster.EdgeState, func(*cluster.EdgeReport) error) error {
	return errors.New("the state cannot be kept: no space left on device")
}

func TestFailureOfTheEdgeIsTold(t *testing.T) {
	socket, _ := serveEdge(t, failingEdge{})
	_, err := dialEdge(t, socket).Recv()
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("the feeder is told %v", err)
	}
}

func TestOnlyRootAndSelfAreTrusted(t *testing.T) {
	self := uint32(os.Geteuid())
	for _, test := range []struct {
		uid     uint32
		known   bool
		trusted bool
	}{
		{0, true, true},
		{self, true, true},
		{self + 1, true, false},
		{65534, true, false},
		{0, false, false},
	} {
		if err := trustPeer(test.uid, test.known); (err == nil) != test.trusted || err != nil && !errors.Is(err, ErrForbidden) {
			t.Errorf("user %d (known: %t): %v", test.uid, test.known, err)
		}
	}
	// Not a unix socket: nobody knows who it is.
	one, two := net.Pipe()
	defer one.Close()
	defer two.Close()
	if _, _, err := (edgeCredentials{}).ServerHandshake(one); !errors.Is(err, ErrForbidden) {
		t.Errorf("the server takes a connection of somebody unknown: %v", err)
	}
	if _, _, err := (edgeCredentials{}).ClientHandshake(t.Context(), "", two); !errors.Is(err, ErrForbidden) {
		t.Errorf("the client takes a connection of somebody unknown: %v", err)
	}
}
