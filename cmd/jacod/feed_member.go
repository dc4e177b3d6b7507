package main

import (
	"context"

	"github.com/jaco-sh/jaco/cluster"
)

// eventsBack is how many audit entries are looked through for an event that may
// be recorded already: one that was offered again is among the newest.
const eventsBack = 1000

// openFeed wires the feed to the member's parts.
func (m *member) openFeed() error {
	deps := feedDeps{
		Node: m.info.Node, Socket: m.config.Edge.Socket, Current: m.current,
		Changed: func() (state, view <-chan struct{}) { return m.state.Changed(), m.verifier.Changed() },
		Index:   func() uint64 { return m.state.Read().Index() },
		Build: func(overlay []cluster.ReplicaReport) (cluster.EdgeState, bool) {
			return cluster.BuildEdge(m.state.Read(), m.verifier.View(), m.info.Node, overlay)
		},
		MeshNode: func() (cluster.MeshNode, bool) { return m.state.Read().MeshNode(m.info.Node) },
		ReportMesh: func(ctx context.Context, key [32]byte, port uint16, mode string) error {
			// A cluster that is being made has no log yet to which this could belong.
			if _, err := m.waitMeta(ctx); err != nil {
				return err
			}
			return m.propose(ctx, &cluster.ReportMesh{Node: m.info.Node, PublicKey: key, Port: port, Mode: mode})
		},
		Record: (&reporter{member: m}).Record, Recorded: m.recorded, Beat: m.pokeBeat,
		Clock: m.clock, Logger: m.logger.With("component", "feed"),
	}
	if m.config.Edge.Start {
		var err error
		if deps.Launcher, err = newLauncher(m.config.Path, m.clock, deps.Logger); err != nil {
			return err
		}
	}
	m.feed = newFeed(deps)
	return nil
}

// recorded reports whether the audit log holds an event.
func (m *member) recorded(event cluster.Event) bool {
	snapshot := m.state.Read()
	head := snapshot.AuditHead().Number
	for old, err := range snapshot.Events(head-min(head, eventsBack), true) {
		if err != nil {
			return false // it is then written twice, which is better than not at all
		}
		if old.Event == event {
			return true
		}
	}
	return false
}
