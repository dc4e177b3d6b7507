package signing

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// The ways in which Keyring.Verify refuses a signature.
var (
	// ErrUnsigned is returned when there is no signature.
	ErrUnsigned = errors.New("not signed")
	// ErrUnknownKey is returned when the signature names a key that the keyring
	// does not hold. Whether the signature verifies is then not known.
	ErrUnknownKey = errors.New("signed by an unknown key")
	// ErrBadSignature is returned when a signature does not verify, or is of a
	// refused kind or form.
	ErrBadSignature = errors.New("bad signature")
	// ErrKeyExpired is returned when the key that made a good signature is
	// expired by its own self-signature, at the time of judgement or when it
	// signed.
	ErrKeyExpired = errors.New("key expired")
	// ErrKeyRevoked is returned, beside ErrBadSignature, when the key's own
	// block holds its revocation.
	ErrKeyRevoked = errors.New("key revoked")
)

// Keyring verifies signatures by a fixed set of keys. It never changes after
// NewKeyring and is safe for concurrent use.
type Keyring struct {
	ssh map[string]Key       // by wire form of the public key
	pgp map[string]pgpSigner // by fingerprint of the key or subkey that signs
}

// pgpSigner is an OpenPGP key or subkey and the Key that it belongs to.
type pgpSigner struct {
	key  Key
	part *pgpKey
}

// NewKeyring returns a keyring of the given keys. A key that stands twice is
// an error: it would have two owners.
func NewKeyring(keys ...Key) (*Keyring, error) {
	ring := &Keyring{ssh: make(map[string]Key), pgp: make(map[string]pgpSigner)}
	for _, key := range keys {
		if key.ssh == nil && len(key.openpgp) == 0 {
			return nil, fmt.Errorf("key %q was not made by ParseKeys", key.Fingerprint)
		}
		if key.ssh != nil {
			blob := string(key.ssh.Marshal())
			if _, twice := ring.ssh[blob]; twice {
				return nil, fmt.Errorf("key %s stands twice", key.Fingerprint)
			}
			ring.ssh[blob] = key
		}
		for _, part := range key.openpgp {
			if _, twice := ring.pgp[part.fingerprint]; twice {
				return nil, fmt.Errorf("key %s stands twice", part.fingerprint)
			}
			ring.pgp[part.fingerprint] = pgpSigner{key: key, part: part}
		}
	}
	return ring, nil
}

// Verify checks that a key of the keyring made the signature over the payload,
// and returns that key. Signature is armored, as in a commit's gpgsig header.
// Now is the time by which a key's expiry is judged; an OpenPGP signature's own
// time, which its maker chose, cannot save an expired key. The error wraps
// ErrUnsigned, ErrUnknownKey, ErrBadSignature, ErrKeyExpired,
// ErrKeyNotYetValid or ErrKeyRevoked and says why.
//
// Exactly one spelling of a signature is accepted, as far as its kind allows
// that: armor, packets and numbers must be in the canonical form, so that
// nobody without the key can make a second commit id out of a signed commit.
// ECDSA signatures are the exception by nature: (r, s) and (r, -s) both hold.
func (k *Keyring) Verify(payload, signature []byte, now time.Time) (Key, error) {
	switch {
	case len(signature) == 0:
		return Key{}, ErrUnsigned
	case bytes.HasPrefix(signature, []byte(sshBegin)):
		key, err := k.verifySSH(payload, signature)
		if err == nil {
			err = key.checkTime(now)
		}
		if err != nil {
			return Key{}, err
		}
		return key, nil
	case bytes.HasPrefix(signature, []byte(pgpBegin)):
		return k.verifyPGP(payload, signature, now)
	case bytes.HasPrefix(signature, []byte("-----BEGIN SIGNED MESSAGE-----")):
		return Key{}, badSignature("X.509 signatures are not supported")
	}
	return Key{}, badSignature("neither an OpenPGP nor an SSH signature block")
}

// badSignature makes an error that wraps ErrBadSignature.
func badSignature(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadSignature, fmt.Sprintf(format, args...))
}
