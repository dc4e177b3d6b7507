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
	"strings"
)

// Config says what a rig has; its zero value is one node.
type Config struct {
	// Nodes is the number of nodes; 0 means 1, at most 40, with those that are
	// added later.
	Nodes int
	// Engine applies to every node; Subnet is chosen per node.
	Engine EngineConfig
	// EngineOf, when it is there, changes the configuration for one node, by its
	// number from 1. It is called at once for several nodes.
	EngineOf func(number int, config *EngineConfig)
	// NoEngine leaves the engines out.
	NoEngine bool
}

// maxNodes bounds a rig: each node has a /16 of its own.
const maxNodes = 40

// Rig is a LAN with nodes. Its methods are not for concurrent use; those of
// different nodes may run at the same time.
type Rig struct {
	// ID starts every name that the rig has on the machine.
	ID string
	// Dir holds a directory per node.
	Dir   string
	LAN   *LAN
	Nodes []*Node

	cfg   Config
	group *group
	split split
}

// LAN is the network that joins the nodes: a namespace with a bridge and an
// address of its own, where git servers listen. There is no way out of it: what
// a node asks of the internet fails at once.
type LAN struct {
	Space
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

// lanHardware is the bridge's own hardware address. Without one of its own a
// bridge takes the lowest of its ports', and changes it when a node is added:
// open connections to the LAN stand still until the nodes ask for it again.
const lanHardware = "02:00:0a:be:00:fe"

// New makes a LAN and its nodes with running engines, the nodes at once.
// Whatever it returns, what was made is removed by Close or, on an error,
// already gone.
func New(ctx context.Context, cfg Config) (*Rig, error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 1
	}
	if cfg.Nodes < 0 || cfg.Nodes > maxNodes {
		return nil, fmt.Errorf("make rig: %d nodes: want 1 to %d", cfg.Nodes, maxNodes)
	}
	if err := Missing(); err != nil {
		return nil, fmt.Errorf("make rig: %w", err)
	}
	id := newID()
	g, err := newGroup("/" + id)
	if err != nil {
		return nil, err
	}
	r := &Rig{ID: id, Dir: filepath.Join(os.TempDir(), id), cfg: cfg, group: g}
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
	r.LAN.describe(r, "lan", lanAddress)
	if err := r.LAN.make(ctx); err != nil {
		return err
	}
	for _, line := range []string{
		"link add br0 address " + lanHardware + " type bridge", fmt.Sprintf("addr add %s/%d dev br0", lanAddress, lanPrefix.Bits()), "link set br0 up",
	} {
		if err := r.LAN.NetNS.ip(ctx, line); err != nil {
			return err
		}
	}
	// Frames between nodes must not pass the LAN's own packet filter. Without
	// the kernel module there is nothing to switch off.
	_ = r.LAN.NetNS.setSysctl("net/bridge/bridge-nf-call-iptables", "0")

	started := make(chan error, cfg.Nodes)
	for range cfg.Nodes {
		node, err := r.makeNode(ctx)
		if err != nil {
			return err
		}
		go func() { started <- r.startEngine(ctx, node) }()
	}
	var errs error
	for range cfg.Nodes {
		errs = errors.Join(errs, <-started)
	}
	return errs
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
