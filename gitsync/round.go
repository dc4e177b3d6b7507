package gitsync

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/jaco-sh/jaco/signing"
)

// maxRefusals bounds the refusals that are remembered; forgetting one costs a
// repeated call of the log, which knows them too.
const maxRefusals = 1000

// memory is what one Run has said and need not say again.
type memory struct {
	said    announcement
	settled announcement      // the outcome of the head last judged to its end
	tags    [sha256.Size]byte // that it was judged with
	refused map[refusalKey]bool
}

func newMemory() *memory { return &memory{refused: make(map[refusalKey]bool)} }

// announcement is one transition. The zero value is none.
type announcement struct {
	state  State
	reason string
	head   signing.Hash
	// kind stands for the reason where its text holds what differs from one
	// attempt to the next, as a port or an address: only another kind is news.
	kind string
	// awaits is told along and is no news of its own: the reason says it too.
	awaits *signing.Pending
}

func (a announcement) same(b announcement) bool {
	if a.kind != "" && a.kind == b.kind {
		a.reason = b.reason
	}
	a.awaits = b.awaits
	return a == b
}

type refusalKey struct {
	head, commit signing.Hash
	reason       signing.Reason
}

// fetchFailed records why the repository cannot be followed and returns the
// error for the status.
func (s *Syncer) fetchFailed(ctx context.Context, m *memory, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a := announcement{state: Unreachable, reason: err.Error(), head: s.Status().Head, kind: ErrUnreachable.Error()}
	for _, kind := range []error{ErrDenied, ErrHostKey, ErrGone} {
		if errors.Is(err, kind) {
			a.kind = kind.Error()
		}
	}
	switch {
	case needsPerson(err):
		a.state, a.kind = Stalled, ""
	case OwnDisk(err):
		a.state, a.kind = Stalled, "disk"
	}
	return errors.Join(err, s.announce(ctx, m, a))
}

// announce records a transition unless it was recorded already.
func (s *Syncer) announce(ctx context.Context, m *memory, a announcement) error {
	if m.said.same(a) {
		return nil
	}
	if err := s.log.Transition(ctx, Transition{State: a.state, Reason: a.reason, Head: a.head, Awaits: a.awaits}); err != nil {
		return fmt.Errorf("record %s: %w", a.state, err)
	}
	m.said = a
	return nil
}

// settle remembers that nothing more is to be done for a head, and records it.
func (s *Syncer) settle(ctx context.Context, m *memory, a announcement) error {
	m.settled = a
	return s.announce(ctx, m, a)
}

// judgeHead has a head judged, with the approval tags, and its claims proposed
// until it is accepted or refused. What was settled before costs nothing, except
// for recording that the repository answers again.
func (s *Syncer) judgeHead(ctx context.Context, m *memory, head signing.Hash) error {
	tags := s.mirror.Tags()
	with := fingerprint(tags)
	if m.settled.head == head && m.settled.state != "" && m.tags == with {
		return s.announce(ctx, m, m.settled)
	}
	m.settled, m.tags = announcement{}, with
	defer s.mirror.release()
	for reached := (signing.Hash{}); ; {
		e, err := s.judge.Evaluate(ctx, s.mirror, head, tags)
		if err != nil {
			return s.judgeFailed(ctx, m, head, err)
		}
		if e.Moved {
			if err := s.advance(ctx, e); err != nil {
				return err
			}
		}
		if e.Refusal != nil {
			return s.refuse(ctx, m, Refusal{Head: head, Refusal: *e.Refusal}, e.Awaits)
		}
		if e.To == head {
			return s.settle(ctx, m, announcement{state: Synced, head: head})
		}
		// A long range takes several claims; each must come nearer.
		if !e.Moved || e.To == reached {
			return fmt.Errorf("judge %s: it stands still at %s without a refusal", head.Short(), e.To.Short())
		}
		reached = e.To
	}
}

// judgeFailed tells what a new fetch may mend from what a person must.
func (s *Syncer) judgeFailed(ctx context.Context, m *memory, head signing.Hash, err error) error {
	err = fmt.Errorf("judge %s: %w", head.Short(), err)
	if ctx.Err() != nil {
		return err
	}
	missing := errors.Is(err, signing.ErrNotFound) || errors.Is(err, ErrCorrupt)
	switch {
	case errors.Is(err, ErrObjectTooLarge):
		return errors.Join(err, s.settle(ctx, m, announcement{state: Stalled, reason: err.Error(), head: head}))
	case missing && !s.mirror.suspect(head):
		return s.damaged(ctx, m, head, err)
	}
	return err
}

// damaged tells of a repository whose bytes are gone or not those of their id.
// Forged bytes are refused, so that the audit log knows of them, and then the
// round is done; the head is not settled, as the same one is good once the
// bytes are.
func (s *Syncer) damaged(ctx context.Context, m *memory, head signing.Hash, outcome error) error {
	err := outcome
	if errors.Is(outcome, ErrCorrupt) {
		refusal := s.refuseOnce(ctx, m, Refusal{Head: head, Refusal: signing.Refusal{
			Commit: head, Chain: head, Reason: signing.ReasonTampered, Detail: outcome.Error(),
			Advice: "The objects of the repository are damaged or forged. Where the branch is kept, run:\n  git fsck --full\n" +
				"Restore what it names from another clone; the same commit is then judged again.",
		}})
		if refusal != nil {
			return refusal
		}
		err = nil
	}
	return errors.Join(err, s.announce(ctx, m, announcement{
		state: Stalled, reason: "the repository is damaged: " + outcome.Error(), head: head, kind: "damaged",
	}))
}

// advance sends what the log lacks of the evidence, then the claim.
func (s *Syncer) advance(ctx context.Context, e *Evaluation) error {
	claim := Advance{Evaluation: e}
	for _, id := range e.Evidence {
		have, err := s.log.Have(id)
		if err != nil {
			return fmt.Errorf("propose %s: %w", e.To.Short(), err)
		}
		if have {
			continue
		}
		object, err := s.mirror.Object(id)
		if err != nil {
			return fmt.Errorf("propose %s: %w", e.To.Short(), err)
		}
		claim.Objects = append(claim.Objects, Object{ID: id, Object: object})
	}
	if err := s.log.Advance(ctx, claim); err != nil {
		return fmt.Errorf("propose %s: %w", e.To.Short(), err)
	}
	return nil
}

// refuse records the refusal once and settles the head. A trust change that
// waits for signatures is none: the transition alone tells of it.
func (s *Syncer) refuse(ctx context.Context, m *memory, r Refusal, awaits *signing.Pending) error {
	if awaits == nil || r.Reason != signing.ReasonTrustPending {
		if err := s.refuseOnce(ctx, m, r); err != nil {
			return err
		}
	}
	reason := fmt.Sprintf("%s: commit %s: %s", r.Reason, r.Commit.Short(), r.Detail)
	if awaits != nil {
		reason = awaits.Reason
	}
	return s.settle(ctx, m, announcement{state: Stalled, reason: reason, head: r.Head, awaits: awaits})
}

// refuseOnce records a refusal that was not recorded before.
func (s *Syncer) refuseOnce(ctx context.Context, m *memory, r Refusal) error {
	key := refusalKey{r.Head, r.Commit, r.Reason}
	if m.refused[key] {
		return nil
	}
	if err := s.log.Refuse(ctx, r); err != nil {
		return fmt.Errorf("record refusal of %s: %w", r.Head.Short(), err)
	}
	if len(m.refused) >= maxRefusals {
		clear(m.refused)
	}
	m.refused[key] = true
	return nil
}
