package signing

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func rawEntry(mode, name string) string {
	return mode + " " + name + "\x00" + strings.Repeat("\x11", 20)
}

func TestDecodeTree(t *testing.T) {
	// Git's order: "a-b" < "a.txt" < directory "a" ("a/") < "a0".
	raw := rawEntry("100644", "a-b") + rawEntry("100755", "a.txt") + rawEntry("40000", "a") +
		rawEntry("120000", "a0") + rawEntry("160000", "b") + rawEntry("100644", ".gitignore2")
	raw = rawEntry("100644", ".gitignore") + raw[:len(raw)-len(rawEntry("100644", ".gitignore2"))]
	entries, err := DecodeTree([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name)
	}
	if want := []string{".gitignore", "a-b", "a.txt", "a", "a0", "b"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	if entries, err := DecodeTree(nil); err != nil || len(entries) != 0 {
		t.Errorf("the empty tree: %v, %v", entries, err)
	}
}

func TestDecodeTreeRefuses(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{"no mode", "x", "without a mode"},
		{"long mode", rawEntry("1006440000000000000", "a"), "mode"},
		{"other mode", rawEntry("100600", "a"), "mode"},
		{"cut off name", "100644 a", "in the middle"},
		{"cut off id", rawEntry("100644", "a")[:20], "in the middle"},
		{"zero id", "100644 a\x00" + strings.Repeat("\x00", 20), "zero id"},
		{"empty name", rawEntry("100644", ""), "empty name"},
		{"dot", rawEntry("40000", "."), "not a name"},
		{"dotdot", rawEntry("40000", ".."), "not a name"},
		{"slash", rawEntry("100644", "a/b"), "slash"},
		{"same name", rawEntry("100644", "a") + rawEntry("100644", "a"), "twice"},
		{"same name, directory next", rawEntry("100644", "a") + rawEntry("40000", "a"), "twice"},
		{"same name, directory apart", rawEntry("100644", "a") + rawEntry("100644", "a-") + rawEntry("40000", "a"), "twice"},
		{"order", rawEntry("100644", "b") + rawEntry("100644", "a"), "out of order"},
		{"directory as a file", rawEntry("40000", "a") + rawEntry("100644", "a.b"), "out of order"},
		{"too long", strings.Repeat(rawEntry("100644", "a"), 1<<19), "more than"},
		{"git", rawEntry("40000", ".git"), "git's own"},
		{"git in capitals", rawEntry("40000", ".GIT"), "git's own"},
		{"git as a file", rawEntry("100644", ".git"), "git's own"},
		{"git with a dot", rawEntry("40000", ".git."), "git's own"},
		{"git with spaces", rawEntry("40000", ".git . "), "git's own"},
		{"git stream", rawEntry("40000", ".git::$INDEX_ALLOCATION"), "git's own"},
		{"git backslash", rawEntry("40000", ".git\\config"), "git's own"},
		{"short name", rawEntry("40000", "GIT~1"), "git's own"},
		{"ignorable", rawEntry("40000", ".g\u200cit"), "git's own"},
		{"ignorable first", rawEntry("40000", "\u200d.git"), "git's own"},
		{"ignorable last", rawEntry("40000", ".git\ufeff"), "git's own"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := DecodeTree([]byte(tt.raw))
			checkMalformed(t, err, tt.want)
		})
	}
	for _, name := range []string{".gitignore", ".gitattributes", "git", "git~2", ".git-x", "a.git", "…", ".gi", "\xff"} {
		if _, err := DecodeTree([]byte(rawEntry("100644", name))); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestDecodeTreeOrder shuffles names that are prefixes of each other: a tree
// decodes exactly when it is sorted as git sorts.
func TestDecodeTreeOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[ab.0-]{1,4}`).Filter(func(s string) bool {
			return badName(s) == ""
		}), 1, 8, rapid.ID[string]).Draw(t, "names")
		var entries []TreeEntry
		for _, name := range names {
			mode := rapid.SampledFrom([]uint32{ModeFile, ModeTree}).Draw(t, "mode")
			entries = append(entries, TreeEntry{Mode: mode, Name: name, ID: Hash{1}})
		}
		// Git's rule, spelled otherwise: a directory's name ends in a slash.
		key := func(e TreeEntry) string {
			if e.Mode == ModeTree {
				return e.Name + "/"
			}
			return e.Name
		}
		sorted := slices.IsSortedFunc(entries, func(a, b TreeEntry) int { return strings.Compare(key(a), key(b)) })
		if _, err := DecodeTree(encodeTree(entries)); (err == nil) != sorted {
			t.Fatalf("sorted %v, error %v", sorted, err)
		}
		slices.SortFunc(entries, func(a, b TreeEntry) int { return strings.Compare(key(a), key(b)) })
		got, err := DecodeTree(encodeTree(entries))
		if err != nil || !slices.Equal(got, entries) {
			t.Fatalf("the sorted tree: %v, %v", got, err)
		}
	})
}
