package consensus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const (
	logFile       = "raft.db"
	snapshotDir   = "snapshots" // made by raft's file store below Dir
	snapshotsKept = 2
	cachedEntries = 512
	// openTimeout is how long to wait for another process's lock on the log.
	openTimeout = time.Second
)

// disk is where the log and raft's few values are kept.
type disk interface {
	raft.LogStore
	raft.StableStore
}

// stores is what raft keeps on disk.
type stores struct {
	bolt      *raftboltdb.BoltStore
	guard     *guard
	log       raft.LogStore
	snapshots raft.SnapshotStore
}

// openStores opens the log and the snapshots of cfg.Dir. A log that is missing
// is made when create is set and refused otherwise.
func (c *Consensus) openStores(create bool) (*stores, error) {
	cfg, path := c.cfg, filepath.Join(c.cfg.Dir, logFile)
	err := checkLog(cfg.Dir, path)
	if create && errors.Is(err, ErrNoState) {
		err = explain(cfg.Dir, os.MkdirAll(cfg.Dir, 0o700))
	}
	if err != nil {
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
	s := &stores{bolt: bolt, guard: newGuard(c.wrap(bolt), c.faults)}
	if s.log, err = raft.NewLogCache(cachedEntries, s.guard); err == nil {
		var files *raft.FileSnapshotStore
		files, err = raft.NewFileSnapshotStoreWithLogger(cfg.Dir, snapshotsKept, newLogger(cfg.Logger))
		s.snapshots = snapshotStore{files}
	}
	if err != nil {
		return nil, explain(cfg.Dir, errors.Join(fmt.Errorf("open snapshots in %s: %w", cfg.Dir, err), bolt.Close()))
	}
	return s, nil
}

// checkLog refuses to take part without the log: raft would begin a new one,
// and forget for whom this node voted. It also reads the log through: opening
// a damaged one for writing makes bbolt panic on a goroutine of its own.
func checkLog(dir, path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if kept, err := os.ReadDir(filepath.Join(dir, snapshotDir)); err == nil && len(kept) > 0 {
			return explain(dir, fmt.Errorf("%s is missing beside its snapshots: %w", path, ErrDamaged))
		}
		return fmt.Errorf("%s: %w", dir, ErrNoState)
	case err != nil:
		return explain(dir, err)
	case !info.Mode().IsRegular():
		return explain(dir, fmt.Errorf("%s is no regular file: %w", path, ErrDamaged))
	case info.Size() == 0:
		return explain(dir, fmt.Errorf("%s is empty: %w", path, ErrDamaged))
	}
	if err := readThrough(path, info.Size()); err != nil {
		return explain(dir, fmt.Errorf("open %s: %w", path, err))
	}
	return nil
}

// readThrough visits every page of the log that is in use.
func readThrough(path string, size int64) (err error) {
	// bbolt panics on pages that do not hold together, and its memory map
	// faults on a disk that cannot read them.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: openTimeout})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > size {
			return fmt.Errorf("%w: it is cut short, %d of %d bytes are left", ErrDamaged, size, tx.Size())
		}
		return tx.ForEach(func(_ []byte, bucket *bbolt.Bucket) error {
			return bucket.ForEach(func(_, _ []byte) error { return nil })
		})
	})
}

func (s *stores) hasState() (bool, error) {
	return raft.HasExistingState(s.log, s.guard, s.snapshots)
}

func (s *stores) close() error { return s.bolt.Close() }
