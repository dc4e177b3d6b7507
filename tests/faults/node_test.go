package faults

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// elsewhereTime bounds the time from the loss of a node to its replicas running
// elsewhere: 6 s until it is down, and twice that for a busy machine.
const elsewhereTime = 20 * time.Second

// ids are those of the containers that run, in order.
func ids(containers []rig.Container) []string {
	var all []string
	for _, c := range containers {
		if c.State == "running" {
			all = append(all, c.ID[:12])
		}
	}
	slices.Sort(all)
	return all
}

// poweredOff takes the power of the leader's node.
func poweredOff(f *trial) {
	gone := f.Leader()
	rest := f.but(gone)
	f.Check(gone.Node.PowerOff(f.t.Context()))
	start := time.Now()
	f.Eventually(elsewhereTime, "its replicas to run elsewhere", runs(f.Head(), gone.Name()), rest...)
	f.t.Logf("%s lost: all replicas run again after %s", gone.Name(), time.Since(start).Round(100*time.Millisecond))
	for _, p := range f.Containers() {
		if p.State != "running" {
			f.t.Errorf("on %s: %s", p.Node, p.Status)
		}
	}
	f.Check(gone.Node.PowerOn(f.t.Context()))
	f.Start(gone)
	f.Settle(settleTime)
}

// engineKilled kills one engine: its containers run on, so nothing moves.
func engineKilled(f *trial) {
	before := f.started("calm", "busy")
	m := f.follower()
	f.Check(m.Node.Engine.Kill(f.t.Context()))
	told := func(status *cluster.Status) (bool, string) {
		node := nodeIn(status, m.Name())
		return node.State == cluster.NodeNotReady && strings.Contains(node.Reason, "engine"), node.Reason + "\n" + stage.Summary(status)
	}
	f.Eventually(20*time.Second, m.Name()+" to be not ready for its engine", told)
	f.pass(8 * time.Second) // longer than a node that is silent has
	f.Eventually(5*time.Second, m.Name()+" to be not ready still", told)
	f.Check(m.Node.Engine.Start(f.t.Context()))
	f.Settle(settleTime)
	f.unchanged(before, "calm", "busy")
}

// wiped takes a node's log, and then all of its data: it must not take part as
// if it were new, because it may have voted, and comes back by a new token.
func wiped(f *trial) {
	m := f.follower()
	rest := f.but(m)
	f.Kill(m)
	raft := filepath.Join(m.DataDir, "raft")
	f.Check(os.Rename(raft, raft+".gone"))
	if err := m.Start(f.t.Context()); err == nil { // its socket was there for a moment
		select {
		case <-m.Proc().Done():
		case <-time.After(10 * time.Second):
			f.T.Fatal("jacod runs without its log")
		}
	}
	if said := m.Tail(3); !strings.Contains(said, "no raft log") {
		f.t.Errorf("jacod does not say why it ended:\n%s", said)
	}

	f.Check(m.Wipe(f.t.Context()))
	f.Start(m)
	if _, err := m.TryStatus(f.t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to no cluster") {
		f.t.Errorf("the status of a wiped node: %v", err)
	}
	f.Eventually(30*time.Second, m.Name()+" to be down", func(status *cluster.Status) (bool, string) {
		return nodeIn(status, m.Name()).State == cluster.NodeDown, stage.Summary(status)
	}, rest...)
	f.Join(m)
	f.Settle(settleTime)
	f.Eventually(settleTime, "three voters", func(status *cluster.Status) (bool, string) {
		return status.Cluster.Voters == 3, stage.Summary(status)
	})
}
