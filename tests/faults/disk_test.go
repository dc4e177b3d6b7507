package faults

import (
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/stage"
)

// diskFull fills the disk of the leader, which makes way for another.
func diskFull(f *trial) {
	full := f.Leader()
	rest := f.but(full)
	calm := f.started("calm")
	f.Check(full.FillDisk(f.t.Context()))
	commit := f.push(rest[0], map[string]string{"deployments/busy/notes": noise(512 << 10)})
	f.newLeader(full, rest)
	f.Eventually(settleTime, "the push to run, or to wait for "+full.Name(), runsOrWaits(commit, full.Name()), rest...)
	f.EventuallyAny(20*time.Second, full.Name()+" to say that its disk is full", func(status *cluster.Status) (bool, string) {
		node := nodeIn(status, full.Name())
		return strings.Contains(node.Reason, "no space left on device"), node.Reason + "\n" + stage.Summary(status)
	})
	if !full.Running() {
		f.t.Errorf("jacod of %s ended", full.Name())
		f.Check(full.FreeDisk(f.t.Context()))
		f.Start(full)
	}
	f.Check(full.FreeDisk(f.t.Context()))
	f.Settle(settleTime)
	f.unchanged(calm, "calm")
}

// noise is text that does not compress well and is the same each time.
func noise(size int) string {
	var b strings.Builder
	state := uint64(1)
	for b.Len() < size {
		state = state*6364136223846793005 + 1442695040888963407
		b.WriteByte(byte('!' + state>>33%90))
	}
	return b.String()
}
