package cluster

import "fmt"

func syncs() table[Sync] {
	return table[Sync]{name: "sync", key: func(*Sync) string { return single }}
}

func (t *tx) setSync(c *SetSync) error {
	if err := t.initialized(); err != nil {
		return err
	}
	switch c.State {
	case SyncSynced, SyncStalled, SyncUnreachable:
	default:
		return fmt.Errorf("%w: state %q of the repository is not recorded", ErrInvalid, c.State)
	}
	s := Sync{State: c.State, Reason: c.Reason, Head: c.Head, Awaits: c.Awaits, Since: t.now, ModifyIndex: t.index}
	if old := syncs().get(t.Txn, single); old != nil && old.State == s.State {
		s.Since = old.Since
		if old.Reason == s.Reason && old.Head == s.Head {
			return nil
		}
	}
	t.changed = true
	return syncs().put(t.Txn, s)
}
