package cluster

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// Encode returns the bytes that carry e in the log. Equal entries give equal
// bytes. Text for people is made valid UTF-8; a key that is not, and a time
// out of the years 1 to 9999, is an error.
func Encode(e Entry) ([]byte, error) {
	w := &encoder{}
	m := &jacov1.Entry{Time: w.time(e.Time), Actor: w.actor(e.Actor)}
	w.command(m, e.Command)
	if w.err != nil {
		return nil, fmt.Errorf("encode entry: %w", w.err)
	}
	return marshal(m)
}

// Decode is the inverse of Encode. It returns ErrUnknownCommand for what a
// newer build may know (commands, fields and enumerated values that this one
// does not), and ErrInvalid for bytes that no build takes for an entry.
func Decode(data []byte) (Entry, error) {
	e, err := decodeAudited(data)
	if err != nil {
		return Entry{}, err
	}
	if _, audited := e.Command.(*objectDigests); audited {
		return Entry{}, fmt.Errorf("%w: entry: the audit log's form of a command", ErrInvalid)
	}
	return e, nil
}

// decodeAudited decodes an entry as Decode does, and also the form that the
// audit log keeps of PutObjects.
func decodeAudited(data []byte) (Entry, error) {
	m := &jacov1.Entry{}
	if err := unmarshal(data, m); err != nil {
		return Entry{}, err
	}
	r := &decoder{}
	e := Entry{Time: r.time(m.GetTime()), Actor: r.actor(m.GetActor()), Command: r.command(m)}
	if r.err != nil {
		return Entry{}, fmt.Errorf("entry: %w", r.err)
	}
	return e, nil
}

// objectDigests is what the audit log keeps of PutObjects.
type objectDigests struct {
	Objects []objectDigest
}

type objectDigest struct {
	ID     [20]byte
	Type   uint8
	Size   uint64
	SHA256 [32]byte
}

// Kind implements Command.
func (*objectDigests) Kind() CommandKind { return KindPutObjects }

func marshal(m proto.Message) ([]byte, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return data, nil
}

// unmarshal decodes m and refuses what this build does not know. The text of
// protobuf's own errors differs between builds and is left out.
func unmarshal(data []byte, m proto.Message) error {
	name := m.ProtoReflect().Descriptor().Name()
	if err := proto.Unmarshal(data, m); err != nil {
		return fmt.Errorf("%w: malformed %s", ErrInvalid, name)
	}
	if unknown := unknownField(m.ProtoReflect()); unknown != "" {
		return fmt.Errorf("%w: unknown field in %s", ErrUnknownCommand, unknown)
	}
	return nil
}

// unknownField returns the name of the first message at or below m that holds
// a field that this build does not know.
func unknownField(m protoreflect.Message) protoreflect.Name {
	if len(m.GetUnknown()) > 0 {
		return m.Descriptor().Name()
	}
	var found protoreflect.Name
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Message() == nil {
			return true
		}
		if !fd.IsList() {
			found = unknownField(v.Message())
			return found == ""
		}
		for i := range v.List().Len() {
			if found = unknownField(v.List().Get(i).Message()); found != "" {
				return false
			}
		}
		return true
	})
	return found
}
