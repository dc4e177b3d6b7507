package cluster

import "time"

// Status is the answer of `jaco status -o json`. Its JSON is a stable
// contract: fields are added, never renamed (docs/cli.md).
type Status struct {
	Cluster      ClusterStatus       `json:"cluster"`
	Sync         SyncStatus          `json:"sync"`
	Deployments  []DeploymentState   `json:"deployments"`
	Nodes        []NodeStatus        `json:"nodes"`
	Routes       []RouteStatus       `json:"routes"`
	Certificates []CertificateStatus `json:"certificates"`
}

// ClusterStatus is the cluster as a whole, as the answering node sees it.
type ClusterStatus struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Version string `json:"version"` // of the answering node's jacod
	Node    string `json:"node"`    // that answers
	Leader  string `json:"leader"`  // "" when there is none
	Term    uint64 `json:"term"`
	Index   uint64 `json:"index"`  // applied by the answering node
	Quorum  bool   `json:"quorum"` // enough voters answer, so that something can change
	Voters  int    `json:"voters"`
	Nodes   int    `json:"nodes"`
	Ready   int    `json:"ready"`
	// Warnings say what endangers the cluster as a whole, and what to do.
	Warnings []string `json:"warnings"`
}

// SyncStatus is how the repository and the cluster stand to each other.
type SyncStatus struct {
	Repo     string    `json:"repo"`
	Branch   string    `json:"branch"`
	State    SyncState `json:"state"`
	Reason   string    `json:"reason"`
	Head     string    `json:"head"`     // the newest tip seen
	Accepted string    `json:"accepted"` // the commit last accepted
	Claim    uint64    `json:"claim"`
	Anchor   string    `json:"anchor"` // pinned in the answering node's own trust store
	// FetchedAt is soft: null until the leader has asked the remote.
	FetchedAt *time.Time      `json:"fetched_at"`
	Signers   []string        `json:"signers"` // of the accepted commit
	Pending   []PendingStatus `json:"pending"`
	Refused   []RefusalStatus `json:"refused"` // newest first
	// Invalid is set when the newest approved cluster.yaml cannot be read; the
	// last one that can is in force.
	Invalid *InvalidStatus `json:"invalid"`
}

// InvalidStatus is approved content that cannot be read.
type InvalidStatus struct {
	Revision string `json:"revision"`
	Reason   string `json:"reason"` // with file:line
}

// PendingStatus is one unit that waits for a signature.
type PendingStatus struct {
	Deployment string   `json:"deployment"`
	Revision   string   `json:"revision"`
	Have       []string `json:"have"`
	Need       int      `json:"need"`
	Eligible   []string `json:"eligible"`
	Command    string   `json:"command"`
	Reason     string   `json:"reason"`
}

// RefusalStatus is one refused head.
type RefusalStatus struct {
	Revision string    `json:"revision"` // the bad commit
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
	Head     string    `json:"head"`
	Code     string    `json:"code"`   // signing.Reason
	Advice   string    `json:"advice"` // what to do, with commands
}

// SyncAxis is a deployment's state against the repository.
type SyncAxis string

// The sync states of a deployment.
const (
	AxisSynced           SyncAxis = "Synced"
	AxisOutOfSync        SyncAxis = "OutOfSync"
	AxisAwaitingApproval SyncAxis = "AwaitingApproval"
	AxisInvalid          SyncAxis = "Invalid"
	// AxisPolicyOutdated: what runs was approved by an earlier policy, and would
	// not be by the one in force; it runs on.
	AxisPolicyOutdated SyncAxis = "PolicyOutdated"
	// AxisSuspect: what runs was approved with a key that is compromised; it runs
	// on.
	AxisSuspect SyncAxis = "Suspect"
)

// HealthAxis is a deployment's state against its own wishes.
type HealthAxis string

// The health states of a deployment.
const (
	HealthHealthy     HealthAxis = "Healthy"
	HealthProgressing HealthAxis = "Progressing"
	HealthDegraded    HealthAxis = "Degraded"
	HealthMissing     HealthAxis = "Missing"
	HealthSuspended   HealthAxis = "Suspended"
)

// DeploymentState is one deployment: Revision runs, Target is wanted.
type DeploymentState struct {
	Name     string          `json:"name"`
	Revision string          `json:"revision"`
	Target   string          `json:"target"`
	Signers  []string        `json:"signers"`
	Sync     SyncAxis        `json:"sync"`
	Health   HealthAxis      `json:"health"`
	Reason   string          `json:"reason"`
	Services []ServiceStatus `json:"services"`
}

// ServiceStatus is one service of a deployment.
type ServiceStatus struct {
	Name     string          `json:"name"`
	Mode     string          `json:"mode"`
	Image    string          `json:"image"`
	Digest   string          `json:"digest"`
	Desired  int             `json:"desired"`
	Running  int             `json:"running"`
	Healthy  int             `json:"healthy"`
	Updated  int             `json:"updated"` // live replicas of the target spec
	Rollout  RolloutState    `json:"rollout"` // "" | progressing | paused | done
	Reason   string          `json:"reason"`
	Replicas []ReplicaStatus `json:"replicas"`
}

// ReplicaStatus is one replica.
type ReplicaStatus struct {
	ID          string     `json:"id"`
	Slot        int        `json:"slot"`
	Node        string     `json:"node"`
	Phase       Phase      `json:"phase"`
	Reason      string     `json:"reason"`
	Revision    string     `json:"revision"`
	SpecHash    string     `json:"spec_hash"`
	ContainerID string     `json:"container_id"`
	Address     string     `json:"address"`
	StartedAt   *time.Time `json:"started_at"`
}

// NodeStatus is one member. Accepted is the commit that the node itself
// accepted, "" when it is not known; null-able fields are soft and unknown when
// the leader was not told them, or there is none. Of itself the answering node
// knows Accepted and Index in any case.
type NodeStatus struct {
	Name           string            `json:"name"`
	Address        string            `json:"address"`
	Role           string            `json:"role"` // voter | non-voter
	State          NodeState         `json:"state"`
	Availability   string            `json:"availability"`
	Labels         map[string]string `json:"labels"`
	Version        string            `json:"version"`
	Replicas       int               `json:"replicas"`
	CPUPressure    *float64          `json:"cpu_pressure"`
	MemoryPressure *float64          `json:"memory_pressure"`
	Accepted       string            `json:"accepted"`
	Index          *uint64           `json:"index"`         // applied by it
	Lag            *uint64           `json:"lag"`           // entries behind the leader
	HeartbeatAge   *float64          `json:"heartbeat_age"` // seconds since the leader heard it
	ClockOffset    *float64          `json:"clock_offset"`  // seconds ahead of the leader's clock
	// WireGuard is who encrypts on it, "kernel" or "userspace"; "" when not known.
	WireGuard string          `json:"wireguard"`
	Firewall  *FirewallStatus `json:"firewall"`
	// Peers are as the node's last round of probes found them; empty before the
	// first. Of other nodes than the answering one at most MaxPeersTold are known,
	// broken ones first.
	Peers  []PeerStatus `json:"peers"`
	Reason string       `json:"reason"`
}

// FirewallStatus is the isolation on one node; null where no mesh runs.
type FirewallStatus struct {
	// Ready says that the rules were read back from the kernel and are right. Where
	// they are not, no container starts.
	Ready  bool   `json:"ready"`
	Reason string `json:"reason"` // why not
	// Generation counts the times that the rules were written.
	Generation uint64 `json:"generation"`
}

// PeerStatus is one mesh connection of a node, as that node sees it.
type PeerStatus struct {
	Node         string  `json:"node"`
	HandshakeAge float64 `json:"handshake_age"` // seconds; -1: there was none yet
	RTT          float64 `json:"rtt_ms"`        // 0: no answer
	MTU          int     `json:"mtu"`           // bytes of the largest packet that came through; 0: none did
	// Mode is who encrypts at this end, "kernel" or "userspace".
	Mode string `json:"mode"`
	// Reason is what is broken and what to do, "" when nothing is.
	Reason string `json:"reason"`
}

// RouteStatus is one route of the ingress.
type RouteStatus struct {
	Domain     string `json:"domain"`
	Path       string `json:"path"`
	Listen     string `json:"listen"`
	Deployment string `json:"deployment"`
	Service    string `json:"service"`
	Port       int    `json:"port"`
	TLS        string `json:"tls"`
	Endpoints  int    `json:"endpoints"`
	Ready      bool   `json:"ready"`
}

// CertificateStatus is one certificate of the ingress.
type CertificateStatus struct {
	Domain   string     `json:"domain"`
	Issuer   string     `json:"issuer"`
	NotAfter *time.Time `json:"not_after"`
	State    string     `json:"state"`
	Reason   string     `json:"reason"`
}
