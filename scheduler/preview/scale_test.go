package preview

import (
	"fmt"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/scheduler"
	"github.com/jaco-sh/jaco/signing"
)

// BenchmarkPlan plans one changed image in a cluster of 200 deployments with
// three services of three replicas, on ten nodes.
func BenchmarkPlan(b *testing.B) {
	view := &cluster.View{Claim: 1, Deployments: map[string]*cluster.Accepted{}}
	deployment := func(name, tag string) *desired.Deployment {
		d := &desired.Deployment{Name: name}
		for _, service := range []string{"api", "web", "worker"} {
			d.Services = append(d.Services, desired.Service{
				Name: service, Mode: desired.Replicated, Replicas: 3, SpecHash: name + service + tag,
				Placement: desired.Placement{Strategy: desired.Spread},
				Update:    desired.Update{Order: desired.StartFirst, Parallelism: 1, Monitor: 5 * time.Second, FailureAction: desired.Rollback},
				Restart:   desired.Restart{Condition: desired.RestartAny},
				Container: desired.Container{Image: service + ":" + tag},
			})
		}
		return d
	}
	for i := range 200 {
		name := fmt.Sprintf("d%03d", i)
		view.Deployments[name] = &cluster.Accepted{Name: name, Revision: signing.Hash{1}, Claim: 1, Desired: deployment(name, "1")}
	}
	in := scheduler.Input{ClusterID: "0123456789abcdef", Now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), View: view}
	for i := range 10 {
		in.Nodes = append(in.Nodes, cluster.Node{Name: fmt.Sprintf("n%d", i), State: cluster.NodeReady, CPU: 64e9, Memory: 1 << 40})
	}
	w := newWorld(in)
	if !w.settle(b.Context(), view) {
		b.Fatal("the cluster does not come to rest")
	}
	state := w.input(view)
	p := &planner{
		Input: Input{Tree: &Tree{Root: signing.Hash{2}}, State: &state},
		next:  map[string]*desired.Deployment{"d100": deployment("d100", "2")}, changed: map[string]signing.UnitReview{},
	}
	for b.Loop() {
		p.plan = &Plan{}
		p.effects(b.Context())
		if !p.plan.Settled || len(p.plan.Replicas) != 9 {
			b.Fatalf("settled %t, %d replicas", p.plan.Settled, len(p.plan.Replicas))
		}
	}
}
