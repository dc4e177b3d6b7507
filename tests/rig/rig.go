package rig

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Config says what a rig has; its zero value is one node.
type Config struct {
	// Nodes is the number of nodes; 0 means 1, at most 40.
	Nodes int
	// Engine applies to every node; Subnet is chosen per node.
	Engine EngineConfig
	// NoEngine leaves the engines out.
	NoEngine bool
}

// Rig is a LAN with nodes.
type Rig struct {
	// ID starts every name that the rig has on the machine.
	ID string
	// Dir holds a directory per node.
	Dir   string
	LAN   *LAN
	Nodes []*Node

	group *group
}

// LAN is the network that joins the nodes: a namespace with a bridge and an
// address of its own, where git servers listen. There is no way out of it: what
// a node asks of the internet fails at once.
type LAN struct {
	Space
}

// Node is one host.
type Node struct {
	Space
	// Engine is nil where the node has none of its own.
	Engine *Engine
}

// idPrefix starts every id; RunEnv extends it, so that one run's leftovers can
// be told from another's.
const idPrefix = "jaco-"

// RunEnv names a suite run; the runner sets it and sweeps up afterwards.
const RunEnv = "JACO_RIG_RUN"

// LANs use an address range outside of the mesh's default pool 10.64.0.0/10:
// the mesh checks its pool against the routes of the host.
var lanPrefix = netip.MustParsePrefix("10.190.0.0/24")

// lanAddress is the LAN's own, for servers; nodes count from 1.
var lanAddress = netip.MustParseAddr("10.190.0.254")

// New makes a LAN and its nodes with running engines, the nodes at once.
// Whatever it returns, what was made is removed by Close or, on an error,
// already gone.
func New(ctx context.Context, cfg Config) (*Rig, error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 1
	}
	if cfg.Nodes < 0 || cfg.Nodes > 40 {
		return nil, fmt.Errorf("make rig: %d nodes: want 1 to 40", cfg.Nodes)
	}
	if err := Missing(); err != nil {
		return nil, fmt.Errorf("make rig: %w", err)
	}
	id := newID()
	g, err := newGroup("/" + id)
	if err != nil {
		return nil, err
	}
	r := &Rig{ID: id, Dir: filepath.Join(os.TempDir(), id), group: g}
	if err := r.build(ctx, cfg); err != nil {
		return nil, errors.Join(err, r.Close(context.WithoutCancel(ctx)))
	}
	return r, nil
}

func newID() string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	id := hex.EncodeToString(b[:])
	if run := os.Getenv(RunEnv); run != "" {
		id = run + "-" + id
	}
	return idPrefix + id
}

func (r *Rig) build(ctx context.Context, cfg Config) error {
	r.LAN = &LAN{}
	if err := r.makeSpace(ctx, &r.LAN.Space, "lan", lanAddress); err != nil {
		return err
	}
	for _, line := range []string{
		"link add br0 type bridge", fmt.Sprintf("addr add %s/%d dev br0", lanAddress, lanPrefix.Bits()), "link set br0 up",
	} {
		if err := r.LAN.NetNS.ip(ctx, line); err != nil {
			return err
		}
	}
	// Frames between nodes must not pass the LAN's own packet filter. Without
	// the kernel module there is nothing to switch off.
	_ = r.LAN.NetNS.setSysctl("net/bridge/bridge-nf-call-iptables", "0")

	started := make(chan error, cfg.Nodes)
	for i := range cfg.Nodes {
		node, err := r.addNode(ctx, i+1)
		if err != nil {
			return err
		}
		engine := cfg.Engine
		engine.Subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(200 + i + 1), 0, 0}), 16)
		go func() {
			if !cfg.NoEngine {
				node.Engine, err = startEngine(ctx, &node.Space, engine)
			}
			started <- err
		}()
	}
	var errs error
	for range cfg.Nodes {
		errs = errors.Join(errs, <-started)
	}
	return errs
}

func (r *Rig) makeSpace(ctx context.Context, s *Space, name string, addr netip.Addr) error {
	s.Name, s.NetNS, s.Address, s.Dir = name, NetNS(r.ID+"-"+name), addr, filepath.Join(r.Dir, name)
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return fmt.Errorf("make directory of %s: %w", name, err)
	}
	var err error
	if s.group, err = newGroup(filepath.Join(r.group.path, name)); err != nil {
		return err
	}
	return s.NetNS.create(ctx)
}

// addNode makes node number i and its uplink. Both ends are made inside
// namespaces: nothing appears in the host's own network.
func (r *Rig) addNode(ctx context.Context, i int) (*Node, error) {
	base := lanPrefix.Addr().As4()
	base[3] = byte(i)
	node := &Node{}
	if err := r.makeSpace(ctx, &node.Space, fmt.Sprintf("n%d", i), netip.AddrFrom4(base)); err != nil {
		return nil, err
	}
	r.Nodes = append(r.Nodes, node)
	lan := r.LAN.NetNS
	for _, step := range []struct {
		in   NetNS
		line string
	}{
		{lan, fmt.Sprintf("link add p%d type veth peer name eth0 netns %s", i, node.NetNS)},
		{lan, fmt.Sprintf("link set p%d master br0 up", i)},
		{node.NetNS, fmt.Sprintf("addr add %s/%d dev eth0", node.Address, lanPrefix.Bits())},
		{node.NetNS, "link set eth0 up"},
	} {
		if err := step.in.ip(ctx, step.line); err != nil {
			return nil, err
		}
	}
	return node, nil
}

// Node returns the first node, all that most suites have.
func (r *Rig) Node() *Node { return r.Nodes[0] }

// Close ends every process of the rig at once and removes what it made on the
// machine: mounts, namespaces, links, cgroups, directories.
func (r *Rig) Close(ctx context.Context) error {
	spaces := make([]*Space, 0, len(r.Nodes)+1)
	for _, n := range r.Nodes {
		spaces = append(spaces, &n.Space)
	}
	if r.LAN != nil {
		spaces = append(spaces, &r.LAN.Space)
	}
	var errs error
	for _, s := range spaces {
		errs = errors.Join(errs, s.kill(ctx))
	}
	return errors.Join(errs, Sweep(ctx, strings.TrimPrefix(r.ID, idPrefix)))
}

// Sweep removes whatever rigs whose id starts with "jaco-" and the prefix left
// on the machine, whoever made them. The prefix must not be empty: other runs
// may be at work.
func Sweep(ctx context.Context, prefix string) error {
	if prefix == "" {
		return errors.New("sweep rigs: empty prefix")
	}
	prefix = idPrefix + prefix
	var errs error
	groups, err := namesWithPrefix(prefix, "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids")
	errs = errors.Join(errs, err)
	for _, name := range groups {
		errs = errors.Join(errs, (&group{path: "/" + name}).kill(ctx))
	}
	dirs, err := namesWithPrefix(prefix, os.TempDir())
	errs = errors.Join(errs, err)
	for _, name := range dirs {
		errs = errors.Join(errs, removeDir(filepath.Join(os.TempDir(), name)))
	}
	spaces, err := namesWithPrefix(prefix, netnsDir)
	errs = errors.Join(errs, err)
	for _, name := range spaces {
		errs = errors.Join(errs, NetNS(name).remove(ctx))
	}
	for _, name := range groups {
		errs = errors.Join(errs, (&group{path: "/" + name}).remove(ctx))
	}
	return errs
}

func namesWithPrefix(prefix string, dirs ...string) ([]string, error) {
	var names []string
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("list %s: %w", dir, err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), prefix) {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// removeDir removes a rig's directory with the mounts in it.
func removeDir(dir string) error {
	nodes, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, node := range nodes {
		if err := removeShimSockets(node); err != nil {
			return err
		}
	}
	mounts, err := mountsUnder(dir)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) { // inner ones first
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", m, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

// mountsUnder lists mount points below a directory in the order of mounting.
func mountsUnder(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var mounts []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			mounts = append(mounts, f[4])
		}
	}
	return mounts, nil
}
