package swarm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
)

// Engines is what the rig's engines need to be: Swarm refuses those that keep
// containers over their own restart.
func Engines() rig.EngineConfig { return rig.EngineConfig{NoLiveRestore: true} }

// The work that is measured.
const (
	Services = 3 // of a stack
	Replicas = 3 // of a service
)

// Config tunes the swarm.
type Config struct {
	// Heartbeat is the dispatcher's: a node is down after three were missed.
	// 0 leaves Swarm's default, 5 s.
	Heartbeat time.Duration
}

// Swarm is nodes of a rig as managers of one swarm.
type Swarm struct {
	nodes []*rig.Node
	image string
}

// Nodes are the swarm's, the one that is asked first.
func (s *Swarm) Nodes() []*rig.Node { return s.nodes }

// Start makes a rig with that many nodes, a registry and an image on all of
// them, and a swarm of them. All of it goes when the test ends.
func Start(t rig.TB, nodes int, config Config) *Swarm {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	r := rig.Start(t, rig.Config{Nodes: nodes, Engine: Engines()})
	registry := rig.StartRegistry(t, &r.LAN.Space)
	engine := r.Node().Engine.Docker
	rig.Must[string](t)(engine.Build(ctx, rig.WebImage("web:1", "1", rig.Must[string](t)(rig.Bin("web")))))
	rig.Must[string](t)(registry.Push(ctx, engine, "web:1"))
	image := registry.Name("web:1")
	for _, node := range r.Nodes[1:] {
		if err := node.Engine.Pull(ctx, image); err != nil {
			t.Fatal(err)
		}
	}
	return rig.Must[*Swarm](t)(New(ctx, r.Nodes, image, config))
}

// startTimeout bounds the making of a swarm.
const startTimeout = 2 * time.Minute

// New makes a swarm of the nodes, all of them managers. Their engines hold the
// image, which is examples/web, or can pull it.
func New(ctx context.Context, nodes []*rig.Node, image string, config Config) (*Swarm, error) {
	s := &Swarm{nodes: nodes, image: image}
	if err := s.init(ctx, config); err != nil {
		return nil, fmt.Errorf("make the swarm: %w", err)
	}
	for _, node := range nodes[1:] {
		if err := s.join(ctx, node); err != nil {
			return nil, fmt.Errorf("join %s to the swarm: %w", node.Name, err)
		}
	}
	return s, rig.WaitFor(ctx, "every node of the swarm to be ready", func(ctx context.Context) (bool, string) {
		ready, err := s.nodesIn(ctx, nodes[0], "ready")
		return err == nil && ready == len(nodes), fmt.Sprint(ready, " ready, ", err)
	})
}

// port is where managers listen.
const port = ":2377"

func (s *Swarm) init(ctx context.Context, config Config) error {
	address := s.nodes[0].Address.String()
	in := map[string]any{"ListenAddr": address + port, "AdvertiseAddr": address}
	if config.Heartbeat > 0 {
		in["Spec"] = map[string]any{"Dispatcher": map[string]any{"HeartbeatPeriod": config.Heartbeat.Nanoseconds()}}
	}
	return s.nodes[0].Engine.Do(ctx, http.MethodPost, "/swarm/init", in, nil)
}

func (s *Swarm) join(ctx context.Context, node *rig.Node) error {
	var swarm struct{ JoinTokens struct{ Manager string } }
	if err := s.nodes[0].Engine.Do(ctx, http.MethodGet, "/swarm", nil, &swarm); err != nil {
		return err
	}
	in := map[string]any{
		"ListenAddr": node.Address.String() + port, "AdvertiseAddr": node.Address.String(),
		"RemoteAddrs": []string{s.nodes[0].Address.String() + port}, "JoinToken": swarm.JoinTokens.Manager,
	}
	return node.Engine.Do(ctx, http.MethodPost, "/swarm/join", in, nil)
}

// stack renders the compose file. There is no IPVS in some kernels, so names
// are answered with the replicas' own addresses.
func (s *Swarm) stack() string {
	var b strings.Builder
	b.WriteString("version: \"3.8\"\nservices:\n")
	for i := range Services {
		fmt.Fprintf(&b, `  service-%d:
    image: %s
    networks: [net]
    healthcheck: {test: [CMD, /web, -probe, "http://127.0.0.1:8080/healthz"], interval: 1s, timeout: 2s, retries: 3}
    deploy:
      replicas: %d
      endpoint_mode: dnsrr
      restart_policy: {condition: any, delay: 0s}
      update_config: {parallelism: 1, delay: 0s, order: start-first, monitor: 1s, failure_action: rollback}
`, i, s.image, Replicas)
	}
	b.WriteString("networks:\n  net: {driver: overlay}\n")
	return b.String()
}

// docker runs the engine's command line against the first node, with no
// settings of this machine.
func (s *Swarm) docker(ctx context.Context, args ...string) error {
	node := s.nodes[0]
	full := append([]string{"--config", filepath.Join(node.Dir, "docker-config"), "--host", node.Engine.Host()}, args...)
	cmd := exec.CommandContext(ctx, "docker", full...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Deploy deploys a stack and returns how long it took until all of it runs:
// Swarm calls a task running once it is healthy.
func (s *Swarm) Deploy(ctx context.Context, name string) (time.Duration, error) {
	file := filepath.Join(s.nodes[0].Dir, "stack.yml")
	if err := os.WriteFile(file, []byte(s.stack()), 0o600); err != nil {
		return 0, fmt.Errorf("write the stack: %w", err)
	}
	start := time.Now()
	if err := s.docker(ctx, "stack", "deploy", "--resolve-image", "never", "--compose-file", file, name); err != nil {
		return 0, err
	}
	err := rig.WaitFor(ctx, "the stack to run", func(ctx context.Context) (bool, string) {
		running, err := s.running(ctx, name)
		return err == nil && running == Services*Replicas, fmt.Sprint(running, " running, ", err)
	})
	return time.Since(start), err
}

// Remove removes a stack and waits until nothing of it is left.
func (s *Swarm) Remove(ctx context.Context, name string) error {
	if err := s.docker(ctx, "stack", "rm", name); err != nil {
		return err
	}
	return rig.WaitFor(ctx, "the stack to be gone", func(ctx context.Context) (bool, string) {
		left, err := s.containers(ctx, name, "")
		if err != nil || left > 0 {
			return false, fmt.Sprint(left, " containers, ", err)
		}
		var networks []struct{ Name string }
		path := "/networks?filters=" + filters(map[string][]string{"label": {stackLabel + "=" + name}})
		err = s.nodes[0].Engine.Do(ctx, http.MethodGet, path, nil, &networks)
		return err == nil && len(networks) == 0, fmt.Sprint(networks, err)
	})
}

// Update changes the environment of one service, and returns how long the
// rolling update took.
func (s *Swarm) Update(ctx context.Context, stack, value string) (time.Duration, error) {
	service := stack + "_service-0"
	before, err := s.update(ctx, service)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := s.docker(ctx, "service", "update", "--detach", "--no-resolve-image", "--env-add", "MESSAGE="+value, service); err != nil {
		return 0, err
	}
	err = rig.WaitFor(ctx, "the update to be complete", func(ctx context.Context) (bool, string) {
		now, err := s.update(ctx, service)
		return err == nil && now.StartedAt != before.StartedAt && now.State == "completed", fmt.Sprint(now, err)
	})
	return time.Since(start), err
}

// updateStatus is what Swarm tells of the last update.
type updateStatus struct{ State, StartedAt string }

func (s *Swarm) update(ctx context.Context, service string) (updateStatus, error) {
	var out struct{ UpdateStatus updateStatus }
	err := s.nodes[0].Engine.Do(ctx, http.MethodGet, "/services/"+service, nil, &out)
	return out.UpdateStatus, err
}

// Loss is how long after a node lost its power something was so.
type Loss struct {
	SeenDown time.Duration // the managers know
	Running  time.Duration // all containers of the stack run on the others
	Healthy  time.Duration // and are healthy
}

// LoseNode cuts a node's power, which must not be the first's, and waits until
// the whole stack runs on the others.
func (s *Swarm) LoseNode(ctx context.Context, node *rig.Node, stack string) (Loss, error) {
	if node == s.nodes[0] {
		return Loss{}, fmt.Errorf("lose %s: it is the one that is asked", node.Name)
	}
	var loss Loss
	start := time.Now()
	if err := node.PowerOff(ctx); err != nil {
		return loss, err
	}
	for _, step := range []struct {
		what  string
		took  *time.Duration
		count func(context.Context) (int, error)
		want  int
	}{
		{"the node to be seen down", &loss.SeenDown, func(ctx context.Context) (int, error) { return s.nodesIn(ctx, s.nodes[0], "down") }, 1},
		{"all to run", &loss.Running, func(ctx context.Context) (int, error) { return s.containers(ctx, stack, "Up ") }, Services * Replicas},
		{"all to be healthy", &loss.Healthy, func(ctx context.Context) (int, error) { return s.containers(ctx, stack, "(healthy)") }, Services * Replicas},
	} {
		err := rig.WaitFor(ctx, step.what, func(ctx context.Context) (bool, string) {
			n, err := step.count(ctx)
			return err == nil && n == step.want, fmt.Sprint(n, ", ", err)
		})
		if err != nil {
			return loss, err
		}
		*step.took = time.Since(start)
	}
	return loss, nil
}

// stackLabel is on everything that belongs to a stack.
const stackLabel = "com.docker.stack.namespace"

func filters(f map[string][]string) string {
	data, _ := json.Marshal(f) // strings only: cannot fail
	return url.QueryEscape(string(data))
}

// running counts the tasks of a stack that run.
func (s *Swarm) running(ctx context.Context, stack string) (int, error) {
	var tasks []struct{ Status struct{ State string } }
	path := "/tasks?filters=" + filters(map[string][]string{"label": {stackLabel + "=" + stack}, "desired-state": {"running"}})
	if err := s.nodes[0].Engine.Do(ctx, http.MethodGet, path, nil, &tasks); err != nil {
		return 0, err
	}
	n := 0
	for _, task := range tasks {
		if task.Status.State == "running" {
			n++
		}
	}
	return n, nil
}

// containers counts the containers of a stack on nodes with power whose status
// holds the word.
func (s *Swarm) containers(ctx context.Context, stack, word string) (int, error) {
	n := 0
	for _, node := range s.nodes {
		if node.Off() {
			continue
		}
		list, err := node.Engine.Containers(ctx, stackLabel+"="+stack)
		if err != nil {
			return 0, err
		}
		for _, c := range list {
			if strings.Contains(c.Status, word) {
				n++
			}
		}
	}
	return n, nil
}

// nodesIn counts the nodes that a manager sees in a state: ready, down.
func (s *Swarm) nodesIn(ctx context.Context, manager *rig.Node, state string) (int, error) {
	var nodes []struct{ Status struct{ State string } }
	if err := manager.Engine.Do(ctx, http.MethodGet, "/nodes", nil, &nodes); err != nil {
		return 0, err
	}
	n := 0
	for _, node := range nodes {
		if node.Status.State == state {
			n++
		}
	}
	return n, nil
}
