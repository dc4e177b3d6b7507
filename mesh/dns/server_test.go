package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
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
		c.Listeners = append(local().Listeners, Listener{address("127.5.2.1"), "third"})
		s.Set(c)
		until(t, "it is back", serving(s, "127.5.0.1", "127.5.1.1"))
	}
	until(t, "the third says why not", func() bool {
		third := s.Status().Listeners[2]
		return strings.Contains(third.Problem, fmt.Sprintf("address in use by %s (%d)", comm(t), os.Getpid())) && third.Network == "third"
	})
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

// inNamespace runs the test again in a process with a network namespace of its
// own, and says whether this is that one.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("JACO_DNS_NAMESPACE") == t.Name() {
		if output, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	command.Env = append(os.Environ(), "JACO_DNS_NAMESPACE="+t.Name())
	command.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	output, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: "+t.Name()) {
		t.Errorf("in a namespace of its own: %v\n%s", err, output)
	}
	return false
}

func run(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, output)
	}
	return string(output)
}

// TestGateway listens on port 53 of an address that is not there yet, and asks
// with dig once it is, while it is made anew, and by another name server's
// habits: over TCP, for SRV, with EDNS.
func TestGateway(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 10.64.0.17\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := New(Options{ResolvConf: resolv, Random: first})
	c := sample()
	c.Listeners = c.Listeners[:1]
	s.Set(c)
	start(t, s)
	until(t, "it listens before the address is there", serving(s, "10.64.0.17"))
	run(t, "ip", "link", "add", "jbtest", "type", "bridge")
	run(t, "ip", "link", "set", "jbtest", "up")
	run(t, "ip", "address", "add", "10.64.0.18/28", "dev", "jbtest")
	for range 2 { // the second time after the address was gone
		run(t, "ip", "address", "add", "10.64.0.17/28", "dev", "jbtest")
		dig := func(arguments ...string) string {
			return run(t, "dig", append([]string{"-b", "10.64.0.18", "@10.64.0.17", "+time=2", "+tries=1"}, arguments...)...)
		}
		for question, want := range map[string]string{
			"+short web A":                     "10.64.0.18\n10.64.16.18\n10.64.16.19\n",
			"+short +tcp web.shop A":           "10.64.0.18\n10.64.16.18\n10.64.16.19\n",
			"+short +noedns 1.web A":           "10.64.16.18\n",
			"+short _80._tcp.1.web SRV":        "0 0 80 1.web.shop.\n",
			"+short -x 10.64.16.18":            "1.web.shop.\n",
			"+short idle A":                    "",
			"+noall +comments idle A":          "status: NOERROR",
			"+noall +comments web AAAA":        "status: NOERROR",
			"+noall +comments example.com A":   "status: SERVFAIL", // it is its own upstream
			"+noall +comments +dnssec many A":  "flags: do; udp: 1232",
			"+noall +comments +noedns WEB ANY": "flags: qr aa rd ra;",
		} {
			got := dig(strings.Fields(question)...)
			if got != want && (!strings.HasPrefix(question, "+noall") || !strings.Contains(got, want)) {
				t.Errorf("dig %s: %q, wanted %q", question, got, want)
			}
		}
		run(t, "ip", "address", "del", "10.64.0.17/28", "dev", "jbtest")
	}
}

// TestFirstAddress holds that the answer comes from the address that was asked,
// on a machine with several.
func TestFirstAddress(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	run(t, "ip", "address", "add", "10.64.0.1/32", "dev", "lo")
	run(t, "ip", "address", "add", "10.64.0.17/32", "dev", "lo")
	s := New(Options{})
	s.Set(Config{Listeners: []Listener{{address("10.64.0.17"), "front"}}, Services: sample().Services})
	start(t, s)
	until(t, "it listens", serving(s, "10.64.0.17"))
	conn, err := net.ListenPacket("udp", "10.64.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	packet, err := question4("web.").Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteTo(packet, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.64.0.17:53"))); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, from, err := conn.ReadFrom(make([]byte, 512)); err != nil || from.String() != "10.64.0.17:53" {
		t.Errorf("answered from %v, %v", from, err)
	}
}
