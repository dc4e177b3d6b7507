package rig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// mountDisk makes a file system of that size at the path, or resizes the one
// that is there. It lies in memory, beside the node's directory: a power failure
// takes what is mounted below that.
func mountDisk(path string, size int64) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	flags := uintptr(0)
	mounts, err := mountsUnder(filepath.Dir(path))
	if err != nil {
		return err
	}
	if slices.Contains(mounts, path) {
		flags = unix.MS_REMOUNT
	}
	if err := unix.Mount("none", path, "tmpfs", flags, fmt.Sprintf("size=%d,mode=0755", size)); err != nil {
		return fmt.Errorf("make disk %s: %w", path, err)
	}
	return nil
}

// ballast is what fills a disk.
const ballast = "ballast"

var errNoDisk = errors.New("the daemon has no disk of its own; give it a DataSize")

// FillDisk takes all that is left on the disk of the data directory.
func (d *Daemon) FillDisk(ctx context.Context) error {
	if d.disk == "" {
		return fmt.Errorf("fill disk: %w", errNoDisk)
	}
	file, err := os.OpenFile(filepath.Join(d.disk, ballast), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil && errors.Is(err, unix.ENOSPC) {
		return nil
	} else if err != nil {
		return fmt.Errorf("fill disk: %w", err)
	}
	defer file.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		block := make([]byte, size)
		for err = nil; err == nil; {
			if ctx.Err() != nil {
				return fmt.Errorf("fill disk: %w", ctx.Err())
			}
			_, err = file.Write(block)
		}
		if !errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("fill disk: %w", err)
		}
	}
	return nil
}

// FreeDisk gives back what FillDisk took.
func (d *Daemon) FreeDisk(context.Context) error {
	if d.disk == "" {
		return fmt.Errorf("free disk: %w", errNoDisk)
	}
	if err := os.Remove(filepath.Join(d.disk, ballast)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("free disk: %w", err)
	}
	return nil
}

// Wipe empties the data directory, the embedded repository in it included, as
// a disk that was replaced. jacod must not run; its edge, which keeps what it
// knows there, is ended.
func (d *Daemon) Wipe(ctx context.Context) error {
	if d.Running() {
		return errors.New("wipe data directory: jacod is running")
	}
	if err := d.KillEdge(ctx); err != nil {
		return err
	}
	entries, err := os.ReadDir(d.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("wipe data directory: %w", err)
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(d.DataDir, entry.Name())); err != nil {
			return fmt.Errorf("wipe data directory: %w", err)
		}
	}
	return nil
}
