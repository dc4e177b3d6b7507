package wireguard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// watched is what an event is compared with to see whether it can matter. It is
// never changed once it is made.
type watched struct {
	name   string
	index  int
	routes map[netip.Prefix]bool
}

func newWatched(n *network) *watched {
	w := &watched{name: n.name, index: n.index, routes: make(map[netip.Prefix]bool, len(n.routes))}
	for prefix := range n.routes {
		w.routes[prefix] = true
	}
	return w
}

// Room for events, bytes: a thousand routes that go at once.
const watchBuffer = 4 << 20

// Watch calls changed when the interface, its addresses or its routes are not
// as the last Set left them, until ctx ends. It compares before it calls: events
// of a Set itself are no reason. changed must not block; it may be called again
// before the repair.
func (d *Device) Watch(ctx context.Context, changed func()) error {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE)
	if err != nil {
		return fmt.Errorf("watch the mesh interface: %w", err)
	}
	defer socket.Close()
	if err := socket.SetReceiveBufferSize(watchBuffer, true); err != nil {
		d.logger.Warn("the mesh's event buffer is small: the right CAP_NET_ADMIN is missing", "error", err)
	}
	events := make(chan struct{}, 1)
	failed := make(chan error, 1)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer context.AfterFunc(ctx, socket.Close)()
	tasks.Go(func() { failed <- d.receive(socket, events) })
	for {
		select {
		case <-ctx.Done():
			socket.Close()
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch the mesh interface: %w", err)
		case <-events:
			d.judge(changed)
		}
	}
}

// receive tells of events that can matter, until the socket is closed. Those
// that come before the last was taken are told with it.
func (d *Device) receive(socket *nl.NetlinkSocket, events chan<- struct{}) error {
	for {
		messages, from, err := socket.Receive()
		var matters bool
		switch {
		case errors.Is(err, unix.ENOBUFS):
			matters = true // something was lost
		case errors.Is(err, os.ErrClosed):
			return err
		case err != nil:
			return fmt.Errorf("receive events: %w", err)
		case from.Pid != nl.PidKernel:
			continue
		default:
			w := d.watched.Load()
			for i := range messages {
				matters = matters || w.concerns(&messages[i])
			}
		}
		if !matters {
			continue
		}
		select {
		case events <- struct{}{}:
		default:
		}
	}
}

// concerns says whether a message is about what is watched. Before the first
// Set nothing is.
func (w *watched) concerns(m *syscall.NetlinkMessage) bool {
	if w == nil {
		return false
	}
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(m.Data) < unix.SizeofIfInfomsg {
			return false
		}
		info := nl.DeserializeIfInfomsg(m.Data)
		return int(info.Index) == w.index || attribute(m.Data[unix.SizeofIfInfomsg:], unix.IFLA_IFNAME) == w.name+"\x00"
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return len(m.Data) >= unix.SizeofIfAddrmsg && int(nl.DeserializeIfAddrmsg(m.Data).Index) == w.index
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return w.concernsRoute(m.Data)
	}
	return false
}

// concernsRoute also sees another's route that took the place of ours.
func (w *watched) concernsRoute(data []byte) bool {
	if len(data) < unix.SizeofRtMsg {
		return false
	}
	message := nl.DeserializeRtMsg(data)
	if message.Protocol == RouteProtocol {
		return true
	}
	attributes := data[unix.SizeofRtMsg:]
	if out := attribute(attributes, unix.RTA_OIF); len(out) == 4 && int(binary.NativeEndian.Uint32([]byte(out))) == w.index {
		return true
	}
	address, ok := netip.AddrFromSlice([]byte(attribute(attributes, unix.RTA_DST)))
	return ok && w.routes[netip.PrefixFrom(address, int(message.Dst_len))]
}

// attribute finds a netlink attribute; "" when there is none.
func attribute(data []byte, kind uint16) string {
	attributes, err := nl.ParseRouteAttr(data)
	if err != nil {
		return ""
	}
	for _, a := range attributes {
		if a.Attr.Type == kind {
			return string(a.Value)
		}
	}
	return ""
}

// judge looks whether something is wrong. It waits for a Set that is at work.
func (d *Device) judge(changed func()) {
	d.mu.Lock()
	lines, err := d.compare()
	d.mu.Unlock()
	if err != nil {
		d.logger.Warn("the mesh interface could not be compared; it is set again", "error", err)
	}
	if err != nil || len(lines) > 0 {
		changed()
	}
}

// compare holds what is there against the last Set. The caller holds the lock.
func (d *Device) compare() ([]string, error) {
	if d.last == nil {
		return nil, nil
	}
	got, err := readNetwork(d.handle, d.name)
	if err != nil {
		return nil, err
	}
	return d.last.network.differences(&got), nil
}
