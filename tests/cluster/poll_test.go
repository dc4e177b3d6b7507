package cluster

import (
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/stage"
)

// TestByPoll forms a cluster node by node over a repository that is polled by
// ssh: two nodes work and warn, the third ends the warning.
func TestByPoll(t *testing.T) {
	c := stage.NewCluster(t, stage.ClusterConfig{Nodes: 2, Transport: stage.SSH})
	pair := map[string]string{
		"cluster.yaml":     "sync: {interval: 5s}\n",
		stage.Path("pair"): stage.Compose(stage.Service{Name: "web", Tag: "1", Replicas: 2}),
	}
	t.Run("two nodes", func(t *testing.T) {
		c.In(t)
		c.Deploy(pair)
		c.Settle(deployTime)
		c.WantSpread("pair", 2)
		acceptedByAll(t, c, c.Head())
		for _, m := range c.Running() {
			m.Eventually(10*time.Second, "to warn which loss stops changes", func(status *cluster.Status) (bool, string) {
				ok, state := votes(1, 2)(status)
				warnings := status.Cluster.Warnings
				return ok && len(warnings) == 1 && warnings[0] == "1 of 1 voters: losing n1 stops all changes; add one node", state
			})
		}
	})
	t.Run("three nodes", func(t *testing.T) {
		c.In(t)
		c.AddMember()
		c.Eventually(time.Minute, "all to vote and nothing to warn of", func(status *cluster.Status) (bool, string) {
			ok, state := votes(3, 3)(status)
			return ok && len(status.Cluster.Warnings) == 0, state
		})
		commit := c.Commit(shop("found by itself"))
		c.Push()
		c.Eventually(45*time.Second, "the poll to find it", func(status *cluster.Status) (bool, string) {
			return status.Sync.Accepted == commit, stage.Summary(status)
		})
		c.Settle(deployTime)
		c.WantSpread("shop", 3)
		acceptedByAll(t, c, commit)
	})
}
