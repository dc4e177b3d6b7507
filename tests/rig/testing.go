package rig

import (
	"context"
	"time"
)

// TB is what the helpers need of a *testing.T; the demo links this package
// without linking testing.
type TB interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Fatal(args ...any)
	Log(args ...any)
	Context() context.Context
}

// closeTimeout bounds the removal of a rig.
const closeTimeout = time.Minute

// Start is New for a test: the rig is closed when the test ends, and when the
// test failed, the ends of the engines' logs are printed before.
func Start(t TB, cfg Config) *Rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, r.Close)
	t.Cleanup(func() {
		for _, n := range r.Nodes {
			if t.Failed() && n.Engine != nil {
				t.Log(n.Engine.Tail(15))
			}
		}
	})
	return r
}

// cleanup runs a Close when the test ends, when the test's own context has
// ended already.
func cleanup(t TB, closeFn func(context.Context) error) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), closeTimeout)
		defer cancel()
		if err := closeFn(ctx); err != nil {
			t.Log(err)
			t.Fatal("not everything was removed")
		}
	})
}

// Eventually is WaitFor for a test, which ends when the condition does not hold
// within the time.
func Eventually(t TB, within time.Duration, desc string, cond func(context.Context) (bool, string), logs ...Tailer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := WaitFor(ctx, desc, cond, logs...); err != nil {
		t.Fatal(err)
	}
}

// Must ends the test on an error and returns the value otherwise.
//
//	hash := rig.Must(t)(repo.Commit(ctx, opts))
func Must[T any](t TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
