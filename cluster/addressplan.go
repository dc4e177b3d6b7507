package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
)

// ErrNoAddresses is returned when the pool has nothing left to give.
var ErrNoAddresses = errors.New("no free block")

// FewSlices is how many of the smallest slices a node has left when it is given
// its next block.
const FewSlices = 8

// SlicesPerBlock is how many of the smallest slices a block holds.
const SlicesPerBlock = 1 << (MinSliceBits - BlockBits)

// AddressPlan hands out blocks and slices so that none overlaps with another and
// Apply takes what it gave. It is a value of one pass: what it gives out counts as
// given, whether or not it is ever applied. It is not safe for concurrent use.
//
// What it reads it reads once, and of a node's slices nothing before that node is
// asked for, so that a plan for a change of one node among a thousand is cheap.
type AddressPlan struct {
	pool   netip.Prefix
	taken  []uint64 // a bit for each block of the pool
	next   int      // no block before it is free
	nodes  map[string]*nodePlan
	slices []Slice // by node
}

// nodePlan is what one node has.
type nodePlan struct {
	node    *MeshNode
	blocks  []blockPlan
	next    int            // where the next search begins, in the smallest slices over all blocks
	serials map[string]int // the highest of each network; nil before it is needed
}

// blockPlan is a block with a bit for each of its smallest slices.
type blockPlan struct {
	first uint32 // address
	used  [SlicesPerBlock / 64]uint64
}

// NewAddressPlan returns the plan of a state: its pool (Meta.Pool), and its nodes
// and slices in any order. They are not changed.
func NewAddressPlan(pool netip.Prefix, nodes []MeshNode, given []Slice) *AddressPlan {
	if !pool.IsValid() {
		pool = DefaultPool()
	}
	byNode := func(a, b Slice) int { return cmp.Compare(a.Node, b.Node) }
	if !slices.IsSortedFunc(given, byNode) {
		given = slices.SortedStableFunc(slices.Values(given), byNode)
	}
	p := &AddressPlan{pool: pool, nodes: make(map[string]*nodePlan, len(nodes)), slices: given}
	p.taken = make([]uint64, (p.blocks()+63)/64)
	for i := range nodes {
		p.nodes[nodes[i].Node] = &nodePlan{node: &nodes[i]}
		for _, block := range nodes[i].Blocks {
			p.take(block)
		}
	}
	return p
}

// blocks is how many the pool holds.
func (p *AddressPlan) blocks() int { return 1 << max(BlockBits-p.pool.Bits(), 0) }

// take marks a block of the pool as given. One of another pool is nothing to it.
func (p *AddressPlan) take(block netip.Prefix) {
	if within(block, p.pool) && block.Bits() == BlockBits {
		i := (addressNumber(block.Addr()) - addressNumber(p.pool.Addr())) >> (32 - BlockBits)
		p.taken[i/64] |= 1 << (i % 64)
	}
}

// Block gives a node its next block. The error wraps ErrNoAddresses.
func (p *AddressPlan) Block(node string) (netip.Prefix, error) {
	n := p.nodes[node]
	if n == nil {
		return netip.Prefix{}, fmt.Errorf("block for node %s: %w: it is not in the mesh", node, ErrNotFound)
	}
	for ; p.next < p.blocks(); p.next++ {
		if p.taken[p.next/64]&(1<<(p.next%64)) != 0 {
			continue
		}
		block := netip.PrefixFrom(addressAt(addressNumber(p.pool.Addr())+uint32(p.next)<<(32-BlockBits)), BlockBits)
		p.take(block)
		p.open(n)
		n.addBlock(block)
		return block, nil
	}
	return netip.Prefix{}, fmt.Errorf("the pool %s has %w for node %s", p.pool, ErrNoAddresses, node)
}

// Free is how many of the smallest slices a node could be given from its blocks.
func (p *AddressPlan) Free(node string) int {
	n := p.nodes[node]
	if n == nil {
		return 0
	}
	p.open(n)
	free := 0
	for i := range n.blocks {
		for _, word := range n.blocks[i].used {
			free += bits.OnesCount64(^word)
		}
	}
	return free
}

// Slice gives a network its next slice on a node, with room for a number of
// containers as far as MaxSliceBits allows: a smaller one where the node has no
// such piece left, and one of a new block, which Given then names, where it has
// nothing left. The error wraps ErrNoAddresses when there is none, and ErrNotFound
// for a node that is not in the mesh.
func (p *AddressPlan) Slice(network, node string, containers int) (s Slice, given *NodeBlock, err error) {
	n := p.nodes[node]
	if n == nil {
		return Slice{}, nil, fmt.Errorf("slice of %s: %w: node %s is not in the mesh", network, ErrNotFound, node)
	}
	p.open(n)
	length := sliceBits(containers)
	prefix := n.carve(length)
	if !prefix.IsValid() {
		block, err := p.Block(node)
		if err != nil {
			return Slice{}, nil, err
		}
		given = &NodeBlock{Node: node, Prefix: block}
		prefix = n.carve(length)
	}
	if n.serials == nil {
		n.serials = map[string]int{}
		for _, o := range p.of(node) {
			n.serials[o.Network] = max(n.serials[o.Network], o.Serial)
		}
	}
	n.serials[network]++
	return Slice{Network: network, Node: node, Serial: n.serials[network], Prefix: prefix}, given, nil
}

// sliceBits is the length of the smallest slice that holds so many containers, or
// of the largest that there is.
func sliceBits(containers int) int {
	length := MinSliceBits
	for length > MaxSliceBits && containers > sliceCapacity(length) {
		length--
	}
	return length
}

// sliceCapacity is Slice.Capacity by the prefix's length.
func sliceCapacity(length int) int { return 1<<(32-length) - 3 }

// of lists the slices of a node.
func (p *AddressPlan) of(node string) []Slice {
	from, _ := slices.BinarySearchFunc(p.slices, node, func(s Slice, node string) int { return cmp.Compare(s.Node, node) })
	to := from
	for to < len(p.slices) && p.slices[to].Node == node {
		to++
	}
	return p.slices[from:to]
}

// open reads what a node has, once.
func (p *AddressPlan) open(n *nodePlan) {
	if n.blocks != nil || len(n.node.Blocks) == 0 {
		return
	}
	for _, block := range n.node.Blocks {
		n.addBlock(block)
	}
	for _, s := range p.of(n.node.Node) {
		n.mark(s.Prefix)
	}
	if !n.node.Next.IsValid() {
		return
	}
	last := addressNumber(n.node.Next) - 1 // of the slice that was made last
	for i := range n.blocks {
		if at := (last - n.blocks[i].first) >> (32 - MinSliceBits); last >= n.blocks[i].first && at < SlicesPerBlock {
			n.next = i*SlicesPerBlock + int(at) + 1
		}
	}
}

// addBlock adds a block. The first one's first slice is the node's own: its
// address is there.
func (n *nodePlan) addBlock(block netip.Prefix) {
	b := blockPlan{first: addressNumber(block.Addr())}
	if len(n.blocks) == 0 {
		b.used[0] = 1
	}
	n.blocks = append(n.blocks, b)
}

// mark notes that a slice is given.
func (n *nodePlan) mark(prefix netip.Prefix) {
	first, size := addressNumber(prefix.Addr()), 1<<max(MinSliceBits-prefix.Bits(), 0)
	for i := range n.blocks {
		b := &n.blocks[i]
		if at := int(first-b.first) >> (32 - MinSliceBits); first >= b.first && at < SlicesPerBlock {
			b.used[at/64] |= pieces(size) << (at % 64)
		}
	}
}

// pieces is a run of that many bits.
func pieces(size int) uint64 { return 1<<size - 1 }

// carve takes a free piece of the length, or else of the longest that is left;
// the zero prefix when nothing is.
func (n *nodePlan) carve(length int) netip.Prefix {
	for ; length <= MinSliceBits; length++ {
		size := 1 << (MinSliceBits - length)
		all := len(n.blocks) * SlicesPerBlock
		start := (n.next + size - 1) / size * size
		for step := 0; step < all; step += size {
			at := (start + step) % all
			b, in := &n.blocks[at/SlicesPerBlock], at%SlicesPerBlock
			if b.used[in/64]&(pieces(size)<<(in%64)) != 0 {
				continue
			}
			b.used[in/64] |= pieces(size) << (in % 64)
			n.next = at + size
			return netip.PrefixFrom(addressAt(b.first+uint32(in)<<(32-MinSliceBits)), length)
		}
	}
	return netip.Prefix{}
}

// addressNumber is an IPv4 address as a number; 0 for any other.
func addressNumber(a netip.Addr) uint32 {
	if !a.Is4() {
		return 0
	}
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
