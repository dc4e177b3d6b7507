package consensus

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/jaco-sh/jaco/cluster"
)

// Propose puts a command into the log and waits until this node has applied
// it. The entry carries the clock's time. A command that the state refused
// returns the state's typed error (cluster.ErrConflict and so on) beside the
// result. The other errors are ErrNotLeader, ErrUncertain, ErrBusy,
// ErrNotRunning, ErrHalted, and those of the disk, with advice.
func (c *Consensus) Propose(ctx context.Context, actor cluster.Actor, command cluster.Command) (cluster.Result, error) {
	data, err := cluster.Encode(cluster.Entry{Time: c.cfg.Clock().UTC(), Actor: actor, Command: command})
	if err != nil {
		return cluster.Result{}, fmt.Errorf("propose %s: %w", command.Kind(), err)
	}
	future, err := c.await(ctx, func(r *raft.Raft) raft.Future { return r.Apply(data, c.cfg.ApplyTimeout) })
	if err != nil {
		return cluster.Result{}, fmt.Errorf("propose %s: %w", command.Kind(), err)
	}
	applied, ok := future.(raft.ApplyFuture)
	if !ok {
		return cluster.Result{}, fmt.Errorf("propose %s: unexpected answer %T", command.Kind(), future)
	}
	result, ok := applied.Response().(cluster.Result)
	if !ok {
		return cluster.Result{}, fmt.Errorf("propose %s: unexpected answer %T", command.Kind(), applied.Response())
	}
	return result, result.Err
}

// Snapshot writes a snapshot now and drops what it makes superfluous of the
// log. Nothing new since the last one is no error.
func (c *Consensus) Snapshot(ctx context.Context) error {
	_, err := c.await(ctx, func(r *raft.Raft) raft.Future { return r.Snapshot() })
	if err != nil && !isNothingNew(err) {
		return fmt.Errorf("take a snapshot: %w", err)
	}
	return nil
}

// await starts an operation and waits for its end. Raft's futures know no
// context, so the waiting is done by a goroutine of its own, which Run awaits.
func (c *Consensus) await(ctx context.Context, start func(*raft.Raft) raft.Future) (raft.Future, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	r, finish, err := c.enter()
	if err != nil {
		return nil, err
	}
	type answer struct {
		future raft.Future
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		defer finish()
		future := start(r)
		answers <- answer{future, future.Error()}
	}()
	select {
	case a := <-answers:
		return a.future, c.translate(r, a.err)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUncertain, context.Cause(ctx))
	case <-c.done:
		return nil, fmt.Errorf("%w: %w", ErrUncertain, ErrNotRunning)
	}
}
