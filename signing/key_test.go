package signing

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

func TestParseKeys(t *testing.T) {
	kinds := map[string]string{
		"openpgp-ed25519.asc":   "openpgp:ed25519",
		"openpgp-rsa3072.asc":   "openpgp:rsa3072",
		"openpgp-nistp256.asc":  "openpgp:nistp256",
		"openpgp-subkey.asc":    "openpgp:ed25519",
		"openpgp-revoked.asc":   "openpgp:ed25519",
		"openpgp-expired.asc":   "openpgp:ed25519",
		"openpgp-backdated.asc": "openpgp:ed25519",
		"ssh-ed25519.pub":       "ssh-ed25519",
		"ssh-ecdsa-p256.pub":    "ecdsa-sha2-nistp256",
		"ssh-rsa3072.pub":       "ssh-rsa",
	}
	for _, name := range ringKeys() {
		keys, err := ParseKeys(readFixture(t, "keys/"+name))
		if err != nil || len(keys) != 1 {
			t.Fatalf("%s: %d keys, %v", name, len(keys), err)
		}
		if keys[0].Kind != kinds[name] {
			t.Errorf("%s: kind %q, want %q", name, keys[0].Kind, kinds[name])
		}
		upper := strings.ToUpper(keys[0].Fingerprint)
		if pgp := strings.HasPrefix(name, "openpgp"); pgp && (len(upper) != 40 || keys[0].Fingerprint != upper) ||
			!pgp && !strings.HasPrefix(keys[0].Fingerprint, "SHA256:") {
			t.Errorf("%s: fingerprint %q", name, keys[0].Fingerprint)
		}
		if !keys[0].Names(keys[0].Fingerprint) || keys[0].Names("SHA256:other") || keys[0].Names("") {
			t.Errorf("%s: Names does not tell its own fingerprint from others", name)
		}
	}
}

func TestKeyNamesSubkeys(t *testing.T) {
	keys, err := ParseKeys(readFixture(t, "keys/openpgp-subkey.asc"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(keys[0].openpgp); n != 1 {
		t.Errorf("%d keys that may sign, want the signing subkey alone", n)
	}
	sub := keys[0].openpgp[0].fingerprint
	if sub == keys[0].Fingerprint {
		t.Fatal("the fixture's primary key signs itself")
	}
	for _, name := range []string{sub, keys[0].Fingerprint, strings.ToLower(sub), sub[:20] + " " + sub[20:]} {
		if !keys[0].Names(name) {
			t.Errorf("Names(%q) is false", name)
		}
	}
}

func TestParseKeysMixed(t *testing.T) {
	pgp := string(readFixture(t, "keys/openpgp-ed25519.asc"))
	ssh := string(readFixture(t, "keys/ssh-ed25519.pub"))
	keys, err := ParseKeys([]byte("# Alice\n\n" + pgp + "\r\n" + strings.TrimSpace(ssh) + "\r\n" +
		string(readFixture(t, "keys/openpgp-rsa3072.asc")) + "# end"))
	if err != nil || len(keys) != 3 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	// "gpg --export" of two names writes one block.
	two := armoredKey(t, "PGP PUBLIC KEY BLOCK", func(w *bytes.Buffer) error {
		config := &packet.Config{Algorithm: packet.PubKeyAlgoEd25519}
		return errors.Join(newEntity(t, config).Serialize(w), newEntity(t, config).Serialize(w))
	})
	if keys, err := ParseKeys(two); err != nil || len(keys) != 2 {
		t.Errorf("two keys in one block: %d keys, %v", len(keys), err)
	}
	// Lines are counted across a key block.
	_, err = ParseKeys([]byte("# one\n" + pgp + "junk\n"))
	if want := fmt.Sprintf("line %d:", strings.Count(pgp, "\n")+2); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want it to name %q", err, want)
	}
}

func TestParseKeysRefuses(t *testing.T) {
	ed25519 := strings.Fields(string(readFixture(t, "keys/ssh-ed25519.pub")))
	rsa := strings.Fields(string(readFixture(t, "keys/ssh-rsa3072.pub")))
	pgp := string(readFixture(t, "keys/openpgp-ed25519.asc"))
	fixture := func(name string) string { return string(readFixture(t, "keys/"+name)) }
	// The exponent 65537 with a zero in front.
	padded, err := base64.StdEncoding.DecodeString(rsa[1])
	if err != nil {
		t.Fatal(err)
	}
	padded = append(append(bytes.Clone(padded[:11]), 0, 0, 0, 4, 0), padded[15:]...)
	tests := []struct {
		name, material, want string
		weak                 bool
	}{
		{"nothing", "", "no key", false},
		{"only comments", "# a\n\n", "no key", false},
		{"too long", strings.Repeat("#", 1<<20+1), "more than", false},
		{"prose", "# x\nhello world\n", "line 2: want an SSH public key", false},
		{"options", `namespaces="git" ` + strings.Join(ed25519, " "), "without options", false},
		{"type alone", "ssh-ed25519", "without its base64 part", false},
		{"base64", "ssh-ed25519 AAAA!", "illegal base64", false},
		{"not a key", "ssh-ed25519 AAAA", "ssh-ed25519 key", false},
		{"another type", "ssh-rsa " + ed25519[1], "holds a ssh-ed25519 key", false},
		{"cut off", "ssh-rsa " + rsa[1][:40], "ssh-rsa key", false},
		{"trailing data", "ssh-ed25519 " + ed25519[1] + "AAAA", "ssh-ed25519 key", false},
		{"padded exponent", "ssh-rsa " + base64.StdEncoding.EncodeToString(padded), "not in canonical form", false},
		{"RSA of 2048 bits", fixture("ssh-rsa2048.pub"), "RSA of 2048 bits", true},
		{"DSA", fixture("ssh-dsa.pub"), "ssh-dss", true},
		{"certificate", fixture("ssh-cert-cert.pub"), "certificates", true},
		{"OpenPGP RSA of 2048 bits", fixture("openpgp-rsa2048.asc"), "RSA of 2048 bits", true},
		{"OpenPGP DSA", fixture("openpgp-dsa.asc"), "DSA", true},
		{"OpenPGP that may not sign", fixture("openpgp-cert-only.asc"), "may sign", false},
		{"OpenPGP self-signature by SHA-1", fixture("openpgp-sha1-self.asc"), "SHA-1", true},
		{"OpenPGP without an end", strings.Replace(pgp, pgpKeyEnd, "", 1), "line 1: openpgp key block", false},
		{"OpenPGP of junk", pgpKeyBegin + "\n\nAAAA\n" + pgpKeyEnd, "openpgp key", false},
		{"OpenPGP of nothing", pgpKeyBegin + "\n\n" + pgpKeyEnd, "holds no key", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			keys, err := ParseKeys([]byte(tt.material))
			if err == nil {
				t.Fatalf("parsed: %v", keys)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want it to contain %q", err, tt.want)
			}
			if errors.Is(err, ErrWeakKey) != tt.weak {
				t.Errorf("error %q: wraps ErrWeakKey %v, want %v", err, !tt.weak, tt.weak)
			}
		})
	}
}

// armoredKey exports an entity made in a test.
func armoredKey(t *testing.T, blockType string, write func(w *bytes.Buffer) error) []byte {
	t.Helper()
	var raw, out bytes.Buffer
	if err := write(&raw); err != nil {
		t.Fatal(err)
	}
	w, err := armor.Encode(&out, blockType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(raw.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

func newEntity(t *testing.T, config *packet.Config) *openpgp.Entity {
	t.Helper()
	entity, err := openpgp.NewEntity("Test", "", "test@example.com", config)
	if err != nil {
		t.Fatal(err)
	}
	return entity
}

func TestParseKeysRefusesPrivateAndNewVersions(t *testing.T) {
	entity := newEntity(t, &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	private := armoredKey(t, pgpKeyBegin[11:len(pgpKeyBegin)-5], func(w *bytes.Buffer) error {
		return entity.SerializePrivateWithoutSigning(w, nil)
	})
	if _, err := ParseKeys(private); err == nil || !strings.Contains(err.Error(), "private key") {
		t.Errorf("a private key: %v", err)
	}
	six := newEntity(t, &packet.Config{Algorithm: packet.PubKeyAlgoEd25519, V6Keys: true})
	public := armoredKey(t, "PGP PUBLIC KEY BLOCK", func(w *bytes.Buffer) error { return six.Serialize(w) })
	if _, err := ParseKeys(public); !errors.Is(err, ErrWeakKey) || !strings.Contains(err.Error(), "version 6") {
		t.Errorf("a version 6 key: %v", err)
	}
	curve := newEntity(t, &packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveBrainpoolP256})
	public = armoredKey(t, "PGP PUBLIC KEY BLOCK", func(w *bytes.Buffer) error { return curve.Serialize(w) })
	if _, err := ParseKeys(public); !errors.Is(err, ErrWeakKey) {
		t.Errorf("a brainpool key: %v", err)
	}
}

func TestNewKeyringRefuses(t *testing.T) {
	for _, name := range []string{"openpgp-subkey.asc", "ssh-ed25519.pub"} {
		keys, err := ParseKeys(readFixture(t, "keys/"+name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewKeyring(keys[0], keys[0]); err == nil || !strings.Contains(err.Error(), "stands twice") {
			t.Errorf("%s twice: %v", name, err)
		}
	}
	if _, err := NewKeyring(Key{Fingerprint: "SHA256:x"}); err == nil {
		t.Error("a key that nobody parsed was taken")
	}
}
