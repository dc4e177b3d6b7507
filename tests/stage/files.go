package stage

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
)

// Service is one service of a staged deployment.
type Service struct {
	Name     string
	Tag      string // of Image
	Image    string // instead of Image and Tag: the whole name, pulled where it is missing
	Replicas int
	Env      map[string]string
	Check    time.Duration // between two healthchecks; 0 is a second
	Extra    string        // more lines of the service, indented by four
}

// Compose renders a compose file: services that answer HTTP, are checked often,
// and stop at once. They publish no port, so that replicas share a node. A check
// that an engine's crash interrupts blocks its container until the time-out.
func Compose(services ...Service) string {
	var b strings.Builder
	b.WriteString("services:\n")
	for _, s := range services {
		image, policy := s.Image, "missing"
		if image == "" {
			image, policy = Image+":"+s.Tag, "never"
		}
		fmt.Fprintf(&b, "  %s:\n    image: %s\n    pull_policy: %s\n", s.Name, image, policy)
		if len(s.Env) > 0 {
			b.WriteString("    environment:\n")
			for k, v := range s.Env {
				fmt.Fprintf(&b, "      %s: %q\n", k, v)
			}
		}
		b.WriteString("    healthcheck:\n      test: [CMD, /web, -probe, \"http://127.0.0.1:8080/healthz\"]\n")
		fmt.Fprintf(&b, "      interval: %s\n      timeout: 1s\n      retries: 5\n", cmp.Or(s.Check, time.Second))
		fmt.Fprintf(&b, "    deploy:\n      replicas: %d\n      update_config: {order: start-first, parallelism: 1, monitor: 1s}\n", s.Replicas)
		b.WriteString(s.Extra)
	}
	return b.String()
}

// Path is the compose file of a deployment.
func Path(deployment string) string { return "deployments/" + deployment + "/compose.yaml" }

// Nine is a deployment of three services with three replicas each.
func Nine() map[string]string {
	var services []Service
	for _, name := range []string{"api", "web", "worker"} {
		services = append(services, Service{Name: name, Tag: "1", Replicas: 3})
	}
	return map[string]string{Path("shop"): Compose(services...)}
}

// Pass lets time pass, when that nothing happens in it is the point.
func Pass(t rig.TB, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-timer.C:
	}
}

// Deployment finds one in a status; nil when it is not there.
func Deployment(status *cluster.Status, name string) *cluster.DeploymentState {
	for i := range status.Deployments {
		if status.Deployments[i].Name == name {
			return &status.Deployments[i]
		}
	}
	return nil
}

// FindService finds a service of a deployment; nil when it is not there.
func FindService(status *cluster.Status, deployment, service string) *cluster.ServiceStatus {
	d := Deployment(status, deployment)
	if d == nil {
		return nil
	}
	for i := range d.Services {
		if d.Services[i].Name == service {
			return &d.Services[i]
		}
	}
	return nil
}

// Node finds a node in a status; nil when it is not there.
func Node(status *cluster.Status, name string) *cluster.NodeStatus {
	for i := range status.Nodes {
		if status.Nodes[i].Name == name {
			return &status.Nodes[i]
		}
	}
	return nil
}
