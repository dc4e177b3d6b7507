package isolation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/rig/packet"
	"github.com/jaco-sh/jaco/tests/stage"
	"github.com/jaco-sh/jaco/tests/stage/reach"
)

// hostPort is where a listener on every node stands for services of the host.
const hostPort = 9999

// pool is where the addresses of the mesh come from.
var pool = netip.MustParsePrefix("10.64.0.0/10")

// attempt is one packet that was sent, and whether it may arrive.
type attempt struct {
	what    string
	from    netip.Addr
	allowed bool
}

// violation is a packet that arrived and must not.
type violation struct {
	where string
	what  string
	at    time.Time
	// from is the source that was meant to be seen, seen the one that was.
	from, seen netip.Addr
}

// world is everybody who sends and everybody who counts. Containers that start
// later are no part of it.
type world struct {
	t         *testing.T
	rig       *rig.Rig
	endpoints []*stage.Endpoint
	senders   map[*stage.Endpoint]*packet.Sender
	hosts     map[*rig.Node]*packet.Sender
	lan       *packet.Sender
	taps      []*packet.Tap
	listeners []net.PacketConn
	listening sync.WaitGroup

	mu         sync.Mutex // guards the fields below
	attempts   []attempt  // by number, from 1
	arrived    map[uint64]bool
	violations []violation
	passed     int
}

// world is that of the whole matrix, with every container.
func (f *trial) world() *world {
	f.t.Helper()
	endpoints := f.Endpoints()
	if want := len(deployments) * 2 * 3; len(endpoints) != want {
		f.t.Fatalf("%d containers run, want %d", len(endpoints), want)
	}
	return newWorld(f.t, f.Rig, endpoints)
}

func newWorld(t *testing.T, r *rig.Rig, endpoints []*stage.Endpoint) *world {
	t.Helper()
	w := &world{
		t: t, rig: r, endpoints: endpoints, senders: map[*stage.Endpoint]*packet.Sender{}, hosts: map[*rig.Node]*packet.Sender{},
		attempts: make([]attempt, 1), arrived: map[uint64]bool{},
	}
	for _, e := range w.endpoints {
		w.senders[e] = rig.Must[*packet.Sender](t)(packet.Open(e.NetNS))
		w.taps = append(w.taps, rig.Must[*packet.Tap](t)(packet.Listen(e.NetNS, w.see(e))))
	}
	for _, node := range r.Nodes {
		w.hosts[node] = rig.Must[*packet.Sender](t)(packet.Open(node.NetNS))
		w.listenOn(node)
	}
	w.lan = rig.Must[*packet.Sender](t)(packet.OpenLink(r.LAN.NetNS, "br0"))
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// close ends taps and senders; a tap that missed something fails the test.
func (w *world) close() {
	w.t.Helper()
	var errs error
	for _, tap := range w.taps {
		errs = errors.Join(errs, tap.Close())
	}
	for _, s := range slices.Concat(slices.Collect(maps.Values(w.senders)), slices.Collect(maps.Values(w.hosts)), []*packet.Sender{w.lan}) {
		errs = errors.Join(errs, s.Close())
	}
	for _, l := range w.listeners {
		errs = errors.Join(errs, l.Close())
	}
	w.listening.Wait()
	w.check(errs)
}

// see judges what arrives at a container: by its number, and by its source. What
// comes from the pool comes from a member of one of its networks, or from a
// bridge of its own.
func (w *world) see(e *stage.Endpoint) func(packet.Arrival) {
	known := map[netip.Addr]bool{}
	for _, other := range w.endpoints {
		for _, network := range e.Shared(other) {
			known[other.Addresses[network]] = true
		}
	}
	for _, gateway := range e.Gateways {
		known[gateway] = true
	}
	return func(a packet.Arrival) {
		if a.Number == 0 {
			if pool.Contains(a.Source) && !known[a.Source] && w.isOther(a.Source) {
				w.violate(e.String(), "from a stranger: "+a.String(), a.At)
			}
			return
		}
		w.take(e.String(), a)
	}
}

// isOther says whether an address is that of a container that is known to be of
// another network: those that started since are not known.
func (w *world) isOther(address netip.Addr) bool {
	return slices.ContainsFunc(w.endpoints, func(e *stage.Endpoint) bool {
		return slices.Contains(slices.Collect(maps.Values(e.Addresses)), address)
	})
}

func (w *world) take(where string, a packet.Arrival) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.Number >= uint64(len(w.attempts)) {
		return // of another world
	}
	sent := w.attempts[a.Number]
	w.arrived[a.Number] = true
	if sent.allowed {
		w.passed++
		return
	}
	w.violations = append(w.violations, violation{where: where, what: sent.what + ": " + a.String(), at: a.At, from: sent.from, seen: a.Source})
}

func (w *world) violate(where, what string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, violation{where: where, what: what, at: at})
}

// listenOn stands for a service of the host that listens on all of its addresses.
func (w *world) listenOn(node *rig.Node) {
	w.t.Helper()
	var conn net.PacketConn
	w.check(node.NetNS.Do(func() (err error) {
		conn, err = (&net.ListenConfig{}).ListenPacket(w.t.Context(), "udp4", fmt.Sprintf(":%d", hostPort))
		return err
	}))
	w.listeners = append(w.listeners, conn)
	w.listening.Go(func() { // ended by close
		data := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(data)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			a := packet.Arrival{At: time.Now(), Protocol: packet.UDP, Number: packet.Number(data[:n]), Size: n}
			if udp, ok := from.(*net.UDPAddr); ok {
				a.Source, a.SourcePort = udp.AddrPort().Addr().Unmap(), udp.AddrPort().Port()
			}
			w.take("the host "+node.Name, a)
		}
	})
}

// attemptOf numbers a packet.
func (w *world) attemptOf(what string, from netip.Addr, allowed bool) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts = append(w.attempts, attempt{what: what, from: from, allowed: allowed})
	return uint64(len(w.attempts) - 1)
}

// protocols are tried in every way.
var protocols = []packet.Protocol{packet.ICMP, packet.TCP, packet.UDP}

// sent is a packet that must arrive.
type sent struct {
	number uint64
	what   string
}

// probe is one way to send, in all protocols.
type probe struct {
	what    string
	send    func(packet.Packet) error
	from    netip.Addr
	to      netip.Addr
	port    uint16
	allowed bool
	only    packet.Protocol // 0: all
}

func (w *world) try(p probe) []sent {
	var all []sent
	for _, protocol := range protocols {
		if p.only != 0 && p.only != protocol {
			continue
		}
		what := fmt.Sprintf("%s %s, %s > %s", protocol, p.what, p.from, p.to)
		number := w.attemptOf(what, p.from, p.allowed)
		err := p.send(packet.Packet{Protocol: protocol, Source: p.from, Destination: p.to, Port: p.port, SourcePort: uint16(20000 + number%20000), Number: number})
		// What the kernel refuses to send does not arrive; only what may pass is
		// waited for.
		if p.allowed {
			all = append(all, sent{number, fmt.Sprintf("%s (%v)", what, err)})
		}
	}
	return all
}

// settle is how long packets that may pass have to arrive.
const settle = 2 * time.Second

// round tries everything once. With wait it says what did not arrive of what
// may.
func (w *world) round(ctx context.Context, wait bool) (missing string) {
	var expected []sent
	for _, p := range slices.Concat(w.betweenContainers(), w.toHosts(), w.fromHosts(), w.fromLAN()) {
		if ctx.Err() != nil {
			return ctx.Err().Error()
		}
		expected = append(expected, w.try(p)...)
	}
	if !wait {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	if err := rig.WaitFor(ctx, "packets", func(context.Context) (bool, string) {
		missing = w.missing(expected)
		return missing == "", missing
	}); err != nil {
		return missing
	}
	return ""
}

func (w *world) missing(expected []sent) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []string
	for _, s := range expected {
		if !w.arrived[s.number] {
			lines = append(lines, s.what)
		}
	}
	if len(lines) > 10 {
		lines = append(lines[:10], fmt.Sprintf("and %d more", len(lines)-10))
	}
	return strings.Join(lines, "\n")
}

// goOn repeats rounds until the returned function is called, which says how many
// there were.
func (w *world) goOn() (stop func() int) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan int)
	go func() {
		rounds := 0
		tick := time.NewTicker(50 * time.Millisecond) // leave the machine some time
		defer tick.Stop()
		for ctx.Err() == nil {
			w.round(ctx, false)
			rounds++
			<-tick.C
		}
		done <- rounds
	}()
	return func() int { cancel(); return <-done }
}

// judge fails the test for what arrived and must not have.
func (w *world) judge() {
	w.t.Helper()
	for _, v := range w.taken() {
		w.t.Errorf("%s was reached: %s", v.where, v.what)
	}
}

// shown is how many violations a failure prints.
const shown = 15

// taken returns the violations so far, the first of them, and forgets them.
func (w *world) taken() []violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.violations
	w.violations = nil
	if len(all) > shown {
		rest := len(all) - shown
		all = append(all[:shown:shown], violation{where: "and", what: fmt.Sprintf("%d more", rest)})
	}
	return all
}

// String says what was done.
func (w *world) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%d packets sent, %d arrived that may", len(w.attempts)-1, w.passed)
}

// names asks in every container for every service of every other network, and
// for nothing that may be known an address may be told.
func (w *world) names(ctx context.Context) {
	w.t.Helper()
	for _, from := range w.endpoints {
		for _, to := range w.endpoints {
			if len(from.Shared(to)) > 0 || to.Slot != 1 {
				continue
			}
			for _, server := range []netip.AddrPort{reach.Embedded, netip.AddrPortFrom(gatewayOf(from), 53)} {
				got, err := reach.Resolve(ctx, from.NetNS, server, to.Service+"."+to.Deployment)
				if len(got) > 0 {
					w.t.Errorf("%s finds %s by name at %s: %v, %v", from, to, server, got, err)
				}
			}
		}
	}
}

// addressOf and gatewayOf are for endpoints with one network.
func addressOf(e *stage.Endpoint) netip.Addr {
	for _, a := range e.Addresses {
		return a
	}
	return netip.Addr{}
}

func gatewayOf(e *stage.Endpoint) netip.Addr {
	for _, a := range e.Gateways {
		return a
	}
	return netip.Addr{}
}
