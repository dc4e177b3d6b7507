package push

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// ear stands for a forge and a chat: it records what it is told.
type ear struct {
	address string

	mu   sync.Mutex // guards the field below
	told []string
}

// listen serves one in the rig's LAN.
func listen(t *testing.T, s *stage.Stage, token string) *ear {
	t.Helper()
	listener := rig.Must[net.Listener](t)(s.Rig.LAN.NetNS.Listen(t.Context(), "tcp", net.JoinHostPort(s.Rig.LAN.Address.String(), "0")))
	e := &ear{address: listener.Addr().String()}
	hear := func(r *http.Request, fields ...string) {
		var said map[string]any
		if err := json.NewDecoder(r.Body).Decode(&said); err != nil {
			t.Error(err)
		}
		var parts []string
		for _, field := range fields {
			text, _ := said[field].(string)
			parts = append(parts, text)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.told = append(e.told, strings.Join(parts, " ")+" "+r.PathValue("revision"))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /chat", func(_ http.ResponseWriter, r *http.Request) { hear(r, "text") })
	mux.HandleFunc("POST /api/v1/repos/acme/fleet/statuses/{revision}", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "token "+token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		hear(r, "state", "context")
		w.WriteHeader(http.StatusCreated)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return e
}

// hears waits until it was told something that begins so.
func (e *ear) hears(t *testing.T, beginning string) {
	t.Helper()
	var told []string
	begins := func(text string) bool { return strings.HasPrefix(text, beginning) }
	rig.Eventually(t, time.Minute, "it to be told that "+beginning, func(context.Context) (bool, string) {
		e.mu.Lock()
		defer e.mu.Unlock()
		told = slices.Clone(e.told)
		return slices.ContainsFunc(told, begins), strings.Join(told, "\n")
	})
}

// TestPeopleAreTold has a deployment converge, drift and fail, on a real engine,
// and each be told once.
func TestPeopleAreTold(t *testing.T) {
	const token = "t0ken-of-the-stage"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := stage.New(t, stage.Config{Settings: map[string]any{"secret_files": map[string]string{"forge-token": file}}})
	e := listen(t, s, token)
	commit := s.Deploy(map[string]string{
		"cluster.yaml": "notifications:\n  statuses: {forge: gitea, api: 'http://" + e.address + "/api/v1', insecure: true, repository: acme/fleet, token: forge-token}\n" +
			"  channels: {chat: {type: slack, url: 'http://" + e.address + "/chat', insecure: true}}\n",
		stage.Path("shop"): stage.Compose(stage.Service{Name: "web", Tag: "1", Replicas: 2}),
	})
	e.hears(t, "*converged* [stage] shop runs "+commit[:12])
	e.hears(t, "success jaco/stage/shop "+commit)

	victim := s.Containers()[0].ID
	s.Check(s.Node.Engine.Remove(t.Context(), victim))
	e.hears(t, "*drift* [stage] changed by hand, and corrected: shop/web on ")
	s.Converge()

	broken := s.Commit(map[string]string{stage.Path("shop"): stage.Compose(stage.Service{Name: "web", Tag: "none", Replicas: 2})})
	s.Push()
	e.hears(t, "*degraded* [stage] shop at "+broken[:12])
	e.hears(t, "failure jaco/stage/shop "+broken)

	e.mu.Lock()
	defer e.mu.Unlock()
	counts := map[string]int{}
	for _, text := range e.told {
		counts[text]++
	}
	for text, n := range counts {
		if n > 1 {
			t.Errorf("told %d times: %s", n, text)
		}
	}
	for name, out := range map[string]string{"status": s.Jaco("status", "-o", "json"), "audit": s.Jaco("audit", "-o", "json")} {
		if strings.Contains(out, token) {
			t.Errorf("%s says the token", name)
		}
	}
}
