package cluster

import (
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// Heartbeat is what a node tells the leader every second, and at once when
// something in it changes. It is soft state: it never enters the log. Its JSON
// is the wire between members; fields are added, never renamed.
type Heartbeat struct {
	Node    string `json:"node"`
	Version string `json:"version"` // of jacod
	Index   uint64 `json:"index"`   // applied
	// Commit and Claim are how far the node accepted; Refusal says why it does
	// not follow the newest claim, "" when it does.
	Commit  signing.Hash `json:"commit"`
	Claim   uint64       `json:"claim"`
	Refusal string       `json:"refusal,omitempty"`
	// Ready and Reason are about the node's engine.
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	// CPU (billionths of a core) and Memory (bytes) are what the engine has.
	CPU    int64 `json:"cpu"`
	Memory int64 `json:"memory"`
	// CPUPressure and MemoryPressure are percent of the last 10 s in which
	// something waited for it; nil where the kernel does not tell.
	CPUPressure    *float64 `json:"cpu_pressure,omitempty"`
	MemoryPressure *float64 `json:"memory_pressure,omitempty"`
	// Fault is what keeps the node from writing to its disk.
	Fault string `json:"fault,omitempty"`
	// SentAt is the node's own clock.
	SentAt time.Time `json:"sent_at"`
	// Stopping announces a planned stop: silence that follows is no loss.
	Stopping bool `json:"stopping,omitempty"`
}

// LeaderStatus is what the leader knows and the log does not carry. Without a
// leader nobody knows it.
type LeaderStatus struct {
	Leader string `json:"leader"`
	Index  uint64 `json:"index"` // applied by the leader
	// Nodes holds every member that was heard of in the leader's term.
	Nodes map[string]NodeSoft `json:"nodes"`
	// MassLossUntil is until when replicas of lost nodes stay where they are;
	// zero: nothing is held back (Assessment).
	MassLossUntil time.Time `json:"mass_loss_until"`
	// Head is the newest tip seen, zero when none was; FetchedAt when the
	// remote last answered.
	Head      signing.Hash `json:"head"`
	FetchedAt time.Time    `json:"fetched_at"`
	Fetching  bool         `json:"fetching"`
}

// NodeSoft is what the leader heard from one node.
type NodeSoft struct {
	Heartbeat
	// Age is how long ago, by the leader's clock.
	Age time.Duration `json:"age"`
	// ClockOffset is how far the node's clock is ahead of the leader's.
	ClockOffset time.Duration `json:"clock_offset"`
}
