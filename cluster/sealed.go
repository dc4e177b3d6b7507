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

// forgetRecipient takes a name off all sealed items. A newcomer of that name
// has another key than the one that they are encrypted to: who looks for items
// to seal anew must find that it lacks them.
func (t *tx) forgetRecipient(name string) error {
	for _, item := range sealedItems().list(t.Txn, keyIndex) {
		if !slices.Contains(item.Recipients, name) {
			continue
		}
		item.Recipients = slices.DeleteFunc(slices.Clone(item.Recipients), func(r string) bool { return r == name })
		item.ModifyIndex = t.index
		t.changed = true
		if err := sealedItems().put(t.Txn, item); err != nil {
			return err
		}
	}
	return nil
}
