package signing

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/pjbgf/sha1cd"
)

// Hash is the id of a git object: the SHA-1 over "<type> <size>\x00<data>".
type Hash [20]byte

// ErrNotFound is returned by a Source that does not have an object. It means
// that evidence is missing, and is never turned into a verdict.
var ErrNotFound = errors.New("object not found")

// ErrCollision is returned when the bytes of an object carry the marks of a
// SHA-1 collision attack.
var ErrCollision = errors.New("object bytes look like a SHA-1 collision attack")

// ParseHash reads the 40 lower-case hexadecimal digits of a full object id.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 2*len(h) {
		return h, fmt.Errorf("object id %q: want %d hexadecimal digits", s, 2*len(h))
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return h, fmt.Errorf("object id %q: want lower-case hexadecimal digits", s)
		}
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return h, fmt.Errorf("object id %q: %w", s, err)
	}
	return h, nil
}

// String returns the 40 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short returns the first 12 digits, as status and messages show them.
func (h Hash) Short() string { return h.String()[:12] }

// IsZero reports whether h is the zero hash, which stands for "no object".
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText implements encoding.TextMarshaler; the zero hash is empty text.
func (h Hash) MarshalText() ([]byte, error) {
	if h.IsZero() {
		return nil, nil
	}
	return []byte(h.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*h = Hash{}
		return nil
	}
	parsed, err := ParseHash(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}

// ObjectType is the kind of a git object, with git's own pack numbers. They
// reach disk and wire: never renumber.
type ObjectType uint8

// The four kinds of git objects.
const (
	CommitObject ObjectType = 1
	TreeObject   ObjectType = 2
	BlobObject   ObjectType = 3
	TagObject    ObjectType = 4
)

// String returns git's name of the type, as it stands in an object's header.
func (t ObjectType) String() string {
	switch t {
	case CommitObject:
		return "commit"
	case TreeObject:
		return "tree"
	case BlobObject:
		return "blob"
	case TagObject:
		return "tag"
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Object is one git object: its type and its raw content without the header.
type Object struct {
	Type ObjectType
	Data []byte
}

// Source gives objects by id. An implementation need not check that the bytes
// match the id: everything in this package that reads from a Source does.
// Object returns an error that wraps ErrNotFound when it has no such object.
type Source interface {
	Object(id Hash) (Object, error)
}

// HashObject computes the id of an object with collision detection: it returns
// ErrCollision for bytes that carry the marks of a known attack on SHA-1.
func HashObject(o Object) (Hash, error) {
	digest := sha1cd.New().(sha1cd.CollisionResistantHash)
	fmt.Fprintf(digest, "%s %d\x00", o.Type, len(o.Data))
	digest.Write(o.Data)
	sum, collision := digest.CollisionResistantSum(nil)
	if collision {
		return Hash{}, ErrCollision
	}
	return Hash(sum), nil
}
