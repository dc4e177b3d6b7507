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

// What an idle node of three with nine replicas may take.
const (
	maxCPU = 0.01 // of a core
	maxRSS = 80 << 20
)

// TestIdleCluster lets nothing happen to three nodes: none writes to the log,
// and none takes more than it may of its machine.
func TestIdleCluster(t *testing.T) {
	c := stage.NewCluster(t, stage.ClusterConfig{Settings: map[string]any{"log": map[string]string{"format": "text", "level": "info"}}})
	c.Deploy(stage.Nine())
	c.Settle(time.Minute)
	c.WantSpread("shop", 3)
	index := c.Quiet(30 * time.Second)

	before := map[string]usage{}
	start := time.Now()
	for _, m := range c.Members() {
		before[m.Name()] = usageOf(t, m.Proc())
	}
	stage.Pass(t, idleTime)
	elapsed := time.Since(start)
	for _, m := range c.Members() {
		now := usageOf(t, m.Proc())
		share := (now.cpu - before[m.Name()].cpu).Seconds() / elapsed.Seconds()
		t.Logf("%s: %.2f %% of a core, %d MiB", m.Name(), 100*share, now.rss>>20)
		if share >= maxCPU {
			t.Errorf("%s took %.2f %% of a core, want less than %.0f %%", m.Name(), 100*share, 100*maxCPU)
		}
		if now.rss >= maxRSS {
			t.Errorf("%s holds %d MiB, want less than %d", m.Name(), now.rss>>20, maxRSS>>20)
		}
	}
	for _, m := range c.Members() {
		if after := m.Status().Cluster.Index; after != index {
			t.Errorf("%s: %d raft entries in %s of idleness, want none:\n%s", m.Name(), after-index, elapsed, m.Jaco("audit", "--since", "70s", "-o", "wide"))
		}
	}
}

// usage is what a process has taken so far, and holds now.
type usage struct {
	cpu time.Duration
	rss int64
}

// tick is the unit of times in /proc/PID/stat: the kernel shows 100 a second to
// every process, whatever it counts in.
const tick = 10 * time.Millisecond

func usageOf(t *testing.T, p *rig.Proc) usage {
	t.Helper()
	stat := string(rig.Must[[]byte](t)(os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))))
	// The second field is the name in parentheses, which may hold anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	number := func(field int) int64 { // as proc(5) counts them
		return rig.Must[int64](t)(strconv.ParseInt(fields[field-3], 10, 64))
	}
	return usage{cpu: time.Duration(number(14)+number(15)) * tick, rss: number(24) * int64(os.Getpagesize())}
}
