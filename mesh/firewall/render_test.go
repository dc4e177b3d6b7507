package firewall

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// configs are those of the golden files.
func configs() map[string]Config {
	empty := Config{Mesh: "jaco0", MeshAddress: addr("10.64.0.1"), Pool: prefix("10.64.0.0/10")}
	ingress := sample()
	ingress.Ingress = append(ingress.Ingress, ingress.MeshAddress)
	odd := empty
	odd.Mesh, odd.Pool, odd.MeshAddress = "wireguard-mesh0", prefix("172.20.0.0/16"), addr("172.20.255.1")
	odd.Bridges = []Bridge{{
		Name: "jb0123456789abc", Network: "wide", Subnet: prefix("172.20.0.0/20"), Gateway: addr("172.20.0.1"),
		// Nested, twice, unmasked, and two that touch.
		Members: prefixes("172.20.32.0/24", "172.20.33.0/24", "172.20.0.0/20", "172.20.3.0/24", "172.20.32.7/24", "172.20.64.1/32"),
	}}
	return map[string]Config{"empty": empty, "sample": sample(), "ingress": ingress, "odd": odd}
}

func TestRender(t *testing.T) {
	for name, config := range configs() {
		t.Run(name, func(t *testing.T) {
			if err := config.Validate(); err != nil {
				t.Fatal(err)
			}
			got := Render(config).String()
			golden := filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-golden +now)\n%s", diff)
			}
		})
	}
}

// TestRenderIsBlindToOrder has the same table for the same facts.
func TestRenderIsBlindToOrder(t *testing.T) {
	want := Render(sample()).String()
	c := sample()
	slices.Reverse(c.Peers)
	slices.Reverse(c.Bridges)
	for i := range c.Bridges {
		members := slices.Clone(c.Bridges[i].Members)
		slices.Reverse(members)
		c.Bridges[i].Members = append(members, members[0])
	}
	c.Ingress = append(c.Ingress, c.Ingress...)
	if diff := cmp.Diff(want, Render(c).String()); diff != "" {
		t.Error(diff)
	}
}

// TestRulesDoNotGrow is the flat cost: as many rules for a thousand networks.
func TestRulesDoNotGrow(t *testing.T) {
	count := func(table Table) (n int) {
		for _, c := range table.chains {
			n += len(c.rules)
		}
		return n
	}
	if few, many := count(Render(sample())), count(Render(manyNetworks(1000))); few != many {
		t.Errorf("%d rules for few networks, %d for many", few, many)
	}
}

// TestWords has nft print what the rules say of themselves: the words of each
// rule are what the kernel was given.
func TestWords(t *testing.T) {
	for name, config := range configs() {
		t.Run(name, func(t *testing.T) {
			newNamespace(t)
			mustSet(t, newFirewall(t), config)
			if diff := cmp.Diff(plain(Render(config).String()), plain(listing(t))); diff != "" {
				t.Errorf("(-rendered +listed)\n%s", diff)
			}
		})
	}
}

// TestSameAsNft has nft write the table, and the read-back find nothing wrong
// with it.
func TestSameAsNft(t *testing.T) {
	for name, config := range configs() {
		t.Run(name, func(t *testing.T) {
			newNamespace(t)
			f := newFirewall(t)
			mustSet(t, f, config)
			nft(t, "delete table inet jaco\n"+Render(config).String())
			drift, err := f.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// nft compares prefixes that end at a byte with fewer bytes.
			drift = slices.DeleteFunc(drift, func(line string) bool { return name == "odd" && strings.Contains(line, "172.20.0.0/16") })
			drift = slices.DeleteFunc(drift, func(line string) bool { return name == "odd" && strings.Contains(line, "was added") })
			if len(drift) > 0 {
				t.Error(strings.Join(drift, "\n"))
			}
		})
	}
}

// plain puts a listing into a form without an order of elements and of chains.
func plain(listing string) []string {
	var out []string
	for block := range strings.SplitSeq(listing, "\n\n") {
		head, body, found := strings.Cut(block, "elements = {")
		if found {
			inside, tail, _ := strings.Cut(body, "}")
			var elements []string
			for e := range strings.SplitSeq(inside, ",") {
				elements = append(elements, strings.TrimSpace(e))
			}
			slices.Sort(elements)
			block = head + "elements = { " + strings.Join(elements, "\n") + " }" + tail
		}
		block = strings.TrimPrefix(strings.TrimSpace(block), "table inet jaco {")
		out = append(out, strings.TrimSpace(block))
	}
	return out
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name, want string
		change     func(*Config)
	}{
		{"right", "", func(*Config) {}},
		{"no mesh", `"" is not the name`, func(c *Config) { c.Mesh = "" }},
		{"long name", "is not the name", func(c *Config) { c.Bridges[0].Name = "jb0123456789abcd" }},
		{"name with a star", "is not the name", func(c *Config) { c.Bridges[0].Name = "jb*" }},
		{"name twice", "given twice", func(c *Config) { c.Bridges[1].Name = c.Bridges[0].Name }},
		{"bridge is the mesh", "given twice", func(c *Config) { c.Bridges[1].Name = c.Mesh }},
		{"bridge is loopback", "given twice", func(c *Config) { c.Bridges[1].Name = "lo" }},
		{"no pool", "not a prefix of IPv4", func(c *Config) { c.Pool = netip.Prefix{} }},
		{"pool of IPv6", "not a prefix of IPv4", func(c *Config) { c.Pool = prefix("fd00::/8") }},
		{"pool of everything", "not a prefix of IPv4", func(c *Config) { c.Pool = prefix("0.0.0.0/0") }},
		{"no mesh address", "invalid IP is not in the pool", func(c *Config) { c.MeshAddress = netip.Addr{} }},
		{"peer outside", "192.0.2.1 is not in the pool", func(c *Config) { c.Peers[0] = addr("192.0.2.1") }},
		{"ingress outside", "192.0.2.1 is not in the pool", func(c *Config) { c.Ingress[0] = addr("192.0.2.1") }},
		{"peer is oneself", "is a peer's too", func(c *Config) { c.Peers[0] = c.MeshAddress }},
		{"subnet outside", "the subnet 192.0.2.0/28 is not in", func(c *Config) { c.Bridges[2].Subnet = prefix("192.0.2.0/28") }},
		{"subnet wider than the pool", "is not in the pool", func(c *Config) { c.Bridges[2].Subnet = prefix("10.0.0.0/8") }},
		{"gateway elsewhere", "the gateway 10.64.0.17 is not in", func(c *Config) { c.Bridges[2].Gateway = addr("10.64.0.17") }},
		{"member outside", "the member 192.0.2.0/28", func(c *Config) { c.Bridges[2].Members[1] = prefix("192.0.2.0/28") }},
		{"not its own member", "is not among its members", func(c *Config) { c.Bridges[2].Members = c.Bridges[2].Members[1:] }},
		{"shared member", "networks a and b share 10.64.16.16/28", func(c *Config) { c.Bridges[2].Members[1] = prefix("10.64.16.16/28") }},
		{"member within another's", "networks a and b share 10.64.16.24/29", func(c *Config) { c.Bridges[2].Members[1] = prefix("10.64.16.24/29") }},
		{"member around another's", "share", func(c *Config) { c.Bridges[2].Members[1] = prefix("10.64.16.0/24") }},
		{"member has the mesh address", "share", func(c *Config) { c.Bridges[2].Members[1] = prefix("10.64.0.0/28") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := sample()
			test.change(&c)
			err := c.Validate()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// manyNetworks is a node with so many networks, each with members on it and on
// two other nodes.
func manyNetworks(n int) Config {
	c := Config{
		Mesh: "jaco0", MeshAddress: addr("10.64.0.1"), Pool: prefix("10.64.0.0/10"),
		Peers: []netip.Addr{addr("10.72.0.1"), addr("10.80.0.1")}, Ingress: []netip.Addr{addr("10.72.0.1")},
	}
	for i := range n {
		at := func(node byte) netip.Prefix {
			slice := (i + 1) * 16
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, node + byte(slice>>16), byte(slice >> 8), byte(slice)}), 28)
		}
		own := at(64)
		c.Bridges = append(c.Bridges, Bridge{
			Name: bridgeName(i), Network: bridgeName(i), Subnet: own, Gateway: own.Addr().Next(),
			Members: []netip.Prefix{own, at(72), at(80)}, Internal: i%7 == 3,
		})
	}
	return c
}
