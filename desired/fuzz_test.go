package desired

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The fuzz targets hold for every input: no panic, an answer of bounded size,
// the same answer twice, and desired state that keeps its own promises.

func FuzzCompose(f *testing.F) {
	addFiles(f, "compose.yaml", func(text string) { f.Add(text, "TAG=1\n") })
	f.Add(bomb(2)+service("    labels: *a2"), "")
	f.Add(service("    env_file: .env\n    user: ${A:-${B:?no}}"), "A='1'\nexport B=\"\\0101$A\"\n")
	f.Fuzz(func(t *testing.T, text, env string) {
		fuzzCompile(t, files("compose.yaml", text, ".env", env))
	})
}

func FuzzOverlay(f *testing.F) {
	addFiles(f, OverlayFile, func(text string) { f.Add(text) })
	const base = `
services:
  api: {image: "api:1", networks: [back], ports: ["80:80"], deploy: {replicas: 2}}
  all: {image: "all:1", deploy: {mode: global}}
networks: {back: }
`
	f.Fuzz(func(t *testing.T, text string) {
		fuzzCompile(t, files("compose.yaml", base, OverlayFile, text, "settings/prod.env", "A=1\n"))
	})
}

func FuzzCluster(f *testing.F) {
	f.Add("nodes:\n  node-1: {labels: {zone: eu, ssd: true}}\nsync: {interval: 1m}\n")
	f.Add("nodes: {n: {availability: drain}}\nprune: {max_deployments: 1}\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseCluster([]byte(text))
		again, errAgain := ParseCluster([]byte(text))
		sameAnswer(t, got, again, err, errAgain)
		if err != nil {
			return
		}
		if s := got.SyncInterval; s != 0 && (s < MinSyncInterval || s > MaxSyncInterval) {
			t.Errorf("sync.interval is %s", s)
		}
	})
}

// addFiles adds the files of that name below testdata/compile as seeds.
func addFiles(f *testing.F, name string, add func(text string)) {
	names, err := filepath.Glob("testdata/compile/*/in/" + name)
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds (%v)", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		add(string(data))
	}
}

func fuzzCompile(t *testing.T, fsys fs.FS) {
	got, err := Compile(fsys, "shop", "deployments/shop")
	again, errAgain := Compile(fsys, "shop", "deployments/shop")
	sameAnswer(t, got, again, err, errAgain)
	if err == nil {
		checkDeployment(t, got)
	}
}

func sameAnswer(t *testing.T, got, again any, err, errAgain error) {
	t.Helper()
	if diff := cmp.Diff(got, again, cmpopts.EquateComparable(netip.Addr{})); diff != "" || errText(err) != errText(errAgain) {
		t.Fatalf("a second run differs: %s\n%v\n%v", diff, err, errAgain)
	}
	var problems Problems
	if err != nil && (!errors.As(err, &problems) || len(problems) > maxProblems+1) {
		t.Errorf("an error of type %T with %d problems", err, len(problems))
	}
	for _, p := range problems {
		if p.File == "" || p.Line < 0 || p.Message == "" || len(p.Message) > 2048 {
			t.Errorf("a problem without place, or too long: %+v", p)
		}
	}
}

// checkDeployment holds desired state to what types.go says of it.
func checkDeployment(t *testing.T, d *Deployment) {
	t.Helper()
	names := func(s Service) string { return s.Name }
	if !slices.IsSortedFunc(d.Services, func(a, b Service) int { return strings.Compare(names(a), names(b)) }) {
		t.Error("services are not sorted")
	}
	ports := 0
	for _, s := range d.Services {
		c := &s.Container
		ports += len(c.Ports)
		switch {
		case c.Image == "", len(c.Networks) == 0, c.PullPolicy == "", len(s.SpecHash) != 64:
			t.Errorf("service %s lacks a default: %+v", s.Name, s)
		case s.SpecHash != specHash(d, c):
			t.Errorf("service %s has another service's hash", s.Name)
		case s.Replicas < 0, s.Replicas > MaxReplicas, s.Mode == Global && s.Replicas != 0:
			t.Errorf("service %s has %d replicas", s.Name, s.Replicas)
		case c.fixedPort() && s.Placement.MaxReplicasPerNode != 1:
			t.Errorf("service %s has a host port and %d replicas a node", s.Name, s.Placement.MaxReplicasPerNode)
		}
		for _, a := range c.Networks {
			if !slices.ContainsFunc(d.Networks, func(n Network) bool { return n.Name == a.Network }) {
				t.Errorf("service %s joins %q, which is not defined", s.Name, a.Network)
			}
		}
		for _, m := range c.Mounts {
			if m.Volume != "" && !slices.ContainsFunc(d.Volumes, func(v Volume) bool { return v.Name == m.Volume }) {
				t.Errorf("service %s mounts %q, which is not defined", s.Name, m.Volume)
			}
		}
		for label := range c.Labels {
			if strings.HasPrefix(label, ownLabels) {
				t.Errorf("service %s has the label %s", s.Name, label)
			}
		}
	}
	if ports > MaxPorts || len(d.Services) > MaxServices {
		t.Errorf("%d services with %d ports", len(d.Services), ports)
	}
	if changes := Diff(d, d); len(changes) > 0 {
		t.Errorf("a deployment differs from itself: %v", changes)
	}
}
