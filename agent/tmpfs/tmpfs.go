// Package tmpfs keeps decrypted files in the node's memory, where the container
// engine can mount them from.
//
// Its rules:
//
//   - Nothing is written below a directory that is not on a tmpfs. One that is
//     on no tmpfs yet gets one; /run is one on every host that systemd started,
//     and a mount of a sandboxed daemon's own would not be seen by the engine.
//   - The directory is root's alone. A container sees the files that it mounts.
//   - Files outlive the process, as the containers do, and nothing else.
package tmpfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/jaco-sh/jaco/agent"
)

// ErrNoTmpfs is returned when there is no tmpfs and none can be mounted.
var ErrNoTmpfs = errors.New("no tmpfs for secrets")

// Directory is where the files of a node's replicas are, each replica's in a
// directory of its own. It may be used concurrently for different replicas.
type Directory struct{ path string }

var _ agent.SecretFiles = (*Directory)(nil)

// New returns the directory at an absolute path. Nothing is made before the
// first Put.
func New(path string) *Directory { return &Directory{path} }

// ensure makes the directory, on a tmpfs.
func (d *Directory) ensure() error {
	if err := os.MkdirAll(filepath.Dir(d.path), 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrNoTmpfs, err)
	}
	if err := os.Mkdir(d.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %w", ErrNoTmpfs, err)
	}
	info, err := os.Lstat(d.path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoTmpfs, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is no directory: move it away", ErrNoTmpfs, d.path)
	}
	found, err := inMemory(d.path)
	if err == nil && !found {
		err = mount(d.path)
	}
	if err != nil {
		return fmt.Errorf("%w at %s: %w: jacod has to run as root, or mount one there", ErrNoTmpfs, d.path, err)
	}
	if err := os.Chmod(d.path, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrNoTmpfs, err)
	}
	return nil
}

// Put implements agent.SecretFiles.
func (d *Directory) Put(replica string, files []agent.SecretFile) ([]string, error) {
	if !filepath.IsLocal(replica) || filepath.Base(replica) != replica || replica == "." {
		return nil, fmt.Errorf("keep secrets: %q is no replica", replica)
	}
	if err := d.ensure(); err != nil {
		return nil, err
	}
	if err := d.Remove(replica); err != nil {
		return nil, err
	}
	own := filepath.Join(d.path, replica)
	if err := os.Mkdir(own, 0o700); err != nil {
		return nil, fmt.Errorf("keep secrets: %w", err)
	}
	var paths []string
	for i, file := range files {
		path := filepath.Join(own, strconv.Itoa(i))
		if err := write(path, file); err != nil {
			return nil, errors.Join(fmt.Errorf("keep secrets: %w", err), d.Remove(replica))
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func write(path string, file agent.SecretFile) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(file.Data)
	if err == nil {
		err = f.Chown(int(file.UID), int(file.GID))
	}
	if err == nil {
		err = f.Chmod(fs.FileMode(file.Mode & 0o777))
	}
	return errors.Join(err, f.Close())
}

// Remove implements agent.SecretFiles.
func (d *Directory) Remove(replica string) error {
	if err := os.RemoveAll(filepath.Join(d.path, replica)); err != nil {
		return fmt.Errorf("remove secrets of replica %s: %w", replica, err)
	}
	return nil
}

// Replicas implements agent.SecretFiles.
func (d *Directory) Replicas() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}
