package gitsync

import "errors"

// The errors of this package. Those that wrap ErrUnreachable may pass by
// themselves; the others of this block need a person.
var (
	// ErrUnreachable is returned when the repository did not answer, or not as
	// a git server does.
	ErrUnreachable = errors.New("repository unreachable")
	// ErrDenied is returned, together with ErrUnreachable, when the server
	// refused the credentials.
	ErrDenied = errors.New("access denied")
	// ErrHostKey is returned, together with ErrUnreachable, when the ssh
	// server's host key is not the pinned one, or none is pinned.
	ErrHostKey = errors.New("ssh host key not trusted")
	// ErrGone is returned, together with ErrUnreachable, when there is no such
	// repository, or none that the credentials may see.
	ErrGone = errors.New("repository not found")

	// ErrEmpty is returned when the repository has no commits yet.
	ErrEmpty = errors.New("repository is empty")
	// ErrNoBranch is returned when the repository has other branches only.
	ErrNoBranch = errors.New("no such branch")
	// ErrTooLarge is returned when a fetch exceeds one of the Limits.
	ErrTooLarge = errors.New("repository exceeds a limit")
	// ErrObjectTooLarge is returned when one object exceeds
	// Limits.ObjectBytes. The others stay readable.
	ErrObjectTooLarge = errors.New("git object exceeds the limit")
	// ErrFormat is returned for a repository that is not kept as plain files
	// with SHA-1 ids.
	ErrFormat = errors.New("repository format not supported")

	// ErrCorrupt is returned when stored bytes do not have the id they are
	// stored under. A mirror is rebuilt by the next Fetch; a repository given
	// by path needs a person.
	ErrCorrupt = errors.New("repository data is corrupt")
	// ErrNotRunning is returned by Refresh while Run does not run.
	ErrNotRunning = errors.New("sync is not running on this node")
)
