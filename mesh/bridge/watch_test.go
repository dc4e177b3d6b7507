package bridge

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
)

func newTest(t *testing.T, socket string) *Bridges {
	t.Helper()
	b, err := New(Options{Host: "unix://" + socket, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// watching runs Watch until the function that it returns is called.
func watching(t *testing.T, b *Bridges) (changed <-chan struct{}, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan struct{}, 16)
	ended := make(chan error, 1)
	go func() { ended <- b.Watch(ctx, func() { calls <- struct{}{} }) }()
	return calls, func() {
		t.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Watch ended with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("Watch does not end with its context")
		}
	}
}

// TestEngineAway: Set says so, and Watch waits.
func TestEngineAway(t *testing.T) {
	b := newTest(t, filepath.Join(t.TempDir(), "none.sock"))
	if _, err := b.Set(t.Context(), Config{Cluster: "c0ffee", Mesh: "jaco0", MTU: 1420}); err == nil || !strings.Contains(err.Error(), "the engine does not answer") {
		t.Errorf("Set: %v", err)
	}
	if err := b.CleanUp(t.Context(), "c0ffee"); err == nil {
		t.Error("CleanUp of an engine that does not answer succeeded")
	}
	if err := b.CleanUp(t.Context(), ""); err == nil {
		t.Error("CleanUp of no cluster succeeded")
	}
	changed, stop := watching(t, b)
	select {
	case <-changed:
		t.Error("a change was told")
	case <-time.After(300 * time.Millisecond):
	}
	stop()
}

// engine is one that has nothing but a stream of events.
func engine(t *testing.T, socket string) *http.Server {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		w.WriteHeader(http.StatusOK)
		if strings.HasSuffix(r.URL.Path, "/events") {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return server
}

// TestWatchReconnects: an engine that comes, and one that comes back, is a reason
// to look.
func TestWatchReconnects(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	b := newTest(t, socket)
	changed, stop := watching(t, b)
	defer stop()
	for range 2 {
		server := engine(t, socket)
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing was told of an engine that answers")
		}
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConcerned(t *testing.T) {
	b := newTest(t, "/none")
	event := func(action events.Action, id string) events.Message {
		return events.Message{Action: action, Actor: events.Actor{ID: id}}
	}
	b.last = memory{ids: map[string]string{"a": "1"}}
	for _, c := range []struct {
		name      string
		unsettled bool
		message   events.Message
		want      bool
	}{
		{"the end of ours", false, event(events.ActionDestroy, "1"), true},
		{"the end of another's", false, event(events.ActionDestroy, "2"), false},
		{"the end of another's that is in the way", true, event(events.ActionDestroy, "2"), true},
		{"a container leaves", false, event(events.ActionDisconnect, "1"), false},
		{"a container leaves what is to go", true, event(events.ActionDisconnect, "1"), true},
	} {
		b.last.unsettled = c.unsettled
		if got := b.concerned(c.message); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
