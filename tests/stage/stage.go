// Package stage sets a cluster up for a suite: nodes with engines of their own,
// a repository served in one of three ways, a signer, and jacod made a cluster
// of them. Everything goes when the test ends.
//
// A Cluster has any number of nodes; a Stage is a cluster of one, whose methods
// need not say which node they mean.
package stage

import (
	"context"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
)

// Config says what to stage. The zero value is the embedded default.
type Config struct {
	Transport Transport
	// Engine is where jacod finds its engine; empty: the node's own. A suite
	// puts a proxy there.
	Engine func(*rig.Node) string
	// NoInit leaves the daemon without a cluster.
	NoInit bool
	// DataSize, in bytes, gives the data directory a disk of its own.
	DataSize int64
	// Settings are added to jacod.yaml.
	Settings map[string]any
}

// Stage is a cluster of one node.
type Stage struct {
	Cluster
	Node   *rig.Node
	Daemon *rig.Daemon
}

// New sets everything up and returns when jacod has its cluster.
func New(t rig.TB, config Config) *Stage {
	t.Helper()
	c := newCluster(t, ClusterConfig{
		Nodes: 1, Transport: config.Transport, Settings: config.Settings, NoInit: config.NoInit,
		Daemon: func(node *rig.Node, daemon *rig.DaemonConfig) {
			daemon.DataSize = config.DataSize
			if config.Engine != nil {
				daemon.Settings["engine"] = config.Engine(node)
			}
		},
	})
	return &Stage{Cluster: *c, Node: c.Rig.Node(), Daemon: c.daemons[0]}
}

// member is the one node, for the test that runs now.
func (s *Stage) member() Member { return s.Member(0) }

// WebhookAddress is where the daemon takes deliveries from the LAN.
func (s *Stage) WebhookAddress() string { return s.member().WebhookAddress() }

// Jaco runs the CLI and returns what it prints; a failure ends the test.
func (s *Stage) Jaco(args ...string) string {
	s.T.Helper()
	return s.member().Jaco(args...)
}

// JacoFails runs the CLI, wants that exit code, and returns everything that
// was printed.
func (s *Stage) JacoFails(code int, args ...string) string {
	s.T.Helper()
	return s.member().JacoFails(code, args...)
}

// Status returns the status document.
func (s *Stage) Status() *cluster.Status {
	s.T.Helper()
	return s.member().Status()
}

// TryStatus is Status for a daemon that may be down.
func (s *Stage) TryStatus(ctx context.Context) (*cluster.Status, error) {
	return s.member().TryStatus(ctx)
}

// Eventually waits for a condition on the status.
func (s *Stage) Eventually(within time.Duration, desc string, cond func(*cluster.Status) (bool, string)) {
	s.T.Helper()
	s.member().Eventually(within, desc, cond)
}

// Containers lists the cluster's containers by asking the engine itself.
func (s *Stage) Containers() []rig.Container {
	s.T.Helper()
	return s.member().Containers()
}
