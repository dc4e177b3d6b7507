package cluster

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/jaco-sh/jaco/signing"
)

// A snapshot is snapshotMagic and then records: a kind (1 byte), the length of
// the body (4 bytes big-endian), the body. Tables follow each other in the
// order of saveTables and saveBodies, and keys within a table, so that equal
// states give equal bytes. The last record's body is the SHA-256 of everything
// before the record. Bodies are messages of log.proto, but for objects (type,
// id, data) and audit entries (their canonical encoding).
const snapshotMagic = "JACO cluster snapshot 1\n"

// recordKind says what a record of a snapshot holds. Never renumber.
type recordKind uint8

const (
	recordHead       recordKind = 1
	recordMeta       recordKind = 2
	recordSync       recordKind = 3
	recordNode       recordKind = 4
	recordReplica    recordKind = 5
	recordService    recordKind = 6
	recordDeployment recordKind = 7
	recordClaim      recordKind = 8
	recordRefusal    recordKind = 9
	recordSealed     recordKind = 10
	recordObject     recordKind = 11
	recordSegment    recordKind = 12
	recordAudit      recordKind = 13
	recordToken      recordKind = 14
	recordMeshNode   recordKind = 15
	recordSlice      recordKind = 16
	recordEnd        recordKind = 255
)

// maxRecord bounds a record, so that a damaged length cannot ask for all
// memory.
const maxRecord = 64 << 20

// Save writes a snapshot of the present state. It may run while entries are
// applied. Two nodes at the same index write the same bytes.
func (s *State) Save(w io.Writer) error { return s.Read().Save(w) }

// Save writes the snapshot in a form that State.Load reads.
func (s *Snapshot) Save(w io.Writer) error {
	out := bufio.NewWriter(w)
	sum := sha256.New()
	rw := &recordWriter{w: io.MultiWriter(out, sum), encoder: &encoder{}}
	rw.write([]byte(snapshotMagic))
	s.saveTables(rw)
	s.saveBodies(rw)
	if rw.err == nil {
		rw.err = rw.encoder.err
	}
	rw.record(recordEnd, sum.Sum(nil))
	if rw.err != nil {
		return fmt.Errorf("save snapshot: %w", rw.err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("save snapshot: %w", err)
	}
	return nil
}

func (s *Snapshot) saveTables(rw *recordWriter) {
	saveTable(s, rw, recordHead, positions(), rw.encoder.position)
	saveTable(s, rw, recordMeta, metas(), rw.encoder.meta)
	saveTable(s, rw, recordSync, syncs(), rw.encoder.sync)
	saveTable(s, rw, recordNode, nodes(), rw.encoder.node)
	saveTable(s, rw, recordReplica, replicas(), rw.encoder.replica)
	saveTable(s, rw, recordService, services(), rw.encoder.service)
	saveTable(s, rw, recordDeployment, deployments(), rw.encoder.deployment)
	saveTable(s, rw, recordClaim, claims(), rw.encoder.claim)
	saveTable(s, rw, recordRefusal, refusals(), rw.encoder.refusal)
	saveTable(s, rw, recordSealed, sealedItems(), rw.encoder.sealed)
	saveTable(s, rw, recordToken, tokens(), rw.encoder.token)
	saveTable(s, rw, recordMeshNode, meshNodes(), rw.encoder.meshNode)
	saveTable(s, rw, recordSlice, meshSlices(), rw.encoder.slice)
}

func saveTable[T any, M proto.Message](s *Snapshot, rw *recordWriter, kind recordKind, t table[T], convert func(T) M) {
	t.walk(s.tx, func(v *T) bool {
		rw.message(kind, convert(*v))
		return rw.err == nil
	}, keyIndex)
}

// saveBodies writes what is not a message: objects and the audit log. Segments
// are in between, because the recent entries continue them.
func (s *Snapshot) saveBodies(rw *recordWriter) {
	knownObjects().walk(s.tx, func(known *knownObject) bool {
		o, err := s.objects.Object(known.ID)
		if err != nil {
			rw.fail(err)
			return false
		}
		rw.record(recordObject, encodeObject(*known, o))
		return rw.err == nil
	}, keyIndex)
	saveTable(s, rw, recordSegment, segments(), rw.encoder.segment)
	auditEntries().walk(s.tx, func(e *AuditEntry) bool {
		rw.record(recordAudit, e.encode())
		return rw.err == nil
	}, keyIndex)
}

// encodeObject is an object in a snapshot: the index that brought it, its id,
// its type, its data.
func encodeObject(known knownObject, o signing.Object) []byte {
	b := make([]byte, 0, 8+len(known.ID)+1+len(o.Data))
	b = binary.BigEndian.AppendUint64(b, known.Index)
	b = append(b, known.ID[:]...)
	b = append(b, byte(o.Type))
	return append(b, o.Data...)
}

func decodeObject(body []byte) (knownObject, StoredObject, error) {
	r := &byteReader{data: body}
	index, id, kind := r.uint64(), r.bytes(uint64(len(signing.Hash{}))), r.bytes(1)
	if r.short {
		return knownObject{}, StoredObject{}, fmt.Errorf("%w: malformed object", ErrCorrupt)
	}
	o := StoredObject{ID: signing.Hash(id), Object: signing.Object{Type: signing.ObjectType(kind[0]), Data: r.data}}
	return knownObject{ID: o.ID, Index: index}, o, nil
}

// recordWriter writes records and keeps the first error.
type recordWriter struct {
	w       io.Writer
	encoder *encoder
	err     error
}

func (rw *recordWriter) fail(err error) {
	if rw.err == nil {
		rw.err = err
	}
}

func (rw *recordWriter) write(b []byte) {
	if rw.err == nil {
		_, rw.err = rw.w.Write(b)
	}
}

func (rw *recordWriter) record(kind recordKind, body []byte) {
	if len(body) > maxRecord {
		rw.fail(fmt.Errorf("record of %d bytes", len(body)))
	}
	rw.write(binary.BigEndian.AppendUint32([]byte{byte(kind)}, uint32(len(body))))
	rw.write(body)
}

func (rw *recordWriter) message(kind recordKind, m proto.Message) {
	body, err := marshal(m)
	if err != nil {
		rw.fail(err)
		return
	}
	rw.record(kind, body)
}

// recordReader reads what recordWriter wrote.
type recordReader struct {
	r   io.Reader
	sum hash.Hash // of everything read
}

// next returns the next record. An error wraps ErrCorrupt when the input ends
// early or makes no sense.
func (rr *recordReader) next() (recordKind, []byte, error) {
	var head [5]byte
	if err := rr.read(head[:]); err != nil {
		return 0, nil, err
	}
	kind, length := recordKind(head[0]), binary.BigEndian.Uint32(head[1:])
	if length > maxRecord {
		return 0, nil, fmt.Errorf("%w: record of %d bytes", ErrCorrupt, length)
	}
	body, err := readBody(rr.r, length)
	if err != nil {
		return 0, nil, err
	}
	if kind != recordEnd {
		rr.sum.Write(head[:])
		rr.sum.Write(body)
	}
	return kind, body, nil
}

func (rr *recordReader) read(b []byte) error {
	if _, err := io.ReadFull(rr.r, b); err != nil {
		return inputError(err)
	}
	return nil
}
