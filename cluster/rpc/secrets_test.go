package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
)

func unitKey(t *testing.T, unit string) *identity.UnitKey {
	t.Helper()
	key, err := identity.DeriveUnitKey(bytes.Repeat([]byte{7}, identity.UnitSecretBytes), unit)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestUnitKeyIsHandedOver to the caller that the certificate names, and to
// nobody who may not have it.
func TestUnitKeyIsHandedOver(t *testing.T) {
	_, server, peers, _ := twoNodes(t)
	shop := unitKey(t, "shop")
	server.node.unitKey = func(node, unit string) (*identity.UnitKey, error) {
		if node != "node-2" || unit != "shop" {
			return nil, fmt.Errorf("%w: node %s runs nothing of %s", ErrForbidden, node, unit)
		}
		return shop, nil
	}
	got, err := peers.UnitKey(t.Context(), "node-1", "shop")
	if err != nil || got.Secret() != shop.Secret() {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := peers.UnitKey(t.Context(), "node-1", "blog"); got != nil || !errors.Is(err, ErrForbidden) {
		t.Errorf("that of another deployment: %v, %v", got, err)
	}
	server.node.recipient = func(unit string) (string, error) { return "age1of-" + unit, nil }
	if got, err := peers.Recipient(t.Context(), "node-1", ClusterUnit); got != "age1of-cluster" || err != nil {
		t.Errorf("recipient: %q, %v", got, err)
	}
	for _, unit := range []string{"", "trust", "Shop", "../shop"} {
		if _, err := peers.UnitKey(t.Context(), "node-1", unit); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("the key of %q: %v", unit, err)
		}
		if _, err := peers.Recipient(t.Context(), "node-1", unit); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("the recipient of %q: %v", unit, err)
		}
	}
	server.log.mu.Lock()
	said := server.log.data.String()
	server.log.mu.Unlock()
	if strings.Contains(said, "AGE-SECRET-KEY") {
		t.Errorf("the log holds an identity:\n%s", said)
	}
}

func TestRecipientOverTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jaco.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server, member := NewServer(nil, nil), newFakeMember()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	client, err := DialSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if _, err := client.Recipient(t.Context(), "shop"); !errors.Is(err, ErrNotInitialized) {
		t.Errorf("before there is a cluster: %v", err)
	}
	server.Attach(member, member, member, member)
	if got, err := client.Recipient(t.Context(), "shop"); got != "age1of-shop" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := client.Recipient(t.Context(), "Shop"); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("a bad name: %v", err)
	}
}
