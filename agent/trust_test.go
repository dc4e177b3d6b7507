package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// unknown is an assignment of a spec that no revision has, and rejected what
// becomes of it.
func unknown(phase cluster.Phase) cluster.Replica {
	r := replica("a", phase)
	r.Revision, r.SpecHash = rev2, "hash-evil"
	return r
}

const rejected = `
	outcome a Rejected "this node accepted no such spec: hash-evil of shop/web at 020000000000" event=leader-misbehaviour
	report a Rejected "this node accepted no such spec: hash-evil of shop/web at 020000000000"`

// TestDiffStartsOnlyWhatIsAccepted holds G1 in the diff: no assignment, however
// it is made, starts anything that the view does not hold.
func TestDiffStartsOnlyWhatIsAccepted(t *testing.T) {
	checkPlans(t, []diffCase{
		{"no view: nothing is started", func(s *scene) {
			s.view = nil
			s.assign(replica("a", cluster.Assigned))
		}, ``},
		{"no view: nothing is stopped", func(s *scene) {
			s.view = nil
			s.stop("a", cluster.Running)
			s.runs(containerOf(replica("a", cluster.Running)))
			s.runs(containerOf(replica("stray", cluster.Running)))
			s.networks["jaco_old_default"] = Network{Name: "jaco_old_default"}
			s.remember("b", memory{busy: actStart})
		}, ``},
		{"unknown spec, and every claim is judged", func(s *scene) {
			s.assign(unknown(cluster.Assigned))
		}, rejected},
		{"the claims that are left came after it", func(s *scene) {
			s.nextClaim = 101
			s.assign(unknown(cluster.Assigned))
		}, rejected},
		{"a claim before it is not judged: it may be what brought the spec", func(s *scene) {
			s.nextClaim = 99
			s.assign(unknown(cluster.Assigned))
			s.remember("a", memory{waiting: noon.Add(-time.Hour)})
		}, ``},
		{"what is known starts, whatever is left to be judged", func(s *scene) {
			s.nextClaim = 1
			s.assign(replica("a", cluster.Assigned))
		}, `
			start a`},
		{"a phase that the leader made up changes nothing", func(s *scene) {
			s.assign(unknown(cluster.Starting))
		}, rejected},
		{"a container left behind is not started without its spec", func(s *scene) {
			r := unknown(cluster.Starting)
			s.assign(r)
			c := containerOf(r)
			c.Status = StatusCreated
			s.runs(c)
		}, rejected},
		{"a revision that is known lacks the hash", func(s *scene) {
			r := unknown(cluster.Assigned)
			r.Revision = rev1
			s.assign(r)
		}, strings.ReplaceAll(rejected, "020000000000", "010000000000")},
		{"another service's hash is none", func(s *scene) {
			d := shop("1", 1)
			d.Services = append(d.Services, desired.Service{Name: "db", SpecHash: "hash-db"})
			s.view = accepted(rev1, d, nil)
			r := replica("a", cluster.Assigned)
			r.SpecHash = "hash-db"
			s.assign(r)
		}, `
			outcome a Rejected "this node accepted no such spec: hash-db of shop/web at 010000000000" event=leader-misbehaviour
			report a Rejected "this node accepted no such spec: hash-db of shop/web at 010000000000"`},
		{"a service that no accepted revision has", func(s *scene) {
			r := replica("a", cluster.Assigned)
			r.Service = "miner"
			s.assign(r)
		}, `
			outcome a Rejected "no revision that this node accepted has a service shop/miner" event=leader-misbehaviour
			report a Rejected "no revision that this node accepted has a service shop/miner"`},
		{"an unreadable spec hash does not break the message", func(s *scene) {
			r := unknown(cluster.Assigned)
			r.SpecHash = ""
			s.assign(r)
		}, `
			outcome a Rejected "this node accepted no such spec:  of shop/web at 020000000000" event=leader-misbehaviour
			report a Rejected "this node accepted no such spec:  of shop/web at 020000000000"`},
	})
}

// TestDiffBlamesForWhatIsWrong: what an honest leader may have assigned before
// this node accepted more is refused in silence.
func TestDiffBlamesForWhatIsWrong(t *testing.T) {
	checkPlans(t, []diffCase{
		{"a deployment that nobody accepted", func(s *scene) {
			r := replica("a", cluster.Assigned)
			r.Deployment = "mine"
			s.view.ClaimIndex = 99
			s.assign(r)
		}, `
			outcome a Rejected "no revision that this node accepted has a service mine/web" event=leader-misbehaviour
			report a Rejected "no revision that this node accepted has a service mine/web"`},
		{"a deployment that a later claim may have removed", func(s *scene) {
			r := replica("a", cluster.Assigned)
			r.Deployment = "old"
			s.view.ClaimIndex = 100
			s.assign(r)
		}, `
			outcome a Rejected "no revision that this node accepted has a service old/web" event=
			report a Rejected "no revision that this node accepted has a service old/web"`},
		{"the revision before may still be started", func(s *scene) {
			old := accepted(rev1, shop("1", 1), nil).Deployments["shop"]
			s.view = accepted(rev2, shop("2", 1), old)
			s.assign(replica("a", cluster.Assigned))
		}, `
			start a`},
		{"two steps behind, and assigned since: no honest leader does that", func(s *scene) {
			old := accepted(rev1, shop("1", 1), nil).Deployments["shop"]
			old.ClaimIndex = 99
			s.view = accepted(rev2, shop("2", 1), old)
			s.assign(unknown(cluster.Assigned))
		}, rejected},
		{"two steps behind, but assigned before: the node was slow", func(s *scene) {
			old := accepted(rev1, shop("1", 1), nil).Deployments["shop"]
			old.ClaimIndex = 100
			s.view = accepted(rev2, shop("2", 1), old)
			s.assign(unknown(cluster.Assigned))
		}, strings.Replace(rejected, "event=leader-misbehaviour", "event=", 1)},
		{"what runs goes on when its spec is history", func(s *scene) {
			s.view = accepted(rev2, shop("2", 1), nil)
			s.assign(recorded())
			s.runs(containerOf(recorded()))
		}, ``},
	})
}

// crowd assigns replicas of shop/web, one a slot.
func crowd(s *scene, n int) {
	for i := range n {
		r := replica(string(rune('a'+i)), cluster.Assigned)
		r.Slot, r.CreateIndex = i+1, uint64(101+i)
		s.assign(r)
	}
}

// elsewhere is the n-th replica on another node, assigned at an index.
func elsewhere(s *scene, slot int, index uint64) {
	r := replica("x"+string(rune('0'+slot)), cluster.Running)
	r.Node, r.Slot, r.CreateIndex = "node-2", slot, index
	s.others = append(s.others, r)
}

const waits = `
	start a
	start b
	waiting c since 12:00:00
	wake 12:00:30.000`

func TestDiffBoundsReplicas(t *testing.T) {
	const tooMany = `
		outcome c Rejected "more replicas of shop/web than the accepted revision allows: 2 on all nodes together, 2 in a slot" event=leader-misbehaviour
		report c Rejected "more replicas of shop/web than the accepted revision allows: 2 on all nodes together, 2 in a slot"`
	checkPlans(t, []diffCase{
		{"declared and surge", func(s *scene) { crowd(s, 2) }, `
			start a
			start b`},
		{"one more waits", func(s *scene) { crowd(s, 3) }, waits},
		{"and is rejected", func(s *scene) {
			crowd(s, 3)
			s.remember("c", memory{waiting: noon.Add(-time.Minute)})
		}, "start a\nstart b" + tooMany},
		{"not while a claim before it is not judged", func(s *scene) {
			crowd(s, 3)
			s.nextClaim = 103
			s.remember("c", memory{waiting: noon.Add(-time.Minute)})
		}, `
			start a
			start b`},
		{"those told to stop do not count", func(s *scene) {
			crowd(s, 3)
			s.assigned[0].Stop = true
		}, `
			start b
			start c
			outcome a Stopped "" event=
			report a Stopped`},
		{"what runs is not refused when the leader is slow to scale down", func(s *scene) {
			crowd(s, 3)
			for i := range s.assigned {
				r := &s.assigned[i]
				r.Phase, r.ImageDigest, r.StartedAt = cluster.Running, "sha256:image", noon.Add(-time.Minute)
				r.ContainerID, r.Address = "c-"+r.ID, "10.0.0.2"
				s.runs(containerOf(*r))
			}
		}, ``},
		{"what was begun goes before what is new", func(s *scene) {
			crowd(s, 3)
			s.remember("c", memory{tries: 1})
		}, `
			start a
			start c
			waiting b since 12:00:00
			wake 12:00:30.000`},
		{"and is not refused once it was", func(s *scene) {
			crowd(s, 3)
			for _, id := range []string{"a", "b", "c"} {
				s.remember(id, memory{tries: 1})
			}
		}, `
			start a
			start b
			start c`},
		{"what has ended here takes no place", func(s *scene) {
			crowd(s, 3)
			s.remember("a", memory{outcome: &outcome{phase: cluster.Failed, reason: "exited"}})
		}, `
			start b
			start c
			report a Failed "exited"`},
		{"a made-up phase buys no place", func(s *scene) {
			crowd(s, 3)
			s.assigned[2].Phase = cluster.Starting
			s.assigned[2].CreateIndex = 900
		}, waits},
	})
}

func TestDiffBoundsOverAllNodes(t *testing.T) {
	checkPlans(t, []diffCase{
		{"those on other nodes count", func(s *scene) {
			crowd(s, 1)
			elsewhere(s, 8, 50)
			elsewhere(s, 9, 51)
		}, `
			waiting a since 12:00:00
			wake 12:00:30.000`},
		{"those that ended or stop on other nodes do not", func(s *scene) {
			crowd(s, 1)
			elsewhere(s, 8, 50)
			elsewhere(s, 9, 51)
			s.others[0].Phase, s.others[1].Stop = cluster.Lost, true
		}, `
			start a`},
		{"those that were assigned later wait for those before", func(s *scene) {
			crowd(s, 1)
			elsewhere(s, 8, 50)
			elsewhere(s, 9, 200)
		}, `
			start a`},
		{"another service's do not count", func(s *scene) {
			crowd(s, 1)
			elsewhere(s, 8, 50)
			elsewhere(s, 9, 51)
			s.others[0].Service = "db"
		}, `
			start a`},
	})
}

func TestDiffBoundsSlotsAndModes(t *testing.T) {
	checkPlans(t, []diffCase{
		{"a third in a slot", func(s *scene) {
			s.view = accepted(rev1, shop("1", 5), nil)
			crowd(s, 3)
			for i := range s.assigned {
				s.assigned[i].Slot = 4
			}
		}, waits},
		{"a second in a slot that is emptied first", func(s *scene) {
			d := shop("1", 5)
			d.Services[0].Update.Order = desired.StopFirst
			s.view = accepted(rev1, d, nil)
			crowd(s, 2)
			s.assigned[1].Slot = 1
			s.remember("b", memory{waiting: noon.Add(-time.Minute)})
		}, `
			start a
			outcome b Rejected "more replicas of shop/web than the accepted revision allows: 5 on all nodes together, 1 in a slot" event=leader-misbehaviour
			report b Rejected "more replicas of shop/web than the accepted revision allows: 5 on all nodes together, 1 in a slot"`},
		{"more than is declared now, of a time that the node has forgotten: they wait, and nobody is blamed", func(s *scene) {
			s.view.Deployments["shop"].ClaimIndex = 110
			crowd(s, 3)
			s.remember("c", memory{waiting: noon.Add(-time.Hour)})
		}, `
			start a
			start b
			waiting c since 11:00:00`},
		{"global: one, and one to replace it", func(s *scene) {
			d := shop("1", 0)
			d.Services[0].Mode = desired.Global
			s.view = accepted(rev1, d, nil)
			crowd(s, 3)
		}, waits},
		{"global: other nodes have their own", func(s *scene) {
			d := shop("1", 0)
			d.Services[0].Mode = desired.Global
			s.view = accepted(rev1, d, nil)
			crowd(s, 1)
			for i := range 5 {
				elsewhere(s, i, 50)
			}
		}, `
			start a`},
		{"parallelism 0 replaces all at once", func(s *scene) {
			d := shop("1", 2)
			d.Services[0].Update.Parallelism = 0
			s.view = accepted(rev1, d, nil)
			crowd(s, 5)
		}, `
			start a
			start b
			start c
			start d
			waiting e since 12:00:00
			wake 12:00:30.000`},
	})
}

// TestDiffReturningNode: a node that comes back stops what was given to others
// meanwhile, and does not go on with what it was about to start.
func TestDiffReturningNode(t *testing.T) {
	lost := func(id string) cluster.Replica {
		r := recorded()
		r.ID, r.Phase, r.Reason = id, cluster.Lost, "node node-1 is down"
		return r
	}
	with := func(r cluster.Replica, status Status) Container {
		c := containerOf(r)
		c.Status = status
		return c
	}
	checkPlans(t, []diffCase{
		{"a lost replica that runs on", func(s *scene) {
			s.assign(lost("a"))
			s.runs(with(lost("a"), StatusRunning))
		}, `
			remove a container=c-a (over: Lost)`},
		{"one that was paused", func(s *scene) {
			s.assign(lost("a"))
			s.runs(with(lost("a"), StatusPaused))
		}, `
			remove a container=c-a (over: Lost)`},
		{"one that had ended: its reason is not asked for", func(s *scene) {
			s.assign(lost("a"))
			s.runs(with(lost("a"), StatusExited))
		}, `
			remove a container=c-a (over: Lost)`},
		{"one that was only made", func(s *scene) {
			s.assign(lost("a"))
			s.runs(with(lost("a"), StatusCreated))
		}, `
			remove a container=c-a (over: Lost)`},
		{"one that is gone", func(s *scene) { s.assign(lost("a")) }, ``},
		{"one that is being started: it is given up", func(s *scene) {
			s.assign(lost("a"))
			s.remember("a", memory{busy: actStart})
		}, `
			cancel a`},
		{"one that failed here, unheard: what it was is over", func(s *scene) {
			s.assign(lost("a"))
			s.runs(with(lost("a"), StatusExited))
			s.remember("a", memory{outcome: &outcome{phase: cluster.Failed, reason: "exited with code 1"}})
		}, `
			remove a container=c-a (over: Lost)`},
		{"one that the state has forgotten", func(s *scene) {
			s.runs(with(lost("a"), StatusRunning))
		}, `
			remove a container=c-a (no assignment)`},
		{"one that the state has forgotten and that is being started", func(s *scene) {
			s.remember("a", memory{busy: actStart})
		}, `
			cancel a`},
		{"its replacement on this node is not doubled by it", func(s *scene) {
			s.assign(lost("a"))
			s.runs(with(lost("a"), StatusRunning))
			b := replica("b", cluster.Assigned)
			s.assign(b)
		}, `
			remove a container=c-a (over: Lost)
			start b`},
		{"lost after it was told to stop", func(s *scene) {
			r := lost("a")
			r.Stop = true
			s.assign(r)
			s.runs(with(r, StatusRunning))
		}, `
			remove a container=c-a (over: Lost)`},
		{"of a spec that was never accepted", func(s *scene) {
			r := lost("a")
			r.SpecHash, r.Service = "hash-evil", "miner"
			s.assign(r)
			s.runs(with(r, StatusRunning))
		}, `
			remove a container=c-a (over: Lost)`},
	})
}

// TestSpecOf: the label of a container names the accepted revision that the
// assignment names, when that one has the spec, and a true one otherwise.
func TestSpecOf(t *testing.T) {
	old := accepted(rev1, shop("1", 1), nil).Deployments["shop"]
	v := accepted(rev2, shop("1", 3), old) // scaled: the same spec in both
	for _, tt := range []struct{ named, want signing.Hash }{
		{rev1, rev1}, {rev2, rev2}, {signing.Hash{9}, rev2},
	} {
		r := replica("a", cluster.Assigned)
		r.Revision = tt.named
		s, a := specOf(v, r)
		if s == nil || a.Revision != tt.want {
			t.Errorf("assignment at %s: found at %v, want %s", tt.named.Short(), a, tt.want.Short())
		}
	}
}
