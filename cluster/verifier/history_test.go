package verifier

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// chain makes an honest leader that accepted one commit after the other, and a
// follower of it. It returns the commits.
func chain(t *testing.T, images ...string) (leader, node *bench, commits []signing.Hash) {
	t.Helper()
	leader = newBench(t)
	for _, image := range images {
		commit := leader.deploy(leader.alice, "shop", image)
		leader.claim(commit, nil)
		commits = append(commits, commit)
	}
	return leader, leader.follower(t), commits
}

// TestAStateThatIsReplaced gives a follower the state of a leader that lies, and
// then the honest one back: it keeps its view, says so in journal, event and
// problem, and goes on with the next good claim.
func TestAStateThatIsReplaced(t *testing.T) {
	for _, test := range []struct {
		name  string
		forge func(t *testing.T, leader *bench, commits []signing.Hash) *bench
		want  string // in the journal
	}{
		{"the last claim is another", func(_ *testing.T, leader *bench, commits []signing.Hash) *bench {
			liar := leader.fork(leader.index - 1)
			liar.assert(commits[0], nil)
			return liar
		}, "claim 3, which this node judged, is another one now"},
		{"all claims are others", func(_ *testing.T, leader *bench, commits []signing.Hash) *bench {
			liar := leader.fork(2) // the cluster and the anchor's objects
			liar.load()
			for range 4 {
				liar.assert(commits[0], nil)
			}
			return liar
		}, "claim 3, which this node judged, is another one now"},
		{"the end is cut off", func(_ *testing.T, leader *bench, _ []signing.Hash) *bench {
			return leader.fork(leader.index - 1)
		}, "the log ends with claim 2"},
		{"everything is cut off", func(_ *testing.T, leader *bench, _ []signing.Hash) *bench {
			return leader.fork(1)
		}, "the log ends with claim 0"},
		{"the end is cut off and the log goes on", func(_ *testing.T, leader *bench, _ []signing.Hash) *bench {
			liar := leader.fork(leader.index - 1)
			for range 5 {
				liar.apply(liar.now, &cluster.SetSync{State: cluster.SyncSynced})
			}
			return liar
		}, "the log ends with claim 2"},
		{"it is another cluster's", func(t *testing.T, leader *bench, _ []signing.Hash) *bench {
			liar := leader.node(t)
			liar.apply(liar.now, genesisOf("fedcba9876543210", leader.anchor))
			return liar
		}, "the state is that of cluster fedcba9876543210"},
		{"it has another anchor", func(t *testing.T, leader *bench, commits []signing.Hash) *bench {
			liar := leader.node(t)
			liar.apply(liar.now, genesisOf(testCluster, commits[1]))
			return liar
		}, "the state is anchored at"},
		{"it is empty", func(t *testing.T, leader *bench, _ []signing.Hash) *bench { return leader.node(t) }, "the state is empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			leader, node, commits := chain(t, "web:1", "web:2", "web:3")
			before := node.View()
			node.install(test.forge(t, leader, commits))
			if node.image("shop") != "web:3" || node.View().Commit != before.Commit || node.Record().Position.Commit != commits[2] {
				t.Errorf("the node runs %s at %s", node.image("shop"), node.View().Commit)
			}
			if problem := node.Problem(); problem == nil {
				t.Error("nothing is said to be wrong")
			}
			entries, err := node.Refused()
			if err != nil || len(entries) == 0 || entries[0].Reason != ReasonHistory || !strings.Contains(entries[0].Detail, test.want) {
				t.Errorf("journal %+v, %v; want %q", entries, err, test.want)
			}
			if len(node.events) != len(entries) || node.events[0].Type != cluster.EventLeaderMisbehaviour {
				t.Errorf("events %+v", node.events)
			}
			node.judgeAll()
			if _, again := node.lastEntry(); again != len(entries) {
				t.Errorf("%d entries for one lie, then %d", len(entries), again)
			}

			node.install(leader)
			if problem := node.Problem(); problem != nil {
				t.Errorf("with the honest state back: %v", problem)
			}
			next := leader.deploy(leader.alice, "shop", "web:4")
			leader.claim(next, nil)
			node.catchUp(leader)
			if node.image("shop") != "web:4" || node.Record().Refusal != nil || node.Record().Claim != 4 {
				t.Errorf("after the next good claim the node runs %s, refusal %+v", node.image("shop"), node.Record().Refusal)
			}
			if _, now := node.lastEntry(); now != len(entries) {
				t.Errorf("the honest leader was blamed: %d entries, then %d", len(entries), now)
			}
		})
	}
}

func genesisOf(id string, anchor signing.Hash) *cluster.InitCluster {
	return &cluster.InitCluster{
		Meta: cluster.Meta{ID: id, Name: "test", CA: []byte("pem"), Repo: cluster.Repo{URL: "/srv/fleet.git", Branch: "main"}, Anchor: anchor},
		Node: cluster.Node{Name: "n1", Address: "127.0.0.1:7000", CertificateKey: [32]byte{1}, SealKey: "age1x", State: cluster.NodeReady},
	}
}

// TestAForgedClaimThatIsReplaced: the node refused a claim that only it was
// given; the log that replaces it has an honest claim of the same number at the
// same index.
func TestAForgedClaimThatIsReplaced(t *testing.T) {
	leader, node, _ := chain(t, "web:1", "web:2")
	good := leader.deploy(leader.alice, "shop", "web:3")
	liar := leader.fork(leader.index)
	liar.load()
	liar.assert(good, func(c *cluster.Claim) { c.Digest[0] = 1 })
	node.catchUp(liar)
	if refusal := node.Record().Refusal; refusal == nil || refusal.Reason != ReasonDigest || node.Record().Claim != 3 {
		t.Fatalf("the forged claim: %+v", refusal)
	}
	leader.claim(good, nil)
	if leader.index != node.index {
		t.Fatalf("the logs end at %d and %d: the test shows nothing", leader.index, node.index)
	}
	node.install(leader)
	if node.image("shop") != "web:3" || node.Record().Refusal != nil || node.Problem() != nil {
		t.Errorf("the node runs %s, refusal %+v, problem %v", node.image("shop"), node.Record().Refusal, node.Problem())
	}
}

// TestAnAcceptedClaimThatIsReplaced: what only this node was given was signed
// well, so that it is ahead of the honest log. That log is followed all the same
// once it has come as far.
func TestAnAcceptedClaimThatIsReplaced(t *testing.T) {
	leader, node, commits := chain(t, "web:1")
	for _, image := range []string{"web:2", "web:3"} {
		commits = append(commits, leader.deploy(leader.alice, "shop", image))
	}
	liar := leader.fork(leader.index)
	liar.load()
	for _, commit := range commits[1:] {
		liar.assert(commit, func(c *cluster.Claim) { c.Digest = node.digestOf(commit) })
	}
	node.catchUp(liar)
	if node.image("shop") != "web:3" {
		t.Fatalf("the node runs %s", node.image("shop"))
	}
	_, before := node.lastEntry()

	leader.claim(commits[1], nil) // the honest leader comes to the commit before
	node.install(leader)
	if node.image("shop") != "web:3" || !errors.Is(node.Problem(), ErrReplaced) {
		t.Errorf("the node runs %s, problem %v", node.image("shop"), node.Problem())
	}
	if entry, now := node.lastEntry(); now != before+1 || entry.Reason != ReasonHistory {
		t.Errorf("journal ends with %+v", entry)
	}
	if node.View().Claim != 2 {
		t.Errorf("the view has judged up to claim %d, want 2", node.View().Claim)
	}
	leader.claim(commits[2], nil) // and to the same
	node.catchUp(leader)
	if node.Problem() != nil || node.Record().Refusal != nil || node.Record().Position.Commit != commits[2] {
		t.Errorf("problem %v, refusal %+v", node.Problem(), node.Record().Refusal)
	}
	leader.claim(leader.deploy(leader.alice, "shop", "web:4"), nil) // and beyond
	node.catchUp(leader)
	if _, now := node.lastEntry(); node.image("shop") != "web:4" || now != before+1 {
		t.Errorf("the node runs %s, %d entries", node.image("shop"), now)
	}
}

// TestAStateOnItsWay: after a restart the state is empty and grows to where it
// was. That is no lie, and nothing is judged twice.
func TestAStateOnItsWay(t *testing.T) {
	leader, node, _ := chain(t, "web:1", "web:2")
	leader.claim(leader.deploy(leader.mallory, "shop", "evil:1"), nil)
	node.catchUp(leader)
	_, before := node.lastEntry()
	node.reopen()
	if node.image("shop") != "web:2" {
		t.Fatalf("without a state the node runs %s", node.image("shop"))
	}
	for range leader.log {
		if !errors.Is(node.Problem(), ErrWaiting) {
			t.Fatalf("at entry %d: %v", node.index, node.Problem())
		}
		node.replay(leader.log[node.index])
		node.judgeAll()
	}
	if node.Problem() != nil || node.image("shop") != "web:2" {
		t.Errorf("problem %v, image %s", node.Problem(), node.image("shop"))
	}
	if _, now := node.lastEntry(); now != before || len(node.events) != 1 {
		t.Errorf("%d entries, then %d; events %+v", before, now, node.events)
	}
}

// TestACutLogAfterARestart: the state never comes as far as it was, because the
// leader has no more. What the leader says tells that from a state on its way.
func TestACutLogAfterARestart(t *testing.T) {
	leader, node, commits := chain(t, "web:1", "web:2", "web:3")
	recovered := leader.fork(leader.index - 3) // claim 2 is the last
	node.reopen()
	node.catchUp(recovered)
	if !errors.Is(node.Problem(), ErrWaiting) {
		t.Fatalf("problem %v", node.Problem())
	}
	node.FollowLive(recovered.index + 9)
	node.judgeAll()
	if !errors.Is(node.Problem(), ErrWaiting) {
		t.Fatalf("while the leader has more: %v", node.Problem())
	}
	node.FollowLive(recovered.index)
	select {
	case <-node.poke:
	default:
		t.Error("nobody looks again")
	}
	node.judgeAll()
	if entry, _ := node.lastEntry(); !errors.Is(node.Problem(), ErrReplaced) || entry.Reason != ReasonHistory {
		t.Errorf("problem %v, journal %+v", node.Problem(), entry)
	}
	for _, commit := range []signing.Hash{commits[2], leader.deploy(leader.alice, "shop", "web:4")} {
		recovered.load()
		recovered.assert(commit, func(c *cluster.Claim) { c.Digest = node.digestOf(commit) })
		node.catchUp(recovered)
	}
	if node.image("shop") != "web:4" || node.Problem() != nil {
		t.Errorf("the node runs %s, problem %v", node.image("shop"), node.Problem())
	}
}

// TestOldLogsAreNotJudgedWhole: of a log that does not hold what this node
// accepted the newest claims are enough.
func TestOldLogsAreNotJudgedWhole(t *testing.T) {
	leader, node, commits := chain(t, "web:1")
	bad := leader.deploy(leader.mallory, "shop", "evil:1")
	liar := leader.fork(2)
	liar.load()
	for range judgedAgain + 20 {
		liar.assert(bad, nil)
	}
	node.install(liar)
	if _, entries := node.lastEntry(); entries != judgedAgain+1 { // and one on the log as a whole
		t.Errorf("%d entries", entries)
	}
	if node.Record().Position.Commit != commits[0] || node.Record().Claim != judgedAgain+20 {
		t.Errorf("record %+v", node.Record())
	}
}

// TestAdoptsTheRecordOfAnEarlierBuild: it has no marks. They are taken from the
// state once it holds the claims.
func TestAdoptsTheRecordOfAnEarlierBuild(t *testing.T) {
	leader, node, _ := chain(t, "web:1", "web:2")
	leader.claim(leader.deploy(leader.mallory, "shop", "evil:1"), nil)
	node.catchUp(leader)
	want := node.Record()
	old := want
	old.Judged, old.Accepted, old.Digest = Mark{}, Mark{}, Digest{}
	if err := node.store.Save(&old); err != nil {
		t.Fatal(err)
	}
	node.reopen()
	node.replay(leader.log[:leader.index-1]...)
	node.judgeAll()
	if !errors.Is(node.Problem(), ErrWaiting) {
		t.Fatalf("before the claims are there: %v", node.Problem())
	}
	node.catchUp(leader)
	got := node.Record()
	if got.Judged != want.Judged || got.Accepted != want.Accepted || node.Problem() != nil {
		t.Errorf("adopted %+v and %+v, want %+v and %+v; %v", got.Judged, got.Accepted, want.Judged, want.Accepted, node.Problem())
	}
	kept, err := node.store.Load()
	if err != nil || kept.Judged != want.Judged {
		t.Errorf("on disk: %+v, %v", kept.Judged, err)
	}
}

// TestMarksDiffer changes each field of a claim alone.
func TestMarksDiffer(t *testing.T) {
	base := cluster.Claim{Number: 1, From: signing.Hash{1}, Commit: signing.Hash{2}, Digest: [32]byte{3}, Time: time.Unix(4, 5), Index: 6}
	marks := map[Mark]string{markOf(base): "nothing"}
	for name, change := range map[string]func(*cluster.Claim){
		"number":  func(c *cluster.Claim) { c.Number++ },
		"from":    func(c *cluster.Claim) { c.From[0]++ },
		"commit":  func(c *cluster.Claim) { c.Commit[0]++ },
		"digest":  func(c *cluster.Claim) { c.Digest[0]++ },
		"second":  func(c *cluster.Claim) { c.Time = c.Time.Add(time.Second) },
		"instant": func(c *cluster.Claim) { c.Time = c.Time.Add(1) },
		"index":   func(c *cluster.Claim) { c.Index++ },
	} {
		c := base
		change(&c)
		if other, same := marks[markOf(c)]; same {
			t.Errorf("changing %s and %s gives one mark", name, other)
		}
		marks[markOf(c)] = name
	}
}
