package badinput

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
)

func TestMain(m *testing.M) { rig.Main(m, "badinput") }

// refuseTimeout is how long a jacod that must not start may take to say so.
const refuseTimeout = 20 * time.Second

// node is a host without an engine and the jacod of it.
type node struct {
	*rig.Node
	daemon *rig.Daemon
	jacod  string
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{Node: rig.Start(t, rig.Config{NoEngine: true}).Node(), jacod: rig.Must[string](t)(rig.Bin("jacod"))}
	n.daemon = rig.Must[*rig.Daemon](t)(rig.NewDaemon(n.Node, rig.DaemonConfig{Settings: n.settings()}))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(n.daemon.Tail(40))
		}
	})
	return n
}

// settings are those beside the rig's; there is no engine.
func (n *node) settings() map[string]any {
	return map[string]any{"engine": "unix://" + filepath.Join(n.Dir, "no-engine.sock")}
}

// config writes a jacod.yaml of its own, with changes to the daemon's.
func (n *node) config(t *testing.T, changes map[string]any) string {
	t.Helper()
	settings := map[string]any{}
	data := rig.Must[[]byte](t)(os.ReadFile(n.daemon.ConfigFile))
	check(t, yaml.Unmarshal(data, &settings))
	for key, value := range changes {
		settings[key] = value
	}
	path := filepath.Join(t.TempDir(), "jacod.yaml")
	check(t, os.WriteFile(path, rig.Must[[]byte](t)(yaml.Marshal(settings)), 0o600))
	return path
}

// refuses runs a jacod that must end by itself with status 1 and a message that
// holds all the parts.
func (n *node) refuses(t *testing.T, config string, parts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), refuseTimeout)
	defer cancel()
	_, err := n.Run(ctx, n.jacod, "--config", config)
	if ctx.Err() != nil {
		t.Fatalf("jacod ran on, want it to refuse with %q\n%v", parts, err)
	}
	if rig.ExitCode(err) != 1 {
		t.Fatalf("jacod ended with %d, want 1: %v", rig.ExitCode(err), err)
	}
	readable(t, err.Error(), parts...)
}

// readable checks a message for its parts, and for what no message shows to a
// person.
func readable(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("the answer does not say %q:\n%s", part, text)
		}
	}
	for _, noise := range []string{"panic", "goroutine ", "rpc error", "nil pointer", "%!", "0xc0"} {
		if strings.Contains(text, noise) {
			t.Errorf("the answer holds %q:\n%s", noise, text)
		}
	}
}

// standing is what must be the same after trouble as before it.
type standing struct {
	Cluster, Anchor, Accepted string
	Claim                     uint64
	Entries                   int // at least
}

func (n *node) standing(t *testing.T) standing {
	t.Helper()
	var status cluster.Status
	rig.Eventually(t, 20*time.Second, "a leader", func(ctx context.Context) (bool, string) {
		status = cluster.Status{}
		if err := n.daemon.Status(ctx, &status); err != nil {
			return false, err.Error()
		}
		// A node that just came up leads before it has read its log.
		return status.Cluster.Leader != "" && status.Cluster.ID != "", fmt.Sprintf("%+v", status.Cluster)
	}, n.daemon)
	var records []cluster.AuditRecord
	check(t, json.Unmarshal([]byte(rig.Must[string](t)(n.daemon.Run(t.Context(), "audit", "-o", "json"))), &records))
	return standing{status.Cluster.ID, status.Sync.Anchor, status.Sync.Accepted, status.Sync.Claim, len(records)}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logged is a condition on the end of a log.
func logged(s interface{ Tail(int) string }, parts ...string) func(context.Context) (bool, string) {
	return func(context.Context) (bool, string) {
		text := s.Tail(200)
		for _, part := range parts {
			if !strings.Contains(text, part) {
				return false, "no " + part
			}
		}
		return true, ""
	}
}
