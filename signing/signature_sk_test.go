package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// newSSHSigner makes an ed25519 key.
func newSSHSigner(t *testing.T) (ssh.Signer, Key) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, parseOne(t, signer.PublicKey())
}

func parseOne(t *testing.T, public ssh.PublicKey) Key {
	t.Helper()
	keys, err := ParseKeys(ssh.MarshalAuthorizedKey(public))
	if err != nil {
		t.Fatal(err)
	}
	return keys[0]
}

// sshBlobWith changes a signature and puts it back into armor.
func sshBlobWith(blob *sshBlob, change func(*sshBlob)) []byte {
	changed := *blob
	change(&changed)
	return sshArmor().encode(append([]byte(sshMagic), ssh.Marshal(changed)...))
}

// securityKey is a security key in software: it signs what a real one signs
// (OpenSSH's PROTOCOL.u2f) and says whatever the test wants about the touch.
type securityKey struct {
	kind   string
	public []byte // wire form
	sign   func(message []byte) []byte
}

const skApplication = "ssh:"

func newSecurityKey(t *testing.T, kind string) securityKey {
	t.Helper()
	if kind == ssh.KeyAlgoSKED25519 {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return securityKey{
			kind: kind,
			public: ssh.Marshal(struct {
				Kind        string
				Key         []byte
				Application string
			}{kind, public, skApplication}),
			sign: func(message []byte) []byte { return ed25519.Sign(private, message) },
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return securityKey{
		kind: kind,
		public: ssh.Marshal(struct {
			Kind, Curve string
			Point       []byte
			Application string
		}{kind, "nistp256", point, skApplication}),
		sign: func(message []byte) []byte {
			digest := sha256.Sum256(message)
			der, err := private.Sign(rand.Reader, digest[:], crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			return ecdsaNumbers(t, der)
		},
	}
}

// ecdsaNumbers turns a DER signature into SSH's two numbers.
func ecdsaNumbers(t *testing.T, der []byte) []byte {
	t.Helper()
	// SEQUENCE, INTEGER r, INTEGER s: all short for P-256.
	r := der[4 : 4+int(der[3])]
	s := der[4+int(der[3])+2:]
	return ssh.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
}

// signGit signs a payload for git.
func (k securityKey) signGit(payload []byte, flags byte, counter uint32) []byte {
	digest := sha512.Sum512(payload)
	signed := append([]byte(sshMagic), ssh.Marshal(sshSigned{Namespace: "git", Hash: "sha512", Digest: digest[:]})...)
	application, message := sha256.Sum256([]byte(skApplication)), sha256.Sum256(signed)
	rest := binary.BigEndian.AppendUint32([]byte{flags}, counter)
	proper := k.sign(append(append(application[:], rest...), message[:]...))
	inner := ssh.Marshal(ssh.Signature{Format: k.kind, Blob: proper, Rest: rest})
	blob := &sshBlob{Version: 1, PublicKey: k.public, Namespace: "git", Hash: "sha512", Signature: inner}
	return sshBlobWith(blob, func(*sshBlob) {})
}

func TestSecurityKeys(t *testing.T) {
	payload := []byte("tree and so on\n")
	for _, kind := range []string{ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256} {
		t.Run(kind, func(t *testing.T) {
			sk := newSecurityKey(t, kind)
			public, err := ssh.ParsePublicKey(sk.public)
			if err != nil {
				t.Fatal(err)
			}
			key := parseOne(t, public)
			ring, err := NewKeyring(key)
			if err != nil {
				t.Fatal(err)
			}
			touched := sk.signGit(payload, 0x01, 7)
			got, err := ring.Verify(payload, touched, fixtureNow)
			if err != nil || got.Kind != kind {
				t.Errorf("touched: key %+v, %v", got, err)
			}
			// User presence and user verification (a PIN).
			if _, err := ring.Verify(payload, sk.signGit(payload, 0x05, 8), fixtureNow); err != nil {
				t.Errorf("touched and verified: %v", err)
			}
			untouched := sk.signGit(payload, 0x00, 9)
			_, err = ring.Verify(payload, untouched, fixtureNow)
			if !errors.Is(err, ErrBadSignature) || !strings.Contains(err.Error(), "without a touch") {
				t.Errorf("not touched: %v", err)
			}
			// Only the PIN, without a touch.
			if _, err := ring.Verify(payload, sk.signGit(payload, 0x04, 9), fixtureNow); !errors.Is(err, ErrBadSignature) {
				t.Errorf("verified, but not touched: %v", err)
			}
			if _, err := ring.Verify([]byte("other"), touched, fixtureNow); !errors.Is(err, ErrBadSignature) {
				t.Errorf("another payload: %v", err)
			}
			checkWithOpenSSH(t, public, payload, touched)
		})
	}
}

// checkWithOpenSSH asks ssh-keygen about a signature that must be good: our
// generator makes what OpenSSH understands.
func checkWithOpenSSH(t *testing.T, public ssh.PublicKey, payload, signature []byte) {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed")
	}
	dir := t.TempDir()
	signers, file := filepath.Join(dir, "signers"), filepath.Join(dir, "sig")
	if err := os.WriteFile(signers, append([]byte("alice "), ssh.MarshalAuthorizedKey(public)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, signature, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "ssh-keygen", "-Y", "verify", "-f", signers, "-I", "alice", "-n", "git", "-s", file)
	cmd.Stdin = strings.NewReader(string(payload))
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("ssh-keygen: %v\n%s", err, output)
	}
}
