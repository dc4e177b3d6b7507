package consensus

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// Config is how one node takes part in consensus. Start from DefaultConfig.
type Config struct {
	// Dir holds the log (raft.db) and the snapshots. It belongs to one process
	// at a time. No default.
	Dir string
	// Node is this node's name, which is its id in raft for ever. No default.
	Node string
	// Address is host:port of the control port as the other nodes reach it.
	// No default.
	Address string

	// Join says that this node was admitted to a cluster and that the leader will
	// bring it the log, so that an empty directory is right; default false:
	// Run then refuses one with ErrNoState. A directory that holds a log is
	// taken up as it is, whatever Join says. Set it until HasState has been
	// true once, and never again without a new admission: a voter whose log was
	// lost forgot for whom it voted and what it acknowledged, so it must be
	// taken out of the membership (Remove) before it comes back with Join.
	Join bool

	// Heartbeat is how long a follower waits for its leader before it stands
	// for election; default 500 ms. With Election and Lease at their defaults
	// a lost leader is replaced in about 0.9 s.
	Heartbeat time.Duration
	// Election is how long a candidate waits for votes; at least Heartbeat;
	// default 500 ms.
	Election time.Duration
	// Lease is how long a leader goes on without hearing from a majority; at
	// most Heartbeat, so that two never lead at once; default 400 ms.
	Lease time.Duration
	// CommitTimeout is how often a leader looks whether it has something to say
	// to a follower that it was not woken for; default 250 ms. A commit wakes it.
	CommitTimeout time.Duration
	// ApplyTimeout is how long a proposal waits for its place in the log before
	// it fails without effect; default 10 s.
	ApplyTimeout time.Duration

	// SnapshotThreshold is the number of new entries that make a snapshot
	// worthwhile; default 8192.
	SnapshotThreshold uint64
	// SnapshotInterval is how often that is looked at, staggered up to twice
	// as long; default 2 min.
	SnapshotInterval time.Duration

	// Clock stamps proposals; default time.Now.
	Clock func() time.Time
	// Logger takes raft's own log, which names its parts as attribute
	// "component". No default.
	Logger *slog.Logger
}

// DefaultConfig returns the defaults; Dir, Node, Address and Logger are still
// to be set.
func DefaultConfig() Config {
	return Config{
		Heartbeat:         500 * time.Millisecond,
		Election:          500 * time.Millisecond,
		Lease:             400 * time.Millisecond,
		CommitTimeout:     250 * time.Millisecond,
		ApplyTimeout:      10 * time.Second,
		SnapshotThreshold: 8192,
		SnapshotInterval:  2 * time.Minute,
		Clock:             time.Now,
	}
}

// Validate returns an error that names the first field that is missing or out
// of range.
func (c Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("consensus configuration: Dir is empty")
	case c.Node == "":
		return errors.New("consensus configuration: Node is empty")
	case c.Address == "":
		return errors.New("consensus configuration: Address is empty")
	case c.Clock == nil:
		return errors.New("consensus configuration: Clock is nil")
	case c.Logger == nil:
		return errors.New("consensus configuration: Logger is nil")
	case c.ApplyTimeout <= 0:
		return fmt.Errorf("consensus configuration: ApplyTimeout is %v, want more than 0", c.ApplyTimeout)
	}
	if err := raft.ValidateConfig(c.raft()); err != nil {
		return fmt.Errorf("consensus configuration: %w", err)
	}
	return nil
}

// raft returns the library's configuration.
func (c Config) raft() *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.Node)
	rc.HeartbeatTimeout = c.Heartbeat
	rc.ElectionTimeout = c.Election
	rc.LeaderLeaseTimeout = c.Lease
	rc.CommitTimeout = c.CommitTimeout
	rc.SnapshotThreshold = c.SnapshotThreshold
	rc.SnapshotInterval = c.SnapshotInterval
	// A removed node's Run goes on, as a non-voter of nothing: what that means
	// for the daemon is not raft's to decide.
	rc.ShutdownOnRemove = false
	rc.NoLegacyTelemetry = true
	rc.Logger = newLogger(c.Logger)
	return rc
}
