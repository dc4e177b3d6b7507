package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/signing"
)

const testContainer = "c0ffee0000000000000000000000000000000000000000000000000000000001"

// traced returns a cluster that runs one replica of the second of three
// commits, which one claim brought together with the third.
func traced(t *testing.T) (*signedRig, Replica) {
	t.Helper()
	r := newSignedRig(t)
	revision := r.history.commit(r.at.Commit, fleet(t, "shop:4"), "use shop:4", testKey("alice"))
	files := fleet(t, "shop:4")
	files["README.md"] = "hello"
	tip := r.history.commit(revision, files, "say hello", testKey("alice"))
	r.must(&PutObjects{Objects: r.history.taken()})
	r.claim(tip)
	replica := testReplica(1, 1)
	replica.Revision = revision
	r.must(&ApplyPlan{Create: []Replica{replica}, Services: []Service{{Deployment: "shop", Name: "api", NextSerial: 2}}})
	r.must(&ReportReplicas{Node: "node-1", Reports: []ReplicaReport{{
		ID: replica.ID, Phase: Running, ContainerID: testContainer, ImageDigest: "shop@sha256:1",
	}}})
	return r, replica
}

func (r *signedRig) trace(id string) *TraceReport {
	r.t.Helper()
	report, err := Trace(r.state.Read(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

func TestTrace(t *testing.T) {
	r, replica := traced(t)
	report := r.trace(testContainer)
	for _, id := range []string{testContainer[:12], "c", replica.ID} {
		if diff := cmp.Diff(report, r.trace(id)); diff != "" {
			t.Errorf("by %s:\n%s", id, diff)
		}
	}
	claim, _ := r.state.Read().Claim(3)
	entry, err := r.state.Read().AuditEntry(report.Claim.Entry)
	if err != nil {
		t.Fatal(err)
	}
	want := TraceClaim{Number: 3, Commit: claim.Commit, Index: claim.Index, Time: claim.Time,
		Entry: claim.Index, EntryHash: fmt.Sprintf("%x", entry.Hash)}
	if diff := cmp.Diff(want, report.Claim); diff != "" {
		t.Error(diff)
	}
	for _, f := range report.Facts {
		if f.Source != FactReported {
			t.Errorf("fact %s is %s before anything was verified", f.Name, f.Source)
		}
	}
	compare(t, "testdata/trace.json", report)
	report.Prove([]signing.Approval{{Signer: "alice", Key: "SHA256:key", Commit: replica.Revision}}, 1)
	compare(t, "testdata/trace-proved.json", report)
}

// compare compares a value's JSON with a golden file.
func compare(t *testing.T, file string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestTraceOfTheForgotten: a replica that was removed is put together from the
// audit log, also when its entries are in a segment.
func TestTraceOfTheForgotten(t *testing.T) {
	r, replica := traced(t)
	want := r.trace(testContainer)
	r.must(&ReportReplicas{Node: "node-1", Reports: []ReplicaReport{{ID: replica.ID, Phase: Stopped}}})
	r.must(&ApplyPlan{Remove: []string{replica.ID}})
	want.Phase, want.Forgotten = Stopped, true
	want.listFacts(FactReported)
	for r.state.Read().AuditHead().Number <= recentAudit {
		r.must(&RecordEvents{Events: []Event{{Type: EventConverged}}})
	}
	for _, id := range []string{testContainer, testContainer[:12], replica.ID} {
		if diff := cmp.Diff(want, r.trace(id)); diff != "" {
			t.Errorf("by %s:\n%s", id, diff)
		}
	}
}

func TestTraceErrors(t *testing.T) {
	r, replica := traced(t)
	second := testReplica(2, 2)
	second.Revision = signing.Hash{1}
	r.must(&ApplyPlan{Create: []Replica{second}})
	r.must(&ReportReplicas{Node: "node-1", Reports: []ReplicaReport{{ID: second.ID, ContainerID: "c0ffee2"}}})
	for id, want := range map[string]error{"": ErrNotFound, "d00d": ErrNotFound, replica.ID[:5]: ErrNotFound, "c0ffee": ErrAmbiguous} {
		if _, err := Trace(r.state.Read(), id); !errors.Is(err, want) {
			t.Errorf("trace of %q: %v, want %v", id, err, want)
		}
	}
	// A revision that no claim brought is shown as it is.
	if report := r.trace(second.ID); report.Claim != (TraceClaim{}) || report.Revision != second.Revision {
		t.Errorf("claim %+v", report.Claim)
	}
}
