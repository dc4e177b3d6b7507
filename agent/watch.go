package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
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
	for {
		began := time.Now()
		opened, err := w.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		// A stream that ends is opened again at once: only an engine that does
		// not come back is lost.
		switch {
		case opened && time.Since(began) > time.Second:
			wait = 0
		case opened:
			wait = reconnectMin
		default:
			w.in.put(lost{err})
			wait = min(max(2*wait, reconnectMin), reconnectMax)
		}
		if !pause(ctx, wait) {
			return nil
		}
	}
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
	w.in.put(listed{at: at, info: info, containers: containers, networks: networks})
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

// inspector looks at the containers that events named, one at a time. It is
// apart from the workers, so that drift is seen while they are all busy.
type inspector struct {
	engine  Engine
	in      *inbox
	timeout time.Duration
	wake    chan struct{}

	mu    sync.Mutex // guards the field below
	dirty map[string]bool
}

// look asks for an inspection.
func (i *inspector) look(id string) {
	i.mu.Lock()
	if i.dirty == nil {
		i.dirty = map[string]bool{}
	}
	i.dirty[id] = true
	i.mu.Unlock()
	poke(i.wake)
}

func (i *inspector) take() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	ids := slices.Sorted(maps.Keys(i.dirty))
	i.dirty = nil
	return ids
}

func (i *inspector) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-i.wake:
		}
		for _, id := range i.take() {
			if again := i.inspect(ctx, id); again && pause(ctx, reconnectMin) {
				i.look(id)
			}
		}
	}
}

// inspect looks at one container and reports whether to try again. When the
// engine does not answer that is in vain: the listing after it comes back says
// everything.
func (i *inspector) inspect(ctx context.Context, id string) (again bool) {
	at := time.Now()
	c, err := call(ctx, i.timeout, func(ctx context.Context) (Container, error) { return i.engine.Inspect(ctx, id) })
	switch {
	case err == nil:
		i.in.put(looked{id: id, at: at, container: &c})
	case errors.Is(err, ErrNotFound):
		i.in.put(looked{id: id, at: at})
	default:
		return ctx.Err() == nil && !errors.Is(err, ErrUnavailable)
	}
	return false
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
