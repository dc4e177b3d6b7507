// Package bridge keeps the engine's networks: one bridge for each slice of a
// network that this node has, and the engine's own rules out of their way.
package bridge

import "net/netip"

// Config is all the networks of one cluster on this node.
type Config struct {
	Cluster string // networks with another cluster's label are not touched
	Mesh    string // the WireGuard interface
	MTU     int    // of containers, bytes
	// Networks are by engine name.
	Networks []Network
}

// Network is one engine network.
type Network struct {
	Name    string // cluster.SliceNetwork
	Bridge  string // the interface, at most 15 bytes: Interface(Name)
	Subnet  netip.Prefix
	Gateway netip.Addr
	Labels  map[string]string // sh.jaco.* among them
}
