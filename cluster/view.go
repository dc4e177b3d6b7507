package cluster

import (
	"time"

	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// View is the desired state that one node accepted under its own trust. Only
// cluster/verifier makes one, and scheduler and agent know no other source. It
// is immutable. A nil View means "not known yet": act on nothing.
type View struct {
	// Claim is the number of the newest claim that was judged into this view;
	// 0 right after the anchor was pinned.
	Claim        uint64
	ClaimIndex   uint64       // raft index of the newest claim that was accepted
	Commit       signing.Hash // the accepted commit
	Signers      []string     // of Commit; empty right after the anchor was pinned
	Anchor       signing.Hash // pinned in this node's own trust store
	TrustVersion int
	// Advanced is the time of the newest claim that brought a commit; MaxAge is
	// how long there may be none before status warns, 0: for ever.
	Advanced    time.Time
	MaxAge      time.Duration
	Deployments map[string]*Accepted
	Cluster     desired.Cluster
	// ClusterInvalid is set when the newest approved cluster.yaml cannot be
	// read; Cluster stays at the last one that can.
	ClusterInvalid *Invalid
	// Prune lists the volumes that may be removed where no accepted revision
	// declares them.
	Prune []PrunedVolume
	// Pending lists the units that wait for a signature.
	Pending []signing.Pending
	// Refusal is why this node did not follow the newest claim; nil when it did.
	Refusal *signing.Refusal
}

// PrunedVolume is a volume with x-jaco-prune: true that a signed commit gave up,
// by dropping it or its deployment.
type PrunedVolume struct {
	Deployment string       `json:"deployment"`
	Volume     string       `json:"volume"`   // the deployment's name of it
	Engine     string       `json:"engine"`   // the engine's
	Revision   signing.Hash `json:"revision"` // that gave it up
}

// Accepted is one deployment as a node accepted it.
type Accepted struct {
	Name     string
	Revision signing.Hash // the commit at which the folder was approved
	Claim    uint64       // that brought it
	// ClaimIndex is that claim's raft index.
	ClaimIndex uint64
	Signers    []signing.Approval
	// Desired is nil when no accepted revision of it ever compiled.
	Desired *desired.Deployment
	// Outdated is set when the policy in force would not approve Revision any
	// more, or when a compromised key approved it. It runs on all the same.
	Outdated *Outdated
	// NoReturn, of a Previous, says why nothing is rolled back to it: the policy
	// in force would not approve it, or a signed rollback floor lies between. "":
	// it may be.
	NoReturn string
	// Invalid is set when a newer approved revision does not compile; Revision
	// and Desired stay at the last one that does.
	Invalid *Invalid
	// Previous is the accepted revision before, whose replicas may still have
	// to be started while a rollout is under way, and to which it is rolled back;
	// its own Previous is nil.
	Previous *Accepted
}

// Outdated is how an accepted revision stands under a later policy.
type Outdated struct {
	Suspect bool   // approved with a key that is revoked as compromised
	Reason  string // for people
}

// Invalid is an approved revision that cannot be compiled.
type Invalid struct {
	Revision signing.Hash
	Reason   string // with file:line
}

// Spec looks for a service's spec by its hash in the accepted revision and the
// one before. A hash that is in neither must not run.
func (v *View) Spec(deployment, service, specHash string) (*desired.Service, *Accepted) {
	if v == nil {
		return nil, nil
	}
	for a := v.Deployments[deployment]; a != nil; a = a.Previous {
		if a.Desired == nil {
			continue
		}
		if s := a.Desired.Service(service); s != nil && s.SpecHash == specHash {
			return s, a
		}
	}
	return nil, nil
}
