package identity

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// The files of a node's identity.
const (
	keyFile  = "node.key"
	certFile = "node.crt"
	caFile   = "ca.crt"
	sealFile = "seal.key"

	fileMode = 0o600
	dirMode  = 0o700
	// maxFile is far above any of the files; what is larger is not one of them.
	maxFile = 64 << 10
)

// The ways in which the identity on disk is refused.
var (
	// ErrNoIdentity is returned when the directory holds no complete identity:
	// the node was never initialized or joined.
	ErrNoIdentity = errors.New("this node has no identity yet")
	// ErrExists is returned by Create and Admit when there is a complete one
	// already.
	ErrExists = errors.New("this node has an identity already")
	// ErrExposed is returned when others may read a private key or replace it.
	ErrExposed = errors.New("open to other users")
	// ErrUnreadable is returned for a file that cannot be read or written.
	ErrUnreadable = errors.New("unreadable")
)

// Store keeps a node's identity in a directory of its own. All files have mode
// 0600, the directory 0700. One process uses it at a time.
type Store struct {
	dir   string
	clock func() time.Time
	rand  io.Reader
}

// NewStore returns a store on dir; it touches nothing yet.
func NewStore(dir string, clock func() time.Time, rand io.Reader) *Store {
	return &Store{dir: dir, clock: clock, rand: rand}
}

// files is the content of the four files.
type files struct{ key, cert, ca, seal []byte }

// Create makes a new node's keys, has the authority certify them and writes
// all to disk, as Admit does.
func (s *Store) Create(authority *Authority, node string) (*Identity, error) {
	candidate, err := NewCandidate(s.rand)
	if err != nil {
		return nil, fmt.Errorf("create identity of node %s: %w", node, err)
	}
	cert, err := authority.Issue(node, candidate.PublicKey(), s.clock(), s.rand)
	if err != nil {
		return nil, fmt.Errorf("create identity of node %s: %w", node, err)
	}
	return s.Admit(candidate, node, authority.CertificatePEM(), cert)
}

// Load reads the identity and checks that its parts fit. Errors wrap
// ErrNoIdentity, ErrExposed, ErrUnreadable, ErrBadKey or ErrBadCertificate and
// name the file and the way out.
func (s *Store) Load() (*Identity, error) {
	if _, err := os.Lstat(s.path(certFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load identity from %s: %w: run jaco bootstrap init or jaco bootstrap join", s.dir, ErrNoIdentity)
	}
	if err := s.checkMode(s.dir, 0o022, "0700"); err != nil {
		return nil, fmt.Errorf("load identity: %w", err)
	}
	var f files
	for _, step := range []struct {
		name   string
		data   *[]byte
		secret bool
	}{{keyFile, &f.key, true}, {sealFile, &f.seal, true}, {caFile, &f.ca, false}, {certFile, &f.cert, false}} {
		data, err := s.read(step.name, step.secret)
		if err != nil {
			return nil, fmt.Errorf("load identity: %w", err)
		}
		*step.data = data
	}
	id, err := newIdentity(f, s.clock)
	if err != nil {
		return nil, fmt.Errorf("load identity from %s: %w: restore the file from a backup, or empty the directory and join the node again", s.dir, err)
	}
	return id, nil
}

// Renew issues a new certificate for the node's present key, writes it and
// puts it to use. The key stays, so the member table does too.
func (s *Store) Renew(id *Identity, authority *Authority) error {
	cert, err := authority.Issue(id.node, id.key.Public().(ed25519.PublicKey), s.clock(), s.rand)
	if err != nil {
		return fmt.Errorf("renew certificate of node %s: %w", id.node, err)
	}
	if err := s.Replace(id, cert); err != nil {
		return fmt.Errorf("renew certificate of node %s: %w", id.node, err)
	}
	return nil
}

// Replace writes a certificate that the authority issued elsewhere for the
// node's present key and puts it to use: the next connection shows it, and a
// crash leaves the old one or the new one. Anything else, and one that ends
// before the present one does, is refused with an error that wraps
// ErrBadCertificate, and the old one stays. Calls must not overlap.
func (s *Store) Replace(id *Identity, certPEM []byte) error {
	leaf, err := parseCertificate(certPEM)
	if err != nil {
		return fmt.Errorf("replace certificate: %w", err)
	}
	node, err := verifyNode(leaf, id.ca, id.cluster)
	if err != nil {
		return fmt.Errorf("replace certificate: %w", err)
	}
	if node != id.node || KeyHash(leaf) != id.KeyHash() {
		return fmt.Errorf("replace certificate: %w: it is another node's or key's", ErrBadCertificate)
	}
	if leaf.NotAfter.Before(id.NotAfter()) {
		return fmt.Errorf("replace certificate: %w: it ends on %s, before the present one", ErrBadCertificate, leaf.NotAfter.Format(time.RFC3339))
	}
	if err := s.write(certFile, certPEM); err != nil {
		return fmt.Errorf("replace certificate: %w", err)
	}
	return id.use(leaf)
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// read returns a file's content. A secret one must be closed to everybody else.
func (s *Store) read(name string, secret bool) ([]byte, error) {
	path := s.path(name)
	if secret {
		if err := s.checkMode(path, 0o077, "0600"); err != nil {
			return nil, err
		}
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, s.explain(path, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, s.explain(path, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: %w: larger than %d bytes, so it is none of jacod's files", path, ErrUnreadable, maxFile)
	}
	return data, nil
}

// checkMode refuses a file or directory that has any of the given bits.
func (s *Store) checkMode(path string, forbidden fs.FileMode, want string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return s.explain(path, err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s: %w: it is a symbolic link, whose target others may change: put the file itself there", path, ErrExposed)
	}
	if info.Mode().Perm()&forbidden != 0 {
		return fmt.Errorf("%s: %w (mode %04o): find out who could read it, then run: chmod %s %s",
			path, ErrExposed, info.Mode().Perm(), want, path)
	}
	return nil
}

// write replaces a file so that a crash leaves the old one or the new one:
// a new file, synced, renamed over the old, the directory synced.
func (s *Store) write(name string, data []byte) error {
	path := s.path(name)
	if err := s.replace(path, data); err != nil {
		os.Remove(path + ".tmp")
		return s.explain(path, err)
	}
	return nil
}

func (s *Store) replace(path string, data []byte) error {
	// The name is fixed, and a left-over of a crash is removed first, so that
	// O_EXCL holds and no foreign file's mode is inherited.
	if err := os.Remove(path + ".tmp"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// explain turns a file system's error into advice.
func (s *Store) explain(path string, err error) error {
	advice := cmp.Or(cluster.DiskAdvice(s.dir, err), "check the disk")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		advice = "restore it from a backup, or empty the directory and join the node again"
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR):
		advice = "move away what stands in its place"
	}
	return fmt.Errorf("%s: %w: %w: %s", path, ErrUnreadable, err, advice)
}
