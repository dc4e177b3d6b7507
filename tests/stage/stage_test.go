package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
)

func TestMain(m *testing.M) { rig.Main(m, "stage") }

func TestLeaderOf(t *testing.T) {
	says := func(node, leader string, term uint64) answer {
		member := Member{Daemon: &rig.Daemon{Node: &rig.Node{Space: rig.Space{Name: node}}}}
		return answer{member: member, status: &cluster.Status{Cluster: cluster.ClusterStatus{Leader: leader, Term: term}}}
	}
	silent := says("n3", "", 0)
	silent.status, silent.err = nil, errors.New("no answer")
	for name, test := range map[string]struct {
		answers []answer
		want    string
	}{
		"nobody answers":                     {[]answer{silent}, ""},
		"all agree":                          {[]answer{says("n1", "n2", 3), says("n2", "n2", 3), silent}, "n2"},
		"the leader itself is not heard":     {[]answer{says("n1", "n3", 3), says("n2", "n3", 3), silent}, ""},
		"a deposed one does not know yet":    {[]answer{says("n1", "n1", 3), says("n2", "n2", 4)}, "n2"},
		"a newer term has no leader yet":     {[]answer{says("n1", "n1", 3), says("n2", "", 4)}, ""},
		"the deposed one is asked last":      {[]answer{says("n2", "n2", 4), says("n1", "n1", 3)}, "n2"},
		"nobody knows one":                   {[]answer{says("n1", "", 4), says("n2", "", 4)}, ""},
		"another's word in the newest term":  {[]answer{says("n1", "n2", 4), says("n2", "n2", 3)}, ""},
		"one says it of itself, others late": {[]answer{says("n1", "n1", 4), says("n2", "", 3)}, "n1"},
	} {
		got, state := leaderOf(test.answers)
		if got != test.want {
			t.Errorf("%s: leader %q, want %q", name, got, test.want)
		}
		for _, a := range test.answers {
			if !strings.Contains(state, a.member.Name()) {
				t.Errorf("%s: %q does not tell what %s said", name, state, a.member.Name())
			}
		}
	}
}

func TestTokenIn(t *testing.T) {
	const token = "jaco-join-1.4f6f9a3be8c011aa0123456789abcdef0123456789abcdef"
	for _, out := range []string{
		token + "\n",
		"Token, good for one node within 1h0m0s:\n\n  " + token + "\n\nOn the node: jaco bootstrap join --server 10.190.0.1:7000 --token " + token,
	} {
		if got := tokenIn(out); got != token {
			t.Errorf("%q: found %q", out, got)
		}
	}
}

func TestJoined(t *testing.T) {
	status := &cluster.Status{Nodes: []cluster.NodeStatus{
		{Name: "n1", State: cluster.NodeReady, Accepted: "abc"}, {Name: "n2", State: cluster.NodeReady}, {Name: "n3", State: cluster.NodeNotReady, Accepted: "abc"},
	}}
	for name, want := range map[string]bool{"n1": true, "n2": false, "n3": false, "n4": false} {
		if got := Joined(status, name); got != want {
			t.Errorf("%s joined: %v, want %v", name, got, want)
		}
	}
}

// operator stands in for jaco: it gives a token, notes who joins with what, and
// knows a cluster of n1 and of whoever has joined.
const operator = `#!/bin/sh
node=$(basename $(dirname $(dirname "$2")))
case "$3 $4" in
"bootstrap token") echo "Good for one node: jaco-join-1.of-$node" ;;
"bootstrap join") echo "$node $*" >>"$0.joins"; touch "$0.$node" ;;
"status -o")
	n2=NotReady; [ -e "$0.n2" ] && n2=Ready
	echo '{"cluster":{"leader":"n1","term":1},"nodes":[{"name":"n2","state":"'$n2'","accepted":"abc"}]}' ;;
esac
`

func TestJoin(t *testing.T) {
	jaco := filepath.Join(t.TempDir(), "jaco")
	if err := os.WriteFile(jaco, []byte(operator), 0o755); err != nil {
		t.Fatal(err)
	}
	c := &Cluster{T: t, Rig: rig.Start(t, rig.Config{Nodes: 2, NoEngine: true})}
	c.config.Daemon = func(_ *rig.Node, config *rig.DaemonConfig) { config.Jaco = jaco }
	for _, node := range c.Rig.Nodes {
		c.startDaemon(node)
	}
	c.Join(c.Member(1))
	joins := string(rig.Must[[]byte](t)(os.ReadFile(jaco + ".joins")))
	want := "bootstrap join --server 10.190.0.1:7000 --token jaco-join-1.of-n1\n"
	if !strings.HasPrefix(joins, "n2 ") || !strings.HasSuffix(joins, want) || strings.Count(joins, "\n") != 1 {
		t.Errorf("joined by:\n%swant on n2:\n%s", joins, want)
	}
}

// TestCluster works with a member and two nodes that have not joined.
func TestCluster(t *testing.T) {
	c := NewCluster(t, ClusterConfig{Nodes: 2, Registry: true, NoInit: true, Daemon: func(node *rig.Node, config *rig.DaemonConfig) {
		if node.Name == "n2" {
			config.DataSize = 48 << 20
		}
	}})
	added := c.AddDaemon()
	if added.Name() != "n3" || len(c.Members()) != 3 || len(c.Running()) != 3 {
		t.Fatalf("added %s of %d, %d run", added.Name(), len(c.Members()), len(c.Running()))
	}
	var ids []string
	for _, m := range c.Members() {
		ids = append(ids, rig.Must[string](t)(m.Node.Engine.ImageID(t.Context(), Image+":2")))
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != 1 {
		t.Errorf("the images are not the same: %v", ids)
	}
	c.Check(c.Member(1).FillDisk(t.Context()))
	c.Check(c.Member(1).FreeDisk(t.Context()))

	c.Init()
	if leader := c.Leader(); leader.Name() != "n1" {
		t.Errorf("the leader is %s", leader.Name())
	}
	pulled := Service{Name: "web", Image: c.Digests["1"], Replicas: 1}
	c.Deploy(map[string]string{Path("shop"): Compose(pulled)})
	placed := c.Containers()
	if len(placed) != 1 || placed[0].Node != "n1" || placed[0].Image != c.Digests["1"] {
		t.Errorf("containers: %+v", placed)
	}
	accepted := func(status *cluster.Status) (bool, string) { return status.Sync.Accepted != "", Summary(status) }
	c.EventuallyAny(5*time.Second, "a node that accepted", accepted)
	c.Eventually(5*time.Second, "the first to have accepted", accepted, c.Member(0))
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	failed := &probe{TB: t, ctx: short}
	handle := *c
	handle.T = failed
	handle.Eventually(time.Second, "all nodes to have accepted", accepted)
	for _, want := range []string{"n2: ", "belongs to no cluster yet", "n1: leader \"n1\"", "=== n3: no status", "jacod started"} {
		if !strings.Contains(failed.said, want) {
			t.Errorf("the failure does not say %q:\n%s", want, failed.said)
		}
	}

	c.Kill()
	if running := c.Running(); len(running) != 0 {
		t.Errorf("%d daemons run", len(running))
	}
	c.Check(added.Node.PowerOff(t.Context()))
	c.Start()
	if running := c.Running(); len(running) != 2 {
		t.Errorf("%d daemons run, want those with power", len(running))
	}
	if text := c.Snapshot(1); !strings.Contains(text, "=== n3: powered off") {
		t.Errorf("snapshot:\n%s", text)
	}
	if placed, err := c.TryContainers(t.Context()); err != nil || len(placed) != 1 {
		t.Errorf("containers of the nodes with power: %v, %v", placed, err)
	}
}

// probe is a test that may fail.
type probe struct {
	rig.TB
	ctx  context.Context
	said string
}

func (p *probe) Context() context.Context { return p.ctx }
func (p *probe) Fatal(args ...any)        { p.said += args[0].(error).Error() }
