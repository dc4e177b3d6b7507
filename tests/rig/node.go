package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
)

// Node is one host. Its disk is the directory; it outlives a power failure.
type Node struct {
	Space
	// Engine is nil where the node has none of its own. It stays the same value
	// when the node's power is cut and comes back.
	Engine *Engine

	// WireGuard is the name of the node's mesh interface. The socket of a
	// user-space one is named by it in a directory of the whole machine, so that
	// it is unique on that.
	WireGuard string

	number int
	lan    *LAN // nil on the machine's own network
}

// AddNode makes one more node with a running engine. Numbers, and with them
// names and addresses, are never given twice. Where the LAN is partitioned the
// node belongs to the rest.
func (r *Rig) AddNode(ctx context.Context) (*Node, error) {
	node, err := r.makeNode(ctx)
	if err != nil {
		return nil, err
	}
	if len(r.split.group) > 0 {
		if err := r.cut(ctx); err != nil {
			return node, err
		}
	}
	return node, r.startEngine(ctx, node)
}

// makeNode makes a node with its uplink and without an engine.
func (r *Rig) makeNode(ctx context.Context) (*Node, error) {
	number := len(r.Nodes) + 1
	if number > maxNodes {
		return nil, fmt.Errorf("add node: the rig has %d, and no more addresses", maxNodes)
	}
	address := lanPrefix.Addr().As4()
	address[3] = byte(number)
	node := &Node{number: number, lan: r.LAN, WireGuard: wireGuardName(r.ID, number)}
	node.describe(r, fmt.Sprintf("n%d", number), netip.AddrFrom4(address))
	// Whatever goes wrong from here on, Close finds what was made.
	r.Nodes = append(r.Nodes, node)
	return node, node.boot(ctx)
}

func (r *Rig) startEngine(ctx context.Context, node *Node) error {
	if r.cfg.NoEngine {
		return nil
	}
	cfg := r.cfg.Engine
	cfg.Subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(200 + node.number), 0, 0}), 16)
	cfg.insecure = lanPrefix
	if r.cfg.EngineOf != nil {
		r.cfg.EngineOf(node.number, &cfg)
	}
	var err error
	node.Engine, err = startEngine(ctx, &node.Space, cfg)
	return err
}

// boot makes what a host has when its kernel is up: an empty network with its
// uplink, and no process.
func (n *Node) boot(ctx context.Context) error {
	if err := n.make(ctx); err != nil {
		return err
	}
	// Both ends are made inside namespaces: nothing appears in the host's own
	// network. The hardware address is the same after every boot, as others
	// remember it.
	for _, step := range []struct {
		in   NetNS
		line string
	}{
		{n.lan.NetNS, fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %s", n.port(), n.hardware(), n.NetNS)},
		{n.lan.NetNS, fmt.Sprintf("link set %s master br0 up", n.port())},
		{n.NetNS, fmt.Sprintf("addr add %s/%d dev eth0", n.Address, lanPrefix.Bits())},
		{n.NetNS, "link set eth0 up"},
	} {
		if err := step.in.ip(ctx, step.line); err != nil {
			return err
		}
	}
	return nil
}

// port is the node's port of the LAN's bridge.
func (n *Node) port() string { return fmt.Sprintf("p%d", n.number) }

// hardware is the uplink's hardware address.
func (n *Node) hardware() string { return fmt.Sprintf("02:00:0a:be:00:%02x", n.number) }

var errNoPower = errors.New("the node shares the machine's network: it has no power of its own")

// PowerOff is a power failure: all at once every process of the node ends, its
// containers and their shims included, and its network and mounts are gone.
// Nobody is told: connections of others to the node just fall silent. What was
// written stays, synced or not. A node that is off already is no error.
func (n *Node) PowerOff(ctx context.Context) error {
	if n.lan == nil {
		return fmt.Errorf("power off %s: %w", n.Name, errNoPower)
	}
	if n.setOff(true) {
		return nil
	}
	// The cable goes first. Sockets of killed processes would tell their peers,
	// which a host without power does not.
	if err := n.lan.NetNS.ip(ctx, "link set "+n.port()+" down"); err != nil {
		return err
	}
	if err := n.kill(ctx); err != nil {
		return err
	}
	// With the port its other end goes, at once; the namespace itself is taken
	// apart by the kernel some time after it was removed.
	if err := n.lan.NetNS.ip(ctx, "link del "+n.port()); err != nil {
		return err
	}
	if err := n.NetNS.remove(ctx); err != nil {
		return err
	}
	if err := errors.Join(removeShimSockets(n.Dir), removeWireGuardSockets(n.WireGuard)); err != nil {
		return err
	}
	if err := unmountUnder(n.Dir); err != nil {
		return err
	}
	if n.Engine != nil {
		if err := n.Engine.forget(); err != nil {
			return err
		}
	}
	return n.group.remove(ctx)
}

// PowerOn boots a node that was powered off: the network as it was at first,
// the same address and disk, and the engine. Containers are not running, jacod
// is started by its own Start.
func (n *Node) PowerOn(ctx context.Context) error {
	if n.lan == nil {
		return fmt.Errorf("power on %s: %w", n.Name, errNoPower)
	}
	if !n.setOff(false) {
		return fmt.Errorf("power on %s: it is on", n.Name)
	}
	if err := n.boot(ctx); err != nil {
		return err
	}
	if n.Engine == nil {
		return nil
	}
	return n.Engine.boot(ctx)
}

// Off says whether the node is powered off.
func (n *Node) Off() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.off
}

// setOff says what was before.
func (n *Node) setOff(off bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.off
	n.off = off
	return was
}

// Pause freezes every process of the node, containers included, until Resume.
// The kernel goes on, as it does on a host that hangs: it takes connections
// and acknowledges what arrives, and nobody answers.
func (n *Node) Pause(ctx context.Context) error { return n.group.freeze(ctx, true) }

// Resume lets a paused node go on.
func (n *Node) Resume(ctx context.Context) error { return n.group.freeze(ctx, false) }

// volatile are the engine's files that a host keeps in memory, below /run.
var volatile = []string{"ctrd-state", "exec", "containerd.sock", "containerd.sock.ttrpc", "docker.sock", "docker.pid"}

// Hardware is the hardware address of the node's uplink, for frames that a test
// makes itself.
func (n *Node) Hardware() (net.HardwareAddr, error) {
	address, err := net.ParseMAC(n.hardware())
	if err != nil {
		return nil, fmt.Errorf("hardware address of %s: %w", n.Name, err)
	}
	return address, nil
}

// Readdress gives the uplink another address instead of the one it has, as a
// lease that ran out does; nobody is told. Address stays what it was at first,
// and is what PowerOn gives. Connections of the old address fall silent.
func (n *Node) Readdress(ctx context.Context, address netip.Addr) error {
	if n.lan == nil {
		return fmt.Errorf("readdress %s: it shares the machine's network", n.Name)
	}
	if err := n.NetNS.ip(ctx, "addr flush dev eth0 scope global"); err != nil {
		return err
	}
	return n.NetNS.ip(ctx, fmt.Sprintf("addr add %s/%d dev eth0", address, lanPrefix.Bits()))
}

// SpareAddress is an address of the LAN that only this node may take.
func (n *Node) SpareAddress() netip.Addr {
	address := lanPrefix.Addr().As4()
	address[3] = byte(100 + n.number)
	return netip.AddrFrom4(address)
}

// forget removes what a reboot loses.
func (e *Engine) forget() error {
	for _, name := range volatile {
		if err := os.RemoveAll(filepath.Join(e.space.Dir, name)); err != nil {
			return fmt.Errorf("remove the engine's run-time state: %w", err)
		}
	}
	return nil
}
