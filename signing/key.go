package signing

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// ErrWeakKey is returned by ParseKeys for a key of a kind or size that is
// refused: DSA, RSA under 3072 bits, certificates, unusual curves.
var ErrWeakKey = errors.New("key refused")

// minRSABits and maxRSABits bound RSA keys; the upper bound keeps the cost of
// one check low.
const (
	minRSABits = 3072
	maxRSABits = 8192
)

// maxKeyMaterial is the size in bytes of the largest key material that
// ParseKeys reads.
const maxKeyMaterial = 1 << 20

// Key is one public key that may sign. The zero Key is none.
type Key struct {
	// Fingerprint is "SHA256:…" for SSH, upper-case hexadecimal of the primary
	// key for OpenPGP.
	Fingerprint string
	// Kind is the SSH key type ("ssh-ed25519", "sk-ssh-ed25519@openssh.com",
	// "ecdsa-sha2-nistp256", …) or "openpgp:" and the primary key's algorithm
	// ("openpgp:ed25519", "openpgp:rsa3072").
	Kind string

	ssh     ssh.PublicKey // nil for OpenPGP
	rsaSize int           // bytes of an SSH RSA signature, 0 for other kinds
	openpgp []*pgpKey     // the primary key and subkeys that were made to sign
	// The first and the last instant of an allowed_signers line; zero: no end.
	notBefore, notAfter time.Time
}

// Names reports whether a fingerprint, as it stands in trust.yaml's revoked
// list, names this key: its own fingerprint or, for OpenPGP, that of one of
// its signing subkeys, whatever the case and spacing of the digits.
func (k Key) Names(fingerprint string) bool {
	if fingerprint == k.Fingerprint {
		return true
	}
	digits := strings.ToUpper(strings.ReplaceAll(fingerprint, " ", ""))
	for _, sub := range k.openpgp {
		if digits == sub.fingerprint {
			return true
		}
	}
	return k.openpgp != nil && digits == k.Fingerprint
}

// ParseKeys reads the public keys in material: armored OpenPGP public key
// blocks, and lines of "type base64 comment" as in an SSH public key file.
// Blank lines and lines that start with "#" are skipped. At least one key must
// be there, and every key must be one that can sign: weak keys are refused
// with an error that wraps ErrWeakKey, and errors name the line. A key that is
// expired or revoked by itself parses: Keyring.Verify refuses its signatures.
func ParseKeys(material []byte) ([]Key, error) {
	if len(material) > maxKeyMaterial {
		return nil, fmt.Errorf("keys of %d bytes: more than %d", len(material), maxKeyMaterial)
	}
	var keys []Key
	number := 0
	for rest := material; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		number++
		text := string(bytes.TrimSpace(line))
		switch {
		case text == "" || text[0] == '#':
			rest = after
		case text == pgpKeyBegin:
			block, lines, after := cutKeyBlock(rest)
			found, err := parsePGPKeys(block)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
			keys = append(keys, found...)
			number += lines - 1
			rest = after
		default:
			key, err := parseSSHKey(text)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
			keys = append(keys, key)
			rest = after
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no key: want an armored OpenPGP public key block or SSH public key lines")
	}
	return keys, nil
}

// cutKeyBlock splits off the armored block that data starts with, and counts
// its lines. A block without its last line is returned as it is.
func cutKeyBlock(data []byte) (block []byte, lines int, rest []byte) {
	for offset := 0; offset < len(data); {
		lines++
		line, _, _ := bytes.Cut(data[offset:], []byte("\n"))
		offset = min(offset+len(line)+1, len(data))
		if string(bytes.TrimSpace(line)) == pgpKeyEnd {
			return data[:offset], lines, data[offset:]
		}
	}
	return data, lines, nil
}
