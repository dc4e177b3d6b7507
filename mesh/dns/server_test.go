package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// freePort is a port that is free on all of the loopback.
func freePort(t *testing.T) uint16 {
	t.Helper()
	for range 100 {
		packets, err := net.ListenPacket("udp4", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		at := packets.LocalAddr().(*net.UDPAddr).AddrPort()
		stream, err := net.Listen("tcp4", at.String())
		packets.Close()
		if err == nil {
			stream.Close()
			return at.Port()
		}
	}
	t.Fatal("no port is free for both protocols")
	return 0
}

// start runs a server until the test ends.
func start(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func serving(s *Server, addresses ...string) func() bool {
	return func() bool {
		var up []string
		for _, l := range s.Status().Listeners {
			if l.Serving {
				up = append(up, l.Address.String())
			}
		}
		return slices.Equal(up, addresses)
	}
}

// query asks a server from an address of the loopback.
func query(protocol, from string, at netip.AddrPort, m *dns.Msg) (*dns.Msg, error) {
	var local net.Addr = &net.UDPAddr{IP: net.ParseIP(from)}
	if protocol == "tcp" {
		local = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	client := &dns.Client{Net: protocol, Dialer: &net.Dialer{LocalAddr: local, Timeout: 3 * time.Second}, ReadTimeout: 3 * time.Second}
	reply, _, err := client.Exchange(m, at.String())
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", m.Question[0].Name, err)
	}
	return reply, nil
}

func question4(name string) *dns.Msg {
	return new(dns.Msg).SetQuestion(name, dns.TypeA)
}

// local is a config of two networks on the loopback.
func local() Config {
	return Config{
		Listeners: []Listener{{address("127.5.0.1"), "front"}, {address("127.5.1.1"), "back"}},
		Services: []Service{
			{Deployment: "shop", Name: "web", Networks: []Attachment{{Network: "front"}}, Endpoints: []Endpoint{{Slot: 1, Ready: true, Addresses: on("front=10.64.0.18")}}},
			{Deployment: "shop", Name: "db", Networks: []Attachment{{Network: "back"}}, Endpoints: []Endpoint{{Slot: 1, Ready: true, Addresses: on("back=10.64.0.34")}}},
		},
	}
}

// TestServer asks real sockets, over both protocols, on every listener.
func TestServer(t *testing.T) {
	port := freePort(t)
	s := newServer(Options{Port: port}, forwarded)
	s.Set(local())
	start(t, s)
	until(t, "both listen", serving(s, "127.5.0.1", "127.5.1.1"))
	for _, protocol := range []string{"udp", "tcp"} {
		for listener, name := range map[string]string{"127.5.0.1": "web.", "127.5.1.1": "db."} {
			reply, err := query(protocol, "127.5.9.9", netip.AddrPortFrom(address(listener), port), question4(name))
			if err != nil || len(reply.Answer) != 1 || !reply.Authoritative {
				t.Errorf("%s %s: %v, %v", protocol, listener, reply, err)
			}
		}
	}
}

// TestMalformed sends what is no query, and asks a good one after each.
func TestMalformed(t *testing.T) {
	port := freePort(t)
	s := newServer(Options{Port: port}, forwarded)
	s.Set(local())
	start(t, s)
	until(t, "both listen", serving(s, "127.5.0.1", "127.5.1.1"))
	at := netip.AddrPortFrom(address("127.5.0.1"), port)
	for _, test := range []struct {
		name   string
		packet string
		rcode  int // -1: no answer
	}{
		{"nothing", "", -1},
		{"short", "\x00\x01", -1},
		{"an answer", "\x00\x01\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01", -1},
		{"no question", "\x00\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", dns.RcodeFormatError},
		{"half a question", "\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03we", dns.RcodeFormatError},
		{"a name that points at itself", "\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01", dns.RcodeFormatError},
		{"two questions", "\x00\x01\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01\x03web\x00\x00\x01\x00\x01", dns.RcodeFormatError},
		{"an update", "\x00\x01\x28\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x06\x00\x01", dns.RcodeNotImplemented},
		{"another class", "\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03", dns.RcodeRefused},
		{"EDNS of the future", "\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03web\x00\x00\x01\x00\x01\x00\x00\x29\x10\x00\x00\x01\x00\x00\x00\x00", dns.RcodeBadVers},
	} {
		conn, err := net.Dial("udp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		// A good one behind it says that the first is not answered any more.
		good, err := question4("web.").Pack()
		if err != nil {
			t.Fatal(err)
		}
		got := -1
		if _, err := conn.Write([]byte(test.packet)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(good); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 512)
		replies := 1
		if test.rcode >= 0 {
			replies = 2
		}
		for range replies {
			n, err := conn.Read(buffer)
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			reply := new(dns.Msg)
			if err := reply.Unpack(buffer[:n]); err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			if len(reply.Answer) == 0 {
				got = reply.Rcode
			}
		}
		conn.Close()
		if got != test.rcode {
			t.Errorf("%s: code %d, wanted %d", test.name, got, test.rcode)
		}
	}
}

// TestListenersFollow holds that listeners come and go with the config, that
// those which stay lose nothing meanwhile, and that one whose address is taken
// says by whom and gets it as soon as it is free.
func TestListenersFollow(t *testing.T) {
	port := freePort(t)
	taken := netip.AddrPortFrom(address("127.5.2.1"), port)
	other, err := net.ListenPacket("udp", taken.String())
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(Options{Port: port}, forwarded)
	c := local()
	s.Set(c)
	start(t, s)
	until(t, "both listen", serving(s, "127.5.0.1", "127.5.1.1"))
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if reply, err := query("udp", "127.5.9.9", netip.AddrPortFrom(address("127.5.0.1"), port), question4("web.")); err != nil || len(reply.Answer) != 1 {
				t.Errorf("disturbed: %v, %v", reply, err)
			}
		}
	})
	for range 20 {
		c.Listeners = local().Listeners[:1]
		s.Set(c)
		until(t, "one is gone", serving(s, "127.5.0.1"))
		c.Listeners = slices.Concat(local().Listeners, []Listener{{address("127.5.2.1"), "third"}})
		s.Set(c)
		until(t, "it is back", serving(s, "127.5.0.1", "127.5.1.1"))
	}
	until(t, "the third says why not", func() bool {
		third := s.Status().Listeners[2]
		return strings.Contains(third.Problem, fmt.Sprintf("address in use by %s (%d)", comm(t), os.Getpid())) && third.Network == "third"
	})
	<-time.After(20 * bindRetry) // several attempts
	other.Close()
	until(t, "all listen", serving(s, "127.5.0.1", "127.5.1.1", "127.5.2.1"))
	close(stop)
	asking.Wait()
}

// comm is how the kernel calls this process.
func comm(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// TestSetDuringQueries holds, under the race detector, that a query sees one
// config or the other and never a mixture.
func TestSetDuringQueries(t *testing.T) {
	port := freePort(t)
	s := newServer(Options{Port: port}, forwarded)
	config := func(generation byte) Config {
		c := Config{Listeners: []Listener{{address("127.5.0.1"), "front"}}}
		web := Service{Deployment: "shop", Name: "web", Networks: []Attachment{{Network: "front", Aliases: []string{"www"}}}}
		for i := range 3 {
			web.Endpoints = append(web.Endpoints, Endpoint{Slot: i + 1, Ready: true, Addresses: map[string]netip.Addr{"front": netip.AddrFrom4([4]byte{10, 64, generation, byte(i)})}})
		}
		c.Services = []Service{web}
		return c
	}
	s.Set(config(0))
	start(t, s)
	until(t, "it listens", serving(s, "127.5.0.1"))
	stop := make(chan struct{})
	var setting, asking sync.WaitGroup
	setting.Go(func() {
		for generation := byte(0); ; generation++ {
			select {
			case <-stop:
				return
			default:
				s.Set(config(generation))
				s.Status()
			}
		}
	})
	for range 4 {
		asking.Go(func() {
			for range 200 {
				reply, err := query("udp", "127.5.9.9", netip.AddrPortFrom(address("127.5.0.1"), port), question4("www."))
				if err != nil || len(reply.Answer) != 3 {
					t.Errorf("%v, %v", reply, err)
					return
				}
				for _, rr := range reply.Answer[1:] {
					if rr.(*dns.A).A.To4()[2] != reply.Answer[0].(*dns.A).A.To4()[2] {
						t.Errorf("mixed: %v", reply.Answer)
					}
				}
			}
		})
	}
	asking.Wait()
	close(stop)
	setting.Wait()
}
