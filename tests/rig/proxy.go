package rig

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Proxy stands between jacod and the engine on a unix socket of its own and
// counts requests. Event streams, logs that are followed, and hijacked
// connections (attach, exec) pass through as they are.
type Proxy struct {
	Socket string

	srv    *http.Server
	served chan error

	mu     sync.Mutex // guards the fields below
	counts map[string]int
	fail   func(method, path string) bool
}

// ServeProxy listens on the socket and forwards to the engine until Close.
func ServeProxy(ctx context.Context, socket string, engine *Docker) (*Proxy, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("serve proxy: %w", err)
	}
	p := &Proxy{Socket: socket, served: make(chan error, 1), counts: map[string]int{}}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "engine"
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", engine.Socket())
		}, DisableCompression: true},
		FlushInterval: -1, // at once: events are streams
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, fmt.Sprintf(`{"message":%q}`, err.Error()), http.StatusBadGateway)
		},
	}
	p.srv = &http.Server{Handler: p.count(forward), ReadHeaderTimeout: 5 * time.Second}
	go func() { p.served <- p.srv.Serve(l) }()
	return p, nil
}

// Host is the socket as jacod.yaml's "engine" wants it.
func (p *Proxy) Host() string { return "unix://" + p.Socket }

func (p *Proxy) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := Pattern(r.Method, r.URL.Path)
		p.mu.Lock()
		p.counts[call]++
		fail := p.fail != nil && p.fail(r.Method, r.URL.Path)
		p.mu.Unlock()
		if fail {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprintln(w, `{"message":"refused by the rig"}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Counts says how often each call was made, by "GET /containers/{id}/json".
func (p *Proxy) Counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

// Reset forgets the counts.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.counts)
}

// Fail makes the calls for which the function says true end with status 500;
// nil lets all pass. The function is called under a lock and must not block.
func (p *Proxy) Fail(fn func(method, path string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = fn
}

// Close ends the proxy and cuts what goes through it, except hijacked
// connections: those end with either of their ends.
func (p *Proxy) Close(context.Context) error {
	err := p.srv.Close()
	if served := <-p.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if rm := os.Remove(p.Socket); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("remove socket of proxy: %w", rm))
	}
	return err
}

var versionPrefix = regexp.MustCompile(`^/v\d+\.\d+/`)

// collectionCalls are what follows a collection's name where no id stands.
var collectionCalls = map[string]bool{
	"json": true, "create": true, "prune": true, "search": true, "load": true, "get": true,
}

// Pattern names an engine call without API version and ids:
// "GET /containers/{id}/json".
func Pattern(method, path string) string {
	path = versionPrefix.ReplaceAllString(path, "/")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch parts[0] {
	case "containers", "networks", "volumes", "exec", "images":
	default:
		return method + " " + path
	}
	switch {
	case len(parts) == 2 && !collectionCalls[parts[1]]:
		parts[1] = "{id}"
	case len(parts) > 2 && parts[0] == "images" && method == http.MethodDelete:
		parts = []string{parts[0], "{id}"} // image names have slashes
	case len(parts) > 2:
		parts = []string{parts[0], "{id}", parts[len(parts)-1]}
	}
	return method + " /" + strings.Join(parts, "/")
}
