package verifier

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

var (
	// ErrCheckpoint is returned for a checkpoint that must not be pinned.
	ErrCheckpoint = errors.New("checkpoint refused")
	// ErrUnsettled is returned while this node cannot vouch for what it has: it
	// may in a moment.
	ErrUnsettled = errors.New("this node does not follow the cluster's log at the moment: try again, or ask another node")
)

// checkpointVersion is that of the form below. A build pins only its own.
const checkpointVersion = 1

// Checkpoint is what a joining node pins: how far the node that issued its token
// came, and what of the cluster must be true for that. The operator carries the
// hash of its bytes in the token, so that the node believes no one else.
type Checkpoint struct {
	Version int    `json:"version"`
	Record  Record `json:"record"` // of the issuing node
	Pinned  Pinned `json:"pinned"`
}

// Pinned is what a joined node checks of the first state that it is given.
type Pinned struct {
	// Audit is the head of the audit chain when the token was issued: the chain
	// must pass through it.
	Audit AuditMark `json:"audit"`
	// Trust is the content digest of trust.yaml and keys/ at the accepted commit.
	Trust Digest `json:"trust"`
	// Units holds the deployments and cluster.yaml by name.
	Units map[string]PinnedUnit `json:"units,omitempty"`
	// Done says that everything was found right, and Problem, if not, what was
	// wrong, for good.
	Done    bool   `json:"done,omitempty"`
	Problem string `json:"problem,omitempty"`
}

// PinnedUnit is what may run of one unit, bound by more than git's SHA-1, and
// the revision of it that last ran whole and healthy.
type PinnedUnit struct {
	Converged signing.Hash `json:"converged,omitzero"`
	Active    Digest       `json:"active,omitzero"`
	Previous  Digest       `json:"previous,omitzero"`
}

// AuditMark is one link of the audit chain.
type AuditMark struct {
	Number uint64 `json:"number"`
	Hash   Digest `json:"hash"`
}

// Checkpoint returns the canonical bytes of this node's checkpoint, over a state
// that it follows. ErrUnsettled: the state is not one that it can vouch for.
func (v *Verifier) Checkpoint(snapshot *cluster.Snapshot) ([]byte, error) {
	record, problem := v.Record(), v.Problem()
	switch {
	case problem != nil:
		return nil, fmt.Errorf("make checkpoint: %w: %w", ErrUnsettled, problem)
	case v.View() == nil, !record.Judged.in(snapshot), !record.Accepted.in(snapshot):
		return nil, fmt.Errorf("make checkpoint: %w", ErrUnsettled)
	}
	record.Checkpoint, record.Prune = nil, nil
	record.Branch = cmp.Or(v.config.Branch, "main")
	head := snapshot.AuditHead()
	c := &Checkpoint{Version: checkpointVersion, Record: record, Pinned: Pinned{
		Audit: AuditMark{Number: head.Number, Hash: head.Hash}, Units: map[string]PinnedUnit{},
	}}
	var err error
	if c.Record.Digest, c.Pinned.Trust, err = c.Record.digests(v.config.Objects); err != nil {
		return nil, fmt.Errorf("make checkpoint: %w", err)
	}
	for name, unit := range record.Units {
		var pinned PinnedUnit
		if pinned.Active, pinned.Previous, err = c.Record.unitDigests(v.config.Objects, name, unit); err != nil {
			return nil, fmt.Errorf("make checkpoint: %w", err)
		}
		c.Pinned.Units[name] = pinned
	}
	for _, status := range snapshot.DeploymentStatuses() {
		pinned := c.Pinned.Units[status.Name]
		pinned.Converged = status.Converged
		c.Pinned.Units[status.Name] = pinned
	}
	data, err := c.encode()
	if err != nil {
		return nil, fmt.Errorf("make checkpoint: %w", err)
	}
	return data, nil
}

// digests returns the content digests of the accepted position and of its trust
// files alone.
func (r *Record) digests(src signing.Source) (position, trust Digest, err error) {
	whole, err := cluster.ContentDigest(src, r.Position)
	if err != nil {
		return Digest{}, Digest{}, fmt.Errorf("accepted position: %w", err)
	}
	alone, err := cluster.ContentDigest(src, signing.Position{Commit: r.Position.Commit})
	if err != nil {
		return Digest{}, Digest{}, fmt.Errorf("trust files: %w", err)
	}
	return whole, alone, nil
}

// unitDigests returns the digests of what may run of a unit: that is not always
// what the position holds, which may not compile.
func (r *Record) unitDigests(src signing.Source, name string, unit UnitRecord) (active, previous Digest, err error) {
	for _, of := range []struct {
		pin    *Pin
		digest *Digest
	}{{unit.Active, &active}, {unit.Previous, &previous}} {
		if of.pin == nil {
			continue
		}
		content := signing.Position{Commit: r.Position.Commit, Units: map[string]signing.Unit{
			name: {Revision: of.pin.Revision, Tree: of.pin.Tree},
		}}
		sum, err := cluster.ContentDigest(src, content)
		if err != nil {
			return Digest{}, Digest{}, fmt.Errorf("%s at %s: %w", name, of.pin.Revision.Short(), err)
		}
		*of.digest = sum
	}
	return active, previous, nil
}

// encode returns the canonical bytes: JSON as encoding/json writes it, with
// sorted keys and no spaces. They are made a second time from what the first
// reads as, because text that is not UTF-8 is another once it was read.
func (c *Checkpoint) encode() ([]byte, error) {
	first, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	var read Checkpoint
	if err := json.Unmarshal(first, &read); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	data, err := json.Marshal(&read)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	if len(data) > cluster.MaxCheckpointBytes {
		return nil, fmt.Errorf("it has %d bytes, at most %d can be carried", len(data), cluster.MaxCheckpointBytes)
	}
	return data, nil
}

// CheckpointHash is what the token carries of a checkpoint.
func CheckpointHash(data []byte) [32]byte { return sha256.Sum256(data) }

// clusterIDPattern is the form of a cluster's id.
var clusterIDPattern = regexp.MustCompile(`^[0-9a-f]{16}$`)

// PinCheckpoint creates the trust store of a node that joins, from bytes that
// anybody may have brought and the hash that came with the token. ErrCheckpoint:
// they are others, or not a checkpoint in this build's form. It refuses to
// replace an existing store. The caller compares the record's ClusterID and Branch
// with those of the cluster which it is about to join; the state is checked when
// it has arrived.
func PinCheckpoint(directory string, data []byte, hash [32]byte) (*Record, error) {
	c, err := decodeCheckpoint(data, hash)
	if err != nil {
		return nil, fmt.Errorf("pin checkpoint: %w", err)
	}
	record := c.Record
	record.Checkpoint = &c.Pinned
	if err := create(directory, &record); err != nil {
		return nil, fmt.Errorf("pin checkpoint: %w", err)
	}
	return &record, nil
}

func decodeCheckpoint(data []byte, hash [32]byte) (*Checkpoint, error) {
	switch {
	case len(data) > cluster.MaxCheckpointBytes:
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrCheckpoint, len(data), cluster.MaxCheckpointBytes)
	case CheckpointHash(data) != hash:
		return nil, fmt.Errorf("%w: it is not the one that the token is for: the server lies, or the token is another cluster's", ErrCheckpoint)
	}
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("%w: malformed: %w", ErrCheckpoint, err)
	}
	if version.Version != checkpointVersion {
		return nil, fmt.Errorf("%w: it has version %d, this jacod reads %d: use the version that the cluster runs", ErrCheckpoint, version.Version, checkpointVersion)
	}
	c := &Checkpoint{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("%w: malformed: %w", ErrCheckpoint, err)
	}
	// A field that this build does not know would be lost without a word.
	if again, err := json.Marshal(c); err != nil || !bytes.Equal(again, data) {
		return nil, fmt.Errorf("%w: not in canonical form, or made by a newer jacod: use the version that the cluster runs", ErrCheckpoint)
	}
	if problem := c.incomplete(); problem != "" {
		return nil, fmt.Errorf("%w: %s", ErrCheckpoint, problem)
	}
	return c, nil
}

// incomplete says what a checkpoint lacks, or "".
func (c *Checkpoint) incomplete() string {
	r := &c.Record
	switch {
	case !clusterIDPattern.MatchString(r.ClusterID):
		return fmt.Sprintf("cluster id %q", r.ClusterID)
	case r.Branch == "":
		return "it does not name the branch"
	case r.Anchor.IsZero() || r.Position.Commit.IsZero():
		return "it names no anchor or no accepted commit"
	case r.Digest == Digest{} || c.Pinned.Trust == Digest{}:
		return "it lacks the digest of what was accepted"
	case c.Pinned.Audit.Number == 0 || c.Pinned.Audit.Hash == Digest{}:
		return "it names no entry of the audit log"
	case r.Judged.Number != r.Claim || r.Accepted.Number > r.Claim || r.Astray:
		return "its claims contradict each other"
	case r.Checkpoint != nil || c.Pinned.Done || c.Pinned.Problem != "":
		return "it is not that of a member"
	}
	return ""
}
