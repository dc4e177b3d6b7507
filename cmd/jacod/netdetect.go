package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sort"
	"strings"
)

// errNoPrivateAddress is returned when a host has no address that can be
// advertised without being asked.
var errNoPrivateAddress = errors.New("no private address found; set advertise_address in the configuration " +
	"(a public one is never chosen by itself: the control port and the mesh would face the internet)")

// hostAddress is one address of one interface that is up.
type hostAddress struct {
	Interface string
	Address   netip.Addr
}

// hostAddresses lists the addresses of the interfaces that are up.
func hostAddresses() ([]hostAddress, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var found []hostAddress
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", i.Name, err)
		}
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				found = append(found, hostAddress{i.Name, prefix.Addr()})
			}
		}
	}
	return found, nil
}

// containerInterfaces are made by engines and by JACO itself: their addresses
// are private, and reach no other node.
var containerInterfaces = []string{"docker", "br-", "veth", "jaco", "virbr", "cni", "podman", "wg", "tailscale"}

// chooseAddress picks the address to advertise: IPv4 before IPv6, then by
// interface name; only private ones (RFC 1918, RFC 4193).
func chooseAddress(addresses []hostAddress) (netip.Addr, error) {
	candidates := make([]hostAddress, 0, len(addresses))
	for _, a := range addresses {
		if !a.Address.IsPrivate() || ofContainers(a.Interface) {
			continue
		}
		candidates = append(candidates, a)
	}
	if len(candidates) == 0 {
		return netip.Addr{}, errNoPrivateAddress
	}
	sort.SliceStable(candidates, func(i, j int) bool {
		a, b := candidates[i], candidates[j]
		if a.Address.Is4() != b.Address.Is4() {
			return a.Address.Is4()
		}
		if a.Interface != b.Interface {
			return a.Interface < b.Interface
		}
		return a.Address.Less(b.Address)
	})
	return candidates[0].Address, nil
}

func ofContainers(name string) bool {
	for _, prefix := range containerInterfaces {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
