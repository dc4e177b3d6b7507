package tmpfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// inMemory reports whether a directory is on a file system that has no disk.
func inMemory(path string) (bool, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return false, err
	}
	return stat.Type == unix.TMPFS_MAGIC || stat.Type == unix.RAMFS_MAGIC, nil
}

// mount mounts a tmpfs, one that is never swapped out where the kernel knows
// how (from 6.4 on).
func mount(path string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	err := unix.Mount("jaco-secrets", path, "tmpfs", flags, "mode=0700,noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("jaco-secrets", path, "tmpfs", flags, "mode=0700")
	}
	return err
}
