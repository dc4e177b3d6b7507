package badinput

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// TestEngineMissing starts a node whose engine is not there: it takes part in
// the cluster, says why it runs nothing, and runs everything once the engine
// appears.
func TestEngineMissing(t *testing.T) {
	var socket string
	s := stage.New(t, stage.Config{Engine: func(n *rig.Node) string {
		socket = filepath.Join(n.Dir, "late.sock")
		return "unix://" + socket
	}})
	commit := s.Commit(map[string]string{stage.Path("shop"): stage.Compose(stage.Service{Name: "web", Tag: "1", Replicas: 2})})
	s.Push()
	s.Eventually(20*time.Second, "the commit accepted, and the node not ready", func(status *cluster.Status) (bool, string) {
		node := status.Nodes[0]
		return status.Sync.Accepted == commit && node.State == cluster.NodeNotReady &&
			strings.Contains(node.Reason, "the engine does not answer"), stage.Summary(status) + "\n" + node.Reason
	})
	readable(t, s.Jaco("status", "nodes", "-o", "wide"), "NotReady", "the engine does not answer", socket)
	code, body := ready(t, s)
	if code != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d, want 503", code)
	}
	readable(t, body, "NotReady", "the engine does not answer")
	s.Eventually(20*time.Second, "a reason in status", func(status *cluster.Status) (bool, string) {
		d := stage.Deployment(status, "shop")
		if d == nil {
			return false, stage.Summary(status)
		}
		service := stage.FindService(status, "shop", "web")
		all := d.Reason
		if service != nil {
			all += service.Reason
		}
		return strings.Contains(all, "not ready") || strings.Contains(all, "NotReady"), stage.Summary(status)
	})
	readable(t, s.JacoFails(3, "status", "--wait", "--timeout", "2s"), "not converged after 2s", "shop")

	rig.StartProxy(t, socket, s.Node.Engine.Docker)
	s.Converge()
	if n := len(s.Containers()); n != 2 {
		t.Errorf("the engine holds %d containers, want 2", n)
	}
	if code, body := ready(t, s); code != http.StatusOK {
		t.Errorf("/readyz answers %d: %s", code, body)
	}
	readable(t, s.Jaco("status", "events"), "answers again")
}

// ready asks /readyz.
func ready(t *testing.T, s *stage.Stage) (int, string) {
	t.Helper()
	return get(t, s, "/readyz")
}

func get(t *testing.T, s *stage.Stage, path string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request := rig.Must[*http.Request](t)(http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:7080"+path, nil))
	response := rig.Must[*http.Response](t)(s.Node.NetNS.HTTPClient().Do(request))
	defer response.Body.Close()
	body := rig.Must[[]byte](t)(io.ReadAll(response.Body))
	return response.StatusCode, string(body)
}
