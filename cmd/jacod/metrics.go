package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jaco-sh/jaco/cluster"
)

// statusCollector computes every metric from the status at the time of the
// scrape: nothing is counted twice, and nothing runs between scrapes.
type statusCollector struct {
	status func() *cluster.Status // nil result before there is a cluster
}

// The metrics of /metrics (docs/configuration.md).
var (
	descRaftIndex   = describe("raft_applied_index", "The log index that this node has applied.")
	descRaftTerm    = describe("raft_term", "The current raft term.")
	descRaftLeader  = describe("raft_has_leader", "1 when this node knows a leader.")
	descNodesReady  = describe("nodes_ready", "The number of nodes that are Ready.")
	descNodes       = describe("nodes", "The number of nodes.")
	descSyncState   = describe("sync_state", "1 for the present state of the repository.", "state")
	descSyncFetched = describe("sync_fetched_timestamp_seconds", "When the remote was last asked.")
	descClaim       = describe("verified_claim", "The number of the last claim that this node judged.")
	descPending     = describe("verification_pending", "The number of units that wait for a signature.")
	descRefused     = describe("verification_refused", "The number of refused heads on record.")
	descSynced      = describe("deployment_synced", "1 when the deployment's accepted revision runs.", "deployment")
	descHealthy     = describe("deployment_healthy", "1 when the deployment is Healthy.", "deployment")
	descRollout     = describe("rollout_state", "1 for the state of the service's rollout.", "deployment", "service", "state")
	descDesired     = describe("replicas_desired", "The number of replicas that are wanted.", "deployment", "service")
	descReplicas    = describe("replicas", "The number of replicas in a phase.", "deployment", "service", "phase")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("jaco_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector. A collector that describes nothing
// is unchecked; the descriptions differ by state only in their labels.
func (c *statusCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(out chan<- prometheus.Metric) {
	s := c.status()
	if s == nil {
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(descRaftIndex, float64(s.Cluster.Index))
	gauge(descRaftTerm, float64(s.Cluster.Term))
	gauge(descRaftLeader, truth(s.Cluster.Leader != ""))
	gauge(descNodes, float64(s.Cluster.Nodes))
	gauge(descNodesReady, float64(s.Cluster.Ready))
	gauge(descSyncState, 1, string(s.Sync.State))
	if s.Sync.FetchedAt != nil {
		gauge(descSyncFetched, float64(s.Sync.FetchedAt.UnixMilli())/1000)
	}
	gauge(descClaim, float64(s.Sync.Claim))
	gauge(descPending, float64(len(s.Sync.Pending)))
	gauge(descRefused, float64(len(s.Sync.Refused)))
	for i := range s.Deployments {
		d := &s.Deployments[i]
		gauge(descSynced, truth(d.Sync == cluster.AxisSynced), d.Name)
		gauge(descHealthy, truth(d.Health == cluster.HealthHealthy), d.Name)
		for j := range d.Services {
			service := &d.Services[j]
			gauge(descDesired, float64(service.Desired), d.Name, service.Name)
			if service.Rollout != cluster.RolloutNone {
				gauge(descRollout, 1, d.Name, service.Name, string(service.Rollout))
			}
			phases := map[cluster.Phase]int{}
			for _, r := range service.Replicas {
				phases[r.Phase]++
			}
			for phase, count := range phases {
				gauge(descReplicas, float64(count), d.Name, service.Name, string(phase))
			}
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
