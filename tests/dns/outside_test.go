package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage/reach"
)

// upstream is a resolver in the LAN: it knows names below example., all with one
// address, and large.example. with more text than a datagram takes.
type upstream struct {
	t       *testing.T
	lan     *rig.LAN
	address netip.AddrPort
	servers []*dns.Server
	asked   atomic.Int64
}

// outsideAddress is of a range for documentation (RFC 5737).
const outsideAddress = "192.0.2.53"

// largeText is so many strings of 200 bytes.
const largeText = 20

func startUpstream(t *testing.T, lan *rig.LAN) *upstream {
	t.Helper()
	u := &upstream{t: t, lan: lan, address: netip.AddrPortFrom(lan.Address, 53)}
	u.start()
	t.Cleanup(u.stop)
	return u
}

func (u *upstream) start() {
	u.t.Helper()
	var packets net.PacketConn
	var listener net.Listener
	err := u.lan.NetNS.Do(func() (err error) {
		if packets, err = net.ListenPacket("udp4", u.address.String()); err != nil {
			return err
		}
		listener, err = net.Listen("tcp4", u.address.String())
		return err
	})
	if err != nil {
		u.t.Fatal(err)
	}
	u.servers = []*dns.Server{{PacketConn: packets, Handler: u}, {Listener: listener, Handler: u}}
	for _, s := range u.servers {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		go func() { _ = s.ActivateAndServe() }() // ended by stop
		<-ready
	}
}

func (u *upstream) stop() {
	for _, s := range u.servers {
		if err := s.Shutdown(); err != nil {
			u.t.Error(err)
		}
	}
	u.servers = nil
}

// ServeDNS implements dns.Handler.
func (u *upstream) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	u.asked.Add(1)
	answer := new(dns.Msg).SetReply(question)
	name := strings.ToLower(question.Question[0].Name)
	header := dns.RR_Header{Name: question.Question[0].Name, Class: dns.ClassINET, Ttl: 1}
	switch kind := question.Question[0].Qtype; {
	case !strings.HasSuffix(name, ".example."):
		answer.Rcode = dns.RcodeNameError
	case kind == dns.TypeA:
		header.Rrtype = dns.TypeA
		answer.Answer = []dns.RR{&dns.A{Hdr: header, A: net.ParseIP(outsideAddress)}}
	case kind == dns.TypeTXT && name == "large.example.":
		header.Rrtype = dns.TypeTXT
		for i := range largeText {
			answer.Answer = append(answer.Answer, &dns.TXT{Hdr: header, Txt: []string{fmt.Sprintf("%03d", i) + strings.Repeat("x", 197)}})
		}
	}
	if _, datagram := w.RemoteAddr().(*net.UDPAddr); datagram {
		size := dns.MinMsgSize
		if options := question.IsEdns0(); options != nil {
			size = int(options.UDPSize())
		}
		answer.Truncate(size)
	}
	_ = w.WriteMsg(answer) // who asked asks again
}

// atOnce is how long an answer may take that says that there is none.
const atOnce = time.Second

// outside asks for names that are not the mesh's: they are forwarded, large ones
// come whole by TCP, and a resolver that is gone is told of at once and asked
// again when it is back.
func outside(f *trial) {
	ctx := f.t.Context()
	for node, client := range f.clients() {
		for _, server := range []netip.AddrPort{gateway(client), reach.Embedded} {
			got, err := reach.Resolve(ctx, client.NetNS, server, "www.example")
			if err != nil || len(got) != 1 || got[0].String() != outsideAddress {
				f.t.Errorf("%s by %s: www.example is %v, %v", node, server, got, err)
			}
		}
		answer, err := reach.Ask(ctx, client.NetNS, "udp", gateway(client), "large.example", dns.TypeTXT)
		if err != nil || !answer.Truncated || answer.Len() > dns.MinMsgSize {
			f.t.Errorf("%s: a large answer in a datagram: %v\n%s", node, err, answer)
		}
		answer, err = reach.Ask(ctx, client.NetNS, "tcp", gateway(client), "large.example", dns.TypeTXT)
		if err != nil || answer.Truncated || len(answer.Answer) != largeText {
			f.t.Errorf("%s: a large answer by TCP: %v\n%s", node, err, answer)
		}
		out, err := client.NetNS.Command(ctx, "dig", "@"+gateway(client).Addr().String(), "+short", "+noedns", "large.example.", "TXT").Output()
		if lines := strings.Count(string(out), "xxx\""); err != nil || lines != largeText {
			f.t.Errorf("%s: dig falls back to TCP for %d of %d strings: %v\n%s", node, lines, largeText, err, out)
		}
	}
	if f.upstream.asked.Load() == 0 {
		f.t.Error("the resolver was never asked")
	}
	f.upstream.stop()
	for node, client := range f.clients() {
		start := time.Now()
		answer, err := reach.Ask(ctx, client.NetNS, "udp", gateway(client), "gone-"+node+".example", dns.TypeA)
		took := time.Since(start)
		if err != nil || answer.Rcode != dns.RcodeServerFailure || took > atOnce {
			f.t.Errorf("%s: with the resolver gone: %v after %s\n%s", node, err, took, answer)
		}
		if got, err := reach.Resolve(ctx, client.NetNS, gateway(client), "web"); err != nil || len(got) != 3 {
			f.t.Errorf("%s: with the resolver gone web is %v, %v", node, got, err)
		}
	}
	f.upstream.start()
	for node, client := range f.clients() {
		rig.Eventually(f.t, answerTime, "names outside again on "+node, func(ctx context.Context) (bool, string) {
			got, err := reach.Resolve(ctx, client.NetNS, gateway(client), "gone-"+node+".example")
			return err == nil && len(got) == 1, fmt.Sprintf("%v, %v", got, err)
		}, f.Cluster)
	}
}
