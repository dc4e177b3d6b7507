package signing

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// The seeds of every target are the fixtures, committed under testdata/fuzz
// by testdata/fixtures/make.sh.

func FuzzDecodeCommit(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		commit, err := DecodeCommit(data)
		if err != nil {
			fuzzRefused(t, err)
			return
		}
		if got := encodeCommit(commit); !bytes.Equal(got, data) {
			t.Errorf("comes back as\n%q\nwas\n%q", got, data)
		}
		// The payload decodes to the same commit without its signature.
		again, err := DecodeCommit(commit.Payload)
		if err != nil || again.Signature != nil || again.Message != commit.Message || again.Tree != commit.Tree {
			t.Errorf("the payload decodes to %+v, %v", again, err)
		}
		if strings.Contains(commit.Subject(), "\n") {
			t.Errorf("subject of several lines: %q", commit.Subject())
		}
		for _, value := range commit.Trailers("Approves") {
			if strings.Contains(value, "\n") {
				t.Errorf("trailer of several lines: %q", value)
			}
		}
	})
}

func FuzzDecodeTag(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		tag, err := DecodeTag(data)
		if err != nil {
			fuzzRefused(t, err)
			return
		}
		if got := encodeTag(tag); !bytes.Equal(got, data) {
			t.Errorf("comes back as\n%q\nwas\n%q", got, data)
		}
		if !bytes.Equal(append(bytes.Clone(tag.Payload), tag.Signature...), data) {
			t.Error("payload and signature are not the tag")
		}
	})
}

func FuzzDecodeTree(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := DecodeTree(data)
		if err != nil {
			fuzzRefused(t, err)
			return
		}
		if got := encodeTree(entries); !bytes.Equal(got, data) {
			t.Errorf("comes back as\n%q\nwas\n%q", got, data)
		}
		names := make(map[string]bool)
		for _, e := range entries {
			if names[e.Name] || e.Name == "" || e.Name == ".." || strings.Contains(e.Name, "/") {
				t.Errorf("bad or repeated name %q", e.Name)
			}
			names[e.Name] = true
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := ParseKeys(data)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, key := range keys {
			if key.Fingerprint == "" || key.Kind == "" || !key.Names(key.Fingerprint) {
				t.Errorf("key without a name: %+v", key)
			}
			if key.ssh != nil {
				line := key.Kind + " " + base64.StdEncoding.EncodeToString(key.ssh.Marshal())
				again, err := ParseKeys([]byte(line))
				if err != nil || len(again) != 1 || again[0].Fingerprint != key.Fingerprint {
					t.Errorf("%s comes back as %v, %v", line, again, err)
				}
			}
			if _, err := NewKeyring(key); err != nil {
				t.Errorf("no keyring of one parsed key: %v", err)
			}
		}
	})
}

// FuzzVerify looks for a second spelling of a good signature.
func FuzzVerify(f *testing.F) {
	ring := fixtureKeyring(f)
	good := make(map[string][]byte)
	for _, name := range []string{"ssh-ed25519", "ssh-sha256", "ssh-rsa3072", "openpgp-ed25519", "openpgp-rsa3072"} {
		payload, signature := fixtureSignature(f, name)
		good[string(signature)] = payload
	}
	f.Fuzz(func(t *testing.T, signature []byte) {
		for _, payload := range good {
			_, err := ring.Verify(payload, signature, fixtureNow)
			if made := good[string(signature)]; err == nil && !bytes.Equal(made, payload) {
				t.Errorf("%q verifies, and nobody made it for\n%s", signature, payload)
			}
		}
	})
}

func fuzzRefused(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrMalformed) {
		t.Errorf("error %v does not wrap ErrMalformed", err)
	}
	if len(err.Error()) > 500 {
		t.Errorf("error of %d bytes", len(err.Error()))
	}
}
