package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/signing"
)

func TestNotIn(t *testing.T) {
	commit := signing.Hash{1}
	claim := verifier.JournalEntry{Claim: 4, Commit: commit, Reason: signing.ReasonUnsigned, Detail: "no signature"}
	log := verifier.JournalEntry{Claim: 4, Reason: verifier.ReasonHistory, Detail: "another claim"}
	replica := func(id string) verifier.JournalEntry {
		return verifier.JournalEntry{Commit: commit, Reason: verifier.ReasonAssignment, Detail: "no such spec", Deployment: "shop", Service: "web", Replica: id}
	}
	key := reportKey{commit.String(), "claim 4 refused (unsigned): no signature"}
	for name, test := range map[string]struct {
		reported map[reportKey]int
		journal  []verifier.JournalEntry
		want     []cluster.Event
	}{
		"nothing":             {map[reportKey]int{}, nil, nil},
		"not heard of":        {map[reportKey]int{}, []verifier.JournalEntry{claim, log}, []cluster.Event{claim.Event(), log.Event()}},
		"reported":            {map[reportKey]int{key: 1, {"", "log refused (other-history): another claim"}: 1}, []verifier.JournalEntry{claim, log}, nil},
		"once of twice":       {map[reportKey]int{key: 1}, []verifier.JournalEntry{claim, claim}, []cluster.Event{claim.Event()}},
		"two replicas, alike": {map[reportKey]int{{commit.String(), "no such spec"}: 1}, []verifier.JournalEntry{replica("a"), replica("b")}, []cluster.Event{replica("b").Event()}},
		"of another commit":   {map[reportKey]int{{"", key.message}: 1}, []verifier.JournalEntry{claim}, []cluster.Event{claim.Event()}},
		"an older one too":    {map[reportKey]int{key: 3}, []verifier.JournalEntry{claim}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, notIn(test.reported, test.journal)); diff != "" {
				t.Errorf("reports (-want +got):\n%s", diff)
			}
		})
	}
}
