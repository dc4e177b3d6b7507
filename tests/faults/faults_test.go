package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

//rig:program jacod-fast ./cmd/jacod -X main.clockOffset=1h

func TestMain(m *testing.M) { rig.Main(m, "faults") }

const (
	// settleTime is ample for everything to be well again on a busy machine.
	settleTime = 90 * time.Second
	// replicas of each of the two deployments: "busy" changes with every push,
	// "calm" never does.
	replicas = 3
	// checkEvery is the time between two healthchecks of the one that changes.
	checkEvery = 300 * time.Millisecond
	// diskSize is ample for a data directory of the suite, and filled in no time.
	diskSize = 96 << 20
)

// trial is the cluster that all faults happen to, one after the other.
type trial struct {
	*stage.Cluster
	t      *testing.T
	random *rand.Rand
	pushes int
}

// TestFaults breaks one thing after the other in the same cluster. After each
// everything has to be well again.
func TestFaults(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	f := &trial{random: rand.New(rand.NewPCG(seed, 0))}
	f.Cluster = stage.NewCluster(t, stage.ClusterConfig{Transport: stage.HTTP, Daemon: func(node *rig.Node, config *rig.DaemonConfig) {
		config.DataSize = diskSize
		config.Jacod = programOf(node)
		if err := useProgram(node, "jacod"); err != nil {
			t.Fatal(err)
		}
	}})
	f.Deploy(map[string]string{
		stage.Path("calm"): stage.Compose(stage.Service{Name: "web", Tag: "1", Replicas: replicas}),
		stage.Path("busy"): busy(0),
		"cluster.yaml":     "sync: {interval: 5s}\n",
	})
	f.Settle(settleTime)
	f.WantSpread("calm", 3)
	for _, fault := range []struct {
		name string
		run  func(*trial)
	}{
		{"all daemons killed", allKilled},
		{"quorum lost", quorumLost},
		{"engine killed", engineKilled},
		{"minority cut off", minorityCutOff},
		{"node powered off", poweredOff},
		{"data directory wiped", wiped},
		{"disk of the leader full", diskFull},
		{"clock of a follower ahead", followerAhead},
		{"clock of the leader ahead", leaderAhead},
		{"leader killed during rollouts", leaderKilled},
	} {
		whole := false
		passed := t.Run(fault.name, func(t *testing.T) {
			f.In(t)
			f.t = t
			fault.run(f)
			f.Settle(settleTime)
			whole = true
		})
		if !passed && !whole { // the next fault needs what this one broke
			t.FailNow()
		}
	}
}

// programOf is the path of a node's jacod, a link that useProgram sets.
func programOf(node *rig.Node) string { return filepath.Join(node.Dir, "program") }

// useProgram chooses which jacod the node's next start runs.
func useProgram(node *rig.Node, name string) error {
	path, err := rig.Bin(name)
	if err != nil {
		return err
	}
	if err := os.Remove(programOf(node)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(path, programOf(node))
}

// busy is the deployment that changes, in its n-th form.
func busy(n int) string {
	return stage.Compose(stage.Service{
		Name: "web", Tag: stage.ImageTags[n%len(stage.ImageTags)], Replicas: replicas, Check: checkEvery,
		Env: map[string]string{"MESSAGE": fmt.Sprint("push ", n)},
	})
}

// push changes the busy deployment, and more files where they are given, and
// tells a node of it.
func (f *trial) push(tell stage.Member, more map[string]string) string {
	f.T.Helper()
	f.pushes++
	files := map[string]string{stage.Path("busy"): busy(f.pushes)}
	maps.Copy(files, more)
	commit := f.Commit(files)
	f.Push()
	f.Deliver(tell)
	return commit
}

// but lists the nodes that run, without one.
func (f *trial) but(one stage.Member) []stage.Member {
	var rest []stage.Member
	for _, m := range f.Running() {
		if m.Name() != one.Name() {
			rest = append(rest, m)
		}
	}
	return rest
}

// follower is a node that does not lead.
func (f *trial) follower() stage.Member {
	f.T.Helper()
	rest := f.but(f.Leader())
	return rest[f.random.IntN(len(rest))]
}

// pass lets time pass, where what happens meanwhile is the point.
func (f *trial) pass(d time.Duration) {
	f.T.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-f.t.Context().Done():
		f.T.Fatal(f.t.Context().Err())
	case <-timer.C:
	}
}

// unchanged fails the test when a container of the deployments was replaced or
// restarted since.
func (f *trial) unchanged(before map[string]string, deployments ...string) {
	f.T.Helper()
	if after := f.started(deployments...); !maps.Equal(before, after) {
		f.t.Errorf("containers were replaced or restarted:\nbefore %v\nafter  %v", before, after)
	}
}

func (f *trial) started(deployments ...string) map[string]string {
	f.T.Helper()
	all := map[string]string{}
	for _, name := range deployments {
		maps.Copy(all, f.Started(name))
	}
	return all
}

// newLeader waits until the nodes agree on a leader that is not the one before.
func (f *trial) newLeader(before stage.Member, among []stage.Member) {
	f.T.Helper()
	f.Eventually(30*time.Second, "another leader than "+before.Name(), func(status *cluster.Status) (bool, string) {
		leader := status.Cluster.Leader
		return leader != "" && leader != before.Name() && status.Cluster.Quorum, stage.Summary(status)
	}, among...)
}

// runs wants the status to say that the commit is accepted, and that each
// deployment has all of its replicas healthy and of the wanted spec on other
// nodes than the one without; old ones may still be there.
func runs(commit, without string) func(*cluster.Status) (bool, string) {
	return func(status *cluster.Status) (bool, string) {
		ok := status.Sync.Accepted == commit
		for _, name := range []string{"calm", "busy"} {
			s := stage.FindService(status, name, "web")
			if ok = ok && s != nil && s.Healthy >= replicas && s.Updated >= replicas; !ok {
				break
			}
			healthy := 0
			for _, r := range s.Replicas {
				if r.Node != without && r.Phase == cluster.Healthy {
					healthy++
				}
			}
			ok = healthy >= replicas
		}
		return ok, stage.Summary(status)
	}
}

// runsOrWaits wants the status to say that the commit is accepted, and that it
// runs or waits for the node, which is not ready and cannot be told what to stop.
func runsOrWaits(commit, node string) func(*cluster.Status) (bool, string) {
	return func(status *cluster.Status) (bool, string) {
		busy := stage.Deployment(status, "busy")
		if busy == nil {
			return false, stage.Summary(status)
		}
		waits := busy.Health == cluster.HealthProgressing && strings.Contains(busy.Reason, "waits for "+node+", which is NotReady")
		return status.Sync.Accepted == commit && (waits || stage.Whole(busy)), stage.Summary(status)
	}
}

// nodeIn is a node in a status; one that has just started knows of none.
func nodeIn(status *cluster.Status, name string) cluster.NodeStatus {
	if node := stage.Node(status, name); node != nil {
		return *node
	}
	return cluster.NodeStatus{}
}

// cutOff wants the status to say that nothing can change, and what is missing.
func cutOff(missing ...string) func(*cluster.Status) (bool, string) {
	return func(status *cluster.Status) (bool, string) {
		warnings := strings.Join(status.Cluster.Warnings, "\n")
		ok := !status.Cluster.Quorum && status.Cluster.Leader == "" && strings.Contains(warnings, "no leader: nothing can change until")
		for _, name := range missing {
			ok = ok && strings.Contains(warnings, name)
		}
		return ok, warnings + "\n" + stage.Summary(status)
	}
}
