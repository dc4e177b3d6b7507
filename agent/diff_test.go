package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// scene is the input of one case, which starts as: shop/web at one replica is
// accepted, nothing is assigned, nothing runs.
type scene struct {
	input
	others []cluster.Replica // on other nodes
}

func newScene() *scene {
	return &scene{input: input{
		cluster: testCluster, now: noon, rejectAfter: 30 * time.Second,
		view:       accepted(rev1, shop("1", 1), nil),
		containers: map[string]Container{},
		networks:   map[string]Network{},
		volumes:    map[string]Volume{},
		memory:     map[string]memory{},
	}}
}

func (s *scene) assign(r cluster.Replica)        { s.assigned = append(s.assigned, r) }
func (s *scene) runs(c Container)                { s.containers[c.ID] = c }
func (s *scene) remember(key string, m memory)   { s.memory[key] = m }
func (s *scene) stop(id string, p cluster.Phase) { r := replica(id, p); r.Stop = true; s.assign(r) }

// diffCase is one input of the diff and the plan that it must give.
type diffCase struct {
	name  string
	setup func(*scene)
	want  string
}

func checkPlans(t *testing.T, tests []diffCase) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.setup(s)
			checkPlan(t, s, tt.want)
		})
	}
}

// recorded is a running replica as the state has it, and altered its container
// with a change.
func recorded() cluster.Replica {
	r := replica("a", cluster.Running)
	r.ContainerID, r.ImageDigest, r.Address = "c-a", "sha256:image", "10.0.0.2"
	r.StartedAt = noon.Add(-time.Minute)
	return r
}

func altered(f func(*Container)) Container {
	c := containerOf(recorded())
	f(&c)
	return c
}

func TestDiffStart(t *testing.T) {
	running := recorded()
	checkPlans(t, []diffCase{
		{"nothing assigned", func(s *scene) {}, ``},
		{"new assignment starts", func(s *scene) {
			s.assign(replica("a", cluster.Assigned))
		}, `
			start a`},
		{"start under way is left alone", func(s *scene) {
			s.assign(replica("a", cluster.Assigned))
			s.remember("a", memory{busy: actStart, reached: progress{cluster.Starting, "c-a"}})
		}, `
			report a Starting container=c-a`},
		{"running as recorded is no news", func(s *scene) {
			s.assign(running)
			s.runs(containerOf(running))
		}, ``},
		{"found running after a restart", func(s *scene) {
			s.assign(replica("a", cluster.Assigned))
			s.runs(containerOf(running))
		}, `
			report a Running container=c-a address=10.0.0.2 image=sha256:image`},
		{"becomes healthy", func(s *scene) {
			s.assign(running)
			s.runs(altered(func(c *Container) { c.Health = HealthHealthy }))
		}, `
			report a Healthy container=c-a address=10.0.0.2`},
		{"becomes unhealthy with the check's words", func(s *scene) {
			r := running
			r.Phase = cluster.Healthy
			s.assign(r)
			s.runs(altered(func(c *Container) { c.Health, c.HealthOutput = HealthUnhealthy, "no\x1b[31m route\n" }))
		}, `
			report a Unhealthy container=c-a address=10.0.0.2 "healthcheck failed: no[31m route"`},
		{"a healthcheck that starts over is no step back", func(s *scene) {
			r := running
			r.Phase = cluster.Healthy
			s.assign(r)
			s.runs(altered(func(c *Container) { c.Health = HealthStarting }))
		}, ``},
		{"created by a start that was killed is taken up", func(s *scene) {
			s.assign(replica("a", cluster.Starting))
			s.runs(altered(func(c *Container) { c.Status = StatusCreated }))
		}, `
			start a container=c-a`},
	})
}

func TestDiffEnd(t *testing.T) {
	running := recorded()
	checkPlans(t, []diffCase{
		{"ended by itself", func(s *scene) {
			s.assign(running)
			s.runs(altered(func(c *Container) { c.Status, c.ExitCode = StatusExited, 1 }))
		}, `
			autopsy a container=c-a`},
		{"ended, not yet in the state", func(s *scene) {
			s.assign(running)
			s.runs(altered(func(c *Container) { c.Status = StatusExited }))
			s.remember("a", memory{outcome: &outcome{phase: cluster.Failed, reason: "exited with code 1", exitCode: 1}})
		}, `
			report a Failed container=c-a exit=1 "exited with code 1"`},
		{"ended and recorded: the container goes", func(s *scene) {
			s.assign(replica("a", cluster.Failed))
			s.runs(altered(func(c *Container) { c.Status = StatusExited }))
		}, `
			remove a container=c-a (over: Failed)`},
		{"lost and back: stopped, not doubled", func(s *scene) {
			s.assign(replica("a", cluster.Lost))
			s.runs(containerOf(running))
		}, `
			remove a container=c-a (over: Lost)`},
		{"told to stop", func(s *scene) {
			s.stop("a", cluster.Running)
			s.runs(containerOf(running))
		}, `
			remove a container=c-a (told to stop)
			report a Stopping`},
		{"told to stop before it had a container", func(s *scene) {
			s.stop("a", cluster.Assigned)
		}, `
			outcome a Stopped "" event=
			report a Stopped`},
		{"told to stop in the middle of a start", func(s *scene) {
			s.stop("a", cluster.Preparing)
			s.remember("a", memory{busy: actStart})
		}, `
			cancel a`},
		{"told to stop: a failed start does not hold up the end", func(s *scene) {
			s.stop("a", cluster.Starting)
			s.runs(altered(func(c *Container) { c.Status = StatusCreated }))
			s.remember("a", memory{failed: actStart, tries: 3, retryAt: noon.Add(time.Minute)})
		}, `
			remove a container=c-a (told to stop)
			report a Stopping`},
		{"stopped, with the exit code that an event told", func(s *scene) {
			s.stop("a", cluster.Stopping)
			s.remember("a", memory{seen: sightings{exitCode: 143}})
		}, `
			outcome a Stopped "" event=
			report a Stopped exit=143`},
		{"trouble is told, and waits", func(s *scene) {
			s.assign(replica("a", cluster.Preparing))
			s.remember("a", memory{failed: actStart, tries: 1, retryAt: noon.Add(time.Second), trouble: "pull web:1: no route"})
		}, `
			report a Preparing "pull web:1: no route"
			wake 12:00:01.000`},
		{"trouble that differs in digits only is no news", func(s *scene) {
			r := replica("a", cluster.Preparing)
			r.Reason = "dial 10.0.0.1:4711: refused"
			s.assign(r)
			s.remember("a", memory{failed: actStart, retryAt: noon.Add(time.Second), trouble: "dial 10.0.0.1:4712: refused"})
		}, `
			wake 12:00:01.000`},
	})
}

func TestDiffDrift(t *testing.T) {
	running := recorded()
	checkPlans(t, []diffCase{
		{"removed by hand", func(s *scene) {
			s.assign(running)
		}, `
			outcome a Failed "the container was removed by hand" event=drift-corrected
			report a Failed "the container was removed by hand"`},
		{"removed by hand before it was reported running", func(s *scene) {
			s.assign(replica("a", cluster.Starting))
			s.remember("a", memory{seen: sightings{died: noon}})
		}, `
			outcome a Failed "the container was removed by hand" event=drift-corrected
			report a Failed "the container was removed by hand"`},
		{"found paused", func(s *scene) {
			s.assign(running)
			s.runs(altered(func(c *Container) { c.Status = StatusPaused }))
		}, `
			recheck a container=c-a (found paused)`},
		{"paused by hand", func(s *scene) {
			s.assign(running)
			s.runs(altered(func(c *Container) { c.Status = StatusPaused }))
			s.remember("a", memory{seen: sightings{changed: "the container was paused by hand"}})
		}, `
			outcome a Failed "the container was paused by hand" event=drift-corrected
			report a Failed container=c-a "the container was paused by hand"`},
		{"renamed by hand", func(s *scene) {
			s.assign(running)
			s.runs(altered(func(c *Container) { c.Name = "mine" }))
		}, `
			outcome a Failed "the container was renamed by hand to mine" event=drift-corrected
			report a Failed container=c-a "the container was renamed by hand to mine"`},
		{"disconnected by hand", func(s *scene) {
			s.assign(running)
			s.runs(altered(func(c *Container) { c.Networks = nil }))
		}, `
			outcome a Failed "the container was disconnected from network jaco_shop_default by hand" event=drift-corrected
			report a Failed container=c-a "the container was disconnected from network jaco_shop_default by hand"`},
		{"connected by hand", func(s *scene) {
			s.assign(running)
			s.runs(altered(func(c *Container) {
				c.Networks = map[string]netip.Addr{"jaco_shop_default": {}, "jaco_bank_default": {}}
			}))
		}, `
			outcome a Failed "the container was connected to network jaco_bank_default by hand" event=drift-corrected
			report a Failed container=c-a "the container was connected to network jaco_bank_default by hand"`},
		{"restarted by hand", func(s *scene) {
			s.assign(running)
			s.runs(altered(func(c *Container) { c.StartedAt = noon }))
			s.remember("a", memory{seen: sightings{died: noon.Add(-time.Second)}})
		}, `
			outcome a Failed "the container was restarted by hand" event=drift-corrected
			report a Failed container=c-a "the container was restarted by hand"`},
		{"an engine that removes it is waited for", func(s *scene) {
			s.assign(running)
			s.runs(altered(func(c *Container) { c.Status = StatusRemoving }))
		}, ``},
	})
}

// checkPlan compares a plan with lines that are indented for reading.
func checkPlan(t *testing.T, s *scene, want string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line+"\n")
		}
	}
	s.peers = slices.Concat(s.assigned, s.others)
	if diff := cmp.Diff(strings.Join(lines, ""), diff(&s.input).String()); diff != "" {
		t.Errorf("plan differs (-want +got):\n%s", diff)
	}
}

func TestDiffStraysAndNetworks(t *testing.T) {
	stray := func(id string, f func(*Container)) Container {
		c := containerOf(replica(id, cluster.Running))
		if f != nil {
			f(&c)
		}
		return c
	}
	checkPlans(t, []diffCase{
		{"no assignment", func(s *scene) { s.runs(stray("gone", nil)) }, `
			remove gone container=c-gone (no assignment)`},
		{"no replica label", func(s *scene) {
			s.runs(stray("x", func(c *Container) { delete(c.Labels, LabelReplica) }))
		}, `
			remove container:c-x container=c-x (no assignment)`},
		{"another spec under a replica's id", func(s *scene) {
			s.assign(replica("a", cluster.Assigned))
			s.runs(stray("a", func(c *Container) { c.ID, c.Labels[LabelSpec] = "c-evil", "other" }))
		}, `
			start a`},
		{"of two that claim a replica the named one stays", func(s *scene) {
			r := replica("a", cluster.Running)
			r.ContainerID, r.ImageDigest, r.Address, r.StartedAt = "c-a", "sha256:image", "10.0.0.2", noon.Add(-time.Minute)
			s.assign(r)
			s.runs(stray("a", nil))
			s.runs(stray("a", func(c *Container) { c.ID, c.Name = "a-copy", "copy" }))
		}, `
			remove a container=a-copy (no assignment)`},
		{"a start that nobody wants any more is given up, then its container goes", func(s *scene) {
			s.runs(stray("a", nil))
			s.remember("a", memory{busy: actStart})
		}, `
			cancel a`},
		{"network of a retired deployment", func(s *scene) {
			s.networks["jaco_old_default"] = Network{Name: "jaco_old_default", Labels: map[string]string{LabelDeployment: "old"}}
			s.networks["jaco_shop_default"] = Network{Name: "jaco_shop_default", Labels: map[string]string{LabelDeployment: "shop"}}
		}, `
			remove-network network:jaco_old_default (unused)`},
		{"not while a container is attached", func(s *scene) {
			s.networks["jaco_old_default"] = Network{Name: "jaco_old_default", Labels: map[string]string{LabelDeployment: "old"}}
			s.runs(stray("x", func(c *Container) { c.Networks = map[string]netip.Addr{"jaco_old_default": {}} }))
		}, `
			remove x container=c-x (no assignment)`},
		{"not while a start may need it", func(s *scene) {
			r := replica("a", cluster.Assigned)
			r.Deployment = "old"
			s.assign(r)
			s.remember("a", memory{busy: actStart})
			s.networks["jaco_old_default"] = Network{Name: "jaco_old_default", Labels: map[string]string{LabelDeployment: "old"}}
		}, ``},
		{"not while the revision before has it", func(s *scene) {
			old := shop("1", 1)
			old.Networks = append(old.Networks, desired.Network{Name: "extra"})
			s.view = accepted(rev2, shop("2", 1), accepted(rev1, old, nil).Deployments["shop"])
			s.networks["jaco_shop_extra"] = Network{Name: "jaco_shop_extra"}
		}, ``},
	})
}

// TestDiffVolumes: a volume goes when a signed commit gave it up, and only then.
func TestDiffVolumes(t *testing.T) {
	given := func(s *scene, deployment, volume string) {
		s.view.Prune = append(s.view.Prune, cluster.PrunedVolume{Deployment: deployment, Volume: volume, Engine: "jaco_" + deployment + "_" + volume, Revision: rev2})
	}
	present := func(s *scene, name, deployment, volume string) {
		s.volumes[name] = Volume{Name: name, Labels: map[string]string{LabelCluster: testCluster, LabelDeployment: deployment, LabelVolume: volume}}
	}
	checkPlans(t, []diffCase{
		{"given up", func(s *scene) {
			present(s, "jaco_old_data", "old", "data")
			given(s, "old", "data")
		}, `
			remove-volume volume:jaco_old_data (given up, with x-jaco-prune: true)`},
		{"a retired deployment's volume stays", func(s *scene) { present(s, "jaco_old_data", "old", "data") }, ``},
		{"it is not on this node", func(s *scene) { given(s, "old", "data") }, ``},
		{"somebody else's of that name", func(s *scene) {
			present(s, "jaco_old_data", "other", "data")
			given(s, "old", "data")
		}, ``},
		{"declared again", func(s *scene) {
			present(s, "jaco_shop_data", "shop", "data")
			given(s, "shop", "data")
		}, ``},
		{"the revision before, to which a rollback goes, has it", func(s *scene) {
			without := shop("2", 1)
			without.Volumes = nil
			s.view = accepted(rev2, without, accepted(rev1, shop("1", 1), nil).Deployments["shop"])
			present(s, "jaco_shop_data", "shop", "data")
			given(s, "shop", "data")
		}, ``},
		{"and the one after it has not", func(s *scene) {
			without := shop("2", 1)
			without.Volumes = nil
			s.view = accepted(rev2, without, accepted(rev1, without, nil).Deployments["shop"])
			present(s, "jaco_shop_data", "shop", "data")
			given(s, "shop", "data")
		}, `
			remove-volume volume:jaco_shop_data (given up, with x-jaco-prune: true)`},
		{"a container has it: later", func(s *scene) {
			present(s, "jaco_old_data", "old", "data")
			given(s, "old", "data")
			s.remember("volume:jaco_old_data", memory{failed: actVolume, tries: 1, retryAt: noon.Add(time.Second)})
		}, `
			wake 12:00:01.000`},
		{"nothing accepted is known", func(s *scene) {
			s.view = nil
			present(s, "jaco_old_data", "old", "data")
		}, ``},
		{"a container of the node's own network did not drift", func(s *scene) {
			s.view.Deployments["shop"].Desired.Services[0].Container.Isolation.Network = desired.HostNetwork
			s.view.Deployments["shop"].Desired.Services[0].Container.Networks = nil
			r := recorded()
			r.Address = ""
			s.assign(r)
			s.runs(altered(func(c *Container) { c.Networks = map[string]netip.Addr{"host": {}} }))
		}, ``},
	})
}
