package cluster

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// FactSource says what stands behind a fact of a trace.
type FactSource string

// The sources of facts.
const (
	FactSigned   FactSource = "signed"   // follows from signed commits that were verified
	FactReported FactSource = "reported" // a node or a leader said so
)

// Fact is one step of a trace: a named value and what stands behind it. The
// names are those of TraceReport's JSON fields.
type Fact struct {
	Name   string     `json:"name"`
	Value  string     `json:"value"`
	Source FactSource `json:"source"`
}

// TraceReport leads from a container to who signed what it runs.
type TraceReport struct {
	Container  string       `json:"container"`
	Replica    string       `json:"replica"`
	Node       string       `json:"node"`
	Deployment string       `json:"deployment"`
	Service    string       `json:"service"`
	Slot       int          `json:"slot"`
	Phase      Phase        `json:"phase"`
	Image      string       `json:"image"` // that runs: digest or id
	SpecHash   string       `json:"spec_hash"`
	Revision   signing.Hash `json:"revision"`
	Claim      TraceClaim   `json:"claim"`
	// Signers and PolicyVersion are empty until Prove fills them in.
	Signers       []signing.Approval `json:"signers"`
	PolicyVersion int                `json:"policy_version"`
	CreatedAt     time.Time          `json:"created_at"`
	// Forgotten says that the replica is no longer in the state, and that
	// what is said of it comes from the audit log.
	Forgotten bool `json:"forgotten"`
	// Facts says of the values above what stands behind them.
	Facts []Fact `json:"facts"`
}

// TraceClaim is the claim that brought a revision; zero when none is known.
type TraceClaim struct {
	Number    uint64       `json:"number"`
	Commit    signing.Hash `json:"commit"`
	Index     uint64       `json:"index"` // raft index
	Time      time.Time    `json:"time"`
	Entry     uint64       `json:"entry"`      // audit entry
	EntryHash string       `json:"entry_hash"` // its hash, hexadecimal
}

// Trace leads from a container (its id or a prefix of it) or a replica (its
// id) to the claim that brought its revision. Replicas that were removed are
// found in the audit log. Everything in the report is what nodes and leaders
// said until Prove adds what was verified again.
func Trace(s *Snapshot, id string) (*TraceReport, error) {
	r, forgotten, err := findReplica(s, id)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	claim, err := claimOf(s, r.Revision)
	if err != nil {
		return nil, fmt.Errorf("trace replica %s: %w", r.ID, err)
	}
	t := &TraceReport{
		Container: r.ContainerID, Replica: r.ID, Node: r.Node, Deployment: r.Deployment, Service: r.Service,
		Slot: r.Slot, Phase: r.Phase, Image: r.ImageDigest, SpecHash: r.SpecHash, Revision: r.Revision,
		CreatedAt: r.CreatedAt, Forgotten: forgotten, Claim: claim, Signers: []signing.Approval{},
	}
	t.listFacts(FactReported)
	return t, nil
}

// listFacts fills in Facts; desired is the source of what the spec says.
func (t *TraceReport) listFacts(desired FactSource) {
	t.Facts = nil
	add := func(source FactSource, name, value string) {
		if value != "" {
			t.Facts = append(t.Facts, Fact{Name: name, Value: value, Source: source})
		}
	}
	add(FactReported, "container", t.Container)
	add(FactReported, "image", t.Image)
	add(FactReported, "phase", string(t.Phase))
	add(FactReported, "replica", t.Replica)
	add(FactReported, "slot", strconv.Itoa(t.Slot))
	add(FactReported, "node", t.Node)
	add(desired, "deployment", t.Deployment)
	add(desired, "service", t.Service)
	add(desired, "spec_hash", t.SpecHash)
	add(desired, "revision", revisionText(t.Revision))
	if t.Claim.Number > 0 {
		add(FactReported, "claim", strconv.FormatUint(t.Claim.Number, 10))
		add(FactReported, "index", strconv.FormatUint(t.Claim.Index, 10))
		add(FactReported, "entry", strconv.FormatUint(t.Claim.Entry, 10))
		add(FactReported, "entry_hash", t.Claim.EntryHash)
	}
	for _, a := range t.Signers {
		add(FactSigned, "signer", fmt.Sprintf("%s with %s in %s", a.Signer, a.Key, a.Commit))
	}
	if t.PolicyVersion > 0 {
		add(FactSigned, "policy_version", strconv.Itoa(t.PolicyVersion))
	}
}

// findReplica looks in the state first, then in the audit log.
func findReplica(s *Snapshot, id string) (r Replica, forgotten bool, err error) {
	if r, ok := s.Replica(id); ok {
		return r, false, nil
	}
	r, err = s.ReplicaByContainer(id)
	if !errors.Is(err, ErrNotFound) || id == "" {
		return r, false, err
	}
	r, err = forgottenReplica(s, id)
	return r, true, err
}

// forgottenReplica puts a replica together from the audit log, newest first:
// its node's reports, then the plan that made it.
func forgottenReplica(s *Snapshot, id string) (Replica, error) {
	if !validReplicaID(id) {
		var err error
		if id, err = replicaOfContainer(s, id); err != nil {
			return Replica{}, err
		}
	}
	var r Replica
	for e, err := range s.AuditEntries(true) {
		if err != nil {
			return Replica{}, err
		}
		switch c := appliedCommand(e).(type) {
		case *ReportReplicas:
			for _, report := range c.Reports {
				if report.ID == id {
					r.fillIn(report)
				}
			}
		case *ApplyPlan:
			for _, created := range c.Create {
				if created.ID == id {
					created.CreatedAt = e.Time
					created.Phase, created.ContainerID, created.ImageDigest = r.Phase, r.ContainerID, r.ImageDigest
					return created, nil
				}
			}
		}
	}
	return Replica{}, fmt.Errorf("replica %s: %w", id, ErrNotFound)
}

// replicaOfContainer finds in the audit log which replica last had a container.
func replicaOfContainer(s *Snapshot, container string) (string, error) {
	for e, err := range s.AuditEntries(true) {
		if err != nil {
			return "", err
		}
		c, ok := appliedCommand(e).(*ReportReplicas)
		if !ok {
			continue
		}
		for _, report := range c.Reports {
			if strings.HasPrefix(report.ContainerID, container) {
				return report.ID, nil
			}
		}
	}
	return "", fmt.Errorf("no container or replica %q: %w", container, ErrNotFound)
}

// appliedCommand returns the command of an entry that was applied; nil when it
// was refused or this build cannot read it.
func appliedCommand(e AuditEntry) Command {
	if e.Outcome != "" {
		return nil
	}
	entry, err := Decode(e.Received)
	if err != nil {
		return nil
	}
	return entry.Command
}

// fillIn takes from an older report what newer ones did not say.
func (r *Replica) fillIn(report ReplicaReport) {
	if r.Phase == "" {
		r.Phase = report.Phase
	}
	if r.ContainerID == "" {
		r.ContainerID = report.ContainerID
	}
	if r.ImageDigest == "" {
		r.ImageDigest = report.ImageDigest
	}
}

// claimOf finds the claim that brought a revision: the first one whose commit
// is the revision or descends from it.
func claimOf(s *Snapshot, revision signing.Hash) (TraceClaim, error) {
	all := s.ClaimsAfter(0)
	at := slices.IndexFunc(all, func(c Claim) bool { return c.Commit == revision })
	seen := make(map[signing.Hash]bool)
	for i := 0; at < 0 && i < len(all); i++ {
		if reaches(s.objects, all[i].Commit, revision, seen) {
			at = i
		}
	}
	if at < 0 {
		return TraceClaim{}, nil
	}
	c := all[at]
	t := TraceClaim{Number: c.Number, Commit: c.Commit, Index: c.Index, Time: c.Time}
	for e, err := range s.AuditEntries(true) {
		if err != nil {
			return TraceClaim{}, err
		}
		if e.Index == c.Index {
			t.Entry, t.EntryHash = e.Number, hex.EncodeToString(e.Hash[:])
		}
		if e.Index <= c.Index {
			break
		}
	}
	return t, nil
}

// reaches reports whether a commit is at or behind tip. Commits that are not
// in the store (those behind the anchor) and commits in seen end the walk.
func reaches(src signing.Source, tip, commit signing.Hash, seen map[signing.Hash]bool) bool {
	next := []signing.Hash{tip}
	for len(next) > 0 {
		id := next[len(next)-1]
		next = next[:len(next)-1]
		if id == commit {
			return true
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		if c, err := signing.ReadCommit(src, id); err == nil {
			next = append(next, c.Parents...)
		}
	}
	return false
}
