package scheduler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// world is a sim under random treatment.
type world struct {
	*sim
	version int
	surge   map[string]int // the largest parallelism that a service ever had
}

// drawService draws a service of that name. Its host port is its own or one
// that it shares with others.
func (w *world) drawService(t *rapid.T, name string) desired.Service {
	s := svc(name, fmt.Sprintf("v%d", rapid.IntRange(0, w.version).Draw(t, "version")), rapid.IntRange(0, 4).Draw(t, "replicas"))
	s.Update.Parallelism = rapid.IntRange(0, 3).Draw(t, "parallelism")
	s.Update.FailureAction = rapid.SampledFrom([]desired.FailureAction{desired.Rollback, desired.Pause, desired.Continue}).Draw(t, "action")
	s.Update.MaxFailureRatio = rapid.SampledFrom([]float64{0, 0, 0.3, 0.5, 1}).Draw(t, "ratio")
	s.Update.Delay = rapid.SampledFrom([]time.Duration{0, 0, 2 * time.Second}).Draw(t, "delay")
	for _, change := range []func(*desired.Service){noCheck, global, stopFirst, pack, maxPerNode(2), hostPort(80), hostPort(8000 + uint16(len(name))), memory(gib), volume("data")} {
		if rapid.IntRange(0, 5).Draw(t, "change") == 0 {
			change(&s)
		}
	}
	if name != "a" && rapid.Bool().Draw(t, "depends") {
		needs("a", rapid.SampledFrom([]desired.Condition{desired.Started, desired.Healthy}).Draw(t, "on"))(&s)
	}
	// The hash covers the container, as desired's does.
	s.SpecHash += fmt.Sprint("-", s.Container.Healthcheck != nil, s.Container.Ports, s.Container.Resources, s.Container.Mounts)
	return s
}

func (w *world) drawRevision(t *rapid.T) {
	var services []desired.Service
	for _, name := range []string{"a", "bb", "ccc"} {
		if rapid.IntRange(0, 4).Draw(t, "has") > 0 {
			services = append(services, w.drawService(t, name))
		}
	}
	deployment := rapid.SampledFrom([]string{"one", "two"}).Draw(t, "deployment")
	w.accept(deployment, services...)
	for _, s := range services {
		surge := s.Update.Parallelism
		if surge == 0 {
			surge = 100
		}
		w.surge[deployment+"/"+s.Name] = max(w.surge[deployment+"/"+s.Name], surge)
	}
}

// drawReplica picks a replica that is not final, or nil.
func (w *world) drawReplica(t *rapid.T) *cluster.Replica {
	ids := slices.DeleteFunc(w.byAge(), func(id string) bool { return w.replicas[id].Phase.Final() })
	if len(ids) == 0 {
		return nil
	}
	return w.replicas[rapid.SampledFrom(ids).Draw(t, "replica")]
}

// actions are what may happen at any time.
func (w *world) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"commit": w.drawRevision,
		"newVersion": func(t *rapid.T) {
			w.version++
			w.drawRevision(t)
		},
		"retire": func(t *rapid.T) {
			delete(w.view.Deployments, rapid.SampledFrom([]string{"one", "two"}).Draw(t, "deployment"))
		},
		"flip": func(t *rapid.T) {
			name := rapid.SampledFrom(sortedKeys(w.nodes)).Draw(t, "node")
			w.node(name, rapid.SampledFrom([]cluster.NodeState{
				cluster.NodeReady, cluster.NodeReady, cluster.NodeNotReady, cluster.NodeSuspect, cluster.NodeDown,
			}).Draw(t, "state"))
		},
		"pause": func(t *rapid.T) {
			w.pause = w.now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second)
		},
		"remove": func(t *rapid.T) { // the last node stays
			if name := rapid.SampledFrom(sortedKeys(w.nodes)).Draw(t, "node"); len(w.nodes) > 1 {
				w.remove(name)
				if rapid.Bool().Draw(t, "expel") {
					w.expel(name)
				}
			}
		},
		"join": func(t *rapid.T) {
			name := rapid.SampledFrom([]string{"n1", "n2", "n3", "n4", "n5"}).Draw(t, "node")
			if w.nodes[name] == nil {
				delete(w.view.Cluster.Nodes, name)
				w.join(name)
			}
		},
		"advance": func(t *rapid.T) {
			for range rapid.IntRange(1, 10).Draw(t, "times") {
				if r := w.drawReplica(t); r != nil {
					w.advance(r)
				}
			}
		},
		"kill": func(t *rapid.T) {
			if r := w.drawReplica(t); r != nil && w.nodes[r.Node].State == cluster.NodeReady {
				w.report(r, cluster.Failed, "killed", 137)
			}
		},
		"fate": func(t *rapid.T) {
			if r := w.drawReplica(t); r != nil {
				w.fate[r.SpecHash] = rapid.SampledFrom([]fate{crashes, sickens, hangs, falls, rejected}).Draw(t, "fate")
			}
		},
		"time": func(t *rapid.T) {
			w.now = w.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
		},
		"": func(t *rapid.T) { w.planAndCheck(t) },
	}
}

// planAndCheck plans, applies and checks what must hold of every plan.
func (w *world) planAndCheck(t *rapid.T) {
	in := w.input()
	r := Compute(in)
	shuffle(&in, rapid.Uint64().Draw(t, "seed"))
	if diff := cmp.Diff(r, Compute(in)); diff != "" {
		t.Fatalf("the order of the input matters:\n%s", diff)
	}
	if r.Plan == nil {
		return
	}
	for _, c := range r.Plan.Create {
		if n := w.nodes[c.Node]; n.State != cluster.NodeReady || w.isRemoved(c.Node) {
			t.Fatalf("%s.%d is placed on %s, which is %s or removed", c.Service, c.Slot, c.Node, n.State)
		}
		w.checkPorts(t, c, r.Plan)
	}
	w.checkLoss(t, r)
	if err := w.apply(r.Plan); err != nil {
		t.Fatalf("the plan cannot be applied: %v\n%s", err, r)
	}
	w.checkCounts(t, r)
	w.checkQuota(t, r)
	w.now = w.now.Add(time.Millisecond)
	if again := Compute(w.input()); again.Plan != nil && len(again.Plan.Stop)+len(again.Plan.Create)+len(again.Plan.Lose) > 0 && r.Plan != nil {
		t.Fatalf("a plan was not finished at once:\n%s\nthen:\n%s", r, again)
	}
}

// checkPorts checks that no replica beside c, of a spec that is still known,
// holds a host port of c's on its node.
func (w *world) checkPorts(t *rapid.T, c cluster.Replica, plan *cluster.ApplyPlan) {
	spec, _ := w.view.Spec(c.Deployment, c.Service, c.SpecHash)
	others := slices.Clone(plan.Create)
	for _, r := range w.replicas {
		if !r.Phase.Final() && !slices.Contains(plan.Lose, r.ID) {
			others = append(others, *r)
		}
	}
	for _, r := range others {
		other, _ := w.view.Spec(r.Deployment, r.Service, r.SpecHash)
		if r.ID == c.ID || r.Node != c.Node || other == nil {
			continue
		}
		for _, p := range spec.Container.Ports {
			for _, q := range other.Container.Ports {
				if p.Host == q.Host {
					t.Fatalf("%s/%s.%d and %s/%s.%d share port %d on %s", c.Deployment, c.Service, c.Slot,
						r.Deployment, r.Service, r.Slot, p.Host, c.Node)
				}
			}
		}
	}
}

func (w *world) isRemoved(node string) bool {
	return w.view.Cluster.Nodes[node].Availability == desired.NodeRemoved
}

// checkLoss checks that what a plan loses is on a node that does not answer and
// will not be waited for.
func (w *world) checkLoss(t *rapid.T, r Result) {
	for _, id := range r.Plan.Lose {
		l := w.replicas[id]
		n := w.nodes[l.Node]
		if n == nil || w.isRemoved(l.Node) && n.State != cluster.NodeReady {
			continue
		}
		if n.State != cluster.NodeDown || w.now.Before(w.pause) {
			t.Fatalf("%s is lost on %s, which is %s, with a pause until %s\n%s", id, l.Node, n.State, w.pause, r)
		}
		a := w.view.Deployments[l.Deployment]
		if a == nil || a.Desired.Service(l.Service) == nil {
			continue
		}
		spec, _ := w.view.Spec(l.Deployment, l.Service, l.SpecHash)
		replaced := slices.ContainsFunc(r.Plan.Create, func(c cluster.Replica) bool {
			return c.Deployment == l.Deployment && c.Service == l.Service && c.Slot == l.Slot
		})
		if spec != nil && hasVolume(spec) && hasVolume(a.Desired.Service(l.Service)) && replaced {
			t.Fatalf("%s is moved away from its volume\n%s", id, r)
		}
	}
}

// checkCounts checks that no service has more than declared and surge, and no
// slot more than two.
func (w *world) checkCounts(t *rapid.T, result Result) {
	wanted, live, slots := map[string]int{}, map[string]int{}, map[string]int{}
	for _, r := range w.replicas {
		if r.Phase.Final() {
			continue
		}
		key := r.Deployment + "/" + r.Service
		if !r.Stop {
			live[key]++
		}
		slots[fmt.Sprintf("%s.%d", key, r.Slot)]++
	}
	for name, a := range w.view.Deployments {
		for _, s := range a.Desired.Services {
			wanted[name+"/"+s.Name] = s.Replicas
			if s.Mode == desired.Global {
				wanted[name+"/"+s.Name] = len(w.nodes) + 1 // one that a commit removes counts until it has gone
			}
		}
	}
	for key, n := range live {
		if surge := min(w.surge[key], wanted[key]); n > wanted[key]+surge {
			t.Fatalf("%s runs %d, declared %d, surge %d\n%s", key, n, wanted[key], surge, result)
		}
	}
	for key, n := range slots {
		if n > 2 {
			t.Fatalf("%s holds %d replicas\n%s", key, n, result)
		}
	}
}

// checkQuota checks that what a plan creates is within what the present spec
// allows, in total and in the slot.
func (w *world) checkQuota(t *rapid.T, result Result) {
	for _, c := range result.Plan.Create {
		limit := cluster.LimitOf(w.view.Deployments[c.Deployment].Desired.Service(c.Service))
		total, inSlot := 0, 0
		for _, r := range w.replicas {
			if r.Deployment != c.Deployment || r.Service != c.Service || r.Stop || r.Phase.Final() {
				continue
			}
			if !limit.Global || r.Node == c.Node {
				total++
			}
			if r.Slot == c.Slot {
				inSlot++
			}
		}
		if total > limit.Replicas || inSlot > limit.Slot {
			t.Fatalf("%s is one of %d, %d in its slot; the limit is %+v\n%s", c.ID, total, inSlot, limit, result)
		}
	}
}

func shuffle(in *Input, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	r.Shuffle(len(in.Nodes), func(i, j int) { in.Nodes[i], in.Nodes[j] = in.Nodes[j], in.Nodes[i] })
	r.Shuffle(len(in.Replicas), func(i, j int) { in.Replicas[i], in.Replicas[j] = in.Replicas[j], in.Replicas[i] })
	r.Shuffle(len(in.Services), func(i, j int) { in.Services[i], in.Services[j] = in.Services[j], in.Services[i] })
	r.Shuffle(len(in.Deployments), func(i, j int) { in.Deployments[i], in.Deployments[j] = in.Deployments[j], in.Deployments[i] })
}

// TestAnythingThenRest treats a cluster at random and checks every plan; then
// the trouble ends, and the cluster must come to rest as it is wanted.
func TestAnythingThenRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"n1", "n2", "n3", "n4"}
		w := &world{sim: newSim(t, names[:rapid.IntRange(1, 4).Draw(t, "nodes")]...), surge: map[string]int{}}
		t.Repeat(w.actions())

		clear(w.fate)
		w.endTrouble(t)
		for name, a := range w.view.Deployments { // a paused rollout goes on with the next commit
			w.accept(name, a.Desired.Services...)
		}
		if !w.settle(2000) {
			w.show("not at rest")
			t.Fatalf("the cluster does not come to rest:\n%s", tail(w.log.String()))
		}
		if r := Compute(w.input()); r.Plan != nil || !r.Wake.IsZero() {
			t.Fatalf("a plan for a cluster at rest:\n%s", r)
		}
		w.checkRest(t)
	})
}

// endTrouble brings some nodes back and leaves others away for ever: those that
// are Down, removed, or no members.
func (w *world) endTrouble(t *rapid.T) {
	for _, name := range sortedKeys(w.nodes) {
		if w.nodes[name].State == cluster.NodeDown && rapid.Bool().Draw(t, "stays down") {
			continue
		}
		w.node(name, cluster.NodeReady)
	}
}

// checkRest checks that a cluster at rest is what is wanted, or says why not.
func (w *world) checkRest(t *rapid.T) {
	for _, r := range w.replicas {
		if a := w.view.Deployments[r.Deployment]; a == nil || a.Desired.Service(r.Service) == nil {
			t.Fatalf("%s of a retired service is left", r.ID)
		}
		spec := w.view.Deployments[r.Deployment].Desired.Service(r.Service)
		if n := w.nodes[r.Node]; !r.Phase.Final() && (n == nil || n.State == cluster.NodeDown && !hasVolume(spec)) {
			t.Fatalf("%s waits for %s, which does not come back, without a volume", r.ID, r.Node)
		}
	}
	for _, h := range Health(w.input()) {
		if w.view.Deployments[h.Deployment] == nil {
			t.Fatalf("%s is retired and left", h.Deployment)
		}
		if converged := w.statuses[h.Deployment]; h.State == cluster.HealthHealthy &&
			(converged == nil || converged.Converged != w.view.Deployments[h.Deployment].Revision) {
			t.Fatalf("%s is healthy and not converged", h.Deployment)
		}
		for _, s := range h.Services {
			rec := w.services[h.Deployment+"/"+s.Service]
			switch {
			case s.State == cluster.HealthHealthy, s.State == cluster.HealthSuspended:
			case rec != nil && rec.Reason != "":
			default:
				t.Fatalf("%s/%s is %s at rest without a reason: %+v\n%s", h.Deployment, s.Service, s.State, s, tail(w.log.String()))
			}
		}
	}
}

func tail(s string) string { return s[max(0, len(s)-6000):] }

// TestRolloutKeepsServing rolls a healthy service whose new spec is good, with
// its agents in any order, and counts what serves at every moment.
func TestRolloutKeepsServing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newSim(t, "n1", "n2", "n3", "n4", "n5")
		n := rapid.IntRange(1, 5).Draw(t, "replicas")
		shape := func(s *desired.Service) {}
		parallel := rapid.IntRange(1, 3).Draw(t, "parallelism")
		least := max(0, n-parallel)
		switch rapid.IntRange(0, 2).Draw(t, "order") {
		case 0:
			shape = stopFirst
		case 1:
			shape = hostPort(80)
		default:
			least = n
		}
		spec := func(version string) desired.Service {
			return svc("web", version, n, shape, updates(func(u *desired.Update) { u.Parallelism = parallel }))
		}
		m.accept("shop", spec("v1"))
		if !m.settle(200) {
			t.Fatal("the first version does not come up")
		}
		rev := m.accept("shop", spec("v2"))
		for range 500 {
			m.plan()
			serving := 0
			for _, r := range m.replicas {
				if r.Phase == cluster.Healthy && !r.Stop {
					serving++
				}
			}
			if serving < least {
				t.Fatalf("%d of %d serve, at least %d must", serving, n, least)
			}
			if st := m.statuses["shop"]; st.Converged == rev {
				return
			}
			m.advance(m.replicas[rapid.SampledFrom(m.byAge()).Draw(t, "replica")])
			m.now = m.now.Add(10 * time.Millisecond)
		}
		for m.settle(1000); m.statuses["shop"].Converged != rev; {
			t.Fatalf("the rollout does not end:\n%s", tail(m.log.String()))
		}
	})
}

// TestSticky lets replicas die and nodes come and go without any commit:
// nothing may be stopped, and a replica is made only for one that ended.
func TestSticky(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{sim: newSim(t, "n1", "n2", "n3"), surge: map[string]int{}}
		w.drawRevision(t)
		w.drawRevision(t)
		if !w.settle(1000) {
			t.Fatalf("the start does not come to rest:\n%s", tail(w.log.String()))
		}
		actions := w.actions()
		for _, name := range []string{"commit", "newVersion", "retire", "fate", "remove", ""} {
			delete(actions, name)
		}
		actions[""] = func(t *rapid.T) {
			r := Compute(w.input())
			if r.Plan == nil {
				return
			}
			if len(r.Plan.Stop) > 0 {
				t.Fatalf("something is stopped without a commit:\n%s", r)
			}
			for _, c := range r.Plan.Create {
				for _, o := range w.replicas {
					if o.Deployment == c.Deployment && o.Service == c.Service && o.Slot == c.Slot && !o.Phase.Final() &&
						!slices.Contains(r.Plan.Lose, o.ID) {
						t.Fatalf("%s is doubled:\n%s", o.ID, r)
					}
				}
			}
			if err := w.apply(r.Plan); err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(actions)
	})
}
