package cluster

import (
	"net/netip"
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// Command is one decision that the log carries. Each kind has a number that
// reaches disk and wire and is never re-used. The comment of each says when it
// is refused: with ErrInvalid when it is wrong in itself, with ErrConflict when
// it was made from a state that has moved on, with ErrExists when what it makes
// is there. All but InitCluster are refused (ErrInvalid) before a cluster was
// initialized, and every entry needs a time and an actor. A refused command
// changes nothing but the audit log; one that says nothing new is applied and
// changes nothing either.
//
// Names of nodes, deployments, services and sealed items have at most 128
// characters of A-Z, a-z, 0-9, "_", "-" and ".", and start with none of the
// last two.
type Command interface {
	// Kind names the command; it is the type that audit shows.
	Kind() CommandKind
}

// CommandKind names a command in audit entries and metrics.
type CommandKind string

// The command kinds.
const (
	KindInitCluster     CommandKind = "cluster-initialized"
	KindUpdateNode      CommandKind = "node-updated"
	KindPutObjects      CommandKind = "objects-stored"
	KindAdvanceRevision CommandKind = "revision-claimed"
	KindRecordRefusal   CommandKind = "revision-refused"
	KindSetSync         CommandKind = "sync-changed"
	KindApplyPlan       CommandKind = "plan-applied"
	KindReportReplicas  CommandKind = "replicas-reported"
	KindRecordEvents    CommandKind = "events-recorded"
	KindPutSealed       CommandKind = "secrets-sealed"
	KindPutToken        CommandKind = "token-issued"
	KindAdmitNode       CommandKind = "node-joined"
	KindRemoveNode      CommandKind = "node-removed"
	KindReportMesh      CommandKind = "mesh-reported"
)

// Entry is what one log entry holds.
type Entry struct {
	// Time is the proposer's clock. Applied times never decrease: an earlier
	// one is raised to that of the entry before.
	Time    time.Time
	Actor   Actor
	Command Command
}

// InitCluster makes the cluster. ErrExists: there is one. ErrInvalid: the id is
// not 16 hexadecimal digits, or name, authority, repository, branch or anchor
// are missing, the pool is one that CheckPool refuses, or the node is one that
// UpdateNode refuses. InitializedAt and the indexes are set by Apply.
type InitCluster struct {
	Meta Meta
	Node Node // the first member
}

// UpdateNode adds a node or replaces what is recorded of it. ErrInvalid: a bad
// name, no address, or an unknown state. ErrConflict: Expect is not 0 and the
// node is not there or its modify index is another. Since and the indexes are
// set by Apply.
type UpdateNode struct {
	Node   Node
	Expect uint64
}

// PutToken issues a token and forgets those that have expired by the entry's
// time. ErrInvalid: an id that is not 16 hexadecimal digits, an unknown kind,
// no hash, a token that has expired, a join token without a checkpoint of at
// most MaxCheckpointBytes, or a read token with one. ErrExists: there is one of
// that id. UsedBy and the indexes are set by Apply.
type PutToken struct {
	Token Token
}

// AdmitNode makes a node a member and uses up its join token, both or neither.
// ErrToken: there is no such token, it is of another kind, was used, or has
// expired by the entry's time. ErrInvalid: what UpdateNode refuses; a
// certificate key that is missing, or another node's; another node's address.
// ErrExists: a node of that name is a member and is not Down: only one that
// does not answer is replaced. Of a replaced node nothing is kept but the name:
// its replicas are Lost, it is out of the mesh with its blocks and slices, and it
// is off the recipients of sealed items, which its key opened. The same admission again changes nothing: the same token, name,
// keys and address.
type AdmitNode struct {
	Node  Node
	Token string // its id
}

// RemoveNode takes a node out of the member table: its certificate opens
// nothing any more, its replicas are Lost, and it is out of the mesh. One that is not there changes
// nothing. ErrInvalid: it is the last one.
type RemoveNode struct {
	Name   string
	Reason string // for people
}

// ReportMesh is what a node's edge says of itself: its place in the mesh begins
// with it. A changed key or port leaves the node's blocks and slices as they are;
// the same again changes nothing. ErrInvalid: no key, one that another node has,
// no port, or a mode other than "kernel" and "userspace". ErrConflict: the node
// is no member.
type ReportMesh struct {
	Node      string
	PublicKey [32]byte
	Port      uint16
	Mode      string
}

// PutObjects brings git objects into the object store. Storing one twice
// changes nothing. ErrInvalid: an id that does not match its data, no objects
// or too many (10,000), more than MaxPutBytes of data, or MaxObjectBytes when
// it is a single object.
type PutObjects struct {
	Objects []StoredObject
}

// StoredObject is a git object with its id.
type StoredObject struct {
	ID signing.Hash
	signing.Object
}

// AdvanceRevision appends a claim. ErrConflict: Number does not follow the last
// claim's, or the object of the commit or of a tag is not stored. ErrInvalid: no
// From or Commit, more than MaxClaimTags tags, or tags that are not in the order
// of their ids.
// From is the proposing leader's own accepted commit
// and is not compared with the last claim's: a claim that no honest node
// accepted must not wedge the next one. A claim equal to the last one but for
// its Number changes nothing. Time and Index are set by Apply.
type AdvanceRevision struct {
	Claim Claim
}

// RecordRefusal records a refusal once per (head, reason); a repeated one
// changes nothing. The state keeps the newest 128. ErrInvalid: no head or no
// reason. Time and CreateIndex are set by Apply.
type RecordRefusal struct {
	Refusal Refusal
}

// SetSync records a transition of the repository's state; Since is when State
// last changed. ErrInvalid: a State that is not recorded (SyncFetching).
type SetSync struct {
	State  SyncState
	Reason string
	Head   signing.Hash
	Awaits *signing.Pending
}

// ApplyPlan carries what a scheduling pass decided. It is refused whole:
// ErrConflict: an object in Expect has moved on; a node to place on, a replica
// to stop, lose or remove, a service or deployment to drop is not there; a
// replica to remove is not final; one to lose is on a member that is not Down; a
// service to drop still has replicas. ErrExists: a replica to create is there.
// ErrInvalid: an id that is not of ReplicaID's form, a bad name, a slot below 1,
// a phase other than Assigned, no Revision or SpecHash, or a NextSerial that
// shrinks. Services are written first; then replicas are lost, created, stopped,
// removed; then services are dropped.
//
// Of the mesh, whose part follows when replicas are lost. ErrInvalid: a block
// that is no /20 of the pool, a slice without a network or with a serial below 1,
// or whose prefix is not a /24 to /28. ErrConflict: a block of a node that is not
// in the mesh, or that overlaps with any block that is given; a slice that is
// there, does not lie in a block of its node, overlaps with another slice, or
// holds the node's own address; a slice to drop that is not there, or in which a
// replica of the node that is not final has an address.
type ApplyPlan struct {
	Expect      []Expectation
	Create      []Replica // Phase Assigned; CreatedAt and indexes are set by Apply
	Stop        []string  // replica ids to mark Stop
	Remove      []string  // ids of final replicas to forget
	Services    []Service // records to write whole
	DropService []ServiceKey
	Deployments []DeploymentStatus // records to write whole
	DropStatus  []string           // deployments to forget
	Lose        []string           // ids of replicas whose node is down: Lost from now on
	Blocks      []NodeBlock        // to give to nodes
	Slices      []Slice            // to make; indexes are set by Apply
	DropSlices  []SliceKey         // to give back, before others are made
}

// NodeBlock gives a node a prefix of the pool.
type NodeBlock struct {
	Node   string
	Prefix netip.Prefix
}

// SliceKey identifies a slice.
type SliceKey struct {
	Network string
	Node    string
	Serial  int
}

// ServiceKey identifies a service.
type ServiceKey struct {
	Deployment string
	Service    string
}

// ExpectKind is the table that an expectation is about.
type ExpectKind string

// The tables that a plan may depend on.
const (
	ExpectReplica    ExpectKind = "replica"    // key: id
	ExpectService    ExpectKind = "service"    // key: deployment/service
	ExpectDeployment ExpectKind = "deployment" // key: name
	ExpectNode       ExpectKind = "node"       // key: name
	ExpectMesh       ExpectKind = "mesh"       // key: name of the node; its slices count
)

// Expectation is an object's modify index as the planner saw it; 0 means that
// it must not exist.
type Expectation struct {
	Kind        ExpectKind
	Key         string
	ModifyIndex uint64
}

// ReportReplicas is a node's report on its own replicas. ErrInvalid: one of
// them is another node's; then none is taken. Unknown ids and final replicas
// are passed over. A phase that is not forward is ignored with its reason; the
// live phases (Running, Healthy, Unhealthy) follow each other in any order.
// HealthyAt and FinishedAt are set by Apply from the entry's time.
type ReportReplicas struct {
	Node    string
	Reports []ReplicaReport
}

// ReplicaReport is what the node says of one replica. Zero fields leave what
// is recorded.
type ReplicaReport struct {
	ID          string
	Phase       Phase
	Reason      string
	ContainerID string
	ImageDigest string
	Address     string
	Addresses   NetworkAddresses
	ExitCode    int
	StartedAt   time.Time
	// NoHealthcheck says that Running is as good as Healthy, so that it sets
	// HealthyAt.
	NoHealthcheck bool
	// Drift says that somebody's hand ended it.
	Drift bool
}

// EventType is a stable name of something worth an audit entry that changes
// no state by itself.
type EventType string

// The event types.
const (
	EventDriftCorrected     EventType = "drift-corrected"     // a container was removed, stopped or changed by hand
	EventEngineLost         EventType = "engine-lost"         // the engine does not answer
	EventEngineBack         EventType = "engine-back"         // it answers again
	EventVolumePruned       EventType = "volume-pruned"       // a volume was removed that a signed commit gave up
	EventLeaderMisbehaviour EventType = "leader-misbehaviour" // a node refused a claim or an assignment
	EventConverged          EventType = "converged"
	EventDegraded           EventType = "degraded"
	EventAwaitingApproval   EventType = "awaiting-approval"
	EventInvalid            EventType = "invalid"         // an approved revision of a deployment does not compile
	EventClockOff           EventType = "clock-off"       // a node's clock is more than a few seconds off the leader's
	EventMassLoss           EventType = "mass-loss"       // too many nodes went down at once; nothing is moved for a while
	EventVoters             EventType = "voters"          // who votes has changed
	EventPolicyOutdated     EventType = "policy-outdated" // a new policy would not approve what runs, or a compromised key did
	EventReanchored         EventType = "reanchored"      // a node's operator moved its pin to a rewritten history
	// EventFirewallRepaired says what in a node's firewall was not JACO's doing, and
	// that it is right again.
	EventFirewallRepaired EventType = "firewall-repaired"
	// EventMeshRepaired says the same of a node's WireGuard interface, bridges and
	// routes.
	EventMeshRepaired EventType = "mesh-repaired"
	// EventNotified says who was told what: "told NAME: SUBJECT VALUE". A later
	// leader reads it, and does not say it again.
	EventNotified EventType = "notified"
	// EventNotNotified says who could not be told, and why.
	EventNotNotified EventType = "not-notified"
)

// Event is one such happening.
type Event struct {
	Type       EventType
	Node       string
	Deployment string
	Service    string
	Replica    string
	Revision   signing.Hash
	Message    string
}

// RecordEvents writes events to the audit log. ErrInvalid: none, or one without
// a type.
type RecordEvents struct {
	Events []Event
}

// PutSealed stores sealed items, replacing those of the same name. ErrInvalid:
// no items, a bad name, an item without recipients or ciphertext.
type PutSealed struct {
	Items []SealedItem
}

// Kind implements Command.
func (*InitCluster) Kind() CommandKind { return KindInitCluster }

// Kind implements Command.
func (*UpdateNode) Kind() CommandKind { return KindUpdateNode }

// Kind implements Command.
func (*PutObjects) Kind() CommandKind { return KindPutObjects }

// Kind implements Command.
func (*AdvanceRevision) Kind() CommandKind { return KindAdvanceRevision }

// Kind implements Command.
func (*RecordRefusal) Kind() CommandKind { return KindRecordRefusal }

// Kind implements Command.
func (*SetSync) Kind() CommandKind { return KindSetSync }

// Kind implements Command.
func (*ApplyPlan) Kind() CommandKind { return KindApplyPlan }

// Kind implements Command.
func (*ReportReplicas) Kind() CommandKind { return KindReportReplicas }

// Kind implements Command.
func (*RecordEvents) Kind() CommandKind { return KindRecordEvents }

// Kind implements Command.
func (*PutSealed) Kind() CommandKind { return KindPutSealed }

// Kind implements Command.
func (*PutToken) Kind() CommandKind { return KindPutToken }

// Kind implements Command.
func (*AdmitNode) Kind() CommandKind { return KindAdmitNode }

// Kind implements Command.
func (*RemoveNode) Kind() CommandKind { return KindRemoveNode }

// Kind implements Command.
func (*ReportMesh) Kind() CommandKind { return KindReportMesh }
