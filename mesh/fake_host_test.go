package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/mesh/bridge"
	"github.com/jaco-sh/jaco/mesh/dns"
	"github.com/jaco-sh/jaco/mesh/firewall"
	"github.com/jaco-sh/jaco/mesh/wireguard"
)

// fakeHost is a kernel and an engine that write down what is asked of them.
type fakeHost struct {
	start time.Time

	mu    sync.Mutex // guards the fields below
	lines []string
	// What the next calls come to; they stay until they are changed.
	wireguardErr, firewallErr, bridgesErr error
	mtu                                   int
	refuse                                map[string]string // by engine network
	deaf                                  map[netip.Addr]string
	probes                                map[string]Probe
	handshakes                            map[string]time.Time
	// What was changed by hand and is not mended yet.
	drift, meshDrift, bridgeDrift []string
	generation                    uint64
	bridges                       []string // that are there
	listening                     dns.Config
	changed                       map[string]func()
	watchers                      map[string]chan error // end a watch
	block                         chan struct{}         // holds up Bridges.Set while there is one
	memories                      []Memory
	hold                          map[uint64]chan struct{} // holds up the Firewall.Set of that number
}

func newFakeHost() *fakeHost {
	return &fakeHost{start: time.Now(), mtu: 1420, changed: map[string]func(){}, watchers: map[string]chan error{}, deaf: map[netip.Addr]string{}, refuse: map[string]string{}}
}

// log writes one line down, with the time.
func (h *fakeHost) log(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, fmt.Sprintf("%7s  ", time.Since(h.start).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// set changes the host.
func (h *fakeHost) set(change func(h *fakeHost)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

// byHand tells a watcher that somebody changed something.
func (h *fakeHost) byHand(facility string, change func(h *fakeHost)) {
	h.set(change)
	h.mu.Lock()
	tell := h.changed[facility]
	h.mu.Unlock()
	tell()
}

func (h *fakeHost) watch(ctx context.Context, facility string, changed func()) error {
	end := make(chan error)
	h.set(func(h *fakeHost) { h.changed[facility], h.watchers[facility] = changed, end })
	select {
	case err := <-end:
		return err
	case <-ctx.Done():
		return nil
	}
}

// failWatch ends a watch.
func (h *fakeHost) failWatch(facility string, err error) {
	h.mu.Lock()
	end := h.watchers[facility]
	h.mu.Unlock()
	end <- err
}

func outcome(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

type fakeWireGuard struct{ *fakeHost }

func (f fakeWireGuard) Set(_ context.Context, c wireguard.Config) (WireGuardResult, error) {
	f.mu.Lock()
	r := WireGuardResult{Mode: wireguard.Userspace, MTU: f.mtu, Repaired: f.meshDrift}
	f.meshDrift = nil
	err := f.wireguardErr
	f.mu.Unlock()
	var peers []string
	for _, p := range c.Peers {
		peers = append(peers, p.Name)
	}
	f.log("wireguard %s with %s%s", c.Address, strings.Join(peers, " "), outcome(err))
	if err != nil {
		return WireGuardResult{}, err
	}
	return r, nil
}

func (f fakeWireGuard) Handshakes(context.Context) (map[string]time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.handshakes), nil
}

func (f fakeWireGuard) Watch(ctx context.Context, changed func()) error {
	return f.watch(ctx, "wireguard", changed)
}

type fakeFirewall struct{ *fakeHost }

func (f fakeFirewall) Set(_ context.Context, c firewall.Config) (FirewallResult, error) {
	f.mu.Lock()
	f.generation++
	if hold := f.hold[f.generation]; hold != nil {
		f.mu.Unlock()
		<-hold
		f.mu.Lock()
	}
	r := FirewallResult{Generation: f.generation, Drift: f.drift}
	err := f.firewallErr
	if err == nil {
		f.drift = nil
	}
	f.mu.Unlock()
	var bridges []string
	for _, b := range c.Bridges {
		bridges = append(bridges, fmt.Sprintf("%s[%s]", short(b.Network), join(b.Members)))
	}
	f.log("firewall %s%s", strings.Join(orNone(bridges), " "), outcome(err))
	return r, err
}

func (f fakeFirewall) Watch(ctx context.Context, changed func()) error {
	return f.watch(ctx, "firewall", changed)
}

type fakeBridges struct{ *fakeHost }

func (f fakeBridges) Set(ctx context.Context, c bridge.Config) (BridgesResult, error) {
	f.mu.Lock()
	block := f.block
	f.mu.Unlock()
	if block != nil {
		f.log("bridges wait")
		select {
		case <-block:
		case <-ctx.Done():
			return BridgesResult{}, ctx.Err()
		}
	}
	f.mu.Lock()
	r := BridgesResult{Ready: map[string]string{}, Repaired: f.bridgeDrift}
	err := f.bridgesErr
	var names []string
	for _, n := range c.Networks {
		names = append(names, short(n.Name)+"="+n.Subnet.String())
		r.Ready[n.Name] = f.refuse[n.Name]
	}
	if err == nil {
		f.bridgeDrift = nil
		r.Changed = !slices.Equal(f.bridges, names) || r.Repaired != nil
		f.bridges = names
	} else {
		r = BridgesResult{}
	}
	f.mu.Unlock()
	f.log("bridges %s mtu %d%s", strings.Join(orNone(names), " "), c.MTU, outcome(err))
	return r, err
}

func (f fakeBridges) Watch(ctx context.Context, changed func()) error {
	return f.watch(ctx, "bridges", changed)
}

type fakeDNS struct{ *fakeHost }

func (f fakeDNS) Set(c dns.Config) {
	ready := 0
	for _, s := range c.Services {
		for _, e := range s.Endpoints {
			if e.Ready {
				ready++
			}
		}
	}
	f.set(func(h *fakeHost) { h.listening = c })
	f.log("dns %d listeners %d ready", len(c.Listeners), ready)
}

func (f fakeDNS) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (f fakeDNS) Status() dns.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	var s dns.Status
	for _, l := range f.listening.Listeners {
		problem := f.deaf[l.Address]
		s.Listeners = append(s.Listeners, dns.ListenerStatus{Address: l.Address, Serving: problem == "", Problem: problem})
	}
	return s
}

type fakeProber struct{ *fakeHost }

func (f fakeProber) Probe(_ context.Context, targets []Target, mtu int) ([]Probe, error) {
	var names []string
	var out []Probe
	f.mu.Lock()
	for _, t := range targets {
		names = append(names, fmt.Sprintf("%s(%s)", t.Name, t.Address))
		out = append(out, f.probes[t.Name])
	}
	f.mu.Unlock()
	f.log("probe with %d bytes %s", mtu, strings.Join(names, " "))
	return out, nil
}

// short is a network's name without what all of them have.
func short(name string) string { return strings.TrimPrefix(name, "jaco_shop_") }

// trial is a mesh that runs on a fake host, inside a synctest bubble.
type trial struct {
	*fakeHost
	t    *testing.T
	mesh *Mesh
	stop func()
}

// inBubble runs one trial, and wants its transcript to be the golden file's.
func inBubble(t *testing.T, name string, memory Memory, script func(*trial)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		tr := &trial{fakeHost: host, t: t}
		tr.mesh = New(Deps{
			WireGuard: fakeWireGuard{host}, Firewall: fakeFirewall{host}, Bridges: fakeBridges{host}, DNS: fakeDNS{host}, Prober: fakeProber{host},
			Keep: func(m Memory) error {
				host.set(func(h *fakeHost) { h.memories = append(h.memories, m) })
				return nil
			},
			Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
		}, Config{Local: local, PublicKey: wireguard.Key{1}, Mode: wireguard.Userspace, Version: "1", PID: 9, Memory: memory})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- tr.mesh.Run(ctx) }()
		tr.stop = func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the mesh ended with %v", err)
			}
		}
		synctest.Wait()
		script(tr)
		tr.stop()
		if name != "" {
			golden(t, name+".transcript", strings.Join(host.lines, "\n")+"\n")
		}
	})
}

// looks is how often the firewall was set, drifted what of it is changed by
// hand, and names what is answered.
func (tr *trial) looks() (n uint64) {
	tr.set(func(h *fakeHost) { n = h.generation })
	return n
}

func (tr *trial) drifted() (d []string) {
	tr.set(func(h *fakeHost) { d = h.drift })
	return d
}

func (tr *trial) names() (c dns.Config) {
	tr.set(func(h *fakeHost) { c = h.listening })
	return c
}

// step says what happens next.
func (tr *trial) step(format string, args ...any) {
	tr.set(func(h *fakeHost) { h.lines = append(h.lines, "# "+fmt.Sprintf(format, args...)) })
}

// pass lets time go by, and what happens in it happen.
func (tr *trial) pass(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

// tell writes the report down.
func (tr *trial) tell() {
	synctest.Wait()
	r := tr.mesh.Report()
	tr.log("report applied %d firewall %t %q generation %d problem %q", r.Applied, r.Firewall.Ready, r.Firewall.Reason, r.Firewall.Generation, r.Problem)
	for _, n := range r.Networks {
		tr.log("report   %s %d %s ready %t %q", short(n.Network), n.Serial, n.Prefix, n.Ready, n.Reason)
	}
	for _, e := range r.Events {
		tr.log("report   event %d %s on %s: %s", e.Number, e.Event.Type, e.Event.Node, e.Event.Message)
	}
	for _, p := range r.Peers {
		tr.log("report   peer %+v", p)
	}
}

var errFake = errors.New("operation not permitted")

// only leaves out all networks but one.
func only(s *cluster.EdgeState, name string) *cluster.EdgeState {
	s.Networks = slices.DeleteFunc(s.Networks, func(n cluster.EdgeNetwork) bool { return n.Network != name })
	return s
}

// at gives a state another index.
func at(index uint64, s *cluster.EdgeState) *cluster.EdgeState {
	s.Index = index
	return s
}
