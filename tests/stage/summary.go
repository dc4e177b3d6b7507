package stage

import (
	"context"
	"fmt"
	"strings"

	"github.com/jaco-sh/jaco/cluster"
)

// Summary prints a status in short, for failures.
func Summary(status *cluster.Status) string {
	var b strings.Builder
	c := status.Cluster
	fmt.Fprintf(&b, "leader %q term %d index %d, %d of %d nodes ready", c.Leader, c.Term, c.Index, c.Ready, c.Nodes)
	fmt.Fprintf(&b, "\nsync %s %s accepted %.12s head %.12s", status.Sync.State, status.Sync.Reason, status.Sync.Accepted, status.Sync.Head)
	for i := range status.Nodes {
		n := &status.Nodes[i]
		fmt.Fprintf(&b, "\nnode %s %s %s accepted %.12s, %d replicas %s", n.Name, n.Role, n.State, n.Accepted, n.Replicas, n.Reason)
	}
	for i := range status.Deployments {
		d := &status.Deployments[i]
		fmt.Fprintf(&b, "\n%s %s %s %s", d.Name, d.Sync, d.Health, d.Reason)
		for _, s := range d.Services {
			fmt.Fprintf(&b, "\n  %s %d/%d %s", s.Name, s.Healthy, s.Desired, s.Reason)
			for _, r := range s.Replicas {
				fmt.Fprintf(&b, "\n    %d %s on %s %s %s", r.Slot, r.ID, r.Node, r.Phase, r.Reason)
			}
		}
	}
	return b.String()
}

// Snapshot prints what every node says of the cluster, what its engine holds,
// and the end of its log, for failures.
func (c *Cluster) Snapshot(lines int) string {
	// The test's own context may have ended by the failure.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.T.Context()), answerTimeout)
	defer cancel()
	said := map[string]answer{}
	for _, a := range ask(ctx, c.Running()) {
		said[a.member.Name()] = a
	}
	var b strings.Builder
	for _, m := range c.Members() {
		fmt.Fprintf(&b, "=== %s: ", m.Name())
		switch a, asked := said[m.Name()]; {
		case m.Node.Off():
			b.WriteString("powered off\n")
		case !asked:
			b.WriteString("jacod does not run\n")
		case a.err != nil:
			fmt.Fprintf(&b, "no status: %v\n", a.err)
		default:
			b.WriteString(Summary(a.status) + "\n")
		}
		if !m.Node.Off() && m.Node.Engine != nil {
			containers, err := m.Node.Engine.Containers(ctx, containerLabel)
			if err != nil {
				fmt.Fprintf(&b, "engine: %v\n", err)
			}
			for _, container := range containers {
				fmt.Fprintf(&b, "container %.12s %s %s\n", container.ID, container.Labels["sh.jaco.replica"], container.Status)
			}
		}
		b.WriteString(m.Tail(lines))
	}
	return b.String()
}

// Tail implements rig.Tailer.
func (c *Cluster) Tail(lines int) string { return c.Snapshot(lines) }
