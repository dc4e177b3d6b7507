package consensus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/jaco-sh/jaco/cluster"
)

const (
	logFile       = "raft.db"
	snapshotDir   = "snapshots" // made by raft's file store below Dir
	snapshotsKept = 2
	cachedEntries = 512
	// openTimeout is how long to wait for another process's lock on the log.
	openTimeout = time.Second
)

// stores is what raft keeps on disk.
type stores struct {
	bolt      *raftboltdb.BoltStore
	guard     *guard
	log       raft.LogStore
	snapshots raft.SnapshotStore
}

// openStores opens the log and the snapshots of cfg.Dir. A log that is missing
// is made when create is set and refused otherwise.
func openStores(cfg Config, faults *faults, create bool) (*stores, error) {
	path := filepath.Join(cfg.Dir, logFile)
	if create {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, explain(cfg.Dir, err)
		}
	} else if err := checkLog(cfg.Dir, path); err != nil {
		return nil, err
	}
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        openTimeout,
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	if err != nil {
		return nil, explain(cfg.Dir, fmt.Errorf("open %s: %w", path, err))
	}
	s := &stores{bolt: bolt, guard: &guard{store: bolt, faults: faults}}
	if s.log, err = raft.NewLogCache(cachedEntries, s.guard); err == nil {
		s.snapshots, err = raft.NewFileSnapshotStoreWithLogger(cfg.Dir, snapshotsKept, newLogger(cfg.Logger))
	}
	if err != nil {
		return nil, explain(cfg.Dir, errors.Join(fmt.Errorf("open snapshots in %s: %w", cfg.Dir, err), bolt.Close()))
	}
	return s, nil
}

// checkLog refuses to take part without the log: raft would begin a new one,
// and forget for whom this node voted. It refuses a damaged one too.
func checkLog(dir, path string) error {
	err := cluster.CheckBolt(path, openTimeout)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if kept, err := os.ReadDir(filepath.Join(dir, snapshotDir)); err == nil && len(kept) > 0 {
			return explain(dir, fmt.Errorf("%s is missing beside its snapshots: %w", path, ErrDamaged))
		}
		return fmt.Errorf("%s: %w", dir, ErrNoState)
	case errors.Is(err, cluster.ErrCorrupt):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return explain(dir, fmt.Errorf("open %s: %w", path, err))
}

func (s *stores) hasState() (bool, error) {
	return raft.HasExistingState(s.log, s.guard, s.snapshots)
}

func (s *stores) close() error { return s.bolt.Close() }

// guard stands between raft and the log on disk. Raft panics when it cannot
// write its term or read an entry; the guard never returns such an error to
// it. A write is tried again until the disk takes it. A goroutine that cannot
// go on ends: raft's shutdown then finds it gone.
type guard struct {
	store  *raftboltdb.BoltStore
	faults *faults
}

var (
	_ raft.LogStore    = (*guard)(nil)
	_ raft.StableStore = (*guard)(nil)
)

// keyCurrentTerm is raft's name for the one value whose loss it cannot bear.
const keyCurrentTerm = "CurrentTerm"

// FirstIndex implements raft.LogStore.
func (g *guard) FirstIndex() (uint64, error) { return g.store.FirstIndex() }

// LastIndex implements raft.LogStore.
func (g *guard) LastIndex() (uint64, error) { return g.store.LastIndex() }

// GetLog implements raft.LogStore.
func (g *guard) GetLog(index uint64, entry *raft.Log) error {
	err := g.store.GetLog(index, entry)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) || !g.faults.live.Load() {
		return err
	}
	if !g.faults.shuttingDown() {
		g.faults.fatal(explain(g.faults.dir, fmt.Errorf("read entry %d of the log: %w: %w", index, ErrDamaged, err)))
	}
	runtime.Goexit()
	return err
}

// StoreLog implements raft.LogStore.
func (g *guard) StoreLog(entry *raft.Log) error { return g.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore. Raft bears its error: a leader steps
// down, a follower does not acknowledge.
func (g *guard) StoreLogs(entries []*raft.Log) error { return g.noted(g.store.StoreLogs(entries)) }

// DeleteRange implements raft.LogStore.
func (g *guard) DeleteRange(first, last uint64) error {
	return g.noted(g.store.DeleteRange(first, last))
}

// Set implements raft.StableStore. Without it a vote is not given.
func (g *guard) Set(key, value []byte) error { return g.noted(g.store.Set(key, value)) }

// Get implements raft.StableStore.
func (g *guard) Get(key []byte) ([]byte, error) { return g.store.Get(key) }

// GetUint64 implements raft.StableStore.
func (g *guard) GetUint64(key []byte) (uint64, error) { return g.store.GetUint64(key) }

// SetUint64 implements raft.StableStore.
func (g *guard) SetUint64(key []byte, value uint64) error {
	for {
		err := g.noted(g.store.SetUint64(key, value))
		if err == nil || string(key) != keyCurrentTerm || !g.faults.live.Load() {
			return err
		}
		if !g.faults.wait() {
			runtime.Goexit()
		}
	}
}

// noted passes err on and keeps the fault up to date.
func (g *guard) noted(err error) error {
	switch {
	case err == nil:
		g.faults.clear(faultLog)
	case !g.faults.shuttingDown():
		g.faults.note(faultLog, err)
	}
	return err
}
