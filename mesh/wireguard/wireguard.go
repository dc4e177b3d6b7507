// Package wireguard keeps one WireGuard interface as its Config says: kernel
// WireGuard where there is one, in-process wireguard-go otherwise, both
// configured through wgctrl.
package wireguard

import (
	"net/netip"
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

// Key is a Curve25519 key.
type Key [32]byte

// Config is the whole interface.
type Config struct {
	// Interface is its name, at most 15 bytes. In userspace mode it also names a
	// socket that the whole machine shares, whatever the network namespace.
	Interface  string
	Mode       Mode
	PrivateKey Key
	Port       int // UDP
	// Address is the node's own in the mesh; the interface has it as a /32.
	Address netip.Addr
	// MTU of the interface, bytes; 0: that of the way to the peers, less what
	// WireGuard adds.
	MTU   int
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
	// may send from.
	Allowed []netip.Prefix
	// Keepalive is the time between empty packets; 0: none, which is right unless
	// a node is behind an address translation.
	Keepalive time.Duration
}
