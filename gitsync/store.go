package gitsync

import (
	"crypto/sha1" //nolint:gosec // finds a broken disk; the judge looks for collisions itself
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-billy/v5/memfs"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"

	"github.com/jaco-sh/jaco/signing"
)

const (
	// deltaCache holds the bases that many objects are deltas against.
	deltaCache = 16 * mebibyte
	// maxAlternates bounds the repositories that one borrows objects from,
	// maxBorrowing how often those borrow in turn: git's own depth.
	maxAlternates = 8
	maxBorrowing  = 5
)

// store reads the objects of a git directory that others may write to at the
// same time: git gc moves objects between files, a push adds some. It is safe
// for concurrent use.
type store struct {
	dir   string // the git directory
	max   int64  // bytes of one object
	depth int    // 0, or how many repositories borrow through this one

	mu        sync.Mutex // guards the fields below
	objects   *filesystem.ObjectStorage
	packs     []string // the indexes that were there when objects was opened
	alternate []*store
}

func newStore(dir string, maxObject int64) *store { return &store{dir: dir, max: maxObject} }

// Object implements signing.Source.
func (s *store) Object(id signing.Hash) (signing.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		if err := s.openLocked(); err != nil {
			return signing.Object{}, err
		}
	}
	object, err := s.readLocked(id)
	if err == nil || errors.Is(err, ErrObjectTooLarge) {
		return object, err
	}
	// Something changed under us, or it is really not there.
	if packs, listErr := listPacks(s.dir); listErr == nil && !slices.Equal(packs, s.packs) {
		if err := s.openLocked(); err != nil {
			return signing.Object{}, err
		}
		object, err = s.readLocked(id)
	}
	if errors.Is(err, signing.ErrNotFound) {
		return s.borrowLocked(id, err)
	}
	return object, err
}

// borrowLocked looks where the repository borrows from (git clone --shared).
func (s *store) borrowLocked(id signing.Hash, missing error) (signing.Object, error) {
	for _, a := range s.alternate {
		object, err := a.Object(id)
		if !errors.Is(err, signing.ErrNotFound) {
			return object, err
		}
	}
	return signing.Object{}, missing
}

func (s *store) readLocked(id signing.Hash) (signing.Object, error) {
	object, err := s.objects.EncodedObject(plumbing.AnyObject, plumbing.Hash(id))
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return signing.Object{}, fmt.Errorf("read %s from %s: %w", id, s.dir, signing.ErrNotFound)
	}
	if err != nil {
		return signing.Object{}, fmt.Errorf("read %s from %s: %w: %w", id, s.dir, ErrCorrupt, err)
	}
	if object.Size() > s.max {
		return signing.Object{}, fmt.Errorf("%w: %s %s has %d bytes, more than %d", ErrObjectTooLarge, object.Type(), id, object.Size(), s.max)
	}
	data, err := readAll(object)
	if err != nil {
		return signing.Object{}, fmt.Errorf("read %s from %s: %w: %w", id, s.dir, ErrCorrupt, err)
	}
	if hashOf(object.Type(), data) != id {
		return signing.Object{}, fmt.Errorf("read %s from %s: %w: the bytes have another id", id, s.dir, ErrCorrupt)
	}
	return signing.Object{Type: signing.ObjectType(object.Type()), Data: data}, nil //nolint:gosec // git's four numbers
}

func readAll(object plumbing.EncodedObject) ([]byte, error) {
	r, err := object.Reader()
	if err != nil {
		return nil, err
	}
	data := make([]byte, object.Size())
	_, err = io.ReadFull(r, data)
	return data, errors.Join(err, r.Close())
}

// hashOf is a git object's id.
func hashOf(kind plumbing.ObjectType, data []byte) signing.Hash {
	h := sha1.New() //nolint:gosec // as above
	fmt.Fprintf(h, "%s %d\x00", kind, len(data))
	h.Write(data)
	return signing.Hash(h.Sum(nil))
}

// openLocked opens what there is now, with fresh indexes.
func (s *store) openLocked() error {
	s.closeLocked()
	packs, err := listPacks(s.dir)
	if err != nil {
		return fmt.Errorf("open repository: %w: %w", ErrUnreachable, err)
	}
	// An own reading of alternates follows relative ones and keeps indexes
	// open; the library's is led to an empty file system.
	dir := dotgit.NewWithOptions(osfs.New(s.dir, osfs.WithBoundOS()), dotgit.Options{KeepDescriptors: true, AlternatesFS: memfs.New()})
	s.objects = filesystem.NewObjectStorageWithOptions(dir, cache.NewObjectLRU(deltaCache), filesystem.Options{
		KeepDescriptors: true, LargeObjectThreshold: s.max,
	})
	s.packs = packs
	if s.depth < maxBorrowing {
		s.alternate, err = s.alternates()
	}
	return err
}

// use changes the git directory that is read.
func (s *store) use(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir != dir {
		s.closeLocked()
		s.dir = dir
	}
}

// release closes files and frees indexes; the next read opens them again.
func (s *store) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked()
}

func (s *store) closeLocked() {
	if s.objects != nil {
		_ = s.objects.Close() // files that were only read
	}
	for _, a := range s.alternate {
		a.release()
	}
	s.objects, s.packs, s.alternate = nil, nil, nil
}

// listPacks names the pack indexes of a git directory, sorted.
func listPacks(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "objects", "pack"))
	if err != nil {
		return nil, err
	}
	var packs []string
	for _, e := range entries {
		if name, found := strings.CutSuffix(e.Name(), ".idx"); found && strings.HasPrefix(name, "pack-") {
			packs = append(packs, name)
		}
	}
	return packs, nil
}

// alternates reads objects/info/alternates, whose lines are paths of object
// directories, relative to the one of the repository.
func (s *store) alternates() ([]*store, error) {
	objects := filepath.Join(s.dir, "objects")
	data, err := os.ReadFile(filepath.Join(objects, "info", "alternates"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open repository: %w: %w", ErrUnreachable, err)
	}
	var stores []*store
	for line := range strings.Lines(string(data)) {
		path := strings.TrimRight(line, "\n")
		if path == "" || strings.HasPrefix(path, "#") {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(objects, path)
		}
		path = filepath.Clean(path)
		if filepath.Base(path) != "objects" || path == objects || len(stores) == maxAlternates {
			return nil, fmt.Errorf("%w: it borrows objects from %s", ErrFormat, path)
		}
		stores = append(stores, &store{dir: filepath.Dir(path), max: s.max, depth: s.depth + 1})
	}
	return stores, nil
}
