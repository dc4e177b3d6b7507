package verifier

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// signedBy lets the claim of a leader that lies be right but for its time.
func (b *bench) signedBy(node *bench, commit signing.Hash, at time.Time) {
	b.t.Helper()
	b.load()
	digest := node.digestOf(commit)
	b.assert(commit, func(c *cluster.Claim) { c.Digest, c.Time = digest, at })
}

// accepts reports whether a follower takes a claim that was made at a time.
func (b *bench) accepts(leader *bench, image string, at time.Time) bool {
	b.t.Helper()
	leader.signedBy(b, leader.deploy(leader.alice, "shop", image), at)
	b.catchUp(leader)
	return b.image("shop") == image
}

// TestAwayForAnHour: what was claimed while a follower did not hear of its
// leader is taken, however it was away; what is back-dated once it hears of the
// leader again is not.
func TestAwayForAnHour(t *testing.T) {
	for name, back := range map[string]func(node, leader *bench, last time.Time){
		"stopped and started": func(node, leader *bench, _ time.Time) {
			node.reopen()
			node.FollowSince(leader.index, node.now)
		},
		"cut off, and hears first": func(node, leader *bench, _ time.Time) { node.FollowSince(leader.index, node.now) },
		"cut off, and reads first": func(_, _ *bench, _ time.Time) {},
		// It asked an hour ago, and reads the answer now.
		"held in the middle of a question": func(node, leader *bench, last time.Time) { node.FollowSince(node.index, last) },
	} {
		t.Run(name, func(t *testing.T) {
			leader, node, _ := chain(t, "web:1")
			node.FollowSince(leader.index, node.now)
			left := node.now
			commit := leader.deploy(leader.alice, "shop", "web:2")
			leader.signedBy(node, commit, left.Add(20*time.Minute))
			node.now = left.Add(time.Hour)
			back(node, leader, left)
			node.catchUp(leader)
			if node.image("shop") != "web:2" || node.Record().Refusal != nil {
				t.Fatalf("an honest claim made meanwhile: %+v", node.Record().Refusal)
			}
			node.FollowSince(leader.index, node.now)
			if node.accepts(leader, "web:3", node.now.Add(-30*time.Minute)) {
				t.Error("a back-dated claim of a live leader was taken")
			}
			if r := node.Record().Refusal; r == nil || r.Reason != ReasonClock || !strings.Contains(r.Detail, "back-dated") {
				t.Errorf("refusal %+v", r)
			}
			if !node.accepts(leader, "web:4", node.now.Add(-4*time.Minute)) {
				t.Error("a claim within the tolerance was refused")
			}
		})
	}
}

// TestARestartForgetsNoContact: a leader that lies, and never tells where its log
// ends, gets nothing dated back to before the node was stopped.
func TestARestartForgetsNoContact(t *testing.T) {
	stopped := func(t *testing.T) (leader, node *bench) {
		leader, node, _ = chain(t, "web:1")
		node.now = node.now.Add(2 * time.Hour)
		node.FollowSince(node.index, node.now)
		node.FollowSince(1<<60, node.now) // which says nothing, and must not take the other's place
		node.judgeAll()
		node.reopen()
		return leader, node
	}
	t.Run("back-dated", func(t *testing.T) {
		leader, node := stopped(t)
		if node.accepts(leader, "web:2", node.now.Add(-time.Hour)) {
			t.Error("a claim was taken that was dated back by an hour")
		}
		if r := node.Record().Refusal; r == nil || r.Reason != ReasonClock || !strings.Contains(r.Detail, "back-dated") {
			t.Errorf("refusal %+v", r)
		}
	})
	t.Run("made meanwhile", func(t *testing.T) {
		leader, node := stopped(t)
		node.now = node.now.Add(time.Hour)
		if !node.accepts(leader, "web:2", node.now.Add(-30*time.Minute)) {
			t.Errorf("an honest claim was refused: %+v", node.Record().Refusal)
		}
	})
	t.Run("by a clock that was wrong", func(t *testing.T) {
		leader, node := stopped(t)
		node.now = node.now.Add(-90 * time.Minute)
		node.reopen()
		if !node.accepts(leader, "web:2", node.now.Add(-10*time.Minute)) {
			t.Errorf("an honest claim was refused: %+v", node.Record().Refusal)
		}
	})
}

// TestContactsAreKeptSeldom: an idle node does not write its disk every second.
func TestContactsAreKeptSeldom(t *testing.T) {
	_, node, _ := chain(t, "web:1")
	kept := map[Heard]bool{}
	for range 601 {
		node.now = node.now.Add(time.Second)
		node.FollowSince(node.index, node.now)
		node.judgeAll()
		kept[*node.Record().Heard] = true
	}
	if len(kept) != 3 {
		t.Errorf("%d contacts were kept in 10 minutes, want 3", len(kept))
	}
}

// TestWhatALeaderSaysDoesNotWiden: a leader that overstates its log, or takes the
// state back, gets no earlier time accepted than before it lied.
func TestWhatALeaderSaysDoesNotWiden(t *testing.T) {
	for name, lie := range map[string]func(node, leader *bench){
		"a log that is far ahead": func(node, _ *bench) { node.FollowSince(1<<60, node.now) },
		"a log that is far ahead, again and again": func(node, _ *bench) {
			for i := range uint64(200) {
				node.FollowSince(1<<60+i, node.now)
			}
		},
		"a state that is taken back": func(node, leader *bench) {
			liar := leader.fork(leader.index - 6)
			if _, ok := liar.state.Read().Claim(1); !ok {
				node.t.Fatal("the first claim is gone as well: the test shows nothing")
			}
			node.install(liar)
			leader.log, leader.index = leader.log[:liar.index], liar.index
			leader.state, leader.objects = liar.state, liar.objects
		},
	} {
		t.Run(name, func(t *testing.T) {
			leader, node, _ := chain(t, "web:1")
			for range 6 {
				leader.apply(leader.now, &cluster.SetSync{State: cluster.SyncSynced})
			}
			node.catchUp(leader)
			node.now = node.now.Add(2 * time.Hour)
			node.FollowSince(node.index, node.now)
			lie(node, leader)
			if node.accepts(leader, "web:2", node.now.Add(-time.Hour)) && node.Record().Time.Before(node.now.Add(-clockTolerance)) {
				t.Errorf("a claim was judged by the time %v at %v", node.Record().Time, node.now)
			}
		})
	}
}

// TestAClaimBelowWhatWasSeen: a claim that a state did not have is new to the
// next one, whatever index it is put under.
func TestAClaimBelowWhatWasSeen(t *testing.T) {
	leader, node, _ := chain(t, "web:1")
	forked := leader.index
	for range 6 {
		leader.apply(leader.now, &cluster.SetSync{State: cluster.SyncSynced})
	}
	node.catchUp(leader)
	node.now = node.now.Add(2 * time.Hour)
	node.FollowSince(node.index, node.now)
	liar := leader.fork(forked)
	liar.signedBy(node, leader.deploy(leader.alice, "shop", "web:2"), node.now.Add(-time.Hour))
	for liar.index <= node.index {
		liar.apply(liar.now, &cluster.SetSync{State: cluster.SyncSynced})
	}
	node.install(liar)
	if r := node.Record().Refusal; node.image("shop") != "web:1" || r == nil || r.Reason != ReasonClock {
		t.Errorf("the node runs %s, refusal %+v", node.image("shop"), r)
	}
}

// expiring is a policy in which alice's time ends.
const expiring = `version: 2
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: [keys/alice.pub], valid_until: 2026-11-23T12:30:00Z}
rules:
  - {paths: ["deployments/**"], approvals: 1}
`

// TestNoLogRevivesAKey: alice's key ends at half past twelve. A leader that
// replaces the log by one that is older than that gets nothing of hers accepted
// any more, while what it names with good keys is taken.
func TestNoLogRevivesAKey(t *testing.T) {
	leader, node, _ := chain(t, "web:1")
	trust := leader.commit(leader.alice, map[string]string{"trust.yaml": expiring})
	leader.claim(trust, nil)
	forked := leader.index
	other := leader.deploy(leader.alice, "shop", "web:2")
	leader.signedBy(leader, other, leader.now.Add(time.Minute))
	node.now = node.now.Add(2 * time.Minute)
	node.catchUp(leader)
	if node.image("shop") != "web:2" {
		t.Fatalf("the node runs %s: %+v", node.image("shop"), node.Record().Refusal)
	}
	node.now = node.now.Add(time.Hour)
	node.FollowSince(node.index, node.now)

	late := leader.deploy(leader.alice, "shop", "evil:1")
	liar := leader.fork(forked)
	liar.signedBy(node, late, liar.now.Add(10*time.Minute))
	node.install(liar)
	if node.image("shop") != "web:2" {
		t.Errorf("the node runs %s", node.image("shop"))
	}
	if r := node.Record().Refusal; r == nil || r.Reason != signing.ReasonExpired {
		t.Errorf("refusal %+v", r)
	}
}

// TestHonestLogAfterALie: a node that was held by a leader that lied for an hour
// takes the claims that were made meanwhile elsewhere, and judges none of them by
// a time that it cannot vouch for.
func TestHonestLogAfterALie(t *testing.T) {
	leader, node, _ := chain(t, "web:1")
	liar := leader.fork(leader.index)
	for range 20 {
		liar.apply(liar.now, &cluster.SetSync{State: cluster.SyncSynced})
	}
	forged := leader.deploy(leader.mallory, "blog", "evil:1")
	liar.load()
	liar.assert(forged, nil)
	if err := leader.repo.Reset(t.Context(), "HEAD~1"); err != nil {
		t.Fatal(err)
	}
	node.catchUp(liar)
	leader.signedBy(leader, leader.deploy(leader.alice, "shop", "web:2"), leader.now.Add(10*time.Minute))
	node.now = node.now.Add(time.Hour)
	node.FollowSince(node.index, node.now)

	node.install(leader)
	if node.image("shop") != "web:2" || node.Record().Refusal != nil {
		t.Fatalf("the node runs %s, refusal %+v", node.image("shop"), node.Record().Refusal)
	}
	if floor := node.now.Add(-clockTolerance); node.Record().Time.Before(floor) {
		t.Errorf("judged by %v at %v", node.Record().Time, node.now)
	}
	// Once the leader says that this is all there is, times are taken at their
	// word again.
	node.FollowSince(leader.index, node.now)
	node.judgeAll()
	if node.accepts(leader, "web:3", node.now.Add(-time.Hour)) {
		t.Error("a back-dated claim was taken")
	}
	if !node.accepts(leader, "web:4", node.now) {
		t.Errorf("refusal %+v", node.Record().Refusal)
	}
}

// TestClockSetBack: a node whose clock was an hour ahead refuses honest claims
// until it is right again, and no longer.
func TestClockSetBack(t *testing.T) {
	leader, node, _ := chain(t, "web:1")
	right := node.now
	node.now = right.Add(time.Hour)
	node.FollowSince(leader.index, node.now)
	if node.accepts(leader, "web:2", right) {
		t.Error("a claim that seems an hour old was taken")
	}
	node.now = right.Add(time.Minute)
	if !node.accepts(leader, "web:3", node.now) {
		t.Errorf("with the clock right again: %+v", node.Record().Refusal)
	}
}

// TestClockSetBackAfterAccepting: what a node accepted while its clock was an
// hour ahead does not keep it from following once the clock is right.
func TestClockSetBackAfterAccepting(t *testing.T) {
	leader, node, _ := chain(t, "web:1")
	right := node.now
	node.now = right.Add(time.Hour)
	if !node.accepts(leader, "web:2", node.now) {
		t.Fatalf("a claim of its own time: %+v", node.Record().Refusal)
	}
	node.now = right.Add(time.Minute)
	if !node.accepts(leader, "web:3", node.now) {
		t.Errorf("with the clock right again: %+v", node.Record().Refusal)
	}
	if got := node.Record().Time; got.After(node.now) {
		t.Errorf("the record's time is %v, at %v", got, node.now)
	}
	if node.accepts(leader, "web:4", node.now.Add(-time.Second)) {
		t.Error("a claim was taken that is older than the last")
	}
}

// TestContactsAreSound: whatever order contacts come in, an entry of a log that
// grows is never said to be made after a moment that it was made before.
func TestContactsAreSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l liveness
		now := time.Unix(1_000_000, 0)
		made := []time.Time{now} // by index; the log is made as time goes by
		seen := uint64(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "seconds")) * time.Second)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				made = append(made, now)
			case 2: // the leader is asked, and its answer comes at once
				l.hear(uint64(len(made)-1), now)
			case 3: // a part of the log is judged
				upTo := rapid.Uint64Range(seen, uint64(len(made)-1)).Draw(t, "to")
				for i := seen + 1; i <= upTo; i++ {
					if after := l.madeAfter(i, now); after.After(made[i]) {
						t.Fatalf("entry %d was made at %v, said to be after %v", i, made[i], after)
					}
				}
				seen = upTo
				l.reached(seen)
			}
			if len(l.contacts) > maxContacts {
				t.Fatalf("%d contacts are kept", len(l.contacts))
			}
		}
		// With all judged, the last contact is what counts for what comes.
		l.hear(uint64(len(made)-1), now)
		l.reached(uint64(len(made) - 1))
		if after := l.madeAfter(uint64(len(made)), now); !after.Equal(now) || len(l.contacts) != 1 {
			t.Fatalf("the next entry is said to be after %v at %v, by %d contacts", after, now, len(l.contacts))
		}
	})
}
