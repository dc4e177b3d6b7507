package signing

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// skUserPresent is the flag in a security key's signature that says that
// somebody touched it.
const skUserPresent = 0x01

// parseSSHKey reads one line "type base64 comment".
func parseSSHKey(line string) (Key, error) {
	fields := strings.Fields(line)
	if reason := refusedSSHType(fields[0]); reason != "" {
		return Key{}, fmt.Errorf("%w: %s", ErrWeakKey, reason)
	}
	if !isSSHType(fields[0]) {
		return Key{}, fmt.Errorf("want an SSH public key, \"type base64 comment\" without options, "+
			"or an armored OpenPGP public key block; got %q", clip([]byte(fields[0])))
	}
	if len(fields) < 2 {
		return Key{}, fmt.Errorf("%s key without its base64 part", fields[0])
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(fields[1])
	if err != nil {
		return Key{}, fmt.Errorf("%s key: %w", fields[0], err)
	}
	public, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return Key{}, fmt.Errorf("%s key: %w", fields[0], err)
	}
	if public.Type() != fields[0] {
		return Key{}, fmt.Errorf("%s key: the base64 part holds a %s key", fields[0], public.Type())
	}
	if !bytes.Equal(public.Marshal(), blob) {
		return Key{}, fmt.Errorf("%s key: not in canonical form", fields[0])
	}
	key := Key{Fingerprint: ssh.FingerprintSHA256(public), Kind: public.Type(), ssh: public}
	if public.Type() == ssh.KeyAlgoRSA {
		if err := key.setRSASize(); err != nil {
			return Key{}, err
		}
	}
	return key, nil
}

// setRSASize checks the size of an SSH RSA key and remembers it.
func (k *Key) setRSASize() error {
	holder, ok := k.ssh.(ssh.CryptoPublicKey)
	if !ok {
		return fmt.Errorf("%s key: no RSA parameters", k.Kind)
	}
	public, ok := holder.CryptoPublicKey().(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("%s key: no RSA parameters", k.Kind)
	}
	if err := checkRSABits(public.N.BitLen()); err != nil {
		return err
	}
	k.rsaSize = public.Size()
	return nil
}

// checkRSABits refuses an RSA key by its size.
func checkRSABits(bits int) error {
	if bits < minRSABits {
		return fmt.Errorf("%w: RSA of %d bits, want %d at least", ErrWeakKey, bits, minRSABits)
	}
	if bits > maxRSABits {
		return fmt.Errorf("%w: RSA of %d bits, want %d at most", ErrWeakKey, bits, maxRSABits)
	}
	return nil
}

// isSSHType reports whether keys of the type may sign.
func isSSHType(kind string) bool {
	switch kind {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoRSA, ssh.KeyAlgoSKECDSA256,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return true
	}
	return false
}

// refusedSSHType says why keys of a known type are refused; empty otherwise.
func refusedSSHType(kind string) string {
	switch {
	case kind == "ssh-dss":
		return "DSA keys (ssh-dss) are too weak"
	case strings.Contains(kind, "-cert-v0"):
		return "SSH certificates (" + kind + ") are not supported: list the key itself"
	}
	return ""
}
