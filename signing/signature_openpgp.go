package signing

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// OpenPGP packet, signature and subpacket numbers (RFC 9580).
const (
	pgpOldHeader       = 0x88 // signature packet, old format, one byte of length
	pgpOldHeaderLong   = 0x89 // the same with two bytes of length
	pgpNewHeader       = 0xc2 // signature packet, new format
	pgpSubIssuer       = 16
	pgpSubFingerprint  = 33
	pgpFingerprintSize = 20
)

// pgpSignature is one signature packet, taken apart.
type pgpSignature struct {
	packet      *packet.Signature
	fingerprint string // of the key or subkey that says it signed
	tag         []byte // the two bytes of the digest that the packet repeats
}

// verifyPGP checks an armored OpenPGP signature.
func (k *Keyring) verifyPGP(payload, signature []byte, now time.Time) (Key, error) {
	raw, err := pgpArmor().decode(signature)
	if err != nil {
		return Key{}, err
	}
	sig, err := parsePGPSignature(raw)
	if err != nil {
		return Key{}, err
	}
	signer, known := k.pgp[sig.fingerprint]
	if !known {
		return Key{}, fmt.Errorf("%w: openpgp %s", ErrUnknownKey, sig.fingerprint)
	}
	if err := signer.part.refusal; err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrBadSignature, err)
	}
	if err := sig.check(signer.part.public, payload); err != nil {
		return Key{}, fmt.Errorf("%w (key %s)", err, sig.fingerprint)
	}
	if err := signer.part.checkTime(sig.packet, now); err != nil {
		return Key{}, err
	}
	return signer.key, nil
}

// check verifies the signature proper. The two bytes of the digest that stand
// in the packet are compared too: no signature covers them, and changing them
// would change the commit's id.
func (s *pgpSignature) check(public *packet.PublicKey, payload []byte) error {
	hash, err := s.packet.PrepareVerify()
	if err != nil {
		return badSignature("%v", err)
	}
	hash.Write(payload)
	// VerifySignature completes the hash with the signed part of the packet.
	if err := public.VerifySignature(hash, s.packet); err != nil {
		return badSignature("does not verify: what was signed is not this")
	}
	if digest := hash.Sum(nil); !bytes.Equal(digest[:2], s.tag) {
		return badSignature("the digest's first two bytes are not right")
	}
	return nil
}

// checkTime refuses a good signature by a key that is expired now or was when
// it signed, and one that is older than its key or itself expired. Times in
// the future are let be: a clock that is slightly ahead is no crime.
func (p *pgpKey) checkTime(sig *packet.Signature, now time.Time) error {
	if sig.CreationTime.Before(p.created) {
		return badSignature("made at %s, before its key %s", stamp(sig.CreationTime), p.fingerprint)
	}
	if !p.expires.IsZero() && (now.After(p.expires) || sig.CreationTime.After(p.expires)) {
		return fmt.Errorf("%w: openpgp %s at %s", ErrKeyExpired, p.fingerprint, stamp(p.expires))
	}
	if until := expiry(sig.CreationTime, sig.SigLifetimeSecs); !until.IsZero() && now.After(until) {
		return badSignature("the signature itself expired at %s", stamp(until))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// parsePGPSignature takes apart the one signature packet that raw must be.
func parsePGPSignature(raw []byte) (*pgpSignature, error) {
	body, old, err := cutPGPHeader(raw)
	if err != nil {
		return nil, err
	}
	parts, err := splitPGPBody(body)
	if err != nil {
		return nil, err
	}
	// The hash is looked at before the library does, for a readable reason.
	if name := weakPGPHash(body[3]); name != "" {
		return nil, badSignature("made with %s", name)
	}
	if algorithm := packet.PublicKeyAlgorithm(body[2]); algorithm == packet.PubKeyAlgoDSA {
		return nil, badSignature("made with DSA")
	}
	if packet.SignatureType(body[1]) != packet.SigTypeBinary {
		return nil, badSignature("OpenPGP signature type 0x%02x, want 0x00 (binary document)", body[1])
	}
	if err := checkUnhashed(parts, old); err != nil {
		return nil, err
	}
	if err := checkNumbers(packet.PublicKeyAlgorithm(body[2]), parts.numbers); err != nil {
		return nil, err
	}
	parsed, err := packet.Read(bytes.NewReader(raw))
	if err != nil {
		return nil, badSignature("OpenPGP signature: %v", err)
	}
	sig, ok := parsed.(*packet.Signature)
	if !ok {
		return nil, badSignature("not an OpenPGP signature packet")
	}
	if hasCriticalNotation(sig) {
		return nil, badSignature("carries a critical notation, which is not understood")
	}
	return &pgpSignature{
		packet:      sig,
		fingerprint: fmt.Sprintf("%X", parts.fingerprint),
		tag:         parts.tag,
	}, nil
}

// cutPGPHeader returns the body of the one packet that raw consists of, and
// whether its header is of the old format. Lengths must be in the shortest
// form.
func cutPGPHeader(raw []byte) (body []byte, old bool, err error) {
	if len(raw) < 3 {
		return nil, false, badSignature("OpenPGP signature of %d bytes", len(raw))
	}
	var header, length int
	shortest := true
	switch first, second := raw[0], int(raw[1]); {
	case first == pgpOldHeader:
		header, length, old = 2, second, true
	case first == pgpOldHeaderLong:
		header, length, old = 3, int(binary.BigEndian.Uint16(raw[1:])), true
		shortest = length > 0xff
	case first == pgpNewHeader && second < 192:
		header, length = 2, second
	case first == pgpNewHeader && second < 224:
		header, length = 3, (second-192)<<8+int(raw[2])+192
	default:
		return nil, false, badSignature("not an OpenPGP signature packet in canonical form")
	}
	if !shortest {
		return nil, false, badSignature("OpenPGP packet length is not canonical")
	}
	if header+length < len(raw) {
		return nil, false, badSignature("data behind the OpenPGP signature: a second signature, or junk")
	}
	if header+length > len(raw) {
		return nil, false, badSignature("OpenPGP signature is cut off")
	}
	return raw[header:], old, nil
}

// pgpParts are the parts of a version 4 signature packet's body.
type pgpParts struct {
	issuerHashed bool   // the signed subpackets name the issuer's key id
	fingerprint  []byte // of the issuer, from the signed subpackets
	unhashed     []byte // the subpackets that no signature covers
	tag          []byte // two bytes of the digest
	numbers      []byte // the signature proper
}

// splitPGPBody finds the parts and what the signed subpackets say about the
// issuer.
func splitPGPBody(body []byte) (*pgpParts, error) {
	cut := func(from int) (part []byte, next int, ok bool) {
		if len(body) < from+2 {
			return nil, 0, false
		}
		end := from + 2 + int(binary.BigEndian.Uint16(body[from:]))
		if len(body) < end {
			return nil, 0, false
		}
		return body[from+2 : end], end, true
	}
	if len(body) < 6 {
		return nil, badSignature("OpenPGP signature is cut off")
	}
	if body[0] != 4 {
		return nil, badSignature("OpenPGP signature version %d, want 4", body[0])
	}
	hashed, next, ok := cut(4)
	if !ok {
		return nil, badSignature("OpenPGP signature is cut off")
	}
	unhashed, next, ok := cut(next)
	if !ok || len(body) < next+2 {
		return nil, badSignature("OpenPGP signature is cut off")
	}
	parts := &pgpParts{unhashed: unhashed, tag: body[next : next+2], numbers: body[next+2:]}
	return parts, parts.readIssuer(hashed)
}

// readIssuer walks the signed subpackets.
func (p *pgpParts) readIssuer(hashed []byte) error {
	for len(hashed) > 0 {
		length, header := int(hashed[0]), 1
		switch {
		case length == 255:
			return badSignature("oversized OpenPGP subpacket")
		case length >= 192 && len(hashed) > 1:
			length, header = (length-192)<<8+int(hashed[1])+192, 2
		}
		if length == 0 || len(hashed) < header+length {
			return badSignature("OpenPGP subpacket is cut off")
		}
		content := hashed[header : header+length]
		hashed = hashed[header+length:]
		switch kind := content[0] & 0x7f; kind {
		case pgpSubIssuer:
			p.issuerHashed = true
		case pgpSubFingerprint:
			if len(content) != 2+pgpFingerprintSize || content[1] != 4 || p.fingerprint != nil {
				return badSignature("want one issuer fingerprint of a version 4 key")
			}
			p.fingerprint = content[2:]
		}
	}
	if p.fingerprint == nil {
		return badSignature("the signed part does not name the key's fingerprint")
	}
	return nil
}

// checkUnhashed refuses everything that could be changed in a packet without
// the key. What no signature covers must follow from what it covers: GnuPG
// leaves the key id out of the signed part, puts it, alone, into the unsigned
// one, and writes an old-format header; Sequoia and Go's library sign the key
// id, leave the unsigned part empty, and write a new-format header.
func checkUnhashed(p *pgpParts, oldHeader bool) error {
	var want []byte
	if !p.issuerHashed {
		want = append([]byte{9, pgpSubIssuer}, p.fingerprint[pgpFingerprintSize-8:]...)
	}
	if !bytes.Equal(p.unhashed, want) {
		return badSignature("unsigned OpenPGP subpackets are not what a signer writes: " +
			"they can be changed without the key")
	}
	if oldHeader == p.issuerHashed {
		return badSignature("OpenPGP packet header is not what the signer writes: " +
			"it can be changed without the key")
	}
	return nil
}

// checkNumbers refuses a signature proper that is not in its one encoding:
// every number with its exact count of bits, and nothing behind them.
func checkNumbers(algorithm packet.PublicKeyAlgorithm, raw []byte) error {
	var count int
	switch algorithm {
	case packet.PubKeyAlgoEd25519:
		if len(raw) != 64 {
			return badSignature("ed25519 signature of %d bytes, want 64", len(raw))
		}
		return nil
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		count = 1
	default:
		count = 2
	}
	for range count {
		if len(raw) < 3 {
			return badSignature("OpenPGP signature is cut off")
		}
		length := int(binary.BigEndian.Uint16(raw))
		size := (length + 7) / 8
		if len(raw) < 2+size {
			return badSignature("OpenPGP signature is cut off")
		}
		if size == 0 || length != 8*(size-1)+bits.Len8(raw[2]) {
			return badSignature("OpenPGP number is not canonical")
		}
		raw = raw[2+size:]
	}
	if len(raw) != 0 {
		return badSignature("trailing data in the OpenPGP signature")
	}
	return nil
}

// weakPGPHash names a hash that is refused; empty when it is fine.
func weakPGPHash(id byte) string {
	switch id {
	case 8, 9, 10, 12, 14: // SHA-256, SHA-384, SHA-512, SHA3-256, SHA3-512
		return ""
	case 1:
		return "MD5, which is broken"
	case 2:
		return "SHA-1, which is broken"
	}
	return fmt.Sprintf("hash algorithm %d, which is refused", id)
}
