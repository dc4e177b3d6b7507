package cluster

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

func replicas() table[Replica] {
	return table[Replica]{
		name: "replica",
		key:  func(r *Replica) string { return r.ID },
		indexes: map[string]func(*Replica) string{
			"node":       func(r *Replica) string { return r.Node },
			"deployment": func(r *Replica) string { return r.Deployment },
			"container":  func(r *Replica) string { return r.ContainerID },
		},
	}
}

// replicaIDLength characters of base32 are 60 bits.
const replicaIDLength = 12

// replicaIDs is the alphabet of replica ids: lower-case base32.
const replicaIDs = "abcdefghijklmnopqrstuvwxyz234567"

// ReplicaID is the id of a replica: 12 characters of lower-case base32 that
// follow from what it is an attempt at, so that planning twice gives the same
// id. Never change it: ids are labels of running containers.
func ReplicaID(clusterID, deployment, service string, slot int, serial uint64) string {
	h := sha256.New()
	h.Write([]byte("jaco replica v1\x00"))
	for _, s := range []string{clusterID, deployment, service} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(slot)))
	h.Write(binary.BigEndian.AppendUint64(nil, serial))
	return base32.NewEncoding(replicaIDs).EncodeToString(h.Sum(nil))[:replicaIDLength]
}

func validReplicaID(id string) bool {
	return len(id) == replicaIDLength && strings.Trim(id, replicaIDs) == ""
}

// createReplica makes an assignment. What a node reports starts empty.
func (t *tx) createReplica(r Replica) error {
	switch {
	case !validReplicaID(r.ID):
		return fmt.Errorf("%w: replica id %q", ErrInvalid, r.ID)
	case r.Slot < 1:
		return fmt.Errorf("%w: replica %s: slot %d", ErrInvalid, r.ID, r.Slot)
	case r.Attempt < 0:
		return fmt.Errorf("%w: replica %s: attempt %d", ErrInvalid, r.ID, r.Attempt)
	case r.Revision.IsZero() || r.SpecHash == "":
		return fmt.Errorf("%w: replica %s says not what to run", ErrInvalid, r.ID)
	case r.Phase != Assigned:
		return fmt.Errorf("%w: replica %s starts as %q", ErrInvalid, r.ID, r.Phase)
	}
	if err := checkKey(ServiceKey{r.Deployment, r.Service}); err != nil {
		return fmt.Errorf("replica %s: %w", r.ID, err)
	}
	if replicas().get(t.Txn, r.ID) != nil {
		return fmt.Errorf("replica %s: %w", r.ID, ErrExists)
	}
	if nodes().get(t.Txn, r.Node) == nil {
		return fmt.Errorf("%w: replica %s: no node %q", ErrConflict, r.ID, r.Node)
	}
	t.changed = true
	return replicas().put(t.Txn, Replica{
		ID: r.ID, Deployment: r.Deployment, Service: r.Service, Slot: r.Slot, Serial: r.Serial,
		Node: r.Node, Revision: r.Revision, SpecHash: r.SpecHash, Attempt: r.Attempt,
		Phase: Assigned, CreatedAt: t.now, CreateIndex: t.index, ModifyIndex: t.index,
	})
}

// stopReplica marks a replica to be stopped.
func (t *tx) stopReplica(id string) error {
	old := replicas().get(t.Txn, id)
	if old == nil {
		return fmt.Errorf("%w: no replica %s to stop", ErrConflict, id)
	}
	if old.Stop || old.Phase.Final() {
		return nil
	}
	r := *old
	r.Stop = true
	r.ModifyIndex = t.index
	t.changed = true
	return replicas().put(t.Txn, r)
}

// loseReplica ends a replica whose node is down. A final one stays as it is.
// A node that answers again keeps its replicas, whatever was planned before.
func (t *tx) loseReplica(id string) error {
	old := replicas().get(t.Txn, id)
	if old == nil {
		return fmt.Errorf("%w: no replica %s to lose", ErrConflict, id)
	}
	if node := nodes().get(t.Txn, old.Node); node != nil && node.State != NodeDown {
		return fmt.Errorf("%w: replica %s to lose: node %s is %s", ErrConflict, id, node.Name, node.State)
	}
	return t.lose(old, "node "+old.Node+" is down")
}

// loseReplicasOf ends all replicas of a node.
func (t *tx) loseReplicasOf(node, reason string) error {
	for _, r := range replicas().list(t.Txn, "node", node) {
		if err := t.lose(&r, reason); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) lose(old *Replica, reason string) error {
	if old.Phase.Final() {
		return nil
	}
	r := *old
	r.Phase, r.Reason, r.FinishedAt, r.ModifyIndex = Lost, reason, t.now, t.index
	t.changed = true
	return replicas().put(t.Txn, r)
}

// removeReplica forgets a final replica.
func (t *tx) removeReplica(id string) error {
	old := replicas().get(t.Txn, id)
	if old == nil {
		return fmt.Errorf("%w: no replica %s to remove", ErrConflict, id)
	}
	if !old.Phase.Final() {
		return fmt.Errorf("%w: replica %s is %s and cannot be removed", ErrConflict, id, old.Phase)
	}
	t.changed = true
	return replicas().drop(t.Txn, id)
}

func (t *tx) reportReplicas(c *ReportReplicas) error {
	if err := t.initialized(); err != nil {
		return err
	}
	for _, report := range c.Reports {
		old := replicas().get(t.Txn, report.ID)
		if old == nil {
			continue // removed meanwhile: the node will hear of it
		}
		if old.Node != c.Node {
			return fmt.Errorf("%w: node %q reports on replica %s of node %s", ErrInvalid, c.Node, old.ID, old.Node)
		}
		if old.Phase.Final() {
			continue
		}
		r := withReport(*old, report, t.now)
		if r == *old {
			continue
		}
		r.ModifyIndex = t.index
		t.changed = true
		if err := replicas().put(t.Txn, r); err != nil {
			return err
		}
	}
	return nil
}

// withReport returns r as a report of the time now leaves it. A phase that lies behind is
// ignored together with its reason; the rest of the report still counts.
func withReport(r Replica, p ReplicaReport, now time.Time) Replica {
	switch {
	case p.Phase == "" || p.Phase == r.Phase:
		if p.Reason != "" {
			r.Reason = p.Reason
		}
	case r.Phase.precedes(p.Phase):
		r.Phase, r.Reason = p.Phase, p.Reason
	}
	if p.ContainerID != "" {
		r.ContainerID = p.ContainerID
	}
	if p.ImageDigest != "" {
		r.ImageDigest = p.ImageDigest
	}
	if p.Address != "" {
		r.Address = p.Address
	}
	if p.Addresses != "" {
		r.Addresses = p.Addresses
	}
	if p.ExitCode != 0 {
		r.ExitCode = p.ExitCode
	}
	if !p.StartedAt.IsZero() {
		r.StartedAt = p.StartedAt
	}
	r.Drift = r.Drift || p.Drift
	healthy := r.Phase == Healthy || r.Phase == Running && p.NoHealthcheck
	if healthy && r.HealthyAt.IsZero() {
		r.HealthyAt = now
	}
	if r.Phase.Final() {
		r.FinishedAt = now
	}
	return r
}

// precedes reports whether a replica may go from p to q: forward, or between
// the live phases.
func (p Phase) precedes(q Phase) bool {
	if p.Live() && q.Live() {
		return true
	}
	return p.rank() < q.rank()
}

// rank orders the phases; those of equal rank exclude each other.
func (p Phase) rank() int {
	switch p {
	case Assigned:
		return 0
	case Preparing:
		return 1
	case Starting:
		return 2
	case Running, Healthy, Unhealthy:
		return 3
	case Stopping:
		return 4
	default: // the final ones
		return 5
	}
}
