package identity

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSealOpen(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	one, two := newTestNode(t, a, "node-1", fixed(epoch)), newTestNode(t, a, "node-2", fixed(epoch))
	three := newTestNode(t, a, "node-3", fixed(epoch))
	secret := []byte("correct horse battery staple")
	item, err := Seal("repo-credential", secret, map[string]string{"node-2": two.Recipient(), "node-1": one.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(item.Recipients, " "); got != "node-1 node-2" {
		t.Errorf("recipients are %q", got)
	}
	if bytes.Contains(item.Ciphertext, secret) {
		t.Fatal("the secret stands in clear")
	}
	for _, node := range []*Identity{one, two} {
		got, err := node.Open(item)
		if err != nil {
			t.Fatalf("%v: %v", node, err)
		}
		if !bytes.Equal(got, secret) {
			t.Errorf("%v opened %q", node, got)
		}
	}
	_, err = three.Open(item)
	if !errors.Is(err, ErrNotRecipient) || !strings.Contains(err.Error(), "node-1, node-2") {
		t.Errorf("a stranger: %v, want %v and who can open it", err, ErrNotRecipient)
	}
	item.Name = "ca-key"
	if _, err := one.Open(item); !errors.Is(err, ErrBadSeal) || strings.Contains(err.Error(), "horse") {
		t.Errorf("swapped for another item: %v, want %v", err, ErrBadSeal)
	}
}

func TestSealRefuses(t *testing.T) {
	one := newTestNode(t, newTestAuthority(t, "0123456789abcdef"), "node-1", fixed(epoch))
	to := map[string]string{"node-1": one.Recipient()}
	secret := []byte("SECRET")
	for name, seal := range map[string]func() error{
		"no name":        func() error { _, err := Seal("", secret, to); return err },
		"two-line name":  func() error { _, err := Seal("a\nb", secret, to); return err },
		"nobody":         func() error { _, err := Seal("a", secret, nil); return err },
		"bad recipient":  func() error { _, err := Seal("a", secret, map[string]string{"node-1": "age1x"}); return err },
		"no recipient":   func() error { _, err := Seal("a", secret, map[string]string{"node-1": ""}); return err },
		"huge plaintext": func() error { _, err := Seal("a", make([]byte, maxSealed+1), to); return err },
	} {
		if err := seal(); !errors.Is(err, ErrBadSeal) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v, want %v", name, err, ErrBadSeal)
		}
	}
}

// Any changed byte and any cut are found, and no error tells the plaintext.
func TestOpenDamaged(t *testing.T) {
	one := newTestNode(t, newTestAuthority(t, "0123456789abcdef"), "node-1", fixed(epoch))
	item, err := Seal("ca-key", []byte("SECRET"), map[string]string{"node-1": one.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		damaged := item
		damaged.Ciphertext = bytes.Clone(item.Ciphertext)
		at := rapid.IntRange(0, len(item.Ciphertext)-1).Draw(t, "at")
		if rapid.Bool().Draw(t, "cut") {
			damaged.Ciphertext = damaged.Ciphertext[:at]
		} else {
			damaged.Ciphertext[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		}
		got, err := one.Open(damaged)
		if err == nil {
			t.Fatalf("opened %q", got)
		}
		if !errors.Is(err, ErrBadSeal) && !errors.Is(err, ErrNotRecipient) {
			t.Errorf("%v is neither %v nor %v", err, ErrBadSeal, ErrNotRecipient)
		}
		if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v tells the plaintext", err)
		}
	})
}

func TestSignVerify(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	one := newTestNode(t, a, "node-1", fixed(epoch))
	two := newTestNode(t, a, "node-2", fixed(epoch))
	foreign := newTestAuthority(t, "fedcba9876543210")
	digest := sha256.Sum256([]byte("bundle"))
	signature, certPEM, err := one.Sign(digest[:])
	if err != nil {
		t.Fatal(err)
	}
	node, err := Verify(a.CertificatePEM(), certPEM, digest[:], signature)
	if err != nil || node != "node-1" {
		t.Fatalf("verify: %q, %v", node, err)
	}
	otherDigest := sha256.Sum256([]byte("bundles"))
	damaged := bytes.Clone(signature)
	damaged[0] ^= 1
	for name, c := range map[string]struct {
		authority, cert, digest, signature []byte
		want                               error
	}{
		"another digest":       {a.CertificatePEM(), certPEM, otherDigest[:], signature, ErrBadSignature},
		"damaged signature":    {a.CertificatePEM(), certPEM, digest[:], damaged, ErrBadSignature},
		"no signature":         {a.CertificatePEM(), certPEM, digest[:], nil, ErrBadSignature},
		"another node":         {a.CertificatePEM(), two.CertificatePEM(), digest[:], signature, ErrBadSignature},
		"another cluster":      {foreign.CertificatePEM(), certPEM, digest[:], signature, ErrBadCertificate},
		"the authority itself": {a.CertificatePEM(), a.CertificatePEM(), digest[:], signature, ErrBadCertificate},
		"a bare signature":     {a.CertificatePEM(), certPEM, digest[:], mustSignBare(t, one, digest[:]), ErrBadSignature},
	} {
		if _, err := Verify(c.authority, c.cert, c.digest, c.signature); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, _, err := one.Sign([]byte("short")); err == nil {
		t.Error("signed something that is no digest")
	}
}

// mustSignBare signs as TLS or another protocol might: without our prefix.
func mustSignBare(t *testing.T, id *Identity, digest []byte) []byte {
	t.Helper()
	signature, err := id.key.Sign(nil, digest, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	return signature
}
