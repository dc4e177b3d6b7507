package consensus

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/jaco-sh/jaco/cluster"
)

// State is what the log is applied to; cluster.State is one. Apply and Load are
// never called at the same time, Save beside either.
type State interface {
	// Apply applies the entry at index, or passes over it when the state holds
	// it already. When cluster.Stops says so of its error, nothing was applied
	// and nothing more may be.
	Apply(index uint64, data []byte) cluster.Result
	// Save writes the state as it is when it is called.
	Save(w io.Writer) error
	// Load replaces the state by what Save wrote, or fails and leaves it.
	Load(r io.Reader) error
}

var _ State = (*cluster.State)(nil)

// fsm is the thin layer between raft and State. Raft calls it from one
// goroutine at a time.
type fsm struct {
	state   State
	faults  *faults
	members *members
	// pipelines hear of every commit before it is applied here.
	pipelines *pipelines
	// halted is why nothing is applied any more; nil while all is well.
	halted error
}

var (
	_ raft.FSM                = (*fsm)(nil)
	_ raft.ConfigurationStore = (*fsm)(nil)
)

// Apply implements raft.FSM. Its answer is a cluster.Result.
func (f *fsm) Apply(entry *raft.Log) any {
	f.pipelines.committed()
	if f.halted != nil {
		return cluster.Result{Index: entry.Index, Err: fmt.Errorf("%w: %w", ErrHalted, f.halted)}
	}
	for {
		result := f.state.Apply(entry.Index, entry.Data)
		switch {
		case !cluster.Stops(result.Err):
			f.faults.clear(faultState)
			return result
		case errors.Is(result.Err, cluster.ErrStorage):
			// Nothing was applied, so the same entry may be tried again when
			// the disk has room.
			f.faults.note(faultState, fmt.Errorf("apply entry %d: %w", entry.Index, result.Err))
			if f.faults.wait() {
				continue
			}
			f.halted = result.Err
		default:
			f.halted = fmt.Errorf("entry %d of the log: %w: upgrade jacod on this node to the version of the others",
				entry.Index, result.Err)
			f.faults.fatal(f.halted)
		}
		return cluster.Result{Index: entry.Index, Err: fmt.Errorf("%w: %w", ErrHalted, f.halted)}
	}
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.halted != nil {
		// Raft counts the entries that were passed over as applied; a snapshot
		// would lose them for good.
		return nil, fmt.Errorf("%w: %w", ErrHalted, f.halted)
	}
	return snapshot{f.state}, nil
}

// StoreConfiguration implements raft.ConfigurationStore: raft tells the index
// of its configuration nowhere else. It also makes raft count these entries
// as applied, so that a snapshot may follow one at once.
func (f *fsm) StoreConfiguration(index uint64, configuration raft.Configuration) {
	f.pipelines.committed()
	f.members.set(index, configuration)
}

// Restore implements raft.FSM.
func (f *fsm) Restore(source io.ReadCloser) error {
	stored, labelled := unwrap(source)
	defer func() { source.Close() }()
	for {
		err := f.state.Load(source)
		if err == nil {
			f.faults.clear(faultState)
			break
		}
		err = fmt.Errorf("load snapshot: %w", err)
		if !f.faults.live.Load() { // at the start raft still tries an older one
			f.halted = err
			return err
		}
		if labelled && errors.Is(err, cluster.ErrStorage) {
			// The state is what it was, and the snapshot can be read again.
			f.faults.note(faultState, err)
			if f.faults.wait() {
				again, failed := stored.reopen()
				if failed == nil {
					source.Close()
					source = again
					continue
				}
				err = errors.Join(err, failed)
			}
		}
		f.halted = err
		f.faults.fatal(err)
		return err
	}
	f.halted = nil
	if labelled {
		f.members.set(stored.meta.ConfigurationIndex, stored.meta.Configuration)
	}
	return nil
}

// snapshotStore gives the FSM what raft files beside a snapshot.
type snapshotStore struct{ raft.SnapshotStore }

// storedSnapshot is one snapshot that is being read.
type storedSnapshot struct {
	io.ReadCloser
	meta   *raft.SnapshotMeta
	reopen func() (io.ReadCloser, error)
}

// Open implements raft.SnapshotStore.
func (s snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, source, err := s.SnapshotStore.Open(id)
	if err != nil {
		return nil, nil, err
	}
	reopen := func() (io.ReadCloser, error) {
		_, source, err := s.SnapshotStore.Open(id)
		return source, err
	}
	return meta, storedSnapshot{source, meta, reopen}, nil
}

// unwrap returns the snapshot behind the reader that raft counts with.
func unwrap(source io.ReadCloser) (storedSnapshot, bool) {
	if counted, ok := source.(raft.ReadCloserWrapper); ok {
		source = counted.WrappedReadCloser()
	}
	stored, ok := source.(storedSnapshot)
	return stored, ok
}

// snapshot is the state on its way to disk. Persist runs beside Apply, so what
// it writes may be a few entries ahead of the index that raft files it under.
// That does no harm: the state carries its own index and passes over the
// entries that raft then brings again.
type snapshot struct{ state State }

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.state.Save(sink); err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// Release implements raft.FSMSnapshot.
func (s snapshot) Release() {}
