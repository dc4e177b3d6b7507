package isolation

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
	"github.com/jaco-sh/jaco/tests/stage/reach"
)

//rig:program peer ./tests/rig/cmd/peer

func TestMain(m *testing.M) { rig.Main(m, "isolation") }

const (
	// settleTime is ample for everything to be well again on a busy machine.
	settleTime = 60 * time.Second
	// reachTime is how long the mesh has to come back after a disturbance.
	reachTime = 20 * time.Second
	// published is the port of the node on which one service answers the LAN.
	published = 8088
)

// deployments of the matrix have two networks each, and a replica on each node
// for each network.
var deployments = []string{"east", "north", "south", "west"}

func matrix() map[string]string {
	files := map[string]string{}
	for _, name := range deployments {
		a := stage.Peers{Name: "aa", Replicas: 3, Networks: []string{"one"}}
		b := stage.Peers{Name: "bb", Replicas: 3, Networks: []string{"two"}}
		if name == "north" {
			a.Publish = published
		}
		files[stage.Path(name)] = stage.PeerCompose(a, b)
	}
	return files
}

// trial is the cluster that everything happens to.
type trial struct {
	*stage.Cluster
	t *testing.T
}

// TestIsolation has every container try to reach every other, in all ways, before,
// during and after each disturbance.
func TestIsolation(t *testing.T) {
	f := &trial{t: t}
	f.Cluster = stage.NewCluster(t, stage.ClusterConfig{Images: []rig.Image{stage.NewPeerImage(t)}})
	f.step("the matrix", func(f *trial) {
		f.Deploy(matrix())
		f.Settle(settleTime)
		f.MeshReady(settleTime)
		f.isolated()
	})
	for _, d := range stage.Disturbances() {
		if d.Name == "ruleset flushed" {
			continue // it opens a window, which has a test of its own
		}
		f.step(d.Name, func(f *trial) { during(f, d) })
	}
	f.step("20 flushes by hand", flushes)
	f.step("nothing starts without a firewall", unloadable)
}

// step is a subtest that the next one goes on from.
func (f *trial) step(name string, run func(*trial)) {
	whole := false
	passed := f.t.Run(name, func(t *testing.T) {
		f.In(t)
		in := *f
		in.t = t
		run(&in)
		whole = true
	})
	if !passed && !whole {
		f.t.FailNow()
	}
}

// isolated runs the matrix once, waiting until all that must pass does: what
// must not pass must not even before that.
func (f *trial) isolated() {
	f.t.Helper()
	f.reached()
	w := f.world()
	defer w.close()
	start := time.Now()
	rig.Eventually(f.t, reachTime, "all that may pass to arrive", func(ctx context.Context) (bool, string) {
		missing := w.round(ctx, true)
		return missing == "", missing
	}, f)
	w.names(f.t.Context())
	f.publishedAnswers()
	w.judge()
	f.t.Logf("%s after %s", w, time.Since(start).Round(time.Millisecond))
}

// reached waits until every pair that may talk does.
func (f *trial) reached() {
	f.t.Helper()
	rig.Eventually(f.t, reachTime, "every pair of a network to reach each other", func(ctx context.Context) (bool, string) {
		endpoints, err := f.TryEndpoints(ctx)
		if err == nil {
			err = reach.All(ctx, endpoints)
		}
		return err == nil, fmt.Sprint(err)
	}, f)
}

// publishedAnswers wants the published port of every node to answer the LAN.
func (f *trial) publishedAnswers() {
	f.t.Helper()
	client := f.Rig.LAN.NetNS.HTTPClient()
	for _, node := range f.Rig.Nodes {
		rig.Eventually(f.t, reachTime, "the published port of "+node.Name, func(ctx context.Context) (bool, string) {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/healthz", node.Address, published), nil)
			if err != nil {
				return false, err.Error()
			}
			response, err := client.Do(request)
			if err != nil {
				return false, err.Error()
			}
			return response.Body.Close() == nil && response.StatusCode == http.StatusOK, response.Status
		}, f)
	}
}

// during probes without a pause while one thing happens to a node.
func during(f *trial, d stage.Disturbance) {
	m := f.Follower()
	w := f.world()
	stop := w.goOn()
	f.Check(d.Do(f.t.Context(), f.Cluster, m))
	stage.Pass(f.t, time.Second)
	rounds := stop()
	w.judge()
	w.close()
	f.t.Logf("%d rounds while: %s; %s", rounds, d.Name, w)
	if rounds == 0 {
		f.t.Error("nothing was probed meanwhile")
	}
	if d.Undo != nil {
		f.Check(d.Undo(f.t.Context(), f.Cluster, m))
	}
	f.Settle(settleTime)
	f.MeshReady(settleTime)
	f.isolated()
}
