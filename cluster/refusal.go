package cluster

import (
	"fmt"

	"github.com/hashicorp/go-memdb"
)

// keptRefusals bounds the table; the audit log has them all.
const keptRefusals = 128

func refusals() table[Refusal] {
	return table[Refusal]{
		name:    "refusal",
		key:     func(r *Refusal) string { return numberKey(r.CreateIndex) },
		indexes: map[string]func(*Refusal) string{"head": func(r *Refusal) string { return r.Head.String() }},
	}
}

// lastRefusal returns the newest refusal, nil when there is none.
func lastRefusal(tx *memdb.Txn) *Refusal {
	v, err := tx.Last(refusals().name, keyIndex)
	if err != nil {
		return nil
	}
	r, _ := v.(*Refusal)
	return r
}

func (t *tx) recordRefusal(c *RecordRefusal) error {
	if err := t.initialized(); err != nil {
		return err
	}
	r := c.Refusal
	if r.Head.IsZero() || r.Reason == "" {
		return fmt.Errorf("%w: a refusal needs a head and a reason", ErrInvalid)
	}
	for _, known := range refusals().list(t.Txn, "head", r.Head.String()) {
		if known.Reason == r.Reason {
			return nil
		}
	}
	r.Time, r.CreateIndex = t.now, t.index
	t.changed = true
	if err := refusals().put(t.Txn, r); err != nil {
		return err
	}
	all := refusals().list(t.Txn, keyIndex)
	for i := range len(all) - keptRefusals {
		if err := refusals().drop(t.Txn, numberKey(all[i].CreateIndex)); err != nil {
			return err
		}
	}
	return nil
}
