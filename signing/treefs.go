package signing

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// ErrNotPlain is returned by a tree file system for a symlink or a submodule:
// neither is followed, and none can be deployed.
var ErrNotPlain = errors.New("not a plain file or directory")

// treeFS is a file system over one tree. It holds no state: every call reads
// the objects on its way, each checked against its id.
type treeFS struct {
	src  Source
	root Hash
}

var (
	_ fs.ReadDirFS  = (*treeFS)(nil)
	_ fs.ReadFileFS = (*treeFS)(nil)
	_ fs.StatFS     = (*treeFS)(nil)
)

// NewTreeFS returns a read-only file system over a tree, decoded strictly; the
// zero hash is the empty tree. It implements ReadDirFS, ReadFileFS and StatFS
// and is as safe for concurrent use as the source. Errors are *fs.PathError
// and wrap fs.ErrNotExist, ErrNotPlain, or those of ReadObject and DecodeTree.
// Files carry the mode 0444 or 0555 and no time.
func NewTreeFS(src Source, tree Hash) fs.FS {
	return &treeFS{src: src, root: tree}
}

// Open opens a file or a directory.
func (t *treeFS) Open(name string) (fs.File, error) {
	entry, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if entry.mode == ModeTree {
		entries, err := t.readDir(name, entry)
		if err != nil {
			return nil, err
		}
		return &treeDir{info: entry, entries: entries}, nil
	}
	data, err := t.readBlob("open", name, entry)
	if err != nil {
		return nil, err
	}
	return &treeFile{info: entry.sized(data), data: data}, nil
}

// ReadFile returns the content of a file.
func (t *treeFS) ReadFile(name string) ([]byte, error) {
	entry, err := t.find("read", name)
	if err != nil {
		return nil, err
	}
	data, err := t.readBlob("read", name, entry)
	if err != nil {
		return nil, err
	}
	return slices.Clone(data), nil // a source may hand out what it holds
}

// ReadDir returns the entries of a directory, sorted by name. Symlinks and
// submodules are listed, by their type.
func (t *treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	entry, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	return t.readDir(name, entry)
}

// Stat describes a file or a directory.
func (t *treeFS) Stat(name string) (fs.FileInfo, error) {
	entry, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	if entry.mode == ModeTree {
		return entry, nil
	}
	data, err := t.readBlob("stat", name, entry)
	if err != nil {
		return nil, err
	}
	return entry.sized(data), nil
}

// find walks from the root to a path. Symlinks and submodules are refused.
func (t *treeFS) find(op, name string) (treeInfo, error) {
	refusal := func(err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return treeInfo{}, refusal(fs.ErrInvalid)
	}
	at := treeInfo{name: ".", mode: ModeTree, id: t.root}
	if name == "." {
		return at, nil
	}
	for segment := range strings.SplitSeq(name, "/") {
		if at.mode != ModeTree {
			return treeInfo{}, refusal(fs.ErrNotExist)
		}
		entries, err := t.tree(at.id)
		if err != nil {
			return treeInfo{}, refusal(err)
		}
		i := slices.IndexFunc(entries, func(e TreeEntry) bool { return e.Name == segment })
		if i < 0 {
			return treeInfo{}, refusal(fs.ErrNotExist)
		}
		at = treeInfo{name: segment, mode: entries[i].Mode, id: entries[i].ID}
		switch at.mode {
		case ModeSymlink:
			return treeInfo{}, refusal(fmt.Errorf("%w: a symlink", ErrNotPlain))
		case ModeSubmodule:
			return treeInfo{}, refusal(fmt.Errorf("%w: a submodule", ErrNotPlain))
		}
	}
	return at, nil
}

// tree reads the tree with the given id; zero is the empty one.
func (t *treeFS) tree(id Hash) ([]TreeEntry, error) {
	if id.IsZero() {
		return nil, nil
	}
	return ReadTree(t.src, id)
}

func (t *treeFS) readBlob(op, name string, entry treeInfo) ([]byte, error) {
	if entry.mode == ModeTree {
		return nil, &fs.PathError{Op: op, Path: name, Err: errors.New("is a directory")}
	}
	data, err := ReadObject(t.src, entry.id, BlobObject)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return data, nil
}

func (t *treeFS) readDir(name string, at treeInfo) ([]fs.DirEntry, error) {
	if at.mode != ModeTree {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	entries, err := t.tree(at.id)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	out := make([]fs.DirEntry, len(entries))
	for i, e := range entries {
		out[i] = treeDirEntry{fs: t, path: path.Join(name, e.Name), info: treeInfo{name: e.Name, mode: e.Mode, id: e.ID}}
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// treeInfo describes one entry. It implements fs.FileInfo; the size is right
// for files that were read.
type treeInfo struct {
	name string
	mode uint32
	id   Hash
	size int64 // bytes
}

func (i treeInfo) sized(data []byte) treeInfo {
	i.size = int64(len(data))
	return i
}

func (i treeInfo) Name() string       { return i.name }
func (i treeInfo) Size() int64        { return i.size }
func (i treeInfo) ModTime() time.Time { return time.Time{} }
func (i treeInfo) IsDir() bool        { return i.mode == ModeTree }

// Sys returns the Hash of the object.
func (i treeInfo) Sys() any { return i.id }

// Mode translates git's mode. A submodule is an irregular file: no reader
// should take it for a directory.
func (i treeInfo) Mode() fs.FileMode {
	switch i.mode {
	case ModeTree:
		return fs.ModeDir | 0o555
	case ModeSymlink:
		return fs.ModeSymlink | 0o444
	case ModeSubmodule:
		return fs.ModeIrregular | 0o444
	case ModeExecutable:
		return 0o555
	}
	return 0o444
}

// treeDirEntry is an entry as ReadDir lists it.
type treeDirEntry struct {
	fs   *treeFS
	path string
	info treeInfo
}

func (e treeDirEntry) Name() string      { return e.info.name }
func (e treeDirEntry) IsDir() bool       { return e.info.IsDir() }
func (e treeDirEntry) Type() fs.FileMode { return e.info.Mode().Type() }

// Info reads a file's object to know its size.
func (e treeDirEntry) Info() (fs.FileInfo, error) {
	if e.Type() != 0 {
		return e.info, nil
	}
	return e.fs.Stat(e.path)
}

// treeFile is an open file.
type treeFile struct {
	info treeInfo
	data []byte
	pos  int
}

func (f *treeFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *treeFile) Close() error               { return nil }

func (f *treeFile) Read(b []byte) (int, error) {
	if f.pos >= len(f.data) {
		return 0, io.EOF
	}
	n := copy(b, f.data[f.pos:])
	f.pos += n
	return n, nil
}

// treeDir is an open directory.
type treeDir struct {
	info    treeInfo
	entries []fs.DirEntry
	pos     int
}

var _ fs.ReadDirFile = (*treeDir)(nil)

func (d *treeDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *treeDir) Close() error               { return nil }

func (d *treeDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: errors.New("is a directory")}
}

// ReadDir returns the next n entries, or all that are left for n <= 0.
func (d *treeDir) ReadDir(n int) ([]fs.DirEntry, error) {
	left := d.entries[d.pos:]
	if n > 0 && len(left) == 0 {
		return nil, io.EOF
	}
	if n > 0 && n < len(left) {
		left = left[:n]
	}
	d.pos += len(left)
	return slices.Clone(left), nil
}
