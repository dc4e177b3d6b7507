package gitsync

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/signing"
)

func TestLocalRepository(t *testing.T) {
	p := newPeer(t)
	head := p.push("one")
	c := testConfig(t, p.bare)
	m := openTestMirror(t, c)
	wantFetch(t, m, head)

	// Everything below happens behind the back of an open store.
	head = p.push("two")
	wantFetch(t, m, head)
	p.run("pack-refs", "--all")
	wantFetch(t, m, head)
	p.run("gc", "-q", "--prune=now")
	wantFetch(t, m, head)
	head = p.push("three")
	p.run("repack", "-q", "-a", "-d")
	wantFetch(t, m, head)
	p.push("four")
	head = p.push("five")
	p.run("gc", "-q", "--prune=now")
	wantFetch(t, m, head)
	if n := wantHistory(t, m, head); n != 5 {
		t.Errorf("%d commits, want 5", n)
	}
	if _, err := m.Object(signing.Hash{1}); !errors.Is(err, signing.ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound", err)
	}
	if _, err := os.Stat(c.Directory); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a mirror was made: %v", err)
	}
}

func TestLocalBranchWithSlash(t *testing.T) {
	p := newPeer(t)
	head := p.push("one")
	p.must(p.clone.Push(t.Context(), "HEAD:refs/heads/release/1"))
	c := testConfig(t, p.bare)
	c.Repository.Branch = "release/1"
	m := openTestMirror(t, c)
	wantFetch(t, m, head)
	p.run("pack-refs", "--all")
	wantFetch(t, m, head)
}

func TestLocalWorkTree(t *testing.T) {
	p := newPeer(t)
	head := p.push("one")
	wantFetch(t, openTestMirror(t, testConfig(t, p.clone.Dir)), head)
}

func TestLocalAlternates(t *testing.T) {
	p := newPeer(t)
	head := p.push("one")
	shared := filepath.Join(p.root, "shared.git")
	p.run("clone", "-q", "--bare", "--shared", p.bare, shared)
	m := openTestMirror(t, testConfig(t, shared))
	wantFetch(t, m, head)
	p.run("gc", "-q")
	wantFetch(t, m, head)

	// Relative, through a second repository, and in a circle.
	writeFile(t, filepath.Join(shared, "objects/info/alternates"), "../../middle.git/objects\n")
	p.run("init", "-q", "--bare", filepath.Join(p.root, "middle.git"))
	writeFile(t, filepath.Join(p.root, "middle.git/objects/info/alternates"), "../../fleet.git/objects\n")
	writeFile(t, filepath.Join(p.bare, "objects/info/alternates"), "../../shared.git/objects\n")
	m = openTestMirror(t, testConfig(t, shared))
	wantFetch(t, m, head)
	if _, err := m.Object(signing.Hash{1}); !errors.Is(err, signing.ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound", err)
	}
}

func TestLocalErrors(t *testing.T) {
	p := newPeer(t)
	p.push("one")
	p.run("worktree", "add", "-q", filepath.Join(p.root, "linked"), "main")
	p.must(p.git.InitBare(t.Context(), filepath.Join(p.root, "empty.git")))
	p.must(p.git.InitBare(t.Context(), filepath.Join(p.root, "reftable.git")))
	p.run("-C", filepath.Join(p.root, "reftable.git"), "config", "extensions.refStorage", "reftable")
	writeFile(t, filepath.Join(p.root, "file"), "")
	for name, test := range map[string]struct {
		path, branch string
		kinds        []error
		text         string
	}{
		"gone":           {"gone.git", "main", []error{ErrUnreachable, ErrGone}, "does not exist"},
		"no repository":  {"", "main", []error{ErrUnreachable, ErrGone}, "is not a git repository"},
		"a file":         {"file", "main", []error{ErrUnreachable}, "file"},
		"empty":          {"empty.git", "main", []error{ErrEmpty}, "push a signed commit to main"},
		"missing branch": {"fleet.git", "production", []error{ErrNoBranch}, "production; the repository has main"},
		"linked tree":    {"linked", "main", []error{ErrFormat}, "linked work tree"},
		"reftable":       {"reftable.git", "main", []error{ErrFormat}, "git refs migrate"},
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t, filepath.Join(p.root, test.path))
			c.Repository.Branch = test.branch
			_, err := openTestMirror(t, c).Fetch(t.Context())
			for _, kind := range test.kinds {
				if !errors.Is(err, kind) {
					t.Errorf("error %v, want %v", err, kind)
				}
			}
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %q", err, test.text)
			}
		})
	}
}

func TestLocalCorruption(t *testing.T) {
	p := newPeer(t)
	head := p.push("one")
	m := openTestMirror(t, testConfig(t, p.bare))
	path := filepath.Join(p.bare, "objects", head.String()[:2], head.String()[2:])
	p.must(os.Chmod(path, 0o600))
	// Another object's bytes under this one's name.
	other := p.push("two")
	data := readTestFile(t, filepath.Join(p.bare, "objects", other.String()[:2], other.String()[2:]))
	writeFile(t, path, string(data))
	if _, err := m.Object(head); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v, want ErrCorrupt", err)
	}
	writeFile(t, path, "junk")
	if _, err := m.Object(head); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v, want ErrCorrupt", err)
	}
	if m.suspect(head) {
		t.Error("a repository given by path cannot be made anew")
	}
}
