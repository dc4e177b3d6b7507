package sops

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// The limits of one file, and the ways in which reading one fails.
const (
	// MaxBytes bounds an encrypted file.
	MaxBytes = 1 << 20
	maxNodes = 100_000
	maxDepth = 32
	maxRule  = 1 << 10 // bytes of a suffix or regular expression
)

var (
	// ErrNotEncrypted is returned for a file without SOPS metadata: whatever it
	// holds stands in it in clear.
	ErrNotEncrypted = errors.New("it is not encrypted with SOPS")
	// ErrMalformed is returned for what SOPS did not write.
	ErrMalformed = errors.New("not readable as a SOPS file")
	// ErrUnsupported is returned for what SOPS can and this package cannot.
	ErrUnsupported = errors.New("not supported")
	// ErrTampered is returned when the file is not as SOPS wrote it last.
	ErrTampered = errors.New("it was changed without SOPS")
)

// Format is how the values of a file are laid out.
type Format string

// The formats, which SOPS tells apart by the file's name too.
const (
	Dotenv Format = "dotenv" // *.sops.env
	YAML   Format = "yaml"   // *.sops.yaml, *.sops.yml
	JSON   Format = "json"   // *.sops.json
	Binary Format = "binary" // any other *.sops.*: a single value, in a JSON document
)

// FormatOf returns the format of an encrypted file by its name, and whether the
// name is that of one: *.sops.*. INI is refused by Parse.
func FormatOf(name string) (Format, bool) {
	base := path.Base(name)
	extension := path.Ext(base)
	stem := strings.TrimSuffix(base, extension)
	if extension == "" || extension == "." || path.Ext(stem) != ".sops" {
		return "", false
	}
	switch extension {
	case ".env":
		return Dotenv, true
	case ".yaml", ".yml":
		return YAML, true
	case ".json":
		return JSON, true
	}
	return Binary, true
}

// File is one encrypted file as it stands in a repository.
type File struct {
	format Format
	root   branch
	meta   metadata
}

// Parse reads an encrypted file. Errors wrap ErrNotEncrypted, ErrMalformed or
// ErrUnsupported.
func Parse(name string, data []byte) (*File, error) {
	format, ok := FormatOf(name)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: the name of an encrypted file is *.sops.env, *.sops.yaml, *.sops.json, or *.sops.* for one value", ErrUnsupported)
	case path.Ext(name) == ".ini":
		return nil, fmt.Errorf("%w: INI; use *.sops.env, *.sops.yaml or *.sops.json", ErrUnsupported)
	case len(data) > MaxBytes:
		return nil, fmt.Errorf("%w: %d bytes, more than the limit of %d", ErrMalformed, len(data), MaxBytes)
	}
	f := &File{format: format}
	var err error
	var raw branch
	switch format {
	case Dotenv:
		f.root, raw, err = readDotenv(data)
	case YAML:
		f.root, raw, err = splitMetadata(readYAML(data))
	default:
		f.root, raw, err = splitMetadata(readJSON(data))
	}
	if err != nil {
		return nil, err
	}
	if f.meta, err = readMetadata(raw); err != nil {
		return nil, err
	}
	if format == Binary && (len(f.root) != 1 || f.root[0].key != binaryKey) {
		return nil, fmt.Errorf("%w: a file of one value has %q alone beside the metadata", ErrMalformed, binaryKey)
	}
	return f, nil
}

// splitMetadata takes the key "sops" off a document.
func splitMetadata(root branch, err error) (values, meta branch, _ error) {
	if err != nil {
		return nil, nil, err
	}
	for _, it := range root {
		if it.key != metadataKey {
			values = append(values, it)
			continue
		}
		var ok bool
		if meta, ok = it.value.(branch); !ok {
			return nil, nil, fmt.Errorf("%w: %q is no mapping", ErrMalformed, metadataKey)
		}
	}
	if meta == nil {
		return nil, nil, ErrNotEncrypted
	}
	return values, meta, nil
}

// Format returns how the file is laid out.
func (f *File) Format() Format { return f.format }

// Keys are the names at the top level of the file, in its order. SOPS does not
// encrypt them.
func (f *File) Keys() []string {
	keys := make([]string, len(f.root))
	for i, it := range f.root {
		keys[i] = it.key
	}
	return keys
}

// WrappedKey is the data key, encrypted to one age recipient.
type WrappedKey struct {
	Recipient string // "age1…"; what the file claims
	Armored   string // the age file, in armor
}

// WrappedKeys are the file's entries for age. Those for other kinds of keys,
// which it may have as well, are left out.
func (f *File) WrappedKeys() []WrappedKey { return f.meta.age }

// Decrypt decrypts every value and checks the MAC over all of them. Errors wrap
// ErrTampered or ErrMalformed.
func (f *File) Decrypt(dataKey []byte) (*Plaintext, error) {
	d, err := newDecrypter(dataKey, &f.meta)
	if err != nil {
		return nil, err
	}
	root, err := d.branch(f.root, nil)
	if err != nil {
		return nil, err
	}
	if err := d.checkMAC(); err != nil {
		return nil, err
	}
	return &Plaintext{format: f.format, root: root}, nil
}
