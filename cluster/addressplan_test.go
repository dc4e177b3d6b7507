package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// given is a node with blocks, by name.
func given(name string, blocks ...string) MeshNode {
	n := MeshNode{Node: name}
	for _, b := range blocks {
		n.Blocks = append(n.Blocks, netip.MustParsePrefix(b))
	}
	return n
}

func sliceOf(node, network string, serial int, prefix string) Slice {
	return Slice{Node: node, Network: network, Serial: serial, Prefix: netip.MustParsePrefix(prefix)}
}

// ask says what a plan answers to "block NODE" and "slice NETWORK NODE CONTAINERS".
func ask(t *testing.T, p *AddressPlan, question string) string {
	t.Helper()
	var network, node string
	var containers int
	if _, err := fmt.Sscanf(question, "slice %s %s %d", &network, &node, &containers); err == nil {
		s, block, err := p.Slice(network, node, containers)
		if err != nil {
			return err.Error()
		}
		text := fmt.Sprintf("%d %s", s.Serial, s.Prefix)
		if block != nil {
			text += fmt.Sprintf(" of %s's %s", block.Node, block.Prefix)
		}
		return text
	}
	block, err := p.Block(strings.TrimPrefix(question, "block "))
	if err != nil {
		return err.Error()
	}
	return block.String()
}

func TestAddressPlan(t *testing.T) {
	pool := netip.MustParsePrefix("10.64.0.0/18") // four blocks
	// A node all but two of whose smallest slices are given.
	full := given("n1", "10.64.0.0/20")
	crowd := []Slice{sliceOf("n1", "crowd", 1, "10.64.0.128/25")}
	for i := 1; i < 16; i++ {
		crowd = append(crowd, sliceOf("n1", "crowd", i+1, fmt.Sprintf("10.64.%d.0/24", i)))
	}
	for i, prefix := range []string{"10.64.0.16/28", "10.64.0.48/28", "10.64.0.64/26"} {
		crowd = append(crowd, sliceOf("n1", "crowd", i+17, prefix))
	}
	moved := given("n1", "10.64.0.0/20")
	moved.Next = netip.MustParseAddr("10.64.15.224")
	behind := given("n1", "10.64.0.0/20", "10.64.48.0/20")
	behind.Next = netip.MustParseAddr("10.64.16.0")

	tests := []struct {
		name   string
		nodes  []MeshNode
		slices []Slice
		asked  []string // question: answer
	}{
		{"blocks in their order, and no more than there are", []MeshNode{given("n1"), given("n2", "10.64.16.0/20"), given("n3")}, nil, []string{
			"block n1: 10.64.0.0/20", "block n3: 10.64.32.0/20", "block n1: 10.64.48.0/20",
			"block n3: the pool 10.64.0.0/18 has no free block for node n3",
			"block n9: block for node n9: not found: it is not in the mesh",
		}},
		{"sizes", []MeshNode{given("n1", "10.64.0.0/20")}, nil, []string{
			"slice a n1 1: 1 10.64.0.16/28", "slice b n1 13: 1 10.64.0.32/28", "slice c n1 14: 1 10.64.0.64/27",
			"slice d n1 29: 1 10.64.0.96/27", "slice e n1 30: 1 10.64.0.128/26", "slice f n1 61: 1 10.64.0.192/26",
			"slice g n1 125: 1 10.64.1.0/25", "slice h n1 126: 1 10.64.2.0/24", "slice i n1 9999: 1 10.64.3.0/24",
		}},
		{"a further slice of a network", []MeshNode{given("n1", "10.64.0.0/20"), given("n2", "10.64.16.0/20")},
			[]Slice{sliceOf("n1", "a", 1, "10.64.0.16/28"), sliceOf("n1", "a", 4, "10.64.0.32/28"), sliceOf("n2", "a", 7, "10.64.16.16/28")}, []string{
				"slice a n1 1: 5 10.64.0.48/28", "slice a n1 1: 6 10.64.0.64/28", "slice a n2 1: 8 10.64.16.32/28", "slice b n2 1: 1 10.64.16.48/28",
			}},
		{"what was given back comes last", []MeshNode{moved}, []Slice{sliceOf("n1", "a", 1, "10.64.15.208/28")}, []string{
			"slice b n1 1: 1 10.64.15.224/28", "slice c n1 20: 1 10.64.0.32/27", "slice d n1 1: 1 10.64.0.64/28",
		}},
		{"behind the end of a block is the next one", []MeshNode{behind}, nil, []string{"slice a n1 1: 1 10.64.48.0/28"}},
		{"pieces, then a new block, then nothing", []MeshNode{full, given("n2", "10.64.16.0/20", "10.64.32.0/20")}, crowd, []string{
			"slice a n1 20: 1 10.64.0.32/28", "slice b n1 20: 1 10.64.48.0/27 of n1's 10.64.48.0/20",
			"block n2: the pool 10.64.0.0/18 has no free block for node n2", "slice c n1 200: 1 10.64.49.0/24",
		}},
		{"without a block", []MeshNode{given("n1")}, nil, []string{
			"slice a n1 1: 1 10.64.0.16/28 of n1's 10.64.0.0/20", "slice a n9 1: slice of a: not found: node n9 is not in the mesh",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, order := range []string{"as given", "reversed"} {
				p := NewAddressPlan(pool, tt.nodes, tt.slices)
				var got []string
				for _, line := range tt.asked {
					question, _, _ := strings.Cut(line, ": ")
					got = append(got, question+": "+ask(t, p, question))
				}
				if diff := cmp.Diff(tt.asked, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", order, diff)
				}
				tt.nodes, tt.slices = slices.Clone(tt.nodes), slices.Clone(tt.slices)
				slices.Reverse(tt.nodes)
				slices.Reverse(tt.slices)
			}
		})
	}
}

func TestAddressPlanUsedUp(t *testing.T) {
	p := NewAddressPlan(netip.MustParsePrefix("192.168.0.0/20"), []MeshNode{given("n1"), given("n2")}, nil)
	if free := p.Free("n1"); free != 0 {
		t.Errorf("%d free without a block", free)
	}
	if _, err := p.Block("n1"); err != nil {
		t.Fatal(err)
	}
	for want := SlicesPerBlock - 1; want > 0; want-- {
		if free := p.Free("n1"); free != want {
			t.Fatalf("%d are free, want %d", free, want)
		}
		if _, block, err := p.Slice("a", "n1", 1); err != nil || block != nil {
			t.Fatalf("with %d left: %v, %v", want, block, err)
		}
	}
	for _, node := range []string{"n1", "n2"} {
		if s, _, err := p.Slice("a", node, 1); !errors.Is(err, ErrNoAddresses) {
			t.Errorf("%s was given %s, %v", node, &s, err)
		}
	}
	if free := p.Free("n9"); free != 0 {
		t.Errorf("%d free on no node", free)
	}
}

// benchMesh is 1,000 nodes with 20 networks each.
func benchMesh() (nodes []MeshNode, slices []Slice) {
	for i := range 1000 {
		n := MeshNode{Node: fmt.Sprintf("node-%04d", i), Blocks: []netip.Prefix{netip.PrefixFrom(addressAt(10<<24|64<<16+uint32(i)<<12), 20)}}
		nodes = append(nodes, n)
		for j := range 20 {
			slices = append(slices, Slice{
				Node: n.Node, Network: fmt.Sprintf("net-%04d", i+j), Serial: 1,
				Prefix: netip.PrefixFrom(addressAt(addressNumber(n.Blocks[0].Addr())+uint32(j+1)<<4), 28),
			})
		}
	}
	return nodes, slices
}

// BenchmarkAddressPlan gives one node of a thousand one slice.
func BenchmarkAddressPlan(b *testing.B) {
	nodes, given := benchMesh()
	b.ReportAllocs()
	for b.Loop() {
		if _, block, err := NewAddressPlan(DefaultPool(), nodes, given).Slice("new", "node-0500", 1); err != nil || block != nil {
			b.Fatal(block, err)
		}
	}
}

// BenchmarkAddressPlanFull gives each of a thousand nodes a block and 20 slices.
func BenchmarkAddressPlanFull(b *testing.B) {
	nodes, _ := benchMesh()
	for i := range nodes {
		nodes[i].Blocks = nil
	}
	b.ReportAllocs()
	for b.Loop() {
		p := NewAddressPlan(DefaultPool(), nodes, nil)
		for i := range nodes {
			for j := range 20 {
				if _, _, err := p.Slice(fmt.Sprint("net-", j), nodes[i].Node, 1); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
