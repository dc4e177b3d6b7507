package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// TestVerifyClone compares a verified bundle with clones that agree with it and
// that do not.
func TestVerifyClone(t *testing.T) {
	signed := newSignedCluster(t)
	ctx, repo := t.Context(), signed.repo
	report := rig.Must[*cluster.BundleReport](t)(cluster.VerifyBundle(bytes.NewReader(signed.bundle), cluster.BundleOptions{Anchor: &signed.anchor}))
	verify := func(want string) []string {
		t.Helper()
		copied := *report
		err := verifyClone(ctx, &copied, repo.Dir)
		var failed *statusError
		switch {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (!errors.As(err, &failed) || failed.code != exitVerification || !strings.Contains(err.Error(), want)):
			t.Errorf("error %v, want %q with code %d", err, want, exitVerification)
		}
		return copied.Warnings[len(report.Warnings):]
	}
	verify("")

	// A tag that a claim relies on: there, gone, and moved.
	id := rig.Must[string](t)(repo.Tag(ctx, "approve/shop/1", "HEAD", rig.CommitOptions{Message: "approve"}))
	report.Claims[0].Tags = []cluster.BundleTag{{ID: rig.Must[signing.Hash](t)(signing.ParseHash(id)), Name: "approve/shop/1"}}
	verify("")
	rig.Must[string](t)(repo.Git(ctx, "tag", "-d", "approve/shop/1"))
	if warnings := verify(""); len(warnings) != 1 || !strings.Contains(warnings[0], "approve/shop/1") {
		t.Errorf("warnings %q", warnings)
	}
	rig.Must[string](t)(repo.Tag(ctx, "approve/shop/1", "HEAD~1", rig.CommitOptions{Message: "moved"}))
	verify("it was moved")
	rig.Must[string](t)(repo.Git(ctx, "tag", "-d", "approve/shop/1"))

	// What is ahead of the cluster agrees; what is behind, or elsewhere, does not.
	tip := report.Accepted.String()
	rig.Must[string](t)(repo.CommitFiles(ctx, map[string]string{"README": "newer"}, rig.CommitOptions{Message: "newer"}))
	verify("")
	check(t, repo.Reset(ctx, tip+"~1"))
	verify("is in the clone, but not on branch main")
	report.Claims[0].Commit = signing.Hash{1}
	verify("is not in the clone")
}

func TestVerifyCloneThatIsNone(t *testing.T) {
	report := &cluster.BundleReport{Branch: "main"}
	err := verifyClone(t.Context(), report, t.TempDir())
	var failed *statusError
	if err == nil || errors.As(err, &failed) || !strings.Contains(err.Error(), "not a git repository") {
		t.Errorf("error %v", err)
	}
	report.Branch = "production"
	if err := verifyClone(t.Context(), report, newSignedCluster(t).repo.Dir); err == nil || !strings.Contains(err.Error(), "no branch production") {
		t.Errorf("error %v", err)
	}
}
