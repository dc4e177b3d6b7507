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
	s.Deploy(stage.Nine())
	if counts := proxy.Counts(); counts["POST /containers/create"] != 9 {
		t.Fatalf("the proxy does not see what jacod asks: %v", counts)
	}
	// Reports are coalesced: let the last one be written.
	index := quiet(t, s)

	proxy.Reset()
	stage.Pass(t, idleTime)
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
