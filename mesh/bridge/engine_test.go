package bridge

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/network"
)

func sample() Network {
	return Network{
		Name: "jaco_shop_back", Bridge: Interface("jaco_shop_back"), Subnet: netip.MustParsePrefix("10.64.16.32/28"),
		Gateway: netip.MustParseAddr("10.64.16.33"), Labels: map[string]string{LabelCluster: "c0ffee"},
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]version{
		"20.10.24+dfsg1": {20, 10}, "28.5.2": {28, 5}, "29.0.0-rc.1": {29, 0}, "28": {28, 0}, "27.5": {27, 5},
		"": {}, "dev": {}, "28.x.1": {}, "master-dockerproject-2026": {},
	} {
		if got := parseVersion(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	for _, c := range []struct {
		v            version
		major, minor int
		want         bool
	}{{version{28, 0}, 28, 0, true}, {version{27, 9}, 28, 0, false}, {version{29, 0}, 28, 5, true}, {version{28, 4}, 28, 5, false}, {version{}, 20, 10, false}} {
		if got := c.v.atLeast(c.major, c.minor); got != c.want {
			t.Errorf("%v at least %d.%d: %t", c.v, c.major, c.minor, got)
		}
	}
}

// TestOptionsByVersion is the table of what engines are told, by their version.
func TestOptionsByVersion(t *testing.T) {
	n := sample()
	common := map[string]string{
		"com.docker.network.bridge.name":                 n.Bridge,
		"com.docker.network.bridge.enable_ip_masquerade": "false",
		"com.docker.network.driver.mtu":                  "1420",
	}
	unprotected := maps.Clone(common)
	unprotected["com.docker.network.bridge.gateway_mode_ipv4"] = "nat-unprotected"
	for text, want := range map[string]map[string]string{
		"20.10.24+dfsg1": common, "23.0.6": common, "24.0.9": common, "25.0.8": common, "26.1.5": common, "27.5.1": common,
		"28.0.0": unprotected, "28.2.2": unprotected, "28.5.2": unprotected, "29.0.0": unprotected, "29.1.3": unprotected, "30.0.0": unprotected,
	} {
		v := parseVersion(text)
		options := createOptions(v, 1420, &n)
		if diff := cmp.Diff(want, options.Options); diff != "" {
			t.Errorf("engine %s (-want +got):\n%s", text, diff)
		}
		if options.Internal || options.EnableIPv6 == nil || *options.EnableIPv6 || options.Driver != "bridge" {
			t.Errorf("engine %s: %+v", text, options)
		}
		made := network.Network{Name: n.Name, Driver: "bridge", Options: options.Options, Labels: n.Labels, IPAM: *options.IPAM}
		if hard, soft := differences(v, 1420, &n, &made); len(hard)+len(soft) > 0 {
			t.Errorf("engine %s: what it was asked for differs from itself: %v %v", text, hard, soft)
		}
	}
}

func TestDifferences(t *testing.T) {
	old := parseVersion("20.10.24")
	for name, c := range map[string]struct {
		version version
		change  func(*network.Network)
		hard    string
		soft    string
	}{
		"nothing": {old, func(*network.Network) {}, "", ""},
		"subnet": {old, func(n *network.Network) { n.IPAM.Config[0].Subnet = netip.MustParsePrefix("10.64.16.48/28") },
			"subnet 10.64.16.48/28 instead of 10.64.16.32/28", ""},
		"a second subnet": {old, func(n *network.Network) {
			n.IPAM.Config = append(n.IPAM.Config, network.IPAMConfig{Subnet: netip.MustParsePrefix("fd00::/64")})
		}, "subnet 10.64.16.32/28 and fd00::/64 instead of 10.64.16.32/28", ""},
		"gateway": {old, func(n *network.Network) { n.IPAM.Config[0].Gateway = netip.MustParseAddr("10.64.16.34") },
			"gateway 10.64.16.34 instead of 10.64.16.33", ""},
		"no gateway":        {old, func(n *network.Network) { n.IPAM.Config[0].Gateway = netip.Addr{} }, "gateway none instead of 10.64.16.33", ""},
		"driver":            {old, func(n *network.Network) { n.Driver = "macvlan" }, "driver macvlan instead of bridge", ""},
		"internal":          {old, func(n *network.Network) { n.Internal = true }, "internal true instead of false", ""},
		"ipv6":              {old, func(n *network.Network) { n.EnableIPv6 = true }, "ipv6 true instead of false", ""},
		"masquerade":        {old, func(n *network.Network) { delete(n.Options, optionMasquerade) }, "enable_ip_masquerade none instead of false", ""},
		"bridge":            {old, func(n *network.Network) { n.Options[optionBridge] = "docker9" }, "name docker9 instead of jbd11ac98e6fb70", ""},
		"mtu":               {old, func(n *network.Network) { n.Options[optionMTU] = "1500" }, "", "mtu 1500 instead of 1420"},
		"labels":            {old, func(n *network.Network) { n.Labels = map[string]string{LabelCluster: "c0ffee", "a": "b"} }, "", "other labels"},
		"more options":      {old, func(n *network.Network) { n.Options["com.docker.network.enable_ipv4"] = "true" }, "", ""},
		"an engine renewed": {version{28, 1}, func(*network.Network) {}, "gateway_mode_ipv4 none instead of nat-unprotected", ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := sample()
			options := createOptions(old, 1420, &n)
			got := network.Network{Name: n.Name, Driver: "bridge", Options: options.Options, Labels: n.Labels, IPAM: *options.IPAM}
			c.change(&got)
			hard, soft := differences(c.version, 1420, &n, &got)
			if strings.Join(hard, "; ") != c.hard || strings.Join(soft, "; ") != c.soft {
				t.Errorf("hard %q, soft %q", hard, soft)
			}
		})
	}
}

func TestClash(t *testing.T) {
	n := sample()
	other := func(subnet, bridge string) network.Network {
		return network.Network{Name: "lan", ID: "0123456789abcdef", Driver: "bridge", Options: map[string]string{optionBridge: bridge},
			IPAM: network.IPAM{Config: []network.IPAMConfig{{Subnet: netip.MustParsePrefix(subnet)}}}}
	}
	for name, c := range map[string]struct {
		present network.Network
		want    string
	}{
		"far":           {other("10.64.16.48/28", ""), ""},
		"around":        {other("10.64.0.0/10", ""), "overlap with 10.64.0.0/10 of the engine's network lan"},
		"inside":        {other("10.64.16.40/29", ""), "overlap with 10.64.16.40/29"},
		"not masked":    {other("10.64.16.33/28", ""), "overlap with 10.64.16.32/28"},
		"bridge":        {other("192.168.0.0/24", n.Bridge), "bridge " + n.Bridge + " is that of the engine's network lan"},
		"without IPAM":  {network.Network{Name: "host", Driver: "host"}, ""},
		"another kind":  {network.Network{Name: "m", Driver: "macvlan", Options: map[string]string{optionBridge: n.Bridge}}, ""},
		"another's IP6": {other("fd00::/64", ""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := clash(&n, []network.Network{c.present})
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestBridgeOf(t *testing.T) {
	for want, n := range map[string]network.Network{
		"br-0123456789ab": {ID: "0123456789abcdef", Driver: "bridge"},
		"br-012":          {ID: "012", Driver: "bridge"},
		"jb1":             {ID: "0123456789abcdef", Driver: "bridge", Options: map[string]string{optionBridge: "jb1"}},
		"":                {ID: "0123456789abcdef", Driver: "overlay"},
	} {
		if got := bridgeOf(&n); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	ok := Config{Cluster: "c0ffee", Mesh: "jaco0", MTU: 1420, Networks: []Network{sample()}}
	if err := ok.validate(); err != nil {
		t.Fatal(err)
	}
	twin := sample()
	twin.Name = "jaco_shop_front"
	for want, change := range map[string]func(*Config){
		"no cluster id":         func(c *Config) { c.Cluster = "" },
		"mesh interface":        func(c *Config) { c.Mesh = "sixteen-bytes-ab" },
		"mtu 0":                 func(c *Config) { c.MTU = 0 },
		"it has no name":        func(c *Config) { c.Networks[0].Name = "" },
		"bridge \"\"":           func(c *Config) { c.Networks[0].Bridge = "" },
		"not a masked IPv4":     func(c *Config) { c.Networks[0].Subnet = netip.MustParsePrefix("10.64.16.33/28") },
		"is not in":             func(c *Config) { c.Networks[0].Gateway = netip.MustParseAddr("10.64.16.48") },
		"is there twice":        func(c *Config) { c.Networks = append(c.Networks, sample()) },
		"have one bridge":       func(c *Config) { c.Networks = append(c.Networks, twin) },
		"overlap: 10.64.16.32/": func(c *Config) { other := twin; other.Bridge = "jb2"; c.Networks = append(c.Networks, other) },
	} {
		c := ok
		c.Networks = slices.Clone(ok.Networks)
		change(&c)
		if err := c.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestInterface(t *testing.T) {
	// It is on hosts: a change would make every network anew.
	if got := Interface("jaco_shop_back"); got != "jbd11ac98e6fb70" || len(got) != maxName || !strings.HasPrefix(got, interfacePrefix) {
		t.Errorf("interface %s", got)
	}
}
