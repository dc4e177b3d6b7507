package cluster

import (
	"fmt"
	"net/netip"
	"strings"
)

// The lengths of a slice's prefix. The smallest holds 13 containers, the largest
// 253; a network that needs more on one node gets further slices.
const (
	MinSliceBits = 28
	MaxSliceBits = 24
)

// maxNetworkName bounds the engine's name of a network: "jaco_", a deployment's
// name, "_" and a network's.
const maxNetworkName = 2*maxName + 6

func meshSlices() table[Slice] {
	return table[Slice]{
		name: "slice",
		key:  func(s *Slice) string { return sliceKey(s.Node, s.Network, s.Serial) },
		indexes: map[string]func(*Slice) string{
			"node":    func(s *Slice) string { return s.Node },
			"network": func(s *Slice) string { return s.Network },
		},
	}
}

// sliceKey sorts by node, then network, then number. "/" is in no name.
func sliceKey(node, network string, serial int) string {
	return node + "/" + network + "/" + numberKey(uint64(serial))
}

// putSlice makes a slice.
func (t *tx) putSlice(s Slice) error {
	if err := s.check(); err != nil {
		return err
	}
	if meshSlices().get(t.Txn, sliceKey(s.Node, s.Network, s.Serial)) != nil {
		return fmt.Errorf("%w: slice %d of %s on %s is there", ErrConflict, s.Serial, s.Network, s.Node)
	}
	n := meshNodes().get(t.Txn, s.Node)
	if n == nil || !n.holds(s.Prefix) {
		return fmt.Errorf("%w: slice %s of %s lies in no block of node %q", ErrConflict, s.Prefix, s.Network, s.Node)
	}
	if s.Prefix.Contains(n.Address()) {
		return fmt.Errorf("%w: slice %s of %s holds the address of node %s", ErrConflict, s.Prefix, s.Network, s.Node)
	}
	// Blocks are one node's alone, so that no slice of another can overlap.
	var other *Slice
	meshSlices().walk(t.Txn, func(o *Slice) bool {
		if o.Prefix.Overlaps(s.Prefix) {
			other = o
		}
		return other == nil
	}, "node", s.Node)
	if other != nil {
		return fmt.Errorf("%w: slice %s of %s on %s overlaps with %s of %s", ErrConflict, s.Prefix, s.Network, s.Node, other.Prefix, other.Network)
	}
	moved := *n
	moved.Next = after(s.Prefix)
	if err := t.putMeshNode(moved); err != nil {
		return err
	}
	s.CreateIndex, s.ModifyIndex = t.index, t.index
	return meshSlices().put(t.Txn, s)
}

// check refuses what no state would make right.
func (s *Slice) check() error {
	switch {
	case s.Network == "" || len(s.Network) > maxNetworkName || strings.Contains(s.Network, "/"):
		return fmt.Errorf("%w: slice of a network %q", ErrInvalid, s.Network)
	case NetworkOfSlice(s.Network) != s.Network:
		return fmt.Errorf("%w: slice of a network %q, which is a slice's name", ErrInvalid, s.Network)
	case s.Serial < 1:
		return fmt.Errorf("%w: slice %d of %s", ErrInvalid, s.Serial, s.Network)
	case !s.Prefix.Addr().Is4() || s.Prefix != s.Prefix.Masked() || s.Prefix.Bits() < MaxSliceBits || s.Prefix.Bits() > MinSliceBits:
		return fmt.Errorf("%w: slice %d of %s: prefix %s", ErrInvalid, s.Serial, s.Network, s.Prefix)
	}
	return nil
}

// holds reports whether p lies in one of the node's blocks.
func (n *MeshNode) holds(p netip.Prefix) bool {
	for _, block := range n.Blocks {
		if within(p, block) {
			return true
		}
	}
	return false
}

// dropSlice gives a slice back that nothing uses.
func (t *tx) dropSlice(k SliceKey) error {
	key := sliceKey(k.Node, k.Network, k.Serial)
	s := meshSlices().get(t.Txn, key)
	if s == nil {
		return fmt.Errorf("%w: no slice %d of %s on %s to drop", ErrConflict, k.Serial, k.Network, k.Node)
	}
	var user *Replica
	replicas().walk(t.Txn, func(r *Replica) bool {
		if !r.Phase.Final() && s.Prefix.Contains(r.Addresses.In(s.Network)) {
			user = r
		}
		return user == nil
	}, "node", k.Node)
	if user != nil {
		return fmt.Errorf("%w: slice %s of %s on %s holds replica %s", ErrConflict, s.Prefix, s.Network, s.Node, user.ID)
	}
	if n := meshNodes().get(t.Txn, k.Node); n != nil {
		if err := t.putMeshNode(*n); err != nil { // its slices count into its index
			return err
		}
	}
	t.changed = true
	return meshSlices().drop(t.Txn, key)
}

// after is the first address behind a prefix.
func after(p netip.Prefix) netip.Addr {
	return addressAt(addressNumber(p.Addr()) + 1<<(32-p.Bits()))
}

// addressAt is the IPv4 address of a number.
func addressAt(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
