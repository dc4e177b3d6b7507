package mesh

import (
	"fmt"
	"net/netip"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/mesh/wireguard"
)

// check refuses a state by which no network can be isolated, and returns the
// edge's own node.
func check(state *cluster.EdgeState) (*cluster.EdgeNode, error) {
	if !state.Pool.IsValid() || !state.Pool.Addr().Is4() {
		return nil, fmt.Errorf("%w: the pool %s is not a prefix of IPv4", ErrConflict, state.Pool)
	}
	var self *cluster.EdgeNode
	var blocks []owned
	names, keys := map[string]bool{}, map[wireguard.Key]string{}
	for i := range state.Nodes {
		n := &state.Nodes[i]
		if err := checkNode(state.Pool, n); err != nil {
			return nil, err
		}
		key := wireguard.Key(n.PublicKey)
		if other, taken := keys[key]; taken || names[n.Name] {
			return nil, fmt.Errorf("%w: node %s is there twice, or has the key of %q", ErrConflict, n.Name, other)
		}
		names[n.Name], keys[key] = true, n.Name
		for _, b := range n.Blocks {
			blocks = append(blocks, owned{b.Masked(), "node " + n.Name})
		}
		if n.Name == state.Node {
			self = n
		}
	}
	if self == nil {
		return nil, ErrNoBlock
	}
	if err := disjoint(blocks); err != nil {
		return nil, err
	}
	return self, checkNetworks(state, self)
}

// checkNode refuses a node that could not be a peer.
func checkNode(pool netip.Prefix, n *cluster.EdgeNode) error {
	if len(n.PublicKey) != len(wireguard.Key{}) {
		return fmt.Errorf("%w: the key of node %s has %d bytes", ErrConflict, n.Name, len(n.PublicKey))
	}
	for _, b := range n.Blocks {
		if !within(b, pool) {
			return fmt.Errorf("%w: block %s of node %s is not in the pool %s", ErrConflict, b, n.Name, pool)
		}
	}
	if !holds(n.Blocks, netip.PrefixFrom(n.Address, n.Address.BitLen())) {
		return fmt.Errorf("%w: the address %s of node %s is in none of its blocks", ErrConflict, n.Address, n.Name)
	}
	return nil
}

// checkNetworks refuses networks that share an address, with each other or with
// a node, and slices that are not this node's.
func checkNetworks(state *cluster.EdgeState, self *cluster.EdgeNode) error {
	var members []owned
	engine := map[string]bool{}
	for i := range state.Networks {
		n := &state.Networks[i]
		for _, m := range n.Members {
			if !within(m, state.Pool) {
				return fmt.Errorf("%w: %s of network %s is not in the pool %s", ErrConflict, m, n.Name, state.Pool)
			}
			members = append(members, owned{m.Masked(), "network " + n.Name})
		}
		for _, s := range n.Slices {
			name := cluster.SliceNetwork(n.Name, s.Serial)
			switch {
			case engine[name]:
				return fmt.Errorf("%w: network %s is there twice", ErrConflict, name)
			case !holds(self.Blocks, s.Prefix):
				return fmt.Errorf("%w: %s of network %s is in none of this node's blocks", ErrConflict, s.Prefix, name)
			case !holds(n.Members, s.Prefix):
				return fmt.Errorf("%w: %s of network %s is not one of its members", ErrConflict, s.Prefix, name)
			}
			engine[name] = true
		}
	}
	// A node's own address is nobody's in a network: it stands for its processes.
	for i := range state.Nodes {
		n := &state.Nodes[i]
		members = append(members, owned{netip.PrefixFrom(n.Address, n.Address.BitLen()), "node " + n.Name})
	}
	return disjoint(members)
}

// within reports whether outer holds all of p.
func within(p, outer netip.Prefix) bool {
	return p.IsValid() && outer.Bits() <= p.Bits() && outer.Contains(p.Addr())
}

// holds reports whether one of the prefixes holds all of p.
func holds(prefixes []netip.Prefix, p netip.Prefix) bool {
	for _, outer := range prefixes {
		if within(p, outer) {
			return true
		}
	}
	return false
}
