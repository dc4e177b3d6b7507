package rig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// group is one cgroup in the unified hierarchy. It is used for ownership only:
// which processes are ours, and killing all of them at once.
type group struct {
	// path is the group's path inside every hierarchy, with a leading slash, as
	// the engine's --cgroup-parent wants it.
	path string
}

// cgroupRoot finds the unified hierarchy: all of /sys/fs/cgroup on a current
// system, a subdirectory where the controllers still live in version 1.
func cgroupRoot() (string, error) {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir, nil
		}
	}
	return "", errors.New("find cgroups: no version 2 hierarchy at /sys/fs/cgroup or /sys/fs/cgroup/unified")
}

func newGroup(path string) (*group, error) {
	root, err := cgroupRoot()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(root, path), 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup %s: %w", path, err)
	}
	return &group{path: path}, nil
}

// leaf makes a child for processes: version 2 with controllers forbids
// processes in a group that has children.
func (g *group) leaf(name string) (*os.File, error) {
	child, err := newGroup(filepath.Join(g.path, name))
	if err != nil {
		return nil, err
	}
	root, err := cgroupRoot()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(root, child.path))
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return f, nil
}

// kill ends every process of the group and its children and waits until the
// last one is gone. Children of this process must be reaped by their owner.
func (g *group) kill(ctx context.Context) error {
	root, err := cgroupRoot()
	if err != nil {
		return err
	}
	dir := filepath.Join(root, g.path)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		// Kernels before 5.14 have no cgroup.kill: the loop over the processes
		// does the same, with a race that the next turn closes.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		pids, err := g.pids()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		g.thaw()
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill cgroup %s, processes %v left: %w", g.path, pids, ctx.Err())
		case <-tick.C:
		}
	}
}

// thaw lets frozen processes take the signal that ends them: those of a paused
// container do not in the version 1 hierarchy, where there is one.
func (g *group) thaw() {
	_ = filepath.WalkDir(filepath.Join("/sys/fs/cgroup/freezer", g.path), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "freezer.state" {
			_ = os.WriteFile(path, []byte("THAWED"), 0) // it may be gone
		}
		return nil
	})
}

// pids lists the processes of the group and its children, zombies left out.
func (g *group) pids() ([]int, error) {
	root, err := cgroupRoot()
	if err != nil {
		return nil, err
	}
	var pids []int
	err = filepath.WalkDir(filepath.Join(root, g.path), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.Name() != "cgroup.procs" {
			return err
		}
		data, _ := os.ReadFile(path) // fails when the group was removed since
		for _, line := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 0 && !zombie(pid) {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list processes of cgroup %s: %w", g.path, err)
	}
	return pids, nil
}

func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z")
}

// remove deletes the group and its children from every hierarchy. The engine's
// runtime makes them in the version 1 hierarchies too, where there are any.
func (g *group) remove(ctx context.Context) error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*")
	if err != nil {
		return fmt.Errorf("list cgroup hierarchies: %w", err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var last error
		for _, root := range append(roots, "/sys/fs/cgroup") {
			last = errors.Join(last, removeTree(filepath.Join(root, g.path)))
		}
		if last == nil {
			return nil
		}
		select { // a killed process holds its group a moment longer
		case <-ctx.Done():
			return fmt.Errorf("remove cgroup %s: %w", g.path, last)
		case <-tick.C:
		}
	}
}

// removeTree removes a cgroup directory: only rmdir works there, children first.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}
