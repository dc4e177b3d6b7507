package faults

import (
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/stage"
)

// fast restarts a node with a clock that is an hour ahead, or with the right one
// again.
func (f *trial) fast(m stage.Member, ahead bool) {
	f.T.Helper()
	program := "jacod"
	if ahead {
		program = "jacod-fast"
	}
	f.Check(useProgram(m.Node, program))
	f.Check(m.Restart(f.t.Context()))
}

// named wants the status to name the node's clock.
func named(name string) func(*cluster.Status) (bool, string) {
	return func(status *cluster.Status) (bool, string) {
		node := nodeIn(status, name)
		return strings.Contains(node.Reason, "its clock is 1h0m0s ahead of the other nodes'"), node.Reason + "\n" + stage.Summary(status)
	}
}

// followerAhead gives a follower a clock that is an hour ahead: it is named, and
// the others go on.
func followerAhead(f *trial) {
	m := f.follower()
	rest := f.but(m)
	f.fast(m, true)
	f.Eventually(30*time.Second, "the clock of "+m.Name()+" to be named", named(m.Name()), rest...)
	commit := f.push(rest[0], nil)
	f.Eventually(settleTime, "the push to run, or to wait for "+m.Name(), runsOrWaits(commit, m.Name()), rest...)
	f.fast(m, false)
	f.push(rest[0], nil) // what was refused stays refused: the next commit is taken
	f.Settle(settleTime)
}

// leaderAhead has a leader whose clock is an hour ahead: it is named, and the
// others accept nothing that it dates; the next leader deploys it.
func leaderAhead(f *trial) {
	m := f.follower()
	f.fast(m, true)
	for f.Leader().Name() != m.Name() {
		leader := f.Leader()
		f.Kill(leader)
		f.newLeader(leader, f.Running())
		f.Start(leader)
	}
	rest := f.but(m)
	f.Eventually(30*time.Second, "the clock of "+m.Name()+" to be named", named(m.Name()))
	before := f.Head()
	commit := f.push(m, nil)
	f.Eventually(30*time.Second, "the push to be refused for its time", func(status *cluster.Status) (bool, string) {
		own := nodeIn(status, status.Cluster.Node)
		return status.Sync.Accepted == before && strings.Contains(own.Reason, "in the future of this node's clock"), own.Reason + "\n" + stage.Summary(status)
	}, rest...)
	for _, other := range rest {
		for _, c := range other.Containers() {
			if c.Labels["sh.jaco.revision"] == commit {
				f.t.Errorf("%s runs what it refused", other.Name())
			}
		}
	}
	f.fast(m, false)
	f.push(rest[0], nil)
	f.Settle(settleTime)
}
