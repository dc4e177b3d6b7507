package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStoreCreateLoad(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	s := newTestStore(t, fixed(epoch))
	if _, err := s.Load(); !errors.Is(err, ErrNoIdentity) {
		t.Fatalf("load before create: %v, want %v", err, ErrNoIdentity)
	}
	made, err := s.Create(a, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Node() != "node-1" || loaded.Cluster() != "0123456789abcdef" {
		t.Errorf("loaded %v", loaded)
	}
	if loaded.KeyHash() != made.KeyHash() || loaded.Recipient() != made.Recipient() ||
		!bytes.Equal(loaded.CertificatePEM(), made.CertificatePEM()) || !bytes.Equal(loaded.AuthorityPEM(), a.CertificatePEM()) {
		t.Error("the identity changed on its way through the disk")
	}
	if _, err := s.Create(a, "node-1"); !errors.Is(err, ErrExists) {
		t.Errorf("second create: %v, want %v", err, ErrExists)
	}

	var got []string
	err = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		got = append(got, fmt.Sprintf("%s %04o", d.Name(), info.Mode().Perm()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "identity 0700, ca.crt 0600, node.crt 0600, node.key 0600, seal.key 0600"
	if strings.Join(got, ", ") != want {
		t.Errorf("files are %q, want %q", strings.Join(got, ", "), want)
	}
}

// What a crash leaves behind before the certificate stands is no identity,
// and the next Create replaces it.
func TestStoreCreateAfterCrash(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	s := newTestStore(t, fixed(epoch))
	before, err := s.Create(a, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.path(certFile), s.path(certFile)+".tmp"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); !errors.Is(err, ErrNoIdentity) {
		t.Fatalf("load: %v, want %v", err, ErrNoIdentity)
	}
	after, err := s.Create(a, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if loaded.KeyHash() != after.KeyHash() || loaded.KeyHash() == before.KeyHash() {
		t.Error("the half-made identity was taken up again")
	}
}

func TestStoreLoadRefuses(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	other := newTestStore(t, fixed(epoch))
	if _, err := other.Create(newTestAuthority(t, "fedcba9876543210"), "node-1"); err != nil {
		t.Fatal(err)
	}
	take := func(name string) func(*Store) error {
		return func(s *Store) error {
			data, err := os.ReadFile(other.path(name))
			if err != nil {
				return err
			}
			return os.WriteFile(s.path(name), data, 0o600)
		}
	}
	put := func(name, text string) func(*Store) error {
		return func(s *Store) error { return os.WriteFile(s.path(name), []byte(text), 0o600) }
	}
	for name, c := range map[string]struct {
		damage func(*Store) error
		want   error
		advice string
	}{
		"key readable by the group": {func(s *Store) error { return os.Chmod(s.path(keyFile), 0o640) }, ErrExposed, "chmod 0600"},
		"seal key readable by all":  {func(s *Store) error { return os.Chmod(s.path(sealFile), 0o604) }, ErrExposed, "chmod 0600"},
		"directory writable by all": {func(s *Store) error { return os.Chmod(s.dir, 0o777) }, ErrExposed, "chmod 0700"},
		"key missing":               {func(s *Store) error { return os.Remove(s.path(keyFile)) }, ErrUnreadable, "restore it from a backup"},
		"key a directory": {func(s *Store) error {
			return errors.Join(os.Remove(s.path(keyFile)), os.Mkdir(s.path(keyFile), 0o700))
		}, ErrUnreadable, "move away"},
		"key a symbolic link": {func(s *Store) error {
			return errors.Join(os.Remove(s.path(keyFile)), os.Symlink(other.path(keyFile), s.path(keyFile)))
		}, ErrExposed, "symbolic link"},
		"key empty":                   {put(keyFile, ""), ErrBadKey, "restore the file"},
		"key of another node":         {take(keyFile), ErrBadCertificate, "another key"},
		"certificate of another":      {take(certFile), ErrBadCertificate, "not issued by this cluster's authority"},
		"authority of another":        {take(caFile), ErrBadCertificate, "not issued by this cluster's authority"},
		"seal key garbage":            {put(sealFile, "AGE-SECRET-KEY-1SECRETSECRET"), ErrBadKey, "not an age identity"},
		"certificate empty":           {put(certFile, ""), ErrBadCertificate, "no PEM block"},
		"authority instead of a node": {func(s *Store) error { return os.WriteFile(s.path(certFile), a.CertificatePEM(), 0o600) }, ErrBadCertificate, "not a node's"},
		"huge file":                   {put(certFile, strings.Repeat("x", maxFile+1)), ErrUnreadable, "none of jacod's files"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestStore(t, fixed(epoch))
			if _, err := s.Create(a, "node-1"); err != nil {
				t.Fatal(err)
			}
			if err := c.damage(s); err != nil {
				t.Fatal(err)
			}
			_, err := s.Load()
			if !errors.Is(err, c.want) {
				t.Fatalf("load: %v, want %v", err, c.want)
			}
			if !strings.Contains(err.Error(), c.advice) || !strings.Contains(err.Error(), s.dir) {
				t.Errorf("load: %v: want the path and %q", err, c.advice)
			}
			if strings.Contains(err.Error(), "SECRETSECRET") {
				t.Errorf("load: %v: it holds the secret", err)
			}
		})
	}
}

func TestStoreFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("no small file system to be had: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	a := newTestAuthority(t, "0123456789abcdef")
	s := NewStore(filepath.Join(dir, "identity"), fixed(epoch), seeded("node"))
	id, err := s.Create(a, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	// Whether the directory takes a page of its own is the kernel's affair:
	// fill what is left.
	if err := fill(filepath.Join(dir, "ballast")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk did not fill up: %v", err)
	}
	err = s.Renew(id, a)
	if !errors.Is(err, ErrUnreadable) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free space on the file system of "+s.dir) {
		t.Fatalf("renew on a full disk: %v", err)
	}
	if _, err := s.Load(); err != nil {
		t.Errorf("the old identity is gone: %v", err)
	}
	if _, err := os.Lstat(s.path(certFile) + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a half-written file stayed: %v", err)
	}
}

// fill writes to a file until that fails.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return err
		}
	}
}

func TestRenew(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	now := epoch
	s := newTestStore(t, func() time.Time { return now })
	id, err := s.Create(a, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	for days, want := range map[int]bool{0: false, 59: false, 60: false, 61: true, 90: true, 400: true} {
		if got := id.NeedsRenewal(epoch.Add(time.Duration(days) * day)); got != want {
			t.Errorf("needs renewal after %d days = %v, want %v", days, got, want)
		}
	}
	hash := id.KeyHash()
	now = epoch.Add(400 * day) // long after the first one ended
	if id, err = s.Load(); err != nil {
		t.Fatalf("load with an expired certificate: %v", err)
	}
	if err := s.Renew(id, a); err != nil {
		t.Fatal(err)
	}
	if id.NeedsRenewal(now) || !id.NotAfter().Equal(now.Add(90*day)) {
		t.Errorf("renewed until %v", id.NotAfter())
	}
	if id.KeyHash() != hash {
		t.Error("renewing changed the key")
	}
	again, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.CertificatePEM(), id.CertificatePEM()) {
		t.Error("the renewed certificate is not on disk")
	}
}

func TestReplaceRefuses(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	s := newTestStore(t, fixed(epoch))
	id, err := s.Create(a, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	before := id.CertificatePEM()
	stranger := newTestNode(t, newTestAuthority(t, "fedcba9876543210"), "node-1", fixed(epoch))
	for name, pem := range map[string][]byte{
		"another node's":    newTestNode(t, a, "node-2", fixed(epoch)).CertificatePEM(),
		"another key's":     newTestNode(t, a, "node-1", fixed(epoch)).CertificatePEM(),
		"another cluster's": stranger.CertificatePEM(),
		"the authority's":   a.CertificatePEM(),
		"no certificate":    []byte("x"),
	} {
		if err := s.Replace(id, pem); !errors.Is(err, ErrBadCertificate) {
			t.Errorf("%s: %v, want %v", name, err, ErrBadCertificate)
		}
	}
	loaded, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(loaded.CertificatePEM(), before) || !bytes.Equal(id.CertificatePEM(), before) {
		t.Error("a refused certificate took the place of the good one")
	}
}

func TestIdentityDoesNotPrintItsKeys(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	s := newTestStore(t, fixed(epoch))
	id, err := s.Create(a, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, id); got != "node node-1 of cluster 0123456789abcdef" {
			t.Errorf("%s prints %q", format, got)
		}
		if got := fmt.Sprintf(format, a); got != "authority of cluster 0123456789abcdef" {
			t.Errorf("%s prints %q", format, got)
		}
	}
}
