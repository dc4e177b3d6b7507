package rig_test

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/rig/packet"
)

// TestHoldTable keeps a table from everybody, and gives it back.
func TestHoldTable(t *testing.T) {
	ctx := t.Context()
	r := rig.Start(t, rig.Config{NoEngine: true})
	node := r.Node()
	nft := func(command string) (string, error) { return node.Run(ctx, "nft", strings.Fields(command)...) }
	for _, command := range []string{"add table inet held", "add chain inet held input"} {
		if _, err := nft(command); err != nil {
			t.Fatal(err)
		}
	}
	held, err := node.HoldTable(ctx, "held")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := nft("list table inet held"); err != nil || strings.Contains(out, "input") {
		t.Errorf("the table is not empty: %v\n%s", err, out)
	}
	for _, command := range []string{"add chain inet held input", "delete table inet held"} {
		if _, err := nft(command); err == nil {
			t.Errorf("nft %s was done", command)
		}
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 5*time.Second, "the table to be free", func(context.Context) (bool, string) {
		out, err := nft("add chain inet free input")
		_, err2 := nft("add table inet held")
		return err != nil && err2 == nil, out
	})
}

// TestTap sends over the LAN what no stack would, and sees it arrive.
func TestTap(t *testing.T) {
	r := rig.Start(t, rig.Config{Nodes: 2, NoEngine: true})
	var mu sync.Mutex
	seen := map[uint64]packet.Arrival{}
	tap, err := packet.Listen(r.Nodes[1].NetNS, func(a packet.Arrival) {
		mu.Lock()
		defer mu.Unlock()
		if a.Number != 0 {
			a.Data = nil
			seen[a.Number] = a
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	routed := rig.Must[*packet.Sender](t)(packet.Open(r.Nodes[0].NetNS))
	link := rig.Must[*packet.Sender](t)(packet.OpenLink(r.LAN.NetNS, "br0"))
	hardware, err := r.Nodes[1].Hardware()
	if err != nil {
		t.Fatal(err)
	}
	forged := netip.MustParseAddr("10.99.0.1")
	number := uint64(0)
	for _, protocol := range []packet.Protocol{packet.ICMP, packet.TCP, packet.UDP} {
		number++
		if err := routed.Send(packet.Packet{Protocol: protocol, Source: forged, Destination: r.Nodes[1].Address, Port: 9, Number: number}); err != nil {
			t.Error(err)
		}
		number++
		if err := link.SendTo(hardware, packet.Packet{Protocol: protocol, Source: forged, Destination: forged.Next(), Port: 9, Number: number}); err != nil {
			t.Error(err)
		}
	}
	rig.Eventually(t, 5*time.Second, "all packets", func(context.Context) (bool, string) {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) == int(number), ""
	})
	for n, a := range seen {
		if a.Source != forged || time.Since(a.At) > time.Minute {
			t.Errorf("packet %d: %s", n, a)
		}
	}
	for _, close := range []func() error{tap.Close, routed.Close, link.Close} {
		if err := close(); err != nil {
			t.Error(err)
		}
	}
}

// TestBlockUDP cuts two nodes off from each other for UDP, and for that alone.
func TestBlockUDP(t *testing.T) {
	ctx := t.Context()
	r := rig.Start(t, rig.Config{Nodes: 3, NoEngine: true})
	arrives := func(protocol packet.Protocol, from, to *rig.Node) bool {
		t.Helper()
		came := make(chan struct{}, 16)
		tap := rig.Must[*packet.Tap](t)(packet.Listen(to.NetNS, func(a packet.Arrival) {
			if a.Number == 7 && a.Protocol == protocol {
				came <- struct{}{}
			}
		}))
		defer func() { _ = tap.Close() }()
		s := rig.Must[*packet.Sender](t)(packet.Open(from.NetNS))
		defer func() { _ = s.Close() }()
		deadline := time.After(time.Second)
		for {
			if err := s.Send(packet.Packet{Protocol: protocol, Source: from.Address, Destination: to.Address, Port: 9, Number: 7}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-came:
				return true
			case <-deadline:
				return false
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	a, b, other := r.Nodes[0], r.Nodes[1], r.Nodes[2]
	if err := r.BlockUDP(ctx, a, b); err != nil {
		t.Fatal(err)
	}
	if arrives(packet.UDP, a, b) || arrives(packet.UDP, b, a) || !arrives(packet.TCP, a, b) || !arrives(packet.UDP, a, other) || !arrives(packet.UDP, other, b) {
		t.Error("the wrong packets are dropped")
	}
	if err := r.Heal(ctx); err != nil {
		t.Fatal(err)
	}
	if !arrives(packet.UDP, a, b) {
		t.Error("dropped after Heal")
	}
	if err := a.Readdress(ctx, a.SpareAddress()); err != nil {
		t.Fatal(err)
	}
	if out, err := a.Run(ctx, "ip", "-br", "addr", "show", "eth0"); err != nil || !strings.Contains(out, a.SpareAddress().String()) || strings.Contains(out, a.Address.String()+"/") {
		t.Errorf("addresses: %v\n%s", err, out)
	}
}
