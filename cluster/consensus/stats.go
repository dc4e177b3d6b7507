package consensus

import (
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// Stats is how consensus stands on this node, for status and metrics.
type Stats struct {
	// Role is "leader", "follower", "candidate" or "shutdown".
	Role string
	Term uint64
	// LastIndex is the newest entry in the log, CommitIndex the newest that a
	// majority has, AppliedIndex the newest that was passed to the state.
	LastIndex    uint64
	CommitIndex  uint64
	AppliedIndex uint64
	// SnapshotIndex is the newest entry in the last snapshot; 0 without one.
	SnapshotIndex uint64
	Voters        int
	// Fault is what the disk refuses at the moment, with advice; nil when all
	// is well.
	Fault error
}

// Stats returns how consensus stands; its role is "shutdown" while Run is not
// running.
func (c *Consensus) Stats() Stats {
	r, err := c.node()
	if err != nil {
		return Stats{Role: strings.ToLower(raft.Shutdown.String()), Fault: c.faults.current()}
	}
	// Raft gives the snapshot's index nowhere else.
	snapshot, err := strconv.ParseUint(r.Stats()["last_snapshot_index"], 10, 64)
	if err != nil {
		snapshot = 0
	}
	return Stats{
		Role:          strings.ToLower(r.State().String()),
		Term:          r.CurrentTerm(),
		LastIndex:     r.LastIndex(),
		CommitIndex:   r.CommitIndex(),
		AppliedIndex:  r.AppliedIndex(),
		SnapshotIndex: snapshot,
		Voters:        countVoters(c.Servers()),
		Fault:         c.faults.current(),
	}
}

// Term returns the present term of leadership; 0 while Run is not running.
func (c *Consensus) Term() uint64 {
	r, err := c.node()
	if err != nil {
		return 0
	}
	return r.CurrentTerm()
}

// LastContact returns when this node last heard of its leader, by the
// operating system's clock; the leader itself has heard of it just now. It is
// zero when there was none yet.
func (c *Consensus) LastContact() time.Time {
	r, err := c.node()
	if err != nil {
		return time.Time{}
	}
	if r.State() == raft.Leader {
		return c.cfg.Clock()
	}
	return r.LastContact()
}

// Quorum reports whether this node knows of a leader that a majority follows,
// as far as it can tell: it leads, or has heard of its leader within twice
// Config.Heartbeat.
func (c *Consensus) Quorum() bool {
	r, err := c.node()
	if err != nil {
		return false
	}
	if r.State() == raft.Leader {
		return true
	}
	_, leader := r.LeaderWithID()
	return leader != "" && time.Since(r.LastContact()) <= 2*c.cfg.Heartbeat
}
