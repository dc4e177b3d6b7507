package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/jaco-sh/jaco/signing"
)

// State is the replicated state. One goroutine applies; any number read.
type State struct{}

// Result is what became of one entry.
type Result struct {
	// Index is the entry's raft index.
	Index uint64
	// Err is why the command was refused, or why applying must stop (Stops).
	Err error
	// Changed reports that more than the audit log changed.
	Changed bool
}

// NewState returns an empty state over the two stores.
func NewState(store ObjectStore, audit AuditStore) (*State, error) { return &State{}, nil }

// Apply applies the entry at index.
func (s *State) Apply(index uint64, data []byte) Result { return Result{Err: errors.ErrUnsupported} }

// Read returns the state as it is now.
func (s *State) Read() *Snapshot { return &Snapshot{} }

// Changed returns a channel that is closed when the next entry is applied or
// refused, or a snapshot is loaded. Take it before Read, so that nothing is
// missed between the two.
func (s *State) Changed() <-chan struct{} { return nil }

// WaitIndex waits until index was applied.
func (s *State) WaitIndex(ctx context.Context, index uint64) error { return errors.ErrUnsupported }

// Save writes a snapshot of the present state.
func (s *State) Save(w io.Writer) error { return errors.ErrUnsupported }

// Load replaces the state by a snapshot.
func (s *State) Load(r io.Reader) error { return errors.ErrUnsupported }

// ReplicaID is the id of a replica: 12 characters of lower-case base32.
func ReplicaID(clusterID, deployment, service string, slot int, serial uint64) string { return "" }

// Encode returns the bytes that carry e in the log.
func Encode(e Entry) ([]byte, error) { return nil, errors.ErrUnsupported }

// Decode is the inverse of Encode.
func Decode(data []byte) (Entry, error) { return Entry{}, errors.ErrUnsupported }

func compareHash(a, b signing.Hash) int { return bytes.Compare(a[:], b[:]) }
