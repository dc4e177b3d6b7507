package push

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "push") }

// services are three services of three replicas each.
func services(tag string, env map[string]string) []stage.Service {
	var all []stage.Service
	for _, name := range []string{"api", "web", "worker"} {
		all = append(all, stage.Service{Name: name, Tag: tag, Replicas: 3, Env: env})
	}
	return all
}

// TestTransports pushes over each transport and lets jacod find out by itself:
// by fsnotify, by webhook, and by poll.
func TestTransports(t *testing.T) {
	for _, transport := range []stage.Transport{stage.Embedded, stage.HTTP, stage.SSH} {
		t.Run(string(transport), func(t *testing.T) {
			settings := map[string]any{}
			s := stage.New(t, stage.Config{Transport: transport, Settings: settings})
			if transport == stage.SSH { // a poll that a test can wait for
				s.Commit(map[string]string{"cluster.yaml": "sync: {interval: 5s}\n"})
				s.Push()
				s.Converge()
			}
			commit := s.Commit(map[string]string{stage.Path("shop"): stage.Compose(services("1", nil)...)})
			s.Push()
			if transport == stage.HTTP {
				deliver(t, s)
			}
			s.Eventually(time.Minute, "9 healthy replicas", func(status *cluster.Status) (bool, string) {
				return running(status, "shop", commit, 3, 3), stage.Summary(status)
			})
			containers := s.Containers()
			if len(containers) != 9 {
				t.Errorf("the engine holds %d containers, want 9", len(containers))
			}
			for _, c := range containers {
				if c.State != "running" || c.Labels["sh.jaco.revision"] != commit {
					t.Errorf("container %s is %s with labels %v", c.Names, c.State, c.Labels)
				}
			}
			if transport != stage.Embedded { // which has no credential
				keepsSecrets(t, s)
			}
		})
	}
}

// deliver posts a push notification as a git host does.
func deliver(t *testing.T, s *stage.Stage) {
	t.Helper()
	body := []byte(`{"ref":"refs/heads/main"}`)
	mac := hmac.New(sha256.New, []byte(stage.WebhookSecret))
	mac.Write(body)
	post := func(signature string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.WebhookAddress()+"/webhook", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Hub-Signature-256", "sha256="+signature)
		response, err := s.Rig.LAN.NetNS.HTTPClient().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	if code := post(strings.Repeat("0", 64)); code != http.StatusUnauthorized {
		t.Errorf("a forged delivery was answered with %d, want 401", code)
	}
	if code := post(hex.EncodeToString(mac.Sum(nil))); code != http.StatusAccepted {
		t.Errorf("a delivery was answered with %d, want 202", code)
	}
}

// running reports whether the deployment runs that revision whole.
func running(status *cluster.Status, name, revision string, count, replicas int) bool {
	d := stage.Deployment(status, name)
	if d == nil || d.Revision != revision || d.Sync != cluster.AxisSynced || d.Health != cluster.HealthHealthy || len(d.Services) != count {
		return false
	}
	for _, s := range d.Services {
		if s.Healthy != replicas || len(s.Replicas) != replicas {
			return false
		}
	}
	return true
}

// TestLifeOfADeployment rolls changes, retires a service and a deployment, and
// breaks one of two deployments in the same commit.
func TestLifeOfADeployment(t *testing.T) {
	s := stage.New(t, stage.Config{})
	s.Deploy(map[string]string{
		stage.Path("shop"): stage.Compose(services("1", nil)...),
		stage.Path("blog"): stage.Compose(stage.Service{Name: "web", Tag: "1", Replicas: 1}),
	})

	t.Run("a changed image rolls", func(t *testing.T) {
		before := ids(s)
		roll(t, s, map[string]string{stage.Path("shop"): stage.Compose(services("2", nil)...)})
		wantReplaced(t, s, before)
		for _, c := range s.Containers() {
			if c.Labels["sh.jaco.deployment"] == "shop" && !strings.HasSuffix(c.Image, ":2") {
				t.Errorf("container %v runs %s", c.Names, c.Image)
			}
		}
	})
	t.Run("a changed environment rolls", func(t *testing.T) {
		before := ids(s)
		roll(t, s, map[string]string{stage.Path("shop"): stage.Compose(services("2", map[string]string{"MESSAGE": "hi"})...)})
		wantReplaced(t, s, before)
		details := rig.Must[rig.Details](t)(s.Node.Engine.Inspect(t.Context(), s.Containers()[0].ID))
		if s.Containers()[0].Labels["sh.jaco.deployment"] == "shop" && !slices.Contains(details.Config.Env, "MESSAGE=hi") {
			t.Errorf("environment is %v", details.Config.Env)
		}
	})
	t.Run("scaling replaces nothing", func(t *testing.T) {
		before := ids(s)
		scaled := services("2", map[string]string{"MESSAGE": "hi"})
		scaled[0].Replicas = 4
		s.Deploy(map[string]string{stage.Path("shop"): stage.Compose(scaled...)})
		after := ids(s)
		for id := range before {
			if !after[id] {
				t.Errorf("container %s was replaced by scaling", id)
			}
		}
		if len(after) != len(before)+1 {
			t.Errorf("%d containers after scaling, want %d", len(after), len(before)+1)
		}
	})
	t.Run("an invalid deployment holds back no other", func(t *testing.T) {
		commit := s.Commit(map[string]string{
			stage.Path("shop"): "services:\n  api:\n    image: x\n    privileged: true\n",
			stage.Path("blog"): stage.Compose(stage.Service{Name: "web", Tag: "2", Replicas: 1}),
		})
		before := idsOf(s, "shop")
		s.Push()
		s.Eventually(time.Minute, "blog at the new revision", func(status *cluster.Status) (bool, string) {
			return running(status, "blog", commit, 1, 1), stage.Summary(status)
		})
		shop := stage.Deployment(s.Status(), "shop")
		if shop.Sync != cluster.AxisInvalid || !strings.Contains(shop.Reason, stage.Path("shop")+":4") || !strings.Contains(shop.Reason, "privileged") {
			t.Errorf("shop is %s: %s", shop.Sync, shop.Reason)
		}
		if after := idsOf(s, "shop"); !equal(before, after) {
			t.Errorf("the invalid deployment's containers changed from %v to %v", before, after)
		}
		s.JacoFails(3, "status", "--wait", "--timeout", "10s")
		s.Deploy(map[string]string{stage.Path("shop"): stage.Compose(services("2", nil)...)})
	})
	t.Run("a retired service goes", func(t *testing.T) {
		s.Deploy(map[string]string{stage.Path("shop"): stage.Compose(services("2", nil)[:2]...)})
		if n := len(idsOf(s, "shop")); n != 6 {
			t.Errorf("%d containers after retiring a service, want 6", n)
		}
	})
	t.Run("a retired deployment goes", func(t *testing.T) {
		s.Check(s.Repo.Remove("deployments/shop"))
		s.Commit(nil)
		s.Push()
		s.Converge()
		s.Eventually(30*time.Second, "shop gone", func(status *cluster.Status) (bool, string) {
			return stage.Deployment(status, "shop") == nil && len(idsOf(s, "shop")) == 0, stage.Summary(status)
		})
		if len(idsOf(s, "blog")) != 1 {
			t.Error("the other deployment was touched")
		}
	})
}

// roll pushes a change and watches the engine until it runs: at no moment are
// fewer than 2 of a service's 3 replicas healthy, by the engine's own check or,
// before its first one, by the agent's.
func roll(t *testing.T, s *stage.Stage, files map[string]string) {
	t.Helper()
	commit := s.Commit(files)
	s.Push()
	rig.Eventually(t, 90*time.Second, "the change rolled out", func(ctx context.Context) (bool, string) {
		status, err := s.TryStatus(ctx)
		if err != nil {
			return false, err.Error()
		}
		passed := healthyReplicas(status, "shop")
		healthy := map[string]int{}
		containers, err := s.Node.Engine.Containers(ctx, "sh.jaco.deployment=shop")
		if err != nil {
			return false, err.Error()
		}
		for _, c := range containers {
			early := strings.Contains(c.Status, "(health: starting)") && passed[c.Labels["sh.jaco.replica"]]
			if early || strings.Contains(c.Status, "(healthy)") {
				healthy[c.Labels["sh.jaco.service"]]++
			}
		}
		for _, service := range []string{"api", "web", "worker"} {
			if healthy[service] < 2 {
				t.Errorf("only %d healthy replicas of %s during the rollout", healthy[service], service)
			}
		}
		return running(status, "shop", commit, 3, 3), stage.Summary(status)
	}, s.Daemon)
}

// healthyReplicas are those of a deployment that status calls healthy.
func healthyReplicas(status *cluster.Status, deployment string) map[string]bool {
	healthy := map[string]bool{}
	for _, service := range stage.Deployment(status, deployment).Services {
		for _, r := range service.Replicas {
			if r.Phase == cluster.Healthy {
				healthy[r.ID] = true
			}
		}
	}
	return healthy
}

func wantReplaced(t *testing.T, s *stage.Stage, before map[string]bool) {
	t.Helper()
	for id := range idsOf(s, "shop") {
		if before[id] {
			t.Errorf("container %s is still there", id)
		}
	}
}

func ids(s *stage.Stage) map[string]bool {
	all := idsOf(s, "shop")
	for id := range idsOf(s, "blog") {
		all[id] = true
	}
	return all
}

func idsOf(s *stage.Stage, deployment string) map[string]bool {
	found := map[string]bool{}
	for _, c := range s.Containers() {
		if c.Labels["sh.jaco.deployment"] == deployment {
			found[c.ID] = true
		}
	}
	return found
}

func equal(a, b map[string]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for id := range a {
		if !b[id] {
			return false
		}
	}
	return true
}

// TestDrift removes and stops containers by hand; each is back within 2 s.
func TestDrift(t *testing.T) {
	s := stage.New(t, stage.Config{})
	s.Deploy(map[string]string{stage.Path("shop"): stage.Compose(stage.Service{Name: "web", Tag: "1", Replicas: 3})})
	for _, test := range []struct {
		name string
		hurt func(id string) error
	}{
		{"removed", func(id string) error { return s.Node.Engine.Remove(t.Context(), id) }},
		{"stopped", func(id string) error {
			return s.Node.Engine.Do(t.Context(), "POST", "/containers/"+id+"/stop", nil, nil)
		}},
		{"killed", func(id string) error {
			return s.Node.Engine.Do(t.Context(), "POST", "/containers/"+id+"/kill", nil, nil)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			victim := s.Containers()[0].ID
			if err := test.hurt(victim); err != nil {
				t.Fatal(err)
			}
			// The replacement is made within 2 s; how long the engine takes to
			// start it then is not ours.
			rig.Eventually(t, 2*time.Second, "a replacement", func(ctx context.Context) (bool, string) {
				containers, err := s.Node.Engine.Containers(ctx, "sh.jaco.deployment=shop")
				if err != nil {
					return false, err.Error()
				}
				gone := true
				for _, c := range containers {
					gone = gone && c.ID != victim
				}
				return len(containers) == 3 && gone, fmt.Sprintf("%d containers, victim gone: %t", len(containers), gone)
			}, s.Daemon)
			s.Eventually(30*time.Second, "healthy again", func(status *cluster.Status) (bool, string) {
				d := stage.Deployment(status, "shop")
				return d != nil && d.Health == cluster.HealthHealthy, stage.Summary(status)
			})
		})
	}
	if out := s.Jaco("audit", "--type", string(cluster.EventDriftCorrected), "-o", "json"); strings.Count(out, "by hand") < 3 {
		t.Errorf("the audit log does not hold the three corrections:\n%s", out)
	}
}
