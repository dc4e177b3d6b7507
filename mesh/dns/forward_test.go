package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// resolver is an upstream that a test plays. It is asked under a lock.
type resolver struct {
	mu    sync.Mutex
	asked []string // "udp 192.0.2.1:53 example.com. edns"
	play  map[string]func(ctx context.Context, protocol string, m *dns.Msg) (*dns.Msg, error)
}

func (r *resolver) exchange(ctx context.Context, protocol string, m *dns.Msg, upstream netip.AddrPort) (*dns.Msg, error) {
	edns := ""
	if m.IsEdns0() != nil {
		edns = " edns"
	}
	r.mu.Lock()
	r.asked = append(r.asked, fmt.Sprintf("%s %s %s%s", protocol, upstream, m.Question[0].Name, edns))
	play := r.play[upstream.String()]
	r.mu.Unlock()
	return play(ctx, protocol, m)
}

func (r *resolver) set(upstream string, play func(context.Context, string, *dns.Msg) (*dns.Msg, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.play == nil {
		r.play = map[string]func(context.Context, string, *dns.Msg) (*dns.Msg, error){}
	}
	r.play[upstream] = play
}

// count is how often something was asked, and forgets it.
func (r *resolver) count(part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, a := range r.asked {
		if strings.Contains(a, part) {
			n++
		}
	}
	r.asked = nil
	return n
}

type play = func(context.Context, string, *dns.Msg) (*dns.Msg, error)

// silence never answers.
func silence(ctx context.Context, _ string, _ *dns.Msg) (*dns.Msg, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// refuse is a closed port.
func refuse(context.Context, string, *dns.Msg) (*dns.Msg, error) { return nil, unix.ECONNREFUSED }

// says answers with an address and a time to live.
func says(a string, ttl uint32) play {
	return func(_ context.Context, _ string, m *dns.Msg) (*dns.Msg, error) {
		reply := new(dns.Msg)
		reply.SetReply(m)
		reply.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: address(a).AsSlice()}}
		reply.SetEdns0(4096, false)
		return reply, nil
	}
}

// fails answers with a code, and an SOA record when the name does not exist.
func fails(rcode int) play {
	return func(_ context.Context, _ string, m *dns.Msg) (*dns.Msg, error) {
		reply := new(dns.Msg)
		reply.SetRcode(m, rcode)
		if rcode == dns.RcodeNameError {
			reply.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 3600}, Ns: "a.", Mbox: "b.", Minttl: 7}}
		}
		return reply, nil
	}
}

// after answers late.
func after(d time.Duration, then play) play {
	return func(ctx context.Context, protocol string, m *dns.Msg) (*dns.Msg, error) {
		select {
		case <-time.After(d):
			return then(ctx, protocol, m)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// world is a server in a bubble with upstreams that a test plays.
type world struct {
	*testing.T
	*resolver
	server *Server
}

// inBubble runs a test with a server whose upstreams are 192.0.2.1 and, with
// two, 192.0.2.2.
func inBubble(t *testing.T, upstreams int, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		r := &resolver{}
		c := Config{Listeners: []Listener{{address("10.64.0.17"), "front"}}}
		for i := range upstreams {
			c.Upstreams = append(c.Upstreams, netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:53", i+1)))
		}
		s := newServer(Options{ResolvConf: "testdata/none"}, r.exchange)
		s.Set(c)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.forwarder.health.run(ctx) })
		defer running.Wait()
		defer cancel()
		test(&world{t, r, s})
	})
}

// ask asks as an unknown client of the listener.
func (w *world) ask(name string, edit ...func(*dns.Msg)) *dns.Msg {
	request := new(dns.Msg)
	request.SetQuestion(name, dns.TypeA)
	for _, e := range edit {
		e(request)
	}
	return w.server.answer(w.Context(), asked{request, address("10.64.0.18"), address("10.64.0.17")})
}

// want asks and compares "NOERROR 192.0.2.80", and how long it took.
func (w *world) want(name, want string, took time.Duration) {
	w.Helper()
	start := time.Now()
	reply := w.ask(name)
	got := dns.RcodeToString[reply.Rcode]
	for _, rr := range reply.Answer {
		got += " " + rr.(*dns.A).A.String()
	}
	if got != want || time.Since(start) != took {
		w.Errorf("%s: %s after %s, wanted %s after %s", name, got, time.Since(start), want, took)
	}
}

func TestForwardRaces(t *testing.T) {
	const one, two = "192.0.2.1:53", "192.0.2.2:53"
	for _, test := range []struct {
		name     string
		one, two play
		want     string
		took     time.Duration
		asked    int
	}{
		{"the first has it", says("198.51.100.1", 60), says("198.51.100.2", 60), "NOERROR 198.51.100.1", 0, 1},
		{"the first is slow", after(time.Second/2, says("198.51.100.1", 60)), says("198.51.100.2", 60), "NOERROR 198.51.100.2", stagger, 2},
		{"both are, the first is faster", after(time.Second/2, says("198.51.100.1", 60)), after(time.Second/2, says("198.51.100.2", 60)), "NOERROR 198.51.100.1", time.Second / 2, 2},
		{"the first is not there", refuse, says("198.51.100.2", 60), "NOERROR 198.51.100.2", 0, 2},
		{"the first fails", fails(dns.RcodeServerFailure), says("198.51.100.2", 60), "NOERROR 198.51.100.2", 0, 2},
		{"the first knows that there is none", fails(dns.RcodeNameError), says("198.51.100.2", 60), "NXDOMAIN", 0, 1},
		{"none is there", refuse, refuse, "SERVFAIL", 0, 2},
		{"one refuses", refuse, fails(dns.RcodeRefused), "REFUSED", 0, 2},
		{"none answers", silence, silence, "SERVFAIL", firstTry + secondTry + stagger, 6}, // with a probe each
		{"a packet is lost", lost(says("198.51.100.1", 60)), silence, "NOERROR 198.51.100.1", firstTry, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, 2, func(w *world) {
				w.set(one, test.one)
				w.set(two, test.two)
				w.want("example.com.", test.want, test.took)
				if n := w.count("udp"); n < test.asked || n > test.asked+2 {
					w.Errorf("asked %d times, wanted %d", n, test.asked)
				}
			})
		})
	}
}

// lost loses the first question.
func lost(then play) play {
	var once sync.Once
	return func(ctx context.Context, protocol string, m *dns.Msg) (*dns.Msg, error) {
		isFirst := false
		once.Do(func() { isFirst = true })
		if isFirst {
			return silence(ctx, protocol, m)
		}
		return then(ctx, protocol, m)
	}
}

// TestForwardWithoutUpstreams holds that nobody waits where nobody can be asked.
func TestForwardWithoutUpstreams(t *testing.T) {
	inBubble(t, 0, func(w *world) { w.want("example.com.", "SERVFAIL", 0) })
}

// TestUpstreamDown holds that an upstream which answers nothing costs a wait
// once, then nobody, and that it is used again soon after it is back.
func TestUpstreamDown(t *testing.T) {
	const one = "192.0.2.1:53"
	inBubble(t, 1, func(w *world) {
		w.set(one, silence)
		w.want("a.example.", "SERVFAIL", firstTry+secondTry)
		w.want("b.example.", "SERVFAIL", 0)
		if got := w.server.Status().Upstreams; len(got) != 1 || !got[0].Down {
			w.Errorf("status %v", got)
		}
		w.count("")
		w.want("c.example.", "SERVFAIL", 0)
		if n := w.count("c.example."); n != 0 {
			w.Errorf("one that is down was asked %d times", n)
		}
		w.set(one, says("198.51.100.1", 60))
		<-time.After(probeInterval + probeLimit)
		synctest.Wait()
		w.want("d.example.", "NOERROR 198.51.100.1", 0)
		if got := w.server.Status().Upstreams; len(got) != 0 {
			w.Errorf("status %v", got)
		}
	})
}

// TestOneNameDoesNotTakeTheUpstream holds that a name whose servers are silent
// leaves the resolver to everybody else.
func TestOneNameDoesNotTakeTheUpstream(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		w.set("192.0.2.1:53", func(ctx context.Context, protocol string, m *dns.Msg) (*dns.Msg, error) {
			if strings.HasPrefix(m.Question[0].Name, "broken") {
				return silence(ctx, protocol, m)
			}
			return says("198.51.100.1", 0)(ctx, protocol, m)
		})
		w.want("broken.example.", "SERVFAIL", firstTry+secondTry)
		w.want("fine.example.", "NOERROR 198.51.100.1", 0)
		w.want("broken.example.", "SERVFAIL", firstTry+secondTry)
	})
}

// TestProbesEnd holds that an upstream which nobody asks for is not probed on.
func TestProbesEnd(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		w.set("192.0.2.1:53", silence)
		w.ask("a.example.")
		<-time.After(2 * probeFor)
		w.count("")
		<-time.After(2 * probeFor)
		if n := w.count(""); n != 0 {
			w.Errorf("%d probes of what nobody asks", n)
		}
	})
}

// TestSameQuestionOnce holds that a question under way is not asked again: not
// for another client, and not in a circle.
func TestSameQuestionOnce(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		w.set("192.0.2.1:53", after(time.Second/2, says("198.51.100.1", 60)))
		var clients sync.WaitGroup
		for range 20 {
			clients.Go(func() { w.want("Example.com.", "NOERROR 198.51.100.1", time.Second/2) })
		}
		clients.Wait()
		if n := w.count("example.com."); n != 1 {
			w.Errorf("asked %d times", n)
		}
	})
}

// TestAbandonedFlight holds that a listener which goes takes no answer from
// clients of another.
func TestAbandonedFlight(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		w.set("192.0.2.1:53", after(time.Second/2, says("198.51.100.1", 60)))
		request := new(dns.Msg)
		request.SetQuestion("example.com.", dns.TypeA)
		ctx, cancel := context.WithCancel(w.Context())
		var clients sync.WaitGroup
		clients.Go(func() {
			w.server.answer(ctx, asked{request, address("10.64.0.20"), address("10.64.0.17")})
		})
		synctest.Wait()
		clients.Go(func() { w.want("example.com.", "NOERROR 198.51.100.1", time.Second/2+time.Second/4) })
		<-time.After(time.Second / 4)
		cancel()
		clients.Wait()
	})
}

// TestUpstreamsOfClients holds that no deployment has the node ask what its
// container could not: other containers, and the node itself.
func TestUpstreamsOfClients(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		w.set("192.0.2.1:53", says("198.51.100.1", 60))
		w.server.Set(Config{
			Listeners: []Listener{{address("10.64.0.17"), "front"}}, Pool: netip.MustParsePrefix("10.64.0.0/10"),
			Upstreams: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")},
			Clients: []Client{{Address: address("10.64.0.18"), Networks: []string{"front"}, Upstreams: []netip.AddrPort{
				netip.MustParseAddrPort("10.64.0.99:53"), netip.MustParseAddrPort("127.0.0.1:53"),
			}}},
		})
		w.want("example.com.", "SERVFAIL", 0)
		if n := w.count(""); n != 0 {
			w.Errorf("asked %d times", n)
		}
	})
}

// TestCircles holds that the server is not its own upstream.
func TestCircles(t *testing.T) {
	inBubble(t, 0, func(w *world) {
		w.server.Set(Config{
			Listeners: []Listener{{address("10.64.0.17"), "front"}, {address("10.64.0.33"), "back"}},
			Upstreams: []netip.AddrPort{netip.MustParseAddrPort("10.64.0.33:53")},
		})
		w.want("example.com.", "SERVFAIL", 0)
		if n := w.count(""); n != 0 {
			w.Errorf("asked itself %d times", n)
		}
	})
}

// TestTruncatedUpstream holds that what UDP cut is fetched over TCP, and that an
// upstream which does not know EDNS is asked without.
func TestTruncatedUpstream(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		w.set("192.0.2.1:53", func(ctx context.Context, protocol string, m *dns.Msg) (*dns.Msg, error) {
			if m.IsEdns0() != nil {
				return fails(dns.RcodeFormatError)(ctx, protocol, m)
			}
			reply, err := says("198.51.100.1", 60)(ctx, protocol, m)
			reply.Truncated = protocol == "udp"
			return reply, err
		})
		w.want("long.example.", "NOERROR 198.51.100.1", 0)
		w.mu.Lock()
		got := strings.Join(w.asked, ", ")
		w.mu.Unlock()
		if want := "udp 192.0.2.1:53 long.example. edns, udp 192.0.2.1:53 long.example., tcp 192.0.2.1:53 long.example."; got != want {
			w.Errorf("asked %s, wanted %s", got, want)
		}
		w.set("192.0.2.1:53", func(ctx context.Context, protocol string, m *dns.Msg) (*dns.Msg, error) {
			if protocol == "tcp" {
				return nil, unix.ECONNREFUSED
			}
			reply, err := says("198.51.100.1", 60)(ctx, protocol, m)
			reply.Truncated = true
			return reply, err
		})
		if reply := w.ask("short.example."); !reply.Truncated {
			w.Error("what is missing is not said to be missing")
		}
	})
}

// TestLimits holds that waiting queries are bounded, for one client first.
func TestLimits(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		w.set("192.0.2.1:53", after(time.Second/2, says("198.51.100.1", 60)))
		var clients sync.WaitGroup
		for i := range maxWaitingOf {
			clients.Go(func() { w.want(fmt.Sprintf("n%d.example.", i), "NOERROR 198.51.100.1", time.Second/2) })
		}
		synctest.Wait()
		w.want("over.example.", "SERVFAIL", 0)
		request := new(dns.Msg)
		request.SetQuestion("n0.example.", dns.TypeA)
		if reply := w.server.answer(w.Context(), asked{request, address("10.64.0.99"), address("10.64.0.17")}); reply.Rcode != dns.RcodeSuccess {
			w.Errorf("another client gets %v", reply)
		}
		clients.Wait()
		w.server.waiting.mu.Lock()
		defer w.server.waiting.mu.Unlock()
		if w.server.waiting.total != 0 || len(w.server.waiting.by) != 0 {
			w.Errorf("%d are counted as waiting", w.server.waiting.total)
		}
	})
	l := &limiter{by: map[netip.Addr]int{}}
	for i := range maxWaiting {
		if _, ok := l.take(netip.AddrFrom4([4]byte{10, 64, byte(i >> 8), byte(i)})); !ok {
			t.Fatalf("%d are too many", i)
		}
	}
	if _, ok := l.take(address("10.127.0.1")); ok {
		t.Error("there is no end to them")
	}
}

// TestUnknownClientWaits holds that a name asked before its client is known is
// answered once it is, and in any case after a second.
func TestUnknownClientWaits(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		w.set("192.0.2.1:53", fails(dns.RcodeNameError))
		c := sample()
		c.Clients, c.Upstreams = nil, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}
		w.server.Set(c)
		w.want("db.", "NXDOMAIN", unknownWait)
		w.want("db.shop.", "NXDOMAIN", unknownWait)
		w.want("_80._tcp.1.db.shop.", "NXDOMAIN", unknownWait)
		w.want("db.blog.", "NXDOMAIN", 0) // no deployment of its network
		go func() {
			<-time.After(time.Second / 4)
			w.server.Set(c) // something else changed
			<-time.After(time.Second / 4)
			c.Clients = []Client{{Address: address("10.64.0.18"), Deployment: "shop", Networks: []string{"front", "back"}}}
			w.server.Set(c)
		}()
		w.want("db.", "NOERROR 10.64.0.36", time.Second/2)
		w.want("nothing.", "NXDOMAIN", 0)
	})
}

// TestQuestionIsPassedOn holds what an upstream is told of the client: that it
// wants signatures, or checks them itself, and nothing else. Clients that differ
// in it share no answer.
func TestQuestionIsPassedOn(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		var got []string
		w.set("192.0.2.1:53", func(ctx context.Context, protocol string, m *dns.Msg) (*dns.Msg, error) {
			got = append(got, fmt.Sprintf("do=%v cd=%v rd=%v options=%d", m.IsEdns0().Do(), m.CheckingDisabled, m.RecursionDesired, len(m.IsEdns0().Option)))
			reply, err := says("198.51.100.1", 60)(ctx, protocol, m)
			reply.AuthenticatedData = true
			return reply, err
		})
		w.ask("a.example.")
		w.ask("a.example.", func(m *dns.Msg) {
			m.RecursionDesired = false
			m.SetEdns0(4096, false)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"})
		})
		w.ask("a.example.", func(m *dns.Msg) { m.SetEdns0(4096, true) })
		reply := w.ask("a.example.", func(m *dns.Msg) { m.CheckingDisabled = true })
		if !reply.AuthenticatedData || !reply.CheckingDisabled || reply.Authoritative {
			t.Errorf("answered %v", reply)
		}
		if want := "[do=false cd=false rd=true options=0 do=true cd=false rd=true options=0 do=false cd=true rd=true options=0]"; fmt.Sprint(got) != want {
			t.Errorf("asked %v, wanted %s", got, want)
		}
	})
}

func TestIsTimeout(t *testing.T) {
	if isTimeout(unix.ECONNREFUSED) || isTimeout(errors.New("else")) || !isTimeout(context.DeadlineExceeded) {
		t.Error("timeouts and refusals are confused")
	}
}
