package signing

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// The bounds of the caches of one judgement, in bytes of git content.
const (
	rawCacheSize    = 16 << 20
	commitCacheSize = 32 << 20
	treeCacheSize   = 32 << 20

	maxTwins    = 256
	maxTwinSize = 64 << 10
)

// node is what the shape of the history needs of a commit.
type node struct {
	parents []Hash
	// date is the committer's, which its author chose. It only guides walks:
	// a false one makes them longer, or takes more commits for new than there
	// are, and these are judged.
	date int64
}

// history reads commits and trees, each hashed and decoded once as long as the
// caches hold it. It belongs to one judgement and is not safe for concurrent
// use.
type history struct {
	src     Source
	nodes   map[Hash]node
	raw     generations[[]byte]
	commits generations[*Commit]
	trees   generations[[]TreeEntry]
	twins   map[int]twin // by size of the tree in bytes
}

func newHistory(src Source) *history {
	return &history{
		src:     guardedSource{src},
		nodes:   make(map[Hash]node),
		twins:   make(map[int]twin),
		raw:     generations[[]byte]{limit: rawCacheSize},
		commits: generations[*Commit]{limit: commitCacheSize},
		trees:   generations[[]TreeEntry]{limit: treeCacheSize},
	}
}

// node reads a commit's parents and date as git itself does, without judging
// the rest: history before the anchor is what it is, and what stands below a
// malformed commit must be found to be accepted.
func (h *history) node(id Hash) (node, error) {
	if n, known := h.nodes[id]; known {
		return n, nil
	}
	data, err := ReadObject(h.src, id, CommitObject)
	if err != nil {
		return node{}, err
	}
	n, err := parseNode(data)
	if err != nil {
		return node{}, fmt.Errorf("commit %s: %w", id, err)
	}
	h.nodes[id] = n
	h.raw.put(id, data, len(data))
	return n, nil
}

// parseNode reads the tree line and the parent lines behind it.
func parseNode(data []byte) (node, error) {
	var n node
	line, rest, ok := bytes.Cut(data, []byte("\n"))
	if _, isTree := bytes.CutPrefix(line, []byte("tree ")); !ok || !isTree {
		return n, malformed("does not start with a tree")
	}
	for {
		line, rest, ok = bytes.Cut(rest, []byte("\n"))
		value, isParent := bytes.CutPrefix(line, []byte("parent "))
		if !isParent {
			break
		}
		parent, err := ParseHash(string(clip(value)))
		if err != nil || !ok {
			return n, malformed("bad parent line")
		}
		if parent.IsZero() {
			continue // no such object can be asked for; the strict decoder refuses the commit
		}
		if n.parents = append(n.parents, parent); len(n.parents) > maxParents {
			return n, malformed("more than %d parents", maxParents)
		}
	}
	line, _, _ = bytes.Cut(rest, []byte("\n"))
	if value, found := bytes.CutPrefix(line, []byte("committer ")); found {
		words := bytes.Fields(value[bytes.LastIndexByte(value, '>')+1:])
		if len(words) > 0 {
			n.date, _ = strconv.ParseInt(string(words[0]), 10, 64) // none: 0
		}
	}
	return n, nil
}

// commit reads and strictly decodes a commit.
func (h *history) commit(id Hash) (*Commit, error) {
	if c, cached := h.commits.get(id); cached {
		return c, nil
	}
	data, cached := h.raw.get(id)
	if !cached {
		var err error
		if data, err = ReadObject(h.src, id, CommitObject); err != nil {
			return nil, err
		}
	}
	c, err := DecodeCommit(data)
	if err != nil {
		return nil, err
	}
	c.ID = id
	h.commits.put(id, c, 2*len(data))
	return c, nil
}

// tree reads and strictly decodes a tree.
func (h *history) tree(id Hash) ([]TreeEntry, error) {
	if entries, cached := h.trees.get(id); cached {
		return entries, nil
	}
	data, err := ReadObject(h.src, id, TreeObject)
	if err != nil {
		return nil, err
	}
	entries, ok := h.twins[len(data)].decode(data)
	if !ok {
		if entries, err = DecodeTree(data); err != nil {
			return nil, fmt.Errorf("tree %s: %w", id, err)
		}
	}
	if len(data) <= maxTwinSize {
		if len(h.twins) == maxTwins {
			clear(h.twins)
		}
		h.twins[len(data)] = twin{data: data, entries: entries}
	}
	h.trees.put(id, entries, 64*len(entries)+64)
	return entries, nil
}

// twin is a tree that was decoded strictly. Most trees of a history differ from
// one read before in nothing but the ids of some entries, and then need not be
// decoded from the start.
type twin struct {
	data    []byte
	entries []TreeEntry
}

// decode reads a tree that has the twin's modes and names, byte for byte, and
// so its order. It reports false for any other tree.
func (t twin) decode(data []byte) ([]TreeEntry, bool) {
	if len(data) != len(t.data) {
		return nil, false
	}
	entries := make([]TreeEntry, len(t.entries))
	offset := 0
	for i, entry := range t.entries {
		end := offset + len("100644") + 1 + len(entry.Name) + 1
		if entry.Mode == ModeTree {
			end--
		}
		if !bytes.Equal(data[offset:end], t.data[offset:end]) {
			return nil, false
		}
		offset = end + len(Hash{})
		entry.ID = Hash(data[end:offset])
		if entry.ID.IsZero() {
			return nil, false
		}
		entries[i] = entry
	}
	return entries, offset == len(data)
}

// surface reads the root tree of a commit.
func (h *history) surface(id Hash) (surface, error) {
	c, err := h.commit(id)
	if err != nil {
		return surface{}, err
	}
	root, err := h.tree(c.Tree)
	if err != nil {
		return surface{}, err
	}
	return surfaceOf(root), nil
}

// generations is a cache of two halves: when the young one is full it becomes
// the old one, and what the old one held is forgotten unless it was asked for.
type generations[V any] struct {
	limit      int // of the weight of one half
	weight     int // of the young half
	young, old map[Hash]weighed[V]
}

type weighed[V any] struct {
	value  V
	weight int
}

func (g *generations[V]) get(id Hash) (V, bool) {
	if found, ok := g.young[id]; ok {
		return found.value, true
	}
	found, ok := g.old[id]
	if ok {
		g.put(id, found.value, found.weight)
	}
	return found.value, ok
}

func (g *generations[V]) put(id Hash, value V, weight int) {
	if g.young == nil || g.weight+weight > g.limit {
		g.old, g.young, g.weight = g.young, make(map[Hash]weighed[V]), 0
	}
	g.young[id] = weighed[V]{value, weight}
	g.weight += weight
}

// refusalError is a verdict on its way up: the commit is bad for this reason.
// Inside the package it travels as an error; Verify turns it into a Refusal.
type refusalError struct {
	commit Hash // zero until it is known which commit was looked at
	reason Reason
	detail string
}

func (r *refusalError) Error() string { return string(r.reason) + ": " + r.detail }

// asRefusal returns the verdict that an error carries, if it does.
func asRefusal(err error) (*refusalError, bool) {
	var r *refusalError
	found := errors.As(err, &r)
	return r, found
}

// refuse makes a refusalError.
func refuse(reason Reason, format string, args ...any) error {
	return &refusalError{reason: reason, detail: fmt.Sprintf(format, args...)}
}

// blame makes a refusal of the commit out of what reading or judging it
// answered. An error that is no verdict, such as missing evidence, stays one.
func blame(commit Hash, err error) error {
	var r *refusalError
	switch {
	case err == nil:
		return nil
	case isSourceError(err):
		return err
	case errors.As(err, &r):
		if r.commit.IsZero() {
			return &refusalError{commit: commit, reason: r.reason, detail: r.detail}
		}
		return r
	case errors.Is(err, ErrTampered):
		return &refusalError{commit: commit, reason: ReasonTampered, detail: err.Error()}
	case errors.Is(err, ErrMalformed):
		return &refusalError{commit: commit, reason: ReasonMalformed, detail: err.Error()}
	}
	return err
}

// isVerdictOnBytes reports whether reading an object was what failed, because
// of the bytes it has.
func isVerdictOnBytes(err error) bool {
	return errors.Is(err, ErrTampered) || errors.Is(err, ErrMalformed)
}

// sourceError marks what the Source answered: it is never a verdict, whatever
// it wraps.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }

func (e *sourceError) Unwrap() error { return e.err }

// isSourceError reports whether the error came from the Source.
func isSourceError(err error) bool {
	var source *sourceError
	return errors.As(err, &source)
}

// guardedSource marks the errors of a Source.
type guardedSource struct{ src Source }

// Object implements Source.
func (g guardedSource) Object(id Hash) (Object, error) {
	object, err := g.src.Object(id)
	if err != nil {
		return Object{}, &sourceError{err}
	}
	return object, nil
}
