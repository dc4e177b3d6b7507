package stage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
)

// Head is the commit of alice's clone.
func (c *Cluster) Head() string {
	c.T.Helper()
	return rig.Must[string](c.T)(c.Repo.Git(c.T.Context(), "rev-parse", "HEAD"))
}

// Settle waits until all that run say the same of the clone's head: they
// accepted it by themselves, every member is ready, each deployment runs whole
// at its own newest commit, and no engine holds more or less than one running
// container in each slot.
func (c *Cluster) Settle(within time.Duration) {
	c.T.Helper()
	head := c.Head()
	c.Eventually(within, "all to be well at "+head[:12], func(status *cluster.Status) (bool, string) {
		return well(status, head), Summary(status)
	})
	c.OneEach(within)
}

// well reports whether the answering node accepted the head and everything runs.
func well(status *cluster.Status, head string) bool {
	own := Node(status, status.Cluster.Node)
	if own == nil || own.Accepted != head || status.Sync.Accepted != head || status.Cluster.Leader == "" {
		return false
	}
	for i := range status.Nodes {
		if status.Nodes[i].State != cluster.NodeReady {
			return false
		}
	}
	for i := range status.Deployments {
		d := &status.Deployments[i]
		if !Whole(d) {
			return false
		}
	}
	return len(status.Deployments) > 0
}

// Whole reports whether a deployment runs its accepted revision with as many
// healthy replicas as wanted, and no others.
func Whole(d *cluster.DeploymentState) bool {
	if d == nil || d.Sync != cluster.AxisSynced || d.Health != cluster.HealthHealthy || len(d.Services) == 0 {
		return false
	}
	for _, s := range d.Services {
		if s.Healthy != s.Desired || s.Updated != s.Desired || len(s.Replicas) != s.Desired {
			return false
		}
	}
	return true
}

// OneEach waits until the engines hold exactly the containers that the status
// names, one in each slot, all running.
func (c *Cluster) OneEach(within time.Duration) {
	c.T.Helper()
	rig.Eventually(c.T, within, "exactly one running container in each slot", func(ctx context.Context) (bool, string) {
		status, err := c.Any().TryStatus(ctx)
		if err != nil {
			return false, err.Error()
		}
		placed, err := c.TryContainers(ctx)
		if err != nil {
			return false, err.Error()
		}
		return equalSlots(status, placed, memberNames(ctx, c.Running()))
	}, c)
}

// memberNames maps the rig's names of nodes to those that they joined under.
func memberNames(ctx context.Context, members []Member) map[string]string {
	names := map[string]string{}
	for _, a := range ask(ctx, members) {
		if a.err == nil && a.status.Cluster.Node != "" {
			names[a.member.Node.Name] = a.status.Cluster.Node
		}
	}
	return names
}

// equalSlots compares the replicas of a status with the containers there are.
// names are the members', by the rig's own.
func equalSlots(status *cluster.Status, placed []Placed, names map[string]string) (bool, string) {
	var want, have []string
	for i := range status.Deployments {
		d := &status.Deployments[i]
		for _, s := range d.Services {
			for _, r := range s.Replicas {
				want = append(want, fmt.Sprintf("%s/%s/%d %s on %s", d.Name, s.Name, r.Slot, r.ID, r.Node))
			}
		}
	}
	running := true
	for _, p := range placed {
		label := func(name string) string { return p.Labels["sh.jaco."+name] }
		have = append(have, fmt.Sprintf("%s/%s/%s %s on %s", label("deployment"), label("service"), label("slot"), label("replica"), cmp.Or(names[p.Node], p.Node)))
		running = running && p.State == "running"
	}
	slices.Sort(want)
	slices.Sort(have)
	return running && slices.Equal(want, have), fmt.Sprintf("status:\n%s\nengines:\n%s", strings.Join(want, "\n"), strings.Join(have, "\n"))
}

// WantSpread fails the test unless each service of the deployment has its
// replicas on different nodes, as many on each as there are services.
func (c *Cluster) WantSpread(deployment string, nodes int) {
	c.T.Helper()
	perNode, perService := map[string]int{}, map[string]int{}
	for _, p := range c.Containers() {
		if p.Labels["sh.jaco.deployment"] != deployment {
			continue
		}
		perNode[p.Node]++
		perService[p.Labels["sh.jaco.service"]+" on "+p.Node]++
	}
	least, most := 1<<30, 0
	for _, n := range perNode {
		least, most = min(least, n), max(most, n)
	}
	twice := ""
	for where, n := range perService {
		if n > 1 {
			twice = where
		}
	}
	if len(perNode) != nodes || most-least > 0 || twice != "" {
		c.T.Fatal(fmt.Sprintf("%s is spread %v, want the same on %d nodes; twice: %q", deployment, perNode, nodes, twice))
	}
}

// Started maps the ids of a deployment's containers to when they were started:
// equal maps mean that nothing was replaced or restarted.
func (c *Cluster) Started(deployment string) map[string]string {
	c.T.Helper()
	started := map[string]string{}
	for _, node := range c.Rig.Nodes {
		if node.Off() || node.Engine == nil {
			continue
		}
		for _, container := range rig.Must[[]rig.Container](c.T)(node.Engine.Containers(c.T.Context(), "sh.jaco.deployment="+deployment)) {
			details := rig.Must[rig.Details](c.T)(node.Engine.Inspect(c.T.Context(), container.ID))
			started[node.Name+" "+container.ID] = details.State.StartedAt
		}
	}
	return started
}

// quietTime is how long the log must not have grown to be quiet: longer than
// reports are held back.
const quietTime = 3 * time.Second

// Quiet waits until the logs of all that run have not grown for a while and end
// at the same index, and returns it.
func (c *Cluster) Quiet(within time.Duration) uint64 {
	c.T.Helper()
	var index uint64
	var since time.Time
	rig.Eventually(c.T, within, "quiet logs", func(ctx context.Context) (bool, string) {
		var at []uint64
		for _, a := range ask(ctx, c.Running()) {
			if a.err != nil {
				return false, a.err.Error()
			}
			at = append(at, a.status.Cluster.Index)
		}
		same := len(at) > 0 && slices.Min(at) == slices.Max(at)
		if !same || at[0] != index {
			since = time.Now()
		}
		if same {
			index = at[0]
		}
		return same && time.Since(since) > quietTime, fmt.Sprintf("indexes %v, %d since %s", at, index, time.Since(since))
	}, c)
	return index
}

// In has the cluster report to a subtest until that ends.
func (c *Cluster) In(t rig.TB) {
	before := c.T
	c.T = t
	t.Cleanup(func() { c.T = before })
}
