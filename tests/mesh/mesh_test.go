package mesh

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
	"github.com/jaco-sh/jaco/tests/stage/reach"
)

//rig:program peer ./tests/rig/cmd/peer

func TestMain(m *testing.M) { rig.Main(m, "mesh") }

const (
	// settleTime is ample for everything to be well again on a busy machine.
	settleTime = 60 * time.Second
	// reachTime is how long the mesh has to come back after a disturbance.
	reachTime = 20 * time.Second
)

// shop has a network with two replicas on each node, another one, and a service
// that is on both.
func shop(web int) map[string]string {
	return map[string]string{stage.Path("shop"): stage.PeerCompose(
		stage.Peers{Name: "web", Replicas: web, Networks: []string{"front"}},
		stage.Peers{Name: "api", Replicas: 3, Networks: []string{"back", "front"}},
		stage.Peers{Name: "store", Replicas: 3, Networks: []string{"back"}},
	)}
}

// trial is the cluster that everything happens to.
type trial struct {
	*stage.Cluster
	t *testing.T
}

// TestMesh disturbs one thing after the other in the same cluster. After each,
// every pair has to reach each other again. One node writes its rules by
// iptables-legacy.
func TestMesh(t *testing.T) {
	f := &trial{t: t}
	f.Cluster = stage.NewCluster(t, stage.ClusterConfig{
		Transport: stage.SSH, Images: []rig.Image{stage.NewPeerImage(t)},
		Engine: func(number int, config *rig.EngineConfig) { config.LegacyTables = number == 3 },
	})
	f.step("everybody reaches everybody", func(f *trial) {
		f.Deploy(shop(6))
		f.Settle(settleTime)
		f.MeshReady(settleTime)
		f.reached()
	})
	f.step("nothing in the clear on the LAN", inTheClear)
	f.step("the end of jacod is not felt", jacodsEnd)
	for _, d := range stage.Disturbances() {
		f.step(d.Name, func(f *trial) { disturbed(f, d) })
	}
	f.step("a broken pair is named, and a node that goes leaves nothing", func(f *trial) {
		a, b := f.Rig.Nodes[0], f.Rig.Nodes[1]
		f.Check(f.Rig.BlockUDP(t.Context(), a, b))
		teardown(f)
		brokenPair(f, a.Name, b.Name)
	})
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

// reached waits until every pair reaches each other, and says how long it took.
func (f *trial) reached() {
	f.t.Helper()
	start := time.Now()
	rig.Eventually(f.t, reachTime, "every pair to reach each other", func(ctx context.Context) (bool, string) {
		endpoints, err := f.TryEndpoints(ctx)
		if err == nil {
			err = reach.All(ctx, endpoints)
		}
		return err == nil, fmt.Sprint(err)
	}, f)
	f.t.Logf("all pairs after %s", time.Since(start).Round(time.Millisecond))
}

// flows starts one flow from each node to each other, between replicas of web
// on nodes that are not left out.
func (f *trial) flows(without string) []*reach.Flow {
	f.t.Helper()
	first := map[string]*stage.Endpoint{}
	var order []*stage.Endpoint
	for _, e := range stage.PeersOf(f.Endpoints(), "shop", "web") {
		if first[e.Node.Name] == nil {
			first[e.Node.Name] = e
			order = append(order, e)
		}
	}
	var flows []*reach.Flow
	for _, from := range order {
		for _, to := range order {
			if from == to || from.Node.Name == without || to.Node.Name == without {
				continue
			}
			flow, err := reach.Start(f.t.Context(), from, to, from.Shared(to)[0], 5*time.Millisecond)
			f.Check(err)
			flows = append(flows, flow)
		}
	}
	return flows
}

// disturbed does one thing to a follower while packets flow, and wants all well
// after it. Flows between other nodes must not notice; all must not where the
// disturbance is not felt.
func disturbed(f *trial, d stage.Disturbance) {
	m := f.Follower()
	without := ""
	if d.Felt {
		without = m.Name()
	}
	flows := f.flows(without)
	start := time.Now()
	f.Check(d.Do(f.t.Context(), f.Cluster, m))
	f.t.Logf("%s took %s", d.Name, time.Since(start).Round(time.Millisecond))
	if !d.Ends {
		f.reached()
	}
	for _, flow := range flows {
		if r := flow.Stop(); r.Lost > 0 || r.Sent == 0 {
			f.t.Errorf("%s: %s", d.Name, r)
		}
	}
	if d.Undo != nil {
		f.Check(d.Undo(f.t.Context(), f.Cluster, m))
	}
	f.Settle(settleTime)
	f.MeshReady(settleTime)
	f.reached()
}

// jacodsEnd kills jacod on every node: no packet is lost, and no answer of DNS,
// while it is away and when it is back.
func jacodsEnd(f *trial) {
	ctx := f.t.Context()
	flows := f.flows("")
	asking, stop := context.WithCancel(ctx)
	asked := make(chan string)
	endpoints := stage.PeersOf(f.Endpoints(), "shop", "web")
	for _, e := range endpoints {
		go func() { asked <- askOn(asking, e) }()
	}
	edges := map[string]int{}
	for _, m := range f.Members() {
		edges[m.Name()] = rig.Must[int](f.t)(m.EdgePID())
	}
	f.Kill()
	stage.Pass(f.t, 2*time.Second)
	f.Start()
	f.Eventually(settleTime, "all to be ready", func(status *cluster.Status) (bool, string) {
		return status.Cluster.Ready == len(f.Members()), stage.Summary(status)
	})
	stage.Pass(f.t, 2*time.Second)
	stop()
	for range endpoints {
		if failure := <-asked; failure != "" {
			f.t.Error(failure)
		}
	}
	for _, flow := range flows {
		if r := flow.Stop(); r.Lost > 0 || r.Sent == 0 {
			f.t.Error(r)
		}
	}
	for _, m := range f.Members() {
		if pid := rig.Must[int](f.t)(m.EdgePID()); pid == 0 || pid != edges[m.Name()] {
			f.t.Errorf("%s: the edge is process %d, was %d", m.Name(), pid, edges[m.Name()])
		}
	}
}

// askOn asks for a name again and again until the context ends, and says what
// went wrong first.
func askOn(ctx context.Context, e *stage.Endpoint) string {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			if n == 0 {
				return e.String() + ": asked nothing"
			}
			return ""
		case <-tick.C:
		}
		got, err := reach.Resolve(ctx, e.NetNS, reach.Embedded, "api")
		if ctx.Err() == nil && (err != nil || len(got) != 3) {
			return fmt.Sprintf("%s: answer %d is %v, %v", e, n, got, err)
		}
	}
}

// brokenPair wants both nodes of a pair between which no UDP passes to be named.
// The mesh looks at its peers every half a minute.
func brokenPair(f *trial, a, b string) {
	f.Eventually(75*time.Second, "the pair to be named", func(status *cluster.Status) (bool, string) {
		said := strings.Join(status.Cluster.Warnings, "\n")
		for _, name := range []string{a, b} {
			if node := stage.Node(status, name); node != nil {
				said += "\n" + node.Reason
			}
		}
		return strings.Contains(said, a) && strings.Contains(said, b), said + "\n" + stage.Summary(status)
	})
	f.Check(f.Rig.Heal(f.t.Context()))
	f.Eventually(75*time.Second, "peers that are well", func(status *cluster.Status) (bool, string) {
		for _, name := range []string{a, b} {
			node := stage.Node(status, name)
			if node == nil || node.Reason != "" || !peersWell(node) {
				return false, fmt.Sprintf("%+v\n%s", node, stage.Summary(status))
			}
		}
		return true, ""
	})
	f.reached()
}

// peersWell says whether a node has proved its peers by full-size packets.
func peersWell(node *cluster.NodeStatus) bool {
	for _, p := range node.Peers {
		if p.MTU < 1280 || p.RTT <= 0 {
			return false
		}
	}
	return len(node.Peers) >= 2
}
