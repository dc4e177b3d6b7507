package wireguard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
)

// RouteProtocol marks JACO's routes (rtm_protocol of linux/rtnetlink.h: from 5 on
// it is for user space; 74 is in no list of iproute2's rt_protos). Never
// renumber: routes of earlier versions would stay behind.
const RouteProtocol = 74

// network is what the kernel's network stack has of the interface.
type network struct {
	name    string
	index   int // 0: there is no such interface
	kind    string
	up      bool
	mtu     int
	forward bool // forwarding of IPv4
	ipv6    bool
	// addresses are those of IPv4.
	addresses []netip.Prefix
	// routes are those of our protocol in the main table, as text that says all
	// that matters of one: "10.64.16.0/20 via the mesh".
	routes map[netip.Prefix]string
}

// The texts of routes, after their prefix.
const (
	routeUnreachable = "unreachable"
	routeMesh        = "from " // and the mesh address
)

// tunnel is what WireGuard itself has of the interface.
type tunnel struct {
	key   Key // public
	port  int
	peers map[Key]tunnelPeer
}

// tunnelPeer is a peer without what changes by itself.
type tunnelPeer struct {
	name      string // not compared
	allowed   []netip.Prefix
	keepalive time.Duration
}

// wanted is what a Config asks for on an interface with this MTU.
func wanted(c *Config, kind string, mtu int) (network, tunnel) {
	n := network{
		name: c.Interface, kind: kind, up: true, mtu: mtu, forward: true,
		addresses: []netip.Prefix{netip.PrefixFrom(c.Address, c.Address.BitLen())},
		routes:    map[netip.Prefix]string{},
	}
	t := tunnel{key: c.PrivateKey.Public(), port: c.Port, peers: map[Key]tunnelPeer{}}
	if c.Pool.IsValid() {
		n.routes[c.Pool.Masked()] = routeUnreachable
	}
	for _, p := range c.Peers {
		allowed := slices.Clone(p.Allowed)
		slices.SortFunc(allowed, netip.Prefix.Compare)
		allowed = slices.Compact(allowed)
		t.peers[p.PublicKey] = tunnelPeer{name: p.Name, allowed: allowed, keepalive: p.Keepalive}
		for _, prefix := range allowed {
			n.routes[prefix] = routeMesh + c.Address.String()
		}
	}
	return n, t
}

// readNetwork reads what is there under a name.
func readNetwork(h *netlink.Handle, name string) (network, error) {
	n := network{name: name}
	link, err := h.LinkByName(name)
	var absent netlink.LinkNotFoundError
	if err != nil && !errors.As(err, &absent) {
		return n, fmt.Errorf("read interface %s: %w", name, err)
	}
	if err == nil {
		n.index, n.kind, n.mtu, n.up = link.Attrs().Index, kindOf(link), link.Attrs().MTU, link.Attrs().Flags&net.FlagUp != 0
		if err := n.readAddresses(h, link); err != nil {
			return n, err
		}
		if n.forward, err = readSetting(forwardingFile(name)); err != nil {
			return n, err
		}
		off, err := readSetting(noIPv6File(name))
		if err != nil {
			return n, err
		}
		n.ipv6 = !off
	}
	n.routes, err = readRoutes(h, n.index)
	return n, err
}

// readRoutes reads the routes of our protocol in the form of network.routes.
func readRoutes(h *netlink.Handle, ours int) (map[netip.Prefix]string, error) {
	all, err := ownRoutes(h)
	if err != nil {
		return nil, err
	}
	routes := make(map[netip.Prefix]string, len(all))
	for i := range all {
		prefix, text := routeText(&all[i], ours)
		if _, twice := routes[prefix]; twice {
			text = "there twice"
		}
		routes[prefix] = text
	}
	return routes, nil
}

func (n *network) readAddresses(h *netlink.Handle, link netlink.Link) error {
	addresses, err := h.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("read addresses of %s: %w", n.name, err)
	}
	for _, a := range addresses {
		n.addresses = append(n.addresses, prefixOf(a.IPNet))
	}
	slices.SortFunc(n.addresses, netip.Prefix.Compare)
	return nil
}

// Kinds of interface that can carry WireGuard (IFLA_INFO_KIND).
const (
	kindKernel    = "wireguard"
	kindUserspace = "tun"
)

func kindOf(link netlink.Link) string {
	if _, ok := link.(*netlink.Tuntap); ok {
		return kindUserspace
	}
	return link.Type()
}

// ownRoutes lists the routes that carry our protocol.
func ownRoutes(h *netlink.Handle) ([]netlink.Route, error) {
	var routes []netlink.Route
	var err error
	// The kernel says when the table changed under the dump.
	for range 5 {
		routes, err = h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: RouteProtocol, Table: unix.RT_TABLE_MAIN},
			netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	return slices.DeleteFunc(routes, func(r netlink.Route) bool { return r.Protocol != RouteProtocol || r.Table != unix.RT_TABLE_MAIN }), nil
}

// routeText names a route of our protocol in the form of network.routes.
func routeText(r *netlink.Route, ours int) (netip.Prefix, string) {
	prefix := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if r.Dst != nil {
		prefix = prefixOf(r.Dst)
	}
	switch {
	case r.Priority != 0:
		return prefix, "with metric " + strconv.Itoa(r.Priority)
	case r.Type == unix.RTN_UNREACHABLE:
		return prefix, routeUnreachable
	case ours != 0 && r.LinkIndex == ours && r.Type == unix.RTN_UNICAST && r.Gw == nil && r.Scope == netlink.SCOPE_LINK:
		return prefix, routeMesh + r.Src.String()
	}
	return prefix, "another way"
}

func prefixOf(n *net.IPNet) netip.Prefix {
	address, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(address.Unmap(), ones)
}

// ipNet is the inverse of prefixOf.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// readTunnel asks WireGuard. It is empty when nobody answers for the interface.
func readTunnel(client *wgctrl.Client, name string) (tunnel, error) {
	t := tunnel{peers: map[Key]tunnelPeer{}}
	device, err := client.Device(name)
	if errors.Is(err, os.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return t, fmt.Errorf("read WireGuard of %s: %w", name, err)
	}
	if device.PrivateKey != [32]byte{} {
		t.key = Key(device.PublicKey)
	}
	t.port = device.ListenPort
	for _, p := range device.Peers {
		allowed := make([]netip.Prefix, 0, len(p.AllowedIPs))
		for i := range p.AllowedIPs {
			allowed = append(allowed, prefixOf(&p.AllowedIPs[i]))
		}
		slices.SortFunc(allowed, netip.Prefix.Compare)
		t.peers[Key(p.PublicKey)] = tunnelPeer{allowed: allowed, keepalive: p.PersistentKeepaliveInterval}
	}
	return t, nil
}

// differences says, for people, how what is there differs from what is wanted.
func (n *network) differences(got *network) []string {
	if got.index == 0 {
		return []string{"interface " + n.name + " was gone"}
	}
	if got.kind != n.kind {
		return []string{fmt.Sprintf("interface %s was of kind %s, not %s", n.name, got.kind, n.kind)}
	}
	var lines []string
	if !got.up {
		lines = append(lines, "interface "+n.name+" was down")
	}
	if got.mtu != n.mtu {
		lines = append(lines, fmt.Sprintf("mtu of %s was %d, not %d", n.name, got.mtu, n.mtu))
	}
	if got.forward != n.forward {
		lines = append(lines, "forwarding of "+n.name+" was off")
	}
	if got.ipv6 != n.ipv6 {
		lines = append(lines, "ipv6 of "+n.name+" was on")
	}
	for _, a := range n.addresses {
		if !slices.Contains(got.addresses, a) {
			lines = append(lines, fmt.Sprintf("address %s of %s was missing", a, n.name))
		}
	}
	for _, a := range got.addresses {
		if !slices.Contains(n.addresses, a) {
			lines = append(lines, fmt.Sprintf("address %s of %s was there", a, n.name))
		}
	}
	return append(lines, n.routeDifferences(got)...)
}

func (n *network) routeDifferences(got *network) []string {
	var lines []string
	for prefix, want := range n.routes {
		switch have, found := got.routes[prefix]; {
		case !found:
			lines = append(lines, fmt.Sprintf("route %s was missing", prefix))
		case have != want:
			lines = append(lines, fmt.Sprintf("route %s was %q, not %q", prefix, have, want))
		}
	}
	for prefix := range got.routes {
		if _, found := n.routes[prefix]; !found {
			lines = append(lines, fmt.Sprintf("route %s was there", prefix))
		}
	}
	slices.Sort(lines)
	return lines
}

// differences says, for people, how what is there differs from what is wanted.
func (t *tunnel) differences(got *tunnel) []string {
	var lines []string
	if got.key != t.key {
		lines = append(lines, "the key was another")
	}
	if got.port != t.port {
		lines = append(lines, fmt.Sprintf("the port was %d, not %d", got.port, t.port))
	}
	for key, want := range t.peers {
		have, found := got.peers[key]
		switch {
		case !found:
			lines = append(lines, "peer "+want.name+" was missing")
		case !slices.Equal(have.allowed, want.allowed):
			lines = append(lines, fmt.Sprintf("peer %s had the addresses %s, not %s", want.name, join(have.allowed), join(want.allowed)))
		case have.keepalive != want.keepalive:
			lines = append(lines, fmt.Sprintf("peer %s had the keepalive %s, not %s", want.name, have.keepalive, want.keepalive))
		}
	}
	for key := range got.peers {
		if _, found := t.peers[key]; !found {
			lines = append(lines, fmt.Sprintf("peer %s was there", key))
		}
	}
	slices.Sort(lines)
	return lines
}

func join(prefixes []netip.Prefix) string {
	if len(prefixes) == 0 {
		return "(none)"
	}
	texts := make([]string, len(prefixes))
	for i, p := range prefixes {
		texts[i] = p.String()
	}
	return strings.Join(texts, " ")
}
