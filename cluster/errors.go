package cluster

import "errors"

// Why a command was refused or applying stopped. A refusal changes nothing but
// the audit log. Its text is hashed into the audit chain on every node, so
// texts never change once released.
var (
	// ErrUnknownCommand is returned when an entry holds a command, field or
	// value that this build does not know. The caller must stop applying: a
	// newer node did more with this entry than this one can.
	ErrUnknownCommand = errors.New("unknown command")
	// ErrStorage is returned when the object or audit store did not take what
	// an entry brings. Nothing was applied; the caller must stop applying and
	// may apply the same entry again.
	ErrStorage = errors.New("storage")
	// ErrInvalid is returned when a command is malformed or breaks a rule that
	// no other state would change.
	ErrInvalid = errors.New("invalid")
	// ErrConflict is returned when a command was made from a state that has
	// moved on; it may be right when it is made again from the present one.
	ErrConflict = errors.New("conflict")
	// ErrToken is returned when a join token does not admit anybody: it is
	// unknown, was used, or has expired.
	ErrToken = errors.New("token refused")
	// ErrExists is returned when what a command makes is there already.
	ErrExists = errors.New("exists already")
	// ErrNotFound is returned by queries for what state does not hold.
	ErrNotFound = errors.New("not found")
	// ErrAmbiguous is returned when a prefix matches more than one object.
	ErrAmbiguous = errors.New("ambiguous")
	// ErrOtherChain is returned when the audit chain of a state does not hold an
	// entry that it should: it is the history of something else.
	ErrOtherChain = errors.New("another history")
	// ErrCorrupt is returned when a snapshot, segment, stored object or the
	// file of a store does not hold together.
	ErrCorrupt = errors.New("corrupt")
)

// Stops reports whether err, from Apply, obliges the caller to apply nothing
// further.
func Stops(err error) bool {
	return errors.Is(err, ErrUnknownCommand) || errors.Is(err, ErrStorage)
}
