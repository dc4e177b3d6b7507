package cluster

import (
	"net/netip"
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// Meta describes the cluster itself. There is one, made by InitCluster.
type Meta struct {
	ID   string // 16 hexadecimal digits, drawn at init
	Name string // for people; default "jaco"
	// CA is the cluster authority's certificate, PEM.
	CA   []byte
	Repo Repo
	// Anchor is the pinned commit that everything accepted descends from.
	Anchor signing.Hash
	// Pool is where all addresses of the mesh come from; default DefaultPool.
	Pool netip.Prefix
	// InitializedAt is the time of the InitCluster entry.
	InitializedAt time.Time

	CreateIndex uint64
	ModifyIndex uint64
}

// Repo is where the fleet repository is. Credentials are sealed items.
type Repo struct {
	URL    string // https://…, ssh://…, git@host:path, or an absolute path on Owner
	Branch string // default "main"
	// Owner is the node that holds a repository given by path; "" for remote ones.
	Owner string
	// KnownHosts is the content of the known_hosts file for ssh; public, not sealed.
	KnownHosts []byte
}

// Node is one member.
type Node struct {
	Name    string
	Address string // host:port of the control port, as other nodes reach it
	// CertificateKey is the SHA-256 of the node certificate's public key
	// (SubjectPublicKeyInfo), which a connection must present.
	CertificateKey [32]byte
	// SealKey is the node's age recipient ("age1…"): sealed items are
	// encrypted to it.
	SealKey string
	State   NodeState
	Since   time.Time // when State last changed
	Reason  string    // of State, for people
	Version string    // of jacod
	// CPU (billionths of a core) and Memory (bytes) are what the engine has.
	CPU    int64
	Memory int64

	CreateIndex uint64
	ModifyIndex uint64
}

// NodeState is whether a node can run replicas.
type NodeState string

// The states of a node, as status shows them.
const (
	NodeReady    NodeState = "Ready"
	NodeNotReady NodeState = "NotReady" // its engine does not answer; nothing moves
	NodeSuspect  NodeState = "Suspect"  // it has missed heartbeats; its endpoints step back, nothing moves
	NodeDown     NodeState = "Down"     // it does not answer: its replicas are placed elsewhere
)

// Alive reports whether the node's jacod answers.
func (s NodeState) Alive() bool { return s == NodeReady || s == NodeNotReady }

// Token lets whoever holds its secret join the cluster, once, or read its
// status until it expires. The secret itself is nowhere in the state.
type Token struct {
	ID   string // 16 hexadecimal digits; public
	Kind TokenKind
	// Hash is the SHA-256 of the secret.
	Hash      [32]byte
	ExpiresAt time.Time
	UsedBy    string // the node that joined with it; "" when none did
	// Checkpoint is what a joining node pins (verifier.Checkpoint); its
	// SHA-256 is in the token that the operator carries. Join tokens only.
	Checkpoint []byte

	CreateIndex uint64
	ModifyIndex uint64
}

// TokenKind says what a token is good for.
type TokenKind string

// The kinds of tokens.
const (
	TokenJoin TokenKind = "join" // to become a member, once
	TokenRead TokenKind = "read" // to read status and audit from afar
)

// Claim is what a leader says that the repository's accepted revision is. It
// is evidence to be judged, not an order.
type Claim struct {
	Number uint64 // from 1, without gaps
	// From is the commit that the proposer had accepted (the anchor at first), Commit
	// the claimed tip.
	From   signing.Hash
	Commit signing.Hash
	// Digest is the SHA-256 over the content that the leader accepted
	// (ContentDigest): every byte is bound by it, not only by SHA-1. What Tags
	// approve shows in it as soon as a revision moves; the tags are in it by
	// that alone.
	Digest [32]byte
	// Tags are the approval tags that the claim relies on, in the order of their
	// ids, each once. Every node judges by exactly these: what tags the
	// repository has now, or had, is nothing to it.
	Tags []signing.Hash
	// Time is the entry's time as its proposer stamped it: valid_until is
	// judged by it. The verifier takes none that runs back.
	Time time.Time
	// Index is the claim's raft index.
	Index uint64
}

// Refusal records once, per head and reason, why the repository's head was
// not accepted.
type Refusal struct {
	Head   signing.Hash // the branch's tip
	Commit signing.Hash // the bad commit; zero when the head itself could not be judged
	Reason signing.Reason
	Detail string
	Advice string
	Time   time.Time

	CreateIndex uint64
}

// SyncState is how the repository and the cluster stand to each other.
type SyncState string

// The states of the repository.
const (
	SyncSynced      SyncState = "Synced"
	SyncFetching    SyncState = "Fetching" // soft: never written to the log
	SyncStalled     SyncState = "Stalled"
	SyncUnreachable SyncState = "Unreachable"
)

// Sync is the stored part of the repository's state; it changes on
// transitions only.
type Sync struct {
	State  SyncState
	Reason string
	Head   signing.Hash // the newest head that was judged
	// Awaits is what a Stalled repository waits for, when signatures are all that
	// is missing. It is the word of the node that follows the repository: what
	// is not accepted is on no other node.
	Awaits *signing.Pending
	Since  time.Time

	ModifyIndex uint64
}

// Phase is how far a replica has come. Phases only move forward.
type Phase string

// The phases of a replica in their order. Healthy and Unhealthy alternate;
// the last four are final.
const (
	Assigned  Phase = "Assigned"  // the leader placed it
	Preparing Phase = "Preparing" // image, networks, volumes
	Starting  Phase = "Starting"  // the container exists and is being started
	Running   Phase = "Running"   // runs; no healthcheck, or none has answered yet
	Healthy   Phase = "Healthy"   // its healthcheck passes
	Unhealthy Phase = "Unhealthy" // its healthcheck fails
	Stopping  Phase = "Stopping"  // told to stop
	Stopped   Phase = "Stopped"   // ended because it was told to
	Failed    Phase = "Failed"    // ended, or never started, by itself
	Rejected  Phase = "Rejected"  // the node refused it: it accepted no such spec
	Lost      Phase = "Lost"      // its node is down
)

// Final reports whether no phase follows p.
func (p Phase) Final() bool {
	switch p {
	case Stopped, Failed, Rejected, Lost:
		return true
	default:
		return false
	}
}

// Live reports whether a container may exist and serve in phase p.
func (p Phase) Live() bool { return p == Running || p == Healthy || p == Unhealthy }

// Replica is one assignment and what became of it. It is never re-used: a new
// spec, node or attempt is a new replica in the same slot.
type Replica struct {
	ID         string // ReplicaID
	Deployment string
	Service    string
	Slot       int // from 1
	Serial     uint64
	Node       string
	// Revision and SpecHash say what to run; the node looks the spec up in its
	// own View and runs nothing that is not there.
	Revision signing.Hash
	SpecHash string
	// Stop is the leader's wish that the replica ends. It is never taken back.
	Stop bool
	// Attempt counts the starts in this slot that did not last: 0 for the
	// first, and again after one that was healthy for 10 minutes.
	Attempt   int
	CreatedAt time.Time

	// What its node reported:
	Phase       Phase
	Reason      string // of Phase, for people; the last log lines of a failed start
	ContainerID string
	ImageDigest string // the image that runs: repo digest, or image id when it has none
	Address     string // in its first network
	// Addresses are those in all its networks of the mesh.
	Addresses  NetworkAddresses
	ExitCode   int
	Drift      bool // it did not end by itself: somebody removed, stopped or changed its container
	StartedAt  time.Time
	HealthyAt  time.Time // when it first became Healthy, or Running without a healthcheck
	FinishedAt time.Time // entry time of the final phase

	CreateIndex uint64
	ModifyIndex uint64
}

// Service is the scheduler's memory of one service.
type Service struct {
	Deployment string
	Name       string
	// NextSerial numbers replicas; it only grows.
	NextSerial uint64
	Rollout    Rollout
	// Reason says why the service is short of replicas: "no node: 2 lack label ssd=true".
	Reason string

	CreateIndex uint64
	ModifyIndex uint64
}

// RolloutState is how a service's replacement of old replicas stands.
type RolloutState string

// The states of a rollout.
const (
	RolloutNone        RolloutState = ""
	RolloutProgressing RolloutState = "progressing"
	RolloutPaused      RolloutState = "paused" // its gate failed; a new revision resumes
	RolloutDone        RolloutState = "done"
)

// Rollout is the progress of a service towards one spec.
type Rollout struct {
	State     RolloutState
	Revision  signing.Hash // that brought the spec
	SpecHash  string
	Reason    string // why it is paused
	Failures  int    // replicas of the new spec that failed within monitor
	StartedAt time.Time
	// StepAt is when the last batch became healthy: update_config.delay and
	// monitor count from it.
	StepAt time.Time
}

// DeploymentStatus is what is recorded of a deployment as a whole.
type DeploymentStatus struct {
	Name string
	// Converged is the newest revision that ran whole and healthy; zero when none did.
	Converged   signing.Hash
	ConvergedAt time.Time

	CreateIndex uint64
	ModifyIndex uint64
}

// SealedItem is a secret encrypted to the nodes that need it (age).
type SealedItem struct {
	Name       string   // "ca-key", "repo-credential"
	Recipients []string // node names
	Ciphertext []byte

	ModifyIndex uint64
}

// ActorKind says what kind of party a command comes from.
type ActorKind string

// The kinds of actors.
const (
	ActorNode     ActorKind = "node"     // a member, by its certificate
	ActorOperator ActorKind = "operator" // whoever may open the local socket
)

// Actor is who caused a command.
type Actor struct {
	Kind ActorKind
	Name string // the node's name; for an operator "uid:1000@node-1"
}
