package verifier

import (
	"errors"
	"fmt"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// judge accepts or refuses one claim of a state. An error means that it was
// neither.
func (v *Verifier) judge(snapshot *cluster.Snapshot, claim cluster.Claim) error {
	record := v.Record()
	switch over, err := v.passOver(snapshot, &record, claim); {
	case err != nil:
		return err
	case over:
		v.skip(record, claim)
		return nil
	}
	at, problem := v.judgingTime(&record, claim)
	if problem != "" {
		return v.refuse(record, claim, &signing.Refusal{Commit: claim.Commit, Reason: ReasonClock, Detail: problem})
	}
	evaluation, err := evaluate(v.config.Objects, &record, claim.Commit, v.options(at, claim.Tags))
	if errors.Is(err, signing.ErrNotFound) {
		return v.refuse(record, claim, &signing.Refusal{Commit: claim.Commit, Reason: ReasonEvidence, Detail: err.Error()})
	}
	if err != nil {
		return err
	}
	switch refusal := disagreement(evaluation, claim); {
	case refusal == nil:
		return v.accept(record, claim, evaluation, at)
	case claim.Commit == record.Position.Commit && !record.Accepted.in(snapshot):
		v.skip(record, claim) // an earlier word on what this node accepted
		return nil
	default:
		return v.refuse(record, claim, refusal)
	}
}

// skip counts a claim as judged that changes nothing.
func (v *Verifier) skip(record Record, claim cluster.Claim) {
	record.Claim, record.Judged = claim.Number, markOf(claim)
	v.setRecord(record)
}

// disagreement says why an evaluation does not bear the claim out; nil when it
// does.
func disagreement(e *Evaluation, claim cluster.Claim) *signing.Refusal {
	switch {
	case e.Verdict.Refusal != nil:
		return e.Verdict.Refusal
	case e.Verdict.Position.Commit != claim.Commit:
		return &signing.Refusal{Commit: claim.Commit, Reason: ReasonPartial,
			Detail: "the range is accepted up to " + e.Verdict.Position.Commit.String() + " only"}
	case e.Digest != claim.Digest:
		return &signing.Refusal{Commit: claim.Commit, Reason: ReasonDigest,
			Detail: fmt.Sprintf("the claim's content digest is %x, that of its content %x", claim.Digest, e.Digest)}
	}
	return nil
}

// refuse writes the journal first: a record that says "judged" without it
// would lose the refusal.
func (v *Verifier) refuse(record Record, claim cluster.Claim, refusal *signing.Refusal) error {
	v.config.Logger.Error("claim refused", "claim", claim.Number, "commit", claim.Commit.String(),
		"reason", string(refusal.Reason), "detail", refusal.Detail)
	err := v.note(JournalEntry{Claim: claim.Number, Commit: claim.Commit, Reason: refusal.Reason, Detail: refusal.Detail})
	if err != nil {
		return err
	}
	record.Claim, record.Judged, record.Refusal = claim.Number, markOf(claim), refusal
	return v.save(record, nil)
}

func (v *Verifier) accept(record Record, claim cluster.Claim, e *Evaluation, at time.Time) error {
	record.Claim, record.Judged, record.Accepted, record.Astray = claim.Number, markOf(claim), markOf(claim), false
	if e.Verdict.Position.Commit != record.Position.Commit {
		record.Advanced = at
	}
	record.Position, record.Digest, record.Time, record.MaxAge = e.Verdict.Position, e.Digest, at, e.Trust.MaxAge
	newTrust := e.Trust.Version != record.TrustVersion || e.Verdict.Reanchored != nil
	record.TrustVersion, record.Pending, record.Refusal = e.Trust.Version, e.Verdict.Pending, nil
	for _, commit := range e.Verdict.Commits {
		if commit.RollbackFloor {
			record.Floor = &Floor{Claim: claim.Number, Commit: commit.Commit}
		}
		if commit.Commit == claim.Commit {
			record.Signers = []string{commit.Signer}
		}
	}
	record.Prune = v.prunable(record, e, claim)
	record.Units = e.Units
	for _, unit := range record.Units { // not of the approved alone: a policy can let in what it refused
		if unit.Active != nil && unit.Active.Claim == 0 {
			unit.Active.Claim, unit.Active.Index = claim.Number, claim.Index
		}
	}
	if newTrust {
		record.Units = judgeAgain(record.Units, e.Trust, v.compiledOf(e.compiled))
	}
	if err := v.save(record, e.compiled); err != nil {
		return err
	}
	v.setProblem(nil)
	v.config.Logger.Info("claim accepted", "claim", claim.Number, "commit", claim.Commit.String(), "approved", e.Verdict.Approved)
	return nil
}
