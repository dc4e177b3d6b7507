package cluster

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

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

// AuditEntries walks the whole audit log. It yields an error and ends when a
// segment is missing or does not match its hash.
func (s *Snapshot) AuditEntries(newestFirst bool) iter.Seq2[AuditEntry, error] {
	if newestFirst {
		return s.auditBackward
	}
	return func(yield func(AuditEntry, error) bool) { s.auditForward(0, yield) }
}

// auditForward yields the entries after a number.
func (s *Snapshot) auditForward(after uint64, yield func(AuditEntry, error) bool) {
	for _, segment := range segments().list(s.tx, keyIndex) {
		if segment.Last <= after {
			continue
		}
		entries, err := s.segment(segment)
		if err != nil {
			yield(AuditEntry{}, err)
			return
		}
		for _, e := range entries {
			if e.Number > after && !yield(e, nil) {
				return
			}
		}
	}
	auditEntries().walk(s.tx, func(e *AuditEntry) bool {
		return e.Number <= after || yield(*e, nil)
	}, keyIndex)
}

func (s *Snapshot) auditBackward(yield func(AuditEntry, error) bool) {
	for number := s.AuditHead().Number; ; number-- {
		e := auditEntries().get(s.tx, numberKey(number))
		if e == nil {
			break
		}
		if !yield(*e, nil) {
			return
		}
	}
	for _, segment := range slices.Backward(segments().list(s.tx, keyIndex)) {
		entries, err := s.segment(segment)
		if err != nil {
			yield(AuditEntry{}, err)
			return
		}
		for _, e := range slices.Backward(entries) {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// segment reads the entries of a segment.
func (s *Snapshot) segment(segment Segment) ([]AuditEntry, error) {
	body, err := s.audit.Segment(segment)
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	return decodeSegment(segment, body)
}

// AuditEntry returns the entry of a number; an error wraps ErrNotFound when
// there is none.
func (s *Snapshot) AuditEntry(number uint64) (AuditEntry, error) {
	var found AuditEntry
	var failed error
	if number > 0 {
		s.auditForward(number-1, func(e AuditEntry, err error) bool {
			found, failed = e, err
			return false
		})
	}
	if failed == nil && (number == 0 || found.Number != number) {
		failed = fmt.Errorf("audit entry %d: %w", number, ErrNotFound)
	}
	return found, failed
}

// AuditPasses checks that the audit chain passes through head: its entry of
// that number has that hash, and every later one up to the state's own head
// follows from it. ErrNotFound: the log does not reach that far yet, or the body
// of a segment has still to be fetched; ErrOtherChain: the entry is another, or
// the chain breaks behind it; ErrCorrupt: what is stored here is damaged.
func (s *Snapshot) AuditPasses(head AuditHead) error {
	if at := s.AuditHead().Number; at < head.Number {
		return fmt.Errorf("audit entry %d, the log ends at %d: %w", head.Number, at, ErrNotFound)
	}
	// That the recent entries form a chain which continues the last segment was
	// checked when the state was loaded, and holds by construction otherwise.
	if head == (AuditHead{}) {
		return nil
	}
	if e := auditEntries().get(s.tx, numberKey(head.Number)); e != nil {
		return e.is(head)
	}
	var before AuditHead // the end of the segment before
	for _, segment := range segments().list(s.tx, keyIndex) {
		if segment.Last >= head.Number {
			if err := s.segmentPasses(segment, before, head); err != nil {
				return err
			}
		}
		before = AuditHead{Number: segment.Last, Hash: segment.Head}
	}
	return nil
}

// segmentPasses checks a segment that holds head's entry, or stands behind it
// and has to continue the one before.
func (s *Snapshot) segmentPasses(segment Segment, before, head AuditHead) error {
	entries, err := s.segment(segment)
	if err != nil {
		return err
	}
	// The bytes are those that the state names: what they lack is the state's lie.
	if want := segment.Last - segment.First + 1; uint64(len(entries)) != want {
		return fmt.Errorf("%w: audit segment %d has %d entries instead of %d", ErrOtherChain, segment.First, len(entries), want)
	}
	if segment.First <= head.Number {
		if err := entries[head.Number-segment.First].is(head); err != nil {
			return err
		}
		before = AuditHead{Number: segment.First - 1, Hash: entries[0].Previous} // what lies before is not asked about
	}
	if err := segment.holds(entries, before); err != nil {
		return fmt.Errorf("%w: %w", ErrOtherChain, err)
	}
	return nil
}

// is compares an entry with what it should be.
func (e *AuditEntry) is(head AuditHead) error {
	if e.Number != head.Number || e.Hash != head.Hash {
		return fmt.Errorf("%w: audit entry %d is %x, not %x", ErrOtherChain, e.Number, e.Hash[:6], head.Hash[:6])
	}
	return nil
}

// Audit walks the audit log as people read it.
func (s *Snapshot) Audit(filter AuditFilter) iter.Seq2[AuditRecord, error] {
	entries := s.auditBackward
	if !filter.NewestFirst {
		entries = func(yield func(AuditEntry, error) bool) { s.auditForward(filter.After, yield) }
	}
	return func(yield func(AuditRecord, error) bool) {
		left := filter.Limit
		for e, err := range entries {
			if err != nil {
				yield(AuditRecord{}, err)
				return
			}
			if filter.NewestFirst && (e.Number <= filter.After || e.Time.Before(filter.Since)) {
				return // numbers and times never grow on this way
			}
			record, _ := Describe(e) // what this build does not know reads as such
			if !filter.match(record) {
				continue
			}
			if !yield(record, nil) {
				return
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

func (f AuditFilter) match(r AuditRecord) bool {
	return !r.Time.Before(f.Since) &&
		(f.Type == "" || r.Type == f.Type) &&
		(f.Actor == "" || r.Actor == f.Actor) &&
		(f.Deployment == "" || slices.Contains(strings.Split(r.Deployment, listSeparator), f.Deployment)) &&
		(f.Revision == "" || slices.ContainsFunc(strings.Split(r.Revision, listSeparator), func(revision string) bool {
			return strings.HasPrefix(revision, f.Revision)
		}))
}
