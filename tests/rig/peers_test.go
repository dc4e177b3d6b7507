package rig_test

import (
	"context"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
	"github.com/jaco-sh/jaco/tests/stage/reach"
)

//rig:program peer ./tests/rig/cmd/peer

// TestPeers has containers of one engine talk in every way that suites of the
// mesh use, and wants an exchange that cannot be whole to be told so.
func TestPeers(t *testing.T) {
	ctx := t.Context()
	node := rig.Start(t, rig.Config{}).Node()
	image := stage.NewPeerImage(t)
	image.Copies = rig.Must[map[string]string](t)(rig.SharedFiles(ctx, "/usr/bin/getent"))
	image.Files = map[string]string{"/etc/nsswitch.conf": "hosts: files dns\n"}
	rig.Must[string](t)(node.Engine.Build(ctx, image))

	started := make(chan string, 8)
	ready, ended := make(chan struct{}), make(chan error, 1)
	listening, stop := context.WithCancel(ctx)
	go func() {
		ended <- node.Engine.Events(listening, func() { close(ready) }, func(e rig.Event) {
			if e.Action == "start" && time.Since(e.At()) < time.Minute {
				started <- e.Actor.ID
			}
		})
	}()
	<-ready
	peer := func(name, network string) *stage.Endpoint {
		t.Helper()
		id := rig.Must[string](t)(node.Engine.RunContainer(ctx, rig.RunSpec{Name: name, Image: stage.PeerImage, Network: network}))
		if got := <-started; got != id {
			t.Errorf("the engine tells of %s, want %s", got, id)
		}
		details := rig.Must[rig.Details](t)(node.Engine.Inspect(ctx, id))
		at := details.NetworkSettings.Networks[network]
		return &stage.Endpoint{
			Node: node, ID: id, NetNS: rig.NetNSOf(details.State.Pid), Service: name,
			Addresses: map[string]netip.Addr{network: netip.MustParseAddr(at.IPAddress)},
			Gateways:  map[string]netip.Addr{network: netip.MustParseAddr(at.Gateway)},
		}
	}
	for _, network := range []string{"front", "back"} {
		if err := node.Engine.Do(ctx, http.MethodPost, "/networks/create", map[string]any{"Name": network}, nil); err != nil {
			t.Fatal(err)
		}
	}
	a, b, other := peer("aa", "front"), peer("bb", "front"), peer("cc", "back")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	rig.Eventually(t, 10*time.Second, "both to talk", func(ctx context.Context) (bool, string) {
		if err := reach.Pair(ctx, a, b, "front"); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
	flow, err := reach.Start(ctx, a, b, "front", time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	stage.Pass(t, 300*time.Millisecond)
	if r := flow.Stop(); r.Sent < 50 || r.Lost > 0 {
		t.Error(r)
	}
	cutOff(t, a, b, other)

	for _, command := range [][]string{{"/usr/bin/getent", "ahostsv4", "localhost"}, {"/peer", "-resolve", "localhost"}} {
		if out, err := node.Engine.Exec(ctx, a.ID, command...); err != nil || !strings.Contains(out, "127.0.0.1") {
			t.Errorf("%v: %v\n%s", command, err, out)
		}
	}
	if out, err := node.Engine.Exec(ctx, a.ID, "/peer", "-probe", "http://127.0.0.1:1/"); rig.ExitCode(err) != 1 || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a probe of nothing: %v\n%s", err, out)
	}
	// The engine itself answers the names of containers.
	if err := reach.All(ctx, []*stage.Endpoint{a, b}); err != nil {
		t.Errorf("names of the engine's own: %v", err)
	}
	b.Service = "nobody"
	if err := reach.All(ctx, []*stage.Endpoint{a, b}); err == nil || !strings.Contains(err.Error(), "for nobody") {
		t.Errorf("a name that nobody answers: %v", err)
	}
	b.Service, b.Addresses["front"] = "bb", other.Addresses["back"]
	if err := reach.Names(ctx, a, []*stage.Endpoint{a, b}); err == nil || !strings.Contains(err.Error(), "is none of") {
		t.Errorf("a name with another's address: %v", err)
	}
}

// cutOff has exchanges fail that cannot be whole.
func cutOff(t *testing.T, a, b, other *stage.Endpoint) {
	t.Helper()
	ctx := t.Context()
	maps.Copy(other.Addresses, map[string]netip.Addr{"front": other.Addresses["back"]})
	to := netip.AddrPortFrom(other.Addresses["back"], stage.EchoPort)
	for what, err := range map[string]error{
		"ping across networks":      reach.Ping(ctx, a.NetNS, to.Addr()),
		"tcp across networks":       reach.TCP(ctx, a.NetNS, to, 100),
		"udp across networks":       reach.UDP(ctx, a.NetNS, to, 100, false),
		"a packet that is too long": reach.UDP(ctx, a.NetNS, netip.AddrPortFrom(b.Addresses["front"], stage.EchoPort), 1473, true),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	flow, err := reach.Start(ctx, a, other, "front", time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	stage.Pass(t, 100*time.Millisecond)
	if r := flow.Stop(); r.Lost != r.Sent || r.Sent == 0 {
		t.Error(r)
	}
}
