package mesh

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// teardown takes a node into the cluster and out again. Its network must be what
// it was before.
func teardown(f *trial) {
	ctx := f.t.Context()
	var before map[string]string
	m := f.AddDaemonAfter(func(node *rig.Node) { before = facts(f, node) })
	f.Join(m)
	f.Deploy(shop(8)) // two on each of four
	f.Settle(settleTime)
	f.MeshReady(settleTime)
	if diff := cmp.Diff(before, facts(f, m.Node)); !strings.Contains(diff, "table inet jaco") || !strings.Contains(diff, m.Node.WireGuard) {
		f.t.Errorf("a node of the mesh differs from one that is none by this alone:\n%s", diff)
	}

	f.Commit(map[string]string{"cluster.yaml": fmt.Sprintf("nodes:\n  %s: {availability: removed}\n", m.Name())})
	f.Push()
	others := slices.DeleteFunc(f.Running(), func(other stage.Member) bool { return other.Name() == m.Name() })
	others[0].Converge()
	f.Eventually(settleTime, m.Name()+" to be out", func(status *cluster.Status) (bool, string) {
		return stage.Node(status, m.Name()) == nil && stage.Whole(stage.Deployment(status, "shop")), stage.Summary(status)
	}, others...)
	f.Check(m.Stop(ctx))
	f.Check(m.StopEdge(ctx))
	for _, container := range m.Containers() {
		f.Check(m.Node.Engine.Remove(ctx, container.ID))
	}
	said, err := m.CleanUpEdge(ctx)
	if err != nil {
		f.t.Fatalf("jacod edge cleanup: %v", err)
	}
	f.t.Logf("jacod edge cleanup:\n%s", said)
	if diff := cmp.Diff(before, facts(f, m.Node)); diff != "" {
		f.t.Errorf("the node is not what it was (-before +after):\n%s", diff)
	}
	if said, err := m.CleanUpEdge(ctx); err != nil {
		f.t.Errorf("cleanup once more: %v\n%s", err, said)
	}
	f.Check(m.Node.PowerOff(ctx))
}

// facts are everything of a node's network that a mesh could change, in a form
// that does not hang on when something was made.
func facts(f *trial, node *rig.Node) map[string]string {
	f.t.Helper()
	ctx := f.t.Context()
	found := map[string]string{}
	run := func(name string, args ...string) string {
		out, err := node.Run(ctx, name, args...)
		f.Check(err)
		return out
	}
	for name, args := range map[string]string{
		"links": "-d -j link", "addresses": "-j addr", "rules": "-j rule", "rules6": "-6 -j rule",
		"routes": "-j route show table all", "routes6": "-6 -j route show table all", "neighbours proxied": "-j neigh show proxy",
	} {
		found[name] = lasting(f, run("ip", strings.Fields(args)...))
	}
	found["sysctls"] = lines(run("sh", "-c", "sysctl -a 2>/dev/null"), func(line string) bool {
		return strings.HasPrefix(line, "net.") && !strings.Contains(line, "nf_conntrack_count")
	})
	found["nft"] = strings.ReplaceAll(withoutCounters(run("nft", "-s", "list", "ruleset")), " # progname nft", "")
	for _, name := range []string{"iptables-save", "iptables-legacy-save", "ip6tables-save", "ip6tables-legacy-save"} {
		found[name] = lines(withoutCounters(run(name)), func(line string) bool { return !strings.HasPrefix(line, "#") })
	}
	return found
}

// passing are the fields of iproute2's JSON that change by themselves.
var passing = []string{
	"ifindex", "link_index", "valid_life_time", "preferred_life_time", "stats", "stats64", "txqlen", "hello_timer", "tcn_timer", "topology_change_timer",
	"gc_timer", "operstate", "expires", "root_path_cost", "topology_change", "topology_change_detected",
}

// lasting drops the fields that change by themselves, and sorts.
func lasting(f *trial, out string) string {
	var list []map[string]any
	if out != "" {
		f.Check(json.Unmarshal([]byte(out), &list))
	}
	var all []string
	for _, entry := range list {
		if len(entry) == 0 {
			continue
		}
		strip(entry)
		data, err := json.MarshalIndent(entry, "", " ")
		f.Check(err)
		all = append(all, string(data))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func strip(value any) {
	switch value := value.(type) {
	case map[string]any:
		maps.DeleteFunc(value, func(key string, _ any) bool { return slices.Contains(passing, key) })
		for _, inner := range value {
			strip(inner)
		}
	case []any:
		for _, inner := range value {
			strip(inner)
		}
	}
}

// withoutCounters drops "[12:345]", which iptables-save prints.
func withoutCounters(rules string) string {
	return lines(rules, func(string) bool { return true })
}

func lines(text string, keep func(string) bool) string {
	var kept []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n ")
		if at := strings.LastIndex(line, " ["); at > 0 && strings.HasSuffix(line, "]") {
			line = line[:at]
		}
		if line != "" && keep(line) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}
