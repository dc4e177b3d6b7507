package bridge

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// version is the engine's own, as far as it matters.
type version struct{ major, minor int }

// parseVersion reads "20.10.24+dfsg1". What it cannot read is 0.0, which is
// older than all.
func parseVersion(text string) version {
	var numbers [2]int
	for i, part := range strings.SplitN(text, ".", 3)[:min(2, strings.Count(text, ".")+1)] {
		n, err := strconv.Atoi(part)
		if err != nil {
			return version{}
		}
		numbers[i] = n
	}
	return version{numbers[0], numbers[1]}
}

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// The options of the engine's bridge driver that are set.
const (
	optionBridge      = "com.docker.network.bridge.name"
	optionMasquerade  = "com.docker.network.bridge.enable_ip_masquerade"
	optionGatewayMode = "com.docker.network.bridge.gateway_mode_ipv4"
	optionMTU         = "com.docker.network.driver.mtu"
)

// hardOptions are those of a network on an engine without which traffic of the
// mesh does not pass, or passes under a wrong address.
//
// Engine rules that this answers:
//   - All versions: POSTROUTING masquerades what leaves a bridge by another
//     interface, the mesh's and other bridges among them, unless
//     enable_ip_masquerade is false. mesh/firewall masquerades what leaves the
//     pool instead.
//   - From 28.0 (release notes, "packets addressed directly to containers"): the
//     chain PREROUTING of table raw drops what comes from another interface than
//     the bridge and is for a container's address, and FORWARD what is for ports
//     that are not published, in the default gateway mode "nat". In the mode
//     "nat-unprotected", new with it, published ports work as ever and neither is
//     dropped, with iptables and with the nftables backend of 29.0 alike.
//     trusted_host_interfaces (28.2) would open published ports only, and
//     "routed" (27.0) publishes none on the node's own addresses.
//
// Up to 27 no option is needed: nothing but the policy of FORWARD and the
// isolation of networks is in the way, which the rules of wantedRules go ahead of.
func hardOptions(v version, n *Network) map[string]string {
	options := map[string]string{optionBridge: n.Bridge, optionMasquerade: "false"}
	if v.atLeast(28, 0) {
		options[optionGatewayMode] = "nat-unprotected"
	}
	return options
}

// createOptions are those that a network is made with. It is never internal in
// the engine's sense: the engine would give its containers no default route, and
// other nodes would be out of their reach. mesh/firewall keeps internal networks
// in. IPv6 is off in so many words, as from 27.0 daemon.json may switch it on for
// all new networks (default-network-opts).
func createOptions(v version, mtu int, n *Network) client.NetworkCreateOptions {
	options := hardOptions(v, n)
	options[optionMTU] = strconv.Itoa(mtu)
	off := false
	return client.NetworkCreateOptions{
		Driver:     "bridge",
		EnableIPv6: &off,
		IPAM:       &network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: n.Subnet, Gateway: n.Gateway}}},
		Options:    options,
		Labels:     n.Labels,
	}
}

// differences are what keeps a network from being the one that is asked for. soft
// are those that do no harm: they are mended when nobody uses the network, and
// new containers need not wait for that.
func differences(v version, mtu int, n *Network, got *network.Network) (hard, soft []string) {
	say := func(what, want, have string) {
		if want != have {
			hard = append(hard, fmt.Sprintf("%s %s instead of %s", what, orNone(have), orNone(want)))
		}
	}
	say("driver", "bridge", got.Driver)
	say("subnet", n.Subnet.String(), subnetsText(got))
	say("gateway", n.Gateway.String(), gatewaysText(got))
	say("internal", "false", strconv.FormatBool(got.Internal))
	say("ipv6", "false", strconv.FormatBool(got.EnableIPv6))
	options := hardOptions(v, n)
	for _, key := range slices.Sorted(maps.Keys(options)) {
		say(shortOption(key), options[key], got.Options[key])
	}
	if want := strconv.Itoa(mtu); got.Options[optionMTU] != want {
		soft = append(soft, fmt.Sprintf("%s %s instead of %s", shortOption(optionMTU), orNone(got.Options[optionMTU]), want))
	}
	if !maps.Equal(n.Labels, got.Labels) {
		soft = append(soft, "other labels")
	}
	return hard, soft
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// shortOption is an option as people call it.
func shortOption(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// subnets are all that a network has.
func subnets(got *network.Network) (out []netip.Prefix) {
	for _, c := range got.IPAM.Config {
		if c.Subnet.IsValid() {
			out = append(out, c.Subnet.Masked())
		}
	}
	return out
}

func subnetsText(got *network.Network) string {
	var parts []string
	for _, p := range subnets(got) {
		parts = append(parts, p.String())
	}
	return strings.Join(parts, " and ")
}

func gatewaysText(got *network.Network) string {
	var parts []string
	for _, c := range got.IPAM.Config {
		if c.Gateway.IsValid() {
			parts = append(parts, c.Gateway.String())
		}
	}
	return strings.Join(parts, " and ")
}

// bridgeOf is the interface of a network of the bridge driver; the engine names
// those that it is told no name for by the first 12 digits of the id.
func bridgeOf(got *network.Network) string {
	switch name := got.Options[optionBridge]; {
	case got.Driver != "bridge":
		return ""
	case name != "":
		return name
	default:
		return "br-" + got.ID[:min(12, len(got.ID))]
	}
}

// clash says what of the engine is in the way of a network; "" when nothing is.
// The engine itself would name no network ("Pool overlaps with other one on this
// address space").
func clash(n *Network, present []network.Network) string {
	for i := range present {
		other := &present[i]
		for _, p := range subnets(other) {
			if p.Overlaps(n.Subnet) {
				return fmt.Sprintf("its addresses %s overlap with %s of the engine's network %s: remove that, or give the cluster another pool", n.Subnet, p, other.Name)
			}
		}
		if bridgeOf(other) == n.Bridge {
			return fmt.Sprintf("its bridge %s is that of the engine's network %s: remove that", n.Bridge, other.Name)
		}
	}
	return ""
}
