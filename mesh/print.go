package mesh

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jaco-sh/jaco/mesh/firewall"
)

// String prints the plan for people and goldens, without the private key.
func (p Plan) String() string {
	var b strings.Builder
	w := p.WireGuard
	fmt.Fprintf(&b, "wireguard %s %s port %d address %s mtu %d pool %s\n", w.Interface, w.Mode, w.Port, w.Address, w.MTU, w.Pool)
	for _, peer := range w.Peers {
		fmt.Fprintf(&b, "\tpeer %s %s at %s allowed %s\n", peer.Name, peer.PublicKey, peer.Endpoint, join(peer.Allowed))
	}
	printFirewall(&b, p.Firewall)
	fmt.Fprintf(&b, "bridges of %s mtu %d\n", p.Bridge.Cluster, p.Bridge.MTU)
	for _, n := range p.Bridge.Networks {
		fmt.Fprintf(&b, "\t%s as %s subnet %s gateway %s\n", n.Bridge, n.Name, n.Subnet, n.Gateway)
		for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
			fmt.Fprintf(&b, "\t\t%s=%s\n", key, n.Labels[key])
		}
	}
	p.printDNS(&b)
	return b.String()
}

func printFirewall(b *strings.Builder, f firewall.Config) {
	fmt.Fprintf(b, "firewall mesh %s %s pool %s peers %s ingress %s\n", f.Mesh, f.MeshAddress, f.Pool, join(f.Peers), join(f.Ingress))
	for _, bridge := range f.Bridges {
		way := "open"
		if bridge.Internal {
			way = "internal"
		}
		fmt.Fprintf(b, "\t%s of %s subnet %s gateway %s %s members %s\n",
			bridge.Name, bridge.Network, bridge.Subnet, bridge.Gateway, way, join(bridge.Members))
	}
}

func (p Plan) printDNS(b *strings.Builder) {
	d := p.DNS
	fmt.Fprintf(b, "dns upstreams %s internal %s\n", join(d.Upstreams), strings.Join(orNone(d.Internal), " "))
	for _, l := range d.Listeners {
		fmt.Fprintf(b, "\tlisten %s for %s\n", l.Address, l.Network)
	}
	for _, s := range d.Services {
		fmt.Fprintf(b, "\tservice %s.%s\n", s.Name, s.Deployment)
		for _, at := range s.Networks {
			fmt.Fprintf(b, "\t\ton %s aliases %s\n", at.Network, strings.Join(orNone(at.Aliases), " "))
		}
		for _, e := range s.Endpoints {
			fmt.Fprintf(b, "\t\tslot %d ready %t local %t", e.Slot, e.Ready, e.Local)
			for _, network := range slices.Sorted(maps.Keys(e.Addresses)) {
				fmt.Fprintf(b, " %s=%s", network, e.Addresses[network])
			}
			b.WriteByte('\n')
		}
	}
	for _, c := range d.Clients {
		fmt.Fprintf(b, "\tclient %s of %s on %s upstreams %s\n", c.Address, c.Deployment, strings.Join(orNone(c.Networks), " "), join(c.Upstreams))
	}
}

// join prints values with blanks between them, or "-".
func join[T fmt.Stringer](values []T) string {
	var parts []string
	for _, v := range values {
		parts = append(parts, fmt.Sprint(v))
	}
	return strings.Join(orNone(parts), " ")
}

func orNone(parts []string) []string {
	if len(parts) == 0 {
		return []string{"-"}
	}
	return parts
}
