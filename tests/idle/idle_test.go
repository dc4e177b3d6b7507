package idle

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "idle") }

// idleTime is how long nothing may happen.
const idleTime = 60 * time.Second

// allowed are the requests of an idle node: its event stream, should it have to
// be opened again.
var allowed = []string{"GET /events"}

func TestIdle(t *testing.T) {
	var proxy *rig.Proxy
	s := stage.New(t, stage.Config{Engine: func(node *rig.Node) string {
		proxy = rig.StartProxy(t, filepath.Join(node.Dir, "proxy.sock"), node.Engine.Docker)
		return proxy.Host()
	}})
	s.Deploy(nine())
	if counts := proxy.Counts(); counts["POST /containers/create"] != 9 {
		t.Fatalf("the proxy does not see what jacod asks: %v", counts)
	}
	// Reports are coalesced: let the last one be written.
	index := quiet(t, s)

	proxy.Reset()
	pass(t, idleTime)
	if after := s.Status().Cluster.Index; after != index {
		t.Errorf("%d raft entries in %s of idleness, want none:\n%s", after-index, idleTime, s.Jaco("audit", "--since", "70s", "-o", "wide"))
	}
	for request, n := range proxy.Counts() {
		permitted := false
		for _, a := range allowed {
			permitted = permitted || strings.HasPrefix(request, a)
		}
		if !permitted {
			t.Errorf("%d × %s in %s of idleness", n, request, idleTime)
		}
	}
}

// nine is a deployment of nine replicas.
func nine() map[string]string {
	var services []stage.Service
	for _, name := range []string{"api", "web", "worker"} {
		services = append(services, stage.Service{Name: name, Tag: "1", Replicas: 3})
	}
	return map[string]string{stage.Path("shop"): stage.Compose(services...)}
}

// pass lets time pass, when that nothing happens in it is the point.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-timer.C:
	}
}

// quiet waits until the log has not grown for two seconds, and returns its
// index.
func quiet(t *testing.T, s *stage.Stage) uint64 {
	t.Helper()
	var index uint64
	var since time.Time
	s.Eventually(30*time.Second, "a quiet log", func(status *cluster.Status) (bool, string) {
		if status.Cluster.Index != index {
			index, since = status.Cluster.Index, time.Now()
		}
		return time.Since(since) > 2*time.Second, stage.Summary(status)
	})
	return index
}
