package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// EngineConfig says how an engine differs from the rig's usual one.
type EngineConfig struct {
	// Subnet, a /16, holds the default bridge (first /24) and the pool for the
	// networks that name no subnet (upper half, a /28 each). Required.
	Subnet netip.Prefix
	// Bridge names the default bridge. Empty: the engine makes its docker0,
	// right in a namespace of its own. A named one is made and removed here.
	Bridge string
	// NoLiveRestore ends the containers with the engine; Swarm needs it.
	NoLiveRestore bool
	// LegacyTables has the engine, and jacod beside it, write packet filter rules
	// by iptables-legacy instead of the machine's iptables.
	LegacyTables bool

	// insecure is where registries are reached without TLS.
	insecure netip.Prefix
}

// Engine is a Docker Engine of the rig: a containerd and a dockerd of its own,
// as separate processes, as on a real host: a dockerd that crashes leaves
// containerd and the containers alone. Its methods are not for concurrent use,
// those of the embedded Docker are.
type Engine struct {
	*Docker

	space   *Space
	cfg     EngineConfig
	storage string
	host    *hostNet // nil in a namespace of its own
	ctrd    *Proc
	dockerd *Proc
}

// containerdConfig leaves out what dockerd does not use.
const containerdConfig = `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = %q
`

// startEngine starts an engine in the space and waits until it answers. On an
// error the caller closes the space, which ends what was started.
func startEngine(ctx context.Context, space *Space, cfg EngineConfig) (*Engine, error) {
	e := &Engine{Docker: NewDocker(filepath.Join(space.Dir, "docker.sock")), space: space, cfg: cfg, storage: storageDriver(space.Dir)}
	if space.NetNS == "" {
		e.host = &hostNet{subnet: cfg.Subnet}
		if err := e.host.remember(ctx); err != nil {
			return e, err
		}
	}
	return e, e.boot(ctx)
}

// boot starts containerd and dockerd on a host where neither runs.
func (e *Engine) boot(ctx context.Context) error {
	if e.host == nil {
		// With forwarding off before, the engine sets the FORWARD policy to
		// DROP, as on a production host.
		if err := e.space.NetNS.setSysctl("net/ipv4/ip_forward", "0"); err != nil {
			return err
		}
	}
	if e.cfg.Bridge != "" {
		if err := e.makeBridge(ctx); err != nil {
			return err
		}
	}
	if e.cfg.LegacyTables {
		if err := linkLegacyTables(e.legacyDir()); err != nil {
			return err
		}
	}
	if err := e.startContainerd(ctx); err != nil {
		return err
	}
	return e.Start(ctx)
}

func (e *Engine) makeBridge(ctx context.Context) error {
	ns := e.space.NetNS
	if err := ns.ip(ctx, "link add "+e.cfg.Bridge+" type bridge"); err != nil {
		return err
	}
	if err := ns.ip(ctx, "addr add "+e.bridgeAddress()+" dev "+e.cfg.Bridge); err != nil {
		return err
	}
	return ns.ip(ctx, "link set "+e.cfg.Bridge+" up")
}

func (e *Engine) bridgeAddress() string { return e.cfg.Subnet.Addr().Next().String() + "/24" }

func (e *Engine) startContainerd(ctx context.Context) error {
	dir := e.space.Dir
	socket := filepath.Join(dir, "containerd.sock")
	config := filepath.Join(dir, "containerd.toml")
	text := fmt.Sprintf(containerdConfig, filepath.Join(dir, "ctrd"), filepath.Join(dir, "ctrd-state"), socket)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("configure containerd: %w", err)
	}
	var err error
	if e.ctrd, err = e.space.Start(ctx, ProcConfig{Name: "containerd", Path: "containerd", Args: []string{"-c", config}, Env: e.env()}); err != nil {
		return err
	}
	return e.ctrd.waitFor(ctx, "containerd to listen", func(ctx context.Context) error {
		return dialable(ctx, "", "unix", socket)
	})
}

// env keeps proxies and client settings of this machine away from the engine.
func (e *Engine) env() []string {
	return []string{e.path(), "HOME=" + e.space.Dir, "TMPDIR=" + e.space.Dir}
}

// Start starts dockerd (not containerd) and waits until it answers. It is for
// an engine that was stopped or killed.
func (e *Engine) Start(ctx context.Context) error {
	dir := e.space.Dir
	pidfile := filepath.Join(dir, "docker.pid")
	// A pid that is taken again by another process would stop the start.
	if err := os.Remove(pidfile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove stale pid file: %w", err)
	}
	config := filepath.Join(dir, "daemon.json")
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		return fmt.Errorf("configure the engine: %w", err)
	}
	half := e.cfg.Subnet.Addr().As4()
	half[2] = 128
	args := []string{
		"--config-file", config, // never the machine's own
		"--containerd", filepath.Join(dir, "containerd.sock"),
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--host", e.Host(), "--pidfile", pidfile,
		"--cgroup-parent", e.space.group.path, "--exec-opt", "native.cgroupdriver=cgroupfs",
		"--storage-driver", e.storage,
		"--default-address-pool", fmt.Sprintf("base=%s/17,size=28", netip.AddrFrom4(half)),
		"--userland-proxy=false", "--iptables=true",
		"--log-driver", "json-file", "--log-opt", "max-size=1m",
	}
	if e.cfg.Bridge != "" {
		args = append(args, "--bridge", e.cfg.Bridge)
	} else {
		args = append(args, "--bip", e.bridgeAddress())
	}
	if !e.cfg.NoLiveRestore {
		args = append(args, "--live-restore")
	}
	if e.cfg.insecure.IsValid() {
		args = append(args, "--insecure-registry", e.cfg.insecure.String())
	}
	var err error
	if e.dockerd, err = e.space.Start(ctx, ProcConfig{Name: "dockerd", Path: "dockerd", Args: args, Env: e.env()}); err != nil {
		return err
	}
	if err := e.dockerd.waitFor(ctx, "the engine to answer", e.Ping); err != nil || e.host != nil {
		return err
	}
	return e.dropForwarded(ctx)
}

// Stop stops dockerd gracefully; containers keep running unless NoLiveRestore.
func (e *Engine) Stop(ctx context.Context) error { return e.dockerd.Stop(ctx, syscall.SIGTERM) }

// Kill ends dockerd as a crash does; containerd and containers keep running.
func (e *Engine) Kill(ctx context.Context) error { return e.dockerd.Stop(ctx, syscall.SIGKILL) }

// Restart stops and starts dockerd.
func (e *Engine) Restart(ctx context.Context) error {
	if err := e.Stop(ctx); err != nil {
		return err
	}
	return e.Start(ctx)
}

// Tail returns the end of dockerd's log.
func (e *Engine) Tail(lines int) string {
	if e.dockerd == nil {
		return "--- dockerd was not started\n"
	}
	return e.dockerd.Tail(lines)
}

// Version is the engine's own, "20.10.24+dfsg1".
func (e *Engine) Version(ctx context.Context) (string, error) {
	var v struct{ Version string }
	err := e.Do(ctx, http.MethodGet, "/version", nil, &v)
	return v.Version, err
}

// Storage is the storage driver in use, overlay2 or vfs.
func (e *Engine) Storage() string { return e.storage }

// storageDriver is overlay2 where an overlay can be mounted over the directory
// and vfs, slow and large, where not (an overlay root file system).
func storageDriver(dir string) string {
	probe := filepath.Join(dir, "probe")
	defer func() { _ = os.RemoveAll(probe) }()
	var parts []string
	for _, d := range []string{"lowerdir", "upperdir", "workdir", "merged"} {
		p := filepath.Join(probe, d)
		if os.MkdirAll(p, 0o755) != nil {
			return "vfs"
		}
		parts = append(parts, d+"="+p)
	}
	merged := filepath.Join(probe, "merged")
	if unix.Mount("overlay", merged, "overlay", 0, strings.Join(parts[:3], ",")) != nil {
		return "vfs"
	}
	_ = unix.Unmount(merged, unix.MNT_DETACH)
	return "overlay2"
}

// bridges are the bridges of the engine's networks, where it still answers.
func (e *Engine) bridges(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var networks []struct {
		ID      string `json:"Id"`
		Driver  string
		Options map[string]string
	}
	if err := e.Do(ctx, http.MethodGet, "/networks", nil, &networks); err != nil {
		return nil // bridges inside the subnet are found without it
	}
	var names []string
	for _, n := range networks {
		if n.Driver != "bridge" {
			continue
		}
		name := n.Options["com.docker.network.bridge.name"]
		if name == "" && len(n.ID) > 12 {
			name = "br-" + n.ID[:12]
		}
		names = append(names, name)
	}
	return names
}

// removeShimSockets removes what shims leave in a directory that all engines
// of the machine share; the names are only known from the bundles.
func removeShimSockets(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "ctrd-state/io.containerd.runtime.v2.task/*/*/address"))
	if err != nil {
		return fmt.Errorf("find shim sockets: %w", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue // removed since
		}
		var params struct{ Address string }
		address := string(data)
		if json.Unmarshal(data, &params) == nil {
			address = params.Address
		}
		socket, ok := strings.CutPrefix(strings.TrimSpace(address), "unix://")
		if !ok {
			continue
		}
		if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove shim socket: %w", err)
		}
	}
	return nil
}
