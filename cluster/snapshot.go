package cluster

import (
	"fmt"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/jaco-sh/jaco/signing"
)

// Snapshot is the state at one index. It never changes and is safe for
// concurrent use. What it returns are copies; slices of bytes in them are
// shared and must not be changed. Lists are sorted by key unless said
// otherwise.
type Snapshot struct {
	tx      *memdb.Txn // read-only
	objects ObjectStore
	audit   AuditStore
}

// Index is the raft index of the last entry applied; 0 when there was none.
func (s *Snapshot) Index() uint64 { return readPosition(s.tx).Index }

// Time is the applied time of the last entry.
func (s *Snapshot) Time() time.Time { return readPosition(s.tx).Time }

// AuditHead returns the number and hash of the newest audit entry.
func (s *Snapshot) AuditHead() AuditHead { return readPosition(s.tx).Audit }

// Meta returns the cluster's description, nil before InitCluster. Its Pool is the
// one in force.
func (s *Snapshot) Meta() *Meta {
	m, ok := find(s, metas(), single)
	if !ok {
		return nil
	}
	m.Pool = m.pool()
	return &m
}

// Sync returns the stored part of the repository's state; its State is "" until
// the first SetSync.
func (s *Snapshot) Sync() Sync {
	v, _ := find(s, syncs(), single)
	return v
}

// Node returns a node by name.
func (s *Snapshot) Node(name string) (Node, bool) { return find(s, nodes(), name) }

// Nodes lists all nodes.
func (s *Snapshot) Nodes() []Node { return nodes().list(s.tx, keyIndex) }

// MeshNode returns a node's place in the mesh; false while its edge has said
// nothing. The blocks are shared and must not be changed.
func (s *Snapshot) MeshNode(node string) (MeshNode, bool) { return find(s, meshNodes(), node) }

// MeshNodes lists the nodes of the mesh, by name.
func (s *Snapshot) MeshNodes() []MeshNode { return meshNodes().list(s.tx, keyIndex) }

// Slices lists all slices, by node, network and serial.
func (s *Snapshot) Slices() []Slice { return meshSlices().list(s.tx, keyIndex) }

// SlicesOnNode lists the slices of a node.
func (s *Snapshot) SlicesOnNode(node string) []Slice { return meshSlices().list(s.tx, "node", node) }

// SlicesOf lists the slices that a network has on all nodes.
func (s *Snapshot) SlicesOf(network string) []Slice {
	return meshSlices().list(s.tx, "network", network)
}

// Replica returns a replica by id.
func (s *Snapshot) Replica(id string) (Replica, bool) { return find(s, replicas(), id) }

// Replicas lists all replicas.
func (s *Snapshot) Replicas() []Replica { return replicas().list(s.tx, keyIndex) }

// ReplicasOnNode lists the replicas of a node.
func (s *Snapshot) ReplicasOnNode(node string) []Replica {
	return replicas().list(s.tx, "node", node)
}

// ReplicasOf lists the replicas of a deployment.
func (s *Snapshot) ReplicasOf(deployment string) []Replica {
	return replicas().list(s.tx, "deployment", deployment)
}

// ReplicaByContainer finds the replica of a container by the container's id or
// a prefix of it. ErrNotFound: no replica has it; ErrAmbiguous: several do.
func (s *Snapshot) ReplicaByContainer(id string) (Replica, error) {
	var found []Replica
	if id != "" {
		found = replicas().list(s.tx, "container_prefix", id)
	}
	switch len(found) {
	case 0:
		return Replica{}, fmt.Errorf("container %q: %w", id, ErrNotFound)
	case 1:
		return found[0], nil
	}
	return Replica{}, fmt.Errorf("container %q is %s and %s: %w", id, found[0].ContainerID, found[1].ContainerID, ErrAmbiguous)
}

// Service returns the record of a service.
func (s *Snapshot) Service(deployment, name string) (Service, bool) {
	return find(s, services(), serviceKey(deployment, name))
}

// Services lists all service records.
func (s *Snapshot) Services() []Service { return services().list(s.tx, keyIndex) }

// DeploymentStatus returns what is recorded of a deployment.
func (s *Snapshot) DeploymentStatus(name string) (DeploymentStatus, bool) {
	return find(s, deployments(), name)
}

// DeploymentStatuses lists what is recorded of deployments.
func (s *Snapshot) DeploymentStatuses() []DeploymentStatus {
	return deployments().list(s.tx, keyIndex)
}

// LastClaim returns the newest claim; false when there is none.
func (s *Snapshot) LastClaim() (Claim, bool) {
	if c := lastClaim(s.tx); c != nil {
		return *c, true
	}
	return Claim{}, false
}

// Claim returns the claim of a number.
func (s *Snapshot) Claim(number uint64) (Claim, bool) { return find(s, claims(), numberKey(number)) }

// ClaimsAfter lists the claims with a greater number, in order.
func (s *Snapshot) ClaimsAfter(number uint64) []Claim {
	var out []Claim
	for {
		number++
		c, ok := s.Claim(number)
		if !ok {
			return out
		}
		out = append(out, c)
	}
}

// Refusals lists the recorded refusals, oldest first. The audit log keeps those
// that are too old to be here.
func (s *Snapshot) Refusals() []Refusal { return refusals().list(s.tx, keyIndex) }

// LastRefusal returns the newest refusal; false when there is none.
func (s *Snapshot) LastRefusal() (Refusal, bool) {
	if r := lastRefusal(s.tx); r != nil {
		return *r, true
	}
	return Refusal{}, false
}

// Sealed returns a sealed item by name.
func (s *Snapshot) Sealed(name string) (SealedItem, bool) { return find(s, sealedItems(), name) }

// SealedItems lists all sealed items.
func (s *Snapshot) SealedItems() []SealedItem { return sealedItems().list(s.tx, keyIndex) }

// Token returns a token by its id; one that has expired may be gone.
func (s *Snapshot) Token(id string) (Token, bool) { return find(s, tokens(), id) }

// Tokens lists all tokens.
func (s *Snapshot) Tokens() []Token { return tokens().list(s.tx, keyIndex) }

// Segments lists the audit segments that the state names, oldest first. Their
// bodies are in the AuditStore, or have still to be fetched from another node.
func (s *Snapshot) Segments() []Segment { return segments().list(s.tx, keyIndex) }

// HasObject reports whether a git object is part of the state; its body is in
// the ObjectStore.
func (s *Snapshot) HasObject(id signing.Hash) bool {
	_, ok := find(s, knownObjects(), string(id[:]))
	return ok
}

func find[T any](s *Snapshot, t table[T], key string) (T, bool) {
	if v := t.get(s.tx, key); v != nil {
		return *v, true
	}
	var none T
	return none, false
}
