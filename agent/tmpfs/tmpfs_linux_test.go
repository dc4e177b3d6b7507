package tmpfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/jaco-sh/jaco/agent"
)

// newDirectory is one below a directory of the test's, which is on a disk or
// not, as the machine's temporary files are.
func newDirectory(t *testing.T) *Directory {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("mounting needs Linux and root")
	}
	path := filepath.Join(t.TempDir(), "secrets", "c0ffee.node-1")
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			t.Error(err)
		}
	})
	return New(path)
}

func TestFiles(t *testing.T) {
	d := newDirectory(t)
	if held, err := d.Replicas(); err != nil || len(held) != 0 {
		t.Fatalf("at first: %v, %v", held, err)
	}
	if err := d.Remove("a"); err != nil {
		t.Fatal(err)
	}
	paths, err := d.Put("a", []agent.SecretFile{{Data: []byte("one"), UID: 1001, GID: 1002, Mode: 0o440}, {Data: []byte("two"), Mode: 0o444}})
	if err != nil {
		t.Fatal(err)
	}
	if found, err := inMemory(d.path); err != nil || !found {
		t.Errorf("the files are not on a tmpfs: %v", err)
	}
	for path, mode := range map[string]fs.FileMode{
		filepath.Dir(d.path): 0o700 | fs.ModeDir, d.path: 0o700 | fs.ModeDir, filepath.Join(d.path, "a"): 0o700 | fs.ModeDir, paths[0]: 0o440, paths[1]: 0o444,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	info, err := os.Stat(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || owner.Uid != 1001 || owner.Gid != 1002 {
		t.Errorf("owner %+v", info.Sys())
	}
	// Another process, and another time.
	again := New(d.path)
	paths, err = again.Put("a", []agent.SecretFile{{Data: []byte("three"), Mode: 0o444}})
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	if data, err := os.ReadFile(paths[0]); err != nil || string(data) != "three" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := again.Put("b", nil); err != nil {
		t.Fatal(err)
	}
	if held, err := again.Replicas(); err != nil || !slices.Equal(held, []string{"a", "b"}) {
		t.Errorf("%v, %v", held, err)
	}
	if err := again.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if held, err := again.Replicas(); err != nil || !slices.Equal(held, []string{"b"}) {
		t.Errorf("%v, %v", held, err)
	}
}

// TestAfterAReboot has the directory empty and on a disk again.
func TestAfterAReboot(t *testing.T) {
	d := newDirectory(t)
	if _, err := d.Put("a", []agent.SecretFile{{Data: []byte("one"), Mode: 0o444}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(d.path, unix.MNT_DETACH); errors.Is(err, unix.EINVAL) {
		t.Skip("on purpose: this machine's temporary files are on a tmpfs, and nothing was mounted")
	} else if err != nil {
		t.Fatal(err)
	}
	if held, err := d.Replicas(); err != nil || len(held) != 0 {
		t.Errorf("on the disk: %v, %v", held, err)
	}
	paths, err := d.Put("a", []agent.SecretFile{{Data: []byte("one"), Mode: 0o444}})
	if err != nil {
		t.Fatal(err)
	}
	if found, err := inMemory(d.path); err != nil || !found {
		t.Errorf("the files are not on a tmpfs: %v", err)
	}
	if data, err := os.ReadFile(paths[0]); err != nil || string(data) != "one" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestPutRefuses(t *testing.T) {
	d := newDirectory(t)
	for _, replica := range []string{"", ".", "..", "../a", "a/b", "/a"} {
		if _, err := d.Put(replica, nil); err == nil {
			t.Errorf("replica %q was taken", replica)
		}
	}
	blocked := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{blocked, filepath.Join(blocked, "below")} {
		if _, err := New(path).Put("a", nil); !errors.Is(err, ErrNoTmpfs) {
			t.Errorf("a directory that is none: %v", err)
		}
	}
}
