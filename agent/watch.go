package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// The back-off between attempts to reach an engine that does not answer.
const (
	reconnectMin = 100 * time.Millisecond
	reconnectMax = 2 * time.Second
)

// watcher keeps the event stream open. Each time it opens, everything is
// listed once; between, the stream alone says what happens.
type watcher struct {
	engine Engine
	in     *inbox
	cfg    Config
}

func (w *watcher) run(ctx context.Context) error {
	wait := time.Duration(0)
	for ctx.Err() == nil {
		began := time.Now()
		opened, err := w.session(ctx)
		// A stream that ends is opened again at once: only an engine that does
		// not come back is lost.
		switch {
		case ctx.Err() != nil:
		case opened && time.Since(began) > time.Second:
			wait = 0
		case opened:
			wait = reconnectMin
		default:
			w.in.put(lost{err})
			wait = min(max(2*wait, reconnectMin), reconnectMax)
		}
		pause(ctx, wait)
	}
	return nil
}

// session opens the stream, lists, and delivers events until the stream ends.
// It reports whether it got so far that events were delivered.
func (w *watcher) session(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	info, err := call(ctx, w.cfg.CallTimeout, w.engine.Info)
	if err != nil {
		return false, fmt.Errorf("ask the engine: %w", err)
	}
	events, failed := w.engine.Events(ctx)
	select {
	case err := <-failed:
		return false, fmt.Errorf("open the engine's event stream: %w", err)
	default:
	}
	at := time.Now()
	containers, err := call(ctx, w.cfg.CallTimeout, w.engine.List)
	if err != nil {
		return false, fmt.Errorf("list containers: %w", err)
	}
	networks, err := call(ctx, w.cfg.CallTimeout, w.engine.ListNetworks)
	if err != nil {
		return false, fmt.Errorf("list networks: %w", err)
	}
	volumes, err := call(ctx, w.cfg.CallTimeout, w.engine.ListVolumes)
	if err != nil {
		return false, fmt.Errorf("list volumes: %w", err)
	}
	w.in.put(listed{at: at, info: info, containers: containers, networks: networks, volumes: volumes})
	for {
		select {
		case e := <-events:
			w.in.put(happened{e})
		case err := <-failed:
			return true, fmt.Errorf("engine's event stream: %w", err)
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
}

// How many containers are inspected at a time, how long one may take, and how
// long to leave alone one that took longer. An engine can hang on a single
// container for ever; the others must be seen meanwhile.
const (
	inspectors     = 4
	inspectTimeout = 10 * time.Second
	// checkTimeout bounds a healthcheck that the agent runs itself.
	checkTimeout = 5 * time.Second
	inspectRetry = time.Minute
)

// inspector looks at the containers that events named. It is apart from the
// workers, so that drift is seen while they are all busy.
type inspector struct {
	engine Engine
	in     *inbox
	wake   chan struct{}

	mu     sync.Mutex // guards the fields below
	wanted map[string]bool
	busy   map[string]bool
}

func newInspector(e Engine, in *inbox) *inspector {
	return &inspector{engine: e, in: in, wake: make(chan struct{}, inspectors),
		wanted: map[string]bool{}, busy: map[string]bool{}}
}

// look asks for an inspection that begins after this call.
func (i *inspector) look(id string) {
	i.mu.Lock()
	i.wanted[id] = true
	i.mu.Unlock()
	poke(i.wake)
}

// take returns a container that is to be inspected and is not being inspected.
func (i *inspector) take() (string, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for id := range i.wanted {
		if !i.busy[id] {
			delete(i.wanted, id)
			i.busy[id] = true
			return id, true
		}
	}
	return "", false
}

// release ends an inspection. Waking one more is how the next gets its turn.
func (i *inspector) release(id string) {
	i.mu.Lock()
	delete(i.busy, id)
	i.mu.Unlock()
	poke(i.wake)
}

func (i *inspector) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range inspectors {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-i.wake:
				}
				for id, ok := i.take(); ok; id, ok = i.take() {
					wait := i.inspect(ctx, id)
					if wait > 0 {
						g.Go(func() error {
							if pause(ctx, wait) {
								i.look(id)
							}
							return nil
						})
					}
					i.release(id)
				}
			}
		})
	}
	return g.Wait()
}

// inspect looks at one container and returns when to try again; 0: never. When
// the engine does not answer at all that is in vain: the listing after it comes
// back says everything.
func (i *inspector) inspect(ctx context.Context, id string) time.Duration {
	at := time.Now()
	c, err := call(ctx, inspectTimeout, func(ctx context.Context) (Container, error) { return i.engine.Inspect(ctx, id) })
	switch {
	case err == nil:
		i.in.put(looked{id: id, at: at, container: &c})
	case errors.Is(err, ErrNotFound):
		i.in.put(looked{id: id, at: at})
	case ctx.Err() != nil:
	case errors.Is(err, context.DeadlineExceeded):
		return inspectRetry
	case !errors.Is(err, ErrUnavailable):
		return reconnectMax
	}
	return 0
}

// call bounds one call of the engine.
func call[T any](ctx context.Context, timeout time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return f(ctx)
}

// pause waits and reports whether ctx still holds.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
