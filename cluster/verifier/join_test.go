package verifier

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// join returns a node that pinned a checkpoint and has no state yet.
func (b *bench) join(t *testing.T, data []byte) *bench {
	t.Helper()
	n := b.node(t)
	record, err := PinCheckpoint(n.dir, data, CheckpointHash(data))
	if err != nil {
		t.Fatal(err)
	}
	if record.ClusterID != testCluster || record.Checkpoint == nil {
		t.Fatalf("pinned %+v", record)
	}
	n.open()
	n.judgeAll()
	return n
}

func TestJoin(t *testing.T) {
	for name, arrive := range map[string]func(node, leader *bench){
		"by a snapshot": func(node, leader *bench) { node.install(leader) },
		"by the log": func(node, leader *bench) {
			for node.index < leader.index {
				node.replay(leader.log[node.index])
				node.judgeAll()
				if passed := node.state.Read().AuditHead().Number >= node.Record().Checkpoint.Audit.Number; (node.View() != nil) != passed {
					t.Fatalf("at entry %d there is a view: %v", node.index, node.View() != nil)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			leader, _, _ := chain(t, "web:1", "web:2")
			leader.claim(leader.deploy(leader.mallory, "shop", "evil:1"), nil)
			if err := leader.repo.Reset(t.Context(), "HEAD~1"); err != nil {
				t.Fatal(err)
			}
			data := leader.checkpoint()
			leader.claim(leader.deploy(leader.alice, "shop", "web:3"), nil) // after the token was made
			node := leader.join(t, data)
			if node.View() != nil || !errors.Is(node.Problem(), ErrWaiting) {
				t.Fatalf("without a state: view %v, problem %v", node.View(), node.Problem())
			}
			arrive(node, leader)
			if node.View() == nil || node.Problem() != nil || node.image("shop") != "web:3" {
				t.Fatalf("view %+v, problem %v", node.View(), node.Problem())
			}
			if shop := node.View().Deployments["shop"]; shop.Previous == nil || shop.ClaimIndex == 0 {
				t.Errorf("shop is %+v", shop)
			}
			if _, entries := node.lastEntry(); entries != 0 {
				t.Errorf("%d entries in the journal: what was refused before the checkpoint is not judged again", entries)
			}
			leader.claim(leader.deploy(leader.alice, "shop", "web:4"), nil)
			node.catchUp(leader)
			if node.image("shop") != "web:4" {
				t.Errorf("the next claim: %+v", node.Record().Refusal)
			}
			// The check is done: a restarted daemon does not wait for a state.
			node.reopen()
			if node.View() == nil || node.image("shop") != "web:4" {
				t.Error("after a restart there is no view before the state has arrived")
			}
			if checked := node.Record().Checkpoint; checked == nil || !checked.Done || checked.Units != nil {
				t.Errorf("pinned %+v", checked)
			}
			// Who joined can vouch for others.
			node.catchUp(leader)
			another := leader.join(t, node.checkpoint())
			another.install(leader)
			if another.image("shop") != "web:4" {
				t.Errorf("a node that joined by its token: %v", another.Problem())
			}
		})
	}
}

// TestJoinRightAfterInit: nothing was claimed yet.
func TestJoinRightAfterInit(t *testing.T) {
	leader := newBench(t)
	leader.judgeAll()
	node := leader.join(t, leader.checkpoint())
	node.install(leader)
	leader.claim(leader.deploy(leader.alice, "shop", "web:1"), nil)
	node.catchUp(leader)
	if node.View() == nil || node.image("shop") != "web:1" {
		t.Errorf("problem %v, refusal %+v", node.Problem(), node.Record().Refusal)
	}
}

// TestJoinRefuses gives a joining node a state that is not the one its checkpoint
// is of. That is final: not even the right state helps.
func TestJoinRefuses(t *testing.T) {
	leader, _, _ := chain(t, "web:1", "web:2")
	for _, test := range []struct {
		name  string
		spoil func(c *Checkpoint) // the checkpoint
		forge func(t *testing.T, leader *bench) *bench
		want  string
	}{
		{"another cluster", nil, func(t *testing.T, leader *bench) *bench {
			return leader.filled(t, genesisOf("fedcba9876543210", leader.anchor))
		}, "cluster fedcba9876543210"},
		{"another anchor", nil, func(t *testing.T, leader *bench) *bench {
			return leader.filled(t, genesisOf(testCluster, leader.Record().Position.Commit))
		}, "anchored at"},
		{"another history", nil, func(t *testing.T, leader *bench) *bench {
			return leader.filled(t, genesisOf(testCluster, leader.anchor))
		}, "audit entry"},
		{"other content", func(c *Checkpoint) { c.Record.Digest[0]++ }, nil, "the content accepted at"},
		{"other trust", func(c *Checkpoint) { c.Pinned.Trust[0]++ }, nil, "the trust files at"},
		{"other content of what runs", func(c *Checkpoint) {
			unit := c.Pinned.Units["shop"]
			unit.Active[0]++
			c.Pinned.Units["shop"] = unit
		}, nil, "the content of shop"},
		{"other content of what ran before", func(c *Checkpoint) {
			unit := c.Pinned.Units["shop"]
			unit.Previous[0]++
			c.Pinned.Units["shop"] = unit
		}, nil, "the content of shop"},
		{"content that is not there", func(c *Checkpoint) {
			unit := c.Record.Position.Units["shop"]
			unit.Tree = signing.Hash{1}
			c.Record.Position.Units["shop"] = unit
		}, nil, "objects that the checkpoint needs"},
		{"another last claim", func(c *Checkpoint) { c.Record.Judged.Index++ }, nil, "its claim 2 is not the one"},
		{"another accepted claim", func(c *Checkpoint) { c.Record.Accepted.Digest[0]++ }, nil, "its claim 2 is not the one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := leader.checkpoint()
			if test.spoil != nil {
				var c Checkpoint
				if err := json.Unmarshal(data, &c); err != nil {
					t.Fatal(err)
				}
				test.spoil(&c)
				var err error
				if data, err = json.Marshal(&c); err != nil {
					t.Fatal(err)
				}
			}
			node := leader.join(t, data)
			given := leader
			if test.forge != nil {
				given = test.forge(t, leader)
			}
			node.install(given)
			check := func(when string) {
				t.Helper()
				if err := node.Problem(); node.View() != nil || !errors.Is(err, ErrForeignHistory) || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("%s: view %v, problem %v; want %q", when, node.View(), err, test.want)
				}
			}
			check("at first")
			entry, entries := node.lastEntry()
			if entries != 1 || entry.Reason != ReasonForeign || !strings.Contains(entry.Detail, test.want) {
				t.Errorf("%d entries, the last %+v", entries, entry)
			}
			if len(node.events) != 1 || node.events[0].Type != cluster.EventLeaderMisbehaviour {
				t.Errorf("events %+v", node.events)
			}
			node.install(leader)
			check("with the right state")
			node.reopen()
			check("after a restart")
			node.install(leader)
			check("with the right state after a restart")
			if _, err := node.Checkpoint(node.state.Read()); !errors.Is(err, ErrUnsettled) {
				t.Errorf("it vouches for others: %v", err)
			}
		})
	}
}

// filled is a state of another history with as many entries as b's.
func (b *bench) filled(t *testing.T, genesis *cluster.InitCluster) *bench {
	t.Helper()
	n := b.node(t)
	n.apply(n.now, genesis)
	for n.index < b.index {
		n.apply(n.now, &cluster.SetSync{State: cluster.SyncSynced})
	}
	return n
}

// TestJoinWaitsForSegments: the checkpoint's entry has left the state for a
// segment, whose body the node has yet to fetch.
func TestJoinWaitsForSegments(t *testing.T) {
	leader, _, _ := chain(t, "web:1")
	data := leader.checkpoint()
	for len(leader.state.Read().Segments()) < 2 {
		leader.apply(leader.now, &cluster.RecordEvents{Events: []cluster.Event{{Type: cluster.EventConverged}}})
	}
	all := leader.state.Read().Segments()
	snapshot := leader.saved()
	synctest.Test(t, func(t *testing.T) {
		node := leader.node(t)
		if _, err := PinCheckpoint(node.dir, data, CheckpointHash(data)); err != nil {
			t.Fatal(err)
		}
		var problems int
		v, err := Open(Config{
			Directory: node.dir, State: node.state, Objects: node.objects, Branch: "main", Now: time.Now,
			Logger: slog.New(slog.DiscardHandler), Misbehaviour: func(cluster.Event) { problems++ },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- v.Run(ctx) }()
		waiting := func(want string) {
			t.Helper()
			synctest.Wait()
			if err := v.Problem(); v.View() != nil || !errors.Is(err, ErrWaiting) || !strings.Contains(err.Error(), want) {
				t.Fatalf("view %v, problem %v, want %q", v.View(), err, want)
			}
		}
		began := time.Now()
		waiting("at audit entry 0")
		<-time.After(time.Hour) // virtual: nothing is polled
		if err := node.state.Load(bytes.NewReader(snapshot)); err != nil {
			t.Fatal(err)
		}
		waiting("audit segment 1")
		for _, s := range all {
			waiting("audit segment")
			body, err := leader.audit.Segment(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := node.audit.PutSegment(s, body); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(2 * retryDelay) // virtual
		synctest.Wait()
		if v.View() == nil || v.Problem() != nil || problems != 0 {
			t.Errorf("view %v, problem %v, %d reports after %v", v.View(), v.Problem(), problems, time.Since(began))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestJoinWaitsForAWholeSegment: a body that is damaged on this disk is no lie of
// the leader's.
func TestJoinWaitsForAWholeSegment(t *testing.T) {
	leader, _, _ := chain(t, "web:1")
	data := leader.checkpoint()
	for len(leader.state.Read().Segments()) < 1 {
		leader.apply(leader.now, &cluster.RecordEvents{Events: []cluster.Event{{Type: cluster.EventConverged}}})
	}
	node := leader.join(t, data)
	s := leader.state.Read().Segments()[0]
	body, err := leader.audit.Segment(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := node.audit.PutSegment(s, body[:len(body)-1]); err != nil {
		t.Fatal(err)
	}
	if err := node.state.Load(bytes.NewReader(leader.saved())); err != nil {
		t.Fatal(err)
	}
	if err := node.step(); !errors.Is(err, errUnchecked) || node.View() != nil || errors.Is(node.Problem(), ErrForeignHistory) {
		t.Errorf("step %v, problem %v", err, node.Problem())
	}
	if err := node.audit.PutSegment(s, body); err != nil {
		t.Fatal(err)
	}
	node.judgeAll()
	if node.image("shop") != "web:1" {
		t.Errorf("problem %v", node.Problem())
	}
}
