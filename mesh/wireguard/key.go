package wireguard

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Key is a Curve25519 key, private or public. Printed, it is a mark that tells
// keys apart and gives none away.
type Key [32]byte

// String is the beginning of the key's base64 form.
func (k Key) String() string { return k.Base64()[:8] + "…" }

// Base64 is the whole key as WireGuard's tools write it.
func (k Key) Base64() string { return base64.StdEncoding.EncodeToString(k[:]) }

// Public is the public half of a private key.
func (k Key) Public() Key {
	// The only error of NewPrivateKey is a length that is not 32.
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		return Key{}
	}
	return Key(private.PublicKey().Bytes())
}

// NewKey makes a private key of what random gives, which is crypto/rand's
// Reader outside of tests.
func NewKey(random io.Reader) (Key, error) {
	var k Key
	if _, err := io.ReadFull(random, k[:]); err != nil {
		return Key{}, fmt.Errorf("make WireGuard key: %w", err)
	}
	// The bits that RFC 7748, section 5, fixes in every X25519 scalar. Done here,
	// the key reads back from the kernel as it was written.
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k, nil
}

// LoadKey reads the private key of a node from a file that only its owner may
// read, and makes both when there is no such file. Two that call it at once get
// the same key.
func LoadKey(path string) (Key, error) {
	k, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if k, err = NewKey(rand.Reader); err != nil {
		return Key{}, err
	}
	if err := writeKey(path, k); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return readKey(path)
		}
		return Key{}, err
	}
	return k, nil
}

func readKey(path string) (Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, fmt.Errorf("open WireGuard key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("look at WireGuard key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Key{}, fmt.Errorf("WireGuard key %s has mode %04o, others may have read it: delete it and a new one is made (or chmod 600 it, if nobody has)", path, mode)
	}
	data, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return Key{}, fmt.Errorf("read WireGuard key: %w", err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(data)))
	if err != nil || len(raw) != len(Key{}) {
		return Key{}, fmt.Errorf("WireGuard key %s is not 32 bytes in base64: delete it and a new one is made", path)
	}
	return Key(raw), nil
}

// writeKey puts a key where none is: fs.ErrExist when another was faster.
func writeKey(path string, k Key) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".wireguard-*") // 0600
	if err != nil {
		return fmt.Errorf("make WireGuard key: %w", err)
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.WriteString(k.Base64() + "\n")
	if err == nil {
		err = temporary.Sync()
	}
	if err := errors.Join(err, temporary.Close()); err != nil {
		return fmt.Errorf("write WireGuard key: %w", err)
	}
	// A link, unlike a renaming, does not take the place of what is there.
	if err := os.Link(temporary.Name(), path); err != nil {
		return fmt.Errorf("keep WireGuard key: %w", err)
	}
	directory, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("keep WireGuard key: %w", err)
	}
	defer directory.Close()
	if err := directory.Sync(); err != nil {
		return fmt.Errorf("keep WireGuard key: %w", err)
	}
	return nil
}
