package faults

import (
	"fmt"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/stage"
)

const (
	// leaderKills is how often the leader dies, each time at a random moment of
	// a rollout, which takes about rolloutTime.
	leaderKills = 20
	rolloutTime = 3 * time.Second
)

// leaderKilled kills the leader while it rolls a change out: the next one ends
// what was begun.
func leaderKilled(f *trial) {
	calm := f.started("calm")
	for round := range leaderKills {
		leader := f.Leader()
		commit := f.push(leader, nil)
		after := time.Duration(f.random.Int64N(int64(rolloutTime)))
		f.pass(after)
		f.t.Logf("round %d: %s dies %s after the push", round, leader.Name(), after)
		f.Kill(leader)
		f.newLeader(leader, f.Running())
		f.Start(leader)
		f.Settle(settleTime)
		for _, p := range f.Containers() {
			if p.Labels["sh.jaco.deployment"] == "busy" && p.Labels["sh.jaco.revision"] != commit {
				f.t.Errorf("round %d: a container on %s is of revision %s, want %s", round, p.Node, p.Labels["sh.jaco.revision"], commit)
			}
		}
		f.unchanged(calm, "calm")
	}
}

// allKilled kills every daemon at once: they come back to what runs.
func allKilled(f *trial) {
	before := f.started("calm", "busy")
	f.Kill()
	f.unchanged(before, "calm", "busy")
	f.Start()
	f.Settle(settleTime)
	f.unchanged(before, "calm", "busy")
}

// quorumLost kills two of three daemons: the third keeps what runs, answers, and
// says what is missing.
func quorumLost(f *trial) {
	before := f.started("calm", "busy")
	left := f.follower()
	gone := f.but(left)
	accepted := left.Status().Sync.Accepted
	f.Kill(gone...)
	left.Eventually(20*time.Second, "to say what is missing", cutOff("1 more of the voters", gone[0].Name(), gone[1].Name()))
	f.push(left, nil)
	if said := left.JacoFails(1, "bootstrap", "token"); !strings.Contains(said, "no leader can make a token now") {
		f.t.Errorf("a token without quorum: %s", said)
	}
	status := left.Status()
	if status.Sync.Accepted != accepted || stage.FindService(status, "calm", "web") == nil || status.Nodes[0].HeartbeatAge != nil {
		f.t.Errorf("the status without quorum:\n%s", stage.Summary(status))
	}
	f.unchanged(before, "calm", "busy")
	calm := f.started("calm")
	f.Start(gone...)
	f.Settle(settleTime)
	f.unchanged(calm, "calm")
}

// minorityCutOff cuts the leader off: the others go on without it, it keeps what
// it runs and says that it is cut off.
func minorityCutOff(f *trial) {
	alone := f.Leader()
	rest := f.but(alone)
	kept, accepted := alone.Containers(), alone.Status().Sync.Accepted
	f.Check(f.Rig.Isolate(f.t.Context(), alone.Node))
	f.newLeader(alone, rest)
	commit := f.push(rest[0], nil)
	f.Eventually(settleTime, "the majority to run the push and what the minority ran", runs(commit, alone.Name()), rest...)
	f.Eventually(settleTime, alone.Name()+" to be down", func(status *cluster.Status) (bool, string) {
		node := nodeIn(status, alone.Name())
		return node.State == cluster.NodeDown && node.Reason != "", stage.Summary(status)
	}, rest...)
	alone.Eventually(10*time.Second, "to say that it is cut off", cutOff(rest[0].Name(), rest[1].Name()))
	if got := alone.Status().Sync.Accepted; got != accepted {
		f.t.Errorf("the minority accepted %s", got)
	}
	if now := alone.Containers(); fmt.Sprint(ids(now)) != fmt.Sprint(ids(kept)) {
		f.t.Errorf("the minority ran %v and now runs %v", ids(kept), ids(now))
	}
	f.Check(f.Rig.Heal(f.t.Context()))
	f.Settle(settleTime)
}
