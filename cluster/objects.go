package cluster

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/jaco-sh/jaco/signing"
)

// ObjectStore keeps the bodies of git objects. It is content-addressed: what
// an id stands for never changes, so nothing is ever overwritten and a store
// may hold more than the state that uses it. Implementations are safe for
// concurrent use. Reading verifies nothing: signing does, at the point of use.
type ObjectStore interface {
	// Put stores objects durably before it returns; known ids are left alone.
	Put(objects []StoredObject) error
	// Object implements signing.Source.
	Object(id signing.Hash) (signing.Object, error)
	// Has reports whether the store holds id.
	Has(id signing.Hash) (bool, error)
	// Each calls fn for every object in the order of ids, until fn fails.
	Each(fn func(StoredObject) error) error
}

var (
	_ ObjectStore    = (*MemoryObjects)(nil)
	_ signing.Source = (*MemoryObjects)(nil)
)

// MemoryObjects is an ObjectStore in memory, for tests and for verifying
// bundles.
type MemoryObjects struct {
	mu      sync.RWMutex // guards objects
	objects map[signing.Hash]signing.Object
}

// NewMemoryObjects returns an empty store.
func NewMemoryObjects() *MemoryObjects {
	return &MemoryObjects{objects: make(map[signing.Hash]signing.Object)}
}

// Put implements ObjectStore. It keeps the data it is given, which must not
// change afterwards.
func (m *MemoryObjects) Put(objects []StoredObject) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range objects {
		if _, known := m.objects[o.ID]; !known {
			m.objects[o.ID] = o.Object
		}
	}
	return nil
}

// Object implements ObjectStore.
func (m *MemoryObjects) Object(id signing.Hash) (signing.Object, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, ok := m.objects[id]
	if !ok {
		return signing.Object{}, fmt.Errorf("object %s: %w", id, signing.ErrNotFound)
	}
	return o, nil
}

// Has implements ObjectStore.
func (m *MemoryObjects) Has(id signing.Hash) (bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, ok := m.objects[id]
	return ok, nil
}

// Each implements ObjectStore.
func (m *MemoryObjects) Each(fn func(StoredObject) error) error {
	m.mu.RLock()
	ids := slices.SortedFunc(maps.Keys(m.objects), compareHash)
	m.mu.RUnlock()
	for _, id := range ids {
		o, err := m.Object(id)
		if err != nil {
			return err
		}
		if err := fn(StoredObject{ID: id, Object: o}); err != nil {
			return err
		}
	}
	return nil
}
