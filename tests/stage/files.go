package stage

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// Service is one service of a staged deployment.
type Service struct {
	Name     string
	Tag      string // of Image
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
		fmt.Fprintf(&b, "  %s:\n    image: %s:%s\n    pull_policy: never\n", s.Name, Image, s.Tag)
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

// Summary prints a status in short, for failures.
func Summary(status *cluster.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "sync %s %s accepted %.12s head %.12s", status.Sync.State, status.Sync.Reason, status.Sync.Accepted, status.Sync.Head)
	for i := range status.Deployments {
		d := &status.Deployments[i]
		fmt.Fprintf(&b, "\n%s %s %s %s", d.Name, d.Sync, d.Health, d.Reason)
		for _, s := range d.Services {
			fmt.Fprintf(&b, "\n  %s %d/%d %s", s.Name, s.Healthy, s.Desired, s.Reason)
			for _, r := range s.Replicas {
				fmt.Fprintf(&b, "\n    %d %s %s %s", r.Slot, r.ID, r.Phase, r.Reason)
			}
		}
	}
	return b.String()
}
