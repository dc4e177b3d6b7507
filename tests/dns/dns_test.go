package dns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
	"github.com/jaco-sh/jaco/tests/stage/reach"
)

//rig:program peer ./tests/rig/cmd/peer

func TestMain(m *testing.M) { rig.Main(m, "dns") }

const (
	settleTime = 60 * time.Second
	// answerTime is how long what has settled may take to be answered everywhere.
	answerTime = 5 * time.Second
	// checkEvery is the time between two healthchecks.
	checkEvery = time.Second
	// libcImage has the machine's own C library beside the peer.
	libcImage = "jaco-stage/libc:1"
	// timeToLive is that of every answer, in seconds.
	timeToLive = 2
)

// trial is the cluster and the world outside.
type trial struct {
	*stage.Cluster
	t        *testing.T
	upstream *upstream
}

// TestNames asks for names in every way.
func TestNames(t *testing.T) {
	f := &trial{t: t}
	f.Cluster = stage.NewCluster(t, stage.ClusterConfig{Images: []rig.Image{stage.NewPeerImage(t), newLibcImage(t)}})
	f.upstream = startUpstream(t, f.Rig.LAN)
	f.Deploy(files(f.upstream.address.Addr()))
	f.Settle(settleTime)
	f.MeshReady(settleTime)
	for _, step := range []struct {
		name string
		run  func(*trial)
	}{
		{"names and what they answer", answers},
		{"every resolver", resolvers},
		{"an unhealthy replica", unhealthy},
		{"the world outside", outside},
	} {
		t.Run(step.name, func(t *testing.T) {
			f.In(t)
			in := *f
			in.t = t
			step.run(&in)
		})
	}
}

func newLibcImage(t *testing.T) rig.Image {
	t.Helper()
	image := stage.NewPeerImage(t)
	image.Ref = libcImage
	image.Copies = rig.Must[map[string]string](t)(rig.SharedFiles(t.Context(), "/usr/bin/getent"))
	image.Files = map[string]string{"/etc/nsswitch.conf": "hosts: files dns\n"}
	return image
}

// files are two deployments. Those who ask are on one network with those who
// are asked for, and have a resolver of their own for the rest.
func files(upstream netip.Addr) map[string]string {
	resolver := fmt.Sprintf("    dns: [%s]\n", upstream)
	return map[string]string{
		stage.Path("shop"): stage.PeerCompose(
			stage.Peers{Name: "web", Replicas: 3, Networks: []string{"front"}, Check: checkEvery},
			stage.Peers{Name: "client", Replicas: 3, Networks: []string{"front"}, Extra: resolver},
			stage.Peers{Name: "libc", Replicas: 1, Networks: []string{"front"}, Image: libcImage, Extra: resolver},
			stage.Peers{Name: "empty", Replicas: 0, Networks: []string{"front"}},
			stage.Peers{Name: "hidden", Replicas: 1, Networks: []string{"back"}},
		),
		stage.Path("other"): stage.PeerCompose(stage.Peers{Name: "away", Replicas: 1, Networks: []string{"front"}}),
	}
}

// clients are one container on each node, by node.
func (f *trial) clients() map[string]*stage.Endpoint {
	f.t.Helper()
	clients := map[string]*stage.Endpoint{}
	for _, e := range stage.PeersOf(f.Endpoints(), "shop", "client") {
		clients[e.Node.Name] = e
	}
	if len(clients) != len(f.Rig.Nodes) {
		f.t.Fatalf("clients run on %d nodes, want %d", len(clients), len(f.Rig.Nodes))
	}
	return clients
}

func gateway(e *stage.Endpoint) netip.AddrPort {
	for _, address := range e.Gateways {
		return netip.AddrPortFrom(address, 53)
	}
	return netip.AddrPort{}
}

func address(e *stage.Endpoint) netip.Addr {
	for _, a := range e.Addresses {
		return a
	}
	return netip.Addr{}
}

// addresses are those of a service's endpoints, sorted.
func (f *trial) addresses(service string) []netip.Addr {
	var all []netip.Addr
	for _, e := range stage.PeersOf(f.Endpoints(), "shop", service) {
		all = append(all, address(e))
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// answers asks each node's own server for every kind of name.
func answers(f *trial) {
	web := f.addresses("web")
	slot := map[int]netip.Addr{}
	for _, e := range stage.PeersOf(f.Endpoints(), "shop", "web") {
		slot[e.Slot] = address(e)
	}
	for node, client := range f.clients() {
		for _, test := range []struct {
			name  string
			kind  uint16
			rcode int
			want  []netip.Addr
		}{
			{"web", dns.TypeA, dns.RcodeSuccess, web},
			{"WeB.Shop", dns.TypeA, dns.RcodeSuccess, web},
			{"1.web", dns.TypeA, dns.RcodeSuccess, []netip.Addr{slot[1]}},
			{"3.web.shop", dns.TypeA, dns.RcodeSuccess, []netip.Addr{slot[3]}},
			{"web", dns.TypeAAAA, dns.RcodeSuccess, nil},
			{"empty", dns.TypeA, dns.RcodeSuccess, nil},
			{"empty.shop", dns.TypeAAAA, dns.RcodeSuccess, nil},
			// The upstream knows nothing of these, and they are not ours to tell.
			{"hidden", dns.TypeA, dns.RcodeNameError, nil},
			{"hidden.shop", dns.TypeA, dns.RcodeNameError, nil},
			{"away.other", dns.TypeA, dns.RcodeNameError, nil},
			{"nobody", dns.TypeA, dns.RcodeNameError, nil},
		} {
			for _, network := range []string{"udp", "tcp"} {
				rig.Eventually(f.t, answerTime, fmt.Sprintf("%s on %s by %s", test.name, node, network), func(ctx context.Context) (bool, string) {
					answer, err := reach.Ask(ctx, client.NetNS, network, gateway(client), test.name, test.kind)
					if err != nil {
						return false, err.Error()
					}
					return answer.Rcode == test.rcode && slices.Equal(reach.Addresses(answer), test.want), fmt.Sprintf("want %v\n%s", test.want, answer)
				}, f.Cluster)
			}
		}
		f.order(client)
	}
}

// order wants the endpoint of the asking node first, and a short life.
func (f *trial) order(client *stage.Endpoint) {
	f.t.Helper()
	var local netip.Addr
	for _, e := range stage.PeersOf(f.Endpoints(), "shop", "web") {
		if e.Node == client.Node {
			local = address(e)
		}
	}
	for range 5 {
		answer, err := reach.Ask(f.t.Context(), client.NetNS, "udp", gateway(client), "web", dns.TypeA)
		f.Check(err)
		first, ok := answer.Answer[0].(*dns.A)
		if !ok || first.A.String() != local.String() || first.Hdr.Ttl != timeToLive {
			f.t.Errorf("%s: want %s first, for %d s:\n%s", client, local, timeToLive, answer)
		}
	}
}

// resolvers asks as programs do: dig by the gateway and by the engine's resolver,
// the C library, Go.
func resolvers(f *trial) {
	ctx := f.t.Context()
	web := f.addresses("web")
	same := func(what, out string, err error) {
		f.t.Helper()
		var got []netip.Addr
		for field := range strings.FieldsSeq(out) {
			if a, err := netip.ParseAddr(field); err == nil && !slices.Contains(got, a) {
				got = append(got, a)
			}
		}
		slices.SortFunc(got, netip.Addr.Compare)
		if diff := cmp.Diff(fmt.Sprint(web), fmt.Sprint(got)); err != nil || diff != "" {
			f.t.Errorf("%s: %v\n%s\n%s", what, err, diff, out)
		}
	}
	for node, client := range f.clients() {
		for _, server := range []string{gateway(client).Addr().String(), "127.0.0.11"} {
			for _, flag := range []string{"+notcp", "+tcp", "+noedns"} {
				out, err := client.NetNS.Command(ctx, "dig", "@"+server, "+short", "+tries=2", "+time=2", flag, "web.", "A").Output()
				same(fmt.Sprintf("dig %s by %s on %s", flag, server, node), string(out), err)
			}
		}
		for _, name := range []string{"web", "web.shop"} {
			out, err := client.Node.Engine.Exec(ctx, client.ID, "/peer", "-resolve", name)
			same("Go's resolver for "+name+" on "+node, out, err)
		}
	}
	libc := stage.PeersOf(f.Endpoints(), "shop", "libc")[0]
	for _, name := range []string{"web", "web.shop"} {
		out, err := libc.Node.Engine.Exec(ctx, libc.ID, "/usr/bin/getent", "ahostsv4", name)
		same("the C library for "+name, out, err)
	}
	// A name without an address is none for a program, and no error of the server.
	if out, err := libc.Node.Engine.Exec(ctx, libc.ID, "/usr/bin/getent", "ahostsv4", "empty"); rig.ExitCode(err) != 2 || out != "" {
		f.t.Errorf("the C library for a service without replicas: %v\n%s", err, out)
	}
}
