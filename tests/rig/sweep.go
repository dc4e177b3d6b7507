package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Sweep removes whatever rigs whose id starts with "jaco-" and the prefix left
// on the machine, whoever made them. The prefix must not be empty: other runs
// may be at work.
func Sweep(ctx context.Context, prefix string) error {
	if prefix == "" {
		return errors.New("sweep rigs: empty prefix")
	}
	prefix = idPrefix + prefix
	var errs error
	groups, err := namesWithPrefix(prefix, "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids")
	errs = errors.Join(errs, err)
	for _, name := range groups {
		errs = errors.Join(errs, (&group{path: "/" + name}).kill(ctx))
	}
	dirs, err := namesWithPrefix(prefix, os.TempDir())
	errs = errors.Join(errs, err)
	for _, name := range dirs {
		errs = errors.Join(errs, removeDir(filepath.Join(os.TempDir(), name)))
	}
	spaces, err := namesWithPrefix(prefix, netnsDir)
	errs = errors.Join(errs, err)
	for _, name := range spaces {
		errs = errors.Join(errs, NetNS(name).remove(ctx))
	}
	for _, name := range groups {
		errs = errors.Join(errs, (&group{path: "/" + name}).remove(ctx))
	}
	return errors.Join(errs, removeWireGuardSockets(wireGuardPrefix(prefix)))
}

func namesWithPrefix(prefix string, dirs ...string) ([]string, error) {
	var names []string
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("list %s: %w", dir, err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), prefix) {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// removeDir removes a rig's directory with the mounts in it.
func removeDir(dir string) error {
	nodes, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, node := range nodes {
		if err := removeShimSockets(node); err != nil {
			return err
		}
	}
	if err := unmountUnder(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

// unmountUnder unmounts everything below a directory, whoever still uses it.
func unmountUnder(dir string) error {
	mounts, err := mountsUnder(dir)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) { // inner ones first
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", m, err)
		}
	}
	return nil
}

// mountsUnder lists mount points below a directory in the order of mounting.
func mountsUnder(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var mounts []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			mounts = append(mounts, f[4])
		}
	}
	return mounts, nil
}
