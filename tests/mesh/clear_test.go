package mesh

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/rig/packet"
	"github.com/jaco-sh/jaco/tests/stage/reach"
)

const (
	wireGuardPort = 51820
	controlPort   = 7000

	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
)

// seen is what a tap told.
type seen struct {
	mu     sync.Mutex // guards the fields below
	plain  int        // packets with a container's payload that can be read
	mesh   int        // of WireGuard
	other  map[string]int
	sample []byte
}

// inTheClear watches the LAN while all containers talk: there is WireGuard, the
// control port's TLS and git over ssh, and nothing that a container said. The
// same watch on a node's own side of the mesh does find it.
func inTheClear(f *trial) {
	lan, inside := &seen{other: map[string]int{}}, &seen{other: map[string]int{}}
	f.Deploy(map[string]string{"cluster.yaml": "sync: {interval: 5s}\n"}) // git is polled meanwhile
	taps := []*packet.Tap{
		rig.Must[*packet.Tap](f.t)(packet.Listen(f.Rig.LAN.NetNS, lan.take(f.gitPort()))),
		rig.Must[*packet.Tap](f.t)(packet.Listen(f.Rig.Node().NetNS, inside.take(0))),
	}
	f.Check(reach.All(f.t.Context(), f.Endpoints()))
	f.Deploy(shop(7))
	f.Settle(settleTime)
	f.Check(reach.All(f.t.Context(), f.Endpoints()))
	for _, tap := range taps {
		if err := tap.Close(); err != nil {
			f.t.Logf("%v", err) // what was seen is judged all the same
		}
	}
	f.t.Logf("the LAN has seen %d packets of WireGuard; a node %d with payload", lan.mesh, inside.plain)
	if inside.plain == 0 || lan.mesh == 0 {
		f.t.Error("the taps see nothing: the test proves nothing")
	}
	if lan.plain > 0 {
		f.t.Errorf("%d packets on the LAN hold a container's payload, one of them:\n%q", lan.plain, lan.sample)
	}
	for what, n := range lan.other {
		f.t.Errorf("%d packets on the LAN that are neither mesh nor control nor git: %s", n, what)
	}
	f.Deploy(shop(6))
	f.Settle(settleTime)
}

// gitPort is where the repository is served in the LAN.
func (f *trial) gitPort() uint16 { return f.Port(f.RepositoryURL()) }

func (s *seen) take(git uint16) func(packet.Arrival) {
	return func(a packet.Arrival) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if bytes.Contains(a.Data, []byte(reach.Plaintext)) {
			s.plain++
			s.sample = bytes.Clone(a.Data[:min(len(a.Data), 200)])
		}
		switch {
		case a.EtherType == etherARP:
		case a.EtherType == etherIPv6 && len(a.Data) > 40 && (a.Data[6] == 58 || a.Data[6] == 0): // neighbours, groups
		case a.EtherType != etherIPv4:
			s.other[fmt.Sprintf("ethertype %#x", a.EtherType)]++
		case a.Protocol == packet.UDP && (a.Port == wireGuardPort || a.SourcePort == wireGuardPort):
			s.mesh++
		case a.Protocol == packet.TCP && (a.Port == controlPort || a.SourcePort == controlPort):
			if !isTLS(a.Data) {
				s.other[fmt.Sprintf("control port without TLS: %q", a.Data[:min(len(a.Data), 80)])]++
			}
		case a.Protocol == packet.TCP && (a.Port == git || a.SourcePort == git):
		default:
			s.other[fmt.Sprintf("%s %s > %s:%d", a.Protocol, a.Source, a.Destination, a.Port)]++
		}
	}
}

// isTLS looks at a segment's payload: one that begins a record says so (RFC 8446,
// 5.1), others go on with bytes that nobody can tell from noise, so that only
// readable text is held against them.
func isTLS(data []byte) bool {
	header := int(data[0]&15) * 4
	if len(data) < header+20 {
		return true
	}
	payload := data[header+int(data[header+12]>>4)*4:]
	if len(payload) < 16 || payload[0] >= 20 && payload[0] <= 23 && payload[1] == 3 {
		return true
	}
	readable := 0
	for _, b := range payload {
		if b >= ' ' && b < 127 {
			readable++
		}
	}
	return readable*100 < len(payload)*80
}
