package cluster

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/jaco-sh/jaco/signing"
)

// TestEvidenceIsSmall: 20 signed commits to a folder of 50 files add less than
// 64 KiB to a bundle, the audit log's part included.
func TestEvidenceIsSmall(t *testing.T) {
	r := newSignedRig(t)
	files := fleet(t, "shop:3")
	for i := range 49 {
		files[fmt.Sprintf("deployments/shop/conf.d/%02d.conf", i)] = fmt.Sprintf("listen = %d\n", 8000+i)
	}
	r.pushFiles(files)
	before := len(r.bundle())

	tip := r.at.Commit
	for i := range 20 {
		files[fmt.Sprintf("deployments/shop/conf.d/%02d.conf", i)] = fmt.Sprintf("listen = %d\n", 9000+i)
		tip = r.history.commit(tip, files, fmt.Sprintf("Move listener %d to another port", i), testKey("alice"))
	}
	if err := r.objects.Put(r.history.taken()); err != nil {
		t.Fatal(err)
	}
	r.claimEvidence(tip)
	bundle := r.bundle()
	const most = 64 << 10
	if added := len(bundle) - before; added >= most {
		t.Errorf("20 commits add %d bytes to a bundle, want less than %d", added, most)
	} else {
		t.Logf("20 commits add %d bytes to a bundle", added)
	}
	report, err := VerifyBundle(bytes.NewReader(bundle), r.options())
	if err != nil {
		t.Fatal(err)
	}
	if last := report.Claims[len(report.Claims)-1]; last.Commits != 20 || last.Commit != tip {
		t.Errorf("the bundle verifies %d commits up to %s", last.Commits, last.Commit)
	}
}

// pushFiles claims a signed commit that makes the repository hold the files.
func (r *signedRig) pushFiles(files map[string]string) {
	r.t.Helper()
	tip := r.history.commit(r.at.Commit, files, "change", testKey("alice"))
	r.must(&PutObjects{Objects: r.history.taken()})
	r.claim(tip)
}

// claimEvidence claims a tip with what judging it reads, as a leader does.
func (r *signedRig) claimEvidence(tip signing.Hash) {
	r.t.Helper()
	recorder := signing.NewRecorder(r.objects)
	verdict, err := signing.Verify(recorder, r.at, tip, signing.Options{Now: r.now})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := ContentDigest(recorder, verdict.Position); err != nil {
		r.t.Fatal(err)
	}
	var objects []StoredObject
	for _, id := range recorder.IDs() {
		o, err := r.objects.Object(id)
		if err != nil {
			r.t.Fatal(err)
		}
		if !r.state.Read().HasObject(id) {
			objects = append(objects, StoredObject{ID: id, Object: o})
		}
	}
	r.must(&PutObjects{Objects: objects})
	r.claim(tip)
}

// BenchmarkAuditVerify verifies a bundle of 1,000 activations of 20 deployments
// offline.
func BenchmarkAuditVerify(b *testing.B) {
	r := newSignedRig(b)
	files := fleet(b, "shop:3")
	for i := range 1_000 {
		files[fmt.Sprintf("deployments/app-%d/compose.yaml", i%20)] = fmt.Sprintf("services:\n  web:\n    image: web:%d\n", i)
		r.pushFiles(files)
	}
	bundle := r.bundle()
	b.SetBytes(int64(len(bundle)))
	for b.Loop() {
		report, err := VerifyBundle(bytes.NewReader(bundle), r.options())
		if err != nil {
			b.Fatal(err)
		}
		if len(report.Claims) != 1_002 || !report.RootChecked {
			b.Fatalf("%d claims were verified", len(report.Claims))
		}
	}
}
