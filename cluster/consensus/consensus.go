package consensus

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// transportTimeout bounds one exchange with another node; raft gives a
	// snapshot more, by its size.
	transportTimeout = 5 * time.Second
	// pooledConns is how many idle connections are kept for each other node.
	pooledConns = 3
	// drain is how long Run lets operations finish that are under way when it
	// is told to stop.
	drain = 2 * time.Second
)

// Consensus is this node's part in the cluster's log. Its methods are safe for
// concurrent use; those that need raft return ErrNotRunning, or zero values,
// while Run does not.
type Consensus struct {
	cfg     Config
	stream  Stream
	wrap    func(disk) disk // what stands before the log on disk; for tests
	hangs   time.Duration   // hangsAfter; less in tests
	fsm     *fsm
	faults  *faults
	leading *leadership
	done    chan struct{} // closed when Run has returned

	mu      sync.Mutex // guards the fields below
	ran     bool
	raft    *raft.Raft // nil unless Run has it open
	guard   *guard     // likewise
	pending sync.WaitGroup
}

// New checks the configuration and does nothing else: no file is opened and no
// goroutine started before Bootstrap or Run.
func New(cfg Config, state State, stream Stream) (*Consensus, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if state == nil || stream.Listener == nil || stream.Dial == nil {
		return nil, errors.New("consensus: state, listener and dial function are needed")
	}
	faults := newFaults(cfg.Dir, cfg.Logger)
	return &Consensus{
		cfg:     cfg,
		stream:  stream,
		wrap:    func(d disk) disk { return d },
		hangs:   hangsAfter,
		fsm:     &fsm{state: state, faults: faults, members: &members{}, pipelines: &pipelines{open: map[*gatedPipeline]struct{}{}}},
		faults:  faults,
		leading: newLeadership(),
		done:    make(chan struct{}),
	}, nil
}

// Bootstrap begins the log of a new cluster whose only voter is this node. It
// comes before Run, once in a cluster's life; ErrBootstrapped says that it was
// done before.
func (c *Consensus) Bootstrap() error {
	return c.bootstrap(raft.Server{ID: raft.ServerID(c.cfg.Node), Address: raft.ServerAddress(c.cfg.Address)})
}

func (c *Consensus) bootstrap(voters ...raft.Server) error {
	s, err := c.openStores(true)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	err = raft.BootstrapCluster(c.cfg.raft(), s.log, s.guard, s.snapshots, nil, raft.Configuration{Servers: voters})
	if errors.Is(err, raft.ErrCantBootstrap) {
		err = fmt.Errorf("%s: %w", c.cfg.Dir, ErrBootstrapped)
	}
	if err := errors.Join(explain(c.cfg.Dir, err), s.close()); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

// HasState reports whether the directory holds a log, so that Run can take it
// up. It must not be called while Run does.
func (c *Consensus) HasState() (bool, error) {
	err := checkLog(c.cfg.Dir, filepath.Join(c.cfg.Dir, logFile))
	if errors.Is(err, ErrNoState) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s, err := c.openStores(false)
	if err != nil {
		return false, err
	}
	has, err := s.hasState()
	return has, errors.Join(err, s.close())
}

// Run takes part in the cluster until ctx ends, and returns nil then, or until
// it cannot go on, and returns why. Before it returns, the leadership was
// handed over if there is somebody to take it, the listener and all
// connections are closed, and every goroutine has ended.
func (c *Consensus) Run(ctx context.Context) error {
	c.mu.Lock()
	again := c.ran
	c.ran = true
	c.mu.Unlock()
	if again {
		return errors.New("consensus: Run was called before")
	}
	defer close(c.done)
	n, err := c.start(ctx)
	if err != nil {
		return fmt.Errorf("consensus: %w", errors.Join(err, c.stream.Listener.Close()))
	}
	c.mu.Lock()
	c.raft, c.guard = n.raft, n.stores.guard
	c.mu.Unlock()
	c.leading.observe()
	select {
	case <-ctx.Done():
	case err = <-c.faults.ended:
		c.cfg.Logger.Error("consensus cannot go on", "error", err)
		err = fmt.Errorf("consensus: %w", err)
	}
	return errors.Join(err, c.stop(ctx, n))
}

// node is what Run has open.
type node struct {
	raft      *raft.Raft
	stores    *stores
	gate      *gate
	probing   sync.WaitGroup // the guard's
	stopWatch chan struct{}
	watch     sync.WaitGroup
}

// start opens the stores and raft.
func (c *Consensus) start(ctx context.Context) (*node, error) {
	s, err := c.openStores(c.cfg.Join)
	if err != nil {
		return nil, err
	}
	switch has, err := s.hasState(); {
	case err != nil:
		return nil, errors.Join(explain(c.cfg.Dir, err), s.close())
	case !has && !c.cfg.Join:
		return nil, errors.Join(fmt.Errorf("%s: %w", c.cfg.Dir, ErrNoState), s.close())
	}
	n := &node{stores: s, stopWatch: make(chan struct{})}
	n.gate = newGate(raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  newLayer(ctx, c.stream, c.cfg.Address),
		MaxPool: pooledConns,
		Timeout: transportTimeout,
		Logger:  newLogger(c.cfg.Logger).Named("transport"),
	}), s.guard, c)
	// Raft waits until a change of leadership was taken, so none is lost.
	terms := make(chan bool, 16)
	cfg := c.cfg.raft()
	cfg.NotifyCh = terms
	if n.raft, err = c.open(cfg, n); err != nil {
		return nil, errors.Join(err, n.gate.Close(), s.close())
	}
	n.probing.Go(s.guard.watch)
	observed := make(chan raft.Observation, 1)
	n.raft.RegisterObserver(raft.NewObserver(observed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	n.watch.Go(func() { c.watch(terms, observed, n.stopWatch) })
	return n, nil
}

// open starts raft. It panics when it cannot read its own log.
func (c *Consensus) open(cfg *raft.Config, n *node) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, explain(c.cfg.Dir, fmt.Errorf("%w: %v", ErrDamaged, p))
		}
	}()
	r, err = raft.NewRaft(cfg, c.fsm, n.stores.log, n.stores.guard, n.stores.snapshots, n.gate)
	if err != nil {
		// Raft does not tell why a snapshot did not load; the FSM remembers.
		if c.fsm.halted != nil {
			err = fmt.Errorf("%w: %w: %w", ErrDamaged, err, c.fsm.halted)
		}
		return nil, explain(c.cfg.Dir, err)
	}
	c.faults.live.Store(true)
	return r, nil
}

// watch passes on what raft tells of leadership.
func (c *Consensus) watch(terms <-chan bool, observed <-chan raft.Observation, stop <-chan struct{}) {
	defer c.leading.lose()
	for {
		select {
		case leads := <-terms:
			c.pace(leads)
			if leads {
				c.leading.gain()
			} else {
				c.leading.lose()
			}
		case <-observed:
			c.leading.observe()
		case <-stop:
			return
		}
	}
}

// pace sets how often a leader says that it is there: every tenth to fifth, by
// chance, of what raft takes for the time that a follower waits before it stands
// for election. That does not concern a leader, so while this node leads it is
// doubled, as far as two intervals still fit into the lease.
func (c *Consensus) pace(leads bool) {
	r, err := c.node()
	if err != nil {
		return // it has just been stopped
	}
	timers := r.ReloadableConfig()
	timers.HeartbeatTimeout, timers.ElectionTimeout = c.cfg.Heartbeat, c.cfg.Election
	if leads {
		timers.HeartbeatTimeout = max(c.cfg.Heartbeat, min(2*c.cfg.Heartbeat, 5*c.cfg.Lease/2))
		timers.ElectionTimeout = max(c.cfg.Election, timers.HeartbeatTimeout)
	}
	if err := r.ReloadConfig(timers); err != nil {
		c.cfg.Logger.Warn("raft does not take its timers", "error", err)
	}
}

// leads returns the index that is committed, and whether this node is the
// leader of the term, now that it is.
func (c *Consensus) leads(term uint64) (commit uint64, leads bool) {
	r, err := c.node()
	if err != nil {
		return 0, false
	}
	commit = r.CommitIndex() // before the question, see gatedPipeline.tell
	return commit, r.State() == raft.Leader && r.CurrentTerm() == term
}

// stop ends what start began, in the order that loses nothing: first the
// work, then the leadership, then the connections, raft, and the files.
func (c *Consensus) stop(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if n.raft.State() == raft.Leader && countVoters(c.Servers()) > 1 {
		if err := c.LeadershipTransfer(ctx); err != nil {
			c.cfg.Logger.Warn("leadership was not handed over", "error", err)
		}
	}
	c.mu.Lock()
	c.raft = nil
	c.mu.Unlock()
	finished := make(chan struct{})
	go func() {
		c.pending.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		c.cfg.Logger.Warn("operations were under way at shutdown; their outcome is unknown")
	}
	close(c.faults.closing)
	down := n.raft.Shutdown()
	err := n.gate.Close()
	err = errors.Join(err, down.Error())
	n.probing.Wait()
	err = errors.Join(err, n.stores.close())
	close(n.stopWatch)
	n.watch.Wait()
	if err != nil {
		return fmt.Errorf("shut raft down: %w", err)
	}
	return nil
}

// node returns raft while Run has it open.
func (c *Consensus) node() (*raft.Raft, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raft == nil {
		return nil, ErrNotRunning
	}
	return c.raft, nil
}

// enter returns raft for one operation, whose end finish tells.
func (c *Consensus) enter() (r *raft.Raft, finish func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raft == nil {
		return nil, nil, ErrNotRunning
	}
	c.pending.Add(1)
	return c.raft, c.pending.Done, nil
}

func isNothingNew(err error) bool { return errors.Is(err, raft.ErrNothingNewToSnapshot) }
