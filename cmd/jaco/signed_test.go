package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// signedCluster is the history of a cluster whose commits git itself signed:
// an anchor and one claim.
type signedCluster struct {
	anchor signing.Hash
	bundle []byte
	repo   *rig.Repo
}

const trustText = `version: 1
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: [keys/alice.pub]}
rules:
  - {paths: ["deployments/**"], approvals: 1}
`

// bundleSigner signs as jacod does.
type bundleSigner struct{ *identity.Identity }

// Sign implements cluster.BundleSigner.
func (s bundleSigner) Sign(digest [32]byte) (signature, certPEM []byte, err error) {
	return s.Identity.Sign(digest[:])
}

func newSignedCluster(t *testing.T) *signedCluster {
	t.Helper()
	git := rig.StartGit(t)
	alice := rig.Must[*rig.Key](t)(git.NewSSHKey(t.Context(), "alice", "ed25519"))
	bare := filepath.Join(t.TempDir(), "fleet.git")
	check(t, git.InitBare(t.Context(), bare))
	repo := rig.Must[*rig.Repo](t)(git.Clone(t.Context(), bare, ""))
	commit := func(files map[string]string) signing.Hash {
		text := rig.Must[string](t)(repo.CommitFiles(t.Context(), files, rig.CommitOptions{Message: "change", Key: alice}))
		return rig.Must[signing.Hash](t)(signing.ParseHash(text))
	}
	anchor := commit(map[string]string{"trust.yaml": trustText, "keys/alice.pub": alice.Public})
	tip := commit(map[string]string{"deployments/shop/compose.yaml": "services:\n  api:\n    image: shop:1\n"})

	authority := rig.Must[*identity.Authority](t)(identity.NewAuthority("0123456789abcdef", noon, rand.Reader))
	store := identity.NewStore(filepath.Join(t.TempDir(), "identity"), func() time.Time { return noon }, rand.Reader)
	node := rig.Must[*identity.Identity](t)(store.Create(authority, "node-1"))
	objects := cluster.NewMemoryObjects()
	state := rig.Must[*cluster.State](t)(cluster.NewState(objects, cluster.NewMemoryAudit()))
	index := uint64(0)
	apply := func(command cluster.Command) {
		index++
		data := rig.Must[[]byte](t)(cluster.Encode(cluster.Entry{
			Time: noon.Add(time.Duration(index) * time.Second), Actor: cluster.Actor{Kind: cluster.ActorNode, Name: "node-1"}, Command: command,
		}))
		check(t, state.Apply(index, data).Err)
	}
	apply(&cluster.InitCluster{
		Meta: cluster.Meta{ID: node.Cluster(), Name: "test", CA: authority.CertificatePEM(), Anchor: anchor, Repo: cluster.Repo{URL: bare, Branch: "main"}},
		Node: cluster.Node{Name: "node-1", Address: "10.0.0.1:7000", CertificateKey: node.KeyHash(), State: cluster.NodeReady},
	})
	apply(&cluster.PutObjects{Objects: allObjects(t, repo.Dir)})
	from, _, err := signing.Anchor(objects, anchor)
	check(t, err)
	verdict := rig.Must[*signing.Verdict](t)(signing.Verify(objects, from, tip, signing.Options{Now: noon.Add(3 * time.Second)}))
	if verdict.Refusal != nil {
		t.Fatalf("the commit is refused: %+v", verdict.Refusal)
	}
	digest := rig.Must[[32]byte](t)(cluster.ContentDigest(objects, verdict.Position))
	apply(&cluster.AdvanceRevision{Claim: cluster.Claim{Number: 1, From: anchor, Commit: tip, Digest: digest}})
	var bundle bytes.Buffer
	check(t, cluster.WriteBundle(&bundle, state.Read(), bundleSigner{node}))
	return &signedCluster{anchor: anchor, bundle: bundle.Bytes(), repo: repo}
}

// allObjects reads a repository by git cat-file.
func allObjects(t *testing.T, dir string) []cluster.StoredObject {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", dir, "cat-file", "--batch-all-objects", "--batch").Output()
	check(t, err)
	kinds := map[string]signing.ObjectType{
		"commit": signing.CommitObject, "tree": signing.TreeObject, "blob": signing.BlobObject, "tag": signing.TagObject,
	}
	var objects []cluster.StoredObject
	for in := bufio.NewReader(bytes.NewReader(out)); ; {
		var id, kind string
		var size int
		if _, err := fmt.Fscanf(in, "%s %s %d\n", &id, &kind, &size); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, size+1)
		_, err := io.ReadFull(in, data)
		check(t, err)
		objects = append(objects, cluster.StoredObject{
			ID: rig.Must[signing.Hash](t)(signing.ParseHash(id)), Object: signing.Object{Type: kinds[kind], Data: data[:size]},
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
