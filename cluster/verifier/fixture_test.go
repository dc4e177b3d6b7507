package verifier

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// bench is a repository made by git itself, a state, and a verifier over both.
type bench struct {
	t       *testing.T
	repo    *rig.Repo
	alice   *rig.Key
	mallory *rig.Key
	objects *cluster.MemoryObjects
	audit   *cluster.MemoryAudit
	state   *cluster.State
	index   uint64
	log     [][]byte // the entries applied, from index 1 on
	now     time.Time
	dir     string
	anchor  signing.Hash
	events  []cluster.Event
	// withhold keeps trees and blobs back, as a leader may.
	withhold bool
	// tags are what the repository offers as approvals.
	tags []signing.Hash
	*Verifier
}

const testCluster = "0123456789abcdef"

const trustText = `version: 1
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: [keys/alice.pub]}
rules:
  - {paths: ["deployments/**"], approvals: 1}
`

func newBench(t *testing.T) *bench {
	t.Helper()
	ctx := t.Context()
	git := rig.StartGit(t)
	b := &bench{
		t: t, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), dir: filepath.Join(t.TempDir(), "trust"),
		objects: cluster.NewMemoryObjects(),
		alice:   rig.Must[*rig.Key](t)(git.NewSSHKey(ctx, "alice", "ed25519")),
		mallory: rig.Must[*rig.Key](t)(git.NewSSHKey(ctx, "mallory", "ed25519")),
	}
	bare := filepath.Join(t.TempDir(), "fleet.git")
	if err := git.InitBare(ctx, bare); err != nil {
		t.Fatal(err)
	}
	b.repo = rig.Must[*rig.Repo](t)(git.Clone(ctx, bare, ""))
	b.anchor = b.commit(b.alice, map[string]string{"trust.yaml": trustText, "keys/alice.pub": b.alice.Public})
	b.audit = cluster.NewMemoryAudit()
	b.state = rig.Must[*cluster.State](t)(cluster.NewState(b.objects, b.audit))
	b.apply(b.now, &cluster.InitCluster{
		Meta: cluster.Meta{ID: testCluster, Name: "test", CA: []byte("pem"), Repo: cluster.Repo{URL: bare, Branch: "main"}, Anchor: b.anchor},
		Node: cluster.Node{Name: "n1", Address: "127.0.0.1:7000", CertificateKey: [32]byte{1}, SealKey: "age1x", State: cluster.NodeReady},
	})
	b.load()
	if _, err := PinAnchor(b.dir, testCluster, b.objects, b.anchor); err != nil {
		t.Fatal(err)
	}
	b.open()
	return b
}

// open starts a verifier as a restarted daemon would.
func (b *bench) open() {
	b.t.Helper()
	v, err := Open(Config{
		Directory: b.dir, State: b.state, Objects: b.objects, Branch: "main",
		Now: func() time.Time { return b.now }, Logger: slog.New(slog.DiscardHandler),
		Misbehaviour: func(e cluster.Event) { b.events = append(b.events, e) },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.Verifier = v
}

func (b *bench) commit(key *rig.Key, files map[string]string) signing.Hash {
	b.t.Helper()
	text := rig.Must[string](b.t)(b.repo.CommitFiles(b.t.Context(), files, rig.CommitOptions{Message: "change", Key: key}))
	return rig.Must[signing.Hash](b.t)(signing.ParseHash(text))
}

// tag makes a signed tag and offers it.
func (b *bench) tag(key *rig.Key, name string, of signing.Hash) signing.Hash {
	b.t.Helper()
	text := rig.Must[string](b.t)(b.repo.Tag(b.t.Context(), name, of.String(), rig.CommitOptions{Message: "approve", Key: key}))
	id := rig.Must[signing.Hash](b.t)(signing.ParseHash(text))
	b.tags = append(b.tags, id)
	return id
}

// deploy commits a deployment of one service.
func (b *bench) deploy(key *rig.Key, name, image string) signing.Hash {
	b.t.Helper()
	return b.commit(key, map[string]string{"deployments/" + name + "/compose.yaml": "services:\n  web:\n    image: " + image + "\n"})
}

// load brings every object of the repository into state; with withhold, the
// commits alone.
func (b *bench) load() {
	b.t.Helper()
	var objects []cluster.StoredObject
	for _, o := range allObjects(b.t.Context(), b.t, b.repo.Dir) {
		if o.Type == signing.CommitObject || !b.withhold {
			objects = append(objects, o)
		}
	}
	b.apply(b.now, &cluster.PutObjects{Objects: objects})
}

// allObjects reads a repository by git cat-file.
func allObjects(ctx context.Context, t *testing.T, dir string) []cluster.StoredObject {
	t.Helper()
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "cat-file", "--batch-all-objects", "--batch").Output()
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]signing.ObjectType{
		"commit": signing.CommitObject, "tree": signing.TreeObject, "blob": signing.BlobObject, "tag": signing.TagObject,
	}
	var objects []cluster.StoredObject
	reader := bufio.NewReader(strings.NewReader(string(out)))
	for {
		header, err := reader.ReadString('\n')
		if err == io.EOF {
			return objects
		}
		var id, kind string
		var size int
		if _, err := fmt.Sscanf(header, "%s %s %d", &id, &kind, &size); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, size+1) // a line end follows
		if _, err := io.ReadFull(reader, data); err != nil {
			t.Fatal(err)
		}
		hash, err := signing.ParseHash(id)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, cluster.StoredObject{ID: hash, Object: signing.Object{Type: types[kind], Data: data[:size]}})
	}
}

// claim applies a claim as a leader's log entry would, and lets the verifier
// judge it. Edit changes the claim first, as a dishonest leader may.
func (b *bench) claim(commit signing.Hash, edit func(*cluster.Claim)) {
	b.t.Helper()
	b.load()
	last, _ := b.state.Read().LastClaim()
	claim := cluster.Claim{Number: last.Number + 1, From: b.Record().Position.Commit, Commit: commit}
	if e, err := b.Evaluate(b.objects, commit, b.tags); err == nil {
		claim.Digest, claim.Tags = e.Digest, e.Tags()
	}
	at := b.now
	if edit != nil {
		edit(&claim)
		if !claim.Time.IsZero() {
			at = claim.Time
		}
	}
	b.apply(at, &cluster.AdvanceRevision{Claim: claim})
	if err := b.step(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) apply(at time.Time, command cluster.Command) {
	b.t.Helper()
	data, err := cluster.Encode(cluster.Entry{Time: at, Actor: cluster.Actor{Kind: cluster.ActorNode, Name: "n1"}, Command: command})
	if err != nil {
		b.t.Fatal(err)
	}
	b.replay(data)
}

// replay applies entries that were made elsewhere.
func (b *bench) replay(entries ...[]byte) {
	b.t.Helper()
	for _, data := range entries {
		b.index++
		b.log = append(b.log, data)
		if result := b.state.Apply(b.index, data); result.Err != nil {
			b.t.Fatal(result.Err)
		}
	}
}

// image is what the accepted state says that a deployment runs; "" for none.
func (b *bench) image(name string) string {
	accepted := b.View().Deployments[name]
	if accepted == nil || accepted.Desired == nil {
		return ""
	}
	return accepted.Desired.Service("web").Container.Image
}
