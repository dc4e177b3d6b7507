package signing

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"
	"time"
)

// store puts an object into a source and returns its id.
func (m fixtureSource) store(t *testing.T, kind ObjectType, data []byte) Hash {
	t.Helper()
	object := Object{Type: kind, Data: data}
	id, err := HashObject(object)
	if err != nil {
		t.Fatal(err)
	}
	m[id] = object
	return id
}

// smallTree is a tree with a file, a program, a folder, a symlink and a
// submodule.
func smallTree(t *testing.T) (fixtureSource, Hash) {
	t.Helper()
	src := fixtureSource{}
	file := src.store(t, BlobObject, []byte("content\n"))
	empty := src.store(t, BlobObject, nil)
	folder := src.store(t, TreeObject, encodeTree([]TreeEntry{
		{ModeFile, "a.yaml", file}, {ModeFile, "empty", empty},
	}))
	return src, src.store(t, TreeObject, encodeTree([]TreeEntry{
		{ModeFile, "b.txt", file}, {ModeTree, "b", folder}, {ModeSymlink, "link", file},
		{ModeSubmodule, "module", Hash{1}}, {ModeExecutable, "run.sh", file},
	}))
}

func TestTreeFS(t *testing.T) {
	src := fixtureSource{}
	file := src.store(t, BlobObject, []byte("content\n"))
	inner := src.store(t, TreeObject, encodeTree([]TreeEntry{{ModeExecutable, "run.sh", file}}))
	root := src.store(t, TreeObject, encodeTree([]TreeEntry{{ModeFile, "a.b", file}, {ModeTree, "a", inner}, {ModeTree, "c", inner}}))
	if err := fstest.TestFS(NewTreeFS(src, root), "a.b", "a/run.sh", "c/run.sh"); err != nil {
		t.Error(err)
	}
	if err := fstest.TestFS(NewTreeFS(src, Hash{})); err != nil {
		t.Errorf("the empty tree: %v", err)
	}
}

func TestTreeFSDescribes(t *testing.T) {
	src, root := smallTree(t)
	tree := NewTreeFS(src, root)
	info, err := fs.Stat(tree, "run.sh")
	if err != nil || info.Mode() != 0o555 || info.Size() != 8 || !info.ModTime().Equal(time.Time{}) {
		t.Errorf("run.sh: %+v, %v", info, err)
	}
	if id, ok := info.Sys().(Hash); !ok || src[id].Type != BlobObject {
		t.Errorf("run.sh: Sys is %v, want the blob's id", info.Sys())
	}
	entries, err := fs.ReadDir(tree, ".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Type().String()+" "+e.Name())
	}
	want := []string{"d--------- b", "---------- b.txt", "L--------- link", "?--------- module", "---------- run.sh"}
	if !slices.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
	for _, e := range entries[2:4] {
		if info, err := e.Info(); err != nil || info.Mode().IsRegular() {
			t.Errorf("%s: info %v, %v", e.Name(), info, err)
		}
	}
}

// TestTreeFSReadFileIsACopy keeps a caller from changing what the source holds.
func TestTreeFSReadFileIsACopy(t *testing.T) {
	src, root := smallTree(t)
	data, err := fs.ReadFile(NewTreeFS(src, root), "b.txt")
	if err != nil {
		t.Fatal(err)
	}
	data[0] = 'X'
	if again, err := fs.ReadFile(NewTreeFS(src, root), "b.txt"); err != nil || string(again) != "content\n" {
		t.Errorf("read again: %q, %v", again, err)
	}
}

func TestTreeFSRefuses(t *testing.T) {
	src, root := smallTree(t)
	bad := src.store(t, TreeObject, []byte("100644 ..\x00"+string(make([]byte, 20))))
	gone := src.store(t, TreeObject, encodeTree([]TreeEntry{{ModeFile, "gone", Hash{7}}, {ModeTree, "lost", Hash{8}}}))
	other := src.store(t, TreeObject, encodeTree([]TreeEntry{{ModeFile, "tree-as-file", root}}))
	tests := []struct {
		root Hash
		path string
		want error
	}{
		{root, "none", fs.ErrNotExist},
		{root, "b/none", fs.ErrNotExist},
		{root, "b.txt/x", fs.ErrNotExist},
		{root, "../b.txt", fs.ErrInvalid},
		{root, "/b.txt", fs.ErrInvalid},
		{root, "", fs.ErrInvalid},
		{root, "link", ErrNotPlain},
		{root, "module", ErrNotPlain},
		{root, "module/x", ErrNotPlain},
		{bad, "x", ErrMalformed},
		{gone, "gone", ErrNotFound},
		{gone, "lost/x", ErrNotFound},
		{other, "tree-as-file", ErrTampered},
		{Hash{9}, "x", ErrNotFound},
	}
	for _, tt := range tests {
		tree := NewTreeFS(src, tt.root)
		_, statErr := fs.Stat(tree, tt.path)
		_, readErr := fs.ReadFile(tree, tt.path)
		_, openErr := tree.Open(tt.path)
		for _, err := range []error{statErr, readErr, openErr} {
			var pathError *fs.PathError
			if !errors.Is(err, tt.want) || !errors.As(err, &pathError) || pathError.Path != tt.path {
				t.Errorf("%q: %v, want a path error that wraps %v", tt.path, err, tt.want)
			}
		}
	}
	if _, err := fs.ReadFile(NewTreeFS(src, root), "b"); err == nil {
		t.Error("a folder was read as a file")
	}
	if _, err := fs.ReadDir(NewTreeFS(src, root), "b.txt"); err == nil {
		t.Error("a file was read as a folder")
	}
	for _, lost := range []Hash{bad, {9}} {
		if _, err := fs.ReadDir(NewTreeFS(src, lost), "."); err == nil {
			t.Errorf("tree %s was listed", lost)
		}
	}
}
