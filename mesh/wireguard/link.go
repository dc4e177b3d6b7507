package wireguard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
)

// ensureLink sees to an interface of the right kind and a client for it, and
// says whether it made the interface now. found and result.Mode are brought up
// to date.
func (d *Device) ensureLink(ctx context.Context, config *Config, found *network, result *Result) (made bool, err error) {
	if made, err = d.chooseLink(ctx, config, found, result); err != nil {
		return false, err
	}
	if made {
		if *found, err = readNetwork(d.handle, config.Interface); err != nil {
			return false, err
		}
	}
	result.Mode = d.mode()
	// A client knows the kernel's WireGuard only if that was there when the client
	// was made.
	if made && d.client != nil {
		if err := d.client.Close(); err != nil {
			return false, fmt.Errorf("close WireGuard: %w", err)
		}
		d.client = nil
	}
	if d.client == nil {
		if d.client, err = wgctrl.New(); err != nil {
			return false, fmt.Errorf("open WireGuard: %w", err)
		}
	}
	return made, nil
}

func (d *Device) chooseLink(ctx context.Context, config *Config, found *network, result *Result) (made bool, err error) {
	name := config.Interface
	if d.user != nil && (found.index != d.user.index || d.user.ended() || config.Mode == Kernel) {
		d.user.close()
		d.user = nil
		if *found, err = readNetwork(d.handle, name); err != nil {
			return false, err
		}
	}
	switch {
	case d.user != nil:
		return false, d.user.serve()
	case found.index == 0:
	case found.kind == kindKernel && config.Mode != Userspace:
		return false, nil
	case found.kind == kindKernel:
		if err := deleteLink(d.handle, name); err != nil {
			return false, err
		}
	case found.kind == kindUserspace && config.Mode != Kernel:
		// Somebody's tun. It can be taken over only if nobody works it.
		return true, d.makeUserspace(ctx, config, result)
	default:
		return false, fmt.Errorf("interface %s is there and of kind %q, not JACO's: delete it (ip link del %s), or set wireguard.interface", name, found.kind, name)
	}
	if config.Mode != Userspace {
		err := d.handle.LinkAdd(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: result.MTU}})
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EPERM):
			return false, fmt.Errorf("make interface %s: the right CAP_NET_ADMIN is missing; run as root: %w", name, err)
		case !errors.Is(err, unix.EOPNOTSUPP):
			return false, fmt.Errorf("make interface %s: %w", name, err)
		case config.Mode == Kernel:
			return false, fmt.Errorf("make interface %s: this kernel has no WireGuard (modprobe wireguard; or set wireguard.mode to auto or userspace): %w", name, err)
		}
	}
	return true, d.makeUserspace(ctx, config, result)
}

func (d *Device) makeUserspace(ctx context.Context, config *Config, result *Result) (err error) {
	// It outlives this Set: Close ends it.
	d.user, err = d.startUserspace(context.WithoutCancel(ctx), config.Interface, result.MTU)
	return err
}

func deleteLink(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	var absent netlink.LinkNotFoundError
	if errors.As(err, &absent) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	if err := h.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete interface %s: %w", name, err)
	}
	return nil
}

// setNetwork changes the interface and the routes from what is there to what is
// wanted.
func setNetwork(h *netlink.Handle, want, got *network) (changed bool, err error) {
	link, err := h.LinkByName(want.name)
	if err != nil {
		return false, fmt.Errorf("find interface %s: %w", want.name, err)
	}
	steps := []struct {
		due bool
		do  func() error
	}{
		{!got.forward, func() error { return switchOn(forwardingFile(want.name)) }},
		{got.ipv6, func() error { return switchOn(noIPv6File(want.name)) }},
		{got.mtu != want.mtu, func() error { return h.LinkSetMTU(link, want.mtu) }},
		{true, func() error {
			addressChanged, err := setAddresses(h, link, want, got)
			changed = changed || addressChanged
			return err
		}},
		{!got.up, func() error { return h.LinkSetUp(link) }},
	}
	for _, step := range steps {
		if !step.due {
			continue
		}
		if err := step.do(); err != nil {
			return changed, fmt.Errorf("set up interface %s: %w", want.name, err)
		}
	}
	changed = changed || !got.forward || got.ipv6 || got.mtu != want.mtu || !got.up
	routesChanged, err := setRoutes(h, link.Attrs().Index, want, got)
	return changed || routesChanged, err
}

func setAddresses(h *netlink.Handle, link netlink.Link, want, got *network) (changed bool, err error) {
	present := map[string]bool{}
	for _, a := range got.addresses {
		present[a.String()] = true
	}
	for _, a := range want.addresses {
		if present[a.String()] {
			delete(present, a.String())
			continue
		}
		changed = true
		if err := h.AddrReplace(link, &netlink.Addr{IPNet: ipNet(a)}); err != nil {
			return changed, fmt.Errorf("add address %s: %w", a, err)
		}
	}
	for _, a := range got.addresses {
		if !present[a.String()] {
			continue
		}
		changed = true
		if err := h.AddrDel(link, &netlink.Addr{IPNet: ipNet(a)}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return changed, fmt.Errorf("remove address %s: %w", a, err)
		}
	}
	return changed, nil
}

// setRoutes adds what is missing before it removes what is too much.
func setRoutes(h *netlink.Handle, index int, want, got *network) (changed bool, err error) {
	// An address that came or went took routes along, and a route whose interface
	// was down is not there either: what was read before is old.
	if got.routes, err = readRoutes(h, index); err != nil {
		return false, err
	}
	for prefix, text := range want.routes {
		if got.routes[prefix] == text {
			continue
		}
		changed = true
		r := netlink.Route{Dst: ipNet(prefix), Protocol: RouteProtocol, Table: unix.RT_TABLE_MAIN}
		if text == routeUnreachable {
			r.Type = unix.RTN_UNREACHABLE
		} else {
			r.Type, r.LinkIndex, r.Scope, r.Src = unix.RTN_UNICAST, index, netlink.SCOPE_LINK, want.addresses[0].Addr().AsSlice()
		}
		if err := h.RouteReplace(&r); err != nil {
			return changed, fmt.Errorf("add route %s: %w", prefix, err)
		}
	}
	return changed, removeRoutes(h, index, want, &changed)
}

// removeRoutes takes away the routes of our protocol that are not wanted.
func removeRoutes(h *netlink.Handle, index int, want *network, changed *bool) error {
	routes, err := ownRoutes(h)
	if err != nil {
		return err
	}
	for i := range routes {
		prefix, text := routeText(&routes[i], index)
		if wantText, found := want.routes[prefix]; found && wantText == text {
			continue
		}
		*changed = true
		if err := h.RouteDel(&routes[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route %s: %w", prefix, err)
		}
	}
	return nil
}

// CleanUp takes everything away that a Device ever made for the interface, by
// this process or one before: the interface, its routes and its socket. It is an
// error if another process is at work on it.
func (d *Device) CleanUp(ctx context.Context) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tasks.Wait()
	d.last = nil
	d.watched.Store(nil)
	if err := d.release(); err != nil {
		return fmt.Errorf("clean up mesh interface: %w", err)
	}
	if err := d.open(); err != nil {
		return fmt.Errorf("clean up mesh interface: %w", err)
	}
	defer func() { err = errors.Join(err, d.release()) }()
	if err := removeRoutes(d.handle, 0, &network{}, new(bool)); err != nil {
		return fmt.Errorf("clean up mesh interface: %w", err)
	}
	if d.name == "" {
		return nil
	}
	if err := socketFree(ctx, d.name); err != nil {
		return fmt.Errorf("clean up mesh interface: %w", err)
	}
	found, err := readNetwork(d.handle, d.name)
	if err != nil {
		return fmt.Errorf("clean up mesh interface: %w", err)
	}
	if found.kind == kindKernel || found.kind == kindUserspace {
		if err := deleteLink(d.handle, d.name); err != nil {
			return fmt.Errorf("clean up mesh interface: %w", err)
		}
	}
	// The directory goes with its last socket.
	if err := os.Remove(socketDirectory); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("clean up mesh interface: %w", err)
	}
	return nil
}
