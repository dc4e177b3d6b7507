package cluster

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/jaco-sh/jaco/signing"
)

// State is the replicated state. One goroutine applies; any number read.
type State struct {
	objects ObjectStore
	audit   AuditStore

	applying sync.Mutex // held by Apply and by Load while they write

	mu      sync.Mutex // guards the fields below
	db      *memdb.MemDB
	changed chan struct{}
}

// Result is what became of one entry.
type Result struct {
	// Index is the entry's raft index.
	Index uint64
	// Err is why the command was refused, or why applying must stop (Stops).
	Err error
	// Changed reports that more than the audit log changed.
	Changed bool
}

// position is how far the log was applied.
type position struct {
	Index uint64
	Time  time.Time // applied time of the entry at Index
	Audit AuditHead
}

func positions() table[position] {
	return table[position]{name: "position", key: func(*position) string { return single }}
}

// readPosition returns the position, zero when nothing was applied.
func readPosition(tx *memdb.Txn) position {
	if p := positions().get(tx, single); p != nil {
		return *p
	}
	return position{}
}

// NewState returns an empty state over the two stores. What they hold already
// is used when the log or a snapshot brings it back, and harmless otherwise.
func NewState(store ObjectStore, audit AuditStore) (*State, error) {
	db, err := newDB()
	if err != nil {
		return nil, err
	}
	return &State{objects: store, audit: audit, db: db, changed: make(chan struct{})}, nil
}

// Apply applies the entry at index. Entries come in the order of the log; one
// that was applied already is skipped. A refused command (Result.Err) changes
// nothing but the audit log. When Stops(Result.Err), nothing at all was done,
// and the caller must apply no further entry.
func (s *State) Apply(index uint64, data []byte) Result {
	s.applying.Lock()
	defer s.applying.Unlock()
	result := Result{Index: index}
	db := s.tables()
	last := readPosition(db.Txn(false))
	if index <= last.Index {
		return result
	}
	entry, err := Decode(data)
	if Stops(err) {
		result.Err = err
		return result
	}
	t := &tx{objects: s.objects, index: index, proposed: entry.Time, now: entry.Time}
	if t.now.Before(last.Time) {
		t.now = last.Time
	}
	t.Txn = db.Txn(true)
	defer func() { t.Abort() }() // does nothing after Commit
	if err == nil {
		err = t.apply(entry)
	}
	if Stops(err) {
		result.Err = err
		return result
	}
	if err != nil {
		t.Abort()
		t.Txn, t.changed = db.Txn(true), false
	}
	if auditErr := t.record(entry, data, err, s.audit); auditErr != nil {
		result.Err = auditErr
		return result
	}
	t.Commit()
	s.notify()
	result.Err, result.Changed = err, t.changed
	return result
}

// Read returns the state as it is now.
func (s *State) Read() *Snapshot {
	return &Snapshot{tx: s.tables().Txn(false), objects: s.objects, audit: s.audit}
}

// Changed returns a channel that is closed when the next entry is applied or
// refused, or a snapshot is loaded. Take it before Read, so that nothing is
// missed between the two.
func (s *State) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// WaitIndex waits until index was applied, or returns the context's error.
func (s *State) WaitIndex(ctx context.Context, index uint64) error {
	for {
		changed := s.Changed()
		reached := s.Read().Index()
		if reached >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for index %d, at %d: %w", index, reached, context.Cause(ctx))
		}
	}
}

func (s *State) tables() *memdb.MemDB {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db
}

// notify wakes whoever waits for a change.
func (s *State) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

func compareHash(a, b signing.Hash) int { return bytes.Compare(a[:], b[:]) }
