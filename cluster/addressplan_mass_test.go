package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/desired"
)

// meshWorld lets members come and go, and networks grow and shrink, as a leader
// does: every plan comes from an AddressPlan, and the real state applies it.
type meshWorld struct {
	rig      *rig
	draw     func(n int) int // below n
	failf    func(format string, args ...any)
	key      uint32
	networks int
	members  []string
	refused  int // requests for which the pool had nothing
}

func newMeshWorld(t *testing.T, networks int, pool string, draw func(int) int, failf func(string, ...any)) *meshWorld {
	w := &meshWorld{rig: newRig(t), draw: draw, failf: failf, networks: networks}
	init := testInit()
	init.Meta.Pool = netip.MustParsePrefix(pool)
	init.Node = testNode("node-0000")
	w.rig.must(init)
	w.enter("node-0000")
	return w
}

// enter lets a member's edge report.
func (w *meshWorld) enter(name string) {
	w.members = append(w.members, name)
	w.key++
	w.apply(&ReportMesh{Node: name, PublicKey: [32]byte{byte(w.key), byte(w.key >> 8), byte(w.key >> 16), 1}, Port: 51820, Mode: "kernel"})
}

func (w *meshWorld) join(name string) {
	if slices.Contains(w.members, name) {
		return
	}
	w.apply(&UpdateNode{Node: testNode(name)})
	w.enter(name)
}

func (w *meshWorld) leave() {
	if len(w.members) < 2 {
		return
	}
	at := w.draw(len(w.members))
	w.apply(&RemoveNode{Name: w.members[at]})
	w.members = slices.Delete(w.members, at, at+1)
}

func (w *meshWorld) apply(c Command) {
	if result := w.rig.apply(c); result.Err != nil {
		w.failf("%s: %v: %+v", c.Kind(), result.Err, c)
	}
}

// grow gives networks slices on a number of nodes, in one plan.
func (w *meshWorld) grow(requests int) {
	s := w.rig.state.Read()
	p, again := w.addresses(s), w.addresses(s)
	plan := &ApplyPlan{}
	for range requests {
		network, node, containers := network(w.draw(w.networks)), w.members[w.draw(len(w.members))], w.draw(300)
		slice, block, err := p.Slice(network, node, containers)
		other, _, errAgain := again.Slice(network, node, containers)
		if slice != other || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			w.failf("the same question has two answers: %v %v, %v %v", &slice, err, &other, errAgain)
		}
		switch {
		case errors.Is(err, ErrNoAddresses):
			w.refused++
			continue
		case err != nil:
			w.failf("%v", err)
		}
		if block != nil {
			plan.Blocks = append(plan.Blocks, *block)
		}
		plan.Slices = append(plan.Slices, slice)
	}
	w.apply(plan)
}

func (w *meshWorld) addresses(s *Snapshot) *AddressPlan {
	return NewAddressPlan(s.Meta().Pool, s.MeshNodes(), s.Slices())
}

// release gives back some of a node's slices.
func (w *meshWorld) release() {
	plan := &ApplyPlan{}
	for _, s := range w.rig.state.Read().SlicesOnNode(w.members[w.draw(len(w.members))]) {
		if w.draw(2) == 0 {
			plan.DropSlices = append(plan.DropSlices, SliceKey{Network: s.Network, Node: s.Node, Serial: s.Serial})
		}
	}
	w.apply(plan)
}

func network(n int) string { return fmt.Sprintf("jaco_d%03d_net", n) }

// view declares all networks.
func (w *meshWorld) view() *View {
	v := &View{Claim: 1, Deployments: map[string]*Accepted{}}
	for i := range w.networks {
		name := fmt.Sprintf("d%03d", i)
		v.Deployments[name] = declares(name, nil, []desired.Service{attached("web", "net")}...)
	}
	return v
}

// check compares what all nodes are told: every prefix is of one network, on one
// node, in the eyes of all.
func (w *meshWorld) check(nodes int) {
	s, v := w.rig.state.Read(), w.view()
	seen := map[netip.Prefix]string{} // whose a prefix is
	members := map[string][]netip.Prefix{}
	var all []netip.Prefix
	for _, name := range w.members[:min(nodes, len(w.members))] {
		e, ok := BuildEdge(s, v, name, nil)
		if !ok {
			w.failf("node %s is told nothing", name)
		}
		for _, n := range e.Networks {
			if known := members[n.Name]; known == nil {
				members[n.Name] = n.Members
				for _, p := range n.Members {
					if seen[p] != "" {
						w.failf("%s is %s's and %s's", p, seen[p], n.Name)
					}
					seen[p], all = n.Name, append(all, p)
				}
			} else if !slices.Equal(known, n.Members) {
				w.failf("%s has the members %v, and on %s %v", n.Name, known, name, n.Members)
			}
			for _, own := range n.Slices {
				if seen[own.Prefix] != n.Name || !slices.ContainsFunc(e.Nodes, func(node EdgeNode) bool {
					return node.Name == name && slices.ContainsFunc(node.Blocks, func(b netip.Prefix) bool { return within(own.Prefix, b) })
				}) {
					w.failf("%s of %s on %s is not its own", own.Prefix, n.Name, name)
				}
			}
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	for i := range all[:max(len(all)-1, 0)] {
		if all[i].Overlaps(all[i+1]) {
			w.failf("%s of %s overlaps with %s of %s", all[i], seen[all[i]], all[i+1], seen[all[i+1]])
		}
	}
	if len(all) < len(members) {
		w.failf("%d networks have %d prefixes", len(members), len(all))
	}
}

// TestAddressesOfThousandNodes lets a thousand nodes join, lets hundreds leave and
// others come while networks grow and shrink, and compares what all are told.
func TestAddressesOfThousandNodes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	w := newMeshWorld(t, 200, "10.0.0.0/9", r.IntN, t.Fatalf)
	for i := range 1000 {
		w.join(fmt.Sprintf("node-%04d", i))
	}
	for round := range 40 {
		w.grow(200)
		for range 10 {
			w.release()
			w.leave()
			w.join(fmt.Sprintf("node-%04d", 1000+r.IntN(500)))
			w.join(fmt.Sprintf("node-%04d", r.IntN(1000)))
		}
		if round == 20 {
			w.check(50)
		}
	}
	w.check(len(w.members))
	if slices := len(w.rig.state.Read().Slices()); slices < 2000 || w.refused > 0 {
		t.Errorf("%d slices, %d refused", slices, w.refused)
	}
}

// TestAddressesProperty does the same on a few nodes, in a pool that is used up.
func TestAddressesProperty(t *testing.T) {
	refused := 0
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "draw") }
		w := newMeshWorld(t, 5, "172.16.0.0/18", draw, rt.Fatalf)
		rt.Repeat(map[string]func(*rapid.T){
			"join":    func(*rapid.T) { w.join(fmt.Sprintf("node-%04d", draw(6))) },
			"leave":   func(*rapid.T) { w.leave() },
			"grow":    func(*rapid.T) { w.grow(1 + draw(30)) },
			"release": func(*rapid.T) { w.release() },
			"":        func(*rapid.T) { w.check(len(w.members)) },
		})
		refused += w.refused
	})
	if refused == 0 {
		t.Error("no pool was used up")
	}
}

// BenchmarkBuildEdge tells one node of a thousand what it needs to know, with 20
// networks on it of 20,000 slices.
func BenchmarkBuildEdge(b *testing.B) {
	r := newRig(b)
	init := testInit()
	init.Node.Name = "node-0000"
	r.must(init)
	nodes, given := benchMesh()
	view := &View{Claim: 1, Deployments: map[string]*Accepted{}}
	plan := &ApplyPlan{Slices: given}
	for i, n := range nodes {
		if i > 0 {
			r.must(&UpdateNode{Node: testNode(n.Node)})
		}
		r.must(&ReportMesh{Node: n.Node, PublicKey: [32]byte{byte(i), byte(i >> 8), 1}, Port: 51820, Mode: "kernel"})
		plan.Blocks = append(plan.Blocks, NodeBlock{Node: n.Node, Prefix: n.Blocks[0]})
		name := fmt.Sprintf("d%04d", i)
		view.Deployments[name] = declares(name, []desired.Network{{Name: "net", Engine: fmt.Sprintf("net-%04d", i)}}, attached("web", "net"))
	}
	r.must(plan)
	s := r.state.Read()
	b.ReportAllocs()
	for b.Loop() {
		if e, ok := BuildEdge(s, view, "node-0500", nil); !ok || len(e.Networks) != 20 || len(e.Nodes) != 1000 {
			b.Fatalf("%t: %d networks, %d nodes", ok, len(e.Networks), len(e.Nodes))
		}
	}
}
