package docker

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/desired"
)

// TestLiveIsolation asks for everything that needs a privilege and looks at what
// the engine made of it.
func TestLiveIsolation(t *testing.T) {
	e := live(t)
	spec := e.spec("bare")
	dir := t.TempDir()
	spec.Container.Mounts = []desired.Mount{{Kind: desired.BindMount, Source: dir, Target: "/host", ReadOnly: true, Propagation: "private"}}
	spec.Container.Isolation = desired.Isolation{
		CapAdd: []string{"SYS_TIME"}, SecurityOpt: []string{"no-new-privileges=true", "seccomp=unconfined"},
		Devices: []desired.Device{{Source: "/dev/null", Target: "/dev/planned", Permissions: "r"}},
		Network: desired.HostNetwork, HostPID: true, HostIPC: true, HostUTS: true, HostUsers: true,
	}
	c := e.run(t, spec)
	if len(c.Networks) != 1 || c.Status != agent.StatusRunning {
		t.Errorf("running it is %+v", c)
	}
	if _, ok := c.Networks[string(desired.HostNetwork)]; !ok {
		t.Errorf("the node's network is shown as %v", c.Networks)
	}
	seen, err := e.api.ContainerInspect(t.Context(), c.ID, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h := seen.Container.HostConfig
	if !h.NetworkMode.IsHost() || !h.PidMode.IsHost() || !h.IpcMode.IsHost() || !h.UTSMode.IsHost() || !h.UsernsMode.IsHost() || h.Privileged ||
		len(h.CapAdd) != 1 || strings.TrimPrefix(h.CapAdd[0], "CAP_") != "SYS_TIME" ||
		!slices.Contains(h.SecurityOpt, "no-new-privileges=true") || !slices.Contains(h.SecurityOpt, "seccomp=unconfined") ||
		len(h.Devices) != 1 || h.Devices[0].PathOnHost != "/dev/null" || h.Devices[0].CgroupPermissions != "r" {
		t.Errorf("the engine made %+v", h)
	}
	if m := seen.Container.Mounts; len(m) != 1 || m[0].Type != "bind" || m[0].Source != dir || m[0].RW || m[0].Propagation != "private" {
		t.Errorf("mounts %+v", m)
	}

	alone := e.spec("alone")
	alone.Container.Isolation.Network = desired.NoNetwork
	if c := e.run(t, alone); len(c.Networks) != 1 || c.Networks[string(desired.NoNetwork)].IsValid() {
		t.Errorf("without a network: %+v", c.Networks)
	}
	whole := e.spec("whole")
	whole.Container.Isolation.Privileged = true
	// It is not started: where these tests run, an engine may lack capabilities.
	id, err := e.Create(t.Context(), whole)
	if err != nil {
		t.Fatal(err)
	}
	if seen, err = e.api.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{}); err != nil || !seen.Container.HostConfig.Privileged {
		t.Errorf("privileged: %v, %+v", err, seen.Container.HostConfig)
	}

	missing := e.spec("missing")
	missing.Container.Mounts = []desired.Mount{{Kind: desired.BindMount, Source: dir + "/nothing", Target: "/host"}}
	_, err = e.Create(t.Context(), missing)
	if err == nil || errors.Is(err, agent.ErrUnavailable) || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a path that is not there: %v", err)
	}
}

// TestLiveNamedByOthers looks for what is external and makes none of it, and
// removes a volume only when no container has it.
func TestLiveNamedByOthers(t *testing.T) {
	e := live(t)
	ctx := t.Context()
	for _, name := range []string{"none", "n"} { // "n" begins the id of something sooner or later
		if err := e.EnsureNetwork(ctx, agent.Network{Name: e.name(name), External: true}); !errors.Is(err, agent.ErrNotFound) {
			t.Errorf("an external network that is not there: %v", err)
		}
	}
	if err := e.EnsureVolume(ctx, agent.Volume{Name: e.name("none"), External: true}); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("an external volume that is not there: %v", err)
	}
	if err := e.EnsureNetwork(ctx, agent.Network{Name: "bridge", External: true}); err != nil {
		t.Errorf("an external network that is there: %v", err)
	}
	volume := agent.Volume{Name: e.name("data"), Labels: map[string]string{agent.LabelCluster: e.cluster, agent.LabelVolume: "data"}}
	if err := e.EnsureVolume(ctx, volume); err != nil {
		t.Fatal(err)
	}
	if err := e.EnsureVolume(ctx, agent.Volume{Name: volume.Name, External: true}); err != nil {
		t.Errorf("an external volume that is there: %v", err)
	}
	listed, err := e.ListVolumes(ctx)
	if err != nil || len(listed) != 1 || listed[0].Name != volume.Name || listed[0].Labels[agent.LabelVolume] != "data" {
		t.Errorf("volumes %+v, %v", listed, err)
	}
	spec := e.spec("user")
	spec.Volumes = map[string]string{"data": volume.Name}
	spec.Container.Mounts = []desired.Mount{{Kind: desired.VolumeMount, Volume: "data", Target: "/data"}}
	c := e.run(t, spec)
	if err := e.RemoveVolume(ctx, volume.Name); !errors.Is(err, agent.ErrConflict) {
		t.Errorf("a volume that a container has: %v", err)
	}
	if err := e.Remove(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is gone
		if err := e.RemoveVolume(ctx, volume.Name); err != nil {
			t.Errorf("remove the volume: %v", err)
		}
	}
	if listed, err := e.ListVolumes(ctx); err != nil || len(listed) != 0 {
		t.Errorf("left: %+v, %v", listed, err)
	}
}
