package preview

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// Mode says what kind of file a File is.
type Mode string

// The modes of files that git knows.
const (
	Plain      Mode = "file"
	Executable Mode = "executable"
	Symlink    Mode = "symlink" // Data is where it points to
)

// File is one file of a working tree.
type File struct {
	Path string // from the top of the tree, with slashes
	Mode Mode
	Data []byte
}

// git is git's own number for the mode.
func (m Mode) git() uint32 {
	switch m {
	case Executable:
		return signing.ModeExecutable
	case Symlink:
		return signing.ModeSymlink
	case Plain:
	}
	return signing.ModeFile
}

// Relevant reports whether the file of that path, or one below it, can have an
// effect on a cluster.
func Relevant(path string) bool {
	top, _, _ := strings.Cut(path, "/")
	switch top {
	case "trust.yaml", "cluster.yaml":
		return path == top
	case "keys", "deployments":
		return true
	}
	return false
}

// Tree holds the files as git would: content addressed, so that what is the same
// as in the repository has the same id.
type Tree struct {
	// Root is the id of the tree.
	Root    signing.Hash
	objects map[signing.Hash]signing.Object
}

// The bounds of all files together; those of the part below deployments are
// desired's.
const (
	maxFiles = desired.MaxFiles + 5_000
	maxBytes = desired.MaxTotalBytes + 8<<20
)

// Limits counts the files of a tree while they are gathered. The zero value is
// ready for use.
type Limits struct {
	files int
	bytes int64
}

// Add counts one file, and says when there are too many or too much.
func (l *Limits) Add(path string, size int64) error {
	l.files++
	l.bytes += size
	switch {
	case size > desired.MaxFileBytes:
		return fmt.Errorf("%s: %d bytes, more than the limit of %d a file", path, size, desired.MaxFileBytes)
	case l.files > maxFiles:
		return fmt.Errorf("more than %d files in trust.yaml, keys/, cluster.yaml and deployments/", maxFiles)
	case l.bytes > maxBytes:
		return fmt.Errorf("more than %d bytes in trust.yaml, keys/, cluster.yaml and deployments/", maxBytes)
	}
	return nil
}

// NewTree makes a tree of files. Those that are not Relevant are left out.
func NewTree(files []File) (*Tree, error) {
	t := &Tree{objects: map[signing.Hash]signing.Object{}}
	root := folder{}
	var limits Limits
	for _, f := range files {
		if !Relevant(f.Path) {
			continue
		}
		if err := limits.Add(f.Path, int64(len(f.Data))); err != nil {
			return nil, err
		}
		id, err := t.put(signing.BlobObject, f.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		if err := root.add(strings.Split(f.Path, "/"), node{mode: f.Mode.git(), id: id}); err != nil {
			return nil, fmt.Errorf("%q: %w", f.Path, err)
		}
	}
	var err error
	t.Root, err = t.write(root)
	return t, err
}

// Object implements signing.Source.
func (t *Tree) Object(id signing.Hash) (signing.Object, error) {
	if o, ok := t.objects[id]; ok {
		return o, nil
	}
	return signing.Object{}, fmt.Errorf("%s: %w", id, signing.ErrNotFound)
}

func (t *Tree) put(kind signing.ObjectType, data []byte) (signing.Hash, error) {
	object := signing.Object{Type: kind, Data: data}
	id, err := signing.HashObject(object)
	if err == nil {
		t.objects[id] = object
	}
	return id, err
}

// folder is a directory on its way to becoming a tree object.
type folder map[string]*node

type node struct {
	mode  uint32
	id    signing.Hash
	below folder
}

var errTwice = errors.New("there is a file and a folder of that name, or two files")

// maxDepth bounds how deep folders nest.
const maxDepth = 64

func (f folder) add(path []string, n node) error {
	if len(path) > maxDepth {
		return fmt.Errorf("folders nest deeper than %d", maxDepth)
	}
	at := f[path[0]]
	if len(path) == 1 {
		if at != nil {
			return errTwice
		}
		f[path[0]] = &n
		return nil
	}
	if at == nil {
		at = &node{mode: signing.ModeTree, below: folder{}}
		f[path[0]] = at
	}
	if at.below == nil {
		return errTwice
	}
	return at.below.add(path[1:], n)
}

// write stores a folder and what is below it.
func (t *Tree) write(f folder) (signing.Hash, error) {
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	// Git sorts a folder as if its name ended with a slash.
	key := func(name string) string {
		if f[name].below != nil {
			return name + "/"
		}
		return name
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(key(a), key(b)) })
	var data []byte
	for _, name := range names {
		n := f[name]
		if n.below != nil {
			id, err := t.write(n.below)
			if err != nil {
				return signing.Hash{}, err
			}
			n.id = id
		}
		data = strconv.AppendUint(data, uint64(n.mode), 8)
		data = append(data, ' ')
		data = append(data, name...)
		data = append(data, 0)
		data = append(data, n.id[:]...)
	}
	return t.put(signing.TreeObject, data)
}

// layers looks for an object in one source after the other.
type layers []signing.Source

// Object implements signing.Source.
func (l layers) Object(id signing.Hash) (signing.Object, error) {
	err := fmt.Errorf("%s: %w", id, signing.ErrNotFound)
	for _, source := range l {
		var object signing.Object
		if object, err = source.Object(id); err == nil || !errors.Is(err, signing.ErrNotFound) {
			return object, err
		}
	}
	return signing.Object{}, err
}
