package stage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
)

// Image is the repository name of the staged images; tags are ImageTags.
const Image = "jaco-stage/web"

// ImageTags are the tags that every staged engine holds.
var ImageTags = []string{"1", "2", "3"}

// ClusterConfig says what to stage.
type ClusterConfig struct {
	// Nodes is the number of members; 0 means 3.
	Nodes     int
	Transport Transport
	// Registry starts an image registry that holds the staged images too.
	Registry bool
	// Images are held by every engine, beside the staged ones.
	Images []rig.Image
	// Engine changes the configuration of one node's engine, by its number from 1.
	Engine func(number int, config *rig.EngineConfig)
	// Settings are added to every jacod.yaml.
	Settings map[string]any
	// Daemon changes how one node's jacod is run: another program, a disk of its
	// own, settings (the map is the node's own). It is called for added nodes too.
	Daemon func(node *rig.Node, config *rig.DaemonConfig)
	// NoInit leaves the daemons running and without a cluster.
	NoInit bool
}

// Cluster is what a suite works with. Its methods belong to the test's own
// goroutine.
type Cluster struct {
	T      rig.TB
	Rig    *rig.Rig
	Git    *rig.Git
	Alice  *rig.Key
	Repo   *rig.Repo // alice's clone, which signs with her key
	Anchor string
	// Registry is nil where none was asked for; Digests are the names by digest
	// of the images in it, by tag.
	Registry *rig.Registry
	Digests  map[string]string

	config  ClusterConfig
	daemons []*rig.Daemon
	http    *rig.GitHTTP
	ssh     *rig.GitSSH
}

// NewCluster sets everything up and returns when every node is a member and
// ready.
func NewCluster(t rig.TB, config ClusterConfig) *Cluster {
	t.Helper()
	if config.Nodes == 0 {
		config.Nodes = 3
	}
	c := newCluster(t, config)
	if config.NoInit {
		return c
	}
	for _, m := range c.Members()[1:] {
		c.Join(m)
	}
	// The first may be ready after those that joined it.
	c.Eventually(joinTimeout, "all to be ready", func(status *cluster.Status) (bool, string) {
		return status.Cluster.Ready == config.Nodes, Summary(status)
	})
	return c
}

// newCluster has every daemon running and the first node initialized.
func newCluster(t rig.TB, config ClusterConfig) *Cluster {
	t.Helper()
	if config.Transport == "" {
		config.Transport = Embedded
	}
	c := &Cluster{T: t, config: config, Digests: map[string]string{}}
	c.Rig = rig.Start(t, rig.Config{Nodes: config.Nodes, EngineOf: config.Engine})
	c.buildImages()
	c.Git = rig.StartGit(t)
	c.Alice = c.NewKey("alice")
	c.serve()
	for _, node := range c.Rig.Nodes {
		c.startDaemon(node)
	}
	if !config.NoInit {
		c.Init()
	}
	return c
}

// Check ends the test on an error.
func (c *Cluster) Check(err error) {
	c.T.Helper()
	if err != nil {
		c.T.Fatal(err)
	}
}

// imageRefs are the images that every engine holds.
func (c *Cluster) imageRefs() []string {
	var refs []string
	for _, tag := range ImageTags {
		refs = append(refs, Image+":"+tag)
	}
	for _, image := range c.config.Images {
		refs = append(refs, image.Ref)
	}
	return refs
}

// buildImages builds on the first engine and copies to the others: what an
// engine builds for itself has an id of its own.
func (c *Cluster) buildImages() {
	c.T.Helper()
	binary := rig.Must[string](c.T)(rig.Bin("web"))
	engine := c.Rig.Node().Engine
	if c.config.Registry {
		c.Registry = rig.StartRegistry(c.T, &c.Rig.LAN.Space)
	}
	for _, tag := range ImageTags {
		ref := Image + ":" + tag
		rig.Must[string](c.T)(engine.Build(c.T.Context(), rig.WebImage(ref, tag, binary)))
		if c.Registry != nil {
			c.Digests[tag] = rig.Must[string](c.T)(c.Registry.Push(c.T.Context(), engine.Docker, ref))
		}
	}
	for _, image := range c.config.Images {
		rig.Must[string](c.T)(engine.Build(c.T.Context(), image))
	}
	c.copyImages(c.Rig.Nodes[1:]...)
}

func (c *Cluster) copyImages(nodes ...*rig.Node) {
	c.T.Helper()
	if len(nodes) == 0 {
		return
	}
	var engines []*rig.Docker
	for _, node := range nodes {
		engines = append(engines, node.Engine.Docker)
	}
	for _, source := range c.Rig.Nodes {
		if !source.Off() && source != nodes[0] {
			c.Check(source.Engine.CopyImages(c.T.Context(), c.imageRefs(), engines...))
			return
		}
	}
	c.T.Fatal("no node is left to copy images from")
}

// startDaemon starts jacod on a node that has none.
func (c *Cluster) startDaemon(node *rig.Node) Member {
	c.T.Helper()
	config := rig.DaemonConfig{Settings: map[string]any{"log": map[string]string{"format": "text", "level": "debug"}}}
	if c.config.Transport == HTTP {
		secret := filepath.Join(node.Dir, "webhook.secret")
		c.Check(os.WriteFile(secret, []byte(WebhookSecret+"\n"), 0o600))
		config.Settings["webhook"] = map[string]string{"listen": webhookAddress(node), "secret_file": secret}
	}
	maps.Copy(config.Settings, c.config.Settings)
	if c.config.Daemon != nil {
		c.config.Daemon(node, &config)
	}
	c.daemons = append(c.daemons, rig.StartDaemon(c.T, node, config))
	return c.Member(len(c.daemons) - 1)
}

// Member is the node at an index, from 0; added ones come last.
func (c *Cluster) Member(i int) Member { return Member{T: c.T, Daemon: c.daemons[i]} }

// Members are all nodes, whether they run, and belong to the cluster, or not.
func (c *Cluster) Members() []Member {
	var all []Member
	for i := range c.daemons {
		all = append(all, c.Member(i))
	}
	return all
}

// Running are the nodes whose jacod runs.
func (c *Cluster) Running() []Member {
	var running []Member
	for _, m := range c.Members() {
		if m.Running() {
			running = append(running, m)
		}
	}
	return running
}

// Any is a node whose jacod runs.
func (c *Cluster) Any() Member {
	c.T.Helper()
	running := c.Running()
	if len(running) == 0 {
		c.T.Fatal("no jacod runs")
	}
	return running[0]
}

// Named is the node of that name.
func (c *Cluster) Named(name string) Member {
	c.T.Helper()
	for _, m := range c.Members() {
		if m.Name() == name {
			return m
		}
	}
	c.T.Fatal("there is no node " + name)
	return Member{}
}

// answer is what one node says of itself and the others.
type answer struct {
	member Member
	status *cluster.Status // nil beside an error
	err    error
}

// ask asks the nodes for their statuses, all at once.
func ask(ctx context.Context, members []Member) []answer {
	answers := make([]answer, len(members))
	done := make(chan struct{})
	for i, m := range members {
		go func() {
			status, err := m.TryStatus(ctx)
			answers[i] = answer{member: m, status: status, err: err}
			done <- struct{}{}
		}()
	}
	for range members {
		<-done
	}
	return answers
}

// leaderTimeout is ample for an election.
const leaderTimeout = 30 * time.Second

// Leader waits until there is a leader and returns it: one that says so itself,
// in the newest term that anybody knows of.
func (c *Cluster) Leader() Member {
	c.T.Helper()
	leader := ""
	rig.Eventually(c.T, leaderTimeout, "a leader", func(ctx context.Context) (ok bool, state string) {
		leader, state = leaderOf(ask(ctx, c.Running()))
		return leader != "", state
	}, c)
	return c.Named(leader)
}

// leaderOf finds the leader, or says what it saw.
func leaderOf(answers []answer) (leader, state string) {
	var saw []string
	var newest uint64
	for _, a := range answers {
		if a.err != nil {
			saw = append(saw, fmt.Sprintf("%s: %v", a.member.Name(), a.err))
			continue
		}
		said := a.status.Cluster
		saw = append(saw, fmt.Sprintf("%s: leader %q in term %d", a.member.Name(), said.Leader, said.Term))
		if said.Term > newest {
			leader, newest = "", said.Term
		}
		if said.Term == newest && said.Leader == a.member.Name() {
			leader = said.Leader
		}
	}
	return leader, strings.Join(saw, "; ")
}

// Eventually waits until the condition holds on the status of every one of the
// nodes at once; without any, of all that run.
func (c *Cluster) Eventually(within time.Duration, desc string, cond func(*cluster.Status) (bool, string), on ...Member) {
	c.T.Helper()
	c.eventually(within, desc, cond, on, func(holds, of int) bool { return holds == of })
}

// EventuallyAny waits until the condition holds on the status of any of the
// nodes; without any, of all that run.
func (c *Cluster) EventuallyAny(within time.Duration, desc string, cond func(*cluster.Status) (bool, string), on ...Member) {
	c.T.Helper()
	c.eventually(within, desc, cond, on, func(holds, _ int) bool { return holds > 0 })
}

func (c *Cluster) eventually(within time.Duration, desc string, cond func(*cluster.Status) (bool, string), on []Member, enough func(holds, of int) bool) {
	c.T.Helper()
	rig.Eventually(c.T, within, desc, func(ctx context.Context) (bool, string) {
		members := on
		if len(members) == 0 {
			members = c.Running()
		}
		holds, missing := 0, []string{fmt.Sprintf("of %d nodes", len(members))}
		for _, a := range ask(ctx, members) {
			ok, state := false, fmt.Sprint(a.err)
			if a.err == nil {
				ok, state = cond(a.status)
			}
			if ok {
				holds++
			} else {
				missing = append(missing, a.member.Name()+": "+state)
			}
		}
		return holds > 0 && enough(holds, len(members)), strings.Join(missing, "\n")
	}, c)
}

// Placed is a container and the node that runs it.
type Placed struct {
	Node string
	rig.Container
}

// Containers lists the cluster's containers on every node with power, by asking
// the engines themselves.
func (c *Cluster) Containers() []Placed {
	c.T.Helper()
	placed, err := c.TryContainers(c.T.Context())
	c.Check(err)
	return placed
}

// TryContainers is Containers for engines that may be down: theirs are missing
// then.
func (c *Cluster) TryContainers(ctx context.Context) ([]Placed, error) {
	var placed []Placed
	var errs error
	for _, node := range c.Rig.Nodes {
		if node.Off() || node.Engine == nil {
			continue
		}
		containers, err := node.Engine.Containers(ctx, containerLabel)
		errs = errors.Join(errs, err)
		for _, container := range containers {
			placed = append(placed, Placed{node.Name, container})
		}
	}
	return placed, errs
}

// Kill ends the daemons with SIGKILL, all at once; without any, all that run.
func (c *Cluster) Kill(members ...Member) {
	c.T.Helper()
	if len(members) == 0 {
		members = c.Running()
	}
	c.together(members, func(m Member) error { return m.Kill(c.T.Context()) })
}

// Start starts the daemons, all at once; without any, all that do not run on a
// node with power.
func (c *Cluster) Start(members ...Member) {
	c.T.Helper()
	if len(members) == 0 {
		for _, m := range c.Members() {
			if !m.Running() && !m.Node.Off() {
				members = append(members, m)
			}
		}
	}
	c.together(members, func(m Member) error { return m.Start(c.T.Context()) })
}

// StopAll ends all daemons that run as an operator does.
func (c *Cluster) StopAll() {
	c.T.Helper()
	c.together(c.Running(), func(m Member) error { return m.Stop(c.T.Context()) })
}

func (c *Cluster) together(members []Member, do func(Member) error) {
	c.T.Helper()
	done := make(chan error)
	for _, m := range members {
		go func() { done <- do(m) }()
	}
	var errs error
	for range members {
		errs = errors.Join(errs, <-done)
	}
	c.Check(errs)
}
