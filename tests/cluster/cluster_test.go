package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "cluster") }

// deployTime is ample for nine replicas on a busy machine.
const deployTime = 90 * time.Second

// shop is a deployment of three services with three replicas each.
func shop(message string) map[string]string {
	var services []stage.Service
	for _, name := range []string{"api", "web", "worker"} {
		services = append(services, stage.Service{Name: name, Tag: "1", Replicas: 3, Env: map[string]string{"MESSAGE": message}})
	}
	return map[string]string{stage.Path("shop"): stage.Compose(services...)}
}

// TestByWebhook is the life of a cluster whose repository is served by https
// and whose git host tells it of pushes: it grows from 3 to 7 nodes, refuses who
// must not come in, and loses a node.
func TestByWebhook(t *testing.T) {
	c := stage.NewCluster(t, stage.ClusterConfig{Transport: stage.HTTP})
	for _, step := range []struct {
		name string
		run  func(*testing.T, *stage.Cluster)
	}{
		{"a push is deployed and spread", deployed},
		{"a follower takes a delivery", followerDelivery},
		{"any node gives all logs", logsAnywhere},
		{"status from afar", fromAfar},
		{"tokens that are refused, and five nodes", refusedTokens},
		{"seven nodes", seven},
		{"a node is removed", removed},
		{"churn", churn},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			c.In(t)
			step.run(t, c)
		}) {
			t.FailNow() // each step goes on from where the one before ended
		}
	}
}

func deployed(t *testing.T, c *stage.Cluster) {
	commit := c.Commit(shop("first"))
	c.Push()
	c.Deliver(c.Leader())
	c.Settle(deployTime)
	c.WantSpread("shop", 3)
	acceptedByAll(t, c, commit)
	warned(t, c.Leader().Status(), "")
}

// acceptedByAll asks every node for what it accepted itself, and each for what
// it knows of the others.
func acceptedByAll(t *testing.T, c *stage.Cluster, commit string) {
	t.Helper()
	for _, m := range c.Running() {
		m.Eventually(10*time.Second, "all to have accepted "+commit[:12], func(status *cluster.Status) (bool, string) {
			ok := stage.Node(status, status.Cluster.Node) != nil && status.Sync.Accepted == commit && status.Sync.Anchor == c.Anchor && len(status.Sync.Signers) == 1
			for i := range status.Nodes {
				ok = ok && status.Nodes[i].Accepted == commit
			}
			return ok, stage.Summary(status)
		})
	}
}

// warned checks that some warning holds the text, or that there is none.
func warned(t *testing.T, status *cluster.Status, text string) {
	t.Helper()
	all := strings.Join(status.Cluster.Warnings, "\n")
	if text == "" && all != "" || !strings.Contains(all, text) {
		t.Errorf("warnings are %q, want %q", all, text)
	}
}

func followerDelivery(t *testing.T, c *stage.Cluster) {
	leader := c.Leader()
	for _, m := range c.Running() {
		if m.Name() == leader.Name() {
			continue
		}
		commit := c.Commit(shop("told to " + m.Name()))
		c.Push()
		c.Deliver(m)
		// Without the delivery the poll would find it half a minute later.
		c.Eventually(15*time.Second, "the commit of the delivery to be accepted", func(status *cluster.Status) (bool, string) {
			return status.Sync.Accepted == commit, stage.Summary(status)
		})
		c.Settle(deployTime)
		return
	}
	t.Fatal("there is no follower")
}

func logsAnywhere(t *testing.T, c *stage.Cluster) {
	for _, m := range c.Running() {
		out := m.Jaco("status", "logs", "shop/api")
		for slot := 1; slot <= 3; slot++ {
			if want := fmt.Sprintf("api.%d  web 1 listens on", slot); !strings.Contains(out, want) {
				t.Errorf("%s does not give the log of replica %d:\n%s", m.Name(), slot, out)
			}
		}
	}
}

// fromAfar reads from a machine that is no node.
func fromAfar(t *testing.T, c *stage.Cluster) {
	jaco := rig.Must[string](t)(rig.Bin("jaco"))
	file := filepath.Join(c.Rig.LAN.Dir, "reader.token")
	c.Check(os.WriteFile(file, []byte(c.Member(1).Token("--read")), 0o600))
	read := func(m stage.Member, args ...string) (string, error) {
		return c.Rig.LAN.Run(t.Context(), jaco, append([]string{"--server", m.Server(), "--token-file", file}, args...)...)
	}
	for _, m := range c.Running() {
		out, err := read(m, "status", "nodes")
		if err != nil || !strings.Contains(out, "n3") {
			t.Errorf("status from %s: %v\n%s", m.Name(), err, out)
		}
	}
	if out, err := read(c.Member(2), "status", "logs", "shop/web"); err != nil || !strings.Contains(out, "web.2  web 1") {
		t.Errorf("logs from afar: %v\n%s", err, out)
	}
	if _, err := read(c.Member(0), "bootstrap", "token"); err == nil {
		t.Error("a reader made a token")
	}
	c.Check(os.WriteFile(file, []byte(c.Member(0).Token()), 0o600))
	if _, err := read(c.Member(0), "status"); rig.ExitCode(err) != 1 {
		t.Errorf("a token to join with read: %v", err)
	}
}

func seven(t *testing.T, c *stage.Cluster) {
	for range 2 {
		c.AddMember()
	}
	c.Eventually(time.Minute, "5 of 7 to vote", votes(5, 7))
	c.Settle(deployTime)
	acceptedByAll(t, c, c.Head())
	c.Deploy(shop("by seven"))
	c.Settle(deployTime)
}

// votes wants so many voters of so many nodes that are ready.
func votes(voters, nodes int) func(*cluster.Status) (bool, string) {
	return func(status *cluster.Status) (bool, string) {
		roles := 0
		for i := range status.Nodes {
			if status.Nodes[i].Role == "voter" {
				roles++
			}
		}
		return status.Cluster.Voters == voters && roles == voters && status.Cluster.Nodes == nodes && status.Cluster.Ready == nodes, stage.Summary(status)
	}
}

// removed takes the leader itself out, which is the harder case.
func removed(t *testing.T, c *stage.Cluster) {
	gone := c.Leader()
	var rest []stage.Member
	for _, m := range c.Running() {
		if m.Name() != gone.Name() {
			rest = append(rest, m)
		}
	}
	files := shop("without " + gone.Name())
	files["cluster.yaml"] = fmt.Sprintf("nodes:\n  %s: {availability: removed}\n", gone.Name())
	c.Commit(files)
	c.Push()
	c.Deliver(rest[0])
	c.Eventually(time.Minute, gone.Name()+" to be out of the table", func(status *cluster.Status) (bool, string) {
		ok, state := votes(5, 6)(status)
		return ok && stage.Node(status, gone.Name()) == nil, state
	}, rest...)
	c.Eventually(deployTime, "its replicas to run elsewhere", func(status *cluster.Status) (bool, string) {
		return stage.Whole(stage.Deployment(status, "shop")), stage.Summary(status)
	}, rest...)

	lockedOut(t, c, gone, rest[0])
	c.Check(gone.Kill(t.Context()))
	c.Check(gone.Wipe(t.Context()))
	c.Commit(map[string]string{"cluster.yaml": "sync: {interval: 30s}\n"})
	c.Push()
	rest[0].Converge()
	c.Check(gone.Start(t.Context()))
	c.Join(gone)
	c.Settle(deployTime)
}

// lockedOut restarts the removed node, which must neither get in again nor
// follow, and must say why.
func lockedOut(t *testing.T, c *stage.Cluster, gone, other stage.Member) {
	t.Helper()
	c.Check(gone.Restart(t.Context()))
	commit := c.Commit(shop("not for " + gone.Name()))
	c.Push()
	other.Converge()
	gone.Eventually(30*time.Second, "to say that it is no member", func(status *cluster.Status) (bool, string) {
		said := strings.Join(status.Cluster.Warnings, "\n")
		return strings.Contains(said, "removed"), said + "\n" + stage.Summary(status)
	})
	if status := gone.Status(); status.Sync.Accepted == commit || status.Cluster.Leader != "" {
		t.Errorf("the removed node follows still:\n%s", stage.Summary(status))
	}
	if _, err := gone.Run(t.Context(), "bootstrap", "token"); err == nil {
		t.Error("a removed node made a token")
	}
	if node := stage.Node(other.Status(), gone.Name()); node != nil {
		t.Errorf("the removed node is back: %+v", node)
	}
}
