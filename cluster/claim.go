package cluster

import (
	"fmt"

	"github.com/hashicorp/go-memdb"
)

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
	// The time as proposed: raising it to that of an earlier entry would let
	// one false entry from the future date every later claim.
	c.Time, c.Index = t.proposed, t.index
	t.changed = true
	return claims().put(t.Txn, c)
}

// repeats reports whether next says what c said: it was proposed twice, by a
// leader that did not hear the answer or by the one after it.
func (c *Claim) repeats(next Claim) bool {
	return c.Number == next.Number && c.From == next.From && c.Commit == next.Commit && c.Digest == next.Digest
}
