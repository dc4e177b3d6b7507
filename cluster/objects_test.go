package cluster

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/jaco-sh/jaco/signing"
)

func openObjects(t *testing.T, path string) *DiskObjects {
	t.Helper()
	d, err := OpenObjects(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestObjectStores(t *testing.T) {
	stores := map[string]func(t *testing.T) ObjectStore{
		"memory": func(*testing.T) ObjectStore { return NewMemoryObjects() },
		"disk": func(t *testing.T) ObjectStore {
			return openObjects(t, filepath.Join(t.TempDir(), "objects.db"))
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) { testObjectStore(t, open(t)) })
	}
}

func testObjectStore(t *testing.T, store ObjectStore) {
	want := []StoredObject{
		testObject(signing.BlobObject, ""),
		testObject(signing.CommitObject, "short"),
		testObject(signing.TreeObject, string(bytes.Repeat([]byte("compresses well "), 50_000))),
		testObject(signing.TagObject, noise(0, 100_000)),
	}
	for _, part := range [][]StoredObject{nil, want[:2], want, want} {
		if err := store.Put(part); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range want {
		got, err := store.Object(o.ID)
		if err != nil || got.Type != o.Type || !bytes.Equal(got.Data, o.Data) {
			t.Errorf("object %s: type %s, %d bytes, error %v", o.ID, got.Type, len(got.Data), err)
		}
		if has, err := store.Has(o.ID); !has || err != nil {
			t.Errorf("has object %s: %v, %v", o.ID, has, err)
		}
	}
	missing := signing.Hash{1, 2, 3}
	if _, err := store.Object(missing); !errors.Is(err, signing.ErrNotFound) {
		t.Errorf("missing object: %v", err)
	}
	if has, err := store.Has(missing); has || err != nil {
		t.Errorf("has a missing object: %v, %v", has, err)
	}
	// What an id stands for never changes, whatever comes later; and the bytes
	// are not looked at: signing does that where they are used.
	lie := StoredObject{ID: want[1].ID, Object: signing.Object{Type: signing.BlobObject, Data: []byte("lie")}}
	stray := StoredObject{ID: missing, Object: lie.Object}
	if err := store.Put([]StoredObject{lie, stray}); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Object(lie.ID); err != nil || !bytes.Equal(got.Data, want[1].Data) {
		t.Errorf("object %s became %q, %v", lie.ID, got.Data, err)
	}
	if got, err := store.Object(missing); err != nil || string(got.Data) != "lie" {
		t.Errorf("unverified object: %q, %v", got.Data, err)
	}
	var ids []signing.Hash
	err := store.Each(func(o StoredObject) error {
		ids = append(ids, o.ID)
		return nil
	})
	if err != nil || len(ids) != len(want)+1 || !slices.IsSortedFunc(ids, compareHash) {
		t.Errorf("each: %v, %v", ids, err)
	}
	stop := errors.New("enough")
	if err := store.Each(func(StoredObject) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("each after its function failed: %v", err)
	}
}

func TestDiskObjectsSurviveReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "objects.db")
	d := openObjects(t, path)
	o := testObject(signing.BlobObject, string(bytes.Repeat([]byte("a"), 100_000)))
	if err := d.Put([]StoredObject{o}); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() > 90_000 {
		t.Errorf("file of mode %v and %d bytes, error %v", info.Mode(), info.Size(), err)
	}
	got, err := openObjects(t, path).Object(o.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o.Object, got); diff != "" {
		t.Error(diff)
	}
}

// TestOpenObjectsRefusesDamage spoils a store's file in the ways of a disk: what
// is gone must be missed now, not by the claim that needs it.
func TestOpenObjectsRefusesDamage(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "objects.db")
	d := openObjects(t, whole)
	for i := range 50 {
		if err := d.Put([]StoredObject{testObject(signing.BlobObject, noise(byte(i), 10_000))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for name, spoiled := range map[string][]byte{
		"garbage":            bytes.Repeat([]byte("garbage "), 4096),
		"emptied":            {},
		"a byte":             data[:1],
		"one page":           data[:page],
		"two pages":          data[:2*page],
		"cut to half":        data[:len(data)/2],
		"pages overwritten":  append(bytes.Clone(data[:2*page]), bytes.Repeat([]byte{0xff}, len(data)-2*page)...),
		"both headers wiped": append(make([]byte, 2*page), data[2*page:]...),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "objects.db")
			if err := os.WriteFile(path, spoiled, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := OpenObjects(path)
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("open: %v, want one that wraps %q", err, ErrCorrupt)
			}
			for _, want := range []string{path, "restore " + filepath.Dir(path) + " from a backup", "empty the data directory and join the node again"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("open: %v\nwithout %q", err, want)
				}
			}
			if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, spoiled) {
				t.Errorf("the damaged file changed: %v", err)
			}
		})
	}
	openObjects(t, whole) // which nothing is wrong with
	if _, err := OpenObjects(filepath.Join(whole, "below", "a-file")); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("a path below a file: %v", err)
	}
	if _, err := OpenObjects(filepath.Dir(whole)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a directory: %v", err)
	}
}

// noise returns bytes that do not compress, another sequence for each seed.
func noise(seed byte, size int) string {
	random := []byte{seed}
	for len(random) < size {
		next := sha256.Sum256(random)
		random = append(random, next[:]...)
	}
	return string(random[:size])
}

func TestOpenObjectsInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "objects.db")
	openObjects(t, path)
	if _, err := OpenObjects(path); err == nil || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "second jacod") {
		t.Errorf("open twice: %v", err)
	}
}

// TestUnpackNeverTrustsTheFile damages stored values in every way that a byte
// can: an error or other content, never a panic or much memory.
func TestUnpackNeverTrustsTheFile(t *testing.T) {
	d := &DiskObjects{}
	value, err := d.pack(testObject(signing.BlobObject, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").Object)
	if err != nil {
		t.Fatal(err)
	}
	for i := range value {
		for _, flip := range []byte{1, 0x80, 0xff} {
			bad := bytes.Clone(value)
			bad[i] ^= flip
			_, _ = d.unpack(bad)
		}
		if _, err := d.unpack(value[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut after %d bytes: %v", i, err)
		}
	}
	bomb := append([]byte{byte(signing.BlobObject), formDeflate, 5}, value[3:]...)
	if _, err := d.unpack(bomb); !errors.Is(err, ErrCorrupt) {
		t.Errorf("longer than it says: %v", err)
	}
}

func TestDiskObjectsReportDamage(t *testing.T) {
	d := openObjects(t, filepath.Join(t.TempDir(), "objects.db"))
	o := testObject(signing.BlobObject, "data")
	if err := d.Put([]StoredObject{o}); err != nil {
		t.Fatal(err)
	}
	err := d.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(objectBucket)).Put(o.ID[:], []byte{1})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Object(o.ID); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged object: %v", err)
	}
	if err := d.Each(func(StoredObject) error { return nil }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("each over a damaged object: %v", err)
	}
}
