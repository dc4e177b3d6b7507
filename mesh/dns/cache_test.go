package dns

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestCache holds how long answers are kept.
func TestCache(t *testing.T) {
	const one = "192.0.2.1:53"
	for _, test := range []struct {
		name string
		play play
		kept time.Duration
	}{
		{"as it says", says("198.51.100.1", 5), 5 * time.Second},
		{"not for long", says("198.51.100.1", 86400), maxPositive},
		{"not at all", says("198.51.100.1", 0), 0},
		{"what does not exist", fails(dns.RcodeNameError), 7 * time.Second},
		{"a failure is not kept", fails(dns.RcodeServerFailure), 0},
		{"nothing, without a word on how long", fails(dns.RcodeSuccess), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, 1, func(w *world) {
				w.set(one, test.play)
				first := w.ask("example.com.")
				if test.kept > 0 {
					<-time.After(test.kept - time.Second)
					again := w.ask("EXAMPLE.com.")
					if n := w.count("udp"); n != 1 || again.Rcode != first.Rcode {
						w.Errorf("asked %d times within the time to live: %v", n, again)
					}
					if len(again.Answer) > 0 {
						was, is := first.Answer[0].Header().Ttl, again.Answer[0].Header().Ttl
						if time.Duration(was-is)*time.Second != test.kept-time.Second {
							w.Errorf("time to live %d, then %d", was, is)
						}
					}
					<-time.After(time.Second)
				}
				w.count("")
				w.ask("example.com.")
				if n := w.count("udp"); n != 1 {
					w.Errorf("asked %d times after it", n)
				}
			})
		})
	}
}

// TestCacheIsBounded holds that the least recently used answer goes first, and
// that clients with other upstreams have their own.
func TestCacheIsBounded(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		w.set("192.0.2.1:53", says("198.51.100.1", 60))
		w.ask("kept.example.")
		for i := range 2 * cacheEntries {
			w.ask(fmt.Sprintf("n%d.example.", i))
			w.ask("kept.example.")
		}
		if n := w.server.forwarder.cache.recent.Len(); n != cacheEntries || len(w.server.forwarder.cache.entries) != n {
			w.Errorf("%d entries", n)
		}
		if n := w.count("kept.example."); n != 1 {
			w.Errorf("the one that is always used was asked for %d times", n)
		}
		w.set("192.0.2.9:53", says("198.51.100.9", 60))
		w.server.Set(Config{Listeners: []Listener{{address("10.64.0.17"), "front"}}, Clients: []Client{
			{Address: address("10.64.0.18"), Networks: []string{"front"}, Upstreams: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:53")}},
		}})
		w.want("kept.example.", "NOERROR 198.51.100.9", 0)
	})
}
