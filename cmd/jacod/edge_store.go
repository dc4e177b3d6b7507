package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/mesh"
)

const (
	edgeStateFile  = "state.json"
	edgeMemoryFile = "memory.json"
	// corruptSuffix is what a file is named further that cannot be read.
	corruptSuffix = ".corrupt"
	// keepPause is the least time between two writes of the state: a rollout
	// changes it many times a second, and the disk needs only the last.
	keepPause = 200 * time.Millisecond
)

// edgeStore keeps what the edge was told last and what it must remember.
type edgeStore struct {
	directory string
	logger    *slog.Logger
	newest    atomic.Pointer[cluster.EdgeState]
	bell      chan struct{}
}

func newEdgeStore(directory string, logger *slog.Logger) *edgeStore {
	return &edgeStore{directory: directory, logger: logger, bell: make(chan struct{}, 1)}
}

// state is what was kept last; nil when there is none, or none that can be read.
func (s *edgeStore) state() *cluster.EdgeState {
	state := new(cluster.EdgeState)
	if !s.load(edgeStateFile, state) || state.Node == "" {
		return nil
	}
	return state
}

// memory is like state; without one everything begins anew.
func (s *edgeStore) memory() mesh.Memory {
	var memory mesh.Memory
	if !s.load(edgeMemoryFile, &memory) {
		return mesh.Memory{}
	}
	return memory
}

// load reads one file. One that cannot be read is set aside: the edge can do
// without, and a person may want to see it.
func (s *edgeStore) load(name string, into any) bool {
	path := filepath.Join(s.directory, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err == nil {
		return true
	}
	aside := path + corruptSuffix
	s.logger.Error("what the edge kept cannot be read, and is set aside", "file", path, "aside", aside, "error", err)
	if err := os.Rename(path, aside); err != nil {
		s.logger.Error("cannot set it aside", "file", path, "error", err)
	}
	return false
}

// keepState has a state written soon. It does not wait.
func (s *edgeStore) keepState(state *cluster.EdgeState) {
	s.newest.Store(state)
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// run writes states until ctx ends, and the last one then.
func (s *edgeStore) run(ctx context.Context) error {
	timer := time.NewTimer(keepPause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.writeState()
			return nil
		case <-s.bell:
		}
		s.writeState()
		timer.Reset(keepPause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
}

// writeState writes the newest state unless it is written already.
func (s *edgeStore) writeState() {
	state := s.newest.Swap(nil)
	if state == nil {
		return
	}
	if err := s.write(edgeStateFile, state); err != nil {
		s.logger.Error("cannot keep what jacod said; a restart of the edge would go back to what it said before", "error", err)
	}
}

// keepMemory writes the memory; it is there when this returns nil.
func (s *edgeStore) keepMemory(memory mesh.Memory) error { return s.write(edgeMemoryFile, memory) }

// write replaces a file, so that after a crash it is the old one or the new one.
func (s *edgeStore) write(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	file, err := os.CreateTemp(s.directory, name+".*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(append(data, '\n'))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(file.Name(), filepath.Join(s.directory, name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	directory, err := os.Open(s.directory)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := errors.Join(directory.Sync(), directory.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
