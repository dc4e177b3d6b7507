package gitsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"

	"github.com/jaco-sh/jaco/signing"
)

const (
	rebuildSuffix = ".rebuild" // a mirror that is being made
	discardSuffix = ".discard" // a mirror that is being removed
	// maxPacks is how many packs a mirror has before the small ones are made
	// one: each fetch brings one, and each read looks through all of them.
	maxPacks = 50
)

// rebuild fetches everything into a new directory and puts it in the place of
// the old one.
func (m *Mirror) rebuild(ctx context.Context, c conversation, refs *advertised, head signing.Hash) error {
	dir := m.config.Directory
	fresh := dir + rebuildSuffix
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("rebuild mirror: %w", err)
	}
	defer os.RemoveAll(fresh)
	if err := initMirror(fresh); err != nil {
		return err
	}
	refsTags, err := refs.tags(m.config.Limits.Tags)
	if err != nil {
		return err
	}
	var tags []signing.Hash
	for _, tag := range refsTags {
		if !m.unwanted[tag.id] && !slices.Contains(tags, tag.id) {
			tags = append(tags, tag.id)
		}
	}
	if err := m.collect(ctx, c, refs, transfer{dir: fresh, want: []signing.Hash{head}, limits: m.config.Limits}, tags); err != nil {
		return err
	}
	check := newStore(fresh, m.config.Limits.ObjectBytes)
	err = checkCommit(check, head)
	check.release()
	if err != nil {
		return fmt.Errorf("%w: the server left out objects: %w", ErrUnreachable, err)
	}
	if err := writeHead(fresh, head); err != nil {
		return err
	}
	if err := m.replace(fresh); err != nil {
		return err
	}
	m.config.Logger.Info("the mirror was made anew", "head", head.Short())
	clear(m.have)
	m.mu.Lock()
	m.broken, m.rebuilt = false, head
	m.mu.Unlock()
	return nil
}

// replace puts a new mirror in the place of the old one. An interruption
// leaves no mirror, which is then made again.
func (m *Mirror) replace(fresh string) error {
	dir := m.config.Directory
	old := dir + discardSuffix
	if err := os.Rename(dir, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace mirror: %w", err)
	}
	if err := os.Rename(fresh, dir); err != nil {
		return fmt.Errorf("replace mirror: %w", err)
	}
	m.store.release()
	if err := os.RemoveAll(old); err != nil {
		return fmt.Errorf("replace mirror: %w", err)
	}
	return nil
}

// consolidate makes one pack of all but the largest once there are too many.
// Deltas are not looked for: a mirror is a cache, and what single fetches bring
// is small.
func (m *Mirror) consolidate(ctx context.Context) error {
	dir := m.config.Directory
	names, err := listPacks(dir)
	if err != nil || len(names) <= m.packs {
		return err
	}
	packs := filepath.Join(dir, "objects", "pack")
	names, err = allButLargest(packs, names)
	if err != nil {
		return err
	}
	ids, err := packedIDs(packs, names)
	if err != nil {
		return err
	}
	merged, err := m.writePack(ctx, packs, ids)
	if err != nil {
		return err
	}
	m.store.release()
	for _, name := range names {
		if name == merged {
			continue
		}
		// The index first: a pack without one is not looked at.
		err := errors.Join(os.Remove(filepath.Join(packs, name+".idx")), os.Remove(filepath.Join(packs, name+".pack")))
		if err != nil {
			return fmt.Errorf("remove pack: %w", err)
		}
	}
	return nil
}

// writePack stores the objects as one pack and returns its name.
func (m *Mirror) writePack(ctx context.Context, packs string, ids []plumbing.Hash) (string, error) {
	file, err := os.CreateTemp(packs, incomingPattern)
	if err != nil {
		return "", storeError{err}
	}
	defer os.Remove(file.Name())
	defer file.Close()
	dir := dotgit.NewWithOptions(osfs.New(m.config.Directory, osfs.WithBoundOS()), dotgit.Options{KeepDescriptors: true})
	objects := filesystem.NewObjectStorageWithOptions(dir, cache.NewObjectLRU(deltaCache), filesystem.Options{KeepDescriptors: true})
	storage := &filesystem.Storage{ObjectStorage: *objects}
	defer func() { _ = storage.Close() }() // its files were only read
	checksum, err := packfile.NewEncoder(file, storage, false).Encode(ids, 0)
	if err != nil {
		return "", fmt.Errorf("write pack: %w", err)
	}
	// Nothing is refused here that was let in before.
	limits := Limits{Bytes: 1 << 50, Objects: len(ids), Commits: len(ids)}
	return "pack-" + checksum.String(), storePack(ctx, file, packs, limits)
}

// allButLargest leaves out the pack that is not worth writing again.
func allButLargest(packs string, names []string) ([]string, error) {
	largest, size := 0, int64(-1)
	for i, name := range names {
		info, err := os.Stat(filepath.Join(packs, name+".pack"))
		if err != nil {
			return nil, fmt.Errorf("look at pack: %w", err)
		}
		if info.Size() > size {
			largest, size = i, info.Size()
		}
	}
	return append(names[:largest:largest], names[largest+1:]...), nil
}

// packedIDs lists what the packs hold, each object once.
func packedIDs(packs string, names []string) ([]plumbing.Hash, error) {
	seen := make(map[plumbing.Hash]bool)
	var ids []plumbing.Hash
	for _, name := range names {
		found, err := indexedIDs(filepath.Join(packs, name+".idx"))
		if err != nil {
			return nil, fmt.Errorf("read %s.idx: %w", name, err)
		}
		for _, id := range found {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}

func indexedIDs(path string) ([]plumbing.Hash, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	index := idxfile.NewMemoryIndex()
	if err := idxfile.NewDecoder(file).Decode(index); err != nil {
		return nil, err
	}
	entries, err := index.Entries()
	if err != nil {
		return nil, err
	}
	var ids []plumbing.Hash
	for {
		entry, err := entries.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return ids, errors.Join(err, entries.Close())
		}
		ids = append(ids, entry.Hash)
	}
}
