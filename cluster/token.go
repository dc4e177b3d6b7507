package cluster

import "fmt"

func tokens() table[Token] {
	return table[Token]{name: "token", key: func(k *Token) string { return k.ID }}
}

// MaxCheckpointBytes bounds what a joining node pins.
const MaxCheckpointBytes = 8 << 20

func (t *tx) putToken(c *PutToken) error {
	if err := t.initialized(); err != nil {
		return err
	}
	k := c.Token
	switch {
	case !validClusterID(k.ID):
		return fmt.Errorf("%w: token id %q", ErrInvalid, k.ID)
	case k.Hash == [32]byte{}:
		return fmt.Errorf("%w: token %s has no hash", ErrInvalid, k.ID)
	case !t.proposed.Before(k.ExpiresAt):
		return fmt.Errorf("%w: token %s has expired already", ErrInvalid, k.ID)
	case k.Kind != TokenJoin && k.Kind != TokenRead:
		return fmt.Errorf("%w: token of kind %q", ErrInvalid, k.Kind)
	case k.Kind == TokenJoin && (len(k.Checkpoint) == 0 || len(k.Checkpoint) > MaxCheckpointBytes):
		return fmt.Errorf("%w: token %s has a checkpoint of %d bytes", ErrInvalid, k.ID, len(k.Checkpoint))
	case k.Kind == TokenRead && len(k.Checkpoint) > 0:
		return fmt.Errorf("%w: token %s to read has a checkpoint", ErrInvalid, k.ID)
	case tokens().get(t.Txn, k.ID) != nil:
		return fmt.Errorf("token %s: %w", k.ID, ErrExists)
	}
	for _, old := range tokens().list(t.Txn, keyIndex) {
		if !t.proposed.Before(old.ExpiresAt) {
			if err := tokens().drop(t.Txn, old.ID); err != nil {
				return err
			}
		}
	}
	k.UsedBy, k.CreateIndex, k.ModifyIndex = "", t.index, t.index
	t.changed = true
	return tokens().put(t.Txn, k)
}
