package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jaco-sh/jaco/mesh/wireguard"
)

// bridgePrefix begins the names of the mesh's bridges.
const bridgePrefix = "jb"

// defaultBits is how long a prefix may be and still stand for "everywhere
// else": some VPNs replace the default route by its two halves.
const defaultBits = 1

// routeConflicts names the routes of this host that share addresses with a
// pool, as in "10.64.0.0/16 via eth0": either the mesh would take those
// addresses away from where they are now, or they from the mesh. The mesh's own
// routes are none of them.
func routeConflicts(pool netip.Prefix) ([]string, error) {
	routes, err := hostRoutes()
	if err != nil {
		return nil, err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var conflicts []string
	for i := range routes {
		if text := conflict(&routes[i], pool.Masked(), names); text != "" {
			conflicts = append(conflicts, text)
		}
	}
	slices.Sort(conflicts)
	return slices.Compact(conflicts), nil
}

// hostRoutes lists the IPv4 routes of all tables.
func hostRoutes() ([]netlink.Route, error) {
	var routes []netlink.Route
	var err error
	// The kernel says when the tables changed under the dump.
	for range 5 {
		routes, err = netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}

// conflict names a route if it is in the way of a pool.
func conflict(r *netlink.Route, pool netip.Prefix, names map[int]string) string {
	if r.Dst == nil || r.Table == unix.RT_TABLE_LOCAL || r.Protocol == wireguard.RouteProtocol {
		return ""
	}
	address, _ := netip.AddrFromSlice(r.Dst.IP)
	bits, _ := r.Dst.Mask.Size()
	prefix := netip.PrefixFrom(address.Unmap(), bits)
	if bits <= defaultBits || !prefix.Overlaps(pool) {
		return ""
	}
	how := exit(r, names)
	switch r.Type {
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
		// It leads nowhere, and the mesh's routes are more specific.
		if bits <= pool.Bits() {
			return ""
		}
		how = "to nowhere"
	case unix.RTN_UNICAST:
		if strings.HasPrefix(names[r.LinkIndex], bridgePrefix) {
			return ""
		}
	}
	text := prefix.String() + " " + how
	if r.Table != unix.RT_TABLE_MAIN {
		text += fmt.Sprintf(" in table %d", r.Table)
	}
	return text
}

// exit says by which interfaces a route leaves.
func exit(r *netlink.Route, names map[int]string) string {
	indexes := []int{r.LinkIndex}
	if len(r.MultiPath) > 0 {
		indexes = nil
		for _, hop := range r.MultiPath {
			indexes = append(indexes, hop.LinkIndex)
		}
	}
	var texts []string
	for _, index := range indexes {
		name := names[index]
		if name == "" {
			name = fmt.Sprintf("interface %d", index)
		}
		texts = append(texts, name)
	}
	return "via " + strings.Join(texts, " and ")
}
