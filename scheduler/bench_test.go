package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// The size of DESIGN.md section 11.
const (
	benchNodes    = 1000
	benchServices = 1000
	benchReplicas = 10 // of each service
)

// fleet is a cluster of that size that wants everything and has nothing.
func fleet(tb testing.TB) *sim {
	m := newSim(tb)
	for i := range benchNodes {
		name := fmt.Sprintf("node-%04d", i)
		m.index++
		m.nodes[name] = &cluster.Node{Name: name, State: cluster.NodeReady, CPU: 16e9, Memory: 64 * gib, ModifyIndex: m.index}
		m.label(name, "zone", fmt.Sprint(i%3))
	}
	for i := range benchServices {
		deployment := fmt.Sprintf("app-%04d", i)
		s := svc("web", "v1", benchReplicas, memory(gib/2), cpu(1e8))
		switch i % 4 {
		case 1:
			s = svc("web", "v1", benchReplicas, memory(gib), constraint("node.labels.zone", true, fmt.Sprint(i%3)))
		case 2:
			s = svc("web", "v1", benchReplicas, hostPort(uint16(8000+i%50)))
		case 3:
			s = svc("web", "v1", benchReplicas, pack, memory(gib/4))
		}
		m.accept(deployment, s)
	}
	return m
}

// atRest is the fleet with every replica healthy and converged.
func atRest(tb testing.TB) *sim {
	m := fleet(tb)
	m.plan()
	for _, r := range m.replicas {
		m.report(r, cluster.Healthy, "", 0)
	}
	m.plan()
	if r := Compute(m.input()); r.Plan != nil {
		tb.Fatalf("the fleet is not at rest: %s", r)
	}
	return m
}

// BenchmarkComputeFull places 10,000 replicas on 1,000 nodes.
func BenchmarkComputeFull(b *testing.B) {
	in := fleet(b).input()
	b.ReportAllocs()
	for b.Loop() {
		if r := Compute(in); r.Plan == nil || len(r.Plan.Create) != benchServices*benchReplicas {
			b.Fatal("not everything was placed")
		}
	}
}

// BenchmarkComputeOne answers one failed replica among 10,000.
func BenchmarkComputeOne(b *testing.B) {
	m := atRest(b)
	m.now = m.now.Add(time.Hour)
	m.report(m.replicas[m.byAge()[4711]], cluster.Failed, "killed", 137)
	in := m.input()
	b.ReportAllocs()
	for b.Loop() {
		if r := Compute(in); r.Plan == nil || len(r.Plan.Create) != 1 {
			b.Fatal("the replica was not replaced")
		}
	}
}

// BenchmarkComputeLoss answers the loss of one node among 1,000, and of what it
// ran among 10,000.
func BenchmarkComputeLoss(b *testing.B) {
	m := atRest(b)
	ran := 0
	for _, r := range m.replicas {
		if r.Node == "node-0042" {
			ran++
		}
	}
	m.node("node-0042", cluster.NodeDown)
	in := m.input()
	b.ReportAllocs()
	for b.Loop() {
		if r := Compute(in); r.Plan == nil || len(r.Plan.Lose) != ran || len(r.Plan.Create) != ran {
			b.Fatalf("%d replicas were not replaced", ran)
		}
	}
}

// BenchmarkComputeIdle looks at a fleet that needs nothing.
func BenchmarkComputeIdle(b *testing.B) {
	in := atRest(b).input()
	b.ReportAllocs()
	for b.Loop() {
		if r := Compute(in); r.Plan != nil {
			b.Fatal("something was planned")
		}
	}
}
