// Package firewall keeps the table inet jaco: who may reach whose containers.
package firewall

import "net/netip"

// Config is everything the table is rendered from.
type Config struct {
	// Mesh is the WireGuard interface, MeshAddress this node's own on it.
	Mesh        string
	MeshAddress netip.Addr
	// Pool is where all container and mesh addresses come from; nobody outside
	// may use one.
	Pool netip.Prefix
	// Peers are the mesh addresses of the other nodes, which may probe this one.
	Peers []netip.Addr
	// Ingress are the mesh addresses of nodes whose own processes may reach the
	// containers of every network.
	Ingress []netip.Addr
	Bridges []Bridge
}

// Bridge is one bridge of a network on this node.
type Bridge struct {
	Name    string // the interface
	Network string // for people
	Subnet  netip.Prefix
	Gateway netip.Addr // the bridge's own address: DNS is there
	// Members are the prefixes whose containers are of the same network, on all
	// nodes, this one's own among them.
	Members []netip.Prefix
	// Internal bridges have no way out of the cluster, and nothing outside comes in.
	Internal bool
}
