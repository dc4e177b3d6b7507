package cluster

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
	"github.com/jaco-sh/jaco/signing"
)

// VerifyBundle reads a bundle and verifies all of it: that no byte was
// changed, that the audit entries chain, that the cluster's authority vouches
// for who signed the head, that every object is what its id says, and that
// every claim follows from signed commits, from the anchor on. What does not
// hold is a *VerificationError. The git objects are held in memory.
func VerifyBundle(r io.Reader, opts BundleOptions) (*BundleReport, error) {
	if opts.Digest == nil {
		opts.Digest = ContentDigest
	}
	v := &bundleVerifier{
		opts: opts, r: bufio.NewReader(r), chain: bundleStart(), objects: NewMemoryObjects(),
		keys: make(map[[32]byte]string), refusedBy: make(map[string]string), untimely: make(map[string]string), moved: make(map[signing.Hash]*set),
		report: BundleReport{Claims: []BundleClaim{}, Signatures: []BundleSignature{}, Warnings: []string{}},
	}
	if err := v.read(); err != nil {
		return nil, err
	}
	if err := v.finish(); err != nil {
		return nil, err
	}
	return &v.report, nil
}

// bundleVerifier verifies record by record; what needs the whole is done in
// finish.
type bundleVerifier struct {
	opts   BundleOptions
	r      *bufio.Reader
	number int // of the record at hand
	kind   bundleKind
	chain  [32]byte

	meta    *Meta
	audit   AuditHead
	init    *InitCluster
	keys    map[[32]byte]string // node certificate keys that the log recorded, with the node's name
	claims  []bundledClaim
	objects *MemoryObjects
	head    *headRecord
	signed  [32]byte // the digest that signatures are over
	// refusedBy holds, by commit, what nodes said when they refused a claim.
	refusedBy map[string]string
	// untimely holds it too, by commit and its beginning, for claims that were
	// refused for their time, which no bundle can judge: see wrongTime.
	untimely map[string]string
	// moved holds the nodes whose operator moved their pin, by the commit.
	moved  map[signing.Hash]*set
	report BundleReport
}

// bundledClaim is a claim with the place where the bundle holds it.
type bundledClaim struct {
	Claim
	record int
	entry  uint64
}

func (v *bundleVerifier) fail(format string, args ...any) error {
	return &VerificationError{Record: v.number, What: fmt.Sprintf(format, args...)}
}

func (v *bundleVerifier) failEntry(entry uint64, format string, args ...any) error {
	return &VerificationError{Record: v.number, Entry: entry, What: fmt.Sprintf(format, args...)}
}

func (v *bundleVerifier) read() error {
	magic := make([]byte, len(bundleMagic))
	if _, err := io.ReadFull(v.r, magic); err != nil && !endsEarly(err) {
		return fmt.Errorf("read bundle: %w", err)
	}
	if string(magic) != bundleMagic {
		return v.fail("this is no bundle, or one of a newer kind")
	}
	for {
		v.number++
		kind, body, err := v.next()
		if errors.Is(err, io.EOF) {
			v.number--
			return nil
		}
		if err != nil {
			return err
		}
		if err := v.record(kind, body); err != nil {
			return err
		}
	}
}

// next reads a record and checks the chain; io.EOF says that there is none.
func (v *bundleVerifier) next() (bundleKind, []byte, error) {
	var head [5]byte
	switch n, err := io.ReadFull(v.r, head[:]); {
	case err != nil && n == 0 && errors.Is(err, io.EOF):
		return 0, nil, io.EOF
	case err != nil:
		return 0, nil, v.readError(err, 0)
	}
	kind, length := bundleKind(head[0]), binary.BigEndian.Uint32(head[1:])
	var entry uint64
	if kind == bundleAudit {
		entry = v.audit.Number + 1
	}
	if length > maxRecord {
		return 0, nil, v.failEntry(entry, "its length was changed")
	}
	body, err := readBody(v.r, length)
	if err != nil {
		return 0, nil, v.readError(err, entry)
	}
	var chain [32]byte
	if _, err := io.ReadFull(v.r, chain[:]); err != nil {
		return 0, nil, v.readError(err, entry)
	}
	if v.chain = bundleNext(v.chain, head, body); chain != v.chain {
		return 0, nil, v.failEntry(entry, "it was changed: the chain of hashes breaks here")
	}
	return kind, body, nil
}

func (v *bundleVerifier) readError(err error, entry uint64) error {
	if endsEarly(err) || errors.Is(err, ErrCorrupt) {
		return v.failEntry(entry, "the bundle ends in the middle of it")
	}
	return fmt.Errorf("read bundle: %w", err)
}

func endsEarly(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// record verifies one record.
func (v *bundleVerifier) record(kind bundleKind, body []byte) error {
	if kind < v.kind {
		return v.fail("a record of kind %d stands behind one of kind %d", kind, v.kind)
	}
	if (v.meta == nil) != (kind == bundleMeta) {
		return v.fail("a bundle starts with one description of the cluster")
	}
	v.kind = kind
	switch kind {
	case bundleMeta:
		return v.readMeta(body)
	case bundleAudit:
		return v.readAudit(body)
	case bundleObject:
		return v.readObject(body)
	case bundleHead:
		return v.readHead(body)
	case bundleSignature:
		return v.readSignature(body)
	}
	return v.fail("a record of the unknown kind %d", kind)
}

func (v *bundleVerifier) readMeta(body []byte) error {
	m := &jacov1.Meta{}
	if err := unmarshal(body, m); err != nil {
		return v.fail("%v", err)
	}
	d := &decoder{}
	meta := d.meta(m)
	if d.err != nil {
		return v.fail("%v", d.err)
	}
	v.meta = &meta
	return nil
}

func (v *bundleVerifier) readAudit(body []byte) error {
	expected := v.audit.Number + 1
	e, err := decodeAuditEntry(body)
	if err != nil {
		return v.failEntry(expected, "%v", err)
	}
	if err := e.follows(v.audit); err != nil {
		return v.failEntry(expected, "%v", err)
	}
	v.audit = AuditHead{Number: e.Number, Hash: e.Hash}
	if e.Outcome != "" {
		return nil // refused: it changed nothing
	}
	entry, err := decodeAudited(e.Received)
	if err != nil {
		return v.failEntry(e.Number, "it was applied, but reads: %v", err)
	}
	return v.applied(e, entry)
}

// applied takes from an applied command what the whole is verified by.
func (v *bundleVerifier) applied(e AuditEntry, entry Entry) error {
	switch c := entry.Command.(type) {
	case *InitCluster:
		if v.init != nil {
			return v.failEntry(e.Number, "the cluster was initialized twice")
		}
		v.init = c
		v.keys[c.Node.CertificateKey] = c.Node.Name
	case *UpdateNode:
		v.keys[c.Node.CertificateKey] = c.Node.Name
	case *AdvanceRevision:
		claim := c.Claim
		claim.Time, claim.Index = entry.Time, e.Index
		if n := len(v.claims); n > 0 && v.claims[n-1].repeats(claim) {
			return nil
		}
		v.claims = append(v.claims, bundledClaim{Claim: claim, record: v.number, entry: e.Number})
	case *RecordEvents:
		for _, event := range c.Events {
			if event.Type == EventReanchored {
				v.noteMoved(event)
			}
			if event.Type == EventLeaderMisbehaviour && !event.Revision.IsZero() {
				v.refusedBy[event.Revision.String()] = withReason(event.Node, event.Message)
				beginning, _, _ := strings.Cut(event.Message, ":")
				v.untimely[event.Revision.String()+" "+beginning] = event.Message
			}
		}
	}
	return nil
}

func (v *bundleVerifier) readObject(body []byte) error {
	_, o, err := decodeObject(body)
	if err == nil {
		err = checkObject(o)
	}
	if err != nil {
		return v.fail("%v", err)
	}
	v.report.Objects++
	return v.objects.Put([]StoredObject{o})
}

func (v *bundleVerifier) readHead(body []byte) error {
	head, err := decodeHeadRecord(body)
	if err != nil {
		return v.fail("%v", err)
	}
	switch {
	case v.head != nil:
		return v.fail("a second head")
	case head.Audit != v.audit:
		return v.fail("the audit log ends at entry %d, the head says %d or another hash", v.audit.Number, head.Audit.Number)
	case head.Objects != uint64(v.report.Objects):
		return v.fail("%d objects, the head says %d", v.report.Objects, head.Objects)
	}
	v.head, v.signed = &head, bundleDigest(v.chain)
	v.report.Index, v.report.Time = head.Index, head.Time
	v.report.Entries, v.report.Head = head.Audit.Number, hex.EncodeToString(head.Audit.Hash[:])
	return nil
}
