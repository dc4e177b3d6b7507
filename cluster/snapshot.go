package cluster

import (
	"iter"
	"time"
)

// Snapshot is the state at one index. It never changes and is safe for
// concurrent use. What it returns are copies; slices of bytes in them are
// shared and must not be changed. Lists are sorted by key.
type Snapshot struct{}

// Index is the raft index of the last entry applied; 0 when there was none.
func (s *Snapshot) Index() uint64 { return 0 }

// Time is the applied time of the last entry.
func (s *Snapshot) Time() time.Time { return time.Time{} }

// Meta returns the cluster's description, nil before InitCluster.
func (s *Snapshot) Meta() *Meta { return nil }

// Sync returns the stored part of the repository's state.
func (s *Snapshot) Sync() Sync { return Sync{} }

// Node returns a node by name.
func (s *Snapshot) Node(name string) (Node, bool) { return Node{}, false }

// Nodes lists all nodes.
func (s *Snapshot) Nodes() []Node { return nil }

// Replica returns a replica by id.
func (s *Snapshot) Replica(id string) (Replica, bool) { return Replica{}, false }

// Replicas lists all replicas.
func (s *Snapshot) Replicas() []Replica { return nil }

// ReplicasOnNode lists the replicas of a node.
func (s *Snapshot) ReplicasOnNode(node string) []Replica { return nil }

// ReplicasOf lists the replicas of a deployment.
func (s *Snapshot) ReplicasOf(deployment string) []Replica { return nil }

// ReplicaByContainer finds the replica of a container by the container's id or
// a prefix of it. ErrNotFound: no replica has it; ErrAmbiguous: several do.
func (s *Snapshot) ReplicaByContainer(id string) (Replica, error) { return Replica{}, ErrNotFound }

// Service returns the record of a service.
func (s *Snapshot) Service(deployment, name string) (Service, bool) { return Service{}, false }

// Services lists all service records.
func (s *Snapshot) Services() []Service { return nil }

// DeploymentStatus returns what is recorded of a deployment.
func (s *Snapshot) DeploymentStatus(name string) (DeploymentStatus, bool) {
	return DeploymentStatus{}, false
}

// DeploymentStatuses lists what is recorded of deployments.
func (s *Snapshot) DeploymentStatuses() []DeploymentStatus { return nil }

// LastClaim returns the newest claim; false when there is none.
func (s *Snapshot) LastClaim() (Claim, bool) { return Claim{}, false }

// Claim returns the claim of a number.
func (s *Snapshot) Claim(number uint64) (Claim, bool) { return Claim{}, false }

// ClaimsAfter lists the claims with a greater number, in order.
func (s *Snapshot) ClaimsAfter(number uint64) []Claim { return nil }

// Refusals lists the recorded refusals, oldest first.
func (s *Snapshot) Refusals() []Refusal { return nil }

// LastRefusal returns the newest refusal; false when there is none.
func (s *Snapshot) LastRefusal() (Refusal, bool) { return Refusal{}, false }

// Sealed returns a sealed item by name.
func (s *Snapshot) Sealed(name string) (SealedItem, bool) { return SealedItem{}, false }

// SealedItems lists all sealed items.
func (s *Snapshot) SealedItems() []SealedItem { return nil }

// AuditHead returns the number and hash of the newest audit entry.
func (s *Snapshot) AuditHead() AuditHead { return AuditHead{} }

// AuditEntries walks the whole audit log. It yields an error and ends when a
// segment is missing or does not match its hash.
func (s *Snapshot) AuditEntries(newestFirst bool) iter.Seq2[AuditEntry, error] {
	return func(func(AuditEntry, error) bool) {}
}

// Audit walks the audit log as people read it.
func (s *Snapshot) Audit(filter AuditFilter) iter.Seq2[AuditRecord, error] {
	return func(func(AuditRecord, error) bool) {}
}
