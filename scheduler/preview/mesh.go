package preview

import (
	"net/netip"
	"slices"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/scheduler"
)

// mesh is who is connected to whom. Every node is in it, as if the edges of all
// had reported: what a plan says of a change must not hang on one that has not
// yet.
type mesh struct {
	pool   netip.Prefix
	nodes  map[string]cluster.MeshNode
	slices map[cluster.SliceKey]cluster.Slice
}

func newMesh(in scheduler.Input) mesh {
	m := mesh{pool: in.Pool, nodes: map[string]cluster.MeshNode{}, slices: map[cluster.SliceKey]cluster.Slice{}}
	for _, n := range in.Nodes {
		m.nodes[n.Name] = cluster.MeshNode{Node: n.Name, ModifyIndex: in.Index}
	}
	for _, n := range in.Mesh {
		m.nodes[n.Node] = n
	}
	for _, s := range in.Slices {
		m.slices[cluster.SliceKey{Network: s.Network, Node: s.Node, Serial: s.Serial}] = s
	}
	return m
}

// into puts the mesh into what a plan is made from.
func (m *mesh) into(in *scheduler.Input) {
	in.Pool = m.pool
	for _, n := range m.nodes {
		in.Mesh = append(in.Mesh, n)
	}
	for _, s := range m.slices {
		in.Slices = append(in.Slices, s)
	}
}

// apply does what the log does with the mesh's part of a plan.
func (m *mesh) apply(p *cluster.ApplyPlan, index uint64) {
	for _, b := range p.Blocks {
		n := m.nodes[b.Node]
		n.Blocks, n.ModifyIndex = append(slices.Clip(n.Blocks), b.Prefix), index
		m.nodes[b.Node] = n
	}
	for _, k := range p.DropSlices {
		delete(m.slices, k)
	}
	for _, s := range p.Slices {
		m.slices[cluster.SliceKey{Network: s.Network, Node: s.Node, Serial: s.Serial}] = s
	}
}
