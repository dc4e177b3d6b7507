package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/signing"
)

// TestEveryFieldSurvivesASnapshot fills every field of every record.
func TestEveryFieldSurvivesASnapshot(t *testing.T) {
	r := initialized(t)
	o := testObject(signing.BlobObject, "body")
	fill := func(v any) { (&filler{t: t}).fill(reflect.ValueOf(v).Elem()) }
	var (
		meta       Meta
		sync       Sync
		node       Node
		replica    Replica
		service    Service
		deployment DeploymentStatus
		claim      Claim
		refusal    Refusal
		sealed     SealedItem
		token      Token
		place      MeshNode
		piece      Slice
	)
	for _, v := range []any{&meta, &sync, &node, &replica, &service, &deployment, &claim, &refusal, &sealed, &token, &place, &piece} {
		fill(v)
	}
	tx := r.state.db.Txn(true)
	for _, err := range []error{
		metas().put(tx, meta), syncs().put(tx, sync), nodes().put(tx, node), replicas().put(tx, replica),
		services().put(tx, service), deployments().put(tx, deployment), claims().put(tx, claim),
		refusals().put(tx, refusal), sealedItems().put(tx, sealed), tokens().put(tx, token),
		meshNodes().put(tx, place), meshSlices().put(tx, piece),
		knownObjects().put(tx, knownObject{ID: o.ID, Index: 77}), r.objects.Put([]StoredObject{o}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tx.Commit()
	other := newRig(t)
	if err := other.state.Load(bytes.NewReader(saved(t, r.state))); err != nil {
		t.Fatal(err)
	}
	// Every table is read here; the count below fails when one is added.
	s := other.state.Read()
	got := []any{
		*metas().get(s.tx, single), *syncs().get(s.tx, single), *nodes().get(s.tx, node.Name), *replicas().get(s.tx, replica.ID),
		*services().get(s.tx, serviceKey(service.Deployment, service.Name)), *deployments().get(s.tx, deployment.Name),
		*claims().get(s.tx, numberKey(claim.Number)), *refusals().get(s.tx, numberKey(refusal.CreateIndex)),
		*sealedItems().get(s.tx, sealed.Name), *tokens().get(s.tx, token.ID), *knownObjects().get(s.tx, string(o.ID[:])),
		*meshNodes().get(s.tx, place.Node), *meshSlices().get(s.tx, sliceKey(piece.Node, piece.Network, piece.Serial)),
		*positions().get(s.tx, single), *auditEntries().get(s.tx, numberKey(1)),
	}
	before := r.state.Read()
	want := []any{
		meta, sync, node, replica, service, deployment, claim, refusal, sealed, token, knownObject{ID: o.ID, Index: 77},
		place, piece,
		readPosition(before.tx), *auditEntries().get(before.tx, numberKey(1)),
	}
	if diff := cmp.Diff(want, got, addresses); diff != "" {
		t.Errorf("a field was lost (-want +got):\n%s", diff)
	}
	if tables := len(r.state.db.DBSchema().Tables); tables != len(got)+1 { // and segments, which audit_test.go has
		t.Errorf("%d tables, %d are compared", tables, len(got)+1)
	}
	if body, err := other.objects.Object(o.ID); err != nil || string(body.Data) != "body" {
		t.Errorf("object %q, %v", body.Data, err)
	}
}

// TestLoadRefusesDamage: cut anywhere, or with any byte changed, a snapshot is
// refused with an error, and the state stays.
func TestLoadRefusesDamage(t *testing.T) {
	r := initialized(t)
	r.must(&AdvanceRevision{Claim: Claim{Number: 1, From: signing.Hash{1}, Commit: anchorObject().ID}})
	snapshot := saved(t, r.state)
	other := newRig(t)
	other.must(testInit())
	want := saved(t, other.state)
	check := func(what string, at int, damaged []byte) {
		t.Helper()
		if err := other.state.Load(bytes.NewReader(damaged)); err == nil {
			t.Fatalf("%s at byte %d of %d: loaded", what, at, len(snapshot))
		}
	}
	for i := range snapshot {
		check("cut", i, snapshot[:i])
		damaged := bytes.Clone(snapshot)
		damaged[i] ^= 1 << (i % 8)
		check("flip", i, damaged)
	}
	check("appended", len(snapshot), append(bytes.Clone(snapshot), 0))
	check("other input", 0, []byte("PK\x03\x04 this is an archive, not a snapshot of a cluster"))
	if !bytes.Equal(want, saved(t, other.state)) {
		t.Error("the state changed")
	}
	if err := other.state.Load(bytes.NewReader(snapshot)); err != nil {
		t.Errorf("the undamaged snapshot: %v", err)
	}
}

// resum returns a snapshot with its records changed and the checksum made
// right again.
func resum(t *testing.T, snapshot []byte, change func(kind recordKind, body []byte) (recordKind, []byte)) []byte {
	t.Helper()
	var out bytes.Buffer
	rr := &recordReader{r: bytes.NewReader(snapshot[len(snapshotMagic):]), sum: sha256.New()}
	sum := sha256.New()
	rw := &recordWriter{w: io.MultiWriter(&out, sum), encoder: &encoder{}}
	rw.write([]byte(snapshotMagic))
	for {
		kind, body, err := rr.next()
		if err != nil {
			t.Fatal(err)
		}
		if kind == recordEnd {
			rw.record(recordEnd, sum.Sum(nil))
			return out.Bytes()
		}
		if kind, body = change(kind, body); kind != 0 {
			rw.record(kind, body)
		}
	}
}

func TestLoadRefusesWhatDoesNotHoldTogether(t *testing.T) {
	r := initialized(t)
	snapshot := saved(t, r.state)
	keep := func(kind recordKind, body []byte) (recordKind, []byte) { return kind, body }
	if !bytes.Equal(resum(t, snapshot, keep), snapshot) {
		t.Fatal("a snapshot is not rewritten as it was")
	}
	entries := 0
	tests := map[string]func(recordKind, []byte) (recordKind, []byte){
		"a table of a newer build": func(kind recordKind, body []byte) (recordKind, []byte) {
			if kind == recordNode {
				return 99, body
			}
			return kind, body
		},
		"an object that is not its id's": func(kind recordKind, body []byte) (recordKind, []byte) {
			if kind == recordObject {
				body = append(bytes.Clone(body), '!')
			}
			return kind, body
		},
		"an audit entry changed": func(kind recordKind, body []byte) (recordKind, []byte) {
			if kind == recordAudit {
				body = bytes.Clone(body)
				body[40]++
			}
			return kind, body
		},
		"an audit entry left out": func(kind recordKind, body []byte) (recordKind, []byte) {
			if kind == recordAudit {
				if entries++; entries == 2 {
					return 0, nil
				}
			}
			return kind, body
		},
		"the audit log cut": func(kind recordKind, body []byte) (recordKind, []byte) {
			if kind == recordAudit {
				return 0, nil
			}
			return kind, body
		},
		"a record that is no message": func(kind recordKind, body []byte) (recordKind, []byte) {
			if kind == recordNode {
				return kind, []byte{0xff}
			}
			return kind, body
		},
		"a record without a key": func(kind recordKind, body []byte) (recordKind, []byte) {
			if kind == recordNode {
				return kind, nil
			}
			return kind, body
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			other := newRig(t)
			err := other.state.Load(bytes.NewReader(resum(t, snapshot, change)))
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUnknownCommand) {
				t.Errorf("error %v", err)
			}
			if other.state.Read().Index() != 0 {
				t.Error("the state changed")
			}
		})
	}
}

func TestLoadDoesNotTrustLengths(t *testing.T) {
	huge := binary.BigEndian.AppendUint32(append([]byte(snapshotMagic), byte(recordNode)), maxRecord)
	if err := newRig(t).state.Load(bytes.NewReader(huge)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a length without a body: %v", err)
	}
	huge = binary.BigEndian.AppendUint32(append([]byte(snapshotMagic), byte(recordNode)), 1<<32-1)
	if err := newRig(t).state.Load(bytes.NewReader(huge)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a length beyond the limit: %v", err)
	}
}

// slow gives one byte a read and fails in the end.
type slow struct {
	data []byte
	err  error
}

func (s *slow) Read(b []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, s.err
	}
	b[0], s.data = s.data[0], s.data[1:]
	return 1, nil
}

func TestLoadReportsReadErrors(t *testing.T) {
	snapshot := saved(t, initialized(t).state)
	if err := newRig(t).state.Load(&slow{data: snapshot, err: io.EOF}); err != nil {
		t.Errorf("a slow reader: %v", err)
	}
	if err := newRig(t).state.Load(&slow{data: snapshot[:50], err: errFull}); !errors.Is(err, errFull) || errors.Is(err, ErrCorrupt) {
		t.Errorf("a failing reader: %v", err)
	}
}

func TestSaveReportsErrors(t *testing.T) {
	r := initialized(t)
	if err := r.state.Save(failingWriter{}); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
	r.state.objects = NewMemoryObjects()
	if err := r.state.Save(io.Discard); !errors.Is(err, signing.ErrNotFound) {
		t.Errorf("a lost object store: %v", err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errFull }

func TestLoadKeepsTheStateWhenObjectsCannotBeStored(t *testing.T) {
	snapshot := saved(t, initialized(t).state)
	r := newRig(t)
	r.state.objects = &failing{MemoryObjects: r.objects, MemoryAudit: r.audit, full: true}
	if err := r.state.Load(bytes.NewReader(snapshot)); !errors.Is(err, errFull) || !Stops(err) {
		t.Errorf("error %v", err)
	}
	if r.state.Read().Index() != 0 {
		t.Error("the state changed")
	}
}

// FuzzLoad feeds hostile bytes to Load: it may not panic, and what it loads
// must save and load again.
func FuzzLoad(f *testing.F) {
	state, err := NewState(NewMemoryObjects(), NewMemoryAudit())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(saved(f, state))
	entry, err := Encode(Entry{Time: start, Actor: Actor{Kind: ActorNode, Name: "n"}, Command: testInit()})
	if err != nil {
		f.Fatal(err)
	}
	state.Apply(1, entry)
	f.Add(saved(f, state))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newRig(t)
		if err := r.state.Load(bytes.NewReader(data)); err != nil {
			return
		}
		again := newRig(t)
		if err := again.state.Load(bytes.NewReader(saved(t, r.state))); err != nil {
			t.Fatal(err)
		}
	})
}
