package wireguard

import (
	"context"
	"log/slog"
	"time"
)

// RoundInterval is the time between rounds of probes.
const RoundInterval = 30 * time.Second

// Rounds runs rounds of probes, regularly and on request.
type Rounds struct {
	// Round does one; Prober's method outside of tests.
	Round func(ctx context.Context, targets []Target, mtu int) ([]Finding, error)
	// Targets says whom to probe with what size now; mtu 0: nobody yet.
	Targets func() (targets []Target, mtu int)
	// Found takes what was found, and the MTU that was probed.
	Found func(findings []Finding, mtu int)
	// Logger takes rounds that could not be done.
	Logger *slog.Logger

	ask chan struct{}
}

// NewRounds gives its fields to Rounds that can be asked.
func NewRounds(r Rounds) *Rounds {
	r.ask = make(chan struct{}, 1)
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	return &r
}

// Ask wants a round soon, as when peers have changed. It does not wait.
func (r *Rounds) Ask() {
	select {
	case r.ask <- struct{}{}:
	default:
	}
}

// Run does a round at first, every RoundInterval and whenever asked, one at a
// time, until ctx ends.
func (r *Rounds) Run(ctx context.Context) error {
	tick := time.NewTicker(RoundInterval)
	defer tick.Stop()
	for {
		if targets, mtu := r.Targets(); mtu > 0 && len(targets) > 0 {
			findings, err := r.Round(ctx, targets, mtu)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				r.Logger.Warn("the mesh's peers could not be probed", "error", err)
			default:
				r.Found(findings, mtu)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-r.ask:
		}
	}
}
