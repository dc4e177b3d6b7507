package agent

import (
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// TestLoopTrust assigns what was not accepted (guarantee G1).
func TestLoopTrust(t *testing.T) {
	evil := func() cluster.Replica {
		r := assigned("a")[0]
		r.SpecHash, r.Revision = "hash-evil", rev2
		return r
	}
	play(t, []scenario{
		{"not-accepted", func(w *world) {
			w.pass(time.Second) // its node's state is reported
			w.state.assign(evil())
			w.pass(time.Second)
			w.expect("a=Rejected")
		}},
		{"accepted-late", func(w *world) {
			w.state.claim(cluster.Claim{Number: 1, Index: 7})
			w.state.accept(&cluster.View{})
			r := assigned("a")[0]
			r.Revision, r.CreateIndex = rev2, 8
			w.state.assign(r)
			w.pass(time.Hour) // however long it takes to judge the claim
			w.expect("a=Assigned")
			v := accepted(rev2, shop("1", 1), nil)
			v.Claim = 1
			w.state.accept(v)
			w.pass(time.Second)
			w.expect("a=Running")
		}},
		{"refused-claim", func(w *world) {
			w.state.claim(cluster.Claim{Number: 1, Index: 7})
			r := evil()
			r.CreateIndex = 8
			w.state.assign(r)
			w.pass(time.Minute)
			w.expect("a=Assigned")
			v := accepted(rev1, shop("1", 3), nil)
			v.Claim = 1 // judged, and refused
			w.state.accept(v)
			w.pass(time.Second)
			w.expect("a=Rejected")
		}},
		{"too-many", func(w *world) {
			rs := assigned("a", "b", "c", "d", "e")
			rs[0].Node = "node-2"
			w.state.assign(rs...)
			w.pass(20 * time.Second)
			w.expect("a=Assigned b=Running c=Running d=Running e=Assigned")
			w.pass(20 * time.Second)
			w.expect("a=Assigned b=Running c=Running d=Running e=Rejected")
		}},
	})
}

// TestBlamedOnce: a leader is blamed once for a replica and a reason, however
// often it assigns it again.
func TestBlamedOnce(t *testing.T) {
	inWorld(t, "", func(w *world) {
		for range 3 {
			r := assigned("a")[0]
			r.SpecHash = "hash-evil"
			w.state.assign(r)
			w.pass(time.Second)
			w.expect("a=Rejected")
			w.state.drop("a")
			w.pass(time.Second)
		}
		r := assigned("b")[0]
		r.SpecHash = "hash-evil"
		w.state.assign(r)
		w.pass(time.Second)
		if len(w.state.blamed) != 2 || w.state.blamed[0].Replica != "a" || w.state.blamed[1].Replica != "b" {
			t.Fatalf("blamed for %+v", w.state.blamed)
		}
		if e := w.state.blamed[0]; e.Type != cluster.EventLeaderMisbehaviour || e.Node != "node-1" || e.Deployment != "shop" || e.Message == "" {
			t.Errorf("event %+v", e)
		}
		if len(w.state.events) != 0 {
			t.Errorf("recorded as well: %+v", w.state.events)
		}
	})
}

// TestLoopReturningNode: while a node was away, its replicas were given to
// others. It stops what runs, and gives up what it was about to start.
func TestLoopReturningNode(t *testing.T) {
	lose := func(w *world, ids ...string) {
		for _, id := range ids {
			r := w.state.get(id)
			r.Phase, r.Reason = cluster.Lost, "node node-1 is down"
			w.state.assign(r)
		}
	}
	play(t, []scenario{
		{"lost-while-away", func(w *world) {
			w.state.assign(assigned("a", "b", "c")...)
			w.pass(time.Second)
			w.expect("a=Running b=Running c=Running")
			w.kill()
			lose(w, "a", "b")
			w.state.drop("b") // the scheduler has forgotten this one already
			w.start()
			w.pass(5 * time.Second)
			w.expect("a=Lost c=Running")
			w.contains("c")
		}},
		{"lost-while-pulling", func(w *world) {
			w.state.accept(accepted(rev1, shop("2", 3), nil))
			rs := assigned("a", "b")
			rs[0].SpecHash, rs[1].SpecHash = "hash-2", "hash-2"
			w.state.assign(rs...)
			w.pass(time.Second)
			lose(w, "a")
			w.state.drop("b")
			w.pass(10 * time.Second)
			w.contains()
			if n := w.log.count("engine  start"); n != 0 {
				w.t.Errorf("%d containers were started of replicas that are lost", n)
			}
		}},
		{"another-machine-of-that-name", func(w *world) {
			w.state.assign(assigned("a", "b")...)
			w.pass(time.Second)
			w.kill() // and its data directory is gone; the engine runs on
			lose(w, "a", "b")
			w.state.drop("b")
			w.start()
			next := assigned("c")[0]
			w.state.assign(next)
			w.pass(5 * time.Second)
			w.expect("a=Lost c=Running")
			w.contains("c")
		}},
	})
}

// contains checks which replicas have a container.
func (w *world) contains(want ...string) {
	w.t.Helper()
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	have := map[string]bool{}
	for _, c := range w.engine.containers {
		have[c.Labels[LabelReplica]] = true
	}
	for _, id := range want {
		if !have[id] {
			w.t.Errorf("replica %s has no container", id)
		}
	}
	if len(have) != len(want) {
		w.t.Errorf("containers of %v, want of %v", have, want)
	}
}
