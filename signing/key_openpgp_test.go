package signing

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// The life of the keys in these tests.
var (
	keyMade    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	keySigned  = keyMade.Add(time.Hour)
	keyPresent = keyMade.Add(2 * time.Hour)
)

// testConfig makes ed25519 keys and signatures at a time; lifetime is the
// key's, in seconds.
func testConfig(when time.Time, lifetime uint32) *packet.Config {
	return &packet.Config{Algorithm: packet.PubKeyAlgoEd25519, Time: at(when), KeyLifetimeSecs: lifetime}
}

// plain keeps the library from adding a salt to signatures, which it cannot do
// for the hashes that are refused.
func plain() *packet.Config {
	return &packet.Config{NonDeterministicSignaturesViaNotation: new(bool)}
}

func entityKeys(t *testing.T, entity *openpgp.Entity) ([]Key, error) {
	t.Helper()
	return ParseKeys(armoredKey(t, "PGP PUBLIC KEY BLOCK", func(w *bytes.Buffer) error { return entity.Serialize(w) }))
}

// signPacket signs with a given key, however old, revoked or expired it is.
func signPacket(t *testing.T, private *packet.PrivateKey, payload []byte, change func(*packet.Signature)) []byte {
	t.Helper()
	sig := &packet.Signature{
		Version: 4, SigType: packet.SigTypeBinary, PubKeyAlgo: private.PubKeyAlgo, Hash: crypto.SHA256,
		CreationTime: keySigned, IssuerKeyId: &private.KeyId,
	}
	change(sig)
	hash := sig.Hash.New()
	hash.Write(payload)
	if err := sig.Sign(hash, private, plain()); err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	if err := sig.Serialize(&raw); err != nil {
		t.Fatal(err)
	}
	return pgpArmor().encode(raw.Bytes())
}

// must fails the test on an error of the library, of which there should be none.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestOpenPGPKeyLife changes one thing about a key with a signing subkey and
// lets the primary key (false) or the subkey (true) sign.
func TestOpenPGPKeyLife(t *testing.T) {
	hour := uint32(3600)
	direct := func(t *testing.T, e *openpgp.Entity) {
		sig := &packet.Signature{
			Version: 4, SigType: packet.SigTypeDirectSignature, PubKeyAlgo: e.PrimaryKey.PubKeyAlgo, Hash: crypto.SHA256,
			CreationTime: keyMade, KeyLifetimeSecs: &hour, IssuerKeyId: &e.PrimaryKey.KeyId,
		}
		must(t, sig.SignDirectKeyBinding(e.PrimaryKey, e.PrivateKey, plain()))
		e.DirectSignatures = append(e.DirectSignatures, packet.NewVerifiableSig(sig))
	}
	// A newer self-signature that grants another lifetime.
	renew := func(lifetime uint32) func(*testing.T, *openpgp.Entity) {
		return func(t *testing.T, e *openpgp.Entity) {
			for name, identity := range e.Identities {
				newer := *identity.SelfCertifications[0].Packet
				newer.CreationTime, newer.KeyLifetimeSecs = keySigned, &lifetime
				must(t, newer.SignUserId(name, e.PrimaryKey, e.PrivateKey, plain()))
				identity.SelfCertifications = append([]*packet.VerifiableSignature{packet.NewVerifiableSig(&newer)}, identity.SelfCertifications...)
			}
		}
	}
	tests := []struct {
		name                 string
		lifetime, subkeyLife uint32
		change               func(*testing.T, *openpgp.Entity)
		primary, subkey      error
	}{
		{name: "as made"},
		{name: "all expired", lifetime: hour, primary: ErrKeyExpired, subkey: ErrKeyExpired},
		{name: "subkey expired", subkeyLife: hour, subkey: ErrKeyExpired},
		{name: "subkey outlives its key", lifetime: hour, subkeyLife: 9 * hour, primary: ErrKeyExpired, subkey: ErrKeyExpired},
		{name: "subkey expired before its key", lifetime: 9 * hour, subkeyLife: hour, subkey: ErrKeyExpired},
		{name: "prolonged by a newer user id", lifetime: hour, change: func(t *testing.T, e *openpgp.Entity) {
			must(t, e.AddUserId("Zed", "", "zed@example.com", testConfig(keySigned, 9*hour)))
		}},
		{name: "shortened by a newer user id", lifetime: 9 * hour, change: func(t *testing.T, e *openpgp.Entity) {
			must(t, e.AddUserId("Ada", "", "ada@example.com", testConfig(keySigned, hour)))
		}, primary: ErrKeyExpired, subkey: ErrKeyExpired},
		{name: "both live on", lifetime: 9 * hour, subkeyLife: 8 * hour},
		{name: "expired by a direct signature", change: direct, primary: ErrKeyExpired, subkey: ErrKeyExpired},
		{name: "prolonged", lifetime: hour, change: renew(9 * hour)},
		{name: "shortened", lifetime: 9 * hour, change: renew(hour), primary: ErrKeyExpired, subkey: ErrKeyExpired},
		{name: "revoked", change: func(t *testing.T, e *openpgp.Entity) {
			must(t, e.Revoke(packet.KeyRetired, "", testConfig(keyPresent, 0)))
		}, primary: ErrKeyRevoked, subkey: ErrKeyRevoked},
		{name: "revoked in the future", change: func(t *testing.T, e *openpgp.Entity) {
			must(t, e.Revoke(packet.KeySuperseded, "", testConfig(keyPresent.AddDate(1, 0, 0), 0)))
		}, primary: ErrKeyRevoked, subkey: ErrKeyRevoked},
		{name: "subkey revoked", change: func(t *testing.T, e *openpgp.Entity) {
			must(t, e.Subkeys[1].Revoke(packet.KeySuperseded, "", testConfig(keyPresent, 0)))
		}, subkey: ErrKeyRevoked},
		{name: "a stranger's revocation", change: func(t *testing.T, e *openpgp.Entity) {
			other := newEntity(t, testConfig(keyMade, 0))
			must(t, other.Revoke(packet.KeyCompromised, "", testConfig(keyPresent, 0)))
			e.Revocations = other.Revocations
		}},
		{name: "weak cross-signature", change: func(t *testing.T, e *openpgp.Entity) {
			sub := &e.Subkeys[1]
			binding := sub.Bindings[0].Packet
			binding.EmbeddedSignature.Hash = crypto.SHA1
			must(t, binding.EmbeddedSignature.CrossSignKey(sub.PublicKey, e.PrimaryKey, sub.PrivateKey, plain()),
				binding.SignKey(sub.PublicKey, e.PrivateKey, plain()))
		}, subkey: ErrWeakKey},
	}
	payload := []byte("payload")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			entity := newEntity(t, testConfig(keyMade, tt.lifetime))
			must(t, entity.AddSigningSubkey(testConfig(keyMade, tt.subkeyLife)))
			if tt.change != nil {
				tt.change(t, entity)
			}
			keys, err := entityKeys(t, entity)
			must(t, err)
			ring, err := NewKeyring(keys...)
			must(t, err)
			same := func(*packet.Signature) {}
			for name, check := range map[string]struct {
				private *packet.PrivateKey
				want    error
			}{"primary": {entity.PrivateKey, tt.primary}, "subkey": {entity.Subkeys[1].PrivateKey, tt.subkey}} {
				_, err := ring.Verify(payload, signPacket(t, check.private, payload, same), keyPresent)
				if !errors.Is(err, check.want) {
					t.Errorf("%s: %v, want %v", name, err, check.want)
				}
			}
		})
	}
}

// TestOpenPGPSignatureLife changes one thing about a signature by a key that
// lives for a day.
func TestOpenPGPSignatureLife(t *testing.T) {
	entity := newEntity(t, testConfig(keyMade, 24*3600))
	keys, err := entityKeys(t, entity)
	must(t, err)
	ring, err := NewKeyring(keys...)
	must(t, err)
	payload := []byte("payload")
	notation := func(critical bool) func(*packet.Signature) {
		return func(s *packet.Signature) {
			s.Notations = []*packet.Notation{{Name: "a@example.com", Value: []byte("b"), IsHumanReadable: true, IsCritical: critical}}
		}
	}
	tests := []struct {
		name   string
		change func(*packet.Signature)
		want   error
		text   string
	}{
		{"as made", func(*packet.Signature) {}, nil, ""},
		{"older than its key", func(s *packet.Signature) { s.CreationTime = keyMade.Add(-time.Second) }, ErrBadSignature, "before its key"},
		{"as old as its key", func(s *packet.Signature) { s.CreationTime = keyMade }, nil, ""},
		{"ahead of the clock", func(s *packet.Signature) { s.CreationTime = keyPresent.Add(time.Minute) }, nil, ""},
		{"ahead of the key's end", func(s *packet.Signature) { s.CreationTime = keyMade.AddDate(0, 0, 2) }, ErrKeyExpired, "2026-01-02"},
		{"critical notation", notation(true), ErrBadSignature, "critical notation"},
		{"other notation", notation(false), nil, ""},
		{"SHA-1", func(s *packet.Signature) { s.Hash = crypto.SHA1 }, ErrBadSignature, "SHA-1"},
		{"SHA3-512", func(s *packet.Signature) { s.Hash = crypto.SHA3_512 }, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ring.Verify(payload, signPacket(t, entity.PrivateKey, payload, tt.change), keyPresent)
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want %v with %q", err, tt.want, tt.text)
			}
		})
	}
}

// TestParseKeysSelfSignatures refuses keys whose user ids say nothing usable.
func TestParseKeysSelfSignatures(t *testing.T) {
	resign := func(change func(*packet.Signature)) func(*testing.T, *openpgp.Entity) {
		return func(t *testing.T, e *openpgp.Entity) {
			for name, identity := range e.Identities {
				sig := identity.SelfCertifications[0].Packet
				change(sig)
				must(t, sig.SignUserId(name, e.PrimaryKey, e.PrivateKey, plain()))
			}
		}
	}
	tests := []struct {
		name   string
		change func(*testing.T, *openpgp.Entity)
		want   string
	}{
		{"critical notation", resign(func(s *packet.Signature) {
			s.Notations = []*packet.Notation{{Name: "a@example.com", Value: []byte("b"), IsCritical: true}}
		}), "critical notation"},
		{"SHA-1", resign(func(s *packet.Signature) { s.Hash = crypto.SHA1 }), "SHA-1"},
		{"may not sign", resign(func(s *packet.Signature) { s.FlagSign = false }), "may sign"},
		{"no flags", resign(func(s *packet.Signature) { s.FlagsValid = false }), "may sign"},
		{"revoked user id", func(t *testing.T, e *openpgp.Entity) {
			for name, identity := range e.Identities {
				gone := *identity.SelfCertifications[0].Packet
				gone.SigType, gone.CreationTime = packet.SigTypeCertificationRevocation, keySigned
				must(t, gone.SignUserId(name, e.PrimaryKey, e.PrivateKey, plain()))
				identity.Revocations = append(identity.Revocations, packet.NewVerifiableSig(&gone))
			}
		}, "no valid self-signature"},
		{"forged self-signature", func(t *testing.T, e *openpgp.Entity) {
			other := newEntity(t, testConfig(keyMade, 0))
			for name, identity := range e.Identities {
				must(t, identity.SelfCertifications[0].Packet.SignUserId(name, e.PrimaryKey, other.PrivateKey, plain()))
			}
		}, "openpgp key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			entity := newEntity(t, testConfig(keyMade, 0))
			entity.Subkeys = nil
			tt.change(t, entity)
			if _, err := entityKeys(t, entity); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want it to contain %q", err, tt.want)
			}
		})
	}
}
