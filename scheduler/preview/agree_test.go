package preview_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/scheduler/preview"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

const shopFile = `services:
  api:
    image: api:1
    environment: {LEVEL: info}
    healthcheck: {test: ["CMD", "true"]}
    deploy: {replicas: 3}
  worker:
    image: worker:1
    deploy: {replicas: 2, update_config: {order: stop-first, parallelism: 2}}
  db:
    image: db:1
    volumes: ["data:/data"]
volumes:
  data: {}
`

const shop = "deployments/shop/compose.yaml"

// TestPlanIsWhatHappens makes one change of the example fleet after the other,
// asks for its plan, pushes it, and compares.
func TestPlanIsWhatHappens(t *testing.T) {
	f := newFleet(t)
	example := "../../examples/fleet"
	for _, name := range []string{"deployments/web/compose.yaml", "deployments/web/jaco.yaml"} {
		f.write(name, string(rig.Must[[]byte](t)(os.ReadFile(filepath.Join(example, name)))))
	}
	f.write("deployments/web/.env", "MESSAGE=hello\nPORT=8080\n")
	f.write(shop, shopFile)
	f.check("first of all", "", f.plan())

	for _, c := range []struct {
		name   string
		change func()
		// refused is a reason of the whole commit, or "invalid" for a deployment
		// alone; it must have been foretold.
		refused string
		some    bool // replicas must change
	}{
		{"image", func() { f.edit(shop, "api:1", "api:2") }, "", true},
		{"environment", func() { f.edit(shop, "LEVEL: info", "LEVEL: debug") }, "", true},
		{"environment file", func() { f.edit("deployments/web/.env", "hello", "good day") }, "", true},
		{"replicas up", func() { f.edit(shop, "replicas: 3", "replicas: 5") }, "", true},
		{"replicas down", func() { f.edit(shop, "replicas: 5", "replicas: 2") }, "", true},
		{"replicas by the overlay", func() { f.write("deployments/shop/jaco.yaml", "services:\n  - {name: worker, replicas: 4}\n") }, "", true},
		{"service added", func() { f.edit(shop, "  db:\n", "  cache:\n    image: cache:1\n  db:\n") }, "", true},
		{"service removed", func() { f.edit(shop, "  cache:\n    image: cache:1\n", "") }, "", true},
		{"deployment added", func() {
			f.write("deployments/blog/compose.yaml", "services: {blog: {image: \"blog:1\", volumes: [\"posts:/p\"]}}\nvolumes: {posts: {x-jaco-prune: true}}\n")
		}, "", true},
		{"volume added", func() {
			f.edit(shop, "volumes: [\"data:/data\"]", "volumes: [\"data:/data\", \"extra:/extra\"]")
			f.edit(shop, "data: {}", "data: {}\n  extra: {}")
		}, "", true},
		{"port", func() { f.edit("deployments/web/.env", "8080", "8081") }, "", true},
		{"healthcheck", func() { f.edit("deployments/web/compose.yaml", "retries: 3", "retries: 5") }, "", true},
		{"update policy alone", func() { f.edit(shop, "parallelism: 2", "parallelism: 1") }, "", false},
		{"placement", func() {
			f.write("cluster.yaml", "nodes: {node-3: {labels: {disk: ssd}}}\n")
			f.edit(shop, "replicas: 2, ", "replicas: 2, placement: {constraints: [node.labels.disk == ssd]}, ")
		}, "", true},
		{"global", func() { f.edit(shop, "deploy: {replicas: 2}\n", "deploy: {mode: global}\n") }, "", true},
		{"invalid file beside a good one", func() {
			f.edit(shop, "image: db:1", "imaeg: db:1")
			f.edit("deployments/blog/compose.yaml", "blog:1", "blog:2")
		}, "invalid", true},
		{"mended", func() { f.edit(shop, "imaeg: db:1", "image: db:1") }, "", false},
		{"privilege refused", func() { f.edit(shop, "image: worker:1", "image: worker:1\n    privileged: true") }, "invalid", false},
		{"privilege allowed by root", func() {
			f.write("trust.yaml", strings.Replace(fmt.Sprintf(fleetFile, 2), "\"cap:NET_ADMIN\"", "privileged, \"cap:NET_ADMIN\"", 1))
		}, "", true},
		{"privilege allowed", func() { f.edit(shop, "privileged: true", "cap_add: [NET_ADMIN]") }, "", true},
		{"name of a volume allowed", func() { f.edit(shop, "extra: {}", "extra: {name: shared}") }, "", true},
		{"symlink", func() { f.link("deployments/shop/passwd") }, string(signing.ReasonMalformed), false},
		{"trust with its old version", func() { f.edit("trust.yaml", "approvals: 1", "approvals: 1, signers: [alice]") }, string(signing.ReasonTrust), false},
		{"trust", func() {
			f.write("trust.yaml", strings.Replace(fmt.Sprintf(fleetFile, 3), "allow:", "allow:\n  - {deployment: blog, privileges: [\"volume:shared\"]}", 1))
		}, "", false},
		{"name of a volume that another deployment has", func() {
			f.edit("deployments/blog/compose.yaml", "x-jaco-prune: true", "x-jaco-prune: true, name: shared")
		}, "invalid", false},
		{"that name given up", func() { f.edit(shop, "extra: {name: shared}", "extra: {}") }, "", true},
		{"deployment removed", func() { f.remove("deployments/blog") }, "", true},
		{"node removed", func() {
			f.write("cluster.yaml", "nodes: {node-3: {labels: {disk: ssd}}, node-2: {availability: removed}}\n")
		}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.t = t
			c.change()
			p := f.plan()
			f.check(c.name, c.refused, p)
			if c.some != (len(p.Replicas) > 0) {
				t.Errorf("the plan has %d replicas, want some: %t", len(p.Replicas), c.some)
			}
		})
	}
}

// link makes a symbolic link.
func (f *fleet) link(name string) {
	f.t.Helper()
	if err := os.Symlink("/etc/passwd", f.path(name)); err != nil {
		f.t.Fatal(err)
	}
}

// check pushes the work tree and compares what happens with its plan.
func (f *fleet) check(name, refused string, p *preview.Plan) {
	f.t.Helper()
	before, old := f.running(), f.verifier.View()
	reason := f.push()
	f.settle()
	if diff := cmp.Diff(happened(before, f.running()), planned(p), cmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
		f.t.Errorf("%s: what happened is not what was planned (-happened +planned):\n%s", name, diff)
	}
	if p.Whole != (reason != "") || reason != "" && !slices.ContainsFunc(p.Refused, func(r preview.Refusal) bool { return r.Reason == string(reason) }) {
		f.t.Errorf("%s: the commit was refused for %q, the plan says %+v", name, reason, p.Refused)
	}
	if got := p.WouldRefuse(); got != (refused != "") || refused != "" && p.Refused[0].Reason != refused {
		f.t.Errorf("%s: the plan refuses %+v, want %q", name, p.Refused, refused)
	}
	f.checkView(name, old, p)
}

// checkView compares revisions, problems and volumes.
func (f *fleet) checkView(name string, old *cluster.View, p *preview.Plan) {
	f.t.Helper()
	view := f.verifier.View()
	for deployment, a := range view.Deployments {
		changes := slices.ContainsFunc(p.Deployments, func(d preview.Deployment) bool { return d.Name == deployment })
		was := old.Deployments[deployment]
		if moved := a.Desired != nil && (was == nil || was.Revision != a.Revision); moved != changes && a.Invalid == nil && (was == nil || was.Invalid == nil) {
			f.t.Errorf("%s: %s got a new revision: %t, the plan says %t", name, deployment, moved, changes)
		}
		for _, r := range p.Refused {
			if r.Unit == deployment && !p.Whole && (a.Invalid == nil || !strings.Contains(a.Invalid.Reason, r.Message)) {
				f.t.Errorf("%s: %s was not refused for %q: %+v", name, deployment, r.Message, a.Invalid)
			}
		}
		if a.Invalid != nil && !p.WouldRefuse() {
			f.t.Errorf("%s: %s is invalid, which the plan does not say: %s", name, deployment, a.Invalid.Reason)
		}
	}
	for _, d := range p.Deployments {
		if (d.Change == preview.Removed) != (view.Deployments[d.Name] == nil) {
			f.t.Errorf("%s: %s is %s by the plan", name, d.Name, d.Change)
		}
	}
	for _, v := range p.Volumes {
		prunable := slices.ContainsFunc(view.Prune, func(g cluster.PrunedVolume) bool { return g.Engine == v.Engine })
		if prunable != (v.Action == preview.VolumePrune) {
			f.t.Errorf("%s: volume %s may be removed: %t, the plan says %s", name, v.Engine, prunable, v.Action)
		}
	}
	if len(view.Prune) > 0 && !slices.ContainsFunc(p.Volumes, func(v preview.Volume) bool { return v.Action == preview.VolumePrune }) && len(old.Prune) == 0 {
		f.t.Errorf("%s: %+v may be removed, which the plan does not say", name, view.Prune)
	}
}
