package cluster

import (
	"bytes"
	"fmt"
	"slices"
)

func sealedItems() table[SealedItem] {
	return table[SealedItem]{name: "sealed", key: func(s *SealedItem) string { return s.Name }}
}

func (t *tx) putSealed(c *PutSealed) error {
	if err := t.initialized(); err != nil {
		return err
	}
	if len(c.Items) == 0 {
		return fmt.Errorf("%w: nothing to seal", ErrInvalid)
	}
	for _, item := range c.Items {
		if err := checkName("sealed item", item.Name); err != nil {
			return err
		}
		if len(item.Recipients) == 0 || len(item.Ciphertext) == 0 {
			return fmt.Errorf("%w: sealed item %s is empty or for nobody", ErrInvalid, item.Name)
		}
		old := sealedItems().get(t.Txn, item.Name)
		if old != nil && bytes.Equal(old.Ciphertext, item.Ciphertext) && slices.Equal(old.Recipients, item.Recipients) {
			continue
		}
		item.ModifyIndex = t.index
		t.changed = true
		if err := sealedItems().put(t.Txn, item); err != nil {
			return err
		}
	}
	return nil
}
