package main

import (
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/tests/rig"
)

func TestNewClock(t *testing.T) {
	for offset, want := range map[string]time.Duration{"": 0, "1h": time.Hour, "-90s": -90 * time.Second} {
		clock, err := newClock(offset)
		check(t, err)
		if got := time.Until(clock()); got < want-time.Minute || got > want {
			t.Errorf("offset %q: the clock is %s ahead", offset, got)
		}
	}
	if _, err := newClock("soon"); err == nil {
		t.Error("an offset that is none was taken")
	}
	if clockOffset != "" {
		t.Errorf("a build that nobody asked for it has the offset %q", clockOffset)
	}
}

// TestClock runs a node whose clock is an hour ahead: everything that it stamps
// is, and as its own judge goes by the same clock it accepts what it proposed.
func TestClock(t *testing.T) {
	n := newTestNode(t)
	clock, err := newClock("1h")
	check(t, err)
	n.clock = clock
	n.start(t)
	git := rig.StartGit(t)
	alice := rig.Must[*rig.Key](t)(git.NewSSHKey(t.Context(), "alice", "ed25519"))
	result, err := n.client.Init(t.Context(), &rpc.InitRequest{ClusterName: "test", Signers: []rpc.Signer{{Name: "alice", Key: []byte(alice.Public)}}})
	check(t, err)
	repo := rig.Must[*rig.Repo](t)(git.Clone(t.Context(), result.Repo, ""))
	commit := rig.Must[string](t)(repo.CommitFiles(t.Context(), map[string]string{"README": "later"}, rig.CommitOptions{Message: "change", Key: alice}))
	check(t, repo.Push(t.Context()))
	var last *cluster.Status
	n.eventually(t, "the pushed commit to be accepted", func() bool {
		last, err = n.client.Status(t.Context())
		return err == nil && last.Sync.Accepted == commit
	})
	claimed := false
	check(t, n.client.Audit(t.Context(), rpc.AuditRequest{}, func(r cluster.AuditRecord) error {
		claimed = claimed || r.Revision == commit
		if ahead := time.Until(r.Time); ahead < 59*time.Minute {
			t.Errorf("entry %d, %s, is %s ahead of the host's clock, want an hour", r.Number, r.Type, ahead)
		}
		return nil
	}))
	if !claimed {
		t.Errorf("no entry of the log names %s", commit)
	}
	n.stop(t)
}
