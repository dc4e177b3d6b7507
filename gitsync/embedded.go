package gitsync

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/jaco-sh/jaco/signing"
)

// CreateEmbedded makes the embedded repository: a bare one at dir whose branch
// holds one unsigned commit, by "jaco <jaco@localhost>", with exactly the
// files, by their paths. The git program can push to it, also with --force:
// that is how a refused commit is dropped. With a group that exists on this
// machine its members may push too; without one only the owner of the process.
// It returns the commit. An existing dir must be empty; a failure leaves
// nothing behind.
func CreateEmbedded(dir, branch string, files map[string][]byte, message string, when time.Time, group string) (signing.Hash, error) {
	head, err := buildEmbedded(dir, branch, files, message, when, group)
	if err != nil {
		return signing.Hash{}, adviseDisk(filepath.Dir(dir), err)
	}
	return head, nil
}

func buildEmbedded(dir, branch string, files map[string][]byte, message string, when time.Time, group string) (signing.Hash, error) {
	if !filepath.IsAbs(dir) {
		return signing.Hash{}, fmt.Errorf("embedded repository %q: want an absolute path", dir)
	}
	if err := validateBranch(branch); err != nil || branch == "" {
		return signing.Hash{}, errors.Join(fmt.Errorf("embedded repository: branch %q", branch), err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return signing.Hash{}, fmt.Errorf("make embedded repository: %w", err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-")
	if err != nil {
		return signing.Hash{}, fmt.Errorf("make embedded repository: %w", err)
	}
	defer os.RemoveAll(temp) // no longer there when all went well
	share, err := findGroup(group)
	if err != nil {
		return signing.Hash{}, err
	}
	head, err := writeEmbedded(temp, branch, files, message, when, share)
	if err != nil {
		return signing.Hash{}, fmt.Errorf("make embedded repository: %w", err)
	}
	if err := setModes(temp, share); err != nil {
		return signing.Hash{}, fmt.Errorf("make embedded repository: %w", err)
	}
	// Rename replaces an empty directory and nothing else.
	if err := os.Rename(temp, dir); err != nil {
		return signing.Hash{}, fmt.Errorf("make embedded repository: %w", err)
	}
	return head, nil
}

// noGroup says that the repository is its owner's alone.
const noGroup = -1

func findGroup(name string) (int, error) {
	if name == "" {
		return noGroup, nil
	}
	g, err := user.LookupGroup(name)
	var unknown user.UnknownGroupError
	if errors.As(err, &unknown) {
		return noGroup, nil
	}
	if err != nil {
		return noGroup, fmt.Errorf("look up group %s: %w", name, err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return noGroup, fmt.Errorf("look up group %s: %w", name, err)
	}
	return gid, nil
}

func writeEmbedded(dir, branch string, files map[string][]byte, message string, when time.Time, gid int) (signing.Hash, error) {
	config := "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
	if gid != noGroup {
		config += "\tsharedRepository = 0660\n" // as "group", but others may not read
	}
	// git init --shared would forbid the way out of a refusal.
	config += "[receive]\n\tdenyNonFastForwards = false\n\tdenyDeletes = true\n"
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o644); err != nil {
		return signing.Hash{}, err
	}
	for _, d := range []string{"objects/info", "objects/pack", "refs/heads", "refs/tags", "branches", "hooks", "info"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return signing.Hash{}, err
		}
	}
	storage := filesystem.NewStorage(osfs.New(dir, osfs.WithBoundOS()), cache.NewObjectLRU(mebibyte))
	defer func() { _ = storage.Close() }() // every write was closed by itself
	tree, err := writeTree(storage, files)
	if err != nil {
		return signing.Hash{}, err
	}
	who := fmt.Sprintf("jaco <jaco@localhost> %d +0000", when.Unix())
	commit := fmt.Sprintf("tree %s\nauthor %s\ncommitter %s\n\n%s\n", tree, who, who, strings.TrimRight(message, "\n"))
	head, err := writeObject(storage, plumbing.CommitObject, []byte(commit))
	if err != nil {
		return signing.Hash{}, err
	}
	name := plumbing.NewBranchReferenceName(branch)
	err = errors.Join(
		storage.SetReference(plumbing.NewHashReference(name, head)),
		storage.SetReference(plumbing.NewSymbolicReference(plumbing.HEAD, name)),
	)
	return signing.Hash(head), err
}

func writeObject(storage *filesystem.Storage, kind plumbing.ObjectType, data []byte) (plumbing.Hash, error) {
	object := &plumbing.MemoryObject{}
	object.SetType(kind)
	if _, err := object.Write(data); err != nil {
		return plumbing.ZeroHash, err
	}
	return storage.SetEncodedObject(object)
}

// writeTree stores the files below one directory, and those below its
// directories first.
func writeTree(storage *filesystem.Storage, files map[string][]byte) (plumbing.Hash, error) {
	type entry struct {
		sort, mode, name string
		id               plumbing.Hash
	}
	var entries []entry
	below := make(map[string]map[string][]byte)
	for path, data := range files {
		name, rest, nested := strings.Cut(path, "/")
		if name == "" || name == "." || name == ".." || name == ".git" || nested && rest == "" || strings.ContainsRune(name, 0) {
			return plumbing.ZeroHash, fmt.Errorf("file %q: not a path in a repository", path)
		}
		if nested {
			if below[name] == nil {
				below[name] = make(map[string][]byte)
			}
			below[name][rest] = data
			continue
		}
		id, err := writeObject(storage, plumbing.BlobObject, data)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		entries = append(entries, entry{name, "100644", name, id})
	}
	for name, inner := range below {
		if _, both := files[name]; both {
			return plumbing.ZeroHash, fmt.Errorf("file %q: it is a directory too", name)
		}
		id, err := writeTree(storage, inner)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		entries = append(entries, entry{name + "/", "40000", name, id}) // git sorts directories as if so named
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.sort, b.sort) })
	var tree bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&tree, "%s %s\x00", e.mode, e.name)
		tree.Write(e.id[:])
	}
	return writeObject(storage, plumbing.TreeObject, tree.Bytes())
}

// setModes gives the repository to its group, or to its owner alone. The
// setgid bit has git's new directories belong to the group as well.
func setModes(dir string, gid int) error {
	directory, file, object := os.FileMode(0o700), os.FileMode(0o600), os.FileMode(0o400)
	if gid != noGroup {
		directory, file, object = 0o770|os.ModeSetgid, 0o660, 0o440
	}
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if gid != noGroup {
			if err := os.Lchown(path, -1, gid); err != nil {
				return err
			}
		}
		switch {
		case d.IsDir():
			return os.Chmod(path, directory)
		case strings.HasPrefix(path, filepath.Join(dir, "objects")+string(filepath.Separator)):
			return os.Chmod(path, object)
		}
		return os.Chmod(path, file)
	})
}
