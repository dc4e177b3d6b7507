package gitsync

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// debounce gathers the several events of one push; debounceCeiling bounds
	// how long a stream of events may put off the wake-up.
	debounce        = 20 * time.Millisecond
	debounceCeiling = 200 * time.Millisecond
)

// refWatcher wakes when refs of a repository on this machine may have changed.
// It is a hint only: the poll finds what it misses.
type refWatcher struct {
	repository Repository
	wake       func()
	logger     *slog.Logger

	mu      sync.Mutex // guards the fields below
	watcher *fsnotify.Watcher
	watched map[string]fs.FileInfo
}

func newRefWatcher(r Repository, wake func(), logger *slog.Logger) *refWatcher {
	return &refWatcher{repository: r, wake: wake, logger: logger}
}

// run turns events into wake-ups until the context ends.
func (w *refWatcher) run(ctx context.Context) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		w.logger.Warn("cannot watch the repository, polling only", "error", err)
		return
	}
	w.set(watcher)
	defer w.set(nil)
	w.arm()
	w.wake() // what came before the watch stood
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var first time.Time // of the events not told yet
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-watcher.Events:
			if !relevant(event.Name) {
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			timer.Reset(min(debounce, max(0, debounceCeiling-time.Since(first))))
		case err := <-watcher.Errors:
			w.logger.Warn("watch of the repository lost events, looking again", "error", err)
			timer.Reset(debounce)
		case <-timer.C:
			first = time.Time{}
			w.arm()
			w.wake()
		}
	}
}

// set takes or gives back the watcher.
func (w *refWatcher) set(watcher *fsnotify.Watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watcher != nil {
		_ = w.watcher.Close()
	}
	w.watcher, w.watched = watcher, make(map[string]fs.FileInfo)
}

// arm watches the directories in which a change of the branch shows, as far as
// they are there now. A directory that was replaced is watched anew.
func (w *refWatcher) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watcher == nil {
		return
	}
	for _, dir := range w.directories() {
		info, err := os.Stat(dir)
		old := w.watched[dir]
		if err != nil || old != nil && !os.SameFile(old, info) {
			delete(w.watched, dir)
			if old != nil {
				_ = w.watcher.Remove(dir) // gone with the directory, mostly
			}
		}
		if err != nil || w.watched[dir] != nil {
			continue
		}
		if err := w.watcher.Add(dir); err == nil {
			w.watched[dir] = info
		} else if !errors.Is(err, fs.ErrNotExist) {
			w.logger.Warn("cannot watch a directory of the repository, polling only", "error", err)
		}
	}
}

// directories are the git directory for packed-refs, those that lead to the
// branch's own file (refs, refs/heads, and for feature/x refs/heads/feature), and
// those of approval tags.
func (w *refWatcher) directories() []string {
	git, err := gitDirectory(w.repository.URL)
	if err != nil {
		// Watching what is above tells of its making, and of refs coming back.
		return []string{w.repository.URL, filepath.Dir(w.repository.URL)}
	}
	dirs := []string{git}
	dir := git
	for part := range strings.SplitSeq("refs/heads/"+filepath.Dir(w.repository.Branch), "/") {
		if part == "." {
			break
		}
		dir = filepath.Join(dir, part)
		dirs = append(dirs, dir)
	}
	return append(dirs, tagDirectories(git)...)
}

// maxTagDirectories bounds the directories of tags that are watched; changes in
// others are found by the poll.
const maxTagDirectories = 1000

// tagDirectories are refs/tags and, at any depth, the directories of approval
// tags that are there now.
func tagDirectories(git string) []string {
	dirs := []string{filepath.Join(git, "refs", "tags")}
	root := filepath.Join(git, filepath.FromSlash(strings.TrimSuffix(approveRefs, "/")))
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fs.SkipDir // it is not there, or no longer
		case !entry.IsDir():
			return nil
		case len(dirs) == maxTagDirectories:
			return fs.SkipAll
		}
		dirs = append(dirs, path)
		return nil
	})
	return dirs
}

// relevant leaves out what git writes beside refs, most of all its locks: the
// rename that ends one is an event of its own.
func relevant(name string) bool {
	base := filepath.Base(name)
	switch base {
	case "objects", "logs", "index", "FETCH_HEAD", "ORIG_HEAD", "COMMIT_EDITMSG", "gc.pid":
		return false
	}
	return !strings.HasSuffix(base, ".lock")
}
