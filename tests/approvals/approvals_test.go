package approvals

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "approvals") }

// deployTime is ample for a few replicas on a busy machine.
const deployTime = 60 * time.Second

// trustOfTwo asks for two people where production is changed.
const trustOfTwo = `version: 2
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: [keys/alice.pub]}
  bob: {keys: [keys/bob.pub]}
rules:
  - {paths: ["deployments/**"], approvals: 1}
  - {paths: ["deployments/production/**"], approvals: 2}
`

// play is one cluster and two people with clones of their own.
type play struct {
	*stage.Cluster
	bob *rig.Repo
}

// files are a deployment of one service with one replica, so that a rolling
// update is one step, told apart by its message.
func files(deployment, message string) map[string]string {
	return map[string]string{stage.Path(deployment): stage.Compose(stage.Service{
		Name: "web", Tag: "1", Replicas: 1, Env: map[string]string{"MESSAGE": message},
	})}
}

// TestApprovals is one day of alice and bob.
func TestApprovals(t *testing.T) {
	c := stage.NewCluster(t, stage.ClusterConfig{Transport: stage.HTTP})
	key := c.NewKey("bob")
	p := &play{Cluster: c, bob: c.Clone(key)}
	c.Commit(map[string]string{"trust.yaml": trustOfTwo, "keys/bob.pub": key.Public})

	// The first version of both: production waits, staging does not.
	first := c.Commit(files("production", "first"))
	c.Commit(files("staging", "first"))
	p.tell()
	p.waits(first)
	p.runs("staging")
	p.approve()
	p.runs("production")
	c.Settle(deployTime)

	// A change of production waits, and one of staging behind it goes through.
	before := p.containers("production")
	change := c.Commit(files("production", "second"))
	p.tell()
	p.waits(change)
	staging := c.Commit(files("staging", "second"))
	p.tell()
	c.Eventually(deployTime, "staging to run its change", func(status *cluster.Status) (bool, string) {
		d := stage.Deployment(status, "staging")
		return stage.Whole(d) && d.Revision == staging, stage.Summary(status)
	})
	p.waits(change)
	if after := p.containers("production"); !slices.Equal(before, after) {
		t.Errorf("while it waited, production changed from %v to %v", before, after)
	}
	p.saidToPeople(change)

	// Bob runs what status printed. Nothing else is pushed.
	took := p.approve()
	p.runs("production")
	t.Logf("production ran whole %s after the webhook", took.Round(10*time.Millisecond))
	c.Settle(deployTime)
	for _, d := range p.Any().Status().Deployments {
		if want := []string{"alice", "bob"}; d.Name == "production" && !slices.Equal(d.Signers, want) {
			t.Errorf("production is signed by %v, want %v", d.Signers, want)
		}
	}
	p.proof()
	p.forgetful()
}

// tell pushes and has the git host deliver to a node that need not lead.
func (p *play) tell() {
	p.T.Helper()
	p.Push()
	p.Deliver(p.Member(1))
}

// waits checks what every node says of the change of production.
func (p *play) waits(change string) {
	p.T.Helper()
	p.Eventually(deployTime, "production to wait for bob", func(status *cluster.Status) (bool, string) {
		d := stage.Deployment(status, "production")
		ok := d != nil && d.Sync == cluster.AxisAwaitingApproval && strings.Contains(d.Reason, change[:12]) &&
			len(status.Sync.Pending) == 1 && status.Sync.State == cluster.SyncSynced
		if !ok {
			return false, stage.Summary(status)
		}
		w := status.Sync.Pending[0]
		return w.Deployment == "production" && w.Revision == change && slices.Equal(w.Have, []string{"alice"}) &&
			w.Need == 2 && slices.Equal(w.Eligible, []string{"bob"}) && strings.Contains(d.Reason, w.Command), fmt.Sprintf("%+v", w)
	})
}

// saidToPeople checks the texts of the CLI.
func (p *play) saidToPeople(change string) {
	p.T.Helper()
	for _, words := range [][]string{{"status", "sync"}, {"status", "production"}} {
		out := p.Any().Jaco(words...)
		for _, part := range []string{"production", change[:12], "alice", "bob", "1 of 2 approvals", command(out)} {
			if part == "" || !strings.Contains(out, part) {
				p.T.Fatal(fmt.Sprintf("jaco %s does not say %q:\n%s", strings.Join(words, " "), part, out))
			}
		}
	}
	if out := p.Any().Jaco("status"); !strings.Contains(out, string(cluster.AxisAwaitingApproval)) {
		p.T.Fatal("the table does not show who waits:\n" + out)
	}
}

// command is the line that a text of the CLI gives to be run.
func command(out string) string {
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "git ") {
			return line
		}
	}
	return ""
}

// approve has bob run exactly what is printed, and returns how long it took from
// the webhook until production ran its change on all nodes.
func (p *play) approve() time.Duration {
	p.T.Helper()
	line := command(p.Any().Jaco("status", "sync"))
	if line == "" {
		p.T.Fatal("status sync prints no command")
	}
	if out, err := p.bob.Shell(p.T.Context(), line); err != nil {
		p.T.Fatal(fmt.Sprintf("the printed command does not work: %s\n%v\n%s", line, err, out))
	}
	begun := time.Now()
	p.Deliver(p.Member(1))
	p.Eventually(deployTime, "production to run what bob approved", func(status *cluster.Status) (bool, string) {
		d := stage.Deployment(status, "production")
		return stage.Whole(d) && len(status.Sync.Pending) == 0, stage.Summary(status)
	})
	return time.Since(begun)
}

func (p *play) runs(deployment string) {
	p.T.Helper()
	p.Eventually(deployTime, deployment+" to run", func(status *cluster.Status) (bool, string) {
		return stage.Whole(stage.Deployment(status, deployment)), stage.Summary(status)
	})
}

func (p *play) containers(deployment string) []string {
	p.T.Helper()
	var ids []string
	for _, placed := range p.Containers() {
		if placed.Labels["sh.jaco.deployment"] == deployment {
			ids = append(ids, placed.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// proof verifies the history offline, and against alice's clone.
func (p *play) proof() {
	p.T.Helper()
	bundle := filepath.Join(p.Rig.Dir, "evidence")
	p.Any().Jaco("audit", "export", "--output", bundle)
	rig.Must[string](p.T)(p.Repo.Git(p.T.Context(), "fetch", "-q", "origin", "--tags"))
	out := p.Any().Jaco("audit", "verify", "--bundle", bundle, "--anchor", p.Anchor, "--repo", p.Repo.Dir, "-o", "json")
	var report cluster.BundleReport
	p.Check(json.Unmarshal([]byte(out), &report))
	tags := 0
	for _, claim := range report.Claims {
		tags += len(claim.Tags)
	}
	if !report.RootChecked || tags != 2 || strings.Contains(strings.Join(report.Warnings, "\n"), "tag ") {
		p.T.Fatal(fmt.Sprintf("want a verified history with two approvals by tag:\n%s", out))
	}
}

// forgetful deletes every approval from the repository: what they approved was
// approved.
func (p *play) forgetful() {
	p.T.Helper()
	before := p.containers("production")
	tags := rig.Must[string](p.T)(p.bob.Git(p.T.Context(), "tag", "--list", "approve/*"))
	for tag := range strings.FieldsSeq(tags) {
		p.Check(p.bob.Push(p.T.Context(), ":refs/tags/"+tag))
	}
	last := p.Commit(files("staging", "third"))
	p.tell()
	p.Eventually(deployTime, "staging to go on", func(status *cluster.Status) (bool, string) {
		d := stage.Deployment(status, "staging")
		return stage.Whole(d) && d.Revision == last, stage.Summary(status)
	})
	p.Settle(deployTime)
	if after := p.containers("production"); !slices.Equal(before, after) {
		p.T.Fatal(fmt.Sprintf("without its tags production changed from %v to %v", before, after))
	}
}
