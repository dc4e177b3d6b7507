package cluster

import (
	"fmt"
	"net/netip"
	"slices"
)

// BlockBits is the length of the prefixes that nodes are given.
const BlockBits = 20

// DefaultPool is where the addresses of the mesh come from when init named none.
func DefaultPool() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64}), 10) }

// privatePools are what a pool may be part of: private addresses (RFC 1918) and
// those shared with a provider (RFC 6598).
func privatePools() [4]netip.Prefix {
	return [4]netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10}), 8),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16}), 12),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168}), 16),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10),
	}
}

// CheckPool refuses, with ErrInvalid, what cannot be the pool of a cluster: a
// pool is an IPv4 prefix of private addresses that holds at least one block. The
// zero prefix stands for DefaultPool.
func CheckPool(pool netip.Prefix) error {
	switch {
	case pool == netip.Prefix{}:
		return nil
	case !pool.IsValid() || !pool.Addr().Is4():
		return fmt.Errorf("%w: pool %s is no IPv4 prefix", ErrInvalid, pool)
	case pool != pool.Masked():
		return fmt.Errorf("%w: pool %s begins at %s", ErrInvalid, pool, pool.Masked())
	case pool.Bits() > BlockBits:
		return fmt.Errorf("%w: pool %s does not hold one /%d", ErrInvalid, pool, BlockBits)
	}
	for _, private := range privatePools() {
		if within(pool, private) {
			return nil
		}
	}
	return fmt.Errorf("%w: pool %s is not of private addresses", ErrInvalid, pool)
}

// within reports whether all of inner is in outer.
func within(inner, outer netip.Prefix) bool {
	return inner.IsValid() && outer.IsValid() && inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr())
}

// pool is where the addresses come from, also in a state that is older than the
// choice.
func (m *Meta) pool() netip.Prefix {
	if m.Pool.IsValid() {
		return m.Pool
	}
	return DefaultPool()
}

func meshNodes() table[MeshNode] {
	return table[MeshNode]{
		name: "mesh-node",
		key:  func(n *MeshNode) string { return n.Node },
		indexes: map[string]func(*MeshNode) string{
			"key": func(n *MeshNode) string { return string(n.PublicKey[:]) },
		},
	}
}

func (t *tx) reportMesh(c *ReportMesh) error {
	if err := t.initialized(); err != nil {
		return err
	}
	switch {
	case c.PublicKey == [32]byte{}:
		return fmt.Errorf("%w: node %q has no key for the mesh", ErrInvalid, c.Node)
	case c.Port == 0:
		return fmt.Errorf("%w: node %q has no port for the mesh", ErrInvalid, c.Node)
	case c.Mode != "kernel" && c.Mode != "userspace":
		return fmt.Errorf("%w: node %q has mode %q in the mesh", ErrInvalid, c.Node, c.Mode)
	case nodes().get(t.Txn, c.Node) == nil:
		return fmt.Errorf("%w: no node %q to be in the mesh", ErrConflict, c.Node)
	}
	var other string
	meshNodes().walk(t.Txn, func(n *MeshNode) bool {
		if n.Node != c.Node {
			other = n.Node
		}
		return other == ""
	}, "key", string(c.PublicKey[:]))
	if other != "" {
		return fmt.Errorf("%w: node %s has the mesh key of node %s", ErrInvalid, c.Node, other)
	}
	n := MeshNode{Node: c.Node, CreateIndex: t.index}
	if old := meshNodes().get(t.Txn, c.Node); old != nil {
		if old.PublicKey == c.PublicKey && old.Port == c.Port && old.Mode == c.Mode {
			return nil
		}
		n = *old
	}
	n.PublicKey, n.Port, n.Mode = c.PublicKey, c.Port, c.Mode
	return t.putMeshNode(n)
}

// putMeshNode writes what has changed of a node of the mesh.
func (t *tx) putMeshNode(n MeshNode) error {
	n.ModifyIndex = t.index
	t.changed = true
	return meshNodes().put(t.Txn, n)
}

// giveBlock gives a node a further prefix of the pool.
func (t *tx) giveBlock(b NodeBlock) error {
	pool := metas().get(t.Txn, single).pool()
	if b.Prefix.Bits() != BlockBits || b.Prefix != b.Prefix.Masked() || !within(b.Prefix, pool) {
		return fmt.Errorf("%w: block %s of node %q is no /%d of the pool %s", ErrInvalid, b.Prefix, b.Node, BlockBits, pool)
	}
	old := meshNodes().get(t.Txn, b.Node)
	if old == nil {
		return fmt.Errorf("%w: block %s: node %q is not in the mesh", ErrConflict, b.Prefix, b.Node)
	}
	var holder string
	meshNodes().walk(t.Txn, func(n *MeshNode) bool {
		if slices.ContainsFunc(n.Blocks, b.Prefix.Overlaps) {
			holder = n.Node
		}
		return holder == ""
	}, keyIndex)
	if holder != "" {
		return fmt.Errorf("%w: block %s for node %s: node %s has it", ErrConflict, b.Prefix, b.Node, holder)
	}
	n := *old
	n.Blocks = append(slices.Clip(n.Blocks), b.Prefix) // the old record keeps its own
	return t.putMeshNode(n)
}

// leaveMesh takes a node out of the mesh with all that it had there.
func (t *tx) leaveMesh(node string) error {
	for _, s := range meshSlices().list(t.Txn, "node", node) {
		if err := meshSlices().drop(t.Txn, sliceKey(s.Node, s.Network, s.Serial)); err != nil {
			return err
		}
	}
	return meshNodes().drop(t.Txn, node)
}
