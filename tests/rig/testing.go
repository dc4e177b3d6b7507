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
//	hash := rig.Must[string](t)(repo.Commit(ctx, opts))
func Must[T any](t TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// StartGit is NewGit for a test.
func StartGit(t TB) *Git {
	t.Helper()
	g, err := NewGit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, g.Close)
	return g
}

// StartGitHTTP is ServeGitHTTP for a test.
func StartGitHTTP(t TB, s *Space, root string) *GitHTTP {
	t.Helper()
	h, err := ServeGitHTTP(t.Context(), s, root)
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, h.Close)
	return h
}

// StartGitSSH is ServeGitSSH for a test.
func StartGitSSH(t TB, s *Space, g *Git, root string) *GitSSH {
	t.Helper()
	h, err := ServeGitSSH(t.Context(), s, g, root)
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, h.Close)
	return h
}

// StartRegistry is ServeRegistry for a test.
func StartRegistry(t TB, s *Space) *Registry {
	t.Helper()
	r, err := ServeRegistry(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, r.Close)
	return r
}

// StartProxy is ServeProxy for a test.
func StartProxy(t TB, socket string, engine *Docker) *Proxy {
	t.Helper()
	p, err := ServeProxy(t.Context(), socket, engine)
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, p.Close)
	return p
}

// StartDaemon is NewDaemon and Start for a test; the end of its log is printed
// when the test fails. It ends with the rig.
func StartDaemon(t TB, node *Node, cfg DaemonConfig) *Daemon {
	t.Helper()
	d, err := NewDaemon(node, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(d.Tail(40))
		}
	})
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}
