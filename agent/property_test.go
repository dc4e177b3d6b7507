package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// drawInput draws what a node may face, lies of its leader included.
func drawInput(t *rapid.T) *input {
	in := &input{
		cluster: testCluster, now: noon, rejectAfter: 30 * time.Second,
		containers: map[string]Container{}, networks: map[string]Network{}, memory: map[string]memory{},
	}
	if rapid.IntRange(0, 9).Draw(t, "view") > 0 {
		old := accepted(rev1, drawDeployment(t), nil).Deployments["shop"]
		in.view = accepted(rev2, drawDeployment(t), old)
	}
	phases := []cluster.Phase{cluster.Assigned, cluster.Preparing, cluster.Starting, cluster.Running,
		cluster.Healthy, cluster.Unhealthy, cluster.Stopping, cluster.Stopped, cluster.Failed, cluster.Lost}
	for i := range rapid.IntRange(0, 12).Draw(t, "replicas") {
		r := replica(fmt.Sprintf("r%02d", i), rapid.SampledFrom(phases).Draw(t, "phase"))
		r.Revision = rapid.SampledFrom([]signing.Hash{rev1, rev2, {3}}).Draw(t, "revision")
		r.SpecHash = rapid.SampledFrom([]string{"hash-1", "hash-2", "hash-3"}).Draw(t, "hash")
		r.Service = rapid.SampledFrom([]string{"web", "web", "web", "db"}).Draw(t, "service")
		r.Stop = rapid.IntRange(0, 4).Draw(t, "stop") == 0
		r.CreateIndex = uint64(i)
		in.assigned = append(in.assigned, r)
		if rapid.IntRange(0, 2).Draw(t, "container") == 0 {
			c := containerOf(r)
			c.Status = rapid.SampledFrom([]Status{StatusCreated, StatusRunning, StatusPaused, StatusExited, StatusRemoving}).Draw(t, "status")
			if rapid.IntRange(0, 9).Draw(t, "forged") == 0 {
				c.Labels[LabelSpec] = "hash-forged"
			}
			in.containers[c.ID] = c
		}
		in.memory[r.ID] = memory{
			busy:    rapid.SampledFrom([]actionKind{"", "", "", actStart, actRemove, actAutopsy}).Draw(t, "busy"),
			waiting: rapid.SampledFrom([]time.Time{{}, noon.Add(-time.Second), noon.Add(-time.Hour)}).Draw(t, "waiting"),
			tries:   rapid.IntRange(0, 2).Draw(t, "tries"),
		}
	}
	in.peers = slices.Clone(in.assigned)
	for i := range rapid.IntRange(0, 6).Draw(t, "elsewhere") {
		r := replica(fmt.Sprintf("x%02d", i), cluster.Running)
		r.Node, r.CreateIndex = "node-2", uint64(rapid.IntRange(0, 12).Draw(t, "created"))
		in.peers = append(in.peers, r)
	}
	in.nextClaim = rapid.Uint64Range(0, 12).Draw(t, "next claim")
	drawVolumes(t, in)
	return in
}

// drawVolumes puts volumes on the node, some of them given up. The deployment
// shop declares one named data.
func drawVolumes(t *rapid.T, in *input) {
	in.volumes = map[string]Volume{}
	for _, name := range []string{"data", "old", "older"} {
		engine := "jaco_shop_" + name
		if rapid.Bool().Draw(t, "volume") {
			owner := rapid.SampledFrom([]string{"shop", "shop", "other"}).Draw(t, "owner")
			in.volumes[engine] = Volume{Name: engine, Labels: map[string]string{LabelDeployment: owner, LabelVolume: name}}
		}
		if in.view != nil && rapid.Bool().Draw(t, "given up") {
			in.view.Prune = append(in.view.Prune, cluster.PrunedVolume{Deployment: "shop", Volume: name, Engine: engine})
		}
	}
}

func drawDeployment(t *rapid.T) *desired.Deployment {
	tag := rapid.SampledFrom([]string{"1", "2"}).Draw(t, "tag")
	d := shop(tag, rapid.IntRange(0, 4).Draw(t, "declared"))
	d.Services[0].Update.Parallelism = rapid.IntRange(0, 2).Draw(t, "parallelism")
	return d
}

// TestDiffKeepsItsRules: whatever a leader assigns and whatever an engine
// shows, nothing starts that this node did not accept, nothing is touched
// without a view, one action a replica, no more new starts than may run, and
// what runs as it was assigned is left alone.
func TestDiffKeepsItsRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		p := diff(in)
		if in.view == nil && len(p.actions) > 0 {
			t.Fatalf("without a view: %s", p)
		}
		keys, begun := map[string]bool{}, map[string]int{}
		for _, a := range p.actions {
			if keys[a.key] || in.memory[a.key].busy != "" {
				t.Fatalf("two actions at a time on %s:\n%s", a.key, p)
			}
			keys[a.key] = true
			switch a.kind {
			case actStart:
				s, acc := in.view.Spec(a.replica.Deployment, a.replica.Service, a.replica.SpecHash)
				if s == nil || a.service.SpecHash != a.replica.SpecHash || acc == nil {
					t.Fatalf("started what was not accepted:\n%s", p)
				}
				if a.replica.Stop || a.replica.Phase.Final() {
					t.Fatalf("started what is over:\n%s", p)
				}
				if in.memory[a.key].tries == 0 && a.container == nil {
					begun[a.replica.Service]++
				}
			case actRemove:
				checkRemoval(t, in, a)
			case actVolume:
				v, given := in.volumes[a.volume.Engine], slices.Contains(in.view.Prune, a.volume)
				if !given || v.Labels[LabelDeployment] != a.volume.Deployment || a.volume.Volume == "data" {
					t.Fatalf("removed a volume that nobody gave up:\n%s", p)
				}
			case actAutopsy, actNetwork, actRecheck, actCheck:
			}
		}
		for service, n := range begun {
			most := 0
			for _, l := range in.view.Limits("shop", service) {
				most = max(most, l.Replicas)
			}
			if n > most {
				t.Fatalf("%d new replicas of %s, at most %d may run:\n%s", n, service, most, p)
			}
		}
		for _, rep := range p.reports {
			for _, r := range in.assigned {
				if r.ID == rep.ID && (r.Phase.Final() || order(rep.Phase) < order(r.Phase)) {
					t.Fatalf("report takes %s back from %s:\n%s", r.ID, r.Phase, p)
				}
			}
		}
	})
}

// checkRemoval wants a reason for every removal.
func checkRemoval(t *rapid.T, in *input, a action) {
	for _, r := range in.assigned {
		if r.ID != a.container.Labels[LabelReplica] || a.container.Labels[LabelSpec] != r.SpecHash {
			continue
		}
		if !r.Stop && !r.Phase.Final() {
			t.Fatalf("removed the container of %s, which is %s and not told to stop", r.ID, r.Phase)
		}
	}
}
