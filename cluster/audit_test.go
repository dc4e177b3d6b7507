package cluster

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/signing"
)

// busy returns a rig whose audit log has so many entries.
func busy(t *testing.T, entries uint64) *rig {
	t.Helper()
	r := initialized(t)
	for r.state.Read().AuditHead().Number < entries {
		r.must(&RecordEvents{Events: []Event{{Type: EventConverged, Deployment: "shop"}}})
	}
	return r
}

func numbers(t *testing.T, s *Snapshot, newestFirst bool) []uint64 {
	t.Helper()
	var out []uint64
	for e, err := range s.AuditEntries(newestFirst) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Number)
	}
	return out
}

func TestOldEntriesBecomeSegments(t *testing.T) {
	r := busy(t, recentAudit)
	if got := segments().list(r.state.Read().tx, keyIndex); len(got) != 0 {
		t.Fatalf("segments %v of %d entries", got, recentAudit)
	}
	r = busy(t, recentAudit+segmentEntries+1)
	s := r.state.Read()
	sealed := segments().list(s.tx, keyIndex)
	if len(sealed) != 2 || sealed[0].First != 1 || sealed[1].First != segmentEntries+1 || sealed[1].Last != 2*segmentEntries {
		t.Fatalf("segments %+v", sealed)
	}
	total := uint64(recentAudit + segmentEntries + 1)
	var head AuditHead
	for e, err := range s.AuditEntries(false) {
		if err != nil {
			t.Fatal(err)
		}
		if err := e.follows(head); err != nil {
			t.Fatal(err)
		}
		head = AuditHead{Number: e.Number, Hash: e.Hash}
	}
	if head != s.AuditHead() || head.Number != total {
		t.Errorf("the chain ends at %d, the head is %d", head.Number, s.AuditHead().Number)
	}
	backward := numbers(t, s, true)
	slices.Reverse(backward)
	if diff := cmp.Diff(numbers(t, s, false), backward); diff != "" {
		t.Error(diff)
	}
	for _, number := range []uint64{1, segmentEntries, segmentEntries + 1, 2 * segmentEntries, 2*segmentEntries + 1, total} {
		if e, err := s.AuditEntry(number); err != nil || e.Number != number {
			t.Errorf("entry %d: %d, %v", number, e.Number, err)
		}
	}
	for _, number := range []uint64{0, total + 1} {
		if _, err := s.AuditEntry(number); !errors.Is(err, ErrNotFound) {
			t.Errorf("entry %d: %v", number, err)
		}
	}
	loaded := newRig(t)
	if err := loaded.state.Load(bytes.NewReader(saved(t, r.state))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sealed, segments().list(loaded.state.Read().tx, keyIndex)); diff != "" {
		t.Error(diff)
	}
	// The joining node lacks the segments until it has fetched them.
	for _, err := range loaded.state.Read().AuditEntries(false) {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("a missing segment: %v", err)
		}
		break
	}
	loaded.state.audit = r.audit
	if got := numbers(t, loaded.state.Read(), false); uint64(len(got)) != total {
		t.Errorf("%d entries", len(got))
	}
}

func TestSegmentsAreCheckedWhenRead(t *testing.T) {
	r := busy(t, recentAudit+1)
	for s, body := range r.audit.segments {
		body[len(body)/2]++
		r.audit.segments[s] = body
	}
	for _, newestFirst := range []bool{false, true} {
		var last error
		for _, err := range r.state.Read().AuditEntries(newestFirst) {
			last = err
		}
		if !errors.Is(last, ErrCorrupt) {
			t.Errorf("newest first %v: %v", newestFirst, last)
		}
	}
	var last error
	for _, err := range r.state.Read().Audit(AuditFilter{}) {
		last = err
	}
	if !errors.Is(last, ErrCorrupt) {
		t.Errorf("records: %v", last)
	}
}

func TestSegmentBytes(t *testing.T) {
	entries := []AuditEntry{{Number: 1, Received: []byte("a")}, {Number: 2, Outcome: "invalid"}}
	body := encodeSegment(entries)
	s := Segment{First: 1, Last: 2, Hash: sha256.Sum256(body)}
	got, err := decodeSegment(s, body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries, got); diff != "" {
		t.Error(diff)
	}
	for i := range body {
		if i == len(segmentMagic) {
			continue // no entries is a form
		}
		cut := body[:i]
		if _, err := decodeSegment(Segment{Hash: sha256.Sum256(cut)}, cut); !errors.Is(err, ErrCorrupt) && !wholeEntries(body, i) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

// wholeEntries reports whether a segment cut at i ends behind an entry.
func wholeEntries(body []byte, i int) bool {
	r := &byteReader{data: body[len(segmentMagic):]}
	for len(r.data) > 0 {
		r.bytes(r.uint64())
		if len(body)-len(r.data) == i {
			return true
		}
	}
	return false
}

func TestAuditEntryBytes(t *testing.T) {
	for _, e := range []AuditEntry{
		{},
		{Number: 7, Index: 9, Time: start, Received: []byte{1, 2}, Outcome: "no", Previous: [32]byte{1}, Hash: [32]byte{2}},
		{Number: 7, Time: time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)},
	} {
		data := e.encode()
		got, err := decodeAuditEntry(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Error(diff)
		}
		for i := range data {
			if _, err := decodeAuditEntry(data[:i]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("cut at %d: %v", i, err)
			}
		}
		if _, err := decodeAuditEntry(append(data, 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("with a byte more: %v", err)
		}
	}
}

// TestAuditHashCoversEveryField changes each field alone.
func TestAuditHashCoversEveryField(t *testing.T) {
	base := AuditEntry{Number: 1, Index: 2, Time: start, Received: []byte("ab"), Outcome: "c", Previous: [32]byte{3}}
	sums := map[[32]byte]string{base.sum(): "nothing"}
	for name, change := range map[string]func(*AuditEntry){
		"number":   func(e *AuditEntry) { e.Number++ },
		"index":    func(e *AuditEntry) { e.Index++ },
		"second":   func(e *AuditEntry) { e.Time = e.Time.Add(time.Second) },
		"instant":  func(e *AuditEntry) { e.Time = e.Time.Add(1) },
		"received": func(e *AuditEntry) { e.Received = []byte("ac") },
		"outcome":  func(e *AuditEntry) { e.Outcome = "d" },
		"border":   func(e *AuditEntry) { e.Received, e.Outcome = []byte("a"), "bc" },
		"previous": func(e *AuditEntry) { e.Previous[31]++ },
	} {
		e := base
		change(&e)
		if other, same := sums[e.sum()]; same {
			t.Errorf("changing %s and %s gives one hash", name, other)
		}
		sums[e.sum()] = name
	}
}

func TestAuditFilter(t *testing.T) {
	r := initialized(t)
	commit := anchorObject().ID
	r.must(&AdvanceRevision{Claim: Claim{Number: 1, From: signing.Hash{1}, Commit: commit}})
	r.must(&RecordEvents{Events: []Event{{Type: EventConverged, Deployment: "shop", Revision: commit}, {Type: EventDegraded, Deployment: "blog"}}})
	r.applyEntry(Entry{Time: r.now.Add(time.Minute), Actor: Actor{Kind: ActorOperator, Name: "uid:0@node-1"},
		Command: &RecordEvents{Events: []Event{{Type: EventConverged, Deployment: "shopping"}}}})
	tests := []struct {
		name   string
		filter AuditFilter
		want   []uint64
	}{
		{"all", AuditFilter{}, []uint64{1, 2, 3, 4, 5, 6}},
		{"newest first", AuditFilter{NewestFirst: true}, []uint64{6, 5, 4, 3, 2, 1}},
		{"limit", AuditFilter{Limit: 2}, []uint64{1, 2}},
		{"newest two", AuditFilter{NewestFirst: true, Limit: 2}, []uint64{6, 5}},
		{"after", AuditFilter{After: 4}, []uint64{5, 6}},
		{"after, newest first", AuditFilter{After: 4, NewestFirst: true}, []uint64{6, 5}},
		{"type", AuditFilter{Type: string(EventConverged)}, []uint64{6}},
		{"kind", AuditFilter{Type: string(KindRecordEvents)}, []uint64{5}},
		{"deployment", AuditFilter{Deployment: "shop"}, []uint64{5}},
		{"another deployment", AuditFilter{Deployment: "blog"}, []uint64{5}},
		{"revision", AuditFilter{Revision: commit.Short()}, []uint64{1, 4, 5}},
		{"actor", AuditFilter{Actor: "operator:uid:0@node-1"}, []uint64{6}},
		{"since", AuditFilter{Since: start.Add(5 * time.Second)}, []uint64{5, 6}},
		{"since, newest first", AuditFilter{Since: start.Add(5 * time.Second), NewestFirst: true}, []uint64{6, 5}},
		{"nothing", AuditFilter{Deployment: "sho"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []uint64
			for record, err := range r.state.Read().Audit(test.filter) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, record.Number)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAuditKeepsNoBodies(t *testing.T) {
	r := initialized(t)
	secret := "the content of a blob"
	r.must(&PutObjects{Objects: []StoredObject{testObject(signing.BlobObject, secret)}})
	r.apply(&PutObjects{Objects: []StoredObject{{ID: signing.Hash{9}, Object: signing.Object{Type: signing.BlobObject, Data: []byte(secret)}}}})
	count := 0
	for e, err := range r.state.Read().AuditEntries(true) {
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(e.Received, []byte(secret)) {
			t.Errorf("entry %d holds the body", e.Number)
		}
		if entry, err := decodeAudited(e.Received); err == nil {
			if c, ok := entry.Command.(*objectDigests); ok && c.Objects[0].SHA256 == sha256.Sum256([]byte(secret)) && c.Objects[0].Size == uint64(len(secret)) {
				count++
			}
		}
	}
	if count != 2 {
		t.Errorf("%d entries have the body's digest", count)
	}
}

func TestDirAudit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "audit")
	d, err := OpenAudit(dir)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("segment")
	s := Segment{First: 1025, Last: 2048, Hash: sha256.Sum256(body)}
	if _, err := d.Segment(s); !errors.Is(err, ErrNotFound) {
		t.Errorf("a segment that was not put: %v", err)
	}
	for range 2 {
		if err := d.PutSegment(s, body); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := d.Segment(s); err != nil || !bytes.Equal(got, body) {
		t.Errorf("segment %q, %v", got, err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// A damaged file is written anew, and another history does not collide.
	if err := os.WriteFile(filepath.Join(dir, files[0].Name()), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := Segment{First: 1025, Last: 2048, Hash: sha256.Sum256([]byte("other"))}
	if err := errors.Join(d.PutSegment(s, body), d.PutSegment(other, []byte("other"))); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Segment(s); err != nil || !bytes.Equal(got, body) {
		t.Errorf("segment %q, %v", got, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := d.PutSegment(s, body); err == nil {
		t.Error("put a segment into a directory that is gone")
	}
	if _, err := OpenAudit("/dev/null/audit"); err == nil {
		t.Error("opened a directory below a file")
	}
}
