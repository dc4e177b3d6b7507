package verifier

import (
	"errors"
	"fmt"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// errUnchecked is returned while a part of the state that has to be checked is
// not there yet, or damaged here.
var errUnchecked = errors.New("the state cannot be checked yet; it is tried again")

// problem returns what was found wrong for good, or nil.
func (p *Pinned) problem() error {
	if p == nil || p.Problem == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrForeignHistory, p.Problem)
}

// joined reports whether this node may act on the state: it is a first member,
// or the state was found to be the one that its checkpoint is of. Before that
// the state is checked as soon as it is there; nil and false mean that it is not
// yet, or never will be.
func (v *Verifier) joined(snapshot *cluster.Snapshot) (bool, error) {
	record := v.Record()
	pinned := record.Checkpoint
	switch {
	case pinned == nil || pinned.Done:
		return true, nil
	case pinned.Problem != "":
		return false, nil
	case snapshot.Meta() == nil || snapshot.AuditHead().Number < pinned.Audit.Number:
		v.setProblem(fmt.Errorf("%w: it is at audit entry %d, and the checkpoint at %d", ErrWaiting, snapshot.AuditHead().Number, pinned.Audit.Number))
		return false, nil
	}
	wrong, err := v.checkPinned(snapshot, &record)
	if err != nil {
		v.setProblem(fmt.Errorf("%w: %w", ErrWaiting, err))
		return false, err
	}
	checked := Pinned{Audit: pinned.Audit, Done: wrong == "", Problem: wrong}
	record.Checkpoint = &checked
	if wrong != "" {
		err := v.misled(JournalEntry{Claim: record.Claim, Commit: record.Position.Commit, Reason: ReasonForeign, Detail: wrong})
		if err != nil {
			return false, err
		}
	}
	if err := v.store.Save(&record); err != nil {
		return false, err
	}
	v.setRecord(record)
	v.unkept = false
	v.setProblem(checked.problem())
	return checked.Done, nil
}

// checkPinned compares a state that is there with what the node pinned. It says
// what is wrong, or "". An error means that it cannot be told yet.
func (v *Verifier) checkPinned(snapshot *cluster.Snapshot, record *Record) (wrong string, err error) {
	if foreign := record.foreign(snapshot.Meta()); foreign != "" {
		return foreign, nil
	}
	pinned := record.Checkpoint
	err = snapshot.AuditPasses(cluster.AuditHead{Number: pinned.Audit.Number, Hash: pinned.Audit.Hash})
	if errors.Is(err, cluster.ErrOtherChain) {
		return err.Error(), nil
	}
	if err != nil {
		return "", fmt.Errorf("%w: check the audit log against the checkpoint: %w", errUnchecked, err)
	}
	if !record.Judged.in(snapshot) || !record.Accepted.in(snapshot) {
		return fmt.Sprintf("its claim %d is not the one that the checkpoint names", record.Claim), nil
	}
	wrong, err = record.checkContent(v.config.Objects)
	if errors.Is(err, signing.ErrNotFound) {
		// The state is past the checkpoint, so that everything was to be in it.
		return "objects that the checkpoint needs are not in it: " + err.Error(), nil
	}
	return wrong, err
}

// checkContent compares the content behind the record with the digests that came
// with it.
func (r *Record) checkContent(src signing.Source) (wrong string, err error) {
	position, trust, err := r.digests(src)
	switch {
	case err != nil:
		return "", err
	case position != r.Digest:
		return fmt.Sprintf("the content accepted at %s has another digest", r.Position.Commit.Short()), nil
	case trust != r.Checkpoint.Trust:
		return fmt.Sprintf("the trust files at %s have another digest", r.Position.Commit.Short()), nil
	}
	for name, unit := range r.Units {
		active, previous, err := r.unitDigests(src, name, unit)
		if err != nil {
			return "", err
		}
		if pinned := r.Checkpoint.Units[name]; active != pinned.Active || previous != pinned.Previous {
			return fmt.Sprintf("the content of %s has another digest", name), nil
		}
	}
	return "", nil
}
