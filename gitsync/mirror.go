package gitsync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/jaco-sh/jaco/signing"
)

// headRef is where the mirror keeps the branch: a private ref, moved to
// whatever the server has. What may be accepted of it is the judge's matter.
const headRef = "refs/jaco/head"

// Mirror is the repository as far as it is needed here: one branch with its
// full history and the approval tags in a bare mirror, or the repository itself
// when it is given by path. It never makes a checkout.
//
// Object and Contains may be called while a fetch runs; ListHead and Fetch
// wait for each other.
type Mirror struct {
	config Config
	remote dialer // nil for a repository on this machine
	store  *store
	packs  int // maxPacks, fewer in tests

	fetching sync.Mutex // held during ListHead and Fetch; guards the fields below
	tooLarge map[signing.Hash]error
	have     map[signing.Hash]bool // tags that were found here
	unwanted map[signing.Hash]bool // tags that exceed a limit
	genuine  map[tagRef]bool       // of the tags at the last Fetch: whether they are offered

	mu      sync.Mutex   // guards the fields below
	broken  bool         // the next Fetch makes the mirror anew
	rebuilt signing.Hash // the head for which the mirror was made anew
	offered []signing.Hash
}

var _ signing.Source = (*Mirror)(nil)

// OpenMirror prepares a mirror in the configuration's directory, which is made
// when it is missing. It does not use the network.
func OpenMirror(config Config) (*Mirror, error) {
	config = config.withDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	where, err := parseEndpoint(config.Repository.URL)
	if err != nil {
		return nil, err
	}
	m := &Mirror{config: config, packs: maxPacks, tooLarge: make(map[signing.Hash]error), have: make(map[signing.Hash]bool), unwanted: make(map[signing.Hash]bool)}
	switch where.scheme {
	case schemeLocal:
		// The git directory may come later; each round looks for it.
		m.store = newStore(where.path, config.Limits.ObjectBytes)
		return m, nil
	case schemeSSH:
		if m.remote, err = newSSHDialer(where, config.Repository.Credentials); err != nil {
			return nil, fmt.Errorf("repository %s: %w", config.Repository.URL, err)
		}
	default:
		m.remote = newHTTPDialer(config.Repository.URL, config.Repository.Credentials)
	}
	if err := prepareDirectory(config.Directory); err != nil {
		return nil, adviseDisk(config.Directory, err)
	}
	m.store = newStore(config.Directory, config.Limits.ObjectBytes)
	return m, nil
}

// prepareDirectory makes an empty bare repository unless there is one, and
// removes what an interrupted fetch or rebuild left.
func prepareDirectory(dir string) error {
	for _, path := range []string{dir + rebuildSuffix, dir + discardSuffix} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("clean up mirror: %w", err)
		}
	}
	leftovers, err := filepath.Glob(filepath.Join(dir, "objects", "pack", incomingPattern))
	if err != nil {
		return fmt.Errorf("clean up mirror: %w", err)
	}
	for _, path := range leftovers {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("clean up mirror: %w", err)
		}
	}
	return initMirror(dir)
}

// initMirror makes what git itself needs to take the directory for a bare
// repository; existing files stay.
func initMirror(dir string) error {
	for _, d := range []string{"objects/pack", "objects/info", "refs/jaco", "refs/heads"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return fmt.Errorf("make mirror: %w", err)
		}
	}
	for name, content := range map[string]string{
		"HEAD":   "ref: refs/heads/main\n", // git wants it to name a branch, if one without commits
		"config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
	} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				return fmt.Errorf("make mirror: %w", err)
			}
		}
	}
	return nil
}

// Object implements signing.Source. Its error wraps signing.ErrNotFound for
// what is not there, ErrObjectTooLarge, or ErrCorrupt, after which the next
// Fetch makes the mirror anew.
func (m *Mirror) Object(id signing.Hash) (signing.Object, error) {
	object, err := m.store.Object(id)
	if errors.Is(err, ErrCorrupt) {
		m.distrust()
	}
	if err != nil && m.remote != nil { // a repository given by path is its owner's affair
		err = adviseDisk(m.config.Directory, err)
	}
	return object, err
}

// distrust has the next Fetch make the mirror anew.
func (m *Mirror) distrust() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = m.remote != nil
}

// suspect is told that objects of the head are missing. It says whether the
// next Fetch can help: not when the mirror was made anew for this very head,
// or is no mirror.
func (m *Mirror) suspect(head signing.Hash) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.remote == nil || m.rebuilt == head {
		return false
	}
	m.broken = true
	return true
}

func (m *Mirror) isBroken() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.broken
}

// ListHead asks for the branch's newest commit, by one query of the refs.
func (m *Mirror) ListHead(ctx context.Context) (signing.Hash, error) {
	m.fetching.Lock()
	defer m.fetching.Unlock()
	if m.remote == nil {
		head, _, err := m.localRefs()
		return head, err
	}
	c, _, head, err := m.query(ctx)
	if err != nil {
		return signing.Hash{}, err
	}
	return head, c.Close()
}

// localRefs finds the git directory, which an operator may have moved or made
// anew since, and reads the branch and the approval tags.
func (m *Mirror) localRefs() (signing.Hash, []tagRef, error) {
	path := m.config.Repository.URL
	head, tags, err := localRefs(path, m.config.Repository.Branch, m.config.Limits.Tags)
	if err != nil {
		return signing.Hash{}, nil, err
	}
	dir, err := gitDirectory(path)
	if err != nil {
		return signing.Hash{}, nil, err
	}
	m.store.use(dir)
	return head, tags, nil
}

// query opens a conversation and reads the head. The caller closes it.
func (m *Mirror) query(ctx context.Context) (conversation, *advertised, signing.Hash, error) {
	c, err := m.remote.dial(ctx)
	if err != nil {
		return nil, nil, signing.Hash{}, fmt.Errorf("query %s: %w", m.config.Repository.URL, err)
	}
	refs, err := readAdvertisement(c)
	var head signing.Hash
	if err == nil {
		head, err = refs.head(m.config.Repository.Branch)
	}
	if err != nil {
		_ = c.Close() // the error at hand says more
		return nil, nil, signing.Hash{}, fmt.Errorf("query %s: %w", m.config.Repository.URL, err)
	}
	return c, refs, head, nil
}

// Fetch brings the branch and the approval tags here and returns the branch's
// newest commit; Tags are then the tags. When all is here already, it costs the
// query of the refs alone. Nothing is kept of a fetch that failed.
func (m *Mirror) Fetch(ctx context.Context) (signing.Hash, error) {
	m.fetching.Lock()
	defer m.fetching.Unlock()
	if m.remote == nil {
		head, tags, err := m.localRefs()
		if err == nil {
			m.offer(tags)
		}
		return head, err
	}
	c, refs, head, err := m.query(ctx)
	if err != nil {
		return signing.Hash{}, err
	}
	defer func() { _ = c.Close() }() // what was to be read was read
	if err := m.tooLarge[head]; err != nil {
		return signing.Hash{}, err // it would be fetched in vain again
	}
	tags, err := refs.tags(m.config.Limits.Tags)
	if err != nil {
		return signing.Hash{}, fmt.Errorf("query %s: %w", m.config.Repository.URL, err)
	}
	have, err := m.readHead()
	if err != nil {
		m.distrust()
	}
	missing := m.missingTags(tags)
	if have == head && len(missing) == 0 && !m.isBroken() {
		m.offer(tags)
		return head, nil
	}
	err = m.fetch(ctx, c, refs, wanted{head: head, have: have, tags: missing})
	if errors.Is(err, ErrTooLarge) {
		clear(m.tooLarge) // one head is enough to remember
		m.tooLarge[head] = err
	}
	if err != nil {
		err = fmt.Errorf("fetch %s from %s: %w", head.Short(), m.config.Repository.URL, err)
		return signing.Hash{}, adviseDisk(m.config.Directory, err)
	}
	m.offer(tags)
	return head, nil
}

// wanted is what one fetch is to bring.
type wanted struct {
	head signing.Hash
	have signing.Hash   // the head that is here; zero: none
	tags []signing.Hash // that are not here
}

// fetch adds what is missing, or makes the mirror anew when it is broken.
func (m *Mirror) fetch(ctx context.Context, c conversation, refs *advertised, w wanted) error {
	head := w.head
	if m.isBroken() {
		return m.rebuild(ctx, c, refs, head)
	}
	t := transfer{dir: m.config.Directory, have: m.negotiate(w.have), limits: m.config.Limits}
	if w.have != head {
		t.want = []signing.Hash{head}
	}
	if err := m.collect(ctx, c, refs, t, w.tags); err != nil {
		return err
	}
	if err := checkCommit(m.store, head); err != nil {
		// Either the mirror lacks what it said it had, or the server left
		// something out; a fetch from nothing tells.
		m.distrust()
		return err
	}
	if err := writeHead(m.config.Directory, head); err != nil {
		return err
	}
	if err := m.consolidate(ctx); err != nil {
		m.config.Logger.Warn("cannot consolidate the mirror's packs", "error", adviseDisk(m.config.Directory, err))
	}
	return nil
}

// checkCommit says whether the commit is there.
func checkCommit(s *store, id signing.Hash) error {
	object, err := s.Object(id)
	if err != nil {
		return fmt.Errorf("after the fetch: %w", err)
	}
	if object.Type != signing.CommitObject {
		return fmt.Errorf("%w: the branch points to a %s", ErrFormat, object.Type)
	}
	return nil
}

// readHead reads the mirror's ref; zero when it has none yet.
func (m *Mirror) readHead() (signing.Hash, error) {
	data, err := os.ReadFile(filepath.Join(m.config.Directory, headRef))
	if errors.Is(err, fs.ErrNotExist) {
		return signing.Hash{}, nil
	}
	if err != nil {
		return signing.Hash{}, fmt.Errorf("read the mirror's head: %w", err)
	}
	head, err := signing.ParseHash(strings.TrimSpace(string(data)))
	if err != nil {
		return signing.Hash{}, fmt.Errorf("read the mirror's head: %w: %w", ErrCorrupt, err)
	}
	return head, nil
}

// writeHead moves the mirror's ref. It is written after the objects are safe
// on disk.
func writeHead(dir string, head signing.Hash) error {
	if err := initMirror(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, headRef)
	if err := os.WriteFile(path+".new", []byte(head.String()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the mirror's head: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write the mirror's head: %w", err)
	}
	return nil
}

// negotiate names commits that need not be sent: the last head, and its
// ancestors at growing distance, so that a rewritten branch still shares one.
// One that was rewritten further back is sent whole.
func (m *Mirror) negotiate(head signing.Hash) []signing.Hash {
	const deepest = 64
	var have []signing.Hash
	at, next := 0, 0
	for id := head; !id.IsZero() && at <= deepest; at++ {
		parents, err := parentsOf(m.store, id)
		if err != nil {
			break // the fetch checks what comes of it
		}
		if at == next {
			have = append(have, id)
			next = max(1, 2*next)
		}
		if len(parents) == 0 {
			break
		}
		id = parents[0]
	}
	return have
}

// release frees memory until the next read.
func (m *Mirror) release() { m.store.release() }

// Close frees files and connections. The mirror may be used again afterwards.
func (m *Mirror) Close() error {
	m.fetching.Lock()
	defer m.fetching.Unlock()
	m.store.release()
	if h, ok := m.remote.(*httpDialer); ok {
		h.close()
	}
	return nil
}
