package wireguard

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Overhead is what a packet grows by on its way: header and tag of WireGuard's
// data message, 32 bytes (WireGuard white paper, 5.4.6), UDP's header, 8, and
// that of IPv6, 40. IPv4 needs 20 less; they are given away, so that a peer may
// move from one to the other, and so that all nodes of a cluster whose links are
// alike agree.
const Overhead = 80

// defaultMTU is what remains of Ethernet, for a host without any route.
const defaultMTU = 1500 - Overhead

// pathMTU is what is left for the mesh of the smallest MTU on the ways to the
// peers, as links and routes state it. What the kernel has learnt by path MTU
// discovery is left out: it expires and comes again, and the interface's MTU
// would go up and down.
func pathMTU(h *netlink.Handle, peers []Peer, ours int) (int, error) {
	links := map[int]int{} // MTU by index
	smallest := 0
	look := func(to netip.Addr) error {
		routes, err := h.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
		if err != nil || len(routes) == 0 {
			// A peer that is out of reach now says nothing of the MTU.
			return nil //nolint:nilerr // see above
		}
		for _, index := range exits(&routes[0]) {
			if index == ours {
				continue
			}
			if _, known := links[index]; !known {
				link, err := h.LinkByIndex(index)
				var gone netlink.LinkNotFoundError
				if errors.As(err, &gone) {
					continue
				}
				if err != nil {
					return fmt.Errorf("read interface %d: %w", index, err)
				}
				links[index] = link.Attrs().MTU
			}
			for _, mtu := range []int{links[index], routes[0].MTU} {
				if mtu > 0 && (smallest == 0 || mtu < smallest) {
					smallest = mtu
				}
			}
		}
		return nil
	}
	seen := map[netip.Addr]bool{}
	for _, p := range peers {
		if address := p.Endpoint.Addr(); address.IsValid() && !seen[address] {
			seen[address] = true
			if err := look(address); err != nil {
				return 0, err
			}
		}
	}
	if smallest == 0 {
		// No peers yet: the default way. Any public address finds it.
		if err := look(netip.AddrFrom4([4]byte{192, 0, 2, 1})); err != nil {
			return 0, err
		}
	}
	if smallest == 0 {
		return defaultMTU, nil
	}
	return min(max(smallest-Overhead, minMTU), maxMTU), nil
}

// exits are the interfaces that a route leaves by.
func exits(r *netlink.Route) []int {
	var indexes []int
	if r.LinkIndex != 0 {
		indexes = append(indexes, r.LinkIndex)
	}
	for _, hop := range r.MultiPath {
		indexes = append(indexes, hop.LinkIndex)
	}
	return indexes
}
