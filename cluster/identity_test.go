package cluster_test

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/signing"
)

// identitySigner signs bundles by a node's identity, as jacod does.
type identitySigner struct{ *identity.Identity }

// Sign implements cluster.BundleSigner.
func (s identitySigner) Sign(digest [32]byte) (signature, certPEM []byte, err error) {
	return s.Identity.Sign(digest[:])
}

// TestBundleSignedByAnIdentity holds together what cluster verifies and what
// cluster/identity signs.
func TestBundleSignedByAnIdentity(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	authority, err := identity.NewAuthority("0123456789abcdef", now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	node, err := identity.NewStore(t.TempDir(), func() time.Time { return now }, rand.Reader).Create(authority, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	state, err := cluster.NewState(cluster.NewMemoryObjects(), cluster.NewMemoryAudit())
	if err != nil {
		t.Fatal(err)
	}
	data, err := cluster.Encode(cluster.Entry{
		Time: now, Actor: cluster.Actor{Kind: cluster.ActorOperator, Name: "uid:0@node-1"},
		Command: &cluster.InitCluster{
			Meta: cluster.Meta{
				ID: node.Cluster(), Name: "test", CA: authority.CertificatePEM(), Anchor: signing.Hash{1},
				Repo: cluster.Repo{URL: "/srv/fleet.git", Branch: "main"},
			},
			Node: cluster.Node{Name: node.Node(), Address: "10.0.0.1:7000", CertificateKey: node.KeyHash(), State: cluster.NodeReady},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if result := state.Apply(1, data); result.Err != nil {
		t.Fatal(result.Err)
	}
	var bundle bytes.Buffer
	if err := cluster.WriteBundle(&bundle, state.Read(), identitySigner{node}); err != nil {
		t.Fatal(err)
	}
	report, err := cluster.VerifyBundle(&bundle, cluster.BundleOptions{Anchor: &signing.Hash{1}})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Signatures) != 1 || report.Signatures[0].Node != "node-1" {
		t.Errorf("signatures %+v", report.Signatures)
	}
}
