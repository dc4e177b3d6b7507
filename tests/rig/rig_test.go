package rig_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/tests/rig"
)

func TestMain(m *testing.M) { rig.Main(m, "rig") }

// TestNode runs a container on one node, restarts its engine and closes it
// while the container is paused.
func TestNode(t *testing.T) {
	ctx := t.Context()
	before := machine(t)
	start := time.Now()
	r, err := rig.New(ctx, rig.Config{})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			_ = r.Close(context.WithoutCancel(ctx))
		}
	}()
	node := r.Node()
	version, err := node.Engine.Version(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("engine %s with %s up in %s", version, node.Engine.Storage(), time.Since(start).Round(time.Millisecond))

	id := runWeb(t, node.Engine.Docker, 8000)
	url := fmt.Sprintf("http://%s:8000/", node.Address)
	wantAnswer(t, r.LAN.NetNS.HTTPClient(), url)

	survives(t, node.Engine, id)
	wantAnswer(t, r.LAN.NetNS.HTTPClient(), url)

	if out, err := node.Run(ctx, "iptables", "-S", "FORWARD"); err != nil || !strings.HasPrefix(out, "-P FORWARD DROP") {
		t.Errorf("packet filter: %v\n%s", err, out)
	}

	if err := node.Engine.Do(ctx, http.MethodPost, "/containers/"+id+"/pause", nil, nil); err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
	closed = true
	t.Logf("closed in %s", time.Since(start).Round(time.Millisecond))
	nothingLeft(t, r.ID, before)
}

// survives disturbs the engine and wants the container's process untouched.
func survives(t *testing.T, engine *rig.Engine, id string) {
	t.Helper()
	ctx := t.Context()
	for name, disturb := range map[string]func() error{
		"restarted": func() error { return engine.Restart(ctx) },
		"killed": func() error {
			if err := engine.Kill(ctx); err != nil {
				return err
			}
			return engine.Start(ctx)
		},
	} {
		was, err := engine.Inspect(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := disturb(); err != nil {
			t.Fatalf("engine %s: %v", name, err)
		}
		is, err := engine.Inspect(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if is.State.Pid != was.State.Pid || is.State.StartedAt != was.State.StartedAt {
			t.Errorf("engine %s: container did not survive: %+v, was %+v", name, is.State, was.State)
		}
	}
}

// TestHost does the same on the machine's own network.
func TestHost(t *testing.T) {
	ctx := t.Context()
	before := machine(t)
	h, err := rig.NewHost(ctx)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			_ = h.Close(context.WithoutCancel(ctx))
		}
	}()
	if err := h.StartEngine(ctx); err != nil {
		t.Fatal(err)
	}
	// Its power is the machine's.
	if h.PowerOff(ctx) == nil || h.PowerOn(ctx) == nil {
		t.Error("the machine itself was powered off")
	}
	// A network of the engine's pool, and one with a subnet of its own.
	for name, ipam := range map[string]any{"pool": nil, "own": map[string]any{"Config": []map[string]string{{"Subnet": "10.251.7.0/24"}}}} {
		in := map[string]any{"Name": name, "Driver": "bridge", "IPAM": ipam}
		if err := h.Engine.Do(ctx, http.MethodPost, "/networks/create", in, nil); err != nil {
			t.Fatal(err)
		}
	}
	port, err := h.NetNS.FreePort(ctx, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	runWeb(t, h.Engine.Docker, port)
	wantAnswer(t, http.DefaultClient, fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	closed = true
	nothingLeft(t, filepath.Base(filepath.Dir(h.Dir)), before)
}

// TestSweep removes a rig whose maker never called Close, in whatever state its
// nodes are.
func TestSweep(t *testing.T) {
	ctx := t.Context()
	before := machine(t)
	r, err := rig.New(ctx, rig.Config{Nodes: 3, NoEngine: true})
	if err != nil {
		t.Fatal(err)
	}
	const sockets = "/var/run/wireguard"
	if err := os.MkdirAll(sockets, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, node := range r.Nodes {
		// What an edge that was killed leaves.
		if err := os.WriteFile(filepath.Join(sockets, node.WireGuard+".sock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := node.Start(ctx, rig.ProcConfig{Name: "lost", Path: "sleep", Args: []string{"1000"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := rig.NewDaemon(node, rig.DaemonConfig{Jacod: "/bin/ls", Jaco: "/bin/ls", DataSize: 1 << 20}); err != nil {
			t.Fatal(err)
		}
	}
	for what, err := range map[string]error{
		"off": r.Nodes[0].PowerOff(ctx), "frozen": r.Nodes[1].Pause(ctx), "cut": r.Partition(ctx, r.Nodes[:2]),
	} {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if err := rig.Sweep(ctx, strings.TrimPrefix(r.ID, "jaco-")); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, r.ID, before)
}

func runWeb(t *testing.T, d *rig.Docker, port int) string {
	t.Helper()
	ctx := t.Context()
	bin, err := rig.Bin("web")
	if err != nil {
		t.Fatal(err)
	}
	first, err := d.Build(ctx, rig.WebImage("web:1", "1", bin))
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.Build(ctx, rig.WebImage("web:2", "2", bin))
	if err != nil {
		t.Fatal(err)
	}
	if first == second || !strings.HasPrefix(first, "sha256:") {
		t.Errorf("image ids %q and %q: want two different ones", first, second)
	}
	id, err := d.RunContainer(ctx, rig.RunSpec{
		Name: "web-1", Image: "web:1", Env: []string{"MESSAGE=from the rig"}, Labels: map[string]string{"test": "rig"},
		Publish: map[int]int{8080: port},
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := d.Containers(ctx, "test=rig")
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].ID != id || list[0].State != "running" {
		t.Errorf("containers: %+v", list)
	}
	return id
}

func wantAnswer(t *testing.T, client *http.Client, url string) {
	t.Helper()
	rig.Eventually(t, 20*time.Second, "an answer from "+url, func(ctx context.Context) (bool, string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false, err.Error()
		}
		resp, err := client.Do(req)
		if err != nil {
			return false, err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return false, err.Error()
		}
		return strings.HasPrefix(string(body), "from the rig\nversion 1\n"), string(body)
	})
}

// facts is what a rig could leave on the machine in places that it shares.
type facts struct {
	Links, Filter, ShimSockets, Forward string
}

func machine(t *testing.T) facts {
	t.Helper()
	var f facts
	for _, q := range []struct {
		into *string
		cmd  string
	}{
		{&f.Links, "ls /sys/class/net"},
		// Counters and comments with the time differ from call to call.
		{&f.Filter, "iptables-save | grep -v '^#' | sed 's/ \\[.*//'; ip6tables-save | grep -v '^#' | sed 's/ \\[.*//'"},
		{&f.ShimSockets, "ls /run/containerd/s 2>/dev/null || true"},
		{&f.Forward, "cat /proc/sys/net/ipv4/ip_forward"},
	} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", q.cmd).Output()
		if err != nil {
			t.Fatalf("%s: %v", q.cmd, err)
		}
		*q.into = string(out)
	}
	return f
}

// nothingLeft looks for the id wherever a rig leaves traces.
func nothingLeft(t *testing.T, id string, before facts) {
	t.Helper()
	if id == "" {
		t.Fatal("no id")
	}
	after := machine(t)
	before.Filter, after.Filter = withoutEmptyTables(before.Filter), withoutEmptyTables(after.Filter)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("machine changed (-before +after):\n%s", diff)
	}
	for _, pattern := range []string{
		"/var/run/wireguard/j" + strings.ReplaceAll(strings.TrimPrefix(id, "jaco-"), "-", "") + "*", "/run/netns/" + id + "*", filepath.Join(os.TempDir(), id+"*"), "/sys/fs/cgroup/" + id + "*", "/sys/fs/cgroup/*/" + id + "*",
	} {
		left, err := filepath.Glob(pattern)
		if err != nil || left != nil {
			t.Errorf("left: %v %v", left, err)
		}
	}
	for _, file := range []string{"/proc/self/mountinfo", "/proc/[0-9]*/cmdline"} {
		paths, err := filepath.Glob(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			data, err := os.ReadFile(p)
			if err == nil && strings.Contains(string(data), id) {
				t.Errorf("left in %s: %s", p, data)
			}
		}
	}
}

// withoutEmptyTables drops the lines that iptables-save prints for a table as
// soon as somebody looked at it: the name, built-in chains, and COMMIT.
func withoutEmptyTables(rules string) string {
	var keep []string
	for line := range strings.Lines(rules) {
		if !strings.HasPrefix(line, "*") && !strings.HasPrefix(line, "COMMIT") && !strings.HasSuffix(line, " ACCEPT\n") {
			keep = append(keep, line)
		}
	}
	return strings.Join(keep, "")
}
