package gitsync

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

func createEmbedded(t *testing.T, group string) (string, signing.Hash) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data", "repo.git")
	head, err := CreateEmbedded(dir, "main", map[string][]byte{
		"trust.yaml":     []byte("version: 1\n"),
		"keys/alice.asc": []byte("key\n"),
		"keys.txt":       []byte("sorts between keys and keys/\n"),
		"a/b/c/d":        nil,
	}, "Pin who may sign", time.Unix(1_800_000_000, 0), group)
	if err != nil {
		t.Fatal(err)
	}
	return dir, head
}

func TestCreateEmbedded(t *testing.T) {
	git := rig.StartGit(t)
	dir, head := createEmbedded(t, "")
	run := func(args ...string) string {
		t.Helper()
		cmd := rig.NetNS("").Command(t.Context(), "git", append([]string{"-C", dir}, args...)...)
		cmd.Env = git.Env()
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("fsck", "--strict", "--no-dangling")
	if got := run("log", "--format=%H %an <%ae> %cn <%ce> %ct %P%B", "main"); got != head.String()+" jaco <jaco@localhost> jaco <jaco@localhost> 1800000000 Pin who may sign" {
		t.Errorf("log %q", got)
	}
	if got := run("ls-tree", "-r", "--name-only", "main"); got != "a/b/c/d\nkeys.txt\nkeys/alice.asc\ntrust.yaml" {
		t.Errorf("files %q", got)
	}
	if got := run("symbolic-ref", "HEAD"); got != "refs/heads/main" {
		t.Errorf("HEAD %q", got)
	}
	again, same := createEmbedded(t, "")
	if same != head || again == dir {
		t.Errorf("made %s, then %s: the commit must hang on its arguments alone", head, same)
	}

	// Push, be refused, drop the commit, push another.
	clone, err := git.Clone(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clone.CommitFiles(t.Context(), map[string]string{"x": "y"}, rig.CommitOptions{Message: "bad"}); err != nil {
		t.Fatal(err)
	}
	if err := clone.Push(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := clone.Reset(t.Context(), "HEAD~1"); err != nil {
		t.Fatal(err)
	}
	good, err := clone.CommitFiles(t.Context(), map[string]string{"x": "z"}, rig.CommitOptions{Message: "good"})
	if err != nil {
		t.Fatal(err)
	}
	if err := clone.Push(t.Context()); err == nil {
		t.Error("a rewritten branch was pushed without --force")
	}
	if err := clone.ForcePush(t.Context()); err != nil {
		t.Fatal(err)
	}
	opened, err := OpenSource(t.Context(), Repository{URL: dir}, "")
	if err != nil {
		t.Fatal(err)
	}
	if opened.Head().String() != good {
		t.Errorf("head %s, want %s", opened.Head(), good)
	}
	if found, err := opened.Contains(opened.Head(), head.String()); err != nil || !found {
		t.Errorf("Contains: %v %v", found, err)
	}
	wantHistory(t, opened, opened.Head())
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
}

func TestCreateEmbeddedIsPrivate(t *testing.T) {
	for _, group := range []string{"", "no-such-group-here"} {
		dir, _ := createEmbedded(t, group)
		walk(t, dir, func(path string, info fs.FileInfo) {
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("group %q: %s is %s", group, path, info.Mode())
			}
		})
	}
}

func walk(t *testing.T, dir string, look func(path string, info fs.FileInfo)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			look(path, info)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCreateEmbeddedIsShared(t *testing.T) {
	group, err := user.LookupGroupId(strconv.Itoa(os.Getgid()))
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		// Another group than our own shows that files are given to it.
		if other, err := user.LookupGroup("users"); err == nil {
			group = other
		}
	}
	gid, err := strconv.ParseUint(group.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := createEmbedded(t, group.Name)
	check := func() {
		t.Helper()
		walk(t, dir, func(path string, info fs.FileInfo) {
			stat, ok := info.Sys().(*syscall.Stat_t)
			if !ok || uint64(stat.Gid) != gid {
				t.Errorf("%s belongs to group %d", path, stat.Gid)
			}
			if info.IsDir() && info.Mode()&(fs.ModeSetgid|0o070) != fs.ModeSetgid|0o070 {
				t.Errorf("%s is %s", path, info.Mode())
			}
			if info.Mode()&0o040 == 0 || info.Mode()&0o007 != 0 {
				t.Errorf("%s is %s", path, info.Mode())
			}
		})
	}
	check()
	if os.Getuid() != 0 {
		t.Skip("pushing as another user needs root")
	}
	// A member of the group who is neither owner nor root clones and pushes,
	// then root, then the member again, into directories that each made.
	const nobody = 65534
	home := t.TempDir()
	for path := home; path != os.TempDir(); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path := filepath.Dir(dir); path != os.TempDir(); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(home, ".gitconfig"), "[user]\nname=n\nemail=n@example.com\n[safe]\ndirectory=*\n")
	if err := os.Chmod(filepath.Join(home, ".gitconfig"), 0o644); err != nil {
		t.Fatal(err)
	}
	as := func(uid uint32, args ...string) {
		t.Helper()
		cmd := rig.NetNS("").Command(t.Context(), "git", args...)
		cmd.Dir = home
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{uint32(gid)}}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v as %d: %v\n%s", args, uid, err, out)
		}
	}
	for i, uid := range []uint32{nobody, 0, nobody} {
		clone := "clone" + strconv.Itoa(i)
		as(uid, "clone", "-q", dir, clone)
		as(uid, "-C", clone, "commit", "-q", "--allow-empty", "-m", clone)
		as(uid, "-C", clone, "push", "-q", "origin", "main")
		as(uid, "-C", clone, "commit", "-q", "--amend", "--allow-empty", "-m", clone+" again")
		as(uid, "-C", clone, "push", "-q", "--force", "origin", "main")
	}
	check()
}

func TestCreateEmbeddedFails(t *testing.T) {
	when := time.Unix(1_800_000_000, 0)
	for name, test := range map[string]struct {
		branch string
		files  map[string][]byte
		want   string
	}{
		"climbing path":      {"main", map[string][]byte{"../x": nil}, "not a path"},
		"absolute path":      {"main", map[string][]byte{"/x": nil}, "not a path"},
		"git directory":      {"main", map[string][]byte{"a/.git/config": nil}, "not a path"},
		"directory":          {"main", map[string][]byte{"a/": nil}, "not a path"},
		"file and directory": {"main", map[string][]byte{"a": nil, "a/b": nil}, "directory too"},
		"branch":             {"a..b", nil, "branch"},
		"no branch":          {"", nil, "branch"},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			if _, err := CreateEmbedded(filepath.Join(parent, "repo.git"), test.branch, test.files, "m", when, ""); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			wantEmpty(t, parent)
		})
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "repo.git")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "precious"), "data")
	if _, err := CreateEmbedded(dir, "main", nil, "m", when, ""); err == nil {
		t.Error("a directory with content was replaced")
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 1 || string(readTestFile(t, filepath.Join(dir, "precious"))) != "data" {
		t.Errorf("left %v %v", entries, err)
	}
	if _, err := CreateEmbedded("relative", "main", nil, "m", when, ""); err == nil {
		t.Error("a relative path was taken")
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}
