package identity

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// A unit of the fleet repository (a deployment, or cluster.yaml) has an age
// identity of its own, to which its secrets are encrypted: what was copied into
// another unit does not decrypt there. All are derived from one secret of the
// cluster, so that there is nothing to keep for each.

// UnitSecretBytes is the size of the secret that units' identities are derived
// from.
const UnitSecretBytes = 32

// unitDomain separates this derivation from others, and is followed by a zero
// byte and the unit's name. Never change it: every secret of every cluster is
// encrypted to what comes out.
const unitDomain = "jaco unit identity 1\x00"

// maxUnwrapped bounds, in bytes, what a unit's identity decrypts: data keys of
// SOPS and credentials.
const maxUnwrapped = 64 << 10

// secretPrefix is age's for identities.
const secretPrefix = "AGE-SECRET-KEY-"

// The ways in which using a unit's identity fails.
var (
	// ErrWrongRecipient is returned for what is encrypted to somebody else.
	ErrWrongRecipient = errors.New("not encrypted to this recipient")
	// ErrBadArmor is returned for what is not an age file in armor, is damaged, or
	// too large.
	ErrBadArmor = errors.New("not an age file in armor")
)

// UnitKey is the identity of one unit. It prints as its recipient.
type UnitKey struct{ identity *age.X25519Identity }

// DeriveUnitKey returns the identity of the unit of that name: a deployment's,
// or "cluster".
func DeriveUnitKey(secret []byte, unit string) (*UnitKey, error) {
	if len(secret) != UnitSecretBytes || unit == "" {
		return nil, fmt.Errorf("derive the identity of %q: %w: a secret of %d bytes", unit, ErrBadKey, len(secret))
	}
	scalar, err := hkdf.Key(sha256.New, secret, nil, unitDomain+unit, 32)
	if err != nil {
		return nil, fmt.Errorf("derive the identity of %q: %w", unit, err)
	}
	return ParseUnitKey(bech32(secretPrefix, scalar))
}

// ParseUnitKey reads what Secret returned. Its errors never repeat it.
func ParseUnitKey(secret string) (*UnitKey, error) {
	id, err := parseSealKey([]byte(secret))
	if err != nil {
		return nil, err
	}
	return &UnitKey{id}, nil
}

// Secret is the identity itself, to be handed to a node that may have it.
func (k *UnitKey) Secret() string { return k.identity.String() }

// Recipient is what secrets of the unit are encrypted to: "age1…".
func (k *UnitKey) Recipient() string { return k.identity.Recipient().String() }

// String implements fmt.Stringer.
func (k *UnitKey) String() string { return k.Recipient() }

// GoString implements fmt.GoStringer.
func (k *UnitKey) GoString() string { return k.Recipient() }

// Open decrypts an age file in armor of at most 64 KiB. Errors wrap
// ErrWrongRecipient or ErrBadArmor and hold nothing of it.
func (k *UnitKey) Open(armored string) ([]byte, error) {
	if len(armored) > 2*maxUnwrapped {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrBadArmor, maxUnwrapped)
	}
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(strings.TrimSpace(armored)+"\n")), k.identity)
	var noMatch *age.NoIdentityMatchError
	switch {
	case errors.As(err, &noMatch):
		return nil, fmt.Errorf("%w %s", ErrWrongRecipient, k.Recipient())
	case err != nil:
		return nil, ErrBadArmor
	}
	var out bytes.Buffer
	if n, err := io.Copy(&out, io.LimitReader(r, maxUnwrapped+1)); err != nil || n > maxUnwrapped {
		return nil, fmt.Errorf("%w: damaged, or larger than %d bytes", ErrBadArmor, maxUnwrapped)
	}
	return out.Bytes(), nil
}
