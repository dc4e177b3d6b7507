package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// Protocol is IPv4's number of what a packet carries.
type Protocol uint8

// The protocols that packets are made of.
const (
	ICMP Protocol = 1
	TCP  Protocol = 6
	UDP  Protocol = 17
)

// String is the protocol's usual name.
func (p Protocol) String() string {
	switch p {
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return "other"
}

// magic starts every marker; a number of 8 bytes follows.
var magic = []byte("jaco-probe:")

// Marker is what a packet with that number carries.
func Marker(number uint64) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(magic), number)
}

// Number finds a marker's; 0 is none.
func Number(data []byte) uint64 {
	at := bytes.Index(data, magic)
	if at < 0 || len(data) < at+len(magic)+8 {
		return 0
	}
	return binary.BigEndian.Uint64(data[at+len(magic):])
}

// Packet is one packet to send.
type Packet struct {
	Protocol Protocol
	// Source may be any address, whoever sends.
	Source, Destination netip.Addr
	// Port is the destination's, for TCP and UDP; the packet comes from
	// SourcePort, 40000 when that is 0.
	Port, SourcePort uint16
	// Number is carried as a marker; not 0.
	Number uint64
}

const (
	ipHeader  = 20
	tcpHeader = 20
	udpHeader = 8
)

// Bytes is the packet as it goes over the wire (RFC 791, 792, 768, 9293): a UDP
// datagram, an ICMP echo request, or a TCP segment that opens a connection and
// carries its marker already.
func (p Packet) Bytes() []byte {
	payload := Marker(p.Number)
	from := p.SourcePort
	if from == 0 {
		from = 40000
	}
	var body []byte
	switch p.Protocol {
	case ICMP:
		body = append([]byte{8, 0, 0, 0}, 0, 0, 0, 1)
		body = append(body, payload...)
		binary.BigEndian.PutUint16(body[2:], checksum(body, 0))
	case UDP:
		body = make([]byte, udpHeader, udpHeader+len(payload))
		binary.BigEndian.PutUint16(body[4:], uint16(udpHeader+len(payload)))
		body = p.ports(append(body, payload...), from, 6)
	case TCP:
		body = make([]byte, tcpHeader, tcpHeader+len(payload))
		binary.BigEndian.PutUint32(body[4:], uint32(p.Number)) // any sequence number
		body[12], body[13] = tcpHeader/4<<4, 2                 // SYN
		binary.BigEndian.PutUint16(body[14:], 64240)
		body = p.ports(append(body, payload...), from, 16)
	}
	out := make([]byte, ipHeader, ipHeader+len(body))
	out[0], out[8], out[9] = 4<<4|ipHeader/4, 64, uint8(p.Protocol)
	binary.BigEndian.PutUint16(out[2:], uint16(ipHeader+len(body)))
	source, destination := p.Source.As4(), p.Destination.As4()
	copy(out[12:], source[:])
	copy(out[16:], destination[:])
	binary.BigEndian.PutUint16(out[10:], checksum(out, 0))
	return append(out, body...)
}

// ports fills in what TCP and UDP share: ports, and the checksum over the pseudo
// header at that offset.
func (p Packet) ports(body []byte, from uint16, at int) []byte {
	binary.BigEndian.PutUint16(body[0:], from)
	binary.BigEndian.PutUint16(body[2:], p.Port)
	source, destination := p.Source.As4(), p.Destination.As4()
	pseudo := append(source[:], destination[:]...)
	pseudo = append(pseudo, 0, uint8(p.Protocol))
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(body)))
	sum := checksum(body, partial(pseudo, 0))
	if sum == 0 && p.Protocol == UDP {
		sum = 0xffff // 0 says that there is none
	}
	binary.BigEndian.PutUint16(body[at:], sum)
	return body
}

// checksum is the internet checksum (RFC 1071).
func checksum(data []byte, sum uint32) uint16 {
	sum = partial(data, sum)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func partial(data []byte, sum uint32) uint32 {
	for i := 0; i+1 < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	if len(data)%2 == 1 {
		sum += uint32(data[len(data)-1]) << 8
	}
	return sum
}
