package idlecluster

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "idle-cluster") }

// idleTime is how long nothing may happen.
const idleTime = 60 * time.Second

// What an idle node of three with nine replicas may take. The figure idle-cpu of
// make bench holds the processor's share against 1 % of a core; here, where
// other work may be going on, the bound is what a loop that spins would pass.
const (
	maxCPU = 0.05 // of a core
	maxRSS = 80 << 20
)

// TestIdleCluster lets nothing happen to three nodes: none writes to the log,
// and none takes more than it may of its machine.
func TestIdleCluster(t *testing.T) {
	c, index := idle(t)
	before := usages(c)
	start := time.Now()
	stage.Pass(t, idleTime)
	elapsed := time.Since(start)
	for name, now := range usages(c) {
		share := (now.cpu - before[name].cpu).Seconds() / elapsed.Seconds()
		t.Logf("%s: %.2f %% of a core, %d MiB", name, 100*share, now.rss>>20)
		if share >= maxCPU {
			t.Errorf("%s took %.2f %% of a core, want less than %.0f %%", name, 100*share, 100*maxCPU)
		}
		if now.rss >= maxRSS {
			t.Errorf("%s holds %d MiB, want less than %d", name, now.rss>>20, maxRSS>>20)
		}
	}
	for _, m := range c.Members() {
		if after := m.Status().Cluster.Index; after != index {
			t.Errorf("%s: %d raft entries in %s of idleness, want none:\n%s", m.Name(), after-index, elapsed, m.Jaco("audit", "--since", "70s", "-o", "wide"))
		}
	}
}

// BenchmarkIdle measures what the busiest of the three takes, in hundredths of a
// core.
func BenchmarkIdle(b *testing.B) {
	c, _ := idle(b)
	most := 0.0
	for b.Loop() {
		before := usages(c)
		start := time.Now()
		stage.Pass(b, idleTime)
		elapsed := time.Since(start)
		for name, now := range usages(c) {
			most = max(most, 100*(now.cpu-before[name].cpu).Seconds()/elapsed.Seconds())
		}
	}
	b.ReportMetric(most, "%core")
}

// idle returns three nodes with nine replicas and nothing to do, and the index
// of their last entry.
func idle(t rig.TB) (*stage.Cluster, uint64) {
	t.Helper()
	c := stage.NewCluster(t, stage.ClusterConfig{Settings: map[string]any{"log": map[string]string{"format": "text", "level": "info"}}})
	c.Deploy(stage.Nine())
	c.Settle(time.Minute)
	c.WantSpread("shop", 3)
	return c, c.Quiet(30 * time.Second)
}

// usages is what each node has taken so far.
func usages(c *stage.Cluster) map[string]usage {
	taken := map[string]usage{}
	for _, m := range c.Members() {
		taken[m.Name()] = usageOf(c.T, m.Proc())
	}
	return taken
}

// usage is what a process has taken so far, and holds now.
type usage struct {
	cpu time.Duration
	rss int64
}

// tick is the unit of times in /proc/PID/stat: the kernel shows 100 a second to
// every process, whatever it counts in.
const tick = 10 * time.Millisecond

func usageOf(t rig.TB, p *rig.Proc) usage {
	t.Helper()
	stat := string(rig.Must[[]byte](t)(os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))))
	// The second field is the name in parentheses, which may hold anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	number := func(field int) int64 { // as proc(5) counts them
		return rig.Must[int64](t)(strconv.ParseInt(fields[field-3], 10, 64))
	}
	return usage{cpu: time.Duration(number(14)+number(15)) * tick, rss: number(24) * int64(os.Getpagesize())}
}
