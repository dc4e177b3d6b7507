package signing

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrMalformed is returned for bytes that the strict decoders refuse. It is a
// verdict on the bytes: the same bytes are malformed everywhere and always.
var ErrMalformed = errors.New("malformed object")

// ErrTampered is returned when a Source gives bytes that do not match the id
// they were asked by, or an object of another type than the id is used as.
var ErrTampered = errors.New("object does not match its id")

// The sizes in bytes above which an object is refused before it is looked at.
// They are far above what people write and keep a hostile object cheap.
const (
	maxCommitSize = 1 << 20
	maxTagSize    = 256 << 10
	maxTreeSize   = 8 << 20
	// maxParents bounds the parents of a merge; git's own octopus stops at 26.
	maxParents = 32
)

// Ident is an author, committer or tagger line.
type Ident struct {
	Name  string
	Email string
	// Time is what the person's own clock said, in the zone the line gives,
	// whose name is the four digits as written. It is chosen by the author and
	// decides nothing.
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
	// MergeTags holds the raw tag objects of mergetag headers, unfolded. They
	// are not decoded: DecodeTag judges each.
	MergeTags [][]byte
	// Signature is the unfolded gpgsig header; nil when the commit has none.
	Signature []byte
	// Payload is what the signature covers: the raw object minus its gpgsig
	// header.
	Payload []byte
	// Message is everything behind the headers.
	Message string
}

// DecodeCommit decodes the raw content of a commit object. It accepts exactly
// what git writes: tree, parents, author, committer, then encoding, mergetags
// and one gpgsig, each in that order and each at most once but for parents and
// mergetags. Anything else is refused with an error that wraps ErrMalformed, so
// that no two readers of a commit can see different things in it.
func DecodeCommit(data []byte) (*Commit, error) {
	if len(data) > maxCommitSize {
		return nil, malformed("commit of %d bytes: more than %d", len(data), maxCommitSize)
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return nil, malformed("commit holds a NUL byte at offset %d", i)
	}
	r := headerReader{data: data}
	c := &Commit{}
	if err := r.commitHeaders(c); err != nil {
		return nil, fmt.Errorf("commit header line %d: %w", r.line, err)
	}
	c.Message = string(r.rest())
	return c, nil
}

// commitHeaders reads every header of a commit and the blank line behind them.
func (r *headerReader) commitHeaders(c *Commit) error {
	var err error
	if c.Tree, err = r.hash("tree"); err != nil {
		return err
	}
	for r.at("parent") {
		parent, err := r.hash("parent")
		if err != nil {
			return err
		}
		if len(c.Parents) == maxParents {
			return malformed("more than %d parents", maxParents)
		}
		c.Parents = append(c.Parents, parent)
	}
	if c.Author, err = r.ident("author"); err != nil {
		return err
	}
	if c.Committer, err = r.ident("committer"); err != nil {
		return err
	}
	if r.at("encoding") {
		if c.Encoding, err = r.word("encoding"); err != nil {
			return err
		}
	}
	for r.at("mergetag") {
		tag, err := r.folded("mergetag")
		if err != nil {
			return err
		}
		c.MergeTags = append(c.MergeTags, tag)
	}
	return r.signature(c)
}

// signature reads the optional gpgsig header, sets the payload, and reads the
// blank line that ends the headers.
func (r *headerReader) signature(c *Commit) error {
	start := r.offset
	if r.at("gpgsig") {
		var err error
		if c.Signature, err = r.folded("gpgsig"); err != nil {
			return err
		}
	}
	end := r.offset
	c.Payload = r.data
	if c.Signature != nil {
		c.Payload = append(append(make([]byte, 0, len(r.data)), r.data[:start]...), r.data[end:]...)
	}
	return r.blank()
}

// Subject returns the first paragraph of the message on one line, as git's %s.
func (c *Commit) Subject() string {
	var words []string
	for line := range strings.SplitSeq(c.Message, "\n") {
		line = trimBlanks(line)
		if line == "" && len(words) > 0 {
			break
		}
		if line != "" {
			words = append(words, line)
		}
	}
	return strings.Join(words, " ")
}

// malformed makes an error that wraps ErrMalformed.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
