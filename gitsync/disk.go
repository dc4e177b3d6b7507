package gitsync

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ownDisk says whether an error is one of our own files. The network knows
// "permission denied" too.
func ownDisk(err error) bool {
	var stored storeError
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &stored) || errors.As(err, &path) || errors.As(err, &link)
}

// OwnDisk says whether a round was not finished for what happened on this node's
// own disk: another node may well finish it.
func OwnDisk(err error) bool { return ownDisk(err) && !errors.Is(err, ErrUnreachable) }

// adviseDisk adds to an error of a file below dir what an operator can do
// about it. It is called once, where the error leaves the package.
func adviseDisk(dir string, err error) error {
	if !ownDisk(err) {
		return err
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: free space on the file system of %s", err, dir)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: mount the file system of %s writable", err, dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: jacod must own %s: run it as root, or chown -R the directory to its user", err, dir)
	}
	return err
}
