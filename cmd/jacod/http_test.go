package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
)

// metricsStatus has something for every metric.
func metricsStatus() *cluster.Status {
	at := noTime.AddDate(2026, 0, 0)
	return &cluster.Status{
		Cluster: cluster.ClusterStatus{Leader: "n1", Term: 3, Index: 42, Nodes: 2, Ready: 1},
		Sync: cluster.SyncStatus{
			State: cluster.SyncStalled, Claim: 7, FetchedAt: &at,
			Pending: []cluster.PendingStatus{{}}, Refused: []cluster.RefusalStatus{{}, {}},
		},
		Deployments: []cluster.DeploymentState{
			{Name: "blog", Sync: cluster.AxisInvalid, Health: cluster.HealthHealthy},
			{Name: "shop", Sync: cluster.AxisSynced, Health: cluster.HealthDegraded, Services: []cluster.ServiceStatus{{
				Name: "api", Desired: 3, Rollout: cluster.RolloutPaused,
				Replicas: []cluster.ReplicaStatus{{Phase: cluster.Healthy}, {Phase: cluster.Failed}, {Phase: cluster.Healthy}},
			}, {Name: "db"}}},
		},
	}
}

// ask makes a request of a handler.
func ask(handler http.Handler, method, path string) (int, string) {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(method, path, nil))
	return recorder.Code, recorder.Body.String()
}

func testHandler(status *cluster.Status, reason string) http.Handler {
	return newHTTPHandler(probe{
		name: "n1", version: "v1", status: func() *cluster.Status { return status }, ready: func() string { return reason },
		webhook: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
	})
}

func TestHTTPHandler(t *testing.T) {
	for _, test := range []struct {
		method, path, reason string
		code                 int
		body                 string
	}{
		{"GET", "/healthz", "no engine", 200, "ok\n"},
		{"GET", "/readyz", "", 200, "ready\n"},
		{"GET", "/readyz", "NotReady: no engine", 503, "NotReady: no engine\n"},
		{"POST", "/healthz", "", 405, ""},
		{"POST", "/webhook", "", http.StatusTeapot, ""},
		{"GET", "/nothing", "", 404, ""},
		{"GET", "/", "", 404, ""},
	} {
		code, body := ask(testHandler(nil, test.reason), test.method, test.path)
		if code != test.code || test.body != "" && body != test.body {
			t.Errorf("%s %s answers %d %q, want %d %q", test.method, test.path, code, body, test.code, test.body)
		}
	}
}

// ownMetrics keeps the lines of our own metrics.
func ownMetrics(text string) string {
	var own strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "jaco_") {
			own.WriteString(line)
		}
	}
	return own.String()
}

func TestMetrics(t *testing.T) {
	code, text := ask(testHandler(metricsStatus(), ""), "GET", "/metrics")
	if code != http.StatusOK || !strings.Contains(text, "go_goroutines") {
		t.Errorf("/metrics answers %d without the runtime's own", code)
	}
	want := `jaco_deployment_healthy{deployment="blog"} 1
jaco_deployment_healthy{deployment="shop"} 0
jaco_deployment_synced{deployment="blog"} 0
jaco_deployment_synced{deployment="shop"} 1
jaco_info{node="n1",version="v1"} 1
jaco_nodes 2
jaco_nodes_ready 1
jaco_raft_applied_index 42
jaco_raft_has_leader 1
jaco_raft_term 3
jaco_replicas{deployment="shop",phase="Failed",service="api"} 1
jaco_replicas{deployment="shop",phase="Healthy",service="api"} 2
jaco_replicas_desired{deployment="shop",service="api"} 3
jaco_replicas_desired{deployment="shop",service="db"} 0
jaco_rollout_state{deployment="shop",service="api",state="paused"} 1
jaco_sync_fetched_timestamp_seconds 1.7987616e+09
jaco_sync_state{state="Stalled"} 1
jaco_verification_pending 1
jaco_verification_refused 2
jaco_verified_claim 7
`
	if diff := cmp.Diff(want, ownMetrics(text)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	if _, text := ask(testHandler(nil, ""), "GET", "/metrics"); ownMetrics(text) != "jaco_info{node=\"n1\",version=\"v1\"} 1\n" {
		t.Errorf("before there is a cluster:\n%s", ownMetrics(text))
	}
	empty := &cluster.Status{Sync: cluster.SyncStatus{State: cluster.SyncUnreachable}}
	_, text = ask(testHandler(empty, ""), "GET", "/metrics")
	if strings.Contains(text, "jaco_sync_fetched") || !strings.Contains(text, "jaco_raft_has_leader 0") || !strings.Contains(text, `{state="Unreachable"} 1`) {
		t.Errorf("without a leader and a fetch:\n%s", ownMetrics(text))
	}
}

// TestMetricsAreDocumented holds docs/configuration.md against what is served.
func TestMetricsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	check(t, err)
	name := regexp.MustCompile(`\bjaco_[a-z_]+`)
	documented, served := map[string]bool{}, map[string]bool{}
	for _, found := range name.FindAllString(string(doc), -1) {
		documented[found] = true
	}
	_, text := ask(testHandler(metricsStatus(), ""), "GET", "/metrics")
	for _, found := range name.FindAllString(ownMetrics(text), -1) {
		served[found] = true
	}
	if diff := cmp.Diff(served, documented); diff != "" {
		t.Errorf("metrics (-served +documented):\n%s", diff)
	}
}

// TestServeHTTPLetsRequestsEnd stops the server in the middle of an answer.
func TestServeHTTPLetsRequestsEnd(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan error, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-ctx.Done()
		_, _ = io.WriteString(w, "whole")
	})
	go func() { ended <- serveHTTP(ctx, listener, handler, slog.New(slog.DiscardHandler)) }()
	body := make(chan string, 1)
	go func() {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String(), nil)
		if err != nil {
			body <- err.Error()
			return
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			body <- err.Error()
			return
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		body <- string(text)
	}()
	<-begun
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("serving ended with %v", err)
	}
	if got := <-body; got != "whole" {
		t.Errorf("the answer is %q", got)
	}
	if err := serveHTTP(t.Context(), listener, handler, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("serving a closed listener is no error")
	}
}
