package signing

import (
	"bytes"
	"fmt"
)

// The first and last lines of the two signature armors.
const (
	pgpBegin = "-----BEGIN PGP SIGNATURE-----\n"
	pgpEnd   = "-----END PGP SIGNATURE-----\n"
	sshBegin = "-----BEGIN SSH SIGNATURE-----\n"
	sshEnd   = "-----END SSH SIGNATURE-----\n"
)

// Tag is a strictly decoded annotated tag.
type Tag struct {
	Object Hash
	Type   ObjectType
	// Name is the tag's own name, without "refs/tags/". Whoever follows a ref
	// must compare the two: a signature covers the name, never the ref.
	Name   string
	Tagger Ident
	// Signature is the armored block at the end of the tag; nil without one.
	Signature []byte
	// Payload is what the signature covers: the raw object up to it.
	Payload []byte
	// Message is the text of the tag without its signature.
	Message string
}

// DecodeTag decodes the raw content of an annotated tag: exactly the headers
// object, type, tag and tagger, then a message that ends in at most one
// signature. Anything else is an error that wraps ErrMalformed.
func DecodeTag(data []byte) (*Tag, error) {
	if len(data) > maxTagSize {
		return nil, malformed("tag of %d bytes: more than %d", len(data), maxTagSize)
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return nil, malformed("tag holds a NUL byte at offset %d", i)
	}
	r := headerReader{data: data}
	t := &Tag{}
	if err := r.tagHeaders(t); err != nil {
		return nil, fmt.Errorf("tag header line %d: %w", r.line, err)
	}
	if err := t.splitSignature(data, r.offset); err != nil {
		return nil, fmt.Errorf("tag %q: %w", t.Name, err)
	}
	return t, nil
}

// tagHeaders reads the four headers of a tag and the blank line behind them.
func (r *headerReader) tagHeaders(t *Tag) error {
	var err error
	if t.Object, err = r.hash("object"); err != nil {
		return err
	}
	kind, err := r.word("type")
	if err != nil {
		return err
	}
	switch kind {
	case "commit":
		t.Type = CommitObject
	case "tree":
		t.Type = TreeObject
	case "blob":
		t.Type = BlobObject
	case "tag":
		t.Type = TagObject
	default:
		return malformed("type: unknown object type %q", clip([]byte(kind)))
	}
	if t.Name, err = r.word("tag"); err != nil {
		return err
	}
	if t.Tagger, err = r.ident("tagger"); err != nil {
		return err
	}
	return r.blank()
}

// splitSignature finds the one armored block that ends the tag.
func (t *Tag) splitSignature(data []byte, body int) error {
	start := -1
	for offset := body; offset < len(data); {
		line := data[offset:]
		if bytes.HasPrefix(line, []byte("-----BEGIN ")) {
			if start >= 0 {
				return malformed("more than one armored block")
			}
			start = offset
		}
		end := bytes.IndexByte(line, '\n')
		if end < 0 {
			break
		}
		offset += end + 1
	}
	if start < 0 {
		start = len(data)
	} else {
		t.Signature = data[start:]
	}
	t.Payload = data[:start]
	t.Message = string(data[body:start])
	return nil
}
