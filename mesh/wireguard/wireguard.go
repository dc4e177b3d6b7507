// Package wireguard keeps one WireGuard interface as its Config says: kernel
// WireGuard where there is one, in-process wireguard-go otherwise, both
// configured through wgctrl.
//
// Its rules:
//   - Set compares the Config with what is there and changes the difference: a
//     peer that stays keeps its session whatever happens to the others.
//   - It owns the interface of its name, all addresses and peers on it, and the
//     routes of the main table that carry its own protocol number. It touches no
//     other route and no setting of the host: forwarding is switched on, and IPv6
//     off, for its own interface only, and both go with it. Reverse path filtering
//     can stay strict, as what a peer may send from is routed to that peer.
//   - It works in the network namespace of the process.
package wireguard

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Mode says who encrypts.
type Mode string

// The modes.
const (
	Auto      Mode = "auto"      // the kernel where it can, else userspace
	Kernel    Mode = "kernel"    // the kernel or nothing
	Userspace Mode = "userspace" // wireguard-go in this process
)

// Config is the whole interface.
type Config struct {
	// Interface is its name, at most 15 bytes. In userspace mode it also names a
	// socket that the whole machine shares, whatever the network namespace.
	Interface  string
	Mode       Mode // "" is Auto
	PrivateKey Key
	Port       int // UDP
	// Address is the node's own in the mesh; the interface has it as a /32.
	Address netip.Addr
	// MTU of the interface, bytes; 0: that of the way to the peers, less what
	// WireGuard adds.
	MTU int
	// Pool is where all addresses of the mesh come from. What is in it and belongs
	// to no peer is answered with "unreachable" and never sent the default way in
	// clear, not even while the interface is gone. Invalid: no such route.
	Pool  netip.Prefix
	Peers []Peer
}

// Peer is another node.
type Peer struct {
	Name      string // for people
	PublicKey Key
	// Endpoint is where it is at first; a peer that is heard from elsewhere is
	// answered there until Endpoint itself changes.
	Endpoint netip.AddrPort
	// Allowed are the prefixes that are routed to it, and the only ones that it
	// may send from. No two peers may share an address.
	Allowed []netip.Prefix
	// Keepalive is the time between empty packets; 0: none, which is right unless
	// a node is behind an address translation. Whole seconds, at most 65535.
	Keepalive time.Duration
}

// maxName is IFNAMSIZ of linux/if.h without the final zero.
const maxName = 15

// Bounds of a MTU: what every IPv4 host must take (RFC 791), and the largest UDP
// payload that WireGuard can fill.
const (
	minMTU = 576
	maxMTU = 65535 - Overhead
)

// validate says what is wrong with a Config before anything is changed.
func (c *Config) validate() error {
	switch {
	case c.Interface == "" || len(c.Interface) > maxName || strings.ContainsAny(c.Interface, "/ \t\n") || c.Interface == "." || c.Interface == "..":
		return fmt.Errorf("interface name %q: 1 to %d bytes without blanks and slashes are wanted (wireguard.interface)", c.Interface, maxName)
	case c.Mode != "" && c.Mode != Auto && c.Mode != Kernel && c.Mode != Userspace:
		return fmt.Errorf("mode %q: one of auto, kernel, userspace is wanted (wireguard.mode)", c.Mode)
	case c.PrivateKey == Key{}:
		return errors.New("no private key")
	case c.Port < 1 || c.Port > 65535:
		return fmt.Errorf("port %d: 1 to 65535 is wanted (wireguard.port)", c.Port)
	case !c.Address.Is4():
		return fmt.Errorf("mesh address %q is not an IPv4 address", c.Address)
	case c.MTU != 0 && (c.MTU < minMTU || c.MTU > maxMTU):
		return fmt.Errorf("mtu %d: 0 or %d to %d is wanted (wireguard.mtu)", c.MTU, minMTU, maxMTU)
	case c.Pool.IsValid() && !c.Pool.Addr().Is4():
		return fmt.Errorf("pool %s is not IPv4", c.Pool)
	}
	return c.validatePeers()
}

func (c *Config) validatePeers() error {
	type owned struct {
		prefix netip.Prefix
		peer   int
	}
	own := c.PrivateKey.Public()
	names := map[Key]string{own: "this node"}
	var all []owned
	for i, p := range c.Peers {
		if other, found := names[p.PublicKey]; found {
			return fmt.Errorf("peer %s has the public key of %s", p.Name, other)
		}
		names[p.PublicKey] = p.Name
		if p.Keepalive < 0 || p.Keepalive > 65535*time.Second || p.Keepalive%time.Second != 0 {
			return fmt.Errorf("peer %s: keepalive %s: whole seconds up to 65535 are wanted", p.Name, p.Keepalive)
		}
		for _, prefix := range p.Allowed {
			if !prefix.IsValid() || !prefix.Addr().Is4() || prefix.Masked() != prefix {
				return fmt.Errorf("peer %s: %q is not an IPv4 prefix", p.Name, prefix)
			}
			all = append(all, owned{prefix, i})
		}
	}
	// Sorted by address, then the wider first, a prefix can only overlap with the
	// widest one that began before it and has not ended.
	slices.SortFunc(all, func(a, b owned) int {
		if order := a.prefix.Addr().Compare(b.prefix.Addr()); order != 0 {
			return order
		}
		return a.prefix.Bits() - b.prefix.Bits()
	})
	var open owned
	for i, o := range all {
		if i == 0 || !open.prefix.Overlaps(o.prefix) {
			open = o
			continue
		}
		if open.peer != o.peer {
			return fmt.Errorf("peers %s and %s both have addresses of %s", c.Peers[open.peer].Name, c.Peers[o.peer].Name, o.prefix)
		}
	}
	return nil
}
