package signing

import (
	"bytes"
	"slices"
	"strings"
)

// The canonical modes of a tree entry, as git writes them.
const (
	ModeFile       uint32 = 0o100644
	ModeExecutable uint32 = 0o100755
	ModeSymlink    uint32 = 0o120000
	ModeTree       uint32 = 0o040000
	ModeSubmodule  uint32 = 0o160000
)

// TreeEntry is one entry of a tree.
type TreeEntry struct {
	// Mode is one of the five canonical modes: ModeFile, ModeExecutable,
	// ModeSymlink, ModeTree, ModeSubmodule.
	Mode uint32
	// Name is one path segment: any bytes but NUL and "/".
	Name string
	ID   Hash
}

// DecodeTree decodes the raw content of a tree object. Entries must stand in
// git's order without duplicates; names that git or a file system would read
// as something else ("", ".", "..", ".git" and what HFS+ or NTFS take for it)
// and non-canonical modes are refused with an error that wraps ErrMalformed.
// Symlinks and submodules decode: callers refuse them where they matter.
func DecodeTree(data []byte) ([]TreeEntry, error) {
	if len(data) > maxTreeSize {
		return nil, malformed("tree of %d bytes: more than %d", len(data), maxTreeSize)
	}
	entries := make([]TreeEntry, 0, len(data)/40+1)
	for rest := data; len(rest) > 0; {
		entry, after, err := decodeEntry(rest)
		if err != nil {
			return nil, err
		}
		if n := len(entries); n > 0 {
			if err := checkOrder(entries, entry); err != nil {
				return nil, err
			}
		}
		entries = append(entries, entry)
		rest = after
	}
	return entries, nil
}

// decodeEntry reads one entry, "mode name\x00" and 20 bytes of id, and returns
// what stands behind it.
func decodeEntry(data []byte) (TreeEntry, []byte, error) {
	space := bytes.IndexByte(data, ' ')
	if space < 0 {
		return TreeEntry{}, nil, malformed("tree entry without a mode")
	}
	mode, ok := parseMode(string(data[:min(space, 8)]))
	if !ok {
		return TreeEntry{}, nil, malformed("tree entry mode %q is not canonical", clip(data[:space]))
	}
	rest := data[space+1:]
	end := bytes.IndexByte(rest, 0)
	if end < 0 || len(rest) < end+1+len(Hash{}) {
		return TreeEntry{}, nil, malformed("tree ends in the middle of an entry")
	}
	entry := TreeEntry{Mode: mode, Name: string(rest[:end]), ID: Hash(rest[end+1 : end+1+len(Hash{})])}
	if reason := badName(entry.Name); reason != "" {
		return TreeEntry{}, nil, malformed("tree entry %q: %s", clip([]byte(entry.Name)), reason)
	}
	if entry.ID.IsZero() {
		return TreeEntry{}, nil, malformed("tree entry %q: the zero id", clip([]byte(entry.Name)))
	}
	return entry, rest[end+1+len(Hash{}):], nil
}

// parseMode accepts the five modes in git's own spelling: octal, no leading
// zero.
func parseMode(s string) (uint32, bool) {
	switch s {
	case "100644":
		return ModeFile, true
	case "100755":
		return ModeExecutable, true
	case "120000":
		return ModeSymlink, true
	case "40000":
		return ModeTree, true
	case "160000":
		return ModeSubmodule, true
	}
	return 0, false
}

// checkOrder refuses an entry that does not come after the ones before it, or
// that has the name of one of them. Git orders a directory as if its name
// ended in "/", so that a file "a" and a directory "a" need not be neighbours.
func checkOrder(before []TreeEntry, entry TreeEntry) error {
	last := before[len(before)-1]
	if last.Name == entry.Name {
		return malformed("tree entry %q stands twice", clip([]byte(entry.Name)))
	}
	if compareEntries(last, entry) >= 0 {
		return malformed("tree entry %q is out of order", clip([]byte(entry.Name)))
	}
	if entry.Mode != ModeTree {
		return nil
	}
	file := TreeEntry{Mode: ModeFile, Name: entry.Name}
	if _, found := slices.BinarySearchFunc(before, file, compareEntries); found {
		return malformed("tree entry %q stands twice", clip([]byte(entry.Name)))
	}
	return nil
}

// compareEntries orders two entries as git does.
func compareEntries(a, b TreeEntry) int {
	n := min(len(a.Name), len(b.Name))
	if c := strings.Compare(a.Name[:n], b.Name[:n]); c != 0 {
		return c
	}
	return int(a.orderByte(n)) - int(b.orderByte(n))
}

// orderByte is the byte at position i of the name that git sorts by: a
// directory's ends in "/", any other's in NUL.
func (e TreeEntry) orderByte(i int) byte {
	switch {
	case i < len(e.Name):
		return e.Name[i]
	case e.Mode == ModeTree:
		return '/'
	}
	return 0
}

// badName says why a name is refused; empty when it is fine.
func badName(name string) string {
	switch {
	case name == "":
		return "empty name"
	case name == "." || name == "..":
		return "not a name"
	case strings.IndexByte(name, '/') >= 0:
		return "a slash in a name"
	case isDotGit(name):
		return "git's own directory, or what a file system takes for it"
	}
	return ""
}

// isDotGit reports whether a file system may take the name for ".git": any
// case, NTFS's short name "git~1", its trailing dots, spaces and streams, and
// the code points that HFS+ ignores.
func isDotGit(name string) bool {
	if name[0] != '.' && name[0] != 'g' && name[0] != 'G' && name[0] < 0x80 {
		return false
	}
	folded := strings.ToLower(strings.Map(dropIgnorable, name))
	rest, ok := strings.CutPrefix(folded, ".git")
	if !ok {
		rest, ok = strings.CutPrefix(folded, "git~1")
	}
	if !ok {
		return false
	}
	rest = strings.TrimLeft(rest, " .")
	return rest == "" || rest[0] == ':' || rest[0] == '\\'
}

// dropIgnorable removes the code points that HFS+ ignores in names.
func dropIgnorable(c rune) rune {
	switch {
	case c >= 0x200c && c <= 0x200f, c >= 0x202a && c <= 0x202e, c >= 0x206a && c <= 0x206f, c == 0xfeff:
		return -1
	}
	return c
}
