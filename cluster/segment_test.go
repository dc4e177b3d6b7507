package cluster

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// headAt is the link of an entry, as a checkpoint names it.
func headAt(t *testing.T, s *Snapshot, number uint64) AuditHead {
	t.Helper()
	e, err := s.AuditEntry(number)
	if err != nil {
		t.Fatal(err)
	}
	return AuditHead{Number: e.Number, Hash: e.Hash}
}

// joined is a node that was given a snapshot and has the stated segments.
func joined(t *testing.T, from *rig, snapshot []byte, have ...Segment) *rig {
	t.Helper()
	r := newRig(t)
	if err := r.state.Load(bytes.NewReader(snapshot)); err != nil {
		t.Fatal(err)
	}
	for _, s := range have {
		body, err := from.audit.Segment(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckSegment(s, body); err != nil {
			t.Fatal(err)
		}
		if err := r.audit.PutSegment(s, body); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestMissingSegments(t *testing.T) {
	r := busy(t, recentAudit+segmentEntries+1)
	all := r.state.Read().Segments()
	if missing := r.state.Read().MissingSegments(); len(all) != 2 || len(missing) != 0 {
		t.Fatalf("of %d segments %v are missing where they were made", len(all), missing)
	}
	node := joined(t, r, saved(t, r.state))
	for i, want := range all {
		missing := node.state.Read().MissingSegments()
		if len(missing) != len(all)-i || missing[0] != want {
			t.Fatalf("missing %v after %d were fetched", missing, i)
		}
		body, err := r.audit.Segment(want)
		if err != nil {
			t.Fatal(err)
		}
		if err := node.audit.PutSegment(want, body); err != nil {
			t.Fatal(err)
		}
	}
	if missing := node.state.Read().MissingSegments(); len(missing) != 0 {
		t.Errorf("missing %v in the end", missing)
	}
}

// readsOnly is an AuditStore that cannot tell what it has without reading.
type readsOnly struct{ AuditStore }

func TestMissingSegmentsByReading(t *testing.T) {
	r := busy(t, recentAudit+1)
	r.state.audit = readsOnly{r.audit}
	if missing := r.state.Read().MissingSegments(); len(missing) != 0 {
		t.Errorf("missing %v", missing)
	}
	r.state.audit = readsOnly{NewMemoryAudit()}
	if missing := r.state.Read().MissingSegments(); len(missing) != 1 {
		t.Errorf("missing %v, want the one there is", missing)
	}
}

func TestDirAuditTellsWhatItHas(t *testing.T) {
	d, err := OpenAudit(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := Segment{First: 1, Last: 2, Hash: sha256.Sum256([]byte("body"))}
	if d.HasSegment(s) {
		t.Error("an empty store has a segment")
	}
	if err := d.PutSegment(s, []byte("body")); err != nil {
		t.Fatal(err)
	}
	if other := (Segment{First: 1, Last: 2}); !d.HasSegment(s) || d.HasSegment(other) {
		t.Error("a store does not know its segment from another of the same number")
	}
}

// TestCheckSegmentRefuses gives it every way to lie about a segment, with the
// hash of the bytes right: only a chain from First to Last that ends in Head
// passes.
func TestCheckSegmentRefuses(t *testing.T) {
	r := busy(t, recentAudit+1)
	good := r.state.Read().Segments()[0]
	body, err := r.audit.Segment(good)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := decodeSegment(good, body)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckSegment(good, body); err != nil {
		t.Fatalf("a good segment: %v", err)
	}
	for name, lie := range map[string]func([]AuditEntry, *Segment) []AuditEntry{
		"no entries":        func(_ []AuditEntry, _ *Segment) []AuditEntry { return nil },
		"an entry less":     func(es []AuditEntry, _ *Segment) []AuditEntry { return es[:len(es)-1] },
		"without the first": func(es []AuditEntry, _ *Segment) []AuditEntry { return es[1:] },
		"one left out":      func(es []AuditEntry, _ *Segment) []AuditEntry { return append(es[:5:5], es[6:]...) },
		"one changed":       func(es []AuditEntry, _ *Segment) []AuditEntry { es[7].Outcome = "refused"; return es },
		"one changed, resumed": func(es []AuditEntry, _ *Segment) []AuditEntry {
			es[7].Outcome = "x"
			es[7].Hash = es[7].sum()
			return es
		},
		"another head":  func(es []AuditEntry, s *Segment) []AuditEntry { s.Head[0]++; return es },
		"another first": func(es []AuditEntry, s *Segment) []AuditEntry { s.First++; return es },
		"another last":  func(es []AuditEntry, s *Segment) []AuditEntry { s.Last++; return es },
	} {
		t.Run(name, func(t *testing.T) {
			s := good
			forged := encodeSegment(lie(append([]AuditEntry(nil), entries...), &s))
			s.Hash = sha256.Sum256(forged)
			if err := CheckSegment(s, forged); !errors.Is(err, ErrCorrupt) {
				t.Errorf("error %v", err)
			}
		})
	}
	if err := CheckSegment(good, append([]byte("x"), body...)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("other bytes: %v", err)
	}
}

func TestAuditPasses(t *testing.T) {
	r := busy(t, recentAudit+segmentEntries+10)
	s := r.state.Read()
	snapshot, all := saved(t, r.state), s.Segments()
	newest := s.AuditHead()
	heads := map[string]AuditHead{
		"nothing": {}, "the first": headAt(t, s, 1), "in a segment": headAt(t, s, 700), "the last of a segment": headAt(t, s, segmentEntries),
		"the first of a segment": headAt(t, s, segmentEntries+1), "a recent one": headAt(t, s, 2*segmentEntries+1), "the newest": newest,
	}
	node := joined(t, r, snapshot, all...)
	for name, head := range heads {
		if err := node.state.Read().AuditPasses(head); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if head.Hash[3]++; head.Number == 0 {
			continue
		}
		if err := node.state.Read().AuditPasses(head); !errors.Is(err, ErrOtherChain) {
			t.Errorf("%s with another hash: %v", name, err)
		}
	}
	if err := node.state.Read().AuditPasses(AuditHead{Number: newest.Number + 1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("what is to come: %v", err)
	}
	for name, lacks := range map[string]struct {
		have []Segment
		head AuditHead
		want error
	}{
		"all, recent":                  {nil, heads["a recent one"], nil},
		"all, in a segment":            {nil, heads["in a segment"], ErrNotFound},
		"the one behind it":            {all[:1], heads["in a segment"], ErrNotFound},
		"the one behind it, at an end": {all[:1], heads["the last of a segment"], ErrNotFound},
		"the one before it":            {all[1:], heads["the first of a segment"], nil},
	} {
		if err := joined(t, r, snapshot, lacks.have...).state.Read().AuditPasses(lacks.head); !errors.Is(err, lacks.want) {
			t.Errorf("without segments (%s): %v, want %v", name, err, lacks.want)
		}
	}
}

// TestAuditPassesDamage: a file that is damaged here says nothing of the state.
func TestAuditPassesDamage(t *testing.T) {
	r := busy(t, recentAudit+1)
	head := headAt(t, r.state.Read(), 700)
	for s, body := range r.audit.segments {
		body[len(body)/2]++
		r.audit.segments[s] = body
	}
	if err := r.state.Read().AuditPasses(head); !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrOtherChain) {
		t.Errorf("a damaged segment: %v", err)
	}
}

// TestAuditPassesSplice: a true segment in front of another history does not
// make that history true.
func TestAuditPassesSplice(t *testing.T) {
	r := busy(t, recentAudit+segmentEntries+1)
	head := headAt(t, r.state.Read(), 700)
	other := newRig(t)
	other.must(testInit())
	for other.state.Read().AuditHead().Number <= recentAudit+segmentEntries {
		other.must(&RecordEvents{Events: []Event{{Type: EventDegraded}}})
	}
	first := r.state.Read().Segments()[0]
	spliced := resum(t, saved(t, other.state), func(kind recordKind, body []byte) (recordKind, []byte) {
		m := &jacov1.AuditSegment{}
		if kind != recordSegment {
			return kind, body
		}
		if err := proto.Unmarshal(body, m); err != nil {
			t.Fatal(err)
		}
		if m.GetFirst() == 1 {
			body = wire(t, (&encoder{}).segment(first))
		}
		return kind, body
	})
	node := joined(t, r, spliced, first)
	for _, s := range other.state.Read().Segments()[1:] {
		body, err := other.audit.Segment(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := node.audit.PutSegment(s, body); err != nil {
			t.Fatal(err)
		}
	}
	if missing := node.state.Read().MissingSegments(); len(missing) != 0 {
		t.Fatalf("missing %v", missing)
	}
	if err := node.state.Read().AuditPasses(head); !errors.Is(err, ErrOtherChain) {
		t.Errorf("a spliced history: %v", err)
	}
}
