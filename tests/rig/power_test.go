package rig_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
)

// TestPower cuts a node's power under a running container, brings it back,
// freezes it, adds another node, and closes the rig in the middle of all that.
func TestPower(t *testing.T) {
	ctx := t.Context()
	before := machine(t)
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
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	node := r.Node()
	id := runWeb(t, node.Engine.Docker, 8000)
	url := fmt.Sprintf("http://%s:8000/", node.Address)
	wantAnswer(t, r.LAN.NetNS.HTTPClient(), url)
	kept := filepath.Join(node.Dir, "kept")
	check(os.WriteFile(kept, []byte("kept"), 0o600))
	lost := rig.Must[*rig.Proc](t)(node.Start(ctx, rig.ProcConfig{Name: "lost", Path: "sleep", Args: []string{"1000"}}))

	t.Run("frozen", func(t *testing.T) {
		check(node.Pause(ctx))
		wantSilence(t, r, url)
		check(node.Resume(ctx))
		wantAnswer(t, r.LAN.NetNS.HTTPClient(), url)
	})

	t.Run("off", func(t *testing.T) {
		// An open connection must fall silent, not end.
		conn := rig.Must[net.Conn](t)(r.LAN.NetNS.DialContext(ctx, "tcp", node.Address.String()+":8000"))
		defer conn.Close()
		_, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: n\r\n\r\n"))
		check(err)
		_, err = conn.Read(make([]byte, 1))
		check(err)
		start := time.Now()
		check(node.PowerOff(ctx))
		t.Logf("power off took %s", time.Since(start).Round(time.Millisecond))
		check(conn.SetReadDeadline(time.Now().Add(silence)))
		for err = nil; err == nil; { // the rest of the answer
			_, err = conn.Read(make([]byte, 4096))
		}
		if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
			t.Errorf("the peer's connection ended with %v, want silence", err)
		}
		if lost.Running() {
			t.Error("a process survived")
		}
		wantNothingOf(t, r, node)
		if _, err := node.Start(ctx, rig.ProcConfig{Name: "early", Path: "true"}); err == nil {
			t.Error("a process was started on a node without power")
		}
		check(node.PowerOff(ctx))
	})

	t.Run("on again", func(t *testing.T) {
		start := time.Now()
		check(node.PowerOn(ctx))
		t.Logf("power on took %s", time.Since(start).Round(time.Millisecond))
		if data, err := os.ReadFile(kept); string(data) != "kept" {
			t.Errorf("disk: %q, %v", data, err)
		}
		details := rig.Must[rig.Details](t)(node.Engine.Inspect(ctx, id))
		if details.State.Running {
			t.Errorf("the container runs: %+v", details.State)
		}
		check(node.Engine.Do(ctx, http.MethodPost, "/containers/"+id+"/start", nil, nil))
		wantAnswer(t, r.LAN.NetNS.HTTPClient(), url)
		if err := node.PowerOn(ctx); err == nil {
			t.Error("a node that is on was powered on")
		}
	})

	t.Run("another node", func(t *testing.T) {
		added := rig.Must[*rig.Node](t)(r.AddNode(ctx))
		if added.Name != "n2" || len(r.Nodes) != 2 {
			t.Errorf("node %s, of %d", added.Name, len(r.Nodes))
		}
		runWeb(t, added.Engine.Docker, 8000)
		wantAnswer(t, node.NetNS.HTTPClient(), fmt.Sprintf("http://%s:8000/", added.Address))
		check(added.Pause(ctx))
	})

	check(r.Partition(ctx, r.Nodes[:1]))
	check(node.PowerOff(ctx))
	check(r.Close(ctx))
	closed = true
	nothingLeft(t, r.ID, before)
}

func wantSilence(t *testing.T, r *rig.Rig, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), silence)
	defer cancel()
	req := rig.Must[*http.Request](t)(http.NewRequestWithContext(ctx, http.MethodGet, url, nil))
	resp, err := r.LAN.NetNS.HTTPClient().Do(req)
	if err == nil {
		resp.Body.Close()
		t.Errorf("%s answered with %s", url, resp.Status)
	} else if ctx.Err() == nil {
		t.Errorf("%s: %v, want silence", url, err)
	}
}

// wantNothingOf looks for traces that a host loses with its power.
func wantNothingOf(t *testing.T, r *rig.Rig, node *rig.Node) {
	t.Helper()
	links := rig.Must[string](t)(r.LAN.Run(t.Context(), "ip", "-o", "link"))
	if strings.Contains(links, "p1@") {
		t.Errorf("port left:\n%s", links)
	}
	for _, pattern := range []string{"/run/netns/" + string(node.NetNS), "/sys/fs/cgroup/" + r.ID + "/n1", "/sys/fs/cgroup/*/" + r.ID + "/n1"} {
		if left, err := filepath.Glob(pattern); err != nil || left != nil {
			t.Errorf("left: %v %v", left, err)
		}
	}
	for file, trace := range map[string]string{"/proc/self/mountinfo": " " + node.Dir + "/", "/proc/[0-9]*/cmdline": node.Dir + "/"} {
		paths := rig.Must[[]string](t)(filepath.Glob(file))
		for _, p := range paths {
			data, err := os.ReadFile(p)
			if err == nil && strings.Contains(string(data), trace) {
				t.Errorf("left in %s: %s", p, data)
			}
		}
	}
}
