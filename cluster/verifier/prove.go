package verifier

import (
	"errors"
	"fmt"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// ErrUnproved is returned when no approved revision leads to the spec that was
// asked about.
var ErrUnproved = errors.New("no approved revision leads to it")

// Proof is the signed origin of one spec.
type Proof struct {
	Revision     signing.Hash
	Signers      []signing.Approval
	TrustVersion int // of the policy that the approval was judged by
	Claim        cluster.Claim
}

// Prove re-verifies the whole history from this node's own anchor up to the
// claim that approved the revision, and compiles its content: it returns a
// proof only when the service that a signature approved has the given spec.
// It costs about 0.1 ms a commit, and is asked for by a person.
func (v *Verifier) Prove(deployment, service string, revision signing.Hash, specHash string) (*Proof, error) {
	record := v.Record()
	position, _, err := signing.Anchor(v.config.Objects, record.Anchor)
	if err != nil {
		return nil, fmt.Errorf("prove %s/%s: %w", deployment, service, err)
	}
	moved := record.Reanchors
	for _, claim := range v.config.State.Read().ClaimsAfter(0) {
		for len(moved) > 0 && moved[0].Claim < claim.Number {
			if position, _, err = signing.Reanchor(v.config.Objects, position, moved[0].Commit); err != nil {
				return nil, fmt.Errorf("prove %s/%s: %w", deployment, service, err)
			}
			moved = moved[1:]
		}
		verdict, err := signing.Verify(v.config.Objects, position, claim.Commit, v.options(claim.Time, claim.Tags))
		if err != nil || verdict.Refusal != nil || verdict.Position.Commit != claim.Commit {
			continue // this node refused it at the time, for the same reason
		}
		guard, err := cluster.PruneGuard(v.config.Objects, position, verdict, v.config.Branch)
		if err != nil {
			return nil, fmt.Errorf("prove %s/%s: %w", deployment, service, err)
		}
		if guard != nil {
			continue // likewise
		}
		position = verdict.Position
		unit := position.Units[deployment]
		if unit.Revision != revision || unit.Tree.IsZero() {
			continue
		}
		digest, err := cluster.ContentDigest(v.config.Objects, position)
		if err != nil {
			return nil, fmt.Errorf("prove %s/%s: %w", deployment, service, err)
		}
		if digest != claim.Digest {
			continue // likewise; the claim that was taken says the same of the commit
		}
		trust, err := signing.LoadTrust(v.config.Objects, position.Commit)
		if err != nil {
			return nil, fmt.Errorf("prove %s/%s: %w", deployment, service, err)
		}
		result, err := compileUnit(v.config.Objects, deployment, unit.Tree, desired.Options{Ungated: true})
		if err != nil {
			return nil, fmt.Errorf("prove %s/%s: %w", deployment, service, err)
		}
		if result.invalid != nil {
			continue
		}
		if spec := result.deployment.Service(service); spec != nil && spec.SpecHash == specHash {
			return &Proof{revision, unit.Signers, trust.Version, claim}, nil
		}
	}
	return nil, fmt.Errorf("%s/%s at %s: %w", deployment, service, revision.Short(), ErrUnproved)
}
