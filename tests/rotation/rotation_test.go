package rotation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "rotation") }

// patience is ample for what takes a second on an idle machine.
const patience = 60 * time.Second

// policy is a trust.yaml whose root is two people, both needed.
func policy(version int, one, two string) string {
	return fmt.Sprintf(`version: %[1]d
root: {threshold: 2, signers: [%[2]s, %[3]s]}
signers:
  %[2]s: {keys: [keys/%[2]s.pub]}
  %[3]s: {keys: [keys/%[3]s.pub]}
rules:
  - {paths: ["deployments/**"], approvals: 1}
`, version, one, two)
}

func files(deployment, message string) map[string]string {
	return map[string]string{stage.Path(deployment): stage.Compose(stage.Service{
		Name: "web", Tag: "1", Replicas: 1, Env: map[string]string{"MESSAGE": message},
	})}
}

// play is a cluster, and people with clones of their own.
type play struct {
	*stage.Cluster
	bob, carol *rig.Key
	clones     map[string]*rig.Repo
}

// TestRotation replaces alice, who made the cluster, by carol.
func TestRotation(t *testing.T) {
	c := stage.NewCluster(t, stage.ClusterConfig{Transport: stage.HTTP})
	p := &play{Cluster: c, bob: c.NewKey("bob"), carol: c.NewKey("carol")}
	p.clones = map[string]*rig.Repo{"alice": c.Repo, "bob": c.Clone(p.bob), "carol": c.Clone(p.carol)}

	// Bob becomes root too; by the new policy it takes both.
	p.Commit(map[string]string{"trust.yaml": policy(2, "alice", "bob"), "keys/bob.pub": p.bob.Public})
	p.tell()
	p.awaits(2, "bob")
	p.approve("bob")
	c.Commit(files("shop", "first"))
	c.Commit(files("blog", "first"))
	p.tell()
	c.Settle(patience)
	down := p.follower()
	before := p.containers(down.Name())

	// While a node is down, carol comes and alice goes. It takes the root of
	// before, alice and bob, and that of after, bob and carol.
	c.Kill(down)
	rotation := p.CommitAs(p.bob, map[string]string{
		"trust.yaml": policy(3, "bob", "carol"), "keys/carol.pub": p.carol.Public,
	})
	p.tell()
	p.awaits(3, "alice", "carol")
	p.approve("alice")
	p.awaits(3, "carol")
	p.approve("carol")
	p.accepted(rotation)
	p.outdated(before)

	// Alice is nobody now, for every node that runs.
	bad := p.Commit(files("shop", "by alice"))
	p.tell()
	p.refused(bad, rotation)

	// The node that was down comes to the same.
	c.Start(down)
	p.accepted(rotation)
	p.outdated(before)
	p.refused(bad, rotation)

	// Her commit is dropped; what bob and carol sign goes on.
	c.Check(c.Repo.Reset(t.Context(), rotation))
	p.CommitAs(p.carol, files("shop", "second"))
	c.Check(c.Repo.ForcePush(t.Context()))
	c.Deliver(c.Leader())
	p.whole("shop")

	// Who joins now knows of alice by the evidence alone.
	joined := c.AddMember()
	last := p.CommitAs(p.bob, files("blog", "second"))
	p.tell()
	p.accepted(last)
	c.Settle(patience)
	bad = p.Commit(files("shop", "by alice again"))
	p.tell()
	p.refused(bad, last)
	for _, m := range []stage.Member{down, joined} {
		m.T = t
		if out := m.Jaco("audit", "verify", "--anchor", c.Anchor); !strings.HasPrefix(out, "verified") {
			t.Errorf("on %s audit verify says:\n%s", m.Name(), out)
		}
	}
}

// tell pushes alice's clone and has the git host deliver.
func (p *play) tell() {
	p.T.Helper()
	p.Push()
	p.Deliver(p.Leader())
}

// follower is a member that does not lead.
func (p *play) follower() stage.Member {
	p.T.Helper()
	leader := p.Leader().Name()
	members := p.Running()
	return members[slices.IndexFunc(members, func(m stage.Member) bool { return m.Name() != leader })]
}

// awaits waits until every node says that the trust change waits, and for whom.
func (p *play) awaits(version int, eligible ...string) {
	p.T.Helper()
	p.Eventually(patience, fmt.Sprintf("the trust change to wait for %v", eligible), func(status *cluster.Status) (bool, string) {
		if status.Sync.State != cluster.SyncStalled || len(status.Sync.Pending) != 1 ||
			!strings.Contains(status.Sync.Reason, "trust change") || !strings.Contains(status.Sync.Reason, fmt.Sprintf("(version %d) awaits", version)) {
			return false, stage.Summary(status) + " " + status.Sync.Reason
		}
		w := status.Sync.Pending[0]
		return w.Deployment == signing.TrustUnit && w.Need == 2 && slices.Equal(w.Eligible, eligible), fmt.Sprintf("%+v", w)
	})
}

// approve has somebody run exactly what status prints.
func (p *play) approve(name string) {
	p.T.Helper()
	out := p.Any().Jaco("status", "sync")
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "git ") {
			if said, err := p.clones[name].Shell(p.T.Context(), line); err != nil {
				p.T.Fatal(fmt.Sprintf("for %s the printed command does not work: %s\n%v\n%s", name, line, err, said))
			}
			p.Deliver(p.Leader())
			return
		}
	}
	p.T.Fatal("status sync prints no command:\n" + out)
}

// accepted waits until every node that runs accepted the commit by itself.
func (p *play) accepted(commit string) {
	p.T.Helper()
	p.Eventually(patience, "all to have accepted "+commit[:12], func(status *cluster.Status) (bool, string) {
		own := stage.Node(status, status.Cluster.Node)
		return status.Sync.Accepted == commit && own != nil && own.Accepted == commit, stage.Summary(status)
	})
}

// outdated waits until every node says that what alice approved would not be
// approved again, and checks that what ran on the other nodes runs on.
func (p *play) outdated(before []string) {
	p.T.Helper()
	p.Eventually(patience, "what alice approved to be marked", func(status *cluster.Status) (bool, string) {
		for _, name := range []string{"shop", "blog"} {
			d := stage.Deployment(status, name)
			if d == nil || d.Sync != cluster.AxisPolicyOutdated || d.Reason == "" {
				return false, stage.Summary(status)
			}
		}
		return true, ""
	})
	after := p.containers("")
	for _, id := range before {
		if !slices.Contains(after, id) {
			p.T.Fatal(fmt.Sprintf("for a change of trust container %s went: %v", id, after))
		}
	}
}

// refused waits until every node says that the commit was refused, and checks
// that it stayed where it was.
func (p *play) refused(bad, accepted string) {
	p.T.Helper()
	p.Eventually(patience, bad[:12]+" to be refused", func(status *cluster.Status) (bool, string) {
		named := slices.ContainsFunc(status.Sync.Refused, func(r cluster.RefusalStatus) bool {
			return r.Revision == bad && r.Code == string(signing.ReasonUnknownSigner)
		})
		own := stage.Node(status, status.Cluster.Node)
		return named && status.Sync.State == cluster.SyncStalled && status.Sync.Accepted == accepted && own != nil && own.Accepted == accepted,
			stage.Summary(status)
	})
}

func (p *play) whole(deployment string) {
	p.T.Helper()
	p.Eventually(patience, deployment+" to run", func(status *cluster.Status) (bool, string) {
		return stage.Whole(stage.Deployment(status, deployment)), stage.Summary(status)
	})
}

// containers are those of all nodes but one, as their engines know them.
func (p *play) containers(but string) []string {
	p.T.Helper()
	var ids []string
	for _, placed := range p.Containers() {
		if placed.Node != but {
			ids = append(ids, placed.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
