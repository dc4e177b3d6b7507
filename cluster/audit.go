package cluster

import (
	"errors"
	"time"
)

// AuditEntry is one link of the audit chain. Every command that was applied or
// refused leaves one.
type AuditEntry struct {
	Number uint64    // from 1, without gaps
	Index  uint64    // raft index
	Time   time.Time // applied time
	// Received is the log entry as it was received. For PutObjects it is the
	// same entry with the size and SHA-256 of each body in the body's place.
	Received []byte
	// Outcome is "" when the command was applied, else why it was refused.
	Outcome string
	// Previous is the Hash of the entry before, zero for the first.
	Previous [32]byte
	// Hash is the SHA-256 over all the fields above.
	Hash [32]byte
}

// AuditHead is the newest link of the audit chain.
type AuditHead struct {
	Number uint64
	Hash   [32]byte
}

// AuditRecord is an audit entry as people read it.
type AuditRecord struct {
	Number     uint64    `json:"number"`
	Index      uint64    `json:"index"`
	Time       time.Time `json:"time"`
	Type       string    `json:"type"`
	Actor      string    `json:"actor"`
	Deployment string    `json:"deployment,omitempty"`
	Service    string    `json:"service,omitempty"`
	Revision   string    `json:"revision,omitempty"`
	Node       string    `json:"node,omitempty"`
	Message    string    `json:"message"`
	Outcome    string    `json:"outcome"`
}

// AuditFilter selects audit records; a zero field selects all.
type AuditFilter struct {
	Since       time.Time // at or after
	After       uint64    // numbers greater than this
	Type        string
	Deployment  string
	Revision    string // or a prefix of it
	Actor       string
	NewestFirst bool
	Limit       int // at most so many; 0: all
}

// AuditStore keeps sealed segments of the audit log.
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

// MemoryAudit is an AuditStore in memory.
type MemoryAudit struct{}

// NewMemoryAudit returns an empty store.
func NewMemoryAudit() *MemoryAudit { return &MemoryAudit{} }

// PutSegment implements AuditStore.
func (m *MemoryAudit) PutSegment(s Segment, body []byte) error { return errors.ErrUnsupported }

// Segment implements AuditStore.
func (m *MemoryAudit) Segment(s Segment) ([]byte, error) { return nil, ErrNotFound }

// DirAudit is an AuditStore in a directory, one file a segment.
type DirAudit struct{}

// OpenAudit returns a store in dir, which is made when it is not there.
func OpenAudit(dir string) (*DirAudit, error) { return nil, errors.ErrUnsupported }

// PutSegment implements AuditStore.
func (d *DirAudit) PutSegment(s Segment, body []byte) error { return errors.ErrUnsupported }

// Segment implements AuditStore.
func (d *DirAudit) Segment(s Segment) ([]byte, error) { return nil, ErrNotFound }

// Describe reads an audit entry for people.
func Describe(e AuditEntry) (AuditRecord, error) { return AuditRecord{}, errors.ErrUnsupported }
