package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/signing"
)

// apps returns a fleet of so many deployments.
func apps(t testing.TB, n int) map[string]string {
	t.Helper()
	files := map[string]string{"trust.yaml": trustFile(t)}
	for i := range n {
		files[fmt.Sprintf("deployments/app-%d/compose.yaml", i)] = "services:\n  web:\n    image: web:1\n"
	}
	return files
}

func TestPruneGuard(t *testing.T) {
	tests := []struct {
		name          string
		before, after int
		cluster       string // cluster.yaml before
		message       string // of a commit on top
		want          string // in the refusal's detail; "" for none
		advice        string
	}{
		{name: "one", before: 2, after: 1},
		{name: "a third", before: 6, after: 4},
		{
			name: "more than a third", before: 6, after: 3,
			want:   "it removes 3 of 6 deployments (app-3, app-4, app-5), more than 2 at once (prune.max_deployments): nothing of it is taken until alice allows that",
			advice: `git switch main && git pull --ff-only && git commit --allow-empty -S -m "Remove 3 deployments" --trailer "Allow-Prune: 3" && git push`,
		},
		{name: "the last one", before: 1, after: 0, want: "which leaves none"},
		{name: "all", before: 6, after: 0, want: "it removes 6 of 6 deployments (app-0, app-1, app-2, app-3 and 2 more), which leaves none"},
		{name: "allowed", before: 6, after: 0, message: "Clean up\n\nAllow-Prune: 6"},
		{name: "allowed fewer", before: 6, after: 0, message: "Clean up\n\nAllow-Prune: 5", want: "it removes 6"},
		{name: "allowed in the middle of a message", before: 6, after: 0, message: "Clean up\n\nAllow-Prune: 6\n\nas agreed", want: "it removes 6"},
		{name: "allowed beyond number", before: 6, after: 0, message: "Clean up\n\nAllow-Prune: 99999999999999999999", want: "it removes 6"},
		{name: "the setting allows", before: 6, after: 2, cluster: "prune: {max_deployments: 4}"},
		{name: "the setting forbids", before: 6, after: 4, cluster: "prune: {max_deployments: 1}", want: "more than 1 at once"},
		{name: "a setting that cannot be read", before: 6, after: 3, cluster: "prune: {max_deployments: many}", want: "more than 2 at once"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newSignedRig(t)
			files := apps(t, test.before)
			if test.cluster != "" {
				files["cluster.yaml"] = test.cluster
			}
			r.pushFiles(files)
			from := r.at

			tip := r.history.commit(from.Commit, apps(t, test.after), "drop", testKey("alice"))
			if test.message != "" {
				tip = r.history.commit(tip, apps(t, test.after), test.message, testKey("alice"))
			}
			r.must(&PutObjects{Objects: r.history.taken()})
			verdict, err := signing.Verify(r.objects, from, tip, signing.Options{Now: r.now})
			if err != nil || verdict.Refusal != nil {
				t.Fatal(err, verdict)
			}
			refusal, err := PruneGuard(r.objects, from, verdict, "main")
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" {
				if refusal != nil {
					t.Errorf("refused: %s", refusal.Detail)
				}
				return
			}
			if refusal == nil || refusal.Reason != ReasonPrune || refusal.Commit != tip ||
				!strings.Contains(refusal.Detail, test.want) || !strings.Contains(refusal.Advice, test.advice) {
				t.Errorf("refusal %+v, want %q and %q", refusal, test.want, test.advice)
			}
		})
	}
}

// TestPruneGuardOnlyRoot: only root may allow it.
func TestPruneGuardOnlyRoot(t *testing.T) {
	r := newSignedRig(t)
	key, err := sshLine("bob")
	if err != nil {
		t.Fatal(err)
	}
	withBob := func(n int) map[string]string {
		files := apps(t, n)
		files["trust.yaml"] = strings.Replace(strings.Replace(files["trust.yaml"], "version: 1", "version: 2", 1),
			"signers:\n", fmt.Sprintf("signers:\n  bob: {keys: [%q]}\n", key), 1)
		return files
	}
	r.pushFiles(apps(t, 6))
	grown := apps(t, 6)
	grown["trust.yaml"] = withBob(6)["trust.yaml"]
	r.pushFiles(grown)

	tip := r.history.commit(r.at.Commit, withBob(0), "Clean up\n\nAllow-Prune: 6", testKey("bob"))
	r.must(&PutObjects{Objects: r.history.taken()})
	verdict, err := signing.Verify(r.objects, r.at, tip, signing.Options{Now: r.now})
	if err != nil || verdict.Refusal != nil {
		t.Fatal(err, verdict)
	}
	if refusal, err := PruneGuard(r.objects, r.at, verdict, "main"); err != nil || refusal == nil {
		t.Errorf("bob, who is not root, may remove all: %v %v", refusal, err)
	}
}

// TestBundleWithAMassDeletion: a claim that no node may follow does not verify
// offline either.
func TestBundleWithAMassDeletion(t *testing.T) {
	r := newSignedRig(t)
	r.pushFiles(apps(t, 6))
	r.pushFiles(apps(t, 1))
	_, err := VerifyBundle(bytes.NewReader(r.bundle()), r.options())
	var failed *VerificationError
	if !errors.As(err, &failed) || !strings.Contains(failed.What, string(ReasonPrune)) {
		t.Errorf("error %v", err)
	}
}
