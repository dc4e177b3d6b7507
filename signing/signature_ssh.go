package signing

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"math/big"

	"golang.org/x/crypto/ssh"
)

// The fixed parts of the SSHSIG format (OpenSSH's PROTOCOL.sshsig).
const (
	sshMagic     = "SSHSIG"
	sshVersion   = 1
	sshNamespace = "git"
)

// sshBlob is an SSH signature behind its magic.
type sshBlob struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  []byte
	Hash      string
	Signature []byte
}

// sshSigned is what an SSH signature signs, behind the same magic.
type sshSigned struct {
	Namespace string
	Reserved  []byte
	Hash      string
	Digest    []byte
}

// verifySSH checks an armored SSH signature.
func (k *Keyring) verifySSH(payload, signature []byte) (Key, error) {
	raw, err := sshArmor().decode(signature)
	if err != nil {
		return Key{}, err
	}
	blob, err := parseSSHBlob(raw)
	if err != nil {
		return Key{}, err
	}
	if blob.Namespace != sshNamespace {
		return Key{}, badSignature("SSH namespace %q, want %q", clip([]byte(blob.Namespace)), sshNamespace)
	}
	digest, err := sshDigest(blob.Hash, payload)
	if err != nil {
		return Key{}, err
	}
	key, known := k.ssh[string(blob.PublicKey)]
	if !known {
		return Key{}, unknownSSHKey(blob.PublicKey)
	}
	sig, err := parseSSHSignature(key, blob.Signature)
	if err != nil {
		return Key{}, fmt.Errorf("%w (key %s)", err, key.Fingerprint)
	}
	signed := append([]byte(sshMagic), ssh.Marshal(sshSigned{
		Namespace: blob.Namespace,
		Hash:      blob.Hash,
		Digest:    digest,
	})...)
	if err := key.ssh.Verify(signed, sig); err != nil {
		return Key{}, badSignature("does not verify with key %s: what was signed is not this", key.Fingerprint)
	}
	return key, nil
}

// parseSSHBlob reads the parts of a signature. Strings have one encoding, and
// Unmarshal refuses data behind them.
func parseSSHBlob(raw []byte) (*sshBlob, error) {
	rest, ok := bytes.CutPrefix(raw, []byte(sshMagic))
	if !ok {
		return nil, badSignature("not an SSH signature: no %q at its start", sshMagic)
	}
	var blob sshBlob
	if err := ssh.Unmarshal(rest, &blob); err != nil {
		return nil, badSignature("SSH signature: %v", err)
	}
	if blob.Version != sshVersion {
		return nil, badSignature("SSH signature version %d, want %d", blob.Version, sshVersion)
	}
	// The reserved part is not covered by the signature.
	if len(blob.Reserved) != 0 {
		return nil, badSignature("SSH signature with data in its reserved part")
	}
	return &blob, nil
}

// sshDigest hashes the payload with the hash that the signature names.
func sshDigest(hash string, payload []byte) ([]byte, error) {
	switch hash {
	case "sha512":
		sum := sha512.Sum512(payload)
		return sum[:], nil
	case "sha256":
		sum := sha256.Sum256(payload)
		return sum[:], nil
	}
	return nil, badSignature("SSH signature over hash %q, want sha512 or sha256", clip([]byte(hash)))
}

// parseSSHSignature reads the innermost part, the signature proper, and checks
// that it is one that the key makes.
func parseSSHSignature(key Key, raw []byte) (*ssh.Signature, error) {
	var sig ssh.Signature
	if err := ssh.Unmarshal(raw, &sig); err != nil {
		return nil, badSignature("SSH signature: %v", err)
	}
	switch key.Kind {
	case ssh.KeyAlgoRSA:
		if sig.Format != ssh.KeyAlgoRSASHA512 && sig.Format != ssh.KeyAlgoRSASHA256 {
			return nil, badSignature("RSA signature of kind %q, want rsa-sha2-512 or rsa-sha2-256",
				clip([]byte(sig.Format)))
		}
		if len(sig.Blob) != key.rsaSize {
			return nil, badSignature("RSA signature of %d bytes, want %d", len(sig.Blob), key.rsaSize)
		}
	default:
		if sig.Format != key.Kind {
			return nil, badSignature("signature of kind %q by a %s key", clip([]byte(sig.Format)), key.Kind)
		}
	}
	return &sig, checkSSHRest(key.Kind, &sig)
}

// checkSSHRest checks what stands behind a signature proper, which only
// security keys write, and the numbers in ECDSA signatures.
func checkSSHRest(kind string, sig *ssh.Signature) error {
	switch kind {
	case ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		// One byte of flags and four of a counter, both signed.
		if len(sig.Rest) != 5 {
			return badSignature("security key signature without flags and counter")
		}
		if sig.Rest[0]&skUserPresent == 0 {
			return badSignature("security key signature made without a touch")
		}
	default:
		if len(sig.Rest) != 0 {
			return badSignature("trailing data in the SSH signature")
		}
	}
	switch kind {
	case ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256:
		var numbers struct{ R, S *big.Int }
		if err := ssh.Unmarshal(sig.Blob, &numbers); err != nil {
			return badSignature("ECDSA signature: %v", err)
		}
		if !bytes.Equal(ssh.Marshal(numbers), sig.Blob) {
			return badSignature("ECDSA signature is not canonical")
		}
	}
	return nil
}

// unknownSSHKey names the key that a signature claims to be made by.
func unknownSSHKey(blob []byte) error {
	public, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return badSignature("SSH signature by an unreadable key: %v", err)
	}
	return fmt.Errorf("%w: %s %s", ErrUnknownKey, public.Type(), ssh.FingerprintSHA256(public))
}
