package consensus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
