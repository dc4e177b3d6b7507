package badinput

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// hogImage takes memory without bound.
const hogImage = "jaco-stage/hog:1"

// TestWorkloads deploys what cannot run, beside what does. Every case must end
// in a reason that a person can act on, leave the old version and every other
// deployment alone, and be over with the next good commit.
func TestWorkloads(t *testing.T) {
	s := stage.New(t, stage.Config{})
	hog := filepath.Join(t.TempDir(), "hog")
	check(t, rig.BuildStatic(t.Context(), "./tests/badinput/hog", hog))
	rig.Must[string](t)(s.Node.Engine.Build(t.Context(), rig.Image{Ref: hogImage, Binary: hog}))
	s.Deploy(map[string]string{stage.Path("calm"): web(stage.Service{})})
	calm := containersOf(s, "calm")

	for _, test := range []struct {
		name string
		// good runs first; "" where the deployment begins with the bad one.
		good, bad string
		// endless: the node tries again for ever, so that --wait only times out.
		endless bool
		want    []string // of the reason
	}{
		{"image that does not exist", web(stage.Service{}),
			strings.NewReplacer(stage.Image+":1", "registry.invalid/none:1", "pull_policy: never", "pull_policy: missing").Replace(web(stage.Service{})),
			true, []string{"pull registry.invalid/none:1"}},
		{"image that must not be pulled", web(stage.Service{}), web(stage.Service{Tag: "none"}),
			false, []string{stage.Image + ":none is not on this node", "pull_policy is never"}},
		{"crash at start", web(stage.Service{}), web(stage.Service{Env: map[string]string{"EXIT_AFTER": "0", "EXIT_CODE": "3"}}),
			false, []string{"exited with code 3", "web 1 listens on :8080", "web stopped"}},
		{"never healthy", web(stage.Service{}), web(stage.Service{Env: map[string]string{"UNHEALTHY": "yes"}}),
			false, []string{"healthcheck", "503"}},
		{"out of memory", "", "services:\n  web:\n    image: " + hogImage + "\n    pull_policy: never\n    deploy: {resources: {limits: {memory: 16M}}}\n",
			false, []string{"out of memory", "137"}},
		{"command that does not exist", web(stage.Service{}), web(stage.Service{Extra: "    entrypoint: [/no-such-program]\n"}),
			false, []string{"cannot start", "/no-such-program", "no such file"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := *s
			s.T = t
			var before []string
			if test.good != "" {
				s.Deploy(map[string]string{stage.Path("shop"): test.good})
				before = servingOf(t, s.Status(), "shop")
			}
			s.Commit(map[string]string{stage.Path("shop"): test.bad})
			s.Push()
			timeout := "60s"
			if test.endless {
				timeout = "6s"
			}
			answer := s.JacoFails(3, "status", "--wait", "--timeout", timeout)
			readable(t, answer, "shop")
			if paused := strings.Contains(answer, "paused"); paused == test.endless {
				t.Errorf("--wait says:\n%s", answer)
			}
			readable(t, reasons(s.Status(), "shop"), test.want...)
			readable(t, s.Jaco("status", "shop", "-o", "wide"), "shop")
			if running := runningOf(&s, "shop"); !contains(running, before) {
				t.Errorf("the old version does not serve any more: %v run, before %v", running, before)
			}
			s.Deploy(map[string]string{stage.Path("shop"): web(stage.Service{Env: map[string]string{"MESSAGE": test.name}})})
			if after := containersOf(&s, "calm"); !slices.Equal(after, calm) {
				t.Errorf("the other deployment changed from %v to %v", calm, after)
			}
		})
	}
	t.Run("port of another deployment", func(t *testing.T) {
		s := *s
		s.T = t
		file := "services:\n  web:\n    image: " + stage.Image + ":1\n    pull_policy: never\n    ports: [\"18080:8080\"]\n"
		s.Deploy(map[string]string{stage.Path("first"): file})
		first := containersOf(&s, "first")
		s.Commit(map[string]string{stage.Path("second"): file})
		s.Push()
		readable(t, s.JacoFails(3, "status", "--wait", "--timeout", "10s"), "second")
		readable(t, reasons(s.Status(), "second"), "18080")
		if after := containersOf(&s, "first"); !slices.Equal(after, first) {
			t.Errorf("the holder of the port changed from %v to %v", first, after)
		}
		check(t, s.Repo.Remove("deployments/first"))
		s.Commit(nil)
		s.Push()
		s.Converge()
		if after := containersOf(&s, "second"); len(after) != 1 {
			t.Errorf("once the port is free, second has %v", after)
		}
	})
	t.Run("hostile files", func(t *testing.T) {
		s := *s
		s.T = t
		hostile(t, &s)
	})
	if after := containersOf(s, "calm"); !slices.Equal(after, calm) {
		t.Errorf("the other deployment changed from %v to %v", calm, after)
	}
	readable(t, s.Jaco("audit", "verify", "--anchor", s.Anchor), "verified")
}

// hostile pushes files that were written to hurt, in one commit with a good
// change: each is named with file and line, and the good one is deployed.
func hostile(t *testing.T, s *stage.Stage) {
	t.Helper()
	bomb := "x-a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 12 {
		name, last := string(rune('b'+i)), string(rune('a'+i))
		bomb += fmt.Sprintf("x-%s: &%s [%s*%s]\n", name, name, strings.Repeat("*"+last+", ", 9), last)
	}
	image := "services:\n  web:\n    image: " + stage.Image + ":1\n"
	files := map[string]string{
		"deep":    image + "x-deep: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "\n",
		"bomb":    bomb + image,
		"escape":  image + "    env_file: ../../trust.yaml\n",
		"host":    image + "    volumes: [\"/etc:/host\"]\n",
		"ports":   image + "    ports: [\"1-60000:1-60000\"]\n",
		"nested":  image + "    command: \"" + strings.Repeat("${A:-", 3000) + strings.Repeat("}", 3000) + "\"\n",
		"control": image + "    command: \"\\e[2J\\e]0;owned\\a\"\n    privileged: true\n",
		"garbage": "\x00\x01\x02",
		"empty":   "",
	}
	commit := map[string]string{stage.Path("calm-2"): web(stage.Service{})}
	for name, content := range files {
		commit[stage.Path(name)] = content
	}
	s.Commit(commit)
	s.Push()
	readable(t, s.JacoFails(3, "status", "--wait", "--timeout", "30s"), "compose.yaml")
	s.Eventually(30*time.Second, "the good one healthy", func(status *cluster.Status) (bool, string) {
		d := stage.Deployment(status, "calm-2")
		return d != nil && d.Sync == cluster.AxisSynced && d.Health == cluster.HealthHealthy, stage.Summary(status)
	})
	status := s.Status()
	for name := range files {
		d := stage.Deployment(status, name)
		if d == nil {
			t.Errorf("%s is not in status", name)
			continue
		}
		if d.Sync != cluster.AxisInvalid || !strings.Contains(d.Reason, stage.Path(name)+":") && !strings.Contains(d.Reason, "compose.yaml:") {
			t.Errorf("%s is %s: %s", name, d.Sync, d.Reason)
		}
		if strings.ContainsAny(d.Reason, "\x00\x1b\a") {
			t.Errorf("%s: the reason would drive a terminal: %q", name, d.Reason)
		}
	}
	table := s.Jaco("status", "-o", "wide")
	if strings.ContainsAny(table, "\x00\x1b\a") {
		t.Errorf("the table would drive a terminal: %q", table)
	}
	for name := range files {
		check(t, s.Repo.Remove("deployments/"+name))
	}
	s.Commit(nil)
	s.Push()
	readable(t, s.JacoFails(3, "status", "--wait", "--timeout", "30s"), "Allow-Prune")
	message := fmt.Sprintf("Take the hostile ones away\n\nAllow-Prune: %d", len(files))
	rig.Must[string](t)(s.Repo.CommitFiles(t.Context(), nil, rig.CommitOptions{Message: message, Key: s.Alice}))
	s.Push()
	s.Converge()
}

// web is a compose file of one service with one replica; what is left out is
// filled in.
func web(service stage.Service) string {
	service.Name, service.Replicas = "web", 1
	if service.Tag == "" {
		service.Tag = "1"
	}
	return stage.Compose(service)
}

// reasons are all that status says of a deployment.
func reasons(status *cluster.Status, name string) string {
	d := stage.Deployment(status, name)
	if d == nil {
		return ""
	}
	parts := []string{d.Reason}
	for _, service := range d.Services {
		parts = append(parts, service.Reason)
		for _, replica := range service.Replicas {
			parts = append(parts, replica.Reason)
		}
	}
	return strings.Join(parts, "\n")
}

// servingOf lists the containers of a deployment's healthy replicas.
func servingOf(t *testing.T, status *cluster.Status, name string) []string {
	t.Helper()
	var ids []string
	if d := stage.Deployment(status, name); d != nil {
		for _, service := range d.Services {
			for _, r := range service.Replicas {
				if r.Phase == cluster.Healthy {
					ids = append(ids, r.ContainerID)
				}
			}
		}
	}
	if len(ids) == 0 {
		t.Fatalf("%s does not serve: %s", name, stage.Summary(status))
	}
	return ids
}

// containersOf lists the ids of a deployment's containers in every state,
// runningOf of those that run.
func containersOf(s *stage.Stage, deployment string) []string {
	s.T.Helper()
	return idsOf(s, deployment, func(string) bool { return true })
}

func runningOf(s *stage.Stage, deployment string) []string {
	s.T.Helper()
	return idsOf(s, deployment, func(state string) bool { return state == "running" })
}

func idsOf(s *stage.Stage, deployment string, want func(state string) bool) []string {
	s.T.Helper()
	var ids []string
	for _, c := range s.Containers() {
		if c.Labels["sh.jaco.deployment"] == deployment && want(c.State) {
			ids = append(ids, c.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// contains says whether all of some are in all.
func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}
