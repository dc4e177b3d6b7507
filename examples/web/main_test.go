package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestAnswer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		vars   map[string]string
		path   string
		status int
		body   string
	}{
		"defaults": {nil, "/", 200, "hello\nversion 0\nhost "},
		"set":      {map[string]string{"MESSAGE": "hi", "VERSION": "2"}, "/any/path", 200, "hi\nversion 2\nhost "},
		"a file":   {map[string]string{"MESSAGE_FILE": file}, "/", 200, "from a file\nversion 0\nhost "},
		"no file":  {map[string]string{"MESSAGE_FILE": file + ".none"}, "/", 500, "read the message: "},
		"healthy":  {nil, "/healthz", 200, "ok\n"},
		"sick":     {map[string]string{"UNHEALTHY": "yes"}, "/healthz", 503, "unhealthy"},
		"now":      {map[string]string{"FAIL_HEALTH_AFTER": "0"}, "/healthz", 503, "unhealthy"},
		"later":    {map[string]string{"FAIL_HEALTH_AFTER": "3600"}, "/healthz", 200, "ok\n"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(handler(env(c.vars), time.Now()))
			defer srv.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.status || !strings.HasPrefix(string(body), c.body) {
				t.Errorf("%d %q, want %d %q…", resp.StatusCode, body, c.status, c.body)
			}
			if want := map[bool]int{true: 0, false: 1}[c.status == 200]; probe(t.Context(), srv.URL+c.path) != want {
				t.Errorf("probe did not answer %d", want)
			}
		})
	}
}

func TestHealthFailsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := handler(env(map[string]string{"FAIL_HEALTH_AFTER": "2.5"}), time.Now())
		status := func() int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", nil))
			return w.Code
		}
		before := status()
		<-time.After(2500 * time.Millisecond)
		if before != 200 || status() != 503 {
			t.Errorf("status %d before and %d after, want 200 and 503", before, status())
		}
	})
}

func TestEnd(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	defer func() { _ = l.Close() }()
	for name, c := range map[string]struct {
		vars map[string]string
		stop bool
		code int
		err  bool
	}{
		"signal":            {map[string]string{"PORT": "0"}, true, 0, false},
		"signal in a delay": {map[string]string{"START_DELAY": "3600"}, true, 0, false},
		"exits":             {map[string]string{"PORT": "0", "EXIT_AFTER": "0.01"}, false, 1, false},
		"exits with code":   {map[string]string{"PORT": "0", "EXIT_AFTER": "0", "EXIT_CODE": "7"}, false, 7, false},
		"port is taken":     {map[string]string{"PORT": taken}, false, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.stop {
				cancel()
			}
			if code, err := run(ctx, env(c.vars)); code != c.code || (err != nil) != c.err {
				t.Errorf("run: %d, %v; want %d", code, err, c.code)
			}
		})
	}
}
