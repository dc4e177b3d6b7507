package packet

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// TestPackets builds packets and reads them back, checksums included.
func TestPackets(t *testing.T) {
	for _, protocol := range []Protocol{ICMP, TCP, UDP} {
		t.Run(protocol.String(), func(t *testing.T) {
			p := Packet{
				Protocol: protocol, Source: netip.MustParseAddr("10.64.0.19"), Destination: netip.MustParseAddr("10.64.16.35"),
				Port: 7007, Number: 0x1122334455667788,
			}
			data := p.Bytes()
			a := parse(data)
			if a.Protocol != protocol || a.Source != p.Source || a.Destination != p.Destination || a.Number != p.Number || a.Size != len(data) {
				t.Errorf("read back: %s", a)
			}
			if protocol != ICMP && (a.Port != 7007 || a.SourcePort != 40000) {
				t.Errorf("ports: %s", a)
			}
			if got := int(binary.BigEndian.Uint16(data[2:])); got != len(data) {
				t.Errorf("length %d, want %d", got, len(data))
			}
			// A sum over data with a right checksum in it is 0.
			if sum := checksum(data[:ipHeader], 0); sum != 0 {
				t.Errorf("header checksum is off by %#x", sum)
			}
			var pseudo []byte
			if protocol != ICMP {
				pseudo = append(append([]byte{}, data[12:20]...), 0, uint8(protocol))
				pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(data)-ipHeader))
			}
			if sum := checksum(data[ipHeader:], partial(pseudo, 0)); sum != 0 {
				t.Errorf("checksum is off by %#x", sum)
			}
		})
	}
}

// TestNoPacket reads what is none.
func TestNoPacket(t *testing.T) {
	whole := Packet{Protocol: UDP, Source: netip.MustParseAddr("10.64.0.1"), Destination: netip.MustParseAddr("10.64.0.2"), Number: 1}.Bytes()
	for n := range whole {
		if a := parse(whole[:n]); a.Number != 0 {
			t.Errorf("a packet of %d bytes has number %d", n, a.Number)
		}
	}
	for _, data := range [][]byte{nil, make([]byte, 100), {0x4f}, append([]byte{0x41}, make([]byte, 30)...)} {
		if a := parse(data); a.Source.IsValid() {
			t.Errorf("%v: %s", data, a)
		}
	}
}
