package cluster

import (
	"slices"
	"strings"
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
	// Mesh is what the node's edge says; nil from a node without one.
	Mesh *MeshBeat `json:"mesh,omitempty"`
}

// MaxPeersTold is how many of a node's peers a heartbeat names: those that are
// broken first, then by name. A thousand nodes that told of all of each other
// would fill the leader's answers.
const MaxPeersTold = 64

// MeshBeat is the mesh as one node has it.
type MeshBeat struct {
	// Mode is who encrypts, "kernel" or "userspace"; "" while the edge does not
	// answer.
	Mode     string         `json:"mode,omitempty"`
	Firewall FirewallStatus `json:"firewall"`
	// PeersAt is when the peers were probed last, Unix seconds of the node's
	// clock; 0: never. Peers is what was found then, in the first heartbeat to a
	// leader that says so; nil in those that follow.
	PeersAt int64        `json:"peers_at,omitempty"`
	Peers   []PeerStatus `json:"peers,omitempty"`
}

// Told returns the heartbeat's form: of the peers no more than MaxPeersTold, and
// none where the leader knows of that round.
func (m *MeshBeat) Told(known int64) *MeshBeat {
	if m == nil {
		return nil
	}
	told := *m
	if m.PeersAt == known {
		told.Peers = nil
		return &told
	}
	told.Peers = slices.Clone(m.Peers)
	slices.SortFunc(told.Peers, func(a, b PeerStatus) int {
		if broken := a.Reason != ""; broken != (b.Reason != "") {
			if broken {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Node, b.Node)
	})
	told.Peers = told.Peers[:min(len(told.Peers), MaxPeersTold)]
	slices.SortFunc(told.Peers, func(a, b PeerStatus) int { return strings.Compare(a.Node, b.Node) })
	return &told
}

// keepPeers takes over what an earlier heartbeat said of a round of probes that
// this one does not tell of again.
func (m *MeshBeat) keepPeers(old *MeshBeat) {
	if m != nil && old != nil && m.Peers == nil && m.PeersAt == old.PeersAt {
		m.Peers = old.Peers
	}
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
