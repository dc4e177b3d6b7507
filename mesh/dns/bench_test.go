package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The figures dns-qps hold this server against the smallest one that the same
// library makes: a map under a handler. Both have benchNames names of
// benchReplicas addresses, and are asked the same over the loopback, by one
// client and by several.
const (
	benchNames    = 10_000
	benchReplicas = 3
	benchClients  = 16
	benchRound    = 1600 // queries, a multiple of benchClients
)

func benchName(i int) string { return fmt.Sprintf("service%d", i) }

func benchAddress(i, replica int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 64 + byte(replica), byte(i >> 8), byte(i)})
}

// startOurs is this server, with a client in a deployment of its own.
func startOurs(b *testing.B) netip.AddrPort {
	at := benchPort(b)
	s := New(Options{Port: at.Port()})
	c := Config{
		Listeners: []Listener{{at.Addr(), "net"}, {at.Addr().Next(), "other"}},
		Clients:   []Client{{Address: address("127.6.0.9"), Deployment: "shop", Networks: []string{"net"}}},
	}
	for i := range benchNames {
		service := Service{Deployment: "shop", Name: benchName(i), Networks: []Attachment{{Network: "net"}}}
		for replica := range benchReplicas {
			service.Endpoints = append(service.Endpoints, Endpoint{
				Slot: replica + 1, Ready: true, Local: replica == 0, Addresses: map[string]netip.Addr{"net": benchAddress(i, replica)},
			})
		}
		c.Services = append(c.Services, service)
	}
	s.Set(c)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return at
}

// startBare is a map from names to addresses, and nothing else.
func startBare(b *testing.B) netip.AddrPort {
	at := benchPort(b)
	names := map[string][]net.IP{}
	for i := range benchNames {
		for replica := range benchReplicas {
			names[benchName(i)+"."] = append(names[benchName(i)+"."], benchAddress(i, replica).AsSlice())
		}
	}
	packets, err := net.ListenPacket("udp", at.String())
	if err != nil {
		b.Fatal(err)
	}
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		reply := new(dns.Msg)
		reply.SetReply(m)
		for _, a := range names[strings.ToLower(m.Question[0].Name)] {
			reply.Answer = append(reply.Answer, &dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: a})
		}
		_ = w.WriteMsg(reply)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	b.Cleanup(func() {
		packets.Close()
		<-ended
	})
	return at
}

func benchPort(b *testing.B) netip.AddrPort {
	b.Helper()
	packets, err := net.ListenPacket("udp", "127.6.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer packets.Close()
	return packets.LocalAddr().(*net.UDPAddr).AddrPort()
}

// asker is a client with as little of its own as can be: packets are made
// before, and of answers only the count is read.
type asker struct {
	conn    *net.UDPConn
	packets [][]byte
	buffer  [1500]byte
}

func newAsker(at netip.AddrPort) (*asker, error) {
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 6, 0, 9)}, net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	a := &asker{conn: conn}
	for i := 0; i < benchNames; i += 7 {
		packet, err := question4(benchName(i) + ".").Pack()
		if err != nil {
			return nil, fmt.Errorf("make a query: %w", err)
		}
		a.packets = append(a.packets, packet)
	}
	return a, nil
}

func (a *asker) ask(i int) error {
	if err := a.conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return fmt.Errorf("set a deadline: %w", err)
	}
	if _, err := a.conn.Write(a.packets[i%len(a.packets)]); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	n, err := a.conn.Read(a.buffer[:])
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if n < 12 || a.buffer[7] != benchReplicas {
		return fmt.Errorf("%d bytes with %d answers", n, a.buffer[7])
	}
	return nil
}

// compare asks both servers in turns, each time benchRound queries by so many
// clients, so that what else the machine does meets both alike. It reports what
// a query takes of each.
func compare(b *testing.B, clients int) {
	ours, bare := newAskers(b, startOurs(b), clients), newAskers(b, startBare(b), clients)
	var took, tookBare time.Duration
	queries := 0
	for b.Loop() {
		took += round(b, ours)
		tookBare += round(b, bare)
		queries += benchRound
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(queries), "ns/query")
	b.ReportMetric(float64(tookBare.Nanoseconds())/float64(queries), "ns/query-bare")
}

func newAskers(b *testing.B, at netip.AddrPort, count int) []*asker {
	b.Helper()
	out := make([]*asker, count)
	for i := range out {
		a, err := newAsker(at)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { a.conn.Close() })
		out[i] = a
	}
	awaitServer(b, out[0])
	return out
}

// round is how long benchRound queries take.
func round(b *testing.B, clients []*asker) time.Duration {
	b.Helper()
	begin := time.Now()
	var asking sync.WaitGroup
	for i, a := range clients {
		asking.Go(func() {
			for j := range benchRound / len(clients) {
				if err := a.ask(j + i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	asking.Wait()
	return time.Since(begin)
}

// awaitServer asks until there is an answer.
func awaitServer(b *testing.B, a *asker) {
	b.Helper()
	var err error
	for range 1000 {
		if err = a.ask(0); err == nil {
			return
		}
		<-time.After(time.Millisecond)
	}
	b.Fatal(err)
}

func BenchmarkSerial(b *testing.B)   { compare(b, 1) }
func BenchmarkParallel(b *testing.B) { compare(b, benchClients) }
