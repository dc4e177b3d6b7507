package cluster

import (
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

func (w *encoder) meshNode(v MeshNode) *jacov1.MeshNode {
	return &jacov1.MeshNode{
		Node: v.Node, PublicKey: w.digest(v.PublicKey), Port: uint32(v.Port), Mode: v.Mode,
		Blocks: each(v.Blocks, w.prefix), Next: w.address(v.Next),
		CreateIndex: v.CreateIndex, ModifyIndex: v.ModifyIndex,
	}
}

func (r *decoder) meshNode(m *jacov1.MeshNode) MeshNode {
	return MeshNode{
		Node: m.GetNode(), PublicKey: r.digest(m.GetPublicKey()), Port: r.port(m.GetPort()), Mode: m.GetMode(),
		Blocks: each(m.GetBlocks(), r.prefix), Next: r.address(m.GetNext()),
		CreateIndex: m.GetCreateIndex(), ModifyIndex: m.GetModifyIndex(),
	}
}

func (w *encoder) slice(v Slice) *jacov1.Slice {
	return &jacov1.Slice{
		Network: v.Network, Node: v.Node, Serial: int64(v.Serial), Prefix: w.prefix(v.Prefix),
		CreateIndex: v.CreateIndex, ModifyIndex: v.ModifyIndex,
	}
}

func (r *decoder) slice(m *jacov1.Slice) Slice {
	return Slice{
		Network: m.GetNetwork(), Node: m.GetNode(), Serial: int(m.GetSerial()), Prefix: r.prefix(m.GetPrefix()),
		CreateIndex: m.GetCreateIndex(), ModifyIndex: m.GetModifyIndex(),
	}
}

func (w *encoder) nodeBlock(b NodeBlock) *jacov1.NodeBlock {
	return &jacov1.NodeBlock{Node: b.Node, Prefix: w.prefix(b.Prefix)}
}

func (r *decoder) nodeBlock(m *jacov1.NodeBlock) NodeBlock {
	return NodeBlock{Node: m.GetNode(), Prefix: r.prefix(m.GetPrefix())}
}

func (w *encoder) sliceKey(k SliceKey) *jacov1.SliceKey {
	return &jacov1.SliceKey{Network: k.Network, Node: k.Node, Serial: int64(k.Serial)}
}

func (r *decoder) sliceKey(m *jacov1.SliceKey) SliceKey {
	return SliceKey{Network: m.GetNetwork(), Node: m.GetNode(), Serial: int(m.GetSerial())}
}
