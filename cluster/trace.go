package cluster

import (
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// FactSource says what stands behind a fact of a trace.
type FactSource string

// The sources of facts.
const (
	FactSigned   FactSource = "signed"   // follows from signed commits
	FactReported FactSource = "reported" // a node or leader said so
)

// Fact is one step of a trace: a named value and what stands behind it.
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
	Image      string       `json:"image"`
	SpecHash   string       `json:"spec_hash"`
	Revision   signing.Hash `json:"revision"`
	Claim      TraceClaim   `json:"claim"`
	// Signers, PolicyVersion: filled in by the verifier's layer.
	Signers       []signing.Approval `json:"signers"`
	PolicyVersion int                `json:"policy_version"`
	CreatedAt     time.Time          `json:"created_at"`
	// Facts says of each value above what stands behind it.
	Facts []Fact `json:"facts"`
}

// TraceClaim is the claim that brought a revision.
type TraceClaim struct {
	Number    uint64       `json:"number"`
	Commit    signing.Hash `json:"commit"`
	Index     uint64       `json:"index"`
	Time      time.Time    `json:"time"`
	Entry     uint64       `json:"entry"`
	EntryHash string       `json:"entry_hash"`
}

// Trace leads from a container (id or prefix) or a replica (id) to the claim
// that brought its revision.
func Trace(s *Snapshot, id string) (*TraceReport, error) { return nil, ErrNotFound }
