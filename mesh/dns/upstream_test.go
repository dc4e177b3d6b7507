package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// startUpstream is a resolver on the loopback that answers everything with a
// TXT record of the size that the name begins with, and cuts it over UDP as
// resolvers do.
func startUpstream(t *testing.T, at netip.AddrPort) (stop func()) {
	t.Helper()
	packets, err := net.ListenPacket("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		size := 0
		_, _ = fmt.Sscanf(m.Question[0].Name, "n%d.", &size)
		reply := new(dns.Msg)
		reply.SetReply(m)
		for size > 0 {
			part := min(size, 200)
			reply.Answer = append(reply.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{strings.Repeat("x", part)}})
			size -= part
		}
		if _, ok := w.RemoteAddr().(*net.UDPAddr); ok {
			reply.Truncate(udpLimit(m))
		}
		_ = w.WriteMsg(reply)
	})
	servers := []*dns.Server{{PacketConn: packets, Handler: answer}, {Listener: stream, Handler: answer}}
	var running sync.WaitGroup
	for _, server := range servers {
		up := make(chan struct{})
		server.NotifyStartedFunc = func() { close(up) }
		running.Go(func() {
			if err := server.ActivateAndServe(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
		<-up
	}
	stop = sync.OnceFunc(func() {
		for _, server := range servers {
			if err := server.Shutdown(); err != nil {
				t.Error(err)
			}
		}
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// TestForwardOverSockets asks a real resolver through the server: short and long
// answers, over both protocols, with and without EDNS, and while it is down.
func TestForwardOverSockets(t *testing.T) {
	port := freePort(t)
	upstream := netip.AddrPortFrom(address("127.5.8.1"), freePort(t))
	stop := startUpstream(t, upstream)
	s := New(Options{Port: port})
	c := local()
	c.Upstreams = []netip.AddrPort{upstream}
	s.Set(c)
	start(t, s)
	until(t, "both listen", serving(s, "127.5.0.1", "127.5.1.1"))
	ask := func(protocol string, size int, edns uint16) *dns.Msg {
		m := new(dns.Msg)
		m.SetQuestion(fmt.Sprintf("n%d.example.", size), dns.TypeTXT)
		if edns > 0 {
			m.SetEdns0(edns, false)
		}
		reply, err := query(protocol, "127.5.9.9", netip.AddrPortFrom(address("127.5.0.1"), port), m)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	for _, test := range []struct {
		protocol string
		size     int
		edns     uint16
		cut      bool
	}{
		{"udp", 200, 0, false},
		{"udp", 1000, 0, true},
		{"udp", 1000, 512, true},
		{"udp", 800, 1232, false},
		{"udp", 2000, 4096, true},
		{"udp", 20000, 4096, true}, // more than we send over UDP, whatever the client says
		{"tcp", 1000, 0, false},
		{"tcp", 20000, 0, false},
		{"tcp", 20000, 1232, false},
	} {
		reply := ask(test.protocol, test.size, test.edns)
		got := 0
		for _, rr := range reply.Answer {
			got += len(rr.(*dns.TXT).Txt[0])
		}
		if reply.Truncated != test.cut || (got == test.size) == test.cut || (reply.IsEdns0() != nil) != (test.edns > 0) || reply.Rcode != dns.RcodeSuccess {
			t.Errorf("%+v: %d bytes, cut is %v", test, got, reply.Truncated)
		}
	}
	stop()
	begin := time.Now()
	if reply := ask("udp", 11, 0); reply.Rcode != dns.RcodeServerFailure || time.Since(begin) > firstTry/2 {
		t.Errorf("with a closed port %v after %s", reply, time.Since(begin))
	}
	startUpstream(t, upstream)
	if reply := ask("udp", 11, 0); reply.Rcode != dns.RcodeSuccess {
		t.Errorf("after it is back %v", reply)
	}
}

// TestForgedAnswers holds that what is no answer to the question is passed over,
// and that the right one still counts.
func TestForgedAnswers(t *testing.T) {
	upstream, err := net.ListenPacket("udp", "127.5.8.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	var answering sync.WaitGroup
	answering.Go(func() {
		buffer := make([]byte, 1500)
		n, from, err := upstream.ReadFrom(buffer)
		m := new(dns.Msg)
		if err != nil || m.Unpack(buffer[:n]) != nil {
			t.Errorf("asked %x, %v", buffer[:n], err)
			return
		}
		send := func(edit func(*dns.Msg)) {
			reply := new(dns.Msg)
			reply.SetReply(m)
			reply.Rcode = dns.RcodeNameError
			edit(reply)
			packet, err := reply.Pack()
			if err != nil {
				t.Error(err)
			}
			if _, err := upstream.WriteTo(packet, from); err != nil {
				t.Error(err)
			}
		}
		send(func(reply *dns.Msg) { reply.Id++ })
		send(func(reply *dns.Msg) { reply.Question[0].Name = "other.example." })
		send(func(reply *dns.Msg) { reply.Question[0].Qtype = dns.TypeMX })
		send(func(reply *dns.Msg) { reply.Question = nil })
		send(func(reply *dns.Msg) { reply.Response = false })
		if _, err := upstream.WriteTo([]byte("nonsense, longer than a header"), from); err != nil {
			t.Error(err)
		}
		send(func(reply *dns.Msg) { reply.Rcode = dns.RcodeSuccess })
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	reply, err := exchangeSockets(ctx, "udp", question4("asked.example."), upstream.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil || reply.Rcode != dns.RcodeSuccess {
		t.Errorf("%v, %v", reply, err)
	}
	answering.Wait()
	// One that never answers is given up with the context.
	soon, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := exchangeSockets(soon, "udp", question4("silent.example."), upstream.LocalAddr().(*net.UDPAddr).AddrPort()); err == nil || !isTimeout(err) {
		t.Errorf("silence is %v", err)
	}
}
