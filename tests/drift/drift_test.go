package drift

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
	"github.com/jaco-sh/jaco/tests/stage/reach"
)

//rig:program peer ./tests/rig/cmd/peer

func TestMain(m *testing.M) { rig.Main(m, "drift") }

const (
	settleTime = 60 * time.Second
	// repairTime is how long a change by hand may stay.
	repairTime = 2 * time.Second
	// auditTime is how long the entry may take: it goes through the log.
	auditTime = 10 * time.Second
	// wanted is how many changes there have to be.
	wanted = 30
	// repaired is the type of the entry.
	repaired = "firewall-repaired"
)

// TestDrift changes the table in every way that its chains and sets offer, one
// at a time, on the nodes in turn.
func TestDrift(t *testing.T) {
	c := stage.NewCluster(t, stage.ClusterConfig{Images: []rig.Image{stage.NewPeerImage(t)}})
	c.Deploy(map[string]string{stage.Path("shop"): stage.PeerCompose(
		stage.Peers{Name: "web", Replicas: 3, Networks: []string{"front"}},
		stage.Peers{Name: "store", Replicas: 3, Networks: []string{"back"}},
	)})
	c.Settle(settleTime)
	c.MeshReady(settleTime)
	foreign := "table inet other {\n\tchain in {\n\t\ttype filter hook input priority filter; policy accept;\n\t\ttcp dport 1 accept\n\t}\n}\n"
	for _, node := range c.Rig.Nodes {
		nft(t, node, foreign)
	}
	done := 0
	for i, change := range changes(t, c.Rig.Node()) {
		m := c.Member(i % len(c.Members()))
		t.Run(change.name, func(t *testing.T) {
			c.In(t)
			repairs(t, c, m, change)
		})
		done++
	}
	if done < wanted {
		t.Errorf("only %d changes were tried, want %d: the table has fewer chains or sets than thought", done, wanted)
	}
	for _, node := range c.Rig.Nodes { // the last change took the engine's own rules too
		c.Check(node.Engine.Restart(t.Context()))
	}
	c.Settle(settleTime)
	rig.Eventually(t, 20*time.Second, "every pair to reach each other", func(ctx context.Context) (bool, string) {
		endpoints, err := c.TryEndpoints(ctx)
		if err == nil {
			err = reach.All(ctx, endpoints)
		}
		return err == nil, fmt.Sprint(err)
	}, c)
}

// repairs makes one change and wants the table as it was, in time, and told of.
func repairs(t *testing.T, c *stage.Cluster, m stage.Member, change change) {
	want := table(t, m.Node)
	before := lastRepair(t, m)
	script, err := change.script(t, m.Node)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	nft(t, m.Node, script)
	changed := false
	var took time.Duration
	rig.Eventually(t, repairTime+5*time.Second, "the table to be as it was", func(ctx context.Context) (bool, string) {
		now := table(t, m.Node)
		took = time.Since(start)
		diff := cmp.Diff(want, now)
		changed = changed || diff != ""
		// A change that was repaired before the first look is known by its entry.
		return diff == "" && (changed || lastRepair(t, m) > before), diff
	}, m.Daemon)
	if took > repairTime {
		t.Errorf("repaired after %s, want %s at most", took.Round(time.Millisecond), repairTime)
	}
	var said string
	rig.Eventually(t, auditTime, "an audit entry", func(context.Context) (bool, string) {
		all := repairsOf(t, m)
		said = ""
		for _, r := range all {
			if r.Number > before {
				said += r.Message + "\n" + fmt.Sprint(r.Detail) + "\n"
			}
		}
		return said != "", fmt.Sprintf("%d entries of type %s, none after %d", len(all), repaired, before)
	}, m.Daemon)
	for _, word := range change.told {
		if !strings.Contains(said, word) {
			t.Errorf("the entry does not say %q:\n%s", word, said)
		}
	}
	t.Logf("%s after %s: %s", m.Name(), took.Round(time.Millisecond), strings.TrimSpace(said))
	if out := list(t, m.Node, "inet", "other"); strings.Contains(out, "tcp dport 1 accept") == change.everything {
		t.Errorf("a table that is not ours is, after somebody changed %s:\n%s", change.name, out)
	}
}

// entry is what the suite reads of an audit record.
type entry struct {
	Number  uint64
	Type    string
	Message string
	Detail  any
}

// repairsOf are the entries of one node.
func repairsOf(t *testing.T, m stage.Member) []entry {
	t.Helper()
	out := m.Jaco("audit", "--type", repaired, "-o", "json")
	var records []cluster.AuditRecord
	if err := json.Unmarshal([]byte(out), &records); err != nil {
		t.Fatalf("decode the audit log: %v\n%s", err, out)
	}
	var entries []entry
	for _, r := range records {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), m.Name()) {
			entries = append(entries, entry{Number: r.Number, Type: r.Type, Message: r.Message})
		}
	}
	return entries
}

// lastRepair is the number of the newest entry of a node, 0 when there is none.
func lastRepair(t *testing.T, m stage.Member) uint64 {
	t.Helper()
	last := uint64(0)
	for _, r := range repairsOf(t, m) {
		last = max(last, r.Number)
	}
	return last
}
