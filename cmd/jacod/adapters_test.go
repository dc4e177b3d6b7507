package main

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/signing"
)

func sized(sizes ...int) []cluster.StoredObject {
	objects := make([]cluster.StoredObject, len(sizes))
	for i, size := range sizes {
		objects[i] = cluster.StoredObject{ID: signing.Hash{byte(i), byte(i >> 8)}, Object: signing.Object{Data: make([]byte, size)}}
	}
	return objects
}

func TestChunkObjects(t *testing.T) {
	const most = chunkBytes
	for _, test := range []struct {
		name  string
		sizes []int
		want  [][]int
	}{
		{"none", nil, nil},
		{"one", []int{1}, [][]int{{1}}},
		{"empty ones", []int{0, 0}, [][]int{{0, 0}}},
		{"just full", []int{most - 1, 1}, [][]int{{most - 1, 1}}},
		{"one byte too many", []int{most, 1}, [][]int{{most}, {1}}},
		{"a large one goes alone", []int{1, 2 * most, 1}, [][]int{{1}, {2 * most}, {1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got [][]int
			for _, chunk := range chunkObjects(sized(test.sizes...)) {
				var sizes []int
				for _, o := range chunk {
					sizes = append(sizes, len(o.Data))
				}
				got = append(got, sizes)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("chunks (-want +got):\n%s", diff)
			}
		})
	}
}

// TestChunksAreTakenByState draws objects: every chunk is within what one
// command may carry, none is empty, and together they are all, in order.
func TestChunksAreTakenByState(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		objects := sized(rapid.SliceOfN(rapid.IntRange(0, chunkBytes+10), 0, 30).Draw(rt, "sizes")...)
		next := 0
		for _, chunk := range chunkObjects(objects) {
			size := 0
			for _, o := range chunk {
				if o.ID != objects[next].ID {
					rt.Fatalf("object %d is out of order", next)
				}
				next++
				size += len(o.Data)
			}
			if len(chunk) == 0 || len(chunk) > 1 && size > cluster.MaxPutBytes {
				rt.Fatalf("a chunk of %d objects and %d bytes", len(chunk), size)
			}
		}
		if next != len(objects) {
			rt.Fatalf("%d of %d objects", next, len(objects))
		}
	})
}

// TestChunksBoundTheirCount: state bounds the number of objects of one command.
func TestChunksBoundTheirCount(t *testing.T) {
	state, err := cluster.NewState(cluster.NewMemoryObjects(), cluster.NewMemoryAudit())
	check(t, err)
	index := uint64(0)
	apply := func(command cluster.Command) error {
		index++
		data, err := cluster.Encode(cluster.Entry{Time: noTime.AddDate(2026, 0, 0), Actor: cluster.Actor{Kind: cluster.ActorNode, Name: "n1"}, Command: command})
		check(t, err)
		return state.Apply(index, data).Err
	}
	check(t, apply(&cluster.InitCluster{
		Meta: cluster.Meta{ID: "0123456789abcdef", Name: "test", CA: []byte("x"), Anchor: signing.Hash{1}, Repo: cluster.Repo{URL: "/r", Branch: "main"}},
		Node: cluster.Node{Name: "n1", Address: "10.0.0.1:7000", CertificateKey: [32]byte{1}, State: cluster.NodeReady},
	}))
	var objects []cluster.StoredObject
	for i := range 12_000 { // small ones: a tree of many empty files
		o := signing.Object{Type: signing.BlobObject, Data: fmt.Appendf(nil, "%d", i)}
		id, err := signing.HashObject(o)
		check(t, err)
		objects = append(objects, cluster.StoredObject{ID: id, Object: o})
	}
	for _, chunk := range chunkObjects(objects) {
		if err := apply(&cluster.PutObjects{Objects: chunk}); err != nil {
			t.Fatalf("a chunk of %d objects: %v", len(chunk), err)
		}
	}
}

func TestNewEvents(t *testing.T) {
	invalid := func(tree byte) verifier.UnitRecord {
		return verifier.UnitRecord{Invalid: &verifier.InvalidPin{Revision: signing.Hash{tree}, Tree: signing.Hash{tree}, Reason: fmt.Sprint("reason ", tree)}}
	}
	waiting := func(unit string, revision byte) signing.Pending {
		return signing.Pending{Unit: unit, Revision: signing.Hash{revision}, Reason: "needs bob"}
	}
	invalidEvent := func(unit string, tree byte) cluster.Event {
		return cluster.Event{Type: cluster.EventInvalid, Deployment: unit, Revision: signing.Hash{tree}, Message: fmt.Sprint("reason ", tree)}
	}
	waitEvent := func(unit string, revision byte) cluster.Event {
		return cluster.Event{Type: cluster.EventAwaitingApproval, Deployment: unit, Revision: signing.Hash{revision}, Message: "needs bob"}
	}
	active := func(reason string) verifier.UnitRecord {
		pin := &verifier.Pin{Revision: signing.Hash{7}}
		if reason != "" {
			pin.Standing = &verifier.Standing{Outdated: true, Reason: reason}
		}
		return verifier.UnitRecord{Active: pin}
	}
	outdatedEvent := cluster.Event{Type: cluster.EventPolicyOutdated, Deployment: "shop", Revision: signing.Hash{7}, Message: "1 of 2 approvals"}
	type units = map[string]verifier.UnitRecord
	for _, test := range []struct {
		name          string
		before, after verifier.Record
		want          []cluster.Event
	}{
		{"nothing", verifier.Record{}, verifier.Record{Units: units{"shop": {}}}, nil},
		{"invalid at first sight", verifier.Record{}, verifier.Record{Units: units{"shop": invalid(1)}}, []cluster.Event{invalidEvent("shop", 1)}},
		{"invalid as before", verifier.Record{Units: units{"shop": invalid(1)}}, verifier.Record{Units: units{"shop": invalid(1)}}, nil},
		{"invalid otherwise", verifier.Record{Units: units{"shop": invalid(1)}}, verifier.Record{Units: units{"shop": invalid(2)}}, []cluster.Event{invalidEvent("shop", 2)}},
		{"mended", verifier.Record{Units: units{"shop": invalid(1)}}, verifier.Record{Units: units{"shop": {}}}, nil},
		{"in order", verifier.Record{}, verifier.Record{Units: units{"c": invalid(3), "a": invalid(1), "b": invalid(2)}},
			[]cluster.Event{invalidEvent("a", 1), invalidEvent("b", 2), invalidEvent("c", 3)}},
		{"outdated", verifier.Record{Units: units{"shop": active("")}}, verifier.Record{Units: units{"shop": active("1 of 2 approvals")}}, []cluster.Event{outdatedEvent}},
		{"outdated as before", verifier.Record{Units: units{"shop": active("x")}}, verifier.Record{Units: units{"shop": active("x")}}, nil},
		{"good again", verifier.Record{Units: units{"shop": active("x")}}, verifier.Record{Units: units{"shop": active("")}}, nil},
		{"waits", verifier.Record{}, verifier.Record{Pending: []signing.Pending{waiting("shop", 1)}}, []cluster.Event{waitEvent("shop", 1)}},
		{"waits as before", verifier.Record{Pending: []signing.Pending{waiting("shop", 1)}}, verifier.Record{Pending: []signing.Pending{waiting("shop", 1)}}, nil},
		{"waits with more", verifier.Record{Pending: []signing.Pending{waiting("shop", 1)}},
			verifier.Record{Pending: []signing.Pending{waiting("blog", 2), waiting("shop", 2)}}, []cluster.Event{waitEvent("blog", 2), waitEvent("shop", 2)}},
		{"signed", verifier.Record{Pending: []signing.Pending{waiting("shop", 1)}}, verifier.Record{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 5 { // a map's order must not show
				if diff := cmp.Diff(test.want, newEvents(&test.before, &test.after)); diff != "" {
					t.Fatalf("events (-want +got):\n%s", diff)
				}
			}
		})
	}
}
