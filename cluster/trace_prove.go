package cluster

import (
	"slices"

	"github.com/jaco-sh/jaco/signing"
)

// Prove adds who approved the revision that the replica names, and by which
// version of the policy. The caller has re-verified that from the anchor
// (verifier.Prove), so that what is deployed now follows from signatures.
func (t *TraceReport) Prove(signers []signing.Approval, policyVersion int) {
	t.Signers = slices.Clone(signers)
	t.PolicyVersion = policyVersion
	t.listFacts(FactSigned)
}
