package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/desired"
)

// These tests run against the engine that JACO_TEST_ENGINE names
// ("unix:///path"); the suite engine starts one. They make and remove only what
// carries the label of a cluster of their own.

const testImage = "jaco-agent-test:1"

var buildImage = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "helper")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "helper")
	build := exec.Command("go", "build", "-o", path, "./testdata/helper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the test image's program: %w: %s", err, out)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err = errors.Join(
		w.WriteHeader(&tar.Header{Name: "helper", Mode: 0o755, Size: int64(len(body))}),
		func() error { _, err := w.Write(body); return err }(),
		w.Close(),
	)
	return archive.Bytes(), err
})

// live returns the engine under a cluster id of its own, with the test image.
func live(t *testing.T) *Engine {
	t.Helper()
	host := os.Getenv("JACO_TEST_ENGINE")
	if host == "" {
		t.Skip("on purpose: the suite engine runs it")
	}
	var id [8]byte
	rand.Read(id[:])
	e, err := New(host, hex.EncodeToString(id[:]))
	if err != nil {
		t.Fatal(err)
	}
	archive, err := buildImage()
	if err != nil {
		t.Fatal(err)
	}
	res, err := e.api.ImageImport(t.Context(), client.ImageImportSource{Source: bytes.NewReader(archive), SourceName: "-"},
		testImage, client.ImageImportOptions{Changes: []string{`CMD ["/helper", "serve"]`}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := new(bytes.Buffer).ReadFrom(res); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		e.cleanUp(ctx, t)
	})
	return e
}

// cleanUp removes everything of this cluster.
func (e *Engine) cleanUp(ctx context.Context, t *testing.T) {
	containers, err := e.List(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, c := range containers {
		if err := e.Remove(ctx, c.ID); err != nil {
			t.Error(err)
		}
	}
	networks, err := e.ListNetworks(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, n := range networks {
		if err := e.RemoveNetwork(ctx, n.Name); err != nil {
			t.Error(err)
		}
	}
	volumes, err := e.api.VolumeList(ctx, client.VolumeListOptions{
		Filters: client.Filters{}.Add("label", agent.LabelCluster+"="+e.cluster)})
	if err != nil {
		t.Error(err)
	}
	for _, v := range volumes.Items {
		if _, err := e.api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{}); err != nil {
			t.Error(err)
		}
	}
	e.Close()
}

// name makes a name that no other test run uses.
func (e *Engine) name(s string) string { return "jaco_" + e.cluster + "_" + s }

func (e *Engine) network(t *testing.T, s string) string {
	t.Helper()
	n := agent.Network{Name: e.name(s), Labels: map[string]string{agent.LabelCluster: e.cluster}}
	if err := e.EnsureNetwork(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return n.Name
}

// spec is a container that serves on the given networks.
func (e *Engine) spec(s string, networks ...string) agent.ContainerSpec {
	spec := agent.ContainerSpec{
		Name:   e.name(s),
		Labels: map[string]string{agent.LabelCluster: e.cluster, agent.LabelReplica: s},
		Container: desired.Container{
			Image: testImage, StopGrace: 5 * time.Second, Environment: map[string]string{"GREETING": "hello"},
		},
	}
	for _, n := range networks {
		spec.Networks = append(spec.Networks, desired.Attachment{Network: n, Aliases: []string{s}})
	}
	return spec
}

func (e *Engine) run(t *testing.T, spec agent.ContainerSpec) agent.Container {
	t.Helper()
	id, err := e.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	c, err := e.Inspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLiveContainer(t *testing.T) {
	e := live(t)
	ctx := t.Context()
	info, err := e.Info(ctx)
	if err != nil || info.CPU < 1e9 || info.Memory < 1<<20 || info.Version == "" {
		t.Fatalf("info %+v, error %v", info, err)
	}
	a, b := e.network(t, "a"), e.network(t, "b")
	volume := e.name("data")
	if err := e.EnsureVolume(ctx, agent.Volume{Name: volume, Labels: map[string]string{agent.LabelCluster: e.cluster}}); err != nil {
		t.Fatal(err)
	}
	spec := e.spec("web", a, b)
	spec.Volumes = map[string]string{"data": volume}
	spec.Container.Mounts = []desired.Mount{
		{Kind: desired.VolumeMount, Volume: "data", Target: "/data"},
		{Kind: desired.VolumeMount, Target: "/anonymous"},
		{Kind: desired.TmpfsMount, Target: "/tmp", Size: 1 << 20, FileMode: 0o1770},
	}
	spec.Container.Ports = []desired.Port{{Container: 8080, Protocol: "tcp", HostIP: "127.0.0.1"}}
	spec.Container.Resources = desired.Resources{CPULimit: 5e8, MemoryLimit: 64 << 20, PidsLimit: 50}
	spec.Container.StopSignal = "SIGUSR1"
	created, err := e.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	before, err := e.Inspect(ctx, spec.Name)
	if err != nil || before.ID != created || before.Status != agent.StatusCreated || len(before.Networks) != 2 {
		t.Fatalf("before it starts: %+v, error %v", before, err)
	}
	if _, err := e.Create(ctx, spec); !errors.Is(err, agent.ErrConflict) {
		t.Errorf("the same name again: %v, want a conflict", err)
	}
	if err := e.Start(ctx, created); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(ctx, created); err != nil {
		t.Errorf("start of what runs: %v", err)
	}
	c, err := e.Inspect(ctx, created)
	if err != nil || c.Status != agent.StatusRunning || c.StartedAt.IsZero() || c.StopGrace != 5*time.Second ||
		!c.Networks[a].IsValid() || !c.Networks[b].IsValid() || c.Health != agent.HealthNone {
		t.Fatalf("running: %+v, error %v", c, err)
	}
	img, err := e.Image(ctx, testImage)
	if err != nil || img.ID != c.ImageID || img.Digest != img.ID {
		t.Errorf("image %+v, error %v, want the container's %s", img, err, c.ImageID)
	}
	if list, err := e.List(ctx); err != nil || len(list) != 1 || list[0].ID != created {
		t.Errorf("list: %d containers, error %v", len(list), err)
	}
	if err := e.Stop(ctx, created); err != nil {
		t.Fatal(err)
	}
	var lines []string
	err = e.Logs(ctx, spec.Name, agent.LogOptions{}, func(l agent.LogLine) error {
		lines = append(lines, fmt.Sprintf("%t %s", l.Stderr, l.Text))
		return nil
	})
	if got := strings.Join(lines, "\n"); err != nil || !strings.Contains(got, "false serving hello") ||
		!strings.Contains(got, "true stopped by user defined signal 1") {
		t.Errorf("log %q, error %v", got, err)
	}
	for range 2 {
		if err := e.Remove(ctx, created); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if _, err := e.Inspect(ctx, created); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("after removal: %v, want not found", err)
	}
}

func TestLiveRefusals(t *testing.T) {
	e := live(t)
	ctx := t.Context()
	spec := e.spec("web", e.network(t, "a"))
	missing := spec
	missing.Container.Image = "jaco-no-such-image:1"
	if _, err := e.Create(ctx, missing); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("create without the image: %v, want not found", err)
	}
	if _, err := e.Image(ctx, missing.Container.Image); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("look for the image: %v, want not found", err)
	}
	if err := e.Pull(ctx, "127.0.0.1:1/none:1", nil); err == nil || errors.Is(err, agent.ErrUnavailable) {
		t.Errorf("pull from nowhere: %v, want an error that is not the engine's absence", err)
	}
	// The engine looks for the networks only when the container starts.
	for _, networks := range [][]string{{e.name("none")}, {e.name("a"), e.name("none")}} {
		half := e.spec("half", networks...)
		id, err := e.Create(ctx, half)
		if err == nil {
			err = errors.Join(e.Start(ctx, id), e.Remove(ctx, id))
		}
		if !errors.Is(err, agent.ErrNotFound) {
			t.Errorf("on networks %v: %v, want not found", networks, err)
		}
	}
	bad := e.spec("bad", e.name("a"))
	bad.Container.Command = []string{"/no/such/program"}
	id, err := e.Create(ctx, bad)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(ctx, id); err == nil || errors.Is(err, agent.ErrNotFound) || errors.Is(err, agent.ErrUnavailable) {
		t.Errorf("start of no program: %v, want the engine's own refusal", err)
	}
	e.run(t, spec)
	if err := e.RemoveNetwork(ctx, e.name("a")); !errors.Is(err, agent.ErrConflict) {
		t.Errorf("remove a network in use: %v, want a conflict", err)
	}
	foreign := agent.Network{Name: "bridge"}
	if err := e.EnsureNetwork(ctx, foreign); !errors.Is(err, agent.ErrForeign) {
		t.Errorf("take Docker's own network: %v, want foreign", err)
	}
}

func TestLiveEvents(t *testing.T) {
	e := live(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, failed := e.Events(ctx)
	spec := e.spec("web", e.network(t, "a"))
	spec.Container.Healthcheck = &desired.Healthcheck{
		Test: []string{"CMD", "/helper", "exists", "/helper"}, Interval: 100 * time.Millisecond,
		Timeout: time.Second, Retries: 1,
	}
	c := e.run(t, spec)
	if c.Health == agent.HealthNone {
		t.Error("a container with a healthcheck says that it has none")
	}
	wait := func(action agent.EventAction) agent.Event {
		t.Helper()
		for {
			select {
			case ev := <-events:
				if ev.Container != c.ID {
					t.Errorf("event %+v of another container", ev)
				}
				if ev.Action == action {
					return ev
				}
			case err := <-failed:
				t.Fatal(err)
			case <-time.After(10 * time.Second):
				t.Fatalf("no %s event", action)
			}
		}
	}
	wait(agent.ActionCreate)
	wait(agent.ActionConnect)
	wait(agent.ActionStart)
	wait(agent.ActionHealth)
	if c, err := e.Inspect(ctx, c.ID); err != nil || c.Health != agent.HealthHealthy {
		t.Errorf("health %s, error %v", c.Health, err)
	}
	if err := e.Recheck(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	wait(agent.ActionPause)
	wait(agent.ActionUnpause)
	if c, err := e.Inspect(ctx, c.ID); err != nil || c.Status != agent.StatusRunning || !c.HealthDue.After(c.StartedAt) || c.Health != agent.HealthHealthy {
		t.Errorf("after its healthcheck was taken up again: %+v, error %v", c, err)
	}
	if err := e.Stop(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	if ev := wait(agent.ActionKill); ev.Signal != 15 || ev.Replica != "web" {
		t.Errorf("kill event %+v", ev)
	}
	wait(agent.ActionDie)
	wait(agent.ActionStop)
	if err := e.Remove(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	wait(agent.ActionDestroy)
	cancel()
	if err := <-failed; err == nil {
		t.Error("a stream that was given up ended without an error")
	}
}
