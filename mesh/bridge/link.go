package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/moby/moby/client"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// linkState is a network's bridge as the kernel has it.
type linkState struct {
	port
	there     bool
	up        bool
	addressed bool // it has the gateway's address
}

// wrong says what is, "" when nothing is.
func (s *linkState) wrong() string {
	switch {
	case !s.there:
		return "gone"
	case !s.addressed:
		return "without its address"
	case !s.up:
		return "down"
	}
	return ""
}

// readLink looks at a network's bridge. An interface of that name that is no
// bridge is an error.
func readLink(n *Network) (linkState, error) {
	link, err := linkByName(n.Bridge)
	if link == nil || err != nil {
		return linkState{}, err
	}
	if link.Type() != "bridge" {
		return linkState{}, fmt.Errorf("interface %s is a %s and no bridge: remove or rename it", n.Bridge, link.Type())
	}
	attrs := link.Attrs()
	state := linkState{
		port:  port{index: attrs.Index, hardware: attrs.HardwareAddr},
		there: true, up: attrs.Flags&net.FlagUp != 0,
	}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return linkState{}, fmt.Errorf("list addresses of %s: %w", n.Bridge, err)
	}
	for _, a := range addresses {
		state.addressed = state.addressed || prefixOf(a.IPNet) == n.address()
	}
	return state, nil
}

// linkByName returns nil when there is none.
func linkByName(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look at interface %s: %w", name, err)
	}
	return link, nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	address, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(address.Unmap(), ones)
}

func netOf(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// clearLink removes a bridge that no network of this engine has. One with
// something attached is another engine's, and stays.
func clearLink(name string) error {
	link, err := linkByName(name)
	if link == nil || err != nil {
		return err
	}
	if link.Type() != "bridge" {
		return fmt.Errorf("interface %s is a %s and none of the engine's: remove or rename it", name, link.Type())
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	if slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Attrs().MasterIndex == link.Attrs().Index }) {
		return fmt.Errorf("bridge %s is in use, and none of this engine's: remove it", name)
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("remove bridge %s, which was left behind: %w", name, err)
	}
	return nil
}

// mend puts back what the bridge of a network that exists has lost, under its
// containers. reason says why that was not possible.
func (p *pass) mend(ctx context.Context, n *Network, id string) (reason string) {
	link, err := readLink(n)
	if err != nil {
		return err.Error()
	}
	before, known := p.last.ports[n.Bridge]
	if what := link.wrong(); what != "" {
		if err := restore(n, &link, before.hardware); err != nil {
			return fmt.Sprintf("its bridge %s is %s, and is not mended: %v", n.Bridge, what, err)
		}
		p.repaired(fmt.Sprintf("bridge %s of network %s was %s", n.Bridge, n.Name, what))
	}
	// A bridge that was made anew, here or by an engine that found it gone, has
	// none of the containers that run.
	if !known || before.index != link.index {
		back, err := p.attach(ctx, id, link.index)
		if err != nil {
			return fmt.Sprintf("containers are not attached to bridge %s again: %v", n.Bridge, err)
		}
		if back > 0 {
			p.repaired(fmt.Sprintf("bridge %s of network %s had lost %d containers", n.Bridge, n.Name, back))
		}
	}
	p.ready(n, id, link.port)
	return ""
}

func (p *pass) repaired(line string) {
	p.result.Changed = true
	p.result.Repaired = append(p.result.Repaired, line)
	p.logger.Warn("repaired", "what", line)
}

// restore makes a bridge what it was: with the hardware address that containers
// know, so that they need not ask for it, where that is remembered.
func restore(n *Network, state *linkState, hardware net.HardwareAddr) error {
	if !state.there {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = n.Bridge, hardware
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("make it: %w", err)
		}
	}
	link, err := netlink.LinkByName(n.Bridge)
	if err != nil {
		return fmt.Errorf("look at it: %w", err)
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: netOf(n.address()), Broadcast: broadcast(n.Subnet)}); err != nil {
		return fmt.Errorf("give it the address %s: %w", n.address(), err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set it up: %w", err)
	}
	state.port = port{index: link.Attrs().Index, hardware: link.Attrs().HardwareAddr}
	return nil
}

// broadcast is the last address of a prefix, as the engine gives it to a bridge.
func broadcast(p netip.Prefix) net.IP {
	b := p.Masked().Addr().As4()
	for i := range b {
		b[i] |= ^net.CIDRMask(p.Bits(), 32)[i]
	}
	return b[:]
}

// attach makes the running containers of a network ports of its bridge, those
// that are ports of none, and counts them.
func (p *pass) attach(ctx context.Context, id string, bridge int) (back int, err error) {
	seen, err := p.api.NetworkInspect(ctx, id, client.NetworkInspectOptions{})
	if err != nil {
		return 0, fmt.Errorf("ask the engine for them: %w", err)
	}
	var errs []error
	for container, endpoint := range seen.Network.Containers {
		hardware := net.HardwareAddr(endpoint.MacAddress)
		peer, err := p.peerOf(ctx, container, hardware)
		if err == nil && peer != nil && peer.Attrs().MasterIndex == 0 {
			err = netlink.LinkSetMasterByIndex(peer, bridge)
			back++
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", endpoint.Name, err))
		}
	}
	return back, errors.Join(errs...)
}

// peerOf is the host's end of the pair that a container has in a network, which
// is found by its hardware address. nil: the container has ended.
func (p *pass) peerOf(ctx context.Context, container string, hardware net.HardwareAddr) (netlink.Link, error) {
	seen, err := p.api.ContainerInspect(ctx, container, client.ContainerInspectOptions{})
	if err != nil {
		return nil, fmt.Errorf("look at it: %w", err)
	}
	state := seen.Container.State
	if state == nil || state.Pid == 0 || len(hardware) == 0 {
		return nil, nil
	}
	space, err := netns.GetFromPid(state.Pid)
	if err != nil {
		return nil, fmt.Errorf("open its network: %w", err)
	}
	defer func() { _ = space.Close() }()
	inside, err := netlink.NewHandleAt(space)
	if err != nil {
		return nil, fmt.Errorf("look into its network: %w", err)
	}
	defer inside.Close()
	links, err := inside.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list its interfaces: %w", err)
	}
	for _, l := range links {
		if l.Type() == "veth" && slices.Equal(l.Attrs().HardwareAddr, hardware) {
			peer, err := netlink.LinkByIndex(l.Attrs().ParentIndex)
			if err != nil {
				return nil, fmt.Errorf("find the other end of its %s: %w", l.Attrs().Name, err)
			}
			return peer, nil
		}
	}
	return nil, fmt.Errorf("none of its interfaces has the address %s", hardware)
}
