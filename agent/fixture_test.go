package agent

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const testCluster = "c0ffee"

var (
	noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	rev1 = signing.Hash{1}
	rev2 = signing.Hash{2}
)

// shop is a deployment with one service of the given number of replicas, whose
// image has the given tag.
func shop(tag string, replicas int) *desired.Deployment {
	return &desired.Deployment{
		Name:     "shop",
		Networks: []desired.Network{{Name: "default"}},
		Volumes:  []desired.Volume{{Name: "data"}},
		Services: []desired.Service{{
			Name: "web", Mode: desired.Replicated, Replicas: replicas,
			SpecHash: "hash-" + tag,
			Update:   desired.Update{Order: desired.StartFirst, Parallelism: 1},
			Container: desired.Container{
				Image:     "web:" + tag,
				Networks:  []desired.Attachment{{Network: "default"}},
				StopGrace: 10 * time.Second,
			},
		}},
	}
}

// accepted is a view of one deployment at a revision, with the one before.
func accepted(rev signing.Hash, d *desired.Deployment, previous *cluster.Accepted) *cluster.View {
	return &cluster.View{Deployments: map[string]*cluster.Accepted{
		d.Name: {Name: d.Name, Revision: rev, Desired: d, Previous: previous},
	}}
}

// replica is an assignment of shop/web.
func replica(id string, phase cluster.Phase) cluster.Replica {
	return cluster.Replica{
		ID: id, Deployment: "shop", Service: "web", Slot: 1, Node: "node-1",
		Revision: rev1, SpecHash: "hash-1", Phase: phase, CreateIndex: 100,
	}
}

// containerOf is the running container of an assignment.
func containerOf(r cluster.Replica) Container {
	return Container{
		ID: "c-" + r.ID, Name: ContainerName(r), Status: StatusRunning,
		Labels: map[string]string{
			LabelCluster: testCluster, LabelDeployment: r.Deployment, LabelService: r.Service,
			LabelReplica: r.ID, LabelSpec: r.SpecHash,
		},
		StartedAt: noon.Add(-time.Minute),
		ImageID:   "sha256:image",
		Networks:  map[string]netip.Addr{"jaco_shop_default": netip.MustParseAddr("10.0.0.2")},
		StopGrace: 10 * time.Second,
	}
}

// golden compares got with a file below testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("golden file: %v (run with -update to write it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}
