package bridge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The pause before an engine that went away is asked again, doubling.
const (
	reconnectFirst = 100 * time.Millisecond
	reconnectMax   = 2 * time.Second
)

// Watch calls changed when something of the last Set's networks is no longer as
// Set left it (a network was removed, a bridge lost its address, is down or gone),
// when what happens to other networks may help one that waits, and whenever the
// engine answers anew, until ctx ends. An engine that is away is waited for.
// changed must not block. The rules of the packet filter send no events that all
// kernels have: they are looked at by each Set.
func (b *Bridges) Watch(ctx context.Context, changed func()) error {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR)
	if err != nil {
		return fmt.Errorf("watch the bridges: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, socket.Close)()
	defer socket.Close()
	touched := make(chan touch, 1)
	failed := make(chan error, 1)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer socket.Close()
	defer cancel()
	tasks.Go(func() { failed <- receive(socket, touched) })
	tasks.Go(func() { b.follow(ctx, changed) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch the bridges: %w", err)
		case t := <-touched:
			if b.damaged(t) {
				changed()
			}
		}
	}
}

// touch is what events of the kernel were about.
type touch struct {
	all   bool            // some were lost
	links map[int]bool    // by index
	names map[string]bool // of bridges
}

func (t touch) none() bool { return !t.all && len(t.links)+len(t.names) == 0 }

// receive turns messages into touches until the socket is closed. Those that
// nobody took yet are merged.
func receive(socket *nl.NetlinkSocket, touched chan touch) error {
	for {
		messages, from, err := socket.Receive()
		t := touch{links: map[int]bool{}, names: map[string]bool{}}
		switch {
		case errors.Is(err, unix.ENOBUFS):
			t.all = true
		case errors.Is(err, os.ErrClosed):
			return err
		case err != nil:
			return fmt.Errorf("receive events: %w", err)
		case from.Pid != nl.PidKernel:
			continue
		default:
			for i := range messages {
				t.add(&messages[i])
			}
		}
		if t.none() {
			continue
		}
		select {
		case earlier := <-touched:
			t.merge(earlier)
		default:
		}
		touched <- t // this goroutine alone sends: there is room
	}
}

func (t *touch) merge(other touch) {
	t.all = t.all || other.all
	for index := range other.links {
		t.links[index] = true
	}
	for name := range other.names {
		t.names[name] = true
	}
}

// add takes a message in: links by their name, as other interfaces come and go
// with every container, and addresses by the link's index.
func (t *touch) add(m *syscall.NetlinkMessage) {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(m.Data) < unix.SizeofIfInfomsg {
			return
		}
		// Ports of a bridge send messages of the family AF_BRIDGE too.
		if nl.DeserializeIfInfomsg(m.Data).Family != unix.AF_UNSPEC {
			return
		}
		if name := attribute(m.Data[unix.SizeofIfInfomsg:], unix.IFLA_IFNAME); strings.HasPrefix(name, interfacePrefix) {
			t.names[strings.TrimSuffix(name, "\x00")] = true
		}
	case unix.RTM_DELADDR:
		if len(m.Data) >= unix.SizeofIfAddrmsg {
			t.links[int(nl.DeserializeIfAddrmsg(m.Data).Index)] = true
		}
	}
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

// damaged looks whether a bridge that was ready no longer is. It waits for a Set
// that is at work, whose own doing is then found to be right.
func (b *Bridges) damaged(t touch) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.last.config.Networks {
		n := &b.last.config.Networks[i]
		before, ready := b.last.ports[n.Bridge]
		if !ready || !t.all && !t.names[n.Bridge] && !t.links[before.index] {
			continue
		}
		link, err := readLink(n)
		if err != nil || link.wrong() != "" || link.index != before.index {
			return true
		}
	}
	return false
}

// follow reads the engine's events until ctx ends.
func (b *Bridges) follow(ctx context.Context, changed func()) {
	wait := time.Duration(0)
	for ctx.Err() == nil {
		if b.stream(ctx, changed) {
			wait = 0
		}
		wait = min(max(2*wait, reconnectFirst), reconnectMax)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		b.renew()
	}
}

// stream reads events until the engine ends them, and reports whether it had
// answered. Connections of containers matter only to networks that wait for
// their end.
func (b *Bridges) stream(ctx context.Context, changed func()) (answered bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b.mu.Lock()
	api := b.api
	b.mu.Unlock()
	if _, err := api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return false
	}
	filters := client.Filters{}.Add("type", string(events.NetworkEventType)).
		Add("event", string(events.ActionDestroy), string(events.ActionDisconnect))
	stream := api.Events(ctx, client.EventsListOptions{Filters: filters})
	select {
	case err := <-stream.Err:
		b.logger.Debug("no events of the engine", "error", err)
		return false
	default:
	}
	changed() // what happened before is not told
	for {
		select {
		case <-ctx.Done():
			return true
		case err := <-stream.Err:
			b.logger.Debug("the engine's events ended", "error", err)
			return true
		case m := <-stream.Messages:
			if b.concerned(m) {
				changed()
			}
		}
	}
}

// concerned reports whether an event may call for a Set: the end of a network
// that was ready, or anything that may help one that is not. It waits for a Set
// that is at work.
func (b *Bridges) concerned(m events.Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last.unsettled {
		return true
	}
	for _, id := range b.last.ids {
		if m.Action == events.ActionDestroy && id == m.Actor.ID {
			return true
		}
	}
	return false
}
