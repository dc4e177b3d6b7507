package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "crash") }

// The number of kills. Each comes at a random moment of a deploy.
const (
	daemonKills    = 50
	engineRestarts = 50
	// deployTime is about how long a deploy of the suite takes: the moments are
	// drawn from it.
	deployTime = 2500 * time.Millisecond
)

const (
	// replicas of each of the two deployments: one changes in every round, the
	// other never does.
	replicas = 3
	// checkEvery is the time between two healthchecks of the one that changes:
	// a rollout waits for one three times.
	checkEvery = 300 * time.Millisecond
	// lookEvery is the time between two looks at the status. Each is a process,
	// which slows down what it waits for.
	lookEvery = 100 * time.Millisecond
)

func TestDaemonKilled(t *testing.T) {
	s := newStage(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	calm := calmContainers(s)
	for round := range daemonKills {
		push(s, round)
		pause(t, time.Duration(random.Int64N(int64(deployTime))))
		s.Check(s.Daemon.Kill(t.Context()))
		if random.IntN(4) == 0 { // again while it comes up
			s.Check(s.Daemon.Start(t.Context()))
			pause(t, time.Duration(random.Int64N(int64(300*time.Millisecond))))
			s.Check(s.Daemon.Kill(t.Context()))
		}
		s.Check(s.Daemon.Start(t.Context()))
		check(t, s, round, calm)
	}
	checkHistory(t, s, daemonKills)
}

func TestEngineRestarted(t *testing.T) {
	s := newStage(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	calm := calmContainers(s)
	for round := range engineRestarts {
		push(s, round)
		pause(t, time.Duration(random.Int64N(int64(deployTime))))
		if round%2 == 0 {
			s.Check(s.Node.Engine.Restart(t.Context()))
		} else {
			s.Check(s.Node.Engine.Kill(t.Context()))
			s.Check(s.Node.Engine.Start(t.Context()))
		}
		check(t, s, round, calm)
	}
	checkHistory(t, s, engineRestarts)
}

func newStage(t *testing.T) *stage.Stage {
	t.Helper()
	s := stage.New(t, stage.Config{})
	s.Deploy(map[string]string{
		stage.Path("calm"): stage.Compose(stage.Service{Name: "web", Tag: "1", Replicas: replicas}),
		stage.Path("busy"): stage.Compose(stage.Service{Name: "web", Tag: "1", Replicas: replicas, Check: checkEvery}),
	})
	return s
}

// push changes one deployment's environment, so that all its replicas roll.
func push(s *stage.Stage, round int) {
	s.T.Helper()
	s.Commit(map[string]string{stage.Path("busy"): stage.Compose(stage.Service{
		Name: "web", Tag: stage.ImageTags[round%len(stage.ImageTags)], Replicas: replicas, Check: checkEvery,
		Env: map[string]string{"MESSAGE": fmt.Sprint("round ", round)},
	})})
	s.Push()
}

// pause waits: for a random moment, when what happens meanwhile is the point.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-timer.C:
	}
}

// calmContainers maps the container ids of the deployment that never changes
// to when they were started.
func calmContainers(s *stage.Stage) map[string]string {
	s.T.Helper()
	started := map[string]string{}
	for _, c := range s.Containers() {
		if c.Labels["sh.jaco.deployment"] == "calm" {
			details := rig.Must[rig.Details](s.T)(s.Node.Engine.Inspect(s.T.Context(), c.ID))
			started[c.ID] = details.State.StartedAt
		}
	}
	if len(started) != replicas {
		s.T.Fatal(fmt.Sprintf("%d containers of the calm deployment, want %d", len(started), replicas))
	}
	return started
}

// check waits until the pushed revision runs, and looks for what is doubled,
// lost or restarted.
func check(t *testing.T, s *stage.Stage, round int, calm map[string]string) {
	t.Helper()
	head := rig.Must[string](t)(s.Repo.Git(t.Context(), "rev-parse", "HEAD"))
	s.Eventually(90*time.Second, fmt.Sprintf("round %d: both deployments healthy at the head", round), func(status *cluster.Status) (bool, string) {
		busy, quiet := stage.Deployment(status, "busy"), stage.Deployment(status, "calm")
		ok := busy != nil && quiet != nil && busy.Revision == head && status.Sync.Accepted == head &&
			busy.Health == cluster.HealthHealthy && quiet.Health == cluster.HealthHealthy
		if !ok {
			pause(t, lookEvery)
		}
		return ok, stage.Summary(status)
	})
	rig.Eventually(t, 20*time.Second, fmt.Sprintf("round %d: exactly one container in each slot", round), func(ctx context.Context) (bool, string) {
		containers, err := s.Node.Engine.Containers(ctx, "sh.jaco.cluster")
		if err != nil {
			return false, err.Error()
		}
		slots := map[string]int{}
		for _, c := range containers {
			slots[c.Labels["sh.jaco.deployment"]+"/"+c.Labels["sh.jaco.slot"]]++
		}
		ok := len(containers) == 2*replicas
		for _, n := range slots {
			ok = ok && n == 1
		}
		return ok, fmt.Sprint(slots)
	}, s.Daemon)
	for _, c := range s.Containers() {
		if c.Labels["sh.jaco.deployment"] == "busy" && c.Labels["sh.jaco.revision"] != head {
			t.Errorf("round %d: container %v is of revision %s, want %s", round, c.Names, c.Labels["sh.jaco.revision"], head)
		}
	}
	for id, started := range calmContainers(s) {
		if calm[id] != started {
			t.Fatalf("round %d: container %s of the calm deployment was replaced or restarted (started %s, before %v)", round, id[:12], started, calm)
		}
	}
}

// checkHistory proves that no state was lost: every round's commit was
// claimed, and the whole log verifies from the anchor.
func checkHistory(t *testing.T, s *stage.Stage, rounds int) {
	t.Helper()
	out := s.Jaco("audit", "verify", "--anchor", s.Anchor)
	if !strings.HasPrefix(out, "verified") {
		t.Errorf("audit verify says:\n%s", out)
	}
	for i := range rounds {
		commit := rig.Must[string](t)(s.Repo.Git(t.Context(), "rev-parse", fmt.Sprintf("HEAD~%d", i)))
		if !strings.Contains(out, commit[:12]) {
			t.Errorf("the log does not know commit %s of round %d", commit, rounds-1-i)
		}
	}
}
