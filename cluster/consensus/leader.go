package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// retryTerm is how long WhileLeader waits before it takes up the same term
// again, after a command of its own found that leadership was just going.
const retryTerm = 100 * time.Millisecond

// leadership is what this node knows of who leads. It is told every change
// by Run's watcher, in order, so that no term is missed however short.
type leadership struct {
	mu sync.Mutex // guards the fields below
	// ended is closed at the end of the present term of this node; nil while
	// it does not lead.
	ended chan struct{}
	// changed is closed and replaced at every change of leader.
	changed chan struct{}
}

func newLeadership() *leadership { return &leadership{changed: make(chan struct{})} }

// gain begins a term of this node.
func (l *leadership) gain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked()
	l.ended = make(chan struct{})
	l.notifyLocked()
}

// lose ends it.
func (l *leadership) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked()
	l.notifyLocked()
}

// observe tells of a change of leader elsewhere.
func (l *leadership) observe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notifyLocked()
}

func (l *leadership) endLocked() {
	if l.ended != nil {
		close(l.ended)
		l.ended = nil
	}
}

func (l *leadership) notifyLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// term returns the channel that is closed at the end of the present term (nil
// while this node does not lead), and the one that is closed at the next change.
func (l *leadership) term() (ended, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended, l.changed
}

// WhileLeader calls fn once in each of this node's terms as leader, with a
// context that ends with the term (cause ErrTermEnded), and awaits it. Before,
// it waits until the state holds everything that earlier leaders committed, so
// that fn reads its own past. Any number of callers may use it at once, also
// before Run.
//
// When fn returns nil, or any error after its context has ended, the next term
// is waited for. When it fails because leadership was just going (ErrNotLeader,
// ErrUncertain, ErrBusy, ErrDisk), it is called again should the term go on
// after all. Any other error ends WhileLeader, which returns it. It returns nil
// when ctx ends, and ErrNotRunning when Run has returned.
func (c *Consensus) WhileLeader(ctx context.Context, fn func(context.Context) error) error {
	for {
		ended, changed := c.leading.term()
		if ended == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil
			case <-c.done:
				return ErrNotRunning
			}
		}
		err := c.runTerm(ctx, ended, fn)
		var again <-chan time.Time
		switch {
		case ctx.Err() != nil:
			return nil
		case isClosed(ended) || err == nil:
		case errors.Is(err, ErrNotLeader), errors.Is(err, ErrUncertain), errors.Is(err, ErrBusy), errors.Is(err, ErrDisk):
			again = time.After(retryTerm)
		case errors.Is(err, ErrNotRunning):
		default:
			return err
		}
		select {
		case <-ended:
		case <-again:
		case <-ctx.Done():
			return nil
		case <-c.done:
			return ErrNotRunning
		}
	}
}

// runTerm calls fn with a context that ends with the term.
func (c *Consensus) runTerm(ctx context.Context, ended <-chan struct{}, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ended:
			cancel(ErrTermEnded)
		case <-ctx.Done():
		}
	})
	defer watch.Wait()
	defer cancel(nil)
	if err := c.barrier(ctx); err != nil {
		return err
	}
	return fn(ctx)
}

// barrier waits until everything committed so far is applied here.
func (c *Consensus) barrier(ctx context.Context) error {
	_, err := c.await(ctx, func(r *raft.Raft) raft.Future { return r.Barrier(c.cfg.ApplyTimeout) })
	if err != nil {
		return fmt.Errorf("catch up with the log: %w", err)
	}
	return nil
}

// Leader returns the name and address of the leader; both are empty when none
// is known.
func (c *Consensus) Leader() (name, address string) {
	r, err := c.node()
	if err != nil {
		return "", ""
	}
	a, n := r.LeaderWithID()
	return string(n), string(a)
}

// WaitLeader waits until a leader is known and returns it. It returns the
// context's error when that ends first, ErrNotRunning when Run returns.
func (c *Consensus) WaitLeader(ctx context.Context) (name, address string, err error) {
	for {
		_, changed := c.leading.term()
		if name, address = c.Leader(); name != "" {
			return name, address, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", "", fmt.Errorf("wait for a leader: %w", context.Cause(ctx))
		case <-c.done:
			return "", "", ErrNotRunning
		}
	}
}

// IsLeader reports whether this node leads, as far as it knows.
func (c *Consensus) IsLeader() bool {
	r, err := c.node()
	return err == nil && r.State() == raft.Leader
}

// LeadershipTransfer hands the leadership to the voter that is furthest
// along. It takes some milliseconds, an election otherwise about a second.
func (c *Consensus) LeadershipTransfer(ctx context.Context) error {
	_, err := c.await(ctx, func(r *raft.Raft) raft.Future { return r.LeadershipTransfer() })
	if err != nil {
		return fmt.Errorf("transfer leadership: %w", transferError(err))
	}
	return nil
}

// LeadershipTransferTo hands the leadership to the voter of that name, which
// raft first brings up to date; it is no error when that one leads already. It
// returns ErrUnknownServer, ErrNotVoter, ErrNotTransferred (try again, or
// another one) and the errors of Propose. After nil this node does not lead
// any more; that the other one does Leader tells.
func (c *Consensus) LeadershipTransferTo(ctx context.Context, name string) error {
	r, err := c.node()
	if err != nil {
		return fmt.Errorf("transfer leadership to %s: %w", name, err)
	}
	switch s, found := find(c.Servers(), name); {
	case r.State() != raft.Leader:
		err = notLeader(r)
	case name == c.cfg.Node:
	case !found:
		err = ErrUnknownServer
	case !s.Voter:
		// It would stand for election, win no vote, and disturb those who may.
		err = ErrNotVoter
	default:
		_, err = c.await(ctx, func(r *raft.Raft) raft.Future {
			return r.LeadershipTransferToServer(raft.ServerID(s.Name), raft.ServerAddress(s.Address))
		})
		err = transferError(err)
	}
	if err != nil {
		return fmt.Errorf("transfer leadership to %s: %w", name, err)
	}
	return nil
}

// transferError tells what raft has no value for.
func transferError(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrNotLeader), errors.Is(err, ErrUncertain), errors.Is(err, ErrNotRunning):
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotTransferred, err)
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
