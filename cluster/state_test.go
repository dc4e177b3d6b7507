package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/signing"
)

// failing is an ObjectStore and AuditStore whose disk is full.
type failing struct {
	*MemoryObjects
	*MemoryAudit
	full bool
}

var errFull = errors.New("no space left on device")

func (f *failing) Put(objects []StoredObject) error {
	if f.full {
		return errFull
	}
	return f.MemoryObjects.Put(objects)
}

func (f *failing) PutSegment(s Segment, body []byte) error {
	if f.full {
		return errFull
	}
	return f.MemoryAudit.PutSegment(s, body)
}

func TestApplyStopsWhenTheDiskIsFull(t *testing.T) {
	r := initialized(t)
	disk := &failing{MemoryObjects: r.objects, MemoryAudit: r.audit, full: true}
	r.state.objects, r.state.audit = disk, disk
	before := saved(t, r.state)
	put := &PutObjects{Objects: []StoredObject{testObject(signing.BlobObject, "body")}}
	result := r.apply(put)
	if !errors.Is(result.Err, ErrStorage) || !errors.Is(result.Err, errFull) || !Stops(result.Err) || result.Changed {
		t.Fatalf("result %+v", result)
	}
	if !bytes.Equal(before, saved(t, r.state)) {
		t.Error("the state changed")
	}
	disk.full = false
	r.index-- // the caller applies the same entry again
	if result := r.must(put); !result.Changed || !r.state.Read().HasObject(put.Objects[0].ID) {
		t.Errorf("after room was made: %+v", result)
	}
}

func TestSealStopsWhenTheDiskIsFull(t *testing.T) {
	r := initialized(t)
	disk := &failing{MemoryObjects: r.objects, MemoryAudit: r.audit, full: true}
	r.state.audit = disk
	for r.state.Read().AuditHead().Number < recentAudit {
		r.must(&RecordEvents{Events: []Event{{Type: EventConverged}}})
	}
	result := r.apply(&RecordEvents{Events: []Event{{Type: EventConverged}}})
	if !Stops(result.Err) || r.state.Read().AuditHead().Number != recentAudit {
		t.Fatalf("result %+v, audit log at %d", result, r.state.Read().AuditHead().Number)
	}
	disk.full = false
	r.index--
	r.must(&RecordEvents{Events: []Event{{Type: EventConverged}}})
	if got := r.state.Read().AuditHead().Number; got != recentAudit+1 {
		t.Errorf("audit log at %d", got)
	}
}

// saved returns the bytes of a state's snapshot.
func saved(t testing.TB, s *State) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := s.Save(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestPutObjectsBounds(t *testing.T) {
	good := testObject(signing.BlobObject, "data")
	bad := good
	bad.Data = []byte("Data")
	tests := []struct {
		name    string
		objects []StoredObject
		refused bool
	}{
		{"many small ones", numbered(256, 1024), false},
		{"too much together", numbered(257, 1024), true},
		{"a large one alone", numbered(1, MaxObjectBytes), false},
		{"a larger one", numbered(1, MaxObjectBytes+1), true},
		{"too many", numbered(maxPutObjects+1, 5), true},
		{"none", nil, true},
		{"bytes of another", []StoredObject{good, bad}, false}, // the first is known when the second comes
		{"bytes that are not the id's", []StoredObject{bad, good}, true},
		{"type of another", []StoredObject{{ID: good.ID, Object: signing.Object{Type: signing.TreeObject, Data: good.Data}}}, true},
		{"no type", []StoredObject{{ID: good.ID, Object: signing.Object{Data: good.Data}}}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := initialized(t)
			result := r.apply(&PutObjects{Objects: test.objects})
			if errors.Is(result.Err, ErrInvalid) != test.refused {
				t.Fatalf("result %+v, refused should be %v", result, test.refused)
			}
			for _, o := range test.objects {
				if r.state.Read().HasObject(o.ID) == test.refused {
					t.Errorf("object %s is known: %v", o.ID, !test.refused)
				}
			}
			if got, err := r.objects.Object(good.ID); err == nil && !bytes.Equal(got.Data, good.Data) {
				t.Errorf("the store holds %q", got.Data)
			}
		})
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	r := initialized(t)
	for i := range keptRefusals + 5 {
		r.must(&RecordRefusal{Refusal: Refusal{Head: signing.Hash{1, byte(i), byte(i >> 8)}, Reason: signing.ReasonUnsigned}})
	}
	s := r.state.Read()
	all := s.Refusals()
	if len(all) != keptRefusals || all[0].Head[1] != 5 {
		t.Errorf("%d refusals from %v on", len(all), all[0].Head)
	}
	last, ok := s.LastRefusal()
	if !ok || last != all[len(all)-1] {
		t.Errorf("last refusal %+v, %v", last, ok)
	}
}

func TestQueries(t *testing.T) {
	r := initialized(t)
	create := []Replica{testReplica(1, 1), testReplica(2, 2), testReplica(3, 3)}
	create[2].Node = "node-2"
	r.must(&ApplyPlan{Create: create, Services: []Service{{Deployment: "shop", Name: "api", NextSerial: 4}},
		Deployments: []DeploymentStatus{{Name: "shop"}}})
	r.must(&ReportReplicas{Node: "node-1", Reports: []ReplicaReport{
		{ID: create[0].ID, ContainerID: "abcdef01"}, {ID: create[1].ID, ContainerID: "abcdef02"},
	}})
	s := r.state.Read()
	count := func(name string, got, want int) {
		if got != want {
			t.Errorf("%s: %d instead of %d", name, got, want)
		}
	}
	count("replicas", len(s.Replicas()), 3)
	count("replicas on node-1", len(s.ReplicasOnNode("node-1")), 2)
	count("replicas on node-2", len(s.ReplicasOnNode("node-2")), 1)
	count("replicas on node", len(s.ReplicasOnNode("node")), 0)
	count("replicas of shop", len(s.ReplicasOf("shop")), 3)
	count("replicas of sho", len(s.ReplicasOf("sho")), 0)
	count("services", len(s.Services()), 1)
	count("deployments", len(s.DeploymentStatuses()), 1)
	count("nodes", len(s.Nodes()), 2)
	if _, ok := s.Service("shop", "api"); !ok {
		t.Error("no service shop/api")
	}
	if _, ok := s.Service("shop", "ap"); ok {
		t.Error("a service shop/ap")
	}
	for id, want := range map[string]error{
		"abcdef01": nil, "abcdef02": nil, "abcdef": ErrAmbiguous, "abcdef03": ErrNotFound, "": ErrNotFound, "abcdef011": ErrNotFound,
	} {
		got, err := s.ReplicaByContainer(id)
		if !errors.Is(err, want) || err == nil && got.ContainerID != id {
			t.Errorf("container %q: %s, %v", id, got.ID, err)
		}
	}
	if _, ok := s.LastClaim(); ok {
		t.Error("a claim in a state without any")
	}
}

func TestSnapshotNeverChanges(t *testing.T) {
	r := initialized(t)
	before := r.state.Read()
	var want bytes.Buffer
	if err := before.Save(&want); err != nil {
		t.Fatal(err)
	}
	r.must(&UpdateNode{Node: testNode("node-3")})
	r.must(&SetSync{State: SyncStalled})
	var got bytes.Buffer
	if err := before.Save(&got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want.Bytes(), got.Bytes()) || before.Index() != 3 || len(before.Nodes()) != 2 {
		t.Error("a snapshot changed under its reader")
	}
}

func TestChangedAndWaitIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := initialized(t)
		changed := r.state.Changed()
		waited := make(chan error)
		go func() { waited <- r.state.WaitIndex(t.Context(), r.index+2) }()
		synctest.Wait()
		r.must(&SetSync{State: SyncSynced})
		synctest.Wait()
		select {
		case <-changed:
		default:
			t.Error("Changed was not closed")
		}
		select {
		case err := <-waited:
			t.Errorf("WaitIndex returned one entry early: %v", err)
		default:
		}
		r.apply(&SetSync{State: SyncFetching}) // refused entries count too
		if err := <-waited; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { waited <- r.state.WaitIndex(ctx, 1000) }()
		synctest.Wait()
		cancel()
		if err := <-waited; !errors.Is(err, context.Canceled) {
			t.Errorf("WaitIndex after its context ended: %v", err)
		}
	})
}

func TestReadersAndSaveRunBesideApply(t *testing.T) {
	r := initialized(t)
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				s := r.state.Read()
				if n := uint64(len(s.Nodes())); n != s.Index()-1 {
					t.Errorf("%d nodes at index %d", n, s.Index())
				}
				if err := s.Save(&bytes.Buffer{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// Index 3 has two nodes, and each entry from here on adds one.
	for i := range 100 {
		r.must(&UpdateNode{Node: testNode(fmt.Sprintf("node-x%d", i))})
	}
	close(done)
	wg.Wait()
}

func TestReplicaID(t *testing.T) {
	id := ReplicaID("0123456789abcdef", "shop", "api", 1, 1)
	if id != "uvrf2zhuw7ri" { // the label of containers that run
		t.Errorf("id %s", id)
	}
	others := map[string]bool{
		ReplicaID("0123456789abcdee", "shop", "api", 1, 1): true,
		ReplicaID("0123456789abcdef", "shopa", "pi", 1, 1): true,
		ReplicaID("0123456789abcdef", "shop", "api", 2, 1): true,
		ReplicaID("0123456789abcdef", "shop", "api", 1, 2): true,
	}
	if len(others) != 4 || others[id] {
		t.Errorf("ids %v are not all different", others)
	}
}

// TestPhases compares what a report may do to a phase with the contract: only
// forward, the live phases in any order, and nothing after a final one.
func TestPhases(t *testing.T) {
	forward := map[Phase][]Phase{
		Assigned:  {Preparing, Starting, Running, Healthy, Unhealthy, Stopping, Stopped, Failed, Rejected, Lost},
		Preparing: {Starting, Running, Healthy, Unhealthy, Stopping, Stopped, Failed, Rejected, Lost},
		Starting:  {Running, Healthy, Unhealthy, Stopping, Stopped, Failed, Rejected, Lost},
		Running:   {Healthy, Unhealthy, Stopping, Stopped, Failed, Rejected, Lost},
		Healthy:   {Running, Unhealthy, Stopping, Stopped, Failed, Rejected, Lost},
		Unhealthy: {Running, Healthy, Stopping, Stopped, Failed, Rejected, Lost},
		Stopping:  {Stopped, Failed, Rejected, Lost},
	}
	for _, from := range phases[1:] {
		for _, to := range phases[1:] {
			r := initialized(t)
			replica := testReplica(1, 1)
			r.must(&ApplyPlan{Create: []Replica{replica}})
			r.must(&ReportReplicas{Node: "node-1", Reports: []ReplicaReport{{ID: replica.ID, Phase: from}}})
			r.must(&ReportReplicas{Node: "node-1", Reports: []ReplicaReport{{ID: replica.ID, Phase: to}}})
			want := from
			for _, p := range forward[from] {
				if p == to {
					want = to
				}
			}
			got, _ := r.state.Read().Replica(replica.ID)
			if diff := cmp.Diff(want, got.Phase); diff != "" {
				t.Errorf("from %s to %s: %s", from, to, got.Phase)
			}
			if got.FinishedAt.IsZero() == got.Phase.Final() {
				t.Errorf("%s is finished at %v", got.Phase, got.FinishedAt)
			}
		}
	}
}
