package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func bridgeName(i int) string { return fmt.Sprintf("jb%05d", i) }

// drawConfig draws a node with some networks; their members are drawn from slots
// of the pool that each belong to one network.
func drawConfig(t *rapid.T, label string) Config {
	c := Config{Mesh: rapid.SampledFrom([]string{"jaco0", "wg1"}).Draw(t, label+" mesh"), MeshAddress: addr("10.64.0.1"), Pool: prefix("10.64.0.0/10")}
	peers := rapid.SliceOfNDistinct(rapid.IntRange(1, 40), 0, 8, rapid.ID[int]).Draw(t, label+" peers")
	for _, p := range peers {
		a := netip.AddrFrom4([4]byte{10, 65, byte(p), 1})
		c.Peers = append(c.Peers, a)
		if p%3 == 0 {
			c.Ingress = append(c.Ingress, a)
		}
	}
	networks := rapid.IntRange(0, 6).Draw(t, label+" networks")
	for n := range networks {
		members := drawMembers(t, fmt.Sprintf("%s members %d", label, n), n)
		bridges := rapid.IntRange(1, 3).Draw(t, fmt.Sprintf("%s bridges %d", label, n))
		internal := rapid.Bool().Draw(t, fmt.Sprintf("%s internal %d", label, n))
		var own []Bridge
		for b := range bridges {
			subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 70, byte(n), byte(b * 64)}), rapid.IntRange(26, 29).Draw(t, "bits"))
			members = append(members, subnet)
			own = append(own, Bridge{Name: bridgeName(n*10 + b), Network: fmt.Sprint(n), Subnet: subnet, Gateway: subnet.Addr().Next(), Internal: internal})
		}
		for _, b := range own {
			b.Members = slices.Clone(members)
			c.Bridges = append(c.Bridges, b)
		}
	}
	return c
}

// drawMembers draws prefixes that may touch, nest and repeat.
func drawMembers(t *rapid.T, label string, network int) []netip.Prefix {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 80, byte(network), byte(rapid.IntRange(0, 255).Draw(t, "host"))}), rapid.IntRange(24, 32).Draw(t, "bits"))
	}), 0, 12).Draw(t, label)
}

// TestAnyConfig goes from one configuration to another, and to what another
// process would have made of it.
func TestAnyConfig(t *testing.T) {
	newNamespace(t)
	f, other := newFirewall(t), newFirewall(t)
	rapid.Check(t, func(rt *rapid.T) {
		for i := range rapid.IntRange(1, 4).Draw(rt, "steps") {
			c := drawConfig(rt, fmt.Sprint(i))
			if err := c.Validate(); err != nil {
				rt.Fatal(err)
			}
			result, err := f.Set(t.Context(), c)
			if err != nil || result.Drift != nil {
				rt.Fatalf("%+v, %v", result, err)
			}
			if drift, err := f.Check(t.Context()); err != nil || len(drift) > 0 {
				rt.Fatal(drift, err)
			}
			if fresh, err := other.Set(t.Context(), c); err != nil || fresh.Changed {
				rt.Fatalf("another process has to change it: %+v, %v", fresh, err)
			}
			if diff := gocmp.Diff(plain(Render(c).String()), plain(listing(t))); diff != "" {
				rt.Fatal(diff)
			}
			if err := other.Close(); err != nil {
				rt.Fatal(err)
			}
			other.last = nil
		}
	})
}

// TestDisjoint covers the same addresses with prefixes that do not overlap.
func TestDisjoint(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		members := drawMembers(rt, "members", 0)
		out := disjoint(members)
		for i, p := range out {
			if i > 0 && (out[i-1].Overlaps(p) || cmp.Compare(0, comparePrefixes(out[i-1], p)) <= 0) {
				rt.Fatalf("%v is out of order", out)
			}
		}
		for i := range 256 {
			a := netip.AddrFrom4([4]byte{10, 80, 0, byte(i)})
			has := func(p netip.Prefix) bool { return p.Contains(a) }
			if slices.ContainsFunc(members, has) != slices.ContainsFunc(out, has) {
				rt.Fatalf("%s: %v became %v", a, members, out)
			}
		}
	})
}
