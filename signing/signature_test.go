package signing

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"github.com/hiddeco/sshsig"
)

// fixtureSignature returns the payload and the signature of a fixture commit.
func fixtureSignature(t testing.TB, name string) (payload, signature []byte) {
	t.Helper()
	commit, err := DecodeCommit(readFixture(t, "commits/"+name))
	if err != nil {
		t.Fatal(err)
	}
	return commit.Payload, commit.Signature
}

// TestNoByteCanChange flips, drops and adds single bytes of good signatures:
// none may verify, or a commit's id could be changed without the key.
func TestNoByteCanChange(t *testing.T) {
	ring := fixtureKeyring(t)
	for _, name := range []string{"ssh-ed25519", "openpgp-ed25519", "openpgp-subkey"} {
		payload, signature := fixtureSignature(t, name)
		refuse := func(what string, i int, changed []byte) {
			t.Helper()
			_, err := ring.Verify(payload, changed, fixtureNow)
			if !errors.Is(err, ErrBadSignature) && !errors.Is(err, ErrUnknownKey) {
				t.Errorf("%s: byte %d %s: %v", name, i, what, err)
			}
		}
		for i := range signature {
			flipped := bytes.Clone(signature)
			flipped[i] ^= 1
			refuse("flipped", i, flipped)
			refuse("dropped", i, append(bytes.Clone(signature[:i]), signature[i+1:]...))
			for _, c := range " \n\rA=" {
				added := append(append(bytes.Clone(signature[:i]), byte(c)), signature[i:]...)
				if !bytes.Equal(added, signature) {
					refuse("added", i, added)
				}
			}
		}
	}
}

// TestNoPacketByteCanChange does the same below the armor, which is made anew.
func TestNoPacketByteCanChange(t *testing.T) {
	ring := fixtureKeyring(t)
	for name, form := range map[string]armorForm{
		"ssh-ed25519": sshArmor(), "ssh-rsa3072": sshArmor(), "ssh-ecdsa-p256": sshArmor(),
		"openpgp-ed25519": pgpArmor(), "openpgp-rsa3072": pgpArmor(), "openpgp-nistp256": pgpArmor(),
	} {
		payload, signature := fixtureSignature(t, name)
		raw, err := form.decode(signature)
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			for _, bit := range []byte{1, 0x80} {
				changed := bytes.Clone(raw)
				changed[i] ^= bit
				if _, err := ring.Verify(payload, form.encode(changed), fixtureNow); err == nil {
					t.Errorf("%s: bit %#x of byte %d flipped, and it verifies", name, bit, i)
				}
			}
			changed := append(append(bytes.Clone(raw[:i]), 0), raw[i:]...)
			if _, err := ring.Verify(payload, form.encode(changed), fixtureNow); err == nil {
				t.Errorf("%s: a zero before byte %d, and it verifies", name, i)
			}
		}
		if _, err := ring.Verify(payload, form.encode(append(raw, 0)), fixtureNow); err == nil {
			t.Errorf("%s: trailing data, and it verifies", name)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	ring := fixtureKeyring(t)
	payload, signature := fixtureSignature(t, "ssh-ed25519")
	raw, err := sshArmor().decode(signature)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := parseSSHBlob(raw)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name      string
		signature []byte
		want      string
	}{
		{"prose", []byte("hello"), "neither an OpenPGP nor an SSH"},
		{"X.509", []byte("-----BEGIN SIGNED MESSAGE-----\n"), "X.509"},
		{"too long", append(bytes.Clone(signature), make([]byte, maxSignatureSize)...), "more than"},
		{"only a first line", []byte(sshBegin), "last line"},
		{"empty", []byte(sshBegin + sshEnd), "SSHSIG"},
		{"OpenPGP empty", []byte(pgpBegin + "\n" + pgpEnd), "checksum"},
		{"OpenPGP of nothing", pgpArmor().encode(nil), "0 bytes"},
		{"OpenPGP of a literal packet", pgpArmor().encode([]byte{0xcb, 2, 0, 0}), "not an OpenPGP signature"},
		{"OpenPGP version 3", pgpArmor().encode([]byte{0x88, 6, 3, 0, 0, 0, 0, 0}), "version 3"},
		{"not base64", []byte(sshBegin + "!!!!\n" + sshEnd), "illegal base64"},
		{"version 2", sshBlobWith(blob, func(b *sshBlob) { b.Version = 2 }), "version 2"},
		{"SHA-1", sshBlobWith(blob, func(b *sshBlob) { b.Hash = "sha1" }), `hash "sha1"`},
		{"no namespace", sshBlobWith(blob, func(b *sshBlob) { b.Namespace = "" }), `namespace ""`},
		{"no key", sshBlobWith(blob, func(b *sshBlob) { b.PublicKey = nil }), "unreadable key"},
		{"no signature", sshBlobWith(blob, func(b *sshBlob) { b.Signature = nil }), "SSH signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ring.Verify(payload, tt.signature, fixtureNow)
			if !errors.Is(err, ErrBadSignature) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want a bad signature that says %q", err, tt.want)
			}
		})
	}
	for _, empty := range [][]byte{nil, {}} {
		if _, err := ring.Verify(payload, empty, fixtureNow); !errors.Is(err, ErrUnsigned) {
			t.Errorf("no signature: %v", err)
		}
	}
}

// TestSSHSig takes signatures as another implementation makes them, in our
// armor; in its own, of 64 columns, they are refused.
func TestSSHSig(t *testing.T) {
	signer, key := newSSHSigner(t)
	ring, err := NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	payload := []byte("payload")
	for _, hash := range []sshsig.HashAlgorithm{sshsig.HashSHA256, sshsig.HashSHA512} {
		sig, err := sshsig.Sign(bytes.NewReader(payload), signer, hash, "git")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ring.Verify(payload, sshArmor().encode(sig.Marshal()), fixtureNow); err != nil || got.Fingerprint != key.Fingerprint {
			t.Errorf("%s: key %q, %v", hash, got.Fingerprint, err)
		}
		if _, err := ring.Verify(payload, sshsig.Armor(sig), fixtureNow); !errors.Is(err, ErrBadSignature) {
			t.Errorf("%s in 64 columns: %v", hash, err)
		}
	}
}

// pgpRing makes an OpenPGP key at a time, and a keyring of it.
func pgpRing(t *testing.T, config *packet.Config) (*openpgp.Entity, *Keyring) {
	t.Helper()
	entity := newEntity(t, config)
	keys, err := ParseKeys(armoredKey(t, "PGP PUBLIC KEY BLOCK", func(w *bytes.Buffer) error { return entity.Serialize(w) }))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := NewKeyring(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return entity, ring
}

// signPGP signs as Go's library does: a new-format packet that signs the key id.
func signPGP(t *testing.T, entity *openpgp.Entity, payload []byte, config *packet.Config) []byte {
	t.Helper()
	var raw bytes.Buffer
	if err := openpgp.DetachSign(&raw, []*openpgp.Entity{entity}, bytes.NewReader(payload), config); err != nil {
		t.Fatal(err)
	}
	return pgpArmor().encode(raw.Bytes())
}

func at(when time.Time) func() time.Time { return func() time.Time { return when } }

// TestOpenPGPByAnotherSigner covers the form that Sequoia and Go's library
// write, and the times that a signature and its key carry.
func TestOpenPGPByAnotherSigner(t *testing.T) {
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	expires := made.Add(24 * time.Hour)
	payload := []byte("payload")
	entity, ring := pgpRing(t, &packet.Config{
		Algorithm: packet.PubKeyAlgoEd25519, Time: at(made), KeyLifetimeSecs: 24 * 3600,
	})
	tests := []struct {
		name        string
		signed, now time.Time
		lifetime    uint32
		want        error
	}{
		{"good", made.Add(time.Hour), made.Add(2 * time.Hour), 0, nil},
		{"a clock behind the signer's", made.Add(time.Hour), made.Add(time.Minute), 0, nil},
		{"at the last moment", expires, expires, 0, nil},
		{"expired at present", made.Add(time.Hour), expires.Add(time.Second), 0, ErrKeyExpired},
		{"older signature expired", made.Add(time.Hour), made.Add(3 * time.Hour), 3600, ErrBadSignature},
		{"signature not yet expired", made.Add(time.Hour), made.Add(2 * time.Hour), 3600, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			signature := signPGP(t, entity, payload, &packet.Config{Time: at(tt.signed), SigLifetimeSecs: tt.lifetime})
			key, err := ring.Verify(payload, signature, tt.now)
			if !errors.Is(err, tt.want) || (err == nil) != (key.Fingerprint != "") {
				t.Errorf("key %q, error %v, want %v", key.Fingerprint, err, tt.want)
			}
		})
	}
	text := signPGP(t, entity, payload, &packet.Config{Time: at(made), DefaultHash: crypto.SHA512})
	if _, err := ring.Verify([]byte("other"), text, made); !errors.Is(err, ErrBadSignature) {
		t.Errorf("another payload: %v", err)
	}
}

// TestVerifyIsConcurrent matters under -race: the library's own keyring
// remembers verdicts without a lock.
func TestVerifyIsConcurrent(t *testing.T) {
	ring := fixtureKeyring(t)
	var wg sync.WaitGroup
	for _, name := range []string{"ssh-ed25519", "openpgp-ed25519", "openpgp-subkey", "openpgp-expired", "openpgp-revoked"} {
		payload, signature := fixtureSignature(t, name)
		_, want := ring.Verify(payload, signature, fixtureNow)
		for range 4 {
			wg.Go(func() {
				if _, err := ring.Verify(payload, signature, fixtureNow); (err == nil) != (want == nil) {
					t.Errorf("%s: %v, before %v", name, err, want)
				}
			})
		}
	}
	wg.Wait()
}

// BenchmarkVerifyCommit is one commit all in: id, decoding, signature.
func BenchmarkVerifyCommit(b *testing.B) {
	for _, name := range []string{"ssh-ed25519", "openpgp-ed25519", "ssh-rsa3072"} {
		b.Run(name, func(b *testing.B) {
			ring := fixtureKeyring(b)
			object := Object{Type: CommitObject, Data: readFixture(b, "commits/"+name)}
			id, err := HashObject(object)
			if err != nil {
				b.Fatal(err)
			}
			src := fixtureSource{id: object}
			b.ReportAllocs()
			for b.Loop() {
				commit, err := ReadCommit(src, id)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := ring.Verify(commit.Payload, commit.Signature, fixtureNow); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
