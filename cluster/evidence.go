package cluster

import (
	"crypto/sha256"
	"fmt"

	"github.com/jaco-sh/jaco/signing"
)

// The bounds of one PutObjects, in bytes of data. An object that is larger
// than MaxPutBytes travels alone; MaxObjectBytes is that of the largest that
// ContentDigest and signing read, or a claim could be right and impossible.
const (
	MaxPutBytes    = 256 << 10
	MaxObjectBytes = MaxContentBytes
	maxPutObjects  = 10_000
)

// knownObject says that an object is part of the state. Its body is in the
// ObjectStore, which may hold more: what it holds decides nothing, or nodes
// with different disks would differ.
type knownObject struct {
	ID    signing.Hash
	Index uint64
}

func knownObjects() table[knownObject] {
	return table[knownObject]{name: "object", key: func(o *knownObject) string { return string(o.ID[:]) }}
}

func (t *tx) putObjects(c *PutObjects) error {
	if err := t.initialized(); err != nil {
		return err
	}
	if err := checkPut(c.Objects); err != nil {
		return err
	}
	var fresh []StoredObject
	for _, o := range c.Objects {
		if knownObjects().get(t.Txn, string(o.ID[:])) != nil {
			continue
		}
		if err := checkObject(o); err != nil {
			return err
		}
		if err := knownObjects().put(t.Txn, knownObject{ID: o.ID, Index: t.index}); err != nil {
			return err
		}
		fresh = append(fresh, o)
	}
	if len(fresh) == 0 {
		return nil
	}
	t.changed = true
	if err := t.objects.Put(fresh); err != nil {
		return fmt.Errorf("%w: objects: %w", ErrStorage, err)
	}
	return nil
}

// checkPut checks the size of a PutObjects.
func checkPut(objects []StoredObject) error {
	total := 0
	for _, o := range objects {
		total += len(o.Data)
	}
	switch {
	case len(objects) == 0:
		return fmt.Errorf("%w: no objects", ErrInvalid)
	case len(objects) > maxPutObjects:
		return fmt.Errorf("%w: %d objects, at most %d at once", ErrInvalid, len(objects), maxPutObjects)
	case len(objects) == 1 && total > MaxObjectBytes:
		return fmt.Errorf("%w: object of %d bytes, at most %d", ErrInvalid, total, MaxObjectBytes)
	case len(objects) > 1 && total > MaxPutBytes:
		return fmt.Errorf("%w: objects of %d bytes, at most %d at once", ErrInvalid, total, MaxPutBytes)
	}
	return nil
}

// checkObject checks that an object's id is that of its bytes.
func checkObject(o StoredObject) error {
	if o.Type < signing.CommitObject || o.Type > signing.TagObject {
		return fmt.Errorf("%w: object %s is of no type", ErrInvalid, o.ID)
	}
	id, err := signing.HashObject(o.Object)
	if err != nil {
		return fmt.Errorf("%w: object %s: %w", ErrInvalid, o.ID, err)
	}
	if id != o.ID {
		return fmt.Errorf("%w: object %s: the bytes are those of %s", ErrInvalid, o.ID, id)
	}
	return nil
}

// digests returns what the audit log keeps of c.
func (c *PutObjects) digests() *objectDigests {
	d := &objectDigests{Objects: make([]objectDigest, len(c.Objects))}
	for i, o := range c.Objects {
		d.Objects[i] = objectDigest{
			ID: o.ID, Type: uint8(o.Type), Size: uint64(len(o.Data)), SHA256: sha256.Sum256(o.Data),
		}
	}
	return d
}
