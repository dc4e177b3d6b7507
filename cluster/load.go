package cluster

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"

	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// loadBatch is how many bytes of objects go to the store by one Put.
const loadBatch = 4 << 20

// Load replaces the state by a snapshot that Save wrote. On an error the state
// is what it was; objects read until then may remain in the ObjectStore, where
// they mean nothing without a state that knows them.
func (s *State) Load(r io.Reader) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	db, err := newDB()
	if err != nil {
		return err
	}
	l := &loader{tx: db.Txn(true), objects: s.objects}
	defer l.tx.Abort() // does nothing after Commit
	if err := l.load(r); err != nil {
		return fmt.Errorf("load snapshot: %w", err)
	}
	l.tx.Commit()
	s.mu.Lock()
	s.db = db
	s.mu.Unlock()
	s.notify()
	return nil
}

// loader reads a snapshot into empty tables.
type loader struct {
	tx      *memdb.Txn
	objects ObjectStore
	pending []StoredObject // not yet in objects
	size    int            // of pending, in bytes
	decoder decoder
}

func (l *loader) load(r io.Reader) error {
	rr := &recordReader{r: bufio.NewReader(r), sum: sha256.New()}
	magic := make([]byte, len(snapshotMagic))
	if err := rr.read(magic); err != nil {
		return err
	}
	if string(magic) != snapshotMagic {
		return fmt.Errorf("%w: this is no snapshot of a cluster, or of a newer kind", ErrCorrupt)
	}
	rr.sum.Write(magic)
	for {
		kind, body, err := rr.next()
		if err != nil {
			return err
		}
		if kind == recordEnd {
			if !bytes.Equal(body, rr.sum.Sum(nil)) {
				return fmt.Errorf("%w: wrong checksum", ErrCorrupt)
			}
			break
		}
		if err := l.record(kind, body); err != nil {
			return err
		}
	}
	if _, err := rr.r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more behind the end", ErrCorrupt)
	}
	if err := l.flush(); err != nil {
		return err
	}
	return l.checkAudit()
}

// record puts one record into its table.
func (l *loader) record(kind recordKind, body []byte) error {
	d := &l.decoder
	switch kind {
	case recordHead:
		return loadRecord(l, body, &jacov1.SnapshotHead{}, d.position, positions())
	case recordMeta:
		return loadRecord(l, body, &jacov1.Meta{}, d.meta, metas())
	case recordSync:
		return loadRecord(l, body, &jacov1.Sync{}, d.sync, syncs())
	case recordNode:
		return loadRecord(l, body, &jacov1.Node{}, d.node, nodes())
	case recordReplica:
		return loadRecord(l, body, &jacov1.Replica{}, d.replica, replicas())
	case recordService:
		return loadRecord(l, body, &jacov1.Service{}, d.service, services())
	case recordDeployment:
		return loadRecord(l, body, &jacov1.DeploymentStatus{}, d.deployment, deployments())
	case recordClaim:
		return loadRecord(l, body, &jacov1.Claim{}, d.claim, claims())
	case recordRefusal:
		return loadRecord(l, body, &jacov1.Refusal{}, d.refusal, refusals())
	case recordSealed:
		return loadRecord(l, body, &jacov1.SealedItem{}, d.sealed, sealedItems())
	case recordToken:
		return loadRecord(l, body, &jacov1.Token{}, d.token, tokens())
	case recordMeshNode:
		return loadRecord(l, body, &jacov1.MeshNode{}, d.meshNode, meshNodes())
	case recordSlice:
		return loadRecord(l, body, &jacov1.Slice{}, d.slice, meshSlices())
	case recordSegment:
		return loadRecord(l, body, &jacov1.AuditSegment{}, d.segment, segments())
	case recordObject:
		return l.object(body)
	case recordAudit:
		e, err := decodeAuditEntry(body)
		if err != nil {
			return err
		}
		return auditEntries().put(l.tx, e)
	default:
		return fmt.Errorf("%w: record of kind %d", ErrUnknownCommand, kind)
	}
}

func loadRecord[T any, M proto.Message](l *loader, body []byte, m M, convert func(M) T, t table[T]) error {
	if err := unmarshal(body, m); err != nil {
		return err
	}
	v := convert(m)
	if l.decoder.err != nil {
		return fmt.Errorf("%s: %w", t.name, l.decoder.err)
	}
	if t.key(&v) == "" {
		return fmt.Errorf("%w: %s without a key", ErrCorrupt, t.name)
	}
	return t.put(l.tx, v)
}

func (l *loader) object(body []byte) error {
	known, o, err := decodeObject(body)
	if err != nil {
		return err
	}
	if err := checkObject(o); err != nil {
		return err
	}
	l.pending = append(l.pending, o)
	if l.size += len(o.Data); l.size > loadBatch {
		if err := l.flush(); err != nil {
			return err
		}
	}
	return knownObjects().put(l.tx, known)
}

func (l *loader) flush() error {
	if err := l.objects.Put(l.pending); err != nil {
		return fmt.Errorf("%w: objects: %w", ErrStorage, err)
	}
	l.pending, l.size = nil, 0
	return nil
}

// checkAudit checks that the audit entries continue the segments and lead to
// the head.
func (l *loader) checkAudit() error {
	var head AuditHead
	var failed error
	segments().walk(l.tx, func(s *Segment) bool {
		if s.First != head.Number+1 || s.Last < s.First {
			failed = fmt.Errorf("%w: audit segment %d stands behind entry %d", ErrCorrupt, s.First, head.Number)
		}
		head = AuditHead{Number: s.Last, Hash: s.Head}
		return failed == nil
	}, keyIndex)
	auditEntries().walk(l.tx, func(e *AuditEntry) bool {
		if failed == nil {
			failed = e.follows(head)
		}
		head = AuditHead{Number: e.Number, Hash: e.Hash}
		return failed == nil
	}, keyIndex)
	if failed != nil {
		return failed
	}
	if want := readPosition(l.tx).Audit; head != want {
		return fmt.Errorf("%w: the audit log ends at %d, not at %d", ErrCorrupt, head.Number, want.Number)
	}
	return nil
}

// readBody reads a body without trusting its length with memory.
func readBody(r io.Reader, length uint32) ([]byte, error) {
	var body bytes.Buffer
	body.Grow(int(min(length, 1<<20)))
	if _, err := io.CopyN(&body, r, int64(length)); err != nil {
		return nil, inputError(err)
	}
	return body.Bytes(), nil
}

// inputError says of an early end that the input is damaged, and passes on
// what a reader reports.
func inputError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", ErrCorrupt)
	}
	return err
}
