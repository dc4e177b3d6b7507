package cluster

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// A bundle is bundleMagic and then records, uncompressed: a kind (1 byte), the
// length of the body (4 bytes big-endian), the body, and the chain: the
// SHA-256 over the chain before and all of this record. So a changed byte is
// found at the record that holds it. Records come in the order of their kinds:
// the cluster's description, every audit entry from the first, every git
// object of the state, the head, and signatures over the chain at the head.
const bundleMagic = "JACO evidence bundle 1\n"

// The domains of the bundle's hashes.
const (
	bundleChainDomain = "jaco bundle chain v1\x00"
	bundleHeadDomain  = "jaco bundle head v1\x00"
)

// bundleKind says what a record of a bundle holds. Never renumber.
type bundleKind uint8

const (
	bundleMeta      bundleKind = 1
	bundleAudit     bundleKind = 2
	bundleObject    bundleKind = 3
	bundleHead      bundleKind = 4
	bundleSignature bundleKind = 5
)

// BundleSigner signs a bundle's head with a node's key, as identity.Identity
// does.
type BundleSigner interface {
	// Sign returns the ed25519 signature over nodeSignaturePrefix and the
	// SHA-256 digest, and the PEM certificate of the key that made it.
	Sign(digest [32]byte) (signature, certPEM []byte, err error)
}

// nodeSignaturePrefix keeps what a node's key signs here apart from everything
// else that it signs. Never change it.
const nodeSignaturePrefix = "jaco node signature 1\x00"

// WriteBundle writes all that is needed to verify the cluster's history
// offline: the audit log and the git objects that its claims refer to. The
// same snapshot gives the same bytes up to the signature.
func WriteBundle(w io.Writer, s *Snapshot, signer BundleSigner) error {
	meta := s.Meta()
	if meta == nil {
		return fmt.Errorf("write bundle: no cluster was initialized: %w", ErrNotFound)
	}
	out := bufio.NewWriter(w)
	bw := &bundleWriter{w: out, chain: bundleStart()}
	if err := bw.write(s, *meta, signer); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

// bundleStart is the chain before the first record.
func bundleStart() [32]byte { return sha256.Sum256([]byte(bundleChainDomain + bundleMagic)) }

// bundleNext is the chain after a record.
func bundleNext(chain [32]byte, head [5]byte, body []byte) [32]byte {
	h := sha256.New()
	h.Write(chain[:])
	h.Write(head[:])
	h.Write(body)
	return [32]byte(h.Sum(nil))
}

// bundleDigest is what signatures are made over.
func bundleDigest(chain [32]byte) [32]byte {
	return sha256.Sum256(append([]byte(bundleHeadDomain), chain[:]...))
}

// recordHeadOf returns the kind and length that stand before a body.
func recordHeadOf(kind uint8, length int) [5]byte {
	head := [5]byte{kind}
	binary.BigEndian.PutUint32(head[1:], uint32(length))
	return head
}

type bundleWriter struct {
	w     io.Writer
	chain [32]byte
}

func (bw *bundleWriter) write(s *Snapshot, meta Meta, signer BundleSigner) error {
	if _, err := io.WriteString(bw.w, bundleMagic); err != nil {
		return err
	}
	e := &encoder{}
	body, err := marshal(e.meta(meta))
	if err = errors.Join(e.err, err); err != nil {
		return err
	}
	if err := bw.record(bundleMeta, body); err != nil {
		return err
	}
	for entry, err := range s.AuditEntries(false) {
		if err != nil {
			return err
		}
		if err := bw.record(bundleAudit, entry.encode()); err != nil {
			return err
		}
	}
	objects, err := bw.objects(s)
	if err != nil {
		return err
	}
	p := readPosition(s.tx)
	head := headRecord{Index: p.Index, Time: p.Time, Audit: p.Audit, Objects: objects, Signatures: 1}
	if err := bw.record(bundleHead, head.encode()); err != nil {
		return err
	}
	signature, certificate, err := signer.Sign(bundleDigest(bw.chain))
	if err != nil {
		return fmt.Errorf("sign head: %w", err)
	}
	return bw.record(bundleSignature, signatureRecord{Certificate: certificate, Signature: signature}.encode())
}

// objects writes the git objects of the state and returns how many.
func (bw *bundleWriter) objects(s *Snapshot) (uint64, error) {
	var count uint64
	var failed error
	knownObjects().walk(s.tx, func(known *knownObject) bool {
		o, err := s.objects.Object(known.ID)
		if err == nil {
			err = bw.record(bundleObject, encodeObject(*known, o))
		}
		failed = err
		count++
		return err == nil
	}, keyIndex)
	return count, failed
}

func (bw *bundleWriter) record(kind bundleKind, body []byte) error {
	if len(body) > maxRecord {
		return fmt.Errorf("record of %d bytes", len(body))
	}
	head := recordHeadOf(uint8(kind), len(body))
	bw.chain = bundleNext(bw.chain, head, body)
	for _, part := range [][]byte{head[:], body, bw.chain[:]} {
		if _, err := bw.w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// headRecord closes what a bundle says; signatures are over the chain behind
// it.
type headRecord struct {
	Index      uint64
	Time       time.Time
	Audit      AuditHead
	Objects    uint64 // how many stand in the bundle
	Signatures uint64 // how many follow
}

func (h headRecord) encode() []byte {
	var b []byte
	for _, n := range []uint64{
		h.Index, uint64(h.Time.Unix()), uint64(h.Time.Nanosecond()), h.Audit.Number, h.Objects, h.Signatures,
	} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return append(b, h.Audit.Hash[:]...)
}

func decodeHeadRecord(body []byte) (headRecord, error) {
	r := &byteReader{data: body}
	h := headRecord{Index: r.uint64()}
	seconds, nanoseconds := r.uint64(), r.uint64()
	h.Time = time.Unix(int64(seconds), int64(nanoseconds%uint64(time.Second))).UTC()
	h.Audit.Number, h.Objects, h.Signatures = r.uint64(), r.uint64(), r.uint64()
	h.Audit.Hash = r.digest()
	if r.short || len(r.data) > 0 {
		return headRecord{}, fmt.Errorf("%w: malformed head", ErrCorrupt)
	}
	return h, nil
}

// signatureRecord is one signature over the chain at the head.
type signatureRecord struct {
	Certificate []byte // PEM
	Signature   []byte // ed25519
}

func (s signatureRecord) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(len(s.Certificate)))
	b = append(b, s.Certificate...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(s.Signature)))
	return append(b, s.Signature...)
}

func decodeSignatureRecord(body []byte) (signatureRecord, error) {
	r := &byteReader{data: body}
	s := signatureRecord{Certificate: r.bytes(r.uint64())}
	s.Signature = r.bytes(r.uint64())
	if r.short || len(r.data) > 0 {
		return signatureRecord{}, fmt.Errorf("%w: malformed signature", ErrCorrupt)
	}
	return s, nil
}
