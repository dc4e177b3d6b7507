package versus

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/tests/bench/floor"
	"github.com/jaco-sh/jaco/tests/bench/swarm"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "bench/versus") }

// nodes of both clusters. The work is swarm's: its services and replicas.
const nodes = 3

// stack is the name of the one deployment, on both sides.
const stack = "shop"

// limit bounds one measurement.
const limit = 2 * time.Minute

// files are the deployment's, with that value in the first service's
// environment.
func files(name, value string) map[string]string {
	var services []stage.Service
	for i := range swarm.Services {
		s := stage.Service{Name: fmt.Sprint("service-", i), Tag: "1", Replicas: swarm.Replicas}
		if i == 0 && value != "" {
			s.Env = map[string]string{"MESSAGE": value}
		}
		services = append(services, s)
	}
	return map[string]string{stage.Path(name): stage.Compose(services...)}
}

// count counts the containers on nodes with power whose labels and status are
// as given.
func count(ctx context.Context, c *stage.Cluster, label, status string) (int, error) {
	n := 0
	for _, node := range c.Rig.Nodes {
		if node.Off() {
			continue
		}
		list, err := node.Engine.Containers(ctx, label)
		if err != nil {
			return 0, err
		}
		for _, container := range list {
			if strings.Contains(container.Status, status) {
				n++
			}
		}
	}
	return n, nil
}

// wait waits for that many.
func wait(b *testing.B, c *stage.Cluster, label, status string, want int) {
	b.Helper()
	rig.Eventually(b, limit, fmt.Sprintf("%d containers %s %q", want, label, status), func(ctx context.Context) (bool, string) {
		n, err := count(ctx, c, label, status)
		return err == nil && n == want, fmt.Sprint(n, " ", err)
	})
}

func cluster(b *testing.B) *stage.Cluster {
	b.Helper()
	return stage.NewCluster(b, stage.ClusterConfig{Nodes: nodes, Transport: stage.HTTP})
}

// push is a push to a git host that tells of it, as every forge does.
func push(c *stage.Cluster) {
	c.T.Helper()
	c.Push()
	c.Deliver(c.Any())
}

func report(b *testing.B, total time.Duration) {
	b.Helper()
	b.ReportMetric(float64(total.Milliseconds())/float64(b.N), "ms/op")
}

const all = swarm.Services * swarm.Replicas

// BenchmarkPush measures from git push to all healthy.
func BenchmarkPush(b *testing.B) {
	c := cluster(b)
	var total time.Duration
	round := 0
	for b.Loop() {
		round++
		name := fmt.Sprint(stack, "-", round)
		c.Commit(files(name, ""))
		start := time.Now()
		push(c)
		wait(b, c, "sh.jaco.deployment="+name, "(healthy)", all)
		total += time.Since(start)
		c.Check(c.Repo.Remove("deployments/" + name))
		c.Commit(map[string]string{"README": fmt.Sprint("round ", round)})
		push(c)
		wait(b, c, "sh.jaco.deployment="+name, "", 0)
	}
	report(b, total)
}

// BenchmarkEngines measures the engines' own create and start of the same
// containers, up to healthy.
func BenchmarkEngines(b *testing.B) {
	c := stage.NewCluster(b, stage.ClusterConfig{Nodes: nodes, NoInit: true})
	var total time.Duration
	round := 0
	for b.Loop() {
		round++
		label := fmt.Sprint("bench-", round)
		start := time.Now()
		group, ctx := errgroup.WithContext(b.Context())
		for _, node := range c.Rig.Nodes {
			group.Go(func() error { return floor.Create(ctx, node.Engine.Docker, stage.Image+":1", label, all/nodes) })
		}
		c.Check(group.Wait())
		wait(b, c, "bench="+label, "(healthy)", all)
		total += time.Since(start)
		for _, node := range c.Rig.Nodes {
			for _, container := range rig.Must[[]rig.Container](b)(node.Engine.Containers(b.Context(), "bench="+label)) {
				c.Check(node.Engine.Remove(b.Context(), container.ID))
			}
		}
	}
	report(b, total)
}

// BenchmarkSwarmDeploy is the same by docker stack deploy.
func BenchmarkSwarmDeploy(b *testing.B) {
	s := swarm.Start(b, nodes, swarm.Config{})
	var total time.Duration
	for b.Loop() {
		total += rig.Must[time.Duration](b)(s.Deploy(b.Context(), stack))
		if err := s.Remove(b.Context(), stack); err != nil {
			b.Fatal(err)
		}
	}
	report(b, total)
}

// BenchmarkUpdate measures a rolling update of one service's replicas, from git
// push to converged.
func BenchmarkUpdate(b *testing.B) {
	c := cluster(b)
	c.Deploy(files(stack, "0"))
	var total time.Duration
	round := 0
	for b.Loop() {
		round++
		head := c.Commit(files(stack, fmt.Sprint(round)))
		start := time.Now()
		push(c)
		wait(b, c, "sh.jaco.revision="+head, "(healthy)", swarm.Replicas)
		wait(b, c, "sh.jaco.deployment="+stack, "", all)
		total += time.Since(start)
		c.Converge()
	}
	report(b, total)
}

// BenchmarkSwarmUpdate is the same by docker service update.
func BenchmarkSwarmUpdate(b *testing.B) {
	s := swarm.Start(b, nodes, swarm.Config{})
	rig.Must[time.Duration](b)(s.Deploy(b.Context(), stack))
	var total time.Duration
	round := 0
	for b.Loop() {
		round++
		total += rig.Must[time.Duration](b)(s.Update(b.Context(), stack, fmt.Sprint(round)))
	}
	report(b, total)
}

// BenchmarkNodeLoss measures from the power cut of a node to all replicas
// running on the others.
func BenchmarkNodeLoss(b *testing.B) {
	var total time.Duration
	for b.Loop() {
		c := cluster(b)
		c.Deploy(files(stack, ""))
		lost := c.Rig.Nodes[nodes-1]
		start := time.Now()
		c.Check(lost.PowerOff(b.Context()))
		wait(b, c, "sh.jaco.deployment="+stack, "Up ", all)
		total += time.Since(start)
	}
	report(b, total)
}

// BenchmarkSwarmNodeLoss is the same of Swarm, at its default heartbeat.
func BenchmarkSwarmNodeLoss(b *testing.B) {
	var total time.Duration
	for b.Loop() {
		s := swarm.Start(b, nodes, swarm.Config{})
		rig.Must[time.Duration](b)(s.Deploy(b.Context(), stack))
		loss := rig.Must[swarm.Loss](b)(s.LoseNode(b.Context(), s.Nodes()[nodes-1], stack))
		total += loss.Running
	}
	report(b, total)
}
