package mesh

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// gather is how long a keeper waits after the first word of a foreign change:
	// a command of many parts is one change. It is part of the time that a
	// firewall somebody flushed stays away (250 ms at most).
	gather = 5 * time.Millisecond
	// gatherMax is how far that grows, doubling, while the words turn out to be
	// about nothing: a host may be busy with what only looks like ours.
	gatherMax = 100 * time.Millisecond
	// calm is how long nobody must have said a word for that to be forgotten.
	calm = time.Second
	// watchAgain is the pause before a watch that failed is begun anew.
	watchAgain = time.Second
)

// facility is one thing on the host, what was last asked of it, and its keeper.
type facility[C any] struct {
	name  string
	limit time.Duration // of one Set
	set   func(ctx context.Context, config C) (repaired bool, err error)
	watch func(ctx context.Context, changed func()) error

	mu     sync.Mutex // held during set, and guards the fields below
	wanted *C         // nil: nothing was asked yet
	failed bool       // the last set did
}

// apply asks for a configuration.
func (f *facility[C]) apply(ctx context.Context, config C) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted = &config
	_, err := f.setLocked(ctx)
	return err
}

// again asks for the last configuration once more. It reports whether that
// mended anything, and whether it is well again after a failure.
func (f *facility[C]) again(ctx context.Context) (repaired, recovered bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wanted == nil {
		return false, false, nil
	}
	failed := f.failed
	repaired, err = f.setLocked(ctx)
	return repaired, failed && err == nil, err
}

func (f *facility[C]) setLocked(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, f.limit)
	defer cancel()
	repaired, err := f.set(ctx, *f.wanted)
	f.failed = err != nil
	return repaired, err
}

// keeper is the loop that puts right what others change, at once and whatever
// else is going on.
func (f *facility[C]) keeper(m *Mesh) func(context.Context) {
	return func(ctx context.Context) {
		bell := make(chan struct{}, 1)
		var group errgroup.Group
		group.Go(func() error {
			f.listen(ctx, m, bell)
			return nil
		})
		pause, looked := gather, time.Now()
		for {
			select {
			case <-ctx.Done():
				_ = group.Wait() // its only result is nil
				return
			case <-bell:
			}
			if time.Since(looked) > calm {
				pause = gather
			}
			if !wait(ctx, pause) {
				continue
			}
			select { // what came meanwhile is looked at now
			case <-bell:
			default:
			}
			repaired, recovered, err := f.again(ctx)
			looked = time.Now()
			switch {
			case ctx.Err() != nil:
			case err != nil, recovered:
				ring(m.nudge)
				pause = gather
			case repaired:
				pause = gather
			default:
				pause = min(2*pause, gatherMax)
			}
			if err != nil && ctx.Err() == nil {
				m.deps.Logger.Warn("cannot put right what somebody changed", "facility", f.name, "error", err)
			}
		}
	}
}

// listen rings whenever the facility was changed by others. Between two watches
// anything may have happened, so each begins with a look.
func (f *facility[C]) listen(ctx context.Context, m *Mesh, bell chan struct{}) {
	for {
		err := f.watch(ctx, func() { ring(bell) })
		if ctx.Err() != nil {
			return
		}
		m.deps.Logger.Warn("cannot watch for changes; looking again", "facility", f.name, "error", err)
		if !wait(ctx, watchAgain) {
			return
		}
		ring(bell)
	}
}

// wait waits, and reports whether the time is over rather than ctx.
func wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
