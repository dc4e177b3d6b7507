package signing

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	src := fixtureSource{}
	commit := src.store(t, CommitObject, readFixture(t, "commits/ssh-ed25519"))
	broken := src.store(t, CommitObject, []byte("tree x\n"))
	blob := src.store(t, BlobObject, []byte("content"))
	mangled := src.store(t, CommitObject, readFixture(t, "commits/merge"))
	src[mangled] = Object{Type: CommitObject, Data: bytes.ToUpper(src[mangled].Data)}

	got, err := ReadCommit(src, commit)
	if err != nil || got.ID != commit || got.Subject() != "ssh-ed25519" {
		t.Errorf("ReadCommit: %+v, %v", got, err)
	}
	for name, tt := range map[string]struct {
		id   Hash
		want error
	}{
		"missing":       {Hash{5}, ErrNotFound},
		"malformed":     {broken, ErrMalformed},
		"another type":  {blob, ErrTampered},
		"changed bytes": {mangled, ErrTampered},
	} {
		_, err := ReadCommit(src, tt.id)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.id.String()) {
			t.Errorf("%s: %v, want one that wraps %v and names the id", name, err, tt.want)
		}
		// Missing evidence is never taken for a verdict, nor the reverse.
		if errors.Is(err, ErrNotFound) != errors.Is(tt.want, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadTree(src, commit); !errors.Is(err, ErrTampered) {
		t.Errorf("a commit read as a tree: %v", err)
	}
	if data, err := ReadObject(src, blob, BlobObject); err != nil || string(data) != "content" {
		t.Errorf("ReadObject: %q, %v", data, err)
	}
}
