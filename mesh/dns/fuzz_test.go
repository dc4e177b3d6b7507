package dns

import (
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// recorder is a client that keeps the answer.
type recorder struct {
	dns.ResponseWriter
	source net.Addr
	reply  *dns.Msg
}

func (r *recorder) RemoteAddr() net.Addr { return r.source }
func (r *recorder) WriteMsg(m *dns.Msg) error {
	r.reply = m
	return nil
}

// FuzzQuery holds for every packet that parses: an answer to that question, that
// packs, and over UDP is no larger than the client takes.
func FuzzQuery(f *testing.F) {
	seed := func(name string, qtype uint16, edns uint16) {
		m := new(dns.Msg)
		m.SetQuestion(name, qtype)
		if edns > 0 {
			m.SetEdns0(edns, true)
		}
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet, true)
		f.Add(packet, false)
	}
	seed("many.", dns.TypeA, 0)
	seed("_80._tcp.many.shop.", dns.TypeSRV, 512)
	seed("18.0.64.10.in-addr.arpa.", dns.TypePTR, 1232)
	seed(`we\.b\000.`, dns.TypeANY, 65535)
	seed("1.2.3.", dns.TypeAXFR, 1)
	f.Add([]byte("\x00\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"), true)
	s := newTestServer(sample(), forwarded)
	f.Fuzz(func(t *testing.T, packet []byte, udp bool) {
		request := new(dns.Msg)
		if request.Unpack(packet) != nil {
			return // answered by the library
		}
		at := netip.MustParseAddrPort("10.64.0.18:5353")
		r := &recorder{source: net.Addr(net.TCPAddrFromAddrPort(at))}
		limit := dns.MaxMsgSize
		if udp {
			r.source = net.UDPAddrFromAddrPort(at)
			limit = udpLimit(request)
		}
		s.respond(t.Context(), r, request, address("10.64.0.17"))
		if r.reply == nil || r.reply.Id != request.Id || !r.reply.Response {
			t.Fatalf("%v got %v", request, r.reply)
		}
		out, err := r.reply.Pack()
		if err != nil {
			t.Fatalf("%v got what does not pack: %v", request, err)
		}
		if len(out) > limit {
			t.Fatalf("%d bytes, more than %d", len(out), limit)
		}
	})
}
