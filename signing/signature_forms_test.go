package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// newSSHRing makes a signer of a private key and a keyring of its public one.
func newSSHRing(t *testing.T, private any) (ssh.AlgorithmSigner, *Keyring) {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := NewKeyring(parseOne(t, signer.PublicKey()))
	if err != nil {
		t.Fatal(err)
	}
	return signer.(ssh.AlgorithmSigner), ring
}

// signSSH signs for git; change may spoil the signature proper.
func signSSH(t *testing.T, signer ssh.AlgorithmSigner, algorithm string, payload []byte, change func(*ssh.Signature)) []byte {
	t.Helper()
	digest, err := sshDigest("sha512", payload)
	if err != nil {
		t.Fatal(err)
	}
	signed := append([]byte(sshMagic), ssh.Marshal(sshSigned{Namespace: "git", Hash: "sha512", Digest: digest})...)
	sig, err := signer.SignWithAlgorithm(rand.Reader, signed, algorithm)
	if err != nil {
		t.Fatal(err)
	}
	change(sig)
	blob := &sshBlob{Version: 1, PublicKey: signer.PublicKey().Marshal(), Namespace: "git", Hash: "sha512", Signature: ssh.Marshal(*sig)}
	return sshBlobWith(blob, func(*sshBlob) {})
}

// paddedNumbers puts a zero byte before the first of two SSH numbers.
func paddedNumbers(blob []byte) []byte {
	size := binary.BigEndian.Uint32(blob)
	out := binary.BigEndian.AppendUint32(nil, size+1)
	return append(append(out, 0), blob[4:]...)
}

func TestSSHForms(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	big, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	payload := []byte("payload")
	tests := []struct {
		name      string
		private   any
		algorithm string
		change    func(*ssh.Signature)
		want      string // empty: accepted
	}{
		{"ecdsa", curve, ssh.KeyAlgoECDSA256, func(*ssh.Signature) {}, ""},
		{"ecdsa padded", curve, ssh.KeyAlgoECDSA256, func(s *ssh.Signature) { s.Blob = paddedNumbers(s.Blob) }, "not canonical"},
		{"ecdsa trailing", curve, ssh.KeyAlgoECDSA256, func(s *ssh.Signature) { s.Blob = append(s.Blob, 0) }, "ECDSA signature"},
		{"ecdsa with a rest", curve, ssh.KeyAlgoECDSA256, func(s *ssh.Signature) { s.Rest = []byte{1, 0, 0, 0, 0} }, "trailing data"},
		{"ecdsa of another kind", curve, ssh.KeyAlgoECDSA256, func(s *ssh.Signature) { s.Format = ssh.KeyAlgoECDSA384 }, "of kind"},
		{"rsa-sha2-512", big, ssh.KeyAlgoRSASHA512, func(*ssh.Signature) {}, ""},
		{"rsa-sha2-256", big, ssh.KeyAlgoRSASHA256, func(*ssh.Signature) {}, ""},
		{"rsa with SHA-1", big, ssh.KeyAlgoRSA, func(*ssh.Signature) {}, `kind "ssh-rsa"`},
		{"rsa padded", big, ssh.KeyAlgoRSASHA512, func(s *ssh.Signature) { s.Blob = append([]byte{0}, s.Blob...) }, "385 bytes"},
		{"rsa with a rest", big, ssh.KeyAlgoRSASHA512, func(s *ssh.Signature) { s.Rest = []byte{0} }, "trailing data"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			signer, ring := newSSHRing(t, tt.private)
			_, err := ring.Verify(payload, signSSH(t, signer, tt.algorithm, payload, tt.change), fixtureNow)
			if tt.want == "" && err != nil {
				t.Error(err)
			}
			if tt.want != "" && (!errors.Is(err, ErrBadSignature) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want a bad signature that says %q", err, tt.want)
			}
		})
	}
}

// TestSSHShortRSA leaves the zero out that one RSA signature of 256 starts
// with: the library takes it, and it would be a second spelling.
func TestSSHShortRSA(t *testing.T) {
	keys, err := ParseKeys(readFixture(t, "keys/ssh-rsa3072.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]bool{383: false, 384: true, 385: false, 0: false} {
		raw := ssh.Marshal(ssh.Signature{Format: ssh.KeyAlgoRSASHA512, Blob: make([]byte, size)})
		if _, err := parseSSHSignature(keys[0], raw); (err == nil) != want {
			t.Errorf("RSA signature of %d bytes: %v", size, err)
		}
	}
}

// TestOpenPGPPacketForms spoils what no signature covers, or what a reader
// could take in two ways, below the armor.
func TestOpenPGPPacketForms(t *testing.T) {
	_, signature := fixtureSignature(t, "openpgp-ed25519")
	raw, err := pgpArmor().decode(signature)
	if err != nil {
		t.Fatal(err)
	}
	body := raw[2:]
	hashed := int(binary.BigEndian.Uint16(body[4:]))
	fingerprint := bytes.Index(body, []byte{22, pgpSubFingerprint, 4})
	if fingerprint < 0 {
		t.Fatal("the fixture has no issuer fingerprint")
	}
	packet := func(body []byte) []byte { return append([]byte{pgpOldHeader, byte(len(body))}, body...) }
	with := func(at int, value byte) []byte {
		changed := bytes.Clone(body)
		changed[at] = value
		return packet(changed)
	}
	twice := bytes.Clone(body[:6+hashed])
	twice = append(twice, body[fingerprint:fingerprint+23]...)
	binary.BigEndian.PutUint16(twice[4:], uint16(hashed+23))
	twice = append(twice, body[6+hashed:]...)
	tests := []struct {
		name string
		raw  []byte
		want string
	}{
		{"two fingerprints", packet(twice), "want one issuer fingerprint"},
		{"fingerprint of a version 6 key", with(fingerprint+2, 6), "want one issuer fingerprint"},
		{"no fingerprint", with(fingerprint+1, 100), "does not name the key's fingerprint"},
		{"empty subpacket", with(6, 0), "cut off"},
		{"huge subpacket", with(6, 255), "oversized"},
		{"long subpacket", with(6, 191), "cut off"},
		{"long hashed part", with(4, 0xff), "cut off"},
		{"long unhashed part", with(6+hashed, 0xff), "cut off"},
		{"MD5", with(3, 1), "MD5"},
		{"RIPEMD", with(3, 3), "algorithm 3"},
		{"DSA", with(2, 17), "DSA"},
		{"unknown algorithm", with(2, 99), "OpenPGP signature"},
		{"padded number", with(len(body)-66, 2), "not canonical"},
		{"cut off", packet(body[:len(body)-1]), "cut off"},
		{"cut off in the middle", packet(body[:5]), "cut off"},
		{"longer than it says", append(packet(body), 0), "second signature"},
		{"partial length", append([]byte{pgpNewHeader, 0xe0}, body...), "canonical form"},
		{"old format of no length", append([]byte{0x8b}, body...), "canonical form"},
	}
	if _, err := parsePGPSignature(packet(body)); err != nil {
		t.Fatalf("the signature to be spoilt: %v", err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parsePGPSignature(tt.raw)
			if !errors.Is(err, ErrBadSignature) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want a bad signature that says %q", err, tt.want)
			}
		})
	}
}
