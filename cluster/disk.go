package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// CheckBolt reads the bbolt file at path through: every page in use is
// visited, nothing is written. Do so before opening it for writing: there
// bbolt begins anew in an empty file, panics on a goroutine of its own over
// pages that do not hold together, and takes no notice of a file that was cut
// short until it needs what is gone. The error wraps fs.ErrNotExist when there
// is no file, and ErrCorrupt when it is damaged. Another process that has the
// file open for writing is waited for as long as timeout.
func CheckBolt(path string, timeout time.Duration) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: it is no regular file", ErrCorrupt)
	case info.Size() == 0:
		return fmt.Errorf("%w: it is empty", ErrCorrupt)
	}
	return readThrough(path, timeout)
}

// readThrough visits every page of a file that is not empty.
func readThrough(path string, timeout time.Duration) (err error) {
	// bbolt panics on pages that do not hold together, and its memory map
	// faults on a disk that cannot read them.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: timeout})
	if err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) || errors.Is(err, berrors.ErrTimeout) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(path) // now that it is locked
		if err != nil {
			return err
		}
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w: it is cut short, %d of %d bytes are left", ErrCorrupt, info.Size(), tx.Size())
		}
		return tx.ForEach(func(_ []byte, bucket *bbolt.Bucket) error {
			return bucket.ForEach(func(_, _ []byte) error { return nil })
		})
	})
}

// DiskAdvice says what an operator can do about an error of reading or writing
// dir, or a file in it. It is empty when there is no advice to give.
func DiskAdvice(dir string, err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free space on the file system of " + dir
	case errors.Is(err, syscall.EROFS):
		return "mount the file system of " + dir + " writable"
	case errors.Is(err, fs.ErrPermission):
		return "jacod must own " + dir + ": run it as root, or chown -R the directory to its user"
	case errors.Is(err, berrors.ErrTimeout):
		return "another process has " + dir + " open: is a second jacod running?"
	case errors.Is(err, ErrCorrupt), errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return "restore " + dir + " from a backup, or empty the data directory and join the node again"
	}
	return ""
}
