package cluster

import (
	"errors"

	"github.com/jaco-sh/jaco/signing"
)

// DiskObjects is an ObjectStore in one file.
type DiskObjects struct{}

// OpenObjects opens the store at path and makes it when there is none. The
// file is locked: a second process gets an error.
func OpenObjects(path string) (*DiskObjects, error) { return nil, errors.ErrUnsupported }

// Close releases the file.
func (d *DiskObjects) Close() error { return nil }

// Put implements ObjectStore: one fsynced batch a call.
func (d *DiskObjects) Put(objects []StoredObject) error { return errors.ErrUnsupported }

// Object implements ObjectStore.
func (d *DiskObjects) Object(id signing.Hash) (signing.Object, error) {
	return signing.Object{}, errors.ErrUnsupported
}

// Has implements ObjectStore.
func (d *DiskObjects) Has(id signing.Hash) (bool, error) { return false, errors.ErrUnsupported }

// Each implements ObjectStore.
func (d *DiskObjects) Each(fn func(StoredObject) error) error { return errors.ErrUnsupported }
