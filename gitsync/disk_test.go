package gitsync

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// smallDisk returns a directory on a file system of one mebibyte.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no small file system to be had: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk takes all space that is left and returns the file that holds it.
func fillDisk(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk did not fill up: %v", err)
	}
	return f.Name()
}

// wantAdvice checks that an error is our disk's, blames no server, and says
// once what to do and where.
func wantAdvice(t *testing.T, what string, err, kind error, advice string) {
	t.Helper()
	if !errors.Is(err, kind) || errors.Is(err, ErrUnreachable) || strings.Count(err.Error(), advice) != 1 {
		t.Errorf("%s: %v\nwant %q with %q once", what, err, kind, advice)
	}
}

func TestMirrorOnFullDisk(t *testing.T) {
	disk := smallDisk(t)
	p := newPeer(t)
	one := p.push("one")
	config := httpConfig(t, p.serve())
	config.Directory = filepath.Join(disk, "mirror")
	advice := "free space on the file system of " + config.Directory
	m := openTestMirror(t, config)
	wantFetch(t, m, one)
	two := p.push("two")
	ballast := fillDisk(t, disk)

	_, err := m.Fetch(t.Context())
	wantAdvice(t, "fetch", err, syscall.ENOSPC, advice)
	m.distrust()
	_, err = m.Fetch(t.Context())
	wantAdvice(t, "rebuild", err, syscall.ENOSPC, advice)
	other := config
	other.Directory = filepath.Join(disk, "other")
	_, err = OpenMirror(other)
	wantAdvice(t, "open", err, syscall.ENOSPC, "free space on the file system of "+other.Directory)
	_, err = CreateEmbedded(filepath.Join(disk, "repo.git"), "main", map[string][]byte{"a": nil}, "m", time.Unix(1, 0), "")
	wantAdvice(t, "make an embedded repository", err, syscall.ENOSPC, "free space on the file system of "+disk)

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	wantFetch(t, m, two)
}

func TestMirrorOnReadOnlyDisk(t *testing.T) {
	disk := smallDisk(t)
	p := newPeer(t)
	one := p.push("one")
	config := httpConfig(t, p.serve())
	config.Directory = filepath.Join(disk, "mirror")
	advice := "mount the file system of " + config.Directory + " writable"
	m := openTestMirror(t, config)
	wantFetch(t, m, one)
	two := p.push("two")
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT|flags, "size=1m"); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	_, err := m.Fetch(t.Context())
	wantAdvice(t, "fetch", err, syscall.EROFS, advice)
	other := config
	other.Directory = filepath.Join(disk, "other")
	_, err = OpenMirror(other)
	wantAdvice(t, "open", err, syscall.EROFS, "mount the file system of "+other.Directory+" writable")
	remount(0)
	wantFetch(t, m, two)
}

// The known hosts go through a temporary file, on another disk than the mirror.
func TestKnownHostsOnFullDisk(t *testing.T) {
	disk := smallDisk(t)
	p := newPeer(t)
	key, err := p.git.NewSSHKey(t.Context(), "key", "ed25519")
	p.must(err)
	config := testConfig(t, "ssh://git@192.0.2.1/fleet.git")
	config.Repository.Credentials = Credentials{SSHKey: readTestFile(t, key.Private), KnownHosts: []byte("192.0.2.1 " + key.Public + "\n")}
	m := openTestMirror(t, config)
	fillDisk(t, disk)
	t.Setenv("TMPDIR", disk)
	_, err = m.Fetch(t.Context())
	wantAdvice(t, "fetch", err, syscall.ENOSPC, "free space on the file system of "+disk)
}

func TestAdviseDisk(t *testing.T) {
	at := func(errno syscall.Errno) error { return &fs.PathError{Op: "open", Path: "/m/x", Err: errno} }
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"quota":      {storeError{at(syscall.EDQUOT)}, "store pack: open /m/x: disk quota exceeded: free space on the file system of /m"},
		"permission": {at(syscall.EACCES), "open /m/x: permission denied: jacod must own /m: run it as root, or chown -R the directory to its user"},
		"rename": {
			&os.LinkError{Op: "rename", Old: "/m/a", New: "/m/b", Err: syscall.EROFS},
			"rename /m/a /m/b: read-only file system: mount the file system of /m writable",
		},
		"of no known kind":         {at(syscall.EIO), "open /m/x: input/output error"},
		"a firewall's":             {&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EPERM)}, "dial tcp: connect: operation not permitted"},
		"a server's own full disk": {fmt.Errorf("%w: no space left on device", ErrUnreachable), "repository unreachable: no space left on device"},
	} {
		t.Run(name, func(t *testing.T) {
			got := adviseDisk("/m", c.err)
			if got.Error() != c.want || !errors.Is(got, c.err) {
				t.Errorf("got  %v\nwant %s", got, c.want)
			}
		})
	}
}

// Whatever the mirror could not write, it is not the repository that is
// unreachable.
func TestSyncerBlamesItsDisk(t *testing.T) {
	timed(t, func(t *testing.T, _ *Syncer, r *fakeRepository, _ *yesJudge, l *fakeLog) {
		l.take()
		r.set(signing.Hash{}, fmt.Errorf("make mirror: %w", &fs.PathError{Op: "mkdir", Path: "/m", Err: syscall.ENOSPC}))
		pass(t, time.Minute)
		wantTranscript(t, l, "Stalled at h1: make mirror: mkdir /m: no space left on device")
	})
}
