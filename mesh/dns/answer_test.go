package dns

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func address(text string) netip.Addr { return netip.MustParseAddr(text) }

// first is an Options.Random under which nothing is rotated.
func first(int) int { return 0 }

// on are an endpoint's addresses: "front=10.64.0.18 back=10.64.0.34".
func on(text string) map[string]netip.Addr {
	out := map[string]netip.Addr{}
	for pair := range strings.FieldsSeq(text) {
		network, a, _ := strings.Cut(pair, "=")
		out[network] = address(a)
	}
	return out
}

// sample is a shop with a front, a back and an internal network, another
// deployment with services of the same names, and a network that both share.
func sample() Config {
	return Config{
		Listeners: []Listener{
			{address("10.64.0.17"), "front"}, {address("10.64.0.33"), "back"}, {address("10.64.0.49"), "vault"},
			{address("10.64.0.65"), "other"}, {address("10.64.0.81"), "shared"},
		},
		Internal: []string{"vault"},
		Pool:     netip.MustParsePrefix("10.64.0.0/10"),
		Services: []Service{
			{
				Deployment: "shop", Name: "web", Networks: []Attachment{{Network: "front", Aliases: []string{"WWW", "shop.example.com."}}, {Network: "back"}},
				Endpoints: []Endpoint{
					{Slot: 1, Ready: true, Addresses: on("front=10.64.16.18 back=10.64.16.34")},
					{Slot: 2, Ready: true, Local: true, Addresses: on("front=10.64.0.18 back=10.64.0.34")},
					{Slot: 3, Addresses: on("front=10.64.0.19 back=10.64.0.35")},
					{Slot: 2, Ready: true, Addresses: on("front=10.64.16.19")}, // its replacement is here, before it goes
				},
			},
			{
				Deployment: "shop", Name: "db", Networks: []Attachment{{Network: "back", Aliases: []string{"store"}}, {Network: "vault", Aliases: []string{"store"}}},
				Endpoints: []Endpoint{{Slot: 1, Ready: true, Addresses: on("back=10.64.0.36 vault=10.64.0.50")}},
			},
			{Deployment: "shop", Name: "cache", Networks: []Attachment{{Network: "back", Aliases: []string{"store"}}}, Endpoints: []Endpoint{{Slot: 1, Ready: true, Addresses: on("back=10.64.0.37")}}},
			{Deployment: "shop", Name: "idle", Networks: []Attachment{{Network: "front", Aliases: []string{"asleep"}}}},
			{Deployment: "shop", Name: "api.v1", Networks: []Attachment{{Network: "front"}}, Endpoints: []Endpoint{{Slot: 1, Ready: true, Addresses: on("front=10.64.0.20")}}},
			{Deployment: "shop", Name: "many", Networks: []Attachment{{Network: "front"}}, Endpoints: many()},
			{
				Deployment: "shop", Name: "split", Networks: []Attachment{{Network: "back"}, {Network: "front"}},
				Endpoints: []Endpoint{{Slot: 1, Addresses: on("back=10.64.0.38")}, {Slot: 2, Ready: true, Addresses: on("front=10.64.0.22")}},
			},
			{Deployment: "shop", Name: "bus", Networks: []Attachment{{Network: "shared", Aliases: []string{"events"}}}, Endpoints: []Endpoint{{Slot: 1, Ready: true, Addresses: on("shared=10.64.0.82")}}},
			{Deployment: "blog", Name: "web", Networks: []Attachment{{Network: "other"}}, Endpoints: []Endpoint{{Slot: 1, Ready: true, Addresses: on("other=10.64.0.66")}}},
			{Deployment: "blog", Name: "bus", Networks: []Attachment{{Network: "shared", Aliases: []string{"events", "web", "feed"}}}, Endpoints: []Endpoint{{Slot: 1, Ready: true, Addresses: on("shared=10.64.0.83")}}},
		},
		Clients: []Client{
			{Address: address("10.64.0.18"), Deployment: "shop", Networks: []string{"front"}},
			{Address: address("10.64.0.21"), Deployment: "shop", Networks: []string{"back", "front"}},
			{Address: address("10.64.0.50"), Deployment: "shop", Networks: []string{"vault"}},
			{Address: address("10.64.0.66"), Deployment: "blog", Networks: []string{"other"}},
			{Address: address("10.64.0.82"), Deployment: "shop", Networks: []string{"front", "shared"}},
		},
	}
}

// many are twelve endpoints, three of them local.
func many() []Endpoint {
	var out []Endpoint
	for i := 1; i <= 12; i++ {
		a := fmt.Sprintf("front=10.64.%d.%d", 32+i, 16+i)
		out = append(out, Endpoint{Slot: i, Ready: true, Local: i%4 == 0, Addresses: on(a)})
	}
	return out
}

// forwarded is an exchange that says so: a record that no test has otherwise.
func forwarded(_ context.Context, _ string, m *dns.Msg, upstream netip.AddrPort) (*dns.Msg, error) {
	reply := new(dns.Msg)
	reply.SetReply(m)
	reply.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{"asked " + upstream.String()}}}
	return reply, nil
}

// newTestServer is one whose upstreams are in testdata/resolv.conf.
func newTestServer(c Config, ask exchange) *Server {
	s := newServer(Options{Random: first, ResolvConf: "testdata/resolv.conf"}, ask)
	s.Set(c)
	return s
}

// TestAnswers holds what each client gets for each name: testdata/answers has a
// question a line, "source listener name type", and its golden file the answers.
func TestAnswers(t *testing.T) {
	s := newTestServer(sample(), forwarded)
	questions, err := os.ReadFile("testdata/answers")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(questions)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			got.WriteString(line)
			continue
		}
		request := new(dns.Msg)
		request.SetQuestion(dns.Fqdn(fields[2]), dns.StringToType[fields[3]])
		// A client that may become known is waited for; the golden file is about
		// what is known.
		ctx, cancel := context.WithCancel(t.Context())
		if strings.HasSuffix(line, "gone\n") {
			cancel()
		}
		reply := s.answer(ctx, asked{request, address(fields[0]), address(fields[1])})
		cancel()
		fmt.Fprintf(&got, "%s -> %s\n", strings.Join(fields, " "), strings.Join(printed(reply), "\n     "))
	}
	golden(t, "testdata/answers.golden", got.String())
}

// printed is a reply a line a record.
func printed(m *dns.Msg) []string {
	flags := ""
	if m.Authoritative {
		flags = " ours"
	}
	out := []string{dns.RcodeToString[m.Rcode] + flags}
	for _, rr := range append(slices.Clone(m.Answer), m.Extra...) {
		out = append(out, strings.Join(strings.Fields(rr.String()), " "))
	}
	return out
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestRotation holds that every endpoint is the first one of its part sooner or
// later, that local ones come before, and that at most eight are answered.
func TestRotation(t *testing.T) {
	next := 0
	s := newServer(Options{Random: func(n int) int { next++; return next % n }}, forwarded)
	s.Set(sample())
	firsts, seen := map[string]int{}, map[string]int{}
	for range 90 {
		request := new(dns.Msg)
		request.SetQuestion("many.", dns.TypeA)
		reply := s.answer(t.Context(), asked{request, address("10.64.0.18"), address("10.64.0.17")})
		if len(reply.Answer) != maxAnswers {
			t.Fatalf("%d answers", len(reply.Answer))
		}
		for i, rr := range reply.Answer {
			a := rr.(*dns.A).A.String()
			seen[a]++
			if local := strings.HasPrefix(a, "10.64.36.") || strings.HasPrefix(a, "10.64.40.") || strings.HasPrefix(a, "10.64.44."); local != (i < 3) {
				t.Fatalf("place %d has %s", i, a)
			}
			if i == 0 || i == 3 {
				firsts[a]++
			}
		}
	}
	if len(seen) != 12 || len(firsts) != 12 {
		t.Errorf("answered %d of 12, first were %d", len(seen), len(firsts))
	}
}

// TestPolicy holds, for whatever there is: a client gets addresses of ready
// endpoints on its own networks only, the name of a service on one of its
// networks is never passed on, and that of any other always is.
func TestPolicy(t *testing.T) {
	networks := []string{"a", "b", "c"}
	services, deployments := []string{"web", "db", "1.web"}, []string{"shop", "blog"}
	subset := rapid.Custom(func(t *rapid.T) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(networks), 1, 3, rapid.ID[string]).Draw(t, "networks")
	})
	rapid.Check(t, func(t *rapid.T) {
		c := Config{Upstreams: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}}
		last := 0
		allowed := map[string]map[string]bool{} // network to ready addresses
		names := map[string]map[string]bool{}   // deployment/service to networks
		for _, n := range networks {
			allowed[n] = map[string]bool{}
		}
		for _, d := range deployments {
			for _, name := range services {
				if !rapid.Bool().Draw(t, "there") {
					continue
				}
				s := Service{Deployment: d, Name: name}
				names[d+"/"+name] = map[string]bool{}
				at := subset.Draw(t, "at")
				for _, n := range at {
					s.Networks = append(s.Networks, Attachment{Network: n})
					names[d+"/"+name][n] = true
				}
				for slot := range rapid.IntRange(0, 3).Draw(t, "endpoints") {
					e := Endpoint{Slot: slot + 1, Ready: rapid.Bool().Draw(t, "ready"), Local: rapid.Bool().Draw(t, "local"), Addresses: map[string]netip.Addr{}}
					for _, n := range at {
						last++
						a := netip.AddrFrom4([4]byte{10, 64, 0, byte(last)})
						e.Addresses[n] = a
						if e.Ready {
							allowed[n][a.String()] = true
						}
					}
					s.Endpoints = append(s.Endpoints, e)
				}
				c.Services = append(c.Services, s)
			}
		}
		client := Client{Address: address("10.127.0.1"), Deployment: rapid.SampledFrom(deployments).Draw(t, "own"), Networks: subset.Draw(t, "of client")}
		c.Clients = []Client{client}
		server := newServer(Options{Random: first}, forwarded)
		server.Set(c)
		for _, d := range deployments {
			for _, name := range services {
				request := new(dns.Msg)
				request.SetQuestion(name+"."+d+".", dns.TypeA)
				reply := server.answer(context.Background(), asked{request, client.Address, address("10.127.0.2")})
				shares := false
				for _, n := range client.Networks {
					shares = shares || names[d+"/"+name][n]
				}
				// "1.web.shop" is slot 1 of web too.
				if base, ok := strings.CutPrefix(name, "1."); ok {
					for _, n := range client.Networks {
						shares = shares || names[d+"/"+base][n]
					}
				}
				if reply.Authoritative != shares {
					t.Fatalf("%s.%s: ours is %v, wanted %v", name, d, reply.Authoritative, shares)
				}
				for _, rr := range reply.Answer {
					a, ok := rr.(*dns.A)
					if !ok {
						continue // what was forwarded
					}
					if !slices.ContainsFunc(client.Networks, func(n string) bool { return allowed[n][a.A.String()] }) {
						t.Fatalf("%s.%s: %s is not the client's to know", name, d, a.A)
					}
				}
			}
		}
	})
}
