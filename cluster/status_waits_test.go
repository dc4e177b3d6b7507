package cluster

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/signing"
)

// TestStatusAwaits: what the repository as a whole waits for is shown by every
// node, as long as it waits.
func TestStatusAwaits(t *testing.T) {
	r := initialized(t)
	awaits := &signing.Pending{
		Unit: "trust", Revision: newCommit, Have: []string{"alice"}, Need: 2, Eligible: []string{"bob"},
		Paths: []string{"trust.yaml"}, Reason: "trust change awaits bob", Command: "git tag",
	}
	r.must(&SetSync{State: SyncStalled, Reason: awaits.Reason, Head: newCommit, Awaits: awaits})
	want := []PendingStatus{{
		Deployment: "trust", Revision: newCommit.String(), Have: []string{"alice"}, Need: 2, Eligible: []string{"bob"},
		Reason: "trust change awaits bob", Command: "git tag",
	}}
	status := r.status(viewOf(nil))
	if diff := cmp.Diff(want, status.Sync.Pending); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
	if len(status.Deployments) != 0 {
		t.Errorf("a deployment is made of it: %+v", status.Deployments)
	}
	r.must(&SetSync{State: SyncSynced, Head: newCommit})
	if pending := r.status(viewOf(nil)).Sync.Pending; len(pending) != 0 {
		t.Errorf("still pending: %+v", pending)
	}
}

// TestStatusFreshness: that no commit came for long is an alert, once the policy
// asks for it.
func TestStatusFreshness(t *testing.T) {
	const age = 72 * time.Hour
	for name, test := range map[string]struct {
		view *View
		now  time.Time
		want bool
	}{
		"no view yet":       {nil, start.Add(age), false},
		"no limit":          {&View{Advanced: start}, start.Add(100 * age), false},
		"nothing came ever": {&View{MaxAge: age}, start.Add(100 * age), false},
		"fresh":             {&View{MaxAge: age, Advanced: start}, start.Add(age), false},
		"stale":             {&View{MaxAge: age, Advanced: start, Commit: newCommit}, start.Add(age + time.Second), true},
	} {
		r := initialized(t)
		status := BuildStatus(StatusInput{Snapshot: r.state.Read(), View: test.view, Now: test.now, Soft: SoftStatus{Quorum: true}})
		said := strings.Join(status.Cluster.Warnings, "\n")
		if strings.Contains(said, "freshness.max_age") != test.want {
			t.Errorf("%s: warnings %q", name, said)
		}
		if test.want && !strings.Contains(said, newCommit.Short()) {
			t.Errorf("%s does not name the commit: %q", name, said)
		}
	}
}

// TestClaimTags: the tags of a claim are there, in order, and few.
func TestClaimTags(t *testing.T) {
	r := initialized(t)
	a, b := testObject(signing.TagObject, "a"), testObject(signing.TagObject, "b")
	if compareHash(a.ID, b.ID) > 0 {
		a, b = b, a
	}
	r.must(&PutObjects{Objects: []StoredObject{a}})
	anchor := anchorObject().ID
	claim := func(number uint64, tags ...signing.Hash) *AdvanceRevision {
		return &AdvanceRevision{Claim: Claim{Number: number, From: anchor, Commit: anchor, Digest: [32]byte{1}, Tags: tags}}
	}
	refused := func(c Command, want error) {
		t.Helper()
		if err := r.apply(c).Err; !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
	refused(claim(1, a.ID, b.ID), ErrConflict)
	r.must(&PutObjects{Objects: []StoredObject{b}})
	for _, tags := range [][]signing.Hash{{b.ID, a.ID}, {a.ID, a.ID}, {{}}, make([]signing.Hash, MaxClaimTags+1)} {
		refused(claim(1, tags...), ErrInvalid)
	}
	r.must(claim(1, a.ID))
	r.must(claim(1, a.ID)) // the same again
	refused(claim(1, a.ID, b.ID), ErrConflict)
	r.must(claim(2, a.ID, b.ID))
	if got, _ := r.state.Read().Claim(2); !cmp.Equal(got.Tags, []signing.Hash{a.ID, b.ID}) {
		t.Errorf("tags %v", got.Tags)
	}
}
