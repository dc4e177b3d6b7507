package stage

import (
	"net/netip"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jaco-sh/jaco/desired"
)

// TestPeerCompose compiles what suites deploy.
func TestPeerCompose(t *testing.T) {
	text := PeerCompose(
		Peers{Name: "web", Replicas: 3, Networks: []string{"front", "back"}, Check: time.Second, Publish: 8080},
		Peers{Name: "empty", Networks: []string{"front"}, Extra: "    labels: {a: b}\n"},
	)
	d, err := desired.Compile(fstest.MapFS{"compose.yaml": {Data: []byte(text)}}, "shop", "deployments/shop")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(d.Services) != 2 || len(d.Networks) != 2 {
		t.Errorf("%d services, %d networks:\n%s", len(d.Services), len(d.Networks), text)
	}
}

func TestShared(t *testing.T) {
	a := netip.MustParseAddr("10.64.0.19")
	one := &Endpoint{Addresses: map[string]netip.Addr{"x": a, "y": a, "z": a}}
	other := &Endpoint{Addresses: map[string]netip.Addr{"z": a, "x": a, "w": a}}
	if got := one.Shared(other); !slices.Equal(got, []string{"x", "z"}) {
		t.Errorf("shared: %v", got)
	}
	if got := one.Shared(&Endpoint{}); got != nil {
		t.Errorf("shared with nobody: %v", got)
	}
}
