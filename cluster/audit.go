package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
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

func auditEntries() table[AuditEntry] {
	return table[AuditEntry]{name: "audit", key: func(e *AuditEntry) string { return numberKey(e.Number) }}
}

// auditDomain separates the hashes of audit entries from all others.
const auditDomain = "jaco audit entry v1\x00"

// body is the canonical encoding of all fields but the hash: integers are 64
// bits big-endian, bytes and text follow their length. Never change it: the
// chain of every cluster is made of it.
func (e *AuditEntry) body() []byte {
	b := make([]byte, 0, 88+len(e.Received)+len(e.Outcome))
	b = binary.BigEndian.AppendUint64(b, e.Number)
	b = binary.BigEndian.AppendUint64(b, e.Index)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time.Unix()))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time.Nanosecond()))
	b = binary.BigEndian.AppendUint64(b, uint64(len(e.Received)))
	b = append(b, e.Received...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(e.Outcome)))
	b = append(b, e.Outcome...)
	return append(b, e.Previous[:]...)
}

// sum computes what Hash must be.
func (e *AuditEntry) sum() [32]byte {
	h := sha256.New()
	h.Write([]byte(auditDomain))
	h.Write(e.body())
	return [32]byte(h.Sum(nil))
}

// encode is body with the hash behind it, as snapshots, segments and bundles
// hold it.
func (e *AuditEntry) encode() []byte { return append(e.body(), e.Hash[:]...) }

// decodeAuditEntry is the inverse of encode. It checks the form only.
func decodeAuditEntry(data []byte) (AuditEntry, error) {
	r := &byteReader{data: data}
	e := AuditEntry{Number: r.uint64(), Index: r.uint64()}
	seconds, nanoseconds := r.uint64(), r.uint64()
	e.Received = r.bytes(r.uint64())
	e.Outcome = string(r.bytes(r.uint64()))
	e.Previous, e.Hash = r.digest(), r.digest()
	if r.short || len(r.data) > 0 || nanoseconds >= uint64(time.Second) {
		return AuditEntry{}, fmt.Errorf("%w: malformed audit entry", ErrCorrupt)
	}
	if zero := (time.Time{}).Unix(); int64(seconds) != zero || nanoseconds != 0 {
		e.Time = time.Unix(int64(seconds), int64(nanoseconds)).UTC()
	}
	return e, nil
}

// follows checks that e is the link after head.
func (e *AuditEntry) follows(head AuditHead) error {
	switch {
	case e.Hash != e.sum():
		return fmt.Errorf("%w: audit entry %d does not match its hash", ErrCorrupt, e.Number)
	case e.Number != head.Number+1:
		return fmt.Errorf("%w: audit entry %d stands behind %d", ErrCorrupt, e.Number, head.Number)
	case e.Previous != head.Hash:
		return fmt.Errorf("%w: audit entry %d does not continue the chain", ErrCorrupt, e.Number)
	}
	return nil
}

// byteReader takes fixed-size fields off a byte slice.
type byteReader struct {
	data  []byte
	short bool // more was asked for than there was
}

func (r *byteReader) bytes(n uint64) []byte {
	if n > uint64(len(r.data)) {
		r.short = true
		return nil
	}
	taken := r.data[:n:n]
	r.data = r.data[n:]
	if n == 0 {
		return nil
	}
	return taken
}

func (r *byteReader) uint64() uint64 {
	b := r.bytes(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (r *byteReader) digest() [32]byte {
	b := r.bytes(32)
	if b == nil {
		return [32]byte{}
	}
	return [32]byte(b)
}
