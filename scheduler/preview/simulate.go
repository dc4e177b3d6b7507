package preview

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/scheduler"
)

// The bounds of one run: plans that are made, and how far time may go for it. A
// rollout of many replicas with long delays is followed as far as that.
const (
	maxRounds = 20_000
	horizon   = 30 * 24 * time.Hour
	tick      = 100 * time.Millisecond
)

// world is a cluster without machines: what plans are applied to. On a node that
// is Ready everything that is started comes up, and what is told to stop ends.
type world struct {
	clusterID string
	now       time.Time
	index     uint64
	pause     time.Time
	nodes     []cluster.Node
	ready     map[string]bool
	replicas  map[string]cluster.Replica
	services  map[cluster.ServiceKey]cluster.Service
	statuses  map[string]cluster.DeploymentStatus
}

func newWorld(in scheduler.Input) *world {
	w := &world{
		clusterID: in.ClusterID, now: in.Now, index: in.Index, pause: in.MassLossUntil, nodes: in.Nodes, ready: map[string]bool{},
		replicas: map[string]cluster.Replica{}, services: map[cluster.ServiceKey]cluster.Service{}, statuses: map[string]cluster.DeploymentStatus{},
	}
	for _, n := range in.Nodes {
		w.ready[n.Name] = n.State == cluster.NodeReady
	}
	for _, r := range in.Replicas {
		w.replicas[r.ID] = r
	}
	for _, s := range in.Services {
		w.services[cluster.ServiceKey{Deployment: s.Deployment, Service: s.Name}] = s
	}
	for _, d := range in.Deployments {
		w.statuses[d.Name] = d
	}
	return w
}

// settle lets the scheduler work until it has nothing left to do. It reports
// whether it came so far.
func (w *world) settle(ctx context.Context, view *cluster.View) bool {
	end := w.now.Add(horizon)
	for range maxRounds {
		if ctx.Err() != nil {
			return false
		}
		result := scheduler.Compute(w.input(view))
		busy := result.Plan != nil
		if busy {
			w.apply(result.Plan)
		}
		busy = w.act(view) || busy || result.More
		switch {
		case busy:
			w.now = w.now.Add(tick)
		case result.Wake.IsZero() || result.Wake.After(end):
			return true
		default:
			w.now = result.Wake
		}
	}
	return false
}

func (w *world) input(view *cluster.View) scheduler.Input {
	in := scheduler.Input{ClusterID: w.clusterID, Now: w.now, Index: w.index, View: view, Nodes: w.nodes, MassLossUntil: w.pause}
	for _, r := range w.replicas {
		in.Replicas = append(in.Replicas, r)
	}
	for _, s := range w.services {
		in.Services = append(in.Services, s)
	}
	for _, d := range w.statuses {
		in.Deployments = append(in.Deployments, d)
	}
	return in
}

// apply does what the log does with a plan. Nobody else changes this state, so
// that what the plan expects holds.
func (w *world) apply(p *cluster.ApplyPlan) {
	w.index++
	for _, s := range p.Services {
		s.ModifyIndex = w.index
		w.services[cluster.ServiceKey{Deployment: s.Deployment, Service: s.Name}] = s
	}
	for _, id := range p.Lose {
		r := w.replicas[id]
		r.Phase, r.FinishedAt, r.ModifyIndex = cluster.Lost, w.now, w.index
		w.replicas[id] = r
	}
	for _, r := range p.Create {
		r.CreatedAt, r.CreateIndex, r.ModifyIndex = w.now, w.index, w.index
		w.replicas[r.ID] = r
	}
	for _, id := range p.Stop {
		r := w.replicas[id]
		r.Stop, r.ModifyIndex = true, w.index
		w.replicas[id] = r
	}
	for _, id := range p.Remove {
		delete(w.replicas, id)
	}
	for _, key := range p.DropService {
		delete(w.services, key)
	}
	for _, d := range p.Deployments {
		d.ModifyIndex = w.index
		w.statuses[d.Name] = d
	}
	for _, name := range p.DropStatus {
		delete(w.statuses, name)
	}
}

// act brings every replica to where it is going, on nodes that can.
func (w *world) act(view *cluster.View) bool {
	busy := false
	for id, r := range w.replicas {
		if r.Phase.Final() || !w.ready[r.Node] {
			continue
		}
		switch {
		case r.Stop:
			r.Phase, r.FinishedAt = cluster.Stopped, w.now
		case !r.Phase.Live():
			r.Phase, r.StartedAt, r.HealthyAt = w.livePhase(view, r), w.now, w.now
		default:
			continue
		}
		if !busy {
			w.index++
			busy = true
		}
		r.ModifyIndex = w.index
		w.replicas[id] = r
	}
	return busy
}

// livePhase is how a replica shows that all is well with it.
func (w *world) livePhase(view *cluster.View, r cluster.Replica) cluster.Phase {
	s, _ := view.Spec(r.Deployment, r.Service, r.SpecHash)
	if s != nil && s.Container.Healthcheck != nil && !s.Container.Healthcheck.Disable {
		return cluster.Healthy
	}
	return cluster.Running
}

// slot is a place of a service that one replica at a time holds.
type slot struct {
	cluster.ServiceKey
	number int
}

// running is what holds each slot: the newest replica that is not ending.
func (w *world) running() map[slot]cluster.Replica {
	held := map[slot]cluster.Replica{}
	for _, r := range w.replicas {
		if r.Phase.Final() || r.Stop {
			continue
		}
		at := slot{cluster.ServiceKey{Deployment: r.Deployment, Service: r.Service}, r.Slot}
		if other, ok := held[at]; !ok || r.Serial > other.Serial {
			held[at] = r
		}
	}
	return held
}

// changes compares what runs in two worlds, slot by slot.
func changes(before, after map[slot]cluster.Replica) []Replica {
	var out []Replica
	for at, was := range before {
		is, stays := after[at]
		r := Replica{Deployment: at.Deployment, Service: at.Service, Slot: at.number, From: was.Node, To: is.Node}
		switch {
		case !stays:
			r.Action = ActionRemove
		case is.ID == was.ID:
			continue
		case is.SpecHash == was.SpecHash && is.Node != was.Node:
			r.Action = ActionMove
		default:
			r.Action = ActionReplace
		}
		out = append(out, r)
	}
	for at, is := range after {
		if _, was := before[at]; !was {
			out = append(out, Replica{Deployment: at.Deployment, Service: at.Service, Slot: at.number, Action: ActionCreate, To: is.Node})
		}
	}
	slices.SortFunc(out, func(a, b Replica) int {
		if c := strings.Compare(a.Deployment, b.Deployment); c != 0 {
			return c
		}
		if c := strings.Compare(a.Service, b.Service); c != 0 {
			return c
		}
		return a.Slot - b.Slot
	})
	return out
}
