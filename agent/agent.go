package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/cluster"
)

// State is the replicated state. It is safe for concurrent use.
type State interface {
	// Read returns the state as of now.
	Read() Snapshot
	// Changed returns a channel that is closed when the state changes next. It
	// is taken before reading.
	Changed() <-chan struct{}
}

// Snapshot is what the agent reads of one moment's state. Slices are the
// caller's.
type Snapshot interface {
	// ReplicasOnNode lists the assignments of a node.
	ReplicasOnNode(node string) []cluster.Replica
	// ReplicasOf lists the assignments of a deployment on all nodes.
	ReplicasOf(deployment string) []cluster.Replica
	// ClaimsAfter lists the claims with a greater number, in order.
	ClaimsAfter(number uint64) []cluster.Claim
}

var _ Snapshot = (*cluster.Snapshot)(nil)

// Views is the node's own verifier: the only source of what may run. It is
// safe for concurrent use.
type Views interface {
	// View returns what this node accepted; nil: not known yet.
	View() *cluster.View
	// Changed returns a channel that is closed when the view changes next. It
	// is taken before reading.
	Changed() <-chan struct{}
}

// Reporter carries what the agent has to say to the cluster. Calls block until
// the entry is committed or refused; the agent repeats a call that fails. They
// come from one goroutine, one at a time.
type Reporter interface {
	// Report proposes a report on replicas of this node.
	Report(ctx context.Context, r *cluster.ReportReplicas) error
	// Record proposes events for the audit log.
	Record(ctx context.Context, events []cluster.Event) error
	// NodeState proposes whether this node can run replicas. One that is
	// recorded already should write nothing.
	NodeState(ctx context.Context, s NodeStatus) error
}

// NodeStatus is whether this node can run replicas, and what it has.
type NodeStatus struct {
	Ready  bool
	Reason string // why not, for people
	Info   Info   // what the engine said last; zero when it never answered
}

// Deps are what an agent works with. All but Misbehaviour are needed.
type Deps struct {
	Engine   Engine
	State    State
	Views    Views
	Reporter Reporter
	// Keys and SecretFiles are for what is encrypted in the fleet repository.
	Keys        Keys
	SecretFiles SecretFiles
	// Ready is closed once the local state is current: before that, old
	// assignments would be started and new containers taken for strays. Whoever
	// wires the agent decides when a state without quorum is current enough.
	Ready <-chan struct{}
	Log   *slog.Logger
	// Misbehaviour is told of every assignment that was refused because no honest
	// leader makes it, once for each replica and reason; whoever is told keeps and
	// reports it. It must not block for long. Default: the events are recorded by
	// Reporter, and lost with the process.
	Misbehaviour func(cluster.Event)
}

// Config are an agent's settings.
type Config struct {
	Node    string // this node's name
	Cluster string // the cluster's id; containers with another one are not touched
	// Workers is how many containers are created and started at a time.
	// Default 4; more gains little, as the engine is bound by its CPU.
	Workers int
	// RejectAfter is how long an assignment that is beyond the accepted number may
	// wait for others to end. Default 30 s; it is never started before.
	RejectAfter time.Duration
	// Coalesce is the least time between two reports. Default 20 ms; the first
	// one after a pause goes at once.
	Coalesce time.Duration
	// Transient is how long a replica may be Preparing or Starting before that
	// is reported. Default 500 ms: a quick start is one entry in the log, not
	// three.
	Transient time.Duration
	// CallTimeout bounds one call of the engine except pulls; stopping adds the
	// grace period. Default 30 s: an engine that answers otherwise, but does not
	// get a container started in that time, has failed the replica.
	CallTimeout time.Duration
	// PullTimeout bounds one pull. Default 30 min.
	PullTimeout time.Duration
	// BackoffMin and BackoffMax bound the time between attempts at what may
	// succeed later: a pull, a network. Defaults 1 s and 1 min; it doubles.
	BackoffMin, BackoffMax time.Duration
}

// DefaultConfig returns the defaults for one node of one cluster.
func DefaultConfig(node, clusterID string) Config {
	return Config{
		Node:        node,
		Cluster:     clusterID,
		Workers:     4,
		RejectAfter: 30 * time.Second,
		Coalesce:    20 * time.Millisecond,
		Transient:   500 * time.Millisecond,
		CallTimeout: 30 * time.Second,
		PullTimeout: 30 * time.Minute,
		BackoffMin:  time.Second,
		BackoffMax:  time.Minute,
	}
}

// Validate reports the first setting that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.Node == "":
		return errors.New("agent: no node name")
	case c.Cluster == "":
		return errors.New("agent: no cluster id")
	case c.Workers < 1:
		return fmt.Errorf("agent: %d workers", c.Workers)
	case c.RejectAfter <= 0, c.CallTimeout <= 0, c.PullTimeout <= 0:
		return errors.New("agent: a timeout is not positive")
	case c.Coalesce < 0, c.Transient < 0:
		return errors.New("agent: a delay is negative")
	case c.BackoffMin <= 0 || c.BackoffMax < c.BackoffMin:
		return fmt.Errorf("agent: back-off from %v to %v", c.BackoffMin, c.BackoffMax)
	}
	return nil
}

// Agent runs this node's replicas.
type Agent struct {
	Deps
	cfg Config
}

// New returns an agent that does nothing until Run.
func New(deps Deps, cfg Config) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Engine == nil || deps.State == nil || deps.Views == nil || deps.Reporter == nil ||
		deps.Keys == nil || deps.SecretFiles == nil || deps.Ready == nil || deps.Log == nil {
		return nil, errors.New("agent: a dependency is missing")
	}
	return &Agent{Deps: deps, cfg: cfg}, nil
}

// Run works until ctx ends, and returns nil then. Containers are left as they
// are: what runs keeps running.
func (a *Agent) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	in := newInbox()
	rep := newReporter(a.Reporter, a.cfg, a.Log)
	insp := newInspector(a.Engine, in)
	watch := &watcher{engine: a.Engine, in: in, cfg: a.cfg}
	l := &loop{Agent: a, in: in, reports: rep, inspect: insp, exec: newExecutor(a, in.put)}
	l.reset()
	g.Go(func() error { return watch.run(ctx) })
	g.Go(func() error { return insp.run(ctx) })
	g.Go(func() error { return rep.run(ctx) })
	g.Go(func() error { return l.run(ctx) })
	return g.Wait()
}

// Logs calls line for the lines that a replica's container wrote. ErrNotFound:
// the container is gone; its last lines are the replica's reason.
func (a *Agent) Logs(ctx context.Context, r cluster.Replica, o LogOptions, line func(LogLine) error) error {
	if err := a.Engine.Logs(ctx, ContainerName(r), o, line); err != nil {
		return fmt.Errorf("logs of replica %s: %w", r.ID, err)
	}
	return nil
}
