package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// State is the shared state that plans are made from.
type State interface {
	// Read returns the state as it is now.
	Read() *cluster.Snapshot
	// Changed returns a channel that is closed by the next change.
	Changed() <-chan struct{}
}

// Views is what this node accepted of the repository.
type Views interface {
	// View returns the present view, nil while it is not known.
	View() *cluster.View
	// Changed returns a channel that is closed by the next change.
	Changed() <-chan struct{}
}

// Proposer brings a command into the log and returns once this node applied it.
type Proposer interface {
	// Propose returns an error that wraps cluster.ErrConflict when the command
	// was made from a state that has moved on.
	Propose(ctx context.Context, c cluster.Command) error
}

var _ State = (*cluster.State)(nil)

// Config tunes the loop.
type Config struct {
	// Quiet is how long the state must stand still before a plan is made, so
	// that one plan answers a burst of reports. Default 10 ms; 0 plans at once.
	Quiet time.Duration
	// Ceiling bounds that wait under constant change. Default 50 ms; at least
	// Quiet.
	Ceiling time.Duration
	// Limit bounds the replicas that one log entry creates. Default 512, about
	// 150 KiB; 0 means no bound.
	Limit int
	// Retry is the pause after a proposal that failed for another reason than a
	// conflict. Default 1 s; must be positive.
	Retry time.Duration
	// Clock is the time that plans are made for; default time.Now.
	Clock func() time.Time
	// MassLossUntil tells until when nothing is lost or moved because too many
	// nodes went down at once (Input.MassLossUntil). It is asked after the state
	// was read: who answers must know of the pause before the node that makes it
	// one is recorded as Down. Default nil: there is never a pause.
	MassLossUntil func() time.Time
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Quiet: 10 * time.Millisecond, Ceiling: 50 * time.Millisecond, Limit: 512, Retry: time.Second, Clock: time.Now}
}

// Validate reports the first field that cannot work.
func (c Config) Validate() error {
	switch {
	case c.Quiet < 0:
		return fmt.Errorf("quiet is %s: must not be negative", c.Quiet)
	case c.Ceiling < c.Quiet:
		return fmt.Errorf("ceiling is %s: must be at least quiet, %s", c.Ceiling, c.Quiet)
	case c.Limit < 0:
		return fmt.Errorf("limit is %d: must not be negative", c.Limit)
	case c.Retry <= 0:
		return fmt.Errorf("retry is %s: must be positive", c.Retry)
	case c.Clock == nil:
		return errors.New("clock is nil: must be a function")
	}
	return nil
}

// Scheduler plans while this node leads.
type Scheduler struct {
	state    State
	views    Views
	proposer Proposer
	log      *slog.Logger
	config   Config
	read     func() (Input, bool) // false: nothing may be planned yet
}

// New returns a scheduler that does nothing before Run. It fails only on a
// config that does not validate.
func New(state State, views Views, proposer Proposer, log *slog.Logger, config Config) (*Scheduler, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("scheduler config: %w", err)
	}
	s := &Scheduler{state: state, views: views, proposer: proposer, log: log, config: config}
	s.read = s.input
	return s, nil
}

// Run plans until ctx ends, which is how leadership ends; it returns ctx's
// error. Only a leader may call it: two planners would conflict without end.
func (s *Scheduler) Run(ctx context.Context) error {
	for {
		state, views := s.state.Changed(), s.views.Changed()
		wake, err := s.plan(ctx)
		if err != nil {
			return err
		}
		if err := s.wait(ctx, state, views, wake); err != nil {
			return err
		}
	}
}

// plan makes one plan, proposes it and returns for how long the answer holds
// when nothing changes; 0 means for ever.
func (s *Scheduler) plan(ctx context.Context) (time.Duration, error) {
	in, ok := s.read()
	if !ok {
		return 0, ctx.Err()
	}
	result := Compute(in)
	for _, d := range result.Explain {
		s.log.Debug("decision", "line", d.String())
	}
	if result.Plan != nil {
		if err := s.proposer.Propose(ctx, result.Plan); err != nil {
			return s.refused(ctx, err)
		}
		s.log.Info("plan applied", "create", len(result.Plan.Create), "stop", len(result.Plan.Stop), "lose", len(result.Plan.Lose),
			"remove", len(result.Plan.Remove), "services", len(result.Plan.Services))
		s.tell(ctx, result.Events)
	}
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case result.More:
		return time.Nanosecond, nil
	case result.Wake.IsZero():
		return 0, nil
	}
	return max(result.Wake.Sub(in.Now), time.Millisecond), nil
}

// refused decides when to plan again after a proposal that failed.
func (s *Scheduler) refused(ctx context.Context, err error) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if errors.Is(err, cluster.ErrConflict) {
		s.log.Debug("plan is stale", "error", err)
		return time.Millisecond, nil
	}
	s.log.Warn("plan was not applied", "error", err)
	return s.config.Retry, nil
}

// tell records the transitions of an applied plan. Losing them loses an audit
// entry's comment, not the transition, which the plan carries.
func (s *Scheduler) tell(ctx context.Context, events []cluster.Event) {
	if len(events) == 0 {
		return
	}
	if err := s.proposer.Propose(ctx, &cluster.RecordEvents{Events: events}); err != nil && ctx.Err() == nil {
		s.log.Warn("events were not recorded", "error", err)
	}
}

// wait returns when something changed and then stood still, or when wake has
// passed.
func (s *Scheduler) wait(ctx context.Context, state, views <-chan struct{}, wake time.Duration) error {
	var timer <-chan time.Time
	if wake > 0 {
		t := time.NewTimer(wake)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer:
		return nil
	case <-state:
	case <-views:
	}
	return s.settle(ctx)
}

// settle waits until nothing changed for the quiet period, or the ceiling.
func (s *Scheduler) settle(ctx context.Context) error {
	if s.config.Quiet == 0 {
		return ctx.Err()
	}
	ceiling := time.NewTimer(s.config.Ceiling)
	defer ceiling.Stop()
	quiet := time.NewTimer(s.config.Quiet)
	defer quiet.Stop()
	for {
		state, views := s.state.Changed(), s.views.Changed()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-quiet.C:
			return nil
		case <-ceiling.C:
			return nil
		case <-state:
		case <-views:
		}
		quiet.Reset(s.config.Quiet)
	}
}

// input reads everything that a plan follows from. A view that has not judged
// the newest claim yet is not planned from: a node that has just become leader
// would take the cluster back to what it last saw. A claim that this node
// refused counts as judged and does not hold it up.
func (s *Scheduler) input() (Input, bool) {
	view := s.views.View()
	snap := s.state.Read()
	meta := snap.Meta()
	if view == nil || meta == nil {
		return Input{}, false
	}
	if claim, ok := snap.LastClaim(); ok && claim.Number > view.Claim {
		return Input{}, false
	}
	now := s.config.Clock()
	if at := snap.Time(); at.After(now) {
		now = at // a clock behind the last leader's must not look into the past
	}
	var pause time.Time
	if s.config.MassLossUntil != nil {
		pause = s.config.MassLossUntil()
	}
	return Input{
		MassLossUntil: pause,
		ClusterID:     meta.ID, Now: now, Index: snap.Index(), View: view, Limit: s.config.Limit,
		Nodes: snap.Nodes(), Replicas: snap.Replicas(),
		Services: snap.Services(), Deployments: snap.DeploymentStatuses(),
	}, true
}
