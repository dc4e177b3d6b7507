package stage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
)

// Disturbance is something that happens to a node of a mesh, or that somebody
// does to it. All is well again some time after Do, and after Undo where there
// is one.
type Disturbance struct {
	Name string
	Do   func(ctx context.Context, c *Cluster, m Member) error
	// Undo takes back what does not go by itself; nil: nothing.
	Undo func(ctx context.Context, c *Cluster, m Member) error
	// Ends says that the node's containers end by it.
	Ends bool
	// Felt says that the mesh itself stands still meanwhile; all others must not
	// lose a packet between containers that stay.
	Felt bool
}

// Disturbances are those that a mesh has to get over.
func Disturbances() []Disturbance {
	return []Disturbance{
		{Name: "jacod restarted", Do: func(ctx context.Context, _ *Cluster, m Member) error { return m.Restart(ctx) }},
		{Name: "jacod killed", Do: func(ctx context.Context, _ *Cluster, m Member) error {
			return errors.Join(m.Kill(ctx), m.Start(ctx))
		}},
		{Name: "edge restarted", Felt: true, Do: func(ctx context.Context, _ *Cluster, m Member) error { return endEdge(ctx, m, m.StopEdge) }},
		{Name: "edge killed", Felt: true, Do: func(ctx context.Context, _ *Cluster, m Member) error { return endEdge(ctx, m, m.KillEdge) }},
		{Name: "engine restarted", Do: func(ctx context.Context, _ *Cluster, m Member) error { return m.Node.Engine.Restart(ctx) }},
		{Name: "ruleset flushed", Felt: true, Do: flushRuleset, Undo: func(ctx context.Context, _ *Cluster, m Member) error {
			// The engine's own rules went too, and only it makes them.
			return m.Node.Engine.Restart(ctx)
		}},
		{Name: "mesh interface deleted", Felt: true, Do: func(ctx context.Context, _ *Cluster, m Member) error {
			_, err := m.Node.Run(ctx, "ip", "link", "del", m.Node.WireGuard)
			return err
		}},
		{Name: "address changed", Felt: true, Do: func(ctx context.Context, _ *Cluster, m Member) error {
			return m.Node.Readdress(ctx, m.Node.SpareAddress())
		}, Undo: func(ctx context.Context, _ *Cluster, m Member) error {
			return m.Node.Readdress(ctx, m.Node.Address)
		}},
		{Name: "partition healed", Felt: true, Do: func(ctx context.Context, c *Cluster, m Member) error {
			if err := c.Rig.Partition(ctx, []*rig.Node{m.Node}); err != nil {
				return err
			}
			// Shorter than the time after which a silent node's replicas move.
			return errors.Join(pass(ctx, partitionTime), c.Rig.Heal(ctx))
		}},
		{Name: "node power cycled", Felt: true, Ends: true, Do: func(ctx context.Context, _ *Cluster, m Member) error {
			return errors.Join(m.Node.PowerOff(ctx), m.Node.PowerOn(ctx), m.Start(ctx))
		}},
	}
}

const partitionTime = 3 * time.Second

func flushRuleset(ctx context.Context, _ *Cluster, m Member) error {
	_, err := m.Node.Run(ctx, "nft", "flush", "ruleset")
	return err
}

// endEdge ends an edge and waits for the next.
func endEdge(ctx context.Context, m Member, end func(context.Context) error) error {
	pid, err := m.EdgePID()
	if err != nil {
		return err
	}
	if pid == 0 {
		return errors.New("no edge runs on " + m.Name())
	}
	if err := end(ctx); err != nil {
		return err
	}
	_, err = m.WaitEdge(ctx, pid)
	return err
}

func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Follower is a node that does not lead.
func (c *Cluster) Follower() Member {
	c.T.Helper()
	leader := c.Leader()
	for _, m := range c.Running() {
		if m.Name() != leader.Name() {
			return m
		}
	}
	c.T.Fatal("there is no follower")
	return Member{}
}

// MeshReady waits until every running node says of all that they are ready, and
// that their firewalls are.
func (c *Cluster) MeshReady(within time.Duration) {
	c.T.Helper()
	c.Eventually(within, "every firewall to be ready", firewallsReady)
}

func firewallsReady(status *cluster.Status) (bool, string) {
	for i := range status.Nodes {
		n := &status.Nodes[i]
		if n.State != cluster.NodeReady || n.Firewall == nil || !n.Firewall.Ready {
			return false, fmt.Sprintf("%s: firewall %+v\n%s", n.Name, n.Firewall, Summary(status))
		}
	}
	return len(status.Nodes) > 0, Summary(status)
}
