package signing

import (
	"errors"
	"time"
)

// ErrMalformed is returned for bytes that the strict decoders refuse. It is a
// verdict on the bytes: the same bytes are malformed everywhere and always.
var ErrMalformed = errors.New("malformed object")

// ErrTampered is returned when a Source gives bytes that do not match the id
// they were asked by, or an object of another type than the id is used as.
var ErrTampered = errors.New("object does not match its id")

// Ident is an author, committer or tagger line.
type Ident struct {
	Name  string
	Email string
	// Time is what the person's own clock said, in the zone the line gives. It
	// is chosen by the author and decides nothing.
	Time time.Time
}

// Commit is a strictly decoded commit.
type Commit struct {
	// ID is set by ReadCommit; DecodeCommit leaves it zero.
	ID        Hash
	Tree      Hash
	Parents   []Hash
	Author    Ident
	Committer Ident
	// Encoding is the value of the encoding header, empty without one.
	Encoding string
	// MergeTags holds the raw tag objects of mergetag headers, unfolded.
	MergeTags [][]byte
	// Signature is the unfolded gpgsig header; nil when the commit has none.
	Signature []byte
	// Payload is what the signature covers: the raw object minus its gpgsig
	// header.
	Payload []byte
	// Message is everything behind the headers.
	Message string
}

// Tag is a strictly decoded annotated tag.
type Tag struct {
	Object Hash
	Type   ObjectType
	Name   string
	Tagger Ident
	// Signature is the armored block at the end of the tag; nil without one.
	Signature []byte
	// Payload is what the signature covers: the raw object up to it.
	Payload []byte
	// Message is the text of the tag without its signature.
	Message string
}

// TreeEntry is one entry of a tree.
type TreeEntry struct {
	// Mode is one of git's five canonical modes: 0o100644, 0o100755,
	// 0o120000 (symlink), 0o40000 (tree), 0o160000 (submodule).
	Mode uint32
	Name string
	ID   Hash
}

// DecodeCommit decodes the raw content of a commit object.
func DecodeCommit(data []byte) (*Commit, error) { return nil, ErrMalformed }

// DecodeTag decodes the raw content of an annotated tag.
func DecodeTag(data []byte) (*Tag, error) { return nil, ErrMalformed }

// DecodeTree decodes the raw content of a tree object.
func DecodeTree(data []byte) ([]TreeEntry, error) { return nil, ErrMalformed }

// Subject returns the first paragraph's text on one line.
func (c *Commit) Subject() string { return "" }

// Trailers returns the values of the trailers with the given key.
func (c *Commit) Trailers(key string) []string { return nil }
