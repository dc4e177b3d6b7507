package verifier

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// treatment is one node under honest leaders and leaders that lie, in turns.
type treatment struct {
	*rapid.T
	base    *bench                    // whose log begins every log
	good    []signing.Hash            // a chain of commits that alice signed
	bad     []signing.Hash            // and commits beside it that she did not
	digests map[signing.Hash][32]byte // of the good ones

	leader, node *bench
	follows      *bench // whose log the node's is the beginning of
	claimed      int    // of good, by the honest leader
	reached      int    // of good, by the node
}

// member makes a member over the base's log, on a disk of its own.
func (w *treatment) member(dir string) *bench {
	n := w.base.node(w.base.t)
	n.dir, n.now = dir, w.base.now
	if _, err := PinAnchor(n.dir, testCluster, w.base.objects, w.base.anchor); err != nil {
		w.Fatal(err)
	}
	n.open()
	n.catchUp(w.base)
	return n
}

// claims appends a claim that is right but for what its leader lies about.
func (w *treatment) claims(b *bench, commit signing.Hash, at time.Time) {
	b.assert(commit, func(c *cluster.Claim) { c.Digest, c.Time = w.digests[commit], at })
}

func (w *treatment) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"honest claim": func(t *rapid.T) {
			if w.claimed == len(w.good)-1 { // the last one is for the end
				t.Skip()
			}
			w.claims(w.leader, w.good[w.claimed], w.node.now)
			w.claimed++
		},
		"honest log":      func(*rapid.T) { w.deliver(w.leader) },
		"honest snapshot": func(*rapid.T) { w.install(w.leader) },
		"honest contact":  func(*rapid.T) { w.node.FollowSince(w.leader.index, w.node.now) },
		"lie": func(t *rapid.T) {
			liar := w.leader.fork(rapid.Uint64Range(w.base.index, w.leader.index).Draw(t, "fork"))
			for range rapid.IntRange(0, 4).Draw(t, "entries") {
				if rapid.IntRange(0, 3).Draw(t, "empty") == 0 {
					liar.apply(w.node.now, &cluster.SetSync{State: cluster.SyncSynced})
					continue
				}
				commit := rapid.SampledFrom(slices.Concat(w.good[:len(w.good)-1], w.bad, []signing.Hash{w.base.anchor})).Draw(t, "commit")
				w.claims(liar, commit, w.node.now.Add(time.Duration(rapid.IntRange(-120, 4).Draw(t, "minutes"))*time.Minute))
			}
			if w.follows == w.leader && slices.EqualFunc(w.node.log, liar.log[:min(len(liar.log), len(w.node.log))], slices.Equal) && rapid.Bool().Draw(t, "by the log") {
				w.deliver(liar)
				return
			}
			w.install(liar)
		},
		"false contact": func(t *rapid.T) { w.node.FollowSince(rapid.Uint64Range(0, 100).Draw(t, "index"), w.node.now) },
		"restart": func(t *rapid.T) {
			entries := w.node.log
			w.node.reopen()
			w.node.replay(entries[:rapid.IntRange(0, len(entries)).Draw(t, "replayed")]...)
			w.node.judgeAll()
		},
		"time": func(t *rapid.T) {
			w.node.now = w.node.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "minutes")) * time.Minute)
		},
		"": w.check,
	}
}

// deliver brings the rest of a log that the node's is the beginning of.
func (w *treatment) deliver(from *bench) {
	if w.follows != w.leader && w.follows != from || len(w.node.log) > len(from.log) {
		w.install(from)
		return
	}
	w.node.catchUp(from)
	w.follows = from
}

func (w *treatment) install(from *bench) {
	w.node.install(from)
	w.follows = from
}

// check: what the node accepted lies on the good chain and never goes back, and
// what it shows is what it accepted.
func (w *treatment) check(t *rapid.T) {
	record, view := w.node.Record(), w.node.View()
	at := 0
	if record.Position.Commit != w.base.anchor {
		if at = slices.Index(w.good, record.Position.Commit) + 1; at == 0 {
			t.Fatalf("the node accepted %s, which nobody signed", record.Position.Commit)
		}
	}
	if at < w.reached {
		t.Fatalf("the node went back from commit %d to %d", w.reached, at)
	}
	w.reached = at
	if view.Commit != record.Position.Commit || view.Claim != record.Claim || at > 0 && view.Deployments["shop"].Revision != record.Position.Commit {
		t.Fatalf("the view is %+v, the record %+v", view, record)
	}
	kept, err := w.node.store.Load()
	if err != nil || kept.Position.Commit != record.Position.Commit {
		t.Fatalf("on disk %v, %v", kept, err)
	}
}

// TestNeverBackwardsNeverWedged: whatever leaders that lie do to the log of a
// node, it accepts nothing backwards, and the next good claim of an honest leader
// is accepted.
func TestNeverBackwardsNeverWedged(t *testing.T) {
	base := newBench(t)
	w := &treatment{base: base, digests: map[signing.Hash][32]byte{}}
	for i := range 6 {
		if i%2 == 0 {
			w.bad = append(w.bad, base.deploy(base.mallory, "shop", "evil:1"))
			if err := base.repo.Reset(t.Context(), "HEAD~1"); err != nil {
				t.Fatal(err)
			}
		}
		w.good = append(w.good, base.deploy(base.alice, "shop", "web:"+string(rune('1'+i))))
	}
	base.load()
	for _, commit := range w.good {
		judge := base.fork(base.index)
		judge.dir = filepath.Join(t.TempDir(), "trust")
		if _, err := PinAnchor(judge.dir, testCluster, base.objects, base.anchor); err != nil {
			t.Fatal(err)
		}
		judge.open()
		w.digests[commit] = judge.digestOf(commit)
	}
	dirs := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(dirs, "")
		if err != nil {
			rt.Fatal(err)
		}
		w := *w
		w.T, w.leader, w.node = rt, base.fork(base.index), w.member(filepath.Join(dir, "node"))
		w.follows = w.leader
		rt.Repeat(w.actions())

		w.node.now = w.node.now.Add(10 * time.Minute) // no time that was accepted lies ahead
		last := w.good[len(w.good)-1]
		w.claims(w.leader, last, w.node.now)
		w.install(w.leader)
		// After a restart the node cannot tell a shorter log from one on its way,
		// until the leader says that this is all there is.
		w.node.FollowSince(w.leader.index, w.node.now)
		w.node.judgeAll()
		record := w.node.Record()
		if record.Position.Commit != last || record.Refusal != nil || w.node.Problem() != nil {
			rt.Fatalf("the node is at %s with %+v, problem %v", record.Position.Commit, record.Refusal, w.node.Problem())
		}
	})
}
