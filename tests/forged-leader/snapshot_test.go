package forgedleader

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/tests/stage"
)

// downWithin is ample for a silent node to be known as down.
const downWithin = 40 * time.Second

// bySnapshot gives a node that lags a state that was made up, twice: with a
// history that was cut and continued with lies, and of another anchor. Then both
// machines are made anew, as docs/operations.md says.
func (s *trial) bySnapshot(t *testing.T) {
	victim := s.AddMember()
	tip := s.revisions[len(s.revisions)-1]
	victim.Eventually(soon, "to have accepted what runs", func(status *cluster.Status) (bool, string) {
		return status.Sync.Accepted == tip, stage.Summary(status)
	})
	last := victim.Status().Sync.Claim
	liar := s.Leader()
	var honest []stage.Member
	for _, m := range s.Members() {
		if m.Name() != liar.Name() {
			honest = append(honest, m)
		}
	}
	check(t, victim.Kill(t.Context()))
	f := takeOver(t, liar)
	witnesses := watch(t, tip, honest...)
	lagging := witnesses[len(witnesses)-1]

	t.Run("cut-history", func(t *testing.T) {
		a := f.do(request{Do: "snapshot", Cut: true, Claims: last - 1, With: s.lies(liar.Name(), victim.Name(), tip)})
		check(t, victim.Start(t.Context()))
		wanted := []func(verifier.JournalEntry) bool{
			func(e verifier.JournalEntry) bool { return e.Reason == verifier.ReasonHistory },
			func(e verifier.JournalEntry) bool { return e.Claim == last && e.Commit.String() == s.unsigned },
		}
		for _, replica := range a.Replicas[1:] { // the first is where it harms nobody
			wanted = append(wanted, func(e verifier.JournalEntry) bool {
				return e.Replica == replica && e.Reason == verifier.ReasonAssignment
			})
		}
		lagging.reacts(t, patience, a.Index, wanted...)
		lagging.says(t, "which this node accepted, is not in it")
	})
	t.Run("another-anchor", func(t *testing.T) {
		check(t, victim.Kill(t.Context()))
		a := f.do(request{Do: "snapshot", Replace: true, Commit: s.aside, With: s.lies(liar.Name(), victim.Name(), tip)})
		check(t, victim.Start(t.Context()))
		lagging.reacts(t, soon, a.Index, func(e verifier.JournalEntry) bool {
			return e.Reason == verifier.ReasonHistory && strings.Contains(e.Detail, "anchored at "+s.aside)
		})
		lagging.says(t, "this node pinned "+s.Anchor)
	})
	for _, w := range witnesses {
		w.startedNothing(t)
	}
	entries := len(lagging.journal(t))
	check(t, victim.Restart(t.Context()))
	if got := len(lagging.journal(t)); got < entries {
		t.Errorf("the journal has %d entries after a restart, had %d", got, entries)
	}
	f.stop()
	s.renew(t, liar, victim)
}

// lies are what the made-up state goes on with.
func (s *trial) lies(liar, victim, tip string) []request {
	repo := s.Repo.Dir
	on := func(commit, service, spec string, count int, node string) request {
		r := request{Do: "assign", Commit: commit, Deployment: "shop", Service: service, Spec: spec, Count: count, Nodes: []string{node}}
		if spec == "" {
			r.Repo = repo
		}
		return r
	}
	return []request{
		{Do: "claim", Repo: repo, Commit: s.unsigned},
		on(tip, "web", "", 1, liar), // the one that a leader may add
		on(tip, "web", "", 4, victim),
		on(tip, "miner", strings.Repeat("ab", 32), 1, victim),
		on(s.unsigned, "web", "", 1, victim),
		on(s.revisions[0], "web", "", 1, victim),
	}
}

// renew makes the machines of the liar and of who was given a made-up state
// anew, and has them join again; the next commit runs.
func (s *trial) renew(t *testing.T, machines ...stage.Member) {
	t.Helper()
	for _, m := range machines {
		check(t, m.Kill(t.Context())) // an announced stop is borne for a minute
		check(t, os.RemoveAll(m.DataDir))
	}
	leader := s.Leader()
	for _, m := range machines {
		leader.Eventually(downWithin, m.Name()+" to be down", func(status *cluster.Status) (bool, string) {
			node := stage.Node(status, m.Name())
			return node != nil && node.State == cluster.NodeDown, stage.Summary(status)
		})
	}
	for _, m := range machines {
		check(t, m.Start(t.Context()))
		s.Join(m)
	}
	// Replicas that run do not move to the new machines; those of a new
	// deployment are spread over all.
	const name = "more"
	next := s.Deploy(map[string]string{stage.Path(name): stage.Compose(stage.Service{Name: "web", Tag: "2", Replicas: len(s.Members())})})
	s.runsEverywhere(t, next, name, len(s.Members()))
}
