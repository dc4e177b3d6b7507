package agent

import (
	"context"
	"net/netip"
)

// Gate is how the mesh holds back a container (guarantee G6). It is safe for
// concurrent use.
type Gate interface {
	// Await waits until every one of the networks, by the engine's name, may take
	// containers on this node: its bridge is there with the subnet that the state
	// gives it, and the firewall that isolates it was read back from the kernel.
	// It returns the bridges of each network, at least one, in their order of
	// preference. When ctx ends first, the error says what is missing.
	Await(ctx context.Context, networks []string) (map[string][]Bridge, error)
}

// Bridge is one of a network's bridges on this node.
type Bridge struct {
	Network  string     // the engine's name of it (cluster.SliceNetwork)
	Gateway  netip.Addr // where the mesh's DNS answers
	Capacity int        // how many containers it holds
}
