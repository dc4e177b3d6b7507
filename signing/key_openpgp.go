package signing

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

const (
	pgpKeyBegin = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	pgpKeyEnd   = "-----END PGP PUBLIC KEY BLOCK-----"
)

// pgpKey is one OpenPGP key or subkey that was made to sign. Everything the
// block says about it is worked out once, without a clock: the block was
// pinned as a whole by those who signed trust.yaml, so that its newest
// self-signatures count, whenever they are read.
type pgpKey struct {
	fingerprint string // upper-case hexadecimal
	public      *packet.PublicKey
	created     time.Time
	expires     time.Time // zero: never
	refusal     error     // why its signatures are refused whatever they say; nil mostly
}

// parsePGPKeys reads the public keys of one armored block.
func parsePGPKeys(block []byte) ([]Key, error) {
	decoded, err := armor.Decode(bytes.NewReader(block))
	if err != nil {
		return nil, fmt.Errorf("openpgp key block: %w", err)
	}
	raw, err := io.ReadAll(decoded.Body)
	if err != nil {
		return nil, fmt.Errorf("openpgp key block: %w", err)
	}
	if !bytes.HasSuffix(bytes.TrimSpace(block), []byte(pgpKeyEnd)) {
		return nil, fmt.Errorf("openpgp key block: no line %q", pgpKeyEnd)
	}
	var keys []Key
	packets := packet.NewReader(bytes.NewReader(raw))
	for {
		entity, err := openpgp.ReadEntity(packets)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("openpgp key %d: %w", len(keys)+1, err)
		}
		key, err := newPGPKey(entity)
		if err != nil {
			return nil, fmt.Errorf("openpgp key %X: %w", entity.PrimaryKey.Fingerprint, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("openpgp key block: holds no key")
	}
	return keys, nil
}

// newPGPKey works out what may sign of an entity.
func newPGPKey(entity *openpgp.Entity) (Key, error) {
	primary := entity.PrimaryKey
	if entity.PrivateKey != nil {
		return Key{}, errors.New("this is a private key: put the public one here, and replace the key")
	}
	if primary.Version != 4 {
		return Key{}, fmt.Errorf("%w: version %d keys are not supported, want version 4", ErrWeakKey, primary.Version)
	}
	algorithm, err := pgpAlgorithm(primary)
	if err != nil {
		return Key{}, err
	}
	self := newestSelfSignature(entity)
	if self == nil {
		return Key{}, errors.New("no valid self-signature")
	}
	if err := checkSelfSignature(self); err != nil {
		return Key{}, err
	}
	expires := pgpExpiry(primary, self)
	if direct := newestValid(entity.DirectSignatures, primary.VerifyDirectKeySignature); direct != nil {
		expires = earlier(expires, pgpExpiry(primary, direct))
	}
	revoked := isRevoked(entity.Revocations, primary.VerifyRevocationSignature)
	key := Key{Fingerprint: fmt.Sprintf("%X", primary.Fingerprint), Kind: "openpgp:" + algorithm}
	if self.FlagsValid && self.FlagSign {
		key.addPGP(primary, expires, revoked, nil)
	}
	for i := range entity.Subkeys {
		key.addSubkey(&entity.Subkeys[i], expires, revoked)
	}
	if len(key.openpgp) == 0 {
		return Key{}, errors.New("neither the key nor a subkey may sign")
	}
	for _, k := range key.openpgp {
		if !errors.Is(k.refusal, ErrWeakKey) {
			return key, nil
		}
	}
	return Key{}, key.openpgp[0].refusal
}

// addSubkey adds a subkey that is bound to sign; others are left out.
func (k *Key) addSubkey(sub *openpgp.Subkey, expires time.Time, revoked bool) {
	primary := sub.Primary.PrimaryKey
	binding := newestValid(sub.Bindings, func(sig *packet.Signature) error {
		return primary.VerifyKeySignature(sub.PublicKey, sig)
	})
	if binding == nil || !binding.FlagsValid || !binding.FlagSign {
		return
	}
	_, err := pgpAlgorithm(sub.PublicKey)
	if err == nil {
		err = checkSelfSignature(binding)
	}
	revoked = revoked || isRevoked(sub.Revocations, func(sig *packet.Signature) error {
		return primary.VerifySubkeyRevocationSignature(sig, sub.PublicKey)
	})
	k.addPGP(sub.PublicKey, earlier(expires, pgpExpiry(sub.PublicKey, binding)), revoked, err)
}

// addPGP adds a key or subkey that may sign. A revoked one stays listed, so
// that its signatures are refused for that reason.
func (k *Key) addPGP(public *packet.PublicKey, expires time.Time, revoked bool, weak error) {
	added := &pgpKey{
		fingerprint: fmt.Sprintf("%X", public.Fingerprint),
		public:      public,
		created:     public.CreationTime,
		expires:     expires,
		refusal:     weak,
	}
	if revoked {
		added.refusal = fmt.Errorf("%w: openpgp %s by its own key block", ErrKeyRevoked, added.fingerprint)
	}
	k.openpgp = append(k.openpgp, added)
}

// revokesItself reports whether the key's own block revokes all of it that may
// sign. Of a subkey alone it cannot be told afterwards what that one signed.
func (k Key) revokesItself() bool {
	return len(k.openpgp) > 0 && !slices.ContainsFunc(k.openpgp, func(part *pgpKey) bool {
		return !errors.Is(part.refusal, ErrKeyRevoked)
	})
}

// pgpAlgorithm names the algorithm of a key, or refuses it.
func pgpAlgorithm(public *packet.PublicKey) (string, error) {
	switch public.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		bits, err := public.BitLength()
		if err != nil {
			return "", fmt.Errorf("size of the RSA key: %w", err)
		}
		return fmt.Sprintf("rsa%d", bits), checkRSABits(int(bits))
	case packet.PubKeyAlgoDSA:
		return "", fmt.Errorf("%w: DSA is too weak", ErrWeakKey)
	case packet.PubKeyAlgoEd25519:
		return "ed25519", nil
	case packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoECDSA:
		curve, err := public.Curve()
		if err != nil {
			return "", fmt.Errorf("curve: %w", err)
		}
		switch curve {
		case packet.Curve25519:
			return "ed25519", nil
		case packet.CurveNistP256:
			return "nistp256", nil
		case packet.CurveNistP384:
			return "nistp384", nil
		case packet.CurveNistP521:
			return "nistp521", nil
		default:
			return "", fmt.Errorf("%w: curve %s is not supported", ErrWeakKey, curve)
		}
	default:
		return "", fmt.Errorf("%w: OpenPGP algorithm %d is not supported", ErrWeakKey, public.PubKeyAlgo)
	}
}

// newestSelfSignature returns the newest self-signature over a user id that is
// not revoked, and of equally new ones that of the first user id in
// alphabetical order; nil when there is none.
func newestSelfSignature(entity *openpgp.Entity) *packet.Signature {
	var newest *packet.Signature
	for _, name := range slices.Sorted(maps.Keys(entity.Identities)) {
		identity := entity.Identities[name]
		verify := func(sig *packet.Signature) error {
			return entity.PrimaryKey.VerifyUserIdSignature(identity.Name, entity.PrimaryKey, sig)
		}
		sig := newestValid(identity.SelfCertifications, verify)
		if sig == nil {
			continue
		}
		gone := newestValid(identity.Revocations, verify)
		if gone != nil && !gone.CreationTime.Before(sig.CreationTime) {
			continue
		}
		if newest == nil || sig.CreationTime.After(newest.CreationTime) {
			newest = sig
		}
	}
	return newest
}

// newestValid returns the newest of the signatures that verify; nil when none
// does.
func newestValid(sigs []*packet.VerifiableSignature, verify func(*packet.Signature) error) *packet.Signature {
	var newest *packet.Signature
	for _, candidate := range sigs {
		sig := candidate.Packet
		if verify(sig) == nil && (newest == nil || !sig.CreationTime.Before(newest.CreationTime)) {
			newest = sig
		}
	}
	return newest
}

// checkSelfSignature refuses a self-signature that cannot be relied on. An
// older one is no way out: what the newest one says would be forgotten.
func checkSelfSignature(sig *packet.Signature) error {
	if sig.EmbeddedSignature != nil && weakHash(sig.EmbeddedSignature.Hash) {
		return fmt.Errorf("%w: a subkey's cross-signature is made with %s", ErrWeakKey, sig.EmbeddedSignature.Hash)
	}
	if weakHash(sig.Hash) {
		return fmt.Errorf("%w: its newest self-signature is made with %s: sign the key again with SHA-256 or better",
			ErrWeakKey, sig.Hash)
	}
	if hasCriticalNotation(sig) {
		return fmt.Errorf("%w: its self-signature carries a critical notation, which is not understood", ErrWeakKey)
	}
	return nil
}

// isRevoked reports whether one of the revocations verifies. Neither its time
// nor its reason matters: a revoked key signs nothing new, whatever any clock
// says. A weak hash does not save a key that revokes itself.
func isRevoked(revocations []*packet.VerifiableSignature, verify func(*packet.Signature) error) bool {
	for _, revocation := range revocations {
		if verify(revocation.Packet) == nil {
			return true
		}
	}
	return false
}

// weakHash reports whether signatures with the hash are refused.
func weakHash(h crypto.Hash) bool {
	switch h {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
		return false
	default:
		return true
	}
}

// hasCriticalNotation reports whether a signature demands to be understood in
// a way that nothing here does.
func hasCriticalNotation(sig *packet.Signature) bool {
	for _, notation := range sig.Notations {
		if notation.IsCritical {
			return true
		}
	}
	return false
}

// pgpExpiry is the time until which a self-signature lets a key be used, by
// the key's lifetime and by its own; zero for ever.
func pgpExpiry(public *packet.PublicKey, self *packet.Signature) time.Time {
	return earlier(
		expiry(public.CreationTime, self.KeyLifetimeSecs),
		expiry(self.CreationTime, self.SigLifetimeSecs),
	)
}

// expiry adds an OpenPGP lifetime to a time. None, like 0 s, means for ever.
func expiry(from time.Time, seconds *uint32) time.Time {
	if seconds == nil || *seconds == 0 {
		return time.Time{}
	}
	return from.Add(time.Duration(*seconds) * time.Second)
}

// earlier returns the earlier of two expiry times, of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
