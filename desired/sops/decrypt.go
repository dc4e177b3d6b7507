package sops

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"hash"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keyBytes is the size of a data key: AES-256.
const keyBytes = 32

// onlyEncryptedSalt starts the MAC of a file with mac_only_encrypted, so that it
// is no MAC of one without: SHA-256 of "sops".
const onlyEncryptedSalt = "\x8a\x3f\xd2\xad\x54\xce\x66\x52\x7b\x10\x34\xf3\xd1\x47\xbe\x0b\x0b\x97\x5b\x3b\xf4\x4f\x72\xc6\xfd\xad\xec\x81\x76\xf2\x7d\x69"

// decrypter goes through one file.
type decrypter struct {
	meta  *metadata
	block cipher.Block
	mac   hash.Hash
}

func newDecrypter(dataKey []byte, meta *metadata) (*decrypter, error) {
	if len(dataKey) != keyBytes {
		return nil, fmt.Errorf("%w: its data key has %d bytes", ErrMalformed, len(dataKey))
	}
	block, err := aes.NewCipher(dataKey)
	if err != nil {
		return nil, fmt.Errorf("%w: data key", ErrMalformed)
	}
	d := &decrypter{meta: meta, block: block, mac: sha512.New()}
	if meta.onlyEncrypted {
		d.mac.Write([]byte(onlyEncryptedSalt))
	}
	return d, nil
}

func (d *decrypter) branch(b branch, path []string) (branch, error) {
	out := make(branch, 0, len(b))
	for _, it := range b {
		v, err := d.value(it.value, append(slices.Clip(path), it.key))
		if err != nil {
			return nil, err
		}
		out = append(out, item{it.key, v})
	}
	return out, nil
}

// value decrypts what stands at a path. Items of a list share the list's.
func (d *decrypter) value(v any, path []string) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case branch:
		return d.branch(v, path)
	case sequence:
		out := make(sequence, 0, len(v))
		for _, e := range v {
			plain, err := d.value(e, path)
			if err != nil {
				return nil, err
			}
			if _, isComment := plain.(comment); !isComment {
				out = append(out, plain)
			}
		}
		return out, nil
	}
	encrypted := d.meta.encrypts(path)
	if encrypted {
		sealed, isText := v.(string)
		if !isText {
			return nil, fmt.Errorf("%w: a value that should be encrypted stands in clear", ErrTampered)
		}
		var err error
		if v, err = d.open(sealed, strings.Join(path, ":")+":"); err != nil {
			return nil, err
		}
	}
	if _, isComment := v.(comment); !isComment && (encrypted || !d.meta.onlyEncrypted) {
		data, err := scalarBytes(v)
		if err != nil {
			return nil, err
		}
		d.mac.Write(data)
	}
	return v, nil
}

// comment is a comment that SOPS kept as an item of a list.
type comment struct{}

var sealedForm = regexp.MustCompile(`^ENC\[AES256_GCM,data:([A-Za-z0-9+/=]+),iv:([A-Za-z0-9+/=]+),tag:([A-Za-z0-9+/=]+),type:([a-z]+)\]$`)

// open decrypts one value, which is bound to its place.
func (d *decrypter) open(sealed, place string) (any, error) {
	if sealed == "" {
		return "", nil // SOPS leaves what is empty as it is
	}
	m := sealedForm.FindStringSubmatch(sealed)
	if m == nil {
		return nil, fmt.Errorf("%w: a value that should be encrypted stands in clear", ErrTampered)
	}
	var parts [3][]byte
	for i := range parts {
		var err error
		if parts[i], err = base64.StdEncoding.DecodeString(m[i+1]); err != nil {
			return nil, fmt.Errorf("%w: an encrypted value is damaged", ErrTampered)
		}
	}
	data, iv, tag := parts[0], parts[1], parts[2]
	if len(iv) == 0 || len(tag) != aes.BlockSize {
		return nil, fmt.Errorf("%w: an encrypted value is damaged", ErrTampered)
	}
	gcm, err := cipher.NewGCMWithNonceSize(d.block, len(iv))
	if err != nil {
		return nil, fmt.Errorf("%w: an encrypted value is damaged", ErrTampered)
	}
	plain, err := gcm.Open(nil, iv, append(data, tag...), []byte(place))
	if err != nil {
		return nil, fmt.Errorf("%w: a value does not belong where it stands, or is damaged", ErrTampered)
	}
	v, err := typed(plain, m[4])
	if err != nil {
		return nil, fmt.Errorf("%w: a value is not of the type that it says", ErrMalformed)
	}
	return v, nil
}

// typed is a decrypted value as the type that was written with it.
func typed(plain []byte, kind string) (any, error) {
	s := string(plain)
	switch kind {
	case "str", "bytes":
		return s, nil
	case "int":
		return strconv.Atoi(s)
	case "float":
		return strconv.ParseFloat(s, 64)
	case "bool":
		return strconv.ParseBool(s)
	case "time":
		var t time.Time
		err := t.UnmarshalText(plain)
		return t, err
	case "comment":
		return comment{}, nil
	}
	return nil, ErrMalformed
}

// scalarBytes is a value as the MAC takes it.
func scalarBytes(v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return []byte(v), nil
	case int:
		return strconv.AppendInt(nil, int64(v), 10), nil
	case float64:
		return strconv.AppendFloat(nil, v, 'f', -1, 64), nil
	case bool:
		if v {
			return []byte("True"), nil
		}
		return []byte("False"), nil
	case time.Time:
		data, err := v.MarshalText()
		if err != nil {
			return nil, fmt.Errorf("%w: a time that cannot be written", ErrMalformed)
		}
		return data, nil
	}
	return nil, fmt.Errorf("%w: a value of a type that SOPS does not take", ErrMalformed)
}

// checkMAC compares what was decrypted with what SOPS signed for.
func (d *decrypter) checkMAC() error {
	wrong := fmt.Errorf("%w: its MAC does not match: a value or key was changed, added or removed", ErrTampered)
	sealed, err := d.open(d.meta.mac, d.meta.lastModified.Format(time.RFC3339))
	if err != nil {
		return wrong
	}
	want, _ := sealed.(string)
	got := fmt.Sprintf("%X", d.mac.Sum(nil))
	if subtle.ConstantTimeCompare([]byte(want), []byte(got)) != 1 {
		return wrong
	}
	return nil
}
