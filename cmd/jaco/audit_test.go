package main

import (
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/cluster"
)

// TestRefusedClaimsAreNamed: who reads the table of claims sees which of them
// nobody followed, and why.
func TestRefusedClaimsAreNamed(t *testing.T) {
	var out strings.Builder
	err := showBundleReport(&out, &cluster.BundleReport{RootChecked: true, Claims: []cluster.BundleClaim{
		{Number: 1, Index: 4, Commits: 2, Signers: []string{"alice"}},
		{Number: 2, Index: 9, Refused: "unsigned: it carries no signature"},
	}}, "table")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"alice", "not followed: unsigned: it carries no signature"} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, out.String())
		}
	}
}
