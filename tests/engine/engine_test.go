package engine

import (
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/rig/gotest"
)

func TestMain(m *testing.M) { rig.Main(m, "engine") }

// TestAgentDocker runs a whole package's tests: each must pass, and none may
// skip now that it has what it wants.
func TestAgentDocker(t *testing.T) {
	node := rig.Start(t, rig.Config{}).Nodes[0]
	play(t, node, "./agent/docker")
}

// TestMeshBridge runs them inside the node's network, against engines of both
// kinds of packet filter.
func TestMeshBridge(t *testing.T) {
	for name, legacy := range map[string]bool{"iptables-nft": false, "iptables-legacy": true} {
		t.Run(name, func(t *testing.T) {
			node := rig.Start(t, rig.Config{Engine: rig.EngineConfig{LegacyTables: legacy}}).Nodes[0]
			play(t, node, "-exec", "nsenter --net=/var/run/netns/"+string(node.NetNS), "./mesh/bridge")
		})
	}
}

// play runs go test with the node's engine.
func play(t *testing.T, node *rig.Node, args ...string) {
	t.Helper()
	root := rig.Must[string](t)(rig.ModuleRoot())
	var counts gotest.Counts
	live := 0
	said := map[string][]string{}
	var out strings.Builder
	err := gotest.Command{
		Dir: root, Env: []string{"JACO_TEST_ENGINE=" + node.Engine.Host(), node.Engine.PathVariable()},
		Args: append([]string{"-count=1", "-timeout=10m"}, args...),
	}.Run(t.Context(), &out, func(ev gotest.Event) {
		counts.Take(ev)
		switch {
		case ev.Action == "build-output":
			out.WriteString(ev.Output)
		case ev.Action == "output" && !gotest.Noise(ev.Output):
			said[ev.Test] = append(said[ev.Test], ev.Output)
		case ev.Action == "skip":
			t.Errorf("%s skipped: %s", ev.Test, gotest.SkipReason(said[ev.Test]))
		case ev.Action == "fail":
			t.Errorf("%s failed:\n%s", ev.Test, strings.Join(said[ev.Test], ""))
		case ev.Action == "pass" && strings.HasPrefix(ev.Test, "TestLive"):
			live++
		}
	})
	if err != nil {
		t.Errorf("go test: %v\n%s", err, out.String())
	}
	if live == 0 {
		t.Error("no test ran against the engine")
	}
	t.Logf("%s: %s, %d against the engine", args[len(args)-1], counts, live)
}
