package cluster

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/hashicorp/go-memdb"

	"github.com/jaco-sh/jaco/signing"
)

// MaxClaimTags bounds the approval tags that one claim relies on.
const MaxClaimTags = 1000

func claims() table[Claim] {
	return table[Claim]{name: "claim", key: func(c *Claim) string { return numberKey(c.Number) }}
}

// lastClaim returns the newest claim, nil when there is none.
func lastClaim(tx *memdb.Txn) *Claim {
	v, err := tx.Last(claims().name, keyIndex)
	if err != nil {
		return nil
	}
	c, _ := v.(*Claim)
	return c
}

func (t *tx) advanceRevision(a *AdvanceRevision) error {
	if err := t.initialized(); err != nil {
		return err
	}
	c := a.Claim
	if c.Commit.IsZero() || c.From.IsZero() {
		return fmt.Errorf("%w: claim from %s to %s", ErrInvalid, c.From, c.Commit)
	}
	number := uint64(1)
	if last := lastClaim(t.Txn); last != nil {
		if last.repeats(c) {
			return nil
		}
		number = last.Number + 1
	}
	if c.Number != number {
		return fmt.Errorf("%w: claim %d, the next is %d", ErrConflict, c.Number, number)
	}
	if knownObjects().get(t.Txn, string(c.Commit[:])) == nil {
		return fmt.Errorf("%w: claim %d: commit %s was not stored", ErrConflict, c.Number, c.Commit)
	}
	if err := t.checkTags(c); err != nil {
		return err
	}
	// The time as proposed: raising it to that of an earlier entry would let
	// one false entry from the future date every later claim.
	c.Time, c.Index = t.proposed, t.index
	t.changed = true
	return claims().put(t.Txn, c)
}

// checkTags checks the form of a claim's tags, and that they are there.
func (t *tx) checkTags(c Claim) error {
	if len(c.Tags) > MaxClaimTags {
		return fmt.Errorf("%w: claim %d relies on %d tags, at most %d", ErrInvalid, c.Number, len(c.Tags), MaxClaimTags)
	}
	last := signing.Hash{}
	for _, id := range c.Tags {
		if bytes.Compare(id[:], last[:]) <= 0 {
			return fmt.Errorf("%w: claim %d: its tags are not in the order of their ids", ErrInvalid, c.Number)
		}
		if knownObjects().get(t.Txn, string(id[:])) == nil {
			return fmt.Errorf("%w: claim %d: tag %s was not stored", ErrConflict, c.Number, id)
		}
		last = id
	}
	return nil
}

// repeats reports whether next says what c said: it was proposed twice, by a
// leader that did not hear the answer or by the one after it.
func (c *Claim) repeats(next Claim) bool {
	return c.Number == next.Number && c.From == next.From && c.Commit == next.Commit && c.Digest == next.Digest &&
		slices.Equal(c.Tags, next.Tags)
}
