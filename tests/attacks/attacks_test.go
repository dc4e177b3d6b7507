package attacks

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "attacks") }

// sayTime is ample for three nodes to say what they think of a push.
const sayTime = 60 * time.Second

// trustText has two roots, a deployment that takes two people, a forge, and a
// revoked key of bob's. The fingerprint is of that.
const trustText = `version: %d
root: {threshold: 2, signers: [alice, bob]}
signers:
  alice: {keys: [keys/alice.pub, keys/alice2.pub]}
  bob: {keys: [keys/bob.pub, keys/lost.pub]}
  hub: {class: forge, keys: [keys/hub.pub]}
rules:
  - {paths: ["deployments/**"], approvals: 1}
  - {paths: ["deployments/shop/**"], approvals: 2}
revoked:
  - {key: "%s", since: 2026-01-01T00:00:00Z, compromised: true, reason: "laptop lost"}
`

// play is one cluster, its people, and the attackers' keys.
type play struct {
	*stage.Cluster
	alice2, bob, lost, hub *rig.Key
	good                   string // what the branch holds between two attacks
	tags                   int    // approve tags made so far
}

// attack is one case: what is pushed, which commit is named, and for what.
type attack struct {
	name string
	// prepare brings about what the attack needs, properly; nil: nothing.
	prepare func(*play)
	// push returns the commit that status must name.
	push func(*play) string
	// reason is that of the refusal; "" where shop waits for approval, and
	// ReasonTrustPending where the sync waits for root.
	reason signing.Reason
}

var attacks = []attack{
	{"unsigned behind an octopus merge", nil, octopus, signing.ReasonUnsigned},
	{"rollback", nil, rollback, signing.ReasonRewritten},
	{"replayed approval", replaced, replay, ""},
	{"approval by the author's second key", nil, secondKey, ""},
	{"approval by the git host", nil, byForge, ""},
	{"back-dated commit by a revoked key", nil, backDated, signing.ReasonRevoked},
	{"policy changed with a deployment", nil, trustWithDeployment, signing.ReasonTrust},
	{"rotation without the threshold", nil, rotation, signing.ReasonTrustPending},
	{"evil merge by the git host", nil, evilMerge, signing.ReasonMerge},
	{"another spelling of a signature", nil, armor, signing.ReasonBadSignature},
}

// TestAttacks leaves the cluster as it was ten times.
func TestAttacks(t *testing.T) {
	c := stage.NewCluster(t, stage.ClusterConfig{Transport: stage.HTTP})
	p := &play{Cluster: c, alice2: c.NewKey("alice2"), bob: c.NewKey("bob"), lost: c.NewKey("lost"), hub: c.NewKey("hub")}
	p.begin()
	for _, test := range attacks {
		t.Run(test.name, func(t *testing.T) {
			c.In(t)
			if test.prepare != nil {
				test.prepare(p)
			}
			before := p.started()
			bad := test.push(p)
			p.Deliver(p.Member(1))
			p.named(bad, test.reason)
			p.wantSame(before)
			p.mend()
			p.wantSame(before)
		})
	}
	// The cluster still takes what is good.
	last := p.Commit(files("blog", "the end"))
	p.Push()
	p.Deliver(p.Member(1))
	p.runs("blog", last)
	if out := p.Any().Jaco("audit", "verify", "--anchor", p.Anchor); out == "" {
		t.Error("audit verify says nothing")
	}
}

// files are a deployment of one service that is told apart by its message.
func files(deployment, message string) map[string]string {
	return map[string]string{stage.Path(deployment): stage.Compose(stage.Service{
		Name: "web", Tag: "1", Replicas: 1, Env: map[string]string{"MESSAGE": message},
	})}
}

func (p *play) trust(version int) string { return fmt.Sprintf(trustText, version, p.lost.Fingerprint) }

// begin brings in the policy, approved by both, and two deployments.
func (p *play) begin() {
	p.T.Helper()
	p.Commit(map[string]string{
		"trust.yaml": p.trust(2), "keys/alice2.pub": p.alice2.Public, "keys/bob.pub": p.bob.Public,
		"keys/lost.pub": p.lost.Public, "keys/hub.pub": p.hub.Public,
	})
	p.approve(p.bob, "trust")
	first := p.Commit(files("shop", "first"))
	second := p.Commit(files("blog", "first"))
	p.approveAt(p.bob, "shop", first)
	p.Push()
	p.Deliver(p.Member(1))
	p.runs("shop", "")
	p.runs("blog", second)
	p.Settle(sayTime)
	p.good = p.head()
}

func (p *play) head() string {
	p.T.Helper()
	return rig.Must[string](p.T)(p.Repo.Git(p.T.Context(), "rev-parse", "HEAD"))
}

func (p *play) approve(key *rig.Key, unit string) { p.T.Helper(); p.approveAt(key, unit, "HEAD") }

// approveAt makes and pushes an approve tag.
func (p *play) approveAt(key *rig.Key, unit, rev string) {
	p.T.Helper()
	p.tags++
	name := fmt.Sprintf("approve/%s/%d", unit, p.tags)
	rig.Must[string](p.T)(p.Repo.Tag(p.T.Context(), name, rev, rig.CommitOptions{Message: "Approve", Key: key}))
	p.Check(p.Repo.Push(p.T.Context(), "refs/tags/"+name))
}

// runs waits until a deployment runs a revision; "" stands for any.
func (p *play) runs(name, revision string) {
	p.T.Helper()
	p.Eventually(sayTime, name+" to run", func(status *cluster.Status) (bool, string) {
		d := stage.Deployment(status, name)
		return stage.Whole(d) && (revision == "" || d.Revision == revision), stage.Summary(status)
	})
}

// started are all containers of the cluster, and when each was started.
func (p *play) started() map[string]string {
	p.T.Helper()
	all := p.Started("shop")
	maps.Copy(all, p.Started("blog"))
	if placed := p.Containers(); len(placed) != len(all) {
		p.T.Fatal(fmt.Sprintf("engines hold %d containers, %d of them of shop and blog", len(placed), len(all)))
	}
	return all
}

func (p *play) wantSame(before map[string]string) {
	p.T.Helper()
	if after := p.started(); !maps.Equal(before, after) {
		p.T.Fatal(fmt.Sprintf("the engines changed from\n%v\nto\n%v", before, after))
	}
}

// named waits until every node names the bad commit.
func (p *play) named(bad string, reason signing.Reason) {
	p.T.Helper()
	p.Eventually(sayTime, "the attack to be named", func(status *cluster.Status) (bool, string) {
		switch reason {
		case "", signing.ReasonTrustPending:
			unit, state := "shop", cluster.SyncSynced
			if reason != "" {
				unit, state = signing.TrustUnit, cluster.SyncStalled
			}
			for _, w := range status.Sync.Pending {
				if w.Deployment == unit && w.Revision == bad && w.Need == 2 && len(w.Have) == 1 && w.Command != "" {
					return status.Sync.State == state, stage.Summary(status)
				}
			}
		default:
			for _, r := range status.Sync.Refused {
				if r.Revision == bad && r.Code == string(reason) && r.Advice != "" {
					return status.Sync.State == cluster.SyncStalled, stage.Summary(status)
				}
			}
		}
		return false, fmt.Sprintf("want %s for %q: %+v\n%s", bad, reason, status.Sync, stage.Summary(status))
	})
}

// mend puts the branch back: to the good commit where the attack was refused,
// and else by a new commit with the old content, which needs nobody.
func (p *play) mend() {
	p.T.Helper()
	ctx := p.T.Context()
	if accepted := p.Any().Status().Sync.Accepted; accepted != p.good {
		p.Check(p.Repo.Checkout(ctx, "main", accepted))
		rig.Must[string](p.T)(p.Repo.Git(ctx, "rm", "-r", "-q", "--", "."))
		rig.Must[string](p.T)(p.Repo.Git(ctx, "checkout", "-q", p.good, "--", "."))
		p.good = p.Commit(nil)
	}
	p.Check(p.Repo.Checkout(ctx, "main", p.good))
	p.Check(p.Repo.ForcePush(ctx))
	p.Deliver(p.Member(1))
	p.Eventually(sayTime, "the branch to be good again", func(status *cluster.Status) (bool, string) {
		return status.Sync.State == cluster.SyncSynced && status.Sync.Accepted == p.good && len(status.Sync.Pending) == 0, stage.Summary(status)
	})
}

func octopus(p *play) string {
	ctx, bad := p.T.Context(), ""
	for _, topic := range []string{"one", "two", "three"} {
		p.Check(p.Repo.Checkout(ctx, topic, p.good))
		if topic == "three" {
			bad = p.CommitAs(nil, files("blog", "evil"))
			continue
		}
		p.Commit(map[string]string{topic: "harmless"})
	}
	p.Check(p.Repo.Checkout(ctx, "main", p.good))
	rig.Must[string](p.T)(p.Repo.Git(ctx, "merge", "-q", "--no-ff", "-S", "-m", "octopus", "one", "two", "three"))
	p.Push()
	return bad
}

func rollback(p *play) string {
	p.Check(p.Repo.Reset(p.T.Context(), p.Anchor))
	p.Check(p.Repo.ForcePush(p.T.Context()))
	return p.head()
}

// replaced has bob approve one version of shop and then another.
func replaced(p *play) {
	for _, message := range []string{"with a hole", "mended"} {
		commit := p.Commit(files("shop", message))
		p.approve(p.bob, "shop")
		p.Push()
		p.Deliver(p.Member(1))
		p.runs("shop", commit)
	}
	p.Settle(sayTime)
	p.good = p.head()
}

// replay brings back the version that bob approved once: his tag is still there.
func replay(p *play) string {
	bad := p.Commit(files("shop", "with a hole"))
	p.Push()
	return bad
}

func secondKey(p *play) string {
	bad := p.Commit(files("shop", "evil"))
	p.approve(p.alice2, "shop")
	p.Push()
	return bad
}

func byForge(p *play) string {
	bad := p.Commit(files("shop", "evil"))
	p.approve(p.hub, "shop")
	p.Push()
	return bad
}

func backDated(p *play) string {
	bad := rig.Must[string](p.T)(p.Repo.CommitFiles(p.T.Context(), files("blog", "evil"),
		rig.CommitOptions{Message: "long ago", Key: p.lost, Date: time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)}))
	p.Push()
	return bad
}

func trustWithDeployment(p *play) string {
	changed := files("shop", "evil")
	changed["trust.yaml"] = p.trust(3)
	bad := p.Commit(changed)
	p.Push()
	return bad
}

func rotation(p *play) string {
	bad := p.Commit(map[string]string{"trust.yaml": strings.Replace(p.trust(3), "threshold: 2", "threshold: 1", 1)})
	p.Commit(files("blog", "evil"))
	p.Push()
	return bad
}

func evilMerge(p *play) string {
	ctx := p.T.Context()
	p.Check(p.Repo.Checkout(ctx, "topic", p.good))
	p.Commit(map[string]string{"README": "harmless"})
	p.Check(p.Repo.Checkout(ctx, "main", p.good))
	rig.Must[string](p.T)(p.Repo.Git(ctx, "merge", "-q", "--no-ff", "--no-commit", "topic"))
	bad := p.CommitAs(p.hub, files("blog", "evil"))
	p.Push()
	return bad
}

// armor has the bytes of a signed commit with a line more behind the signature:
// another id, made without a key.
func armor(p *play) string {
	p.Commit(files("blog", "evil"))
	path := filepath.Join(p.Rig.Dir, "commit")
	rig.Must[string](p.T)(p.Repo.Shell(p.T.Context(),
		"git cat-file commit HEAD | sed 's/^ -----END SSH SIGNATURE-----/&\\n and more/' >"+path))
	defer func() { p.Check(os.Remove(path)) }()
	bad := rig.Must[string](p.T)(p.Repo.Git(p.T.Context(), "hash-object", "-t", "commit", "-w", "--literally", path))
	p.Check(p.Repo.Reset(p.T.Context(), bad))
	p.Push()
	return bad
}
