package forgedleader

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "forged-leader") }

// Time goes back for the first part of the life of the cluster, so that a key
// can expire, and be long expired, within a test.
//
//rig:program jacod-early ./cmd/jacod -X main.clockOffset=-30m
const early = 30 * time.Minute

const (
	replicas = 3
	// soon is ample for a node to judge what it was given.
	soon = 15 * time.Second
	// patience is how long an agent bears with more replicas than are allowed
	// (agent.Config.RejectAfter), and some.
	patience = 60 * time.Second
)

// trial is the cluster and what was signed for it.
type trial struct {
	*stage.Cluster
	t *testing.T
	// Of web, in the order in which they were accepted; only the last runs.
	revisions []string
	// expired is signed by bob, whose key was good until bobUntil.
	expired  string
	bobUntil time.Time
	// unsigned names a foreign image.
	unsigned string
	// aside and old are signed by alice and lead nowhere: beside the last
	// revision, and behind it.
	aside, old string
}

// compose is the one deployment.
func compose(message, image string) map[string]string {
	s := stage.Service{Name: "web", Tag: "1", Replicas: replicas, Check: 300 * time.Millisecond, Env: map[string]string{"MESSAGE": message}}
	if image != "" {
		s.Tag, s.Image = "", image
	}
	return map[string]string{stage.Path("shop"): stage.Compose(s)}
}

// link is where a node's jacod is found; the clock that it has is exchanged.
func link(node *rig.Node) string { return filepath.Join(node.Dir, "jacod-now") }

func setClock(t *testing.T, node *rig.Node, program string) {
	t.Helper()
	path := rig.Must[string](t)(rig.Bin(program))
	if err := os.Remove(link(node)); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	check(t, os.Symlink(path, link(node)))
}

// newTrial forms the cluster half an hour ago, has it accept three revisions
// and a signer whose key expires ten minutes later, and comes back to the
// present.
func newTrial(t *testing.T) *trial {
	t.Helper()
	program := "jacod-early"
	s := &trial{t: t}
	s.Cluster = stage.NewCluster(t, stage.ClusterConfig{
		Nodes: 3, Transport: stage.HTTP,
		// A machine that stands still for a second must not depose the forger: what
		// an honest leader does in between would be another test.
		Settings: map[string]any{"raft": map[string]string{"heartbeat": "3s", "election": "3s", "lease": "3s"}},
		Daemon: func(node *rig.Node, config *rig.DaemonConfig) {
			setClock(t, node, program)
			config.Jacod = link(node)
		},
	})
	bob := s.NewKey("bob")
	s.bobUntil = time.Now().Add(-early + 10*time.Minute).UTC().Truncate(time.Second)
	s.Commit(map[string]string{"keys/bob.pub": bob.Public, "trust.yaml": fmt.Sprintf(`version: 2
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: [keys/alice.pub]}
  bob: {keys: [keys/bob.pub], valid_until: %s}
rules:
  - {paths: ["deployments/**"], approvals: 1}
`, s.bobUntil.Format(time.RFC3339))})
	for _, message := range []string{"first", "second", "third"} {
		s.revisions = append(s.revisions, s.Deploy(compose(message, "")))
	}
	s.forgeCommits(bob)
	program = "jacod"
	check(t, s.stopAll())
	for _, node := range s.Rig.Nodes {
		setClock(t, node, program)
	}
	s.Start()
	s.Converge()
	for _, m := range s.Members() {
		isCurrent(t, m)
	}
	return s
}

// isCurrent waits until a node knows that its state is as far as the log: before
// that it acts on nothing, and refuses nothing.
func isCurrent(t *testing.T, m stage.Member) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: m.Node.NetNS.DialContext}}
	rig.Eventually(t, soon, m.Name()+" to be ready", func(ctx context.Context) (bool, string) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:7080/readyz", nil)
		if err != nil {
			return false, err.Error()
		}
		response, err := client.Do(request)
		if err != nil {
			return false, err.Error()
		}
		defer response.Body.Close()
		said, err := io.ReadAll(response.Body)
		return response.StatusCode == http.StatusOK, fmt.Sprint(string(said), err)
	}, m.Daemon)
}

func (s *trial) stopAll() error {
	for _, m := range s.Members() {
		if err := m.Stop(s.t.Context()); err != nil {
			return err
		}
	}
	return nil
}

// forgeCommits makes, in alice's clone, what nobody pushed.
func (s *trial) forgeCommits(bob *rig.Key) {
	tip, before := s.revisions[2], s.revisions[1]
	at := func(from string) {
		s.Check(s.Repo.Checkout(s.t.Context(), "forgery", from))
	}
	at(tip)
	s.expired = s.CommitAs(bob, compose("by an expired key", ""))
	at(tip)
	s.unsigned = s.CommitAs(nil, compose("by nobody", "evil.example/miner:1"))
	at(before)
	s.aside = s.Commit(compose("beside", ""))
	s.old = before
	s.Check(s.Repo.Checkout(s.t.Context(), "main", ""))
}

// forgery is one lie and what becomes of it.
type forgery struct {
	name    string
	request request
	// reason is what the journal calls it; text is in its detail.
	reason signing.Reason
	text   string
	// refused is in what the state itself says.
	refused string
	slow    bool
}

func (s *trial) forgeries(victims []string) []forgery {
	repo, tip := s.Repo.Dir, s.revisions[2]
	return []forgery{
		{
			name: "more replicas than declared and surge", slow: true,
			request: request{Do: "assign", Repo: repo, Commit: tip, Deployment: "shop", Service: "web", Nodes: victims, Count: 4},
			reason:  verifier.ReasonAssignment, text: "more replicas of shop/web than the accepted revision allows",
		}, {
			name: "a service that no revision has", reason: verifier.ReasonAssignment, text: "no revision that this node accepted has a service shop/miner",
			request: request{Do: "assign", Commit: tip, Deployment: "shop", Service: "miner", Nodes: victims, Spec: strings.Repeat("ab", 32)},
		}, {
			name: "a deployment that no revision has", reason: verifier.ReasonAssignment, text: "no revision that this node accepted has a service mine/miner",
			request: request{Do: "assign", Commit: tip, Deployment: "mine", Service: "miner", Nodes: victims, Spec: strings.Repeat("ab", 32)},
		}, {
			name: "a foreign image that nobody signed", reason: verifier.ReasonAssignment, text: "this node accepted no such spec",
			request: request{Do: "assign", Repo: repo, Commit: s.unsigned, Deployment: "shop", Service: "web", Nodes: victims},
		}, {
			name: "a roll-back two steps behind", reason: verifier.ReasonAssignment, text: "this node accepted no such spec",
			request: request{Do: "assign", Repo: repo, Commit: s.revisions[0], Deployment: "shop", Service: "web", Nodes: victims},
		}, {
			name: "an unsigned commit", reason: signing.ReasonUnsigned, text: "no signature",
			request: request{Do: "claim", Repo: repo, Commit: s.unsigned},
		}, {
			name: "a back-dated entry for an expired key", reason: verifier.ReasonClock, text: "back-dated",
			request: request{Do: "claim", Repo: repo, Commit: s.expired, Time: s.bobUntil.Add(-time.Minute)},
		}, {
			name: "an expired key", text: "bob",
			request: request{Do: "claim", Repo: repo, Commit: s.expired},
		}, {
			name: "a branch beside", request: request{Do: "claim", Repo: repo, Commit: s.aside},
		}, {
			name: "an old tip", request: request{Do: "claim", Repo: repo, Commit: s.old},
		}, {
			name: "another anchor", refused: cluster.ErrExists.Error(), request: request{Do: "anchor", Commit: s.aside},
		},
	}
}

// wanted is what a witness is to have in its journal for a forgery.
func (f forgery) wanted(a answer, w *witness, nodes []string) []func(verifier.JournalEntry) bool {
	fits := func(e verifier.JournalEntry) bool {
		return (f.reason == "" || e.Reason == f.reason) && strings.Contains(e.Detail, f.text)
	}
	if a.Claim != 0 {
		return []func(verifier.JournalEntry) bool{func(e verifier.JournalEntry) bool { return e.Claim == a.Claim && fits(e) }}
	}
	var all []func(verifier.JournalEntry) bool
	each := len(a.Replicas) / max(len(nodes), 1)
	for i, replica := range a.Replicas {
		if nodes[i/each] == w.Name() {
			all = append(all, func(e verifier.JournalEntry) bool { return e.Replica == replica && fits(e) })
		}
	}
	return all
}

// TestForgedLeader has a leader lie by the log, then by a snapshot.
func TestForgedLeader(t *testing.T) {
	s := newTrial(t)
	t.Run("log", func(t *testing.T) {
		s.on(t)
		s.byLog(t)
	})
	if !t.Failed() {
		t.Run("snapshot", func(t *testing.T) {
			s.on(t)
			s.bySnapshot(t)
		})
	}
}

// on makes a test the one that fails.
func (s *trial) on(t *testing.T) { s.t, s.T = t, t }

// byLog puts every lie into the log that honest nodes follow live.
func (s *trial) byLog(t *testing.T) {
	liar := s.Leader()
	var honest []stage.Member
	var names []string
	for _, m := range s.Members() {
		if m.Name() != liar.Name() {
			honest, names = append(honest, m), append(names, m.Name())
		}
	}
	f := takeOver(t, liar)
	witnesses := watch(t, s.revisions[2], honest...)
	// What a leader may do takes its place first: one more replica than declared,
	// where it harms nobody.
	f.do(request{Do: "assign", Repo: s.Repo.Dir, Commit: s.revisions[2], Deployment: "shop", Service: "web", Nodes: []string{liar.Name()}})

	forgeries := s.forgeries(names)
	answers := map[string]answer{}
	for _, lie := range forgeries {
		answers[lie.name] = f.do(lie.request)
		if lie.slow {
			continue
		}
		s.judge(t, lie, answers[lie.name], witnesses, names, soon)
	}
	for _, lie := range forgeries {
		if lie.slow {
			s.judge(t, lie, answers[lie.name], witnesses, names, patience)
		}
	}
	f.stop()
	s.afterwards(t, liar, witnesses, forgeries, answers)
}

func (s *trial) judge(t *testing.T, lie forgery, a answer, witnesses []*witness, nodes []string, within time.Duration) {
	t.Run(strings.ReplaceAll(lie.name, " ", "-"), func(t *testing.T) {
		if !strings.Contains(a.Refused, lie.refused) || a.Refused != "" && lie.refused == "" {
			t.Errorf("the state says %q, want %q", a.Refused, lie.refused)
		}
		for _, w := range witnesses {
			w.reacts(t, within, a.Index, lie.wanted(a, w, nodes)...)
			if a.Claim != 0 {
				w.says(t, fmt.Sprintf("refuses claim %d", a.Claim))
			} else if lie.refused == "" {
				w.says(t, lie.text)
			}
		}
	})
}

// afterwards has an honest jacod take the liar's place.
func (s *trial) afterwards(t *testing.T, liar stage.Member, witnesses []*witness, forgeries []forgery, answers map[string]answer) {
	t.Helper()
	s.Start(liar)
	leader := s.Leader()
	t.Logf("%s leads", leader.Name())
	var names, texts []string
	for _, w := range witnesses {
		names = append(names, w.Name())
	}
	for _, lie := range forgeries {
		if a := answers[lie.name]; a.Claim != 0 {
			texts = append(texts, fmt.Sprintf("claim %d refused", a.Claim))
		} else if lie.text != "" {
			texts = append(texts, lie.text)
		}
	}
	before := map[string]int{}
	for _, w := range witnesses {
		w.blamed(t, soon, names, texts...)
		before[w.Name()] = len(w.journal(t))
	}
	if out := witnesses[0].Jaco("audit", "--type", string(cluster.KindInitCluster), "-o", "json"); strings.Count(out, cluster.ErrExists.Error()) != 1 {
		t.Errorf("the audit log does not show the refused initialization:\n%s", out)
	}
	for _, w := range witnesses {
		check(t, w.Restart(t.Context()))
	}
	for _, w := range witnesses {
		if got := len(w.journal(t)); got < before[w.Name()] {
			t.Errorf("%s: its journal has %d entries after a restart, had %d", w.Name(), got, before[w.Name()])
		}
	}
	next := s.Deploy(compose("after the lies", ""))
	s.revisions = append(s.revisions, next)
	s.runsEverywhere(t, next, "shop", replicas)
	for _, m := range s.Members() {
		m.T = t
		out := m.Jaco("audit", "verify", "--anchor", s.Anchor)
		for _, lie := range forgeries {
			if a := answers[lie.name]; a.Claim != 0 && !strings.Contains(out, fmt.Sprintf("claim %d of commit %.12s does not hold", a.Claim, lie.request.Commit)) {
				t.Errorf("%s: audit verify does not name claim %d, %s:\n%s", m.Name(), a.Claim, lie.name, out)
			}
		}
		if !strings.HasPrefix(out, "verified: ") {
			t.Errorf("%s: audit verify says:\n%s", m.Name(), out)
		}
	}
}

// runsEverywhere waits until every member has accepted a commit, and says that
// each runs one of the replicas of a deployment's web.
func (s *trial) runsEverywhere(t *testing.T, commit, deployment string, count int) {
	t.Helper()
	s.Eventually(60*time.Second, "the commit to run on every node", func(status *cluster.Status) (bool, string) {
		service := stage.FindService(status, deployment, "web")
		if service == nil || status.Sync.Accepted != commit || service.Healthy != count || service.Updated != count {
			return false, stage.Summary(status)
		}
		nodes := map[string]bool{}
		for _, r := range service.Replicas {
			nodes[r.Node] = r.Phase == cluster.Healthy
		}
		return len(nodes) == count && len(service.Replicas) == count, stage.Summary(status)
	})
}
