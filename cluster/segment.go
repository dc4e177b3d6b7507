package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hashicorp/go-memdb"
)

// AuditStore keeps sealed segments of the audit log. Implementations are safe
// for concurrent use.
type AuditStore interface {
	// PutSegment stores a segment durably before it returns; storing one
	// again changes nothing.
	PutSegment(s Segment, body []byte) error
	// Segment returns the body of a segment, or an error that wraps
	// ErrNotFound. The caller checks it against the hash.
	Segment(s Segment) ([]byte, error)
}

// Segment identifies 1,024 consecutive audit entries that left the state.
type Segment struct {
	First uint64   // number of the first entry
	Last  uint64   // number of the last
	Head  [32]byte // Hash of the last
	Hash  [32]byte // SHA-256 of the segment's bytes
}

func segments() table[Segment] {
	return table[Segment]{name: "segment", key: func(s *Segment) string { return numberKey(s.First) }}
}

// When more than recentAudit entries are in the state, the oldest
// segmentEntries of them become a segment. Every node seals at the same entry.
const (
	recentAudit    = 2048
	segmentEntries = 1024
)

// segmentMagic starts the bytes of a segment.
const segmentMagic = "JACO audit segment 1\n"

// seal makes a segment of the oldest entries when there are enough; newest is
// the number of the newest entry.
func (t *tx) seal(newest uint64, store AuditStore) error {
	sealed := lastSealed(t.Txn)
	if newest-sealed <= recentAudit {
		return nil
	}
	var entries []AuditEntry
	auditEntries().walk(t.Txn, func(e *AuditEntry) bool {
		entries = append(entries, *e)
		return len(entries) < segmentEntries
	}, keyIndex)
	body := encodeSegment(entries)
	last := entries[len(entries)-1]
	s := Segment{First: entries[0].Number, Last: last.Number, Head: last.Hash, Hash: sha256.Sum256(body)}
	if err := store.PutSegment(s, body); err != nil {
		return fmt.Errorf("%w: audit segment %d: %w", ErrStorage, s.First, err)
	}
	for _, e := range entries {
		if err := auditEntries().drop(t.Txn, numberKey(e.Number)); err != nil {
			return err
		}
	}
	return segments().put(t.Txn, s)
}

// lastSealed returns the number of the newest entry that is in a segment.
func lastSealed(tx *memdb.Txn) uint64 {
	v, err := tx.Last(segments().name, keyIndex)
	if err != nil {
		return 0
	}
	if s, ok := v.(*Segment); ok {
		return s.Last
	}
	return 0
}

// encodeSegment returns the bytes of a segment: each entry after its length.
func encodeSegment(entries []AuditEntry) []byte {
	body := []byte(segmentMagic)
	for i := range entries {
		e := entries[i].encode()
		body = binary.BigEndian.AppendUint64(body, uint64(len(e)))
		body = append(body, e...)
	}
	return body
}

// decodeSegment checks a segment's bytes against what the state knows of it
// and returns its entries.
func decodeSegment(s Segment, body []byte) ([]AuditEntry, error) {
	if sha256.Sum256(body) != s.Hash {
		return nil, fmt.Errorf("%w: audit segment %d does not match its hash", ErrCorrupt, s.First)
	}
	r := &byteReader{data: body}
	if string(r.bytes(uint64(len(segmentMagic)))) != segmentMagic {
		return nil, fmt.Errorf("%w: audit segment %d: no header", ErrCorrupt, s.First)
	}
	var entries []AuditEntry
	for len(r.data) > 0 {
		e, err := decodeAuditEntry(r.bytes(r.uint64()))
		if err != nil {
			return nil, fmt.Errorf("audit segment %d: %w", s.First, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// CheckSegment checks bytes that came from elsewhere before they are stored:
// they hash to what the state says, and hold the entries from First to Last as
// one chain that ends in Head. An error wraps ErrCorrupt.
func CheckSegment(s Segment, body []byte) error {
	entries, err := decodeSegment(s, body)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return fmt.Errorf("%w: audit segment %d is empty", ErrCorrupt, s.First)
	}
	return s.holds(entries, AuditHead{Number: s.First - 1, Hash: entries[0].Previous})
}

// holds checks that entries are the segment's and continue the chain from head.
func (s Segment) holds(entries []AuditEntry, head AuditHead) error {
	for i := range entries {
		if err := entries[i].follows(head); err != nil {
			return fmt.Errorf("audit segment %d: %w", s.First, err)
		}
		head = AuditHead{Number: entries[i].Number, Hash: entries[i].Hash}
	}
	if head != (AuditHead{Number: s.Last, Hash: s.Head}) {
		return fmt.Errorf("%w: audit segment %d ends at entry %d, not with the head of entry %d", ErrCorrupt, s.First, head.Number, s.Last)
	}
	return nil
}

// MissingSegments lists, oldest first, the segments that the state names and
// the AuditStore does not have: a node that was given a snapshot has yet to
// fetch them. It reads no bodies where the store can tell without.
func (s *Snapshot) MissingSegments() []Segment {
	has := func(segment Segment) bool {
		_, err := s.audit.Segment(segment)
		return err == nil
	}
	if store, ok := s.audit.(segmentHolder); ok {
		has = store.HasSegment
	}
	return slices.DeleteFunc(s.Segments(), has)
}

// segmentHolder is an AuditStore that can tell what it has without reading it.
type segmentHolder interface {
	// HasSegment reports whether the store has a body for the segment; it may be
	// damaged, which reading it shows.
	HasSegment(s Segment) bool
}

var (
	_ segmentHolder = (*MemoryAudit)(nil)
	_ segmentHolder = (*DirAudit)(nil)
)

// MemoryAudit is an AuditStore in memory, for tests.
type MemoryAudit struct {
	mu       sync.Mutex // guards segments
	segments map[Segment][]byte
}

// NewMemoryAudit returns an empty store.
func NewMemoryAudit() *MemoryAudit { return &MemoryAudit{segments: make(map[Segment][]byte)} }

// PutSegment implements AuditStore.
func (m *MemoryAudit) PutSegment(s Segment, body []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.segments[s] = slices.Clone(body)
	return nil
}

// Segment implements AuditStore.
func (m *MemoryAudit) Segment(s Segment) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	body, ok := m.segments[s]
	if !ok {
		return nil, fmt.Errorf("audit segment %d: %w", s.First, ErrNotFound)
	}
	return body, nil
}

// HasSegment reports whether the store has a segment.
func (m *MemoryAudit) HasSegment(s Segment) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.segments[s]
	return ok
}

// DirAudit is an AuditStore in a directory, one file a segment. Files are
// named by number and hash, so that the segments of a state that was replaced
// by a restored one do not get in the way.
type DirAudit struct{ dir string }

var (
	_ AuditStore = (*MemoryAudit)(nil)
	_ AuditStore = (*DirAudit)(nil)
)

// OpenAudit returns a store in dir, which is made when it is not there.
func OpenAudit(dir string) (*DirAudit, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make audit directory: %w", err)
	}
	return &DirAudit{dir: dir}, nil
}

func (d *DirAudit) path(s Segment) string {
	return filepath.Join(d.dir, fmt.Sprintf("%016d-%x.audit", s.First, s.Hash[:8]))
}

// PutSegment implements AuditStore. A file that is there but damaged is
// replaced.
func (d *DirAudit) PutSegment(s Segment, body []byte) error {
	if have, err := os.ReadFile(d.path(s)); err == nil && sha256.Sum256(have) == s.Hash {
		return nil
	}
	if err := writeFile(d.path(s), body); err != nil {
		return fmt.Errorf("write audit segment %d: %w", s.First, err)
	}
	return nil
}

// Segment implements AuditStore.
func (d *DirAudit) Segment(s Segment) ([]byte, error) {
	body, err := os.ReadFile(d.path(s))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("audit segment %d: %w", s.First, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read audit segment %d: %w", s.First, err)
	}
	return body, nil
}

// HasSegment reports whether there is a file of the segment.
func (d *DirAudit) HasSegment(s Segment) bool {
	info, err := os.Stat(d.path(s))
	return err == nil && info.Mode().IsRegular()
}

// writeFile writes a file so that after a crash it is there whole or not at
// all. Only the owner may read it.
func writeFile(path string, body []byte) error {
	temporary, err := writeTemporary(filepath.Dir(path), body)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// writeTemporary writes and syncs a new file of mode 0600 and returns its path.
func writeTemporary(dir string, body []byte) (string, error) {
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}
