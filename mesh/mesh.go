package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/mesh/bridge"
	"github.com/jaco-sh/jaco/mesh/dns"
	"github.com/jaco-sh/jaco/mesh/firewall"
	"github.com/jaco-sh/jaco/mesh/wireguard"
)

// WireGuard is the interface to the other nodes.
type WireGuard interface {
	// Set makes it as the configuration says. It is idempotent, reads back what it
	// finds, and returns what it has got to even with an error.
	Set(ctx context.Context, config wireguard.Config) (WireGuardResult, error)
	// Handshakes are the times of the last one with each peer, by its name; zero
	// where there was none.
	Handshakes(ctx context.Context) (map[string]time.Time, error)
	// Watch calls changed whenever somebody else has changed it, until ctx ends.
	Watch(ctx context.Context, changed func()) error
}

// WireGuardResult is what WireGuard.Set came to.
type WireGuardResult struct {
	Mode     wireguard.Mode // in use: kernel or userspace
	MTU      int            // of the interface, bytes
	Changed  bool
	Repaired []string // what somebody else had changed
}

// Firewall is the table that isolates networks.
type Firewall interface {
	// Set makes the kernel's table what the configuration says, and reads it back:
	// nil means that it is exactly that. It is idempotent.
	Set(ctx context.Context, config firewall.Config) (FirewallResult, error)
	// Watch is like WireGuard's.
	Watch(ctx context.Context, changed func()) error
}

// FirewallResult is what Firewall.Set came to.
type FirewallResult struct {
	Generation uint64 // grows with each change that it made
	Changed    bool
	Drift      []string // what somebody else had changed
}

// Bridges are the engine's networks.
type Bridges interface {
	// Set makes, mends and removes them as the configuration says. It is
	// idempotent. An error means that nothing is known of any of them, for the
	// engine does not answer.
	Set(ctx context.Context, config bridge.Config) (BridgesResult, error)
	// Watch is like WireGuard's, and calls changed too when the engine is back.
	Watch(ctx context.Context, changed func()) error
}

// BridgesResult is what Bridges.Set came to.
type BridgesResult struct {
	// Ready has each network by its engine name: "" when it is as it should be,
	// else why not.
	Ready    map[string]string
	Changed  bool
	Repaired []string // what somebody else had changed
}

// DNS answers the names of services.
type DNS interface {
	Set(config dns.Config)
	Run(ctx context.Context) error
	Status() dns.Status
}

var _ DNS = (*dns.Server)(nil)

// Deps are what the mesh works on.
type Deps struct {
	WireGuard WireGuard
	Firewall  Firewall
	Bridges   Bridges
	DNS       DNS
	Prober    Prober
	// Keep stores what has to outlive the process. It is called by one goroutine.
	Keep   func(Memory) error
	Clock  func() time.Time
	Logger *slog.Logger
}

// Config is what does not change while the process runs.
type Config struct {
	Local     Local
	PublicKey wireguard.Key // of Local.Key
	// Mode is who would encrypt, told until the interface is there: a node is
	// given addresses only once it is known.
	Mode    wireguard.Mode
	Version string // of the program
	PID     int
	Memory  Memory // what Keep stored last
}

const (
	// checkEvery is the longest that a difference stays which no event told of
	// (DESIGN, section 8).
	checkEvery = 30 * time.Second
	// settle is how long the state must rest before the kernel and the engine are
	// touched, and settleMax the longest that they wait when it does not: a
	// rollout changes many slices in a row.
	settle    = 10 * time.Millisecond
	settleMax = 100 * time.Millisecond
	// retryFirst and retryMax bound the pause after something failed, doubling.
	retryFirst = 250 * time.Millisecond
	retryMax   = checkEvery
	// The bounds of one Set. The engine makes hundreds of networks in its one.
	kernelLimit = 15 * time.Second
	engineLimit = 2 * time.Minute
)

// Mesh keeps a node's network. Its methods are safe for concurrent use.
type Mesh struct {
	deps   Deps
	config Config

	wireguard *facility[wireguard.Config]
	firewall  *facility[firewall.Config]
	bridges   *facility[bridge.Config]
	journal   *journal

	state     atomic.Pointer[cluster.EdgeState] // the last one, nil at first
	newState  chan struct{}                     // rings for the host's part
	newNames  chan struct{}                     // rings for DNS
	nudge     chan struct{}                     // a keeper failed, or is well again
	newPeers  chan struct{}                     // rings for the doctor
	targets   atomic.Pointer[[]Target]
	broadcast broadcast

	mu     sync.Mutex // guards status
	status status
}

// New makes a mesh that does nothing yet.
func New(deps Deps, config Config) *Mesh {
	m := &Mesh{
		deps: deps, config: config,
		newState: make(chan struct{}, 1), newNames: make(chan struct{}, 1), nudge: make(chan struct{}, 1), newPeers: make(chan struct{}, 1),
	}
	m.status = newStatus(config)
	m.journal = newJournal(deps, config.Memory, m.publish)
	m.wireguard = &facility[wireguard.Config]{name: "wireguard", limit: kernelLimit, set: m.setWireGuard, watch: deps.WireGuard.Watch}
	m.firewall = &facility[firewall.Config]{name: "firewall", limit: kernelLimit, set: m.setFirewall, watch: deps.Firewall.Watch}
	m.bridges = &facility[bridge.Config]{name: "bridges", limit: engineLimit, set: m.setBridges, watch: deps.Bridges.Watch}
	m.publish()
	return m
}

// Update gives the mesh what its node must know from now on. It returns at once;
// of states that come quickly only the last is carried out. The state must not
// be changed afterwards.
func (m *Mesh) Update(state *cluster.EdgeState) {
	m.journal.seen(state.EventsSeen)
	m.state.Store(state)
	ring(m.newNames)
	ring(m.newState)
}

// Report is how the mesh stands. It belongs to the caller, who must not change
// what it points to.
func (m *Mesh) Report() *cluster.EdgeReport {
	m.mu.Lock()
	defer m.mu.Unlock()
	report := m.status.report
	return &report
}

// Changed returns a channel that is closed when the report changes. Whoever
// takes it before Report misses nothing.
func (m *Mesh) Changed() <-chan struct{} { return m.broadcast.wait() }

// Run works until ctx ends, and returns nil then. The network stays as it is.
func (m *Mesh) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.deps.DNS.Run(ctx) })
	parts := []func(context.Context){m.journal.run, m.followNames, m.followHost, m.diagnose}
	parts = append(parts, m.wireguard.keeper(m), m.firewall.keeper(m), m.bridges.keeper(m))
	for _, part := range parts {
		group.Go(func() error {
			part(ctx)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("run the mesh: %w", err)
	}
	return nil
}

// followNames keeps DNS as the state says. Nothing that is done to the kernel or
// the engine holds it up.
func (m *Mesh) followNames(ctx context.Context) {
	var last *dns.Config
	timer := time.NewTimer(checkEvery)
	defer timer.Stop()
	pause := listenPoll
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.newNames:
			state := m.state.Load()
			config := BuildDNS(state, m.config.Local)
			if last == nil || !reflect.DeepEqual(*last, config) {
				m.deps.DNS.Set(config)
				last = &config
			}
			m.update(func(s *status) { s.names = state.Index })
			pause = listenPoll
		case <-timer.C:
			m.publish()
			pause = min(2*pause, checkEvery)
		}
		if listening(m.deps.DNS.Status()) {
			pause = checkEvery
		}
		timer.Reset(pause)
	}
}

// listenPoll is the first pause before listeners that did not listen yet are
// looked at again; they say nothing by themselves. It doubles.
const listenPoll = 2 * time.Millisecond

func listening(status dns.Status) bool {
	for _, l := range status.Listeners {
		if !l.Serving {
			return false
		}
	}
	return true
}

// ring wakes whoever waits on the channel, once for many calls.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// broadcast is a channel that is closed with each change.
type broadcast struct {
	mu      sync.Mutex // guards changed
	changed chan struct{}
}

func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}

func (b *broadcast) tell() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}
