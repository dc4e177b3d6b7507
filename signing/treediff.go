package signing

import (
	"fmt"
	"slices"
)

// The bounds of one comparison of trees. A tree of ten thousand files that is
// replaced by another stays below; a tree that names itself ten times a level
// does not.
const (
	maxChangedPaths = 20_000
	maxTreeSteps    = 200_000
	maxPath         = 4_096 // bytes
)

// version is what one tree holds at a path: mode and object id, zero for
// nothing.
type version struct {
	mode uint32
	id   Hash
}

// comparison walks several trees side by side. Read looks up a tree; settled
// says, of the versions at one path, that there is nothing to see: what it
// says of trees must hold for everything below them.
type comparison struct {
	read    func(tree Hash) ([]TreeEntry, error)
	settled func(versions []version) bool
	steps   int // entries looked at so far
	found   int // paths visited so far
}

// place is a path at which every version is a tree or nothing, or every
// version is a file or nothing.
type place struct {
	path     string
	tree     bool
	versions []version
}

// walk calls visit for every file below the places whose versions are not
// settled, in the order of git's trees. It uses no recursion: how deep a tree
// is, its author decides.
func (c *comparison) walk(roots []place, visit func(path string, versions []version) error) error {
	stack := make([]place, 0, len(roots)+8)
	for i := len(roots) - 1; i >= 0; i-- {
		stack = append(stack, roots[i])
	}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if c.settled(at.versions) {
			continue
		}
		if !at.tree {
			if c.found++; c.found > maxChangedPaths {
				return refuse(ReasonTooLarge, "it changes more than %d deployable paths", maxChangedPaths)
			}
			if err := visit(at.path, at.versions); err != nil {
				return err
			}
			continue
		}
		children, err := c.children(at)
		if err != nil {
			return err
		}
		for i := len(children) - 1; i >= 0; i-- {
			stack = append(stack, children[i])
		}
	}
	return nil
}

// children merges the entries of a place's trees by name and returns those
// that are not settled. A file and a tree of one name are two places.
func (c *comparison) children(at place) ([]place, error) {
	lists := make([][]TreeEntry, len(at.versions))
	for i, v := range at.versions {
		if v.id.IsZero() {
			continue
		}
		var err error
		if lists[i], err = c.read(v.id); err != nil {
			return nil, fmt.Errorf("%s: %w", at.path, err)
		}
	}
	return c.merge(at, lists)
}

// merge lines up the entries of several trees at a place.
func (c *comparison) merge(at place, lists [][]TreeEntry) ([]place, error) {
	var unsettled []place
	scratch := make([]version, len(lists))
	for {
		skipped := skipEqual(lists)
		next := lowest(lists)
		if next == nil {
			return unsettled, nil
		}
		if c.steps += 1 + skipped; c.steps > maxTreeSteps {
			return nil, refuse(ReasonTooLarge, "its trees hold more than %d entries", maxTreeSteps)
		}
		entry := *next
		for i, list := range lists {
			scratch[i] = version{}
			if len(list) > 0 && compareEntries(list[0], entry) == 0 {
				scratch[i] = version{mode: list[0].Mode, id: list[0].ID}
				lists[i] = list[1:]
			}
		}
		if c.settled(scratch) {
			continue
		}
		if len(at.path)+1+len(entry.Name) > maxPath {
			return nil, refuse(ReasonTooLarge, "a path of more than %d bytes", maxPath)
		}
		unsettled = append(unsettled, place{
			path:     at.path + "/" + entry.Name,
			tree:     entry.Mode == ModeTree,
			versions: slices.Clone(scratch),
		})
	}
}

// skipEqual drops the entries that all lists begin with, which nobody has to
// look at, and counts them. A single list is left as it is: it stands for a
// comparison with nothing.
func skipEqual(lists [][]TreeEntry) int {
	n := 0
	for len(lists) > 1 && headsEqual(lists, n) {
		n++
	}
	for i := range lists {
		lists[i] = lists[i][n:]
	}
	return n
}

// headsEqual reports whether all lists have the same n-th entry.
func headsEqual(lists [][]TreeEntry, n int) bool {
	for _, list := range lists {
		if n >= len(list) || list[n] != lists[0][n] {
			return false
		}
	}
	return true
}

// lowest returns the first entry, in git's order, that heads one of the lists;
// nil when all are empty.
func lowest(lists [][]TreeEntry) *TreeEntry {
	var low *TreeEntry
	for _, list := range lists {
		if len(list) > 0 && (low == nil || compareEntries(list[0], *low) < 0) {
			low = &list[0]
		}
	}
	return low
}

// same settles a place whose versions are all equal.
func same(versions []version) bool {
	for _, v := range versions[1:] {
		if v != versions[0] {
			return false
		}
	}
	return true
}

// surface is the part of a commit's tree that is ever looked at: the versions
// of surfaceNames. Nothing else is read, so that evidence stays small.
type surface [len(surfaceNames)]version

var surfaceNames = [...]string{clusterFile, deployDir, keysDir, trustFile} // never changed

const (
	surfaceCluster = iota
	surfaceDeploy
	surfaceKeys
	surfaceTrust
)

// surfaceOf picks the surface out of a root tree.
func surfaceOf(root []TreeEntry) surface {
	var s surface
	for _, entry := range root {
		for i, name := range surfaceNames {
			if entry.Name == name {
				s[i] = version{mode: entry.Mode, id: entry.ID}
			}
		}
	}
	return s
}

// places lines up the surfaces of several commits, where they are not settled.
func places(surfaces []surface, settled func([]version) bool) []place {
	var all []place
	files, trees := make([]version, len(surfaces)), make([]version, len(surfaces))
	for i, name := range surfaceNames {
		for j, s := range surfaces {
			files[j], trees[j] = version{}, version{}
			if s[i].mode == ModeTree {
				trees[j] = s[i]
			} else {
				files[j] = s[i]
			}
		}
		if !settled(files) {
			all = append(all, place{path: name, versions: slices.Clone(files)})
		}
		if !settled(trees) {
			all = append(all, place{path: name, tree: true, versions: slices.Clone(trees)})
		}
	}
	return all
}
