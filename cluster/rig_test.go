package cluster

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// start is the time of the first entry that a rig applies.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rig is a state under test that counts indexes and seconds by itself.
type rig struct {
	t       testing.TB
	state   *State
	objects *MemoryObjects
	audit   *MemoryAudit
	index   uint64
	now     time.Time
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, objects: NewMemoryObjects(), audit: NewMemoryAudit(), now: start}
	state, err := NewState(r.objects, r.audit)
	if err != nil {
		t.Fatal(err)
	}
	r.state = state
	return r
}

// initialized returns a rig with a cluster of node-1 and node-2, whose anchor
// is stored.
func initialized(t testing.TB) *rig {
	t.Helper()
	r := newRig(t)
	r.must(testInit())
	r.must(&UpdateNode{Node: testNode("node-2")})
	r.must(&PutObjects{Objects: []StoredObject{anchorObject()}})
	return r
}

func testInit() *InitCluster {
	return &InitCluster{
		Meta: Meta{
			ID: "0123456789abcdef", Name: "test", CA: []byte("certificate"),
			Repo: Repo{URL: "/srv/fleet.git", Branch: "main", Owner: "node-1"}, Anchor: anchorObject().ID,
		},
		Node: testNode("node-1"),
	}
}

func testNode(name string) Node {
	return Node{Name: name, Address: name + ":7000", CertificateKey: [32]byte{1}, State: NodeReady, Version: "v1"}
}

// testObject returns an object with its right id.
func testObject(kind signing.ObjectType, data string) StoredObject {
	o := signing.Object{Type: kind, Data: []byte(data)}
	id, _ := signing.HashObject(o) // fails for the marks of an attack only
	return StoredObject{ID: id, Object: o}
}

func anchorObject() StoredObject { return testObject(signing.CommitObject, "anchor") }

func testReplica(slot int, serial uint64) Replica {
	return Replica{
		ID:         ReplicaID("0123456789abcdef", "shop", "api", slot, serial),
		Deployment: "shop", Service: "api", Slot: slot, Serial: serial, Node: "node-1",
		Revision: anchorObject().ID, SpecHash: "spec", Phase: Assigned,
	}
}

// apply applies a command as the next entry, a second after the one before.
func (r *rig) apply(c Command) Result {
	r.t.Helper()
	return r.applyEntry(Entry{Time: r.now.Add(time.Second), Actor: Actor{Kind: ActorNode, Name: "node-1"}, Command: c})
}

func (r *rig) applyEntry(e Entry) Result {
	r.t.Helper()
	data, err := Encode(e)
	if err != nil {
		r.t.Fatal(err)
	}
	r.now = e.Time
	return r.applyBytes(data)
}

func (r *rig) applyBytes(data []byte) Result {
	r.index++
	return r.state.Apply(r.index, data)
}

// must applies a command that is not refused.
func (r *rig) must(c Command) Result {
	r.t.Helper()
	result := r.apply(c)
	if result.Err != nil {
		r.t.Fatalf("apply %s: %v", c.Kind(), result.Err)
	}
	return result
}

// numbered returns n objects of the given size that differ.
func numbered(n, size int) []StoredObject {
	out := make([]StoredObject, n)
	for i := range out {
		text := strconv.Itoa(i)
		out[i] = testObject(signing.BlobObject, strings.Repeat(" ", max(0, size-len(text)))+text)
	}
	return out
}
