package verifier

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

func TestAcceptsWhatAliceSigned(t *testing.T) {
	b := newBench(t)
	first := b.deploy(b.alice, "shop", "web:1")
	b.claim(first, nil)
	if got := b.image("shop"); got != "web:1" {
		t.Fatalf("shop runs %q, want web:1", got)
	}
	second := b.deploy(b.alice, "shop", "web:2")
	b.claim(second, nil)

	b.open() // a restarted daemon knows the same from its own disk
	if err := b.step(); err != nil {
		t.Fatal(err)
	}
	view := b.View()
	shop := view.Deployments["shop"]
	if b.image("shop") != "web:2" || shop.Revision != second || shop.Claim != 2 || view.Commit != second || view.Anchor != b.anchor {
		t.Errorf("after a restart shop is %+v in %+v", shop, view)
	}
	if shop.Previous == nil || shop.Previous.Revision != first {
		t.Errorf("the revision before is %+v, want %s", shop.Previous, first)
	}
	if len(shop.Signers) != 1 || shop.Signers[0].Signer != "alice" || shop.Signers[0].Key != b.alice.Fingerprint {
		t.Errorf("signed by %+v, want alice", shop.Signers)
	}
	if spec, _ := view.Spec("shop", "web", shop.Previous.Desired.Service("web").SpecHash); spec == nil {
		t.Error("a replica of the revision before cannot be started while the rollout lasts")
	}
}

func TestRefusesWhatALeaderForges(t *testing.T) {
	for _, test := range []struct {
		name   string
		commit func(*bench) signing.Hash
		edit   func(*bench, *cluster.Claim)
		want   signing.Reason
	}{
		{"an unsigned commit", func(b *bench) signing.Hash { return b.deploy(nil, "shop", "evil:1") }, nil, signing.ReasonUnsigned},
		{"an unknown signer", func(b *bench) signing.Hash { return b.deploy(b.mallory, "shop", "evil:1") }, nil, signing.ReasonUnknownSigner},
		{"an older commit", func(b *bench) signing.Hash { return b.anchor }, nil, signing.ReasonRewritten},
		{"a digest of something else", good, func(_ *bench, c *cluster.Claim) { c.Digest[0] ^= 1 }, ReasonDigest},
		{"a time in the future", good, func(b *bench, c *cluster.Claim) { c.Time = b.now.Add(6 * time.Minute) }, ReasonClock},
		{"evidence that was withheld", func(b *bench) signing.Hash {
			b.withhold = true
			return good(b)
		}, nil, ReasonEvidence},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			before := b.deploy(b.alice, "shop", "web:1")
			b.claim(before, nil)
			view := b.View()

			bad := test.commit(b)
			b.claim(bad, func(c *cluster.Claim) {
				if test.edit != nil {
					test.edit(b, c)
				}
			})
			if b.image("shop") != "web:1" || b.View().Commit != before || b.View().Deployments["shop"].Revision != view.Deployments["shop"].Revision {
				t.Errorf("a refused claim changed what runs: %+v", b.View())
			}
			refusal := b.View().Refusal
			if refusal == nil || refusal.Reason != test.want {
				t.Fatalf("refusal is %+v, want %s", refusal, test.want)
			}
			journal, err := b.Refused()
			if err != nil || len(journal) != 1 || journal[0].Reason != test.want || journal[0].Claim != 2 {
				t.Errorf("journal is %+v, %v", journal, err)
			}
			if len(b.events) != 1 || b.events[0].Type != cluster.EventLeaderMisbehaviour {
				t.Errorf("reported %+v", b.events)
			}

			b.withhold = false
			// It wedges nothing: an honest claim from the same position goes through.
			if err := b.repo.Reset(t.Context(), before.String()); err != nil {
				t.Fatal(err)
			}
			next := b.deploy(b.alice, "shop", "web:3")
			b.claim(next, nil)
			if b.image("shop") != "web:3" || b.View().Refusal != nil {
				t.Errorf("after the next good claim shop runs %q, refusal %+v", b.image("shop"), b.View().Refusal)
			}
		})
	}
}

// TestTimeRunsBack goes around State, which raises such a time: the verifier
// does not count on that.
func TestTimeRunsBack(t *testing.T) {
	b := newBench(t)
	b.claim(b.deploy(b.alice, "shop", "web:1"), nil)
	next := b.deploy(b.alice, "shop", "web:2")
	b.load()
	if err := b.judge(b.state.Read(), cluster.Claim{Number: 2, Commit: next, Time: b.now.Add(-time.Second)}); err != nil {
		t.Fatal(err)
	}
	if refusal := b.View().Refusal; refusal == nil || refusal.Reason != ReasonClock || b.image("shop") != "web:1" {
		t.Errorf("refusal is %+v", refusal)
	}
}

func good(b *bench) signing.Hash { return b.deploy(b.alice, "shop", "web:2") }

func TestBackDatedEntryOfALiveLog(t *testing.T) {
	b := newBench(t)
	b.claim(b.deploy(b.alice, "shop", "web:1"), nil)
	b.now = b.now.Add(time.Hour)
	old := func(c *cluster.Claim) { c.Time = b.now.Add(-6 * time.Minute) }
	b.claim(b.deploy(b.alice, "shop", "web:2"), old)
	if b.image("shop") != "web:2" {
		t.Fatal("an entry that was caught up on was refused for its age")
	}
	b.FollowLive(b.index)
	b.claim(b.deploy(b.alice, "shop", "web:3"), func(c *cluster.Claim) { c.Time = b.now.Add(-5*time.Minute - time.Second) })
	if b.image("shop") != "web:2" || b.View().Refusal == nil || b.View().Refusal.Reason != ReasonClock {
		t.Errorf("a back-dated entry of the live log: %+v", b.View().Refusal)
	}
}

func TestInvalidDeploymentKeepsWhatRuns(t *testing.T) {
	b := newBench(t)
	b.claim(b.deploy(b.alice, "shop", "web:1"), nil)
	bad := b.commit(b.alice, map[string]string{
		"deployments/shop/compose.yaml": "services:\n  web:\n    image: web:2\n    privileged: true\n",
		"deployments/blog/compose.yaml": "services:\n  web:\n    image: blog:1\n",
	})
	b.claim(bad, nil)
	shop := b.View().Deployments["shop"]
	if b.image("shop") != "web:1" || shop.Invalid == nil || shop.Invalid.Revision != bad {
		t.Fatalf("shop is %+v", shop)
	}
	if !strings.Contains(shop.Invalid.Reason, "deployments/shop/compose.yaml:4") {
		t.Errorf("the reason names no place: %s", shop.Invalid.Reason)
	}
	if b.image("blog") != "blog:1" {
		t.Error("one deployment's error held back another in the same commit")
	}
	b.claim(b.deploy(b.alice, "shop", "web:3"), nil)
	if shop := b.View().Deployments["shop"]; b.image("shop") != "web:3" || shop.Invalid != nil {
		t.Errorf("after the mend shop is %+v", shop)
	}
}

func TestRemovedDeployment(t *testing.T) {
	b := newBench(t)
	b.deploy(b.alice, "shop", "web:1")
	b.claim(b.deploy(b.alice, "blog", "blog:1"), nil)
	if err := b.repo.Remove("deployments/shop"); err != nil {
		t.Fatal(err)
	}
	b.claim(b.commit(b.alice, nil), nil)
	if b.View().Deployments["shop"] != nil || b.image("blog") != "blog:1" {
		t.Errorf("after the removal the view holds %v", b.View().Deployments)
	}
}

func TestClusterFile(t *testing.T) {
	b := newBench(t)
	b.claim(b.commit(b.alice, map[string]string{"cluster.yaml": "nodes:\n  n1: {labels: {ssd: \"true\"}}\n"}), nil)
	if got := b.View().Cluster.Nodes["n1"].Labels["ssd"]; got != "true" {
		t.Fatalf("label ssd is %q", got)
	}
	b.claim(b.commit(b.alice, map[string]string{"cluster.yaml": "nodes: 7\n"}), nil)
	view := b.View()
	if view.Cluster.Nodes["n1"].Labels["ssd"] != "true" || view.ClusterInvalid == nil {
		t.Errorf("a broken cluster.yaml: %+v, invalid %+v", view.Cluster, view.ClusterInvalid)
	}
}

func TestProve(t *testing.T) {
	b := newBench(t)
	first := b.deploy(b.alice, "shop", "web:1")
	b.claim(first, nil)
	spec := b.View().Deployments["shop"].Desired.Service("web").SpecHash
	for _, image := range []string{"web:2", "web:3"} { // two revisions later the view has forgotten it
		b.claim(b.deploy(b.alice, "shop", image), nil)
	}
	if known, _ := b.View().Spec("shop", "web", spec); known != nil {
		t.Fatal("the view still holds the first spec: the test shows nothing")
	}
	proof, err := b.Prove("shop", "web", first, spec)
	if err != nil {
		t.Fatal(err)
	}
	if len(proof.Signers) != 1 || proof.Signers[0].Signer != "alice" || proof.Claim.Number != 1 || proof.TrustVersion != 1 {
		t.Errorf("proof is %+v", proof)
	}
	for name, err := range map[string]error{
		"another spec":     second(b.Prove("shop", "web", first, strings.Repeat("0", 64))),
		"another revision": second(b.Prove("shop", "web", b.anchor, spec)),
		"another service":  second(b.Prove("shop", "db", first, spec)),
	} {
		if !errors.Is(err, ErrUnproved) {
			t.Errorf("%s: %v, want ErrUnproved", name, err)
		}
	}
}

// TestProveByWhatWasTaken: a claim that was refused proves nothing, though its
// commits are signed.
func TestProveByWhatWasTaken(t *testing.T) {
	b := newBench(t)
	first := b.deploy(b.alice, "shop", "web:1")
	b.claim(first, func(c *cluster.Claim) { c.Digest[0]++ })
	b.claim(first, nil)
	b.claim(b.deploy(b.alice, "api", "web:1"), nil)
	if err := b.repo.Remove("deployments/api"); err != nil {
		t.Fatal(err)
	}
	if err := b.repo.Remove("deployments/shop"); err != nil {
		t.Fatal(err)
	}
	only := b.deploy(b.alice, "web", "web:2")
	b.claim(only, nil) // removes two of two
	text := rig.Must[string](t)(b.repo.CommitFiles(t.Context(), map[string]string{"README": "smaller"},
		rig.CommitOptions{Message: "Clean up\n\nAllow-Prune: 2", Key: b.alice}))
	b.claim(rig.Must[signing.Hash](t)(signing.ParseHash(text)), nil)

	spec := b.View().Deployments["web"].Desired.Service("web").SpecHash
	if proof, err := b.Prove("web", "web", only, spec); err != nil || proof.Claim.Number != 5 {
		t.Errorf("behind a mass deletion: proof %+v, error %v", proof, err)
	}
	compiled, err := compileUnit(b.objects, "shop", treeAt(t, b, first, "shop"), desired.Options{Ungated: true})
	if err != nil || compiled.invalid != nil {
		t.Fatal(err, compiled)
	}
	if proof, err := b.Prove("shop", "web", first, compiled.deployment.Service("web").SpecHash); err != nil || proof.Claim.Number != 2 {
		t.Errorf("behind a wrong digest: proof %+v, error %v", proof, err)
	}
}

// treeAt is the content of a deployment in a commit.
func treeAt(t *testing.T, b *bench, commit signing.Hash, name string) signing.Hash {
	t.Helper()
	c := rig.Must[*signing.Commit](t)(signing.ReadCommit(b.objects, commit))
	units := rig.Must[map[string]signing.Unit](t)(signing.UnitsOfTree(b.objects, c.Tree))
	return units[name].Tree
}

func second[A any](_ A, err error) error { return err }

func TestStoreIsNeverReplacedByAFreshOne(t *testing.T) {
	b := newBench(t)
	b.claim(b.deploy(b.alice, "shop", "web:1"), nil)
	if _, err := PinAnchor(b.dir, testCluster, b.objects, b.anchor); err == nil {
		t.Error("a second pin replaced the trust store")
	}
	path := filepath.Join(b.dir, storeFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, len(data) / 2, len(data) - 1} {
		broken := append([]byte(nil), data...)
		broken[at] ^= 0x20
		if err := os.WriteFile(path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Directory: b.dir}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d changed: %v, want ErrCorrupt", at, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Directory: b.dir}); !errors.Is(err, ErrNoTrust) {
		t.Errorf("without a store: %v, want ErrNoTrust", err)
	}
}

func TestJournalSurvivesACutLine(t *testing.T) {
	dir := t.TempDir()
	journal := OpenJournal(dir)
	want := JournalEntry{Time: time.Unix(1, 0).UTC(), Claim: 7, Commit: signing.Hash{1}, Reason: ReasonDigest, Detail: "x"}
	if err := journal.Append(want); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(dir, journalFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"time":"20`); err != nil {
		t.Fatal(err)
	}
	file.Close()
	got, err := journal.Read()
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
}
