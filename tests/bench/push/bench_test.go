package push

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/bench/floor"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "bench/push") }

// Both sides bring 9 containers, 3 of each of 3 services, to healthy.
const (
	servicesCount = 3
	replicas      = 3
)

// BenchmarkPush measures from git push to 9 healthy containers.
func BenchmarkPush(b *testing.B) {
	s := stage.New(b, stage.Config{})
	var total time.Duration
	round := 0
	for b.Loop() {
		round++
		var services []stage.Service
		for i := range servicesCount {
			services = append(services, stage.Service{Name: fmt.Sprint("service-", i), Tag: "1", Replicas: replicas})
		}
		name := fmt.Sprint("shop-", round)
		s.Commit(map[string]string{stage.Path(name): stage.Compose(services...)})
		start := time.Now()
		s.Push()
		waitHealthy(b, s.Node.Engine.Docker, "sh.jaco.deployment="+name)
		total += time.Since(start)
		s.Check(s.Repo.Remove("deployments/" + name))
		s.Commit(map[string]string{"README": fmt.Sprint("round ", round)})
		s.Push()
		waitGone(b, s.Node.Engine.Docker, "sh.jaco.deployment="+name)
	}
	report(b, total)
}

// BenchmarkEngine measures the engine's own create and start of the same
// containers on a network of their own, up to healthy.
func BenchmarkEngine(b *testing.B) {
	r := rig.Start(b, rig.Config{})
	engine := r.Node().Engine.Docker
	binary := rig.Must[string](b)(rig.Bin("web"))
	rig.Must[string](b)(engine.Build(b.Context(), rig.WebImage(stage.Image+":1", "1", binary)))
	var total time.Duration
	round := 0
	for b.Loop() {
		round++
		label := fmt.Sprint("bench-", round)
		start := time.Now()
		if err := floor.Create(b.Context(), engine, stage.Image+":1", label, servicesCount*replicas); err != nil {
			b.Fatal(err)
		}
		waitHealthy(b, engine, "bench="+label)
		total += time.Since(start)
		for _, c := range rig.Must[[]rig.Container](b)(engine.Containers(b.Context(), "bench="+label)) {
			if err := engine.Remove(b.Context(), c.ID); err != nil {
				b.Fatal(err)
			}
		}
	}
	report(b, total)
}

func waitHealthy(b *testing.B, engine *rig.Docker, label string) {
	b.Helper()
	rig.Eventually(b, time.Minute, "9 healthy containers", func(ctx context.Context) (bool, string) {
		containers, err := engine.Containers(ctx, label)
		if err != nil {
			return false, err.Error()
		}
		healthy := 0
		for _, c := range containers {
			if strings.Contains(c.Status, "(healthy)") {
				healthy++
			}
		}
		return healthy == servicesCount*replicas, fmt.Sprint(healthy, " healthy")
	})
}

func waitGone(b *testing.B, engine *rig.Docker, label string) {
	b.Helper()
	rig.Eventually(b, time.Minute, "no container left", func(ctx context.Context) (bool, string) {
		containers, err := engine.Containers(ctx, label)
		if err != nil {
			return false, err.Error()
		}
		return len(containers) == 0, fmt.Sprint(len(containers), " left")
	})
}

func report(b *testing.B, total time.Duration) {
	b.Helper()
	b.ReportMetric(float64(total.Milliseconds())/float64(b.N), "ms/deploy")
}
