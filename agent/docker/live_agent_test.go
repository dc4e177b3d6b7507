package docker

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/agent/tmpfs"
	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// liveState is a cluster of one node in memory.
type liveState struct {
	mu       sync.Mutex // guards the fields below
	view     *cluster.View
	replicas map[string]cluster.Replica
	changed  chan struct{}
	events   []cluster.Event
}

func (s *liveState) View() *cluster.View { return s.view }

func (s *liveState) Read() agent.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out liveSnapshot
	for _, r := range s.replicas {
		out = append(out, r)
	}
	return out
}

// liveSnapshot is one moment of it.
type liveSnapshot []cluster.Replica

func (s liveSnapshot) ReplicasOnNode(string) []cluster.Replica { return slices.Clone(s) }
func (s liveSnapshot) ReplicasOf(string) []cluster.Replica     { return slices.Clone(s) }
func (s liveSnapshot) ClaimsAfter(uint64) []cluster.Claim      { return nil }

func (s *liveState) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *liveState) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *liveState) Report(_ context.Context, r *cluster.ReportReplicas) error {
	s.update(func() {
		for _, rep := range r.Reports {
			rec := s.replicas[rep.ID]
			rec.Phase, rec.Reason, rec.ExitCode, rec.StartedAt = rep.Phase, rep.Reason, rep.ExitCode, rep.StartedAt
			rec.ContainerID, rec.Address, rec.ImageDigest = rep.ContainerID, rep.Address, rep.ImageDigest
			s.replicas[rep.ID] = rec
		}
	})
	return nil
}

func (s *liveState) Record(_ context.Context, events []cluster.Event) error {
	s.update(func() { s.events = append(s.events, events...) })
	return nil
}

func (s *liveState) NodeState(context.Context, agent.NodeStatus) error { return nil }

// await waits until a replica is in a phase.
func (s *liveState) await(t *testing.T, id string, phase cluster.Phase) cluster.Replica {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		changed := s.Changed()
		s.mu.Lock()
		r := s.replicas[id]
		s.mu.Unlock()
		if r.Phase == phase {
			return r
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("replica %s is %s (%s), want %s", id, r.Phase, r.Reason, phase)
		}
	}
}

// runAgent runs an agent until the function that it returns is called.
func runAgent(t *testing.T, e *Engine, s *liveState) (stop func()) {
	t.Helper()
	ready := make(chan struct{})
	close(ready)
	a, err := agent.New(agent.Deps{Engine: e, State: s, Views: s, Reporter: s, Ready: ready,
		Keys: noKeys{}, SecretFiles: tmpfs.New(filepath.Join(t.TempDir(), "secrets")),
		Log: slog.New(slog.DiscardHandler)}, agent.DefaultConfig("node-1", e.cluster))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// noKeys is for a node whose deployments have no secrets.
type noKeys struct{}

func (noKeys) Key(context.Context, string) (agent.Key, error) { return nil, errors.New("no key") }

// newLiveState accepts a deployment named after the cluster, with a service
// "web" that serves and one "crash" that does not.
func newLiveState(e *Engine) *liveState {
	dep := &desired.Deployment{Name: e.cluster, Networks: []desired.Network{{Name: "default"}}}
	service := desired.Service{Name: "web", Replicas: 9, SpecHash: "serve", Container: desired.Container{
		Image: testImage, Networks: []desired.Attachment{{Network: "default"}}, StopGrace: 5 * time.Second}}
	crasher := desired.Service{Name: "crash", Replicas: 1, SpecHash: "crash", Container: service.Container}
	crasher.Container.Command = []string{"/helper", "exit", "3"}
	dep.Services = []desired.Service{crasher, service}
	return &liveState{
		view: &cluster.View{Deployments: map[string]*cluster.Accepted{
			dep.Name: {Name: dep.Name, Revision: signing.Hash{1}, Desired: dep}}},
		replicas: map[string]cluster.Replica{}, changed: make(chan struct{}),
	}
}

// assign adds an assignment in a slot of its own; the state is locked.
func (s *liveState) assign(e *Engine, id, service, hash string) {
	s.replicas[id] = cluster.Replica{ID: id, Deployment: e.cluster, Service: service, Slot: len(s.replicas) + 1,
		Revision: signing.Hash{1}, SpecHash: hash, Phase: cluster.Assigned}
}

// noticed is how soon the agent sees what was done by hand. Two seconds are
// promised; the rest is for a machine that is busy with other tests.
const noticed = 10 * time.Second

// TestLiveAgent takes replicas through their lives on a real engine: started,
// found again by the next process, removed and stopped by hand, crashed, told
// to stop, and cleaned up after.
func TestLiveAgent(t *testing.T) {
	e := live(t)
	s := newLiveState(e)
	s.update(func() {
		for _, id := range []string{"keeps", "removed", "stopped", "ends"} {
			s.assign(e, id, "web", "serve")
		}
		s.assign(e, "crashes", "crash", "crash")
	})
	stop := runAgent(t, e, s)
	crashed := s.await(t, "crashes", cluster.Failed)
	if crashed.ExitCode != 3 || !strings.Contains(crashed.Reason, "exited with code 3\nabout to leave") &&
		!strings.Contains(crashed.Reason, "reason: asked to") {
		t.Errorf("crash: code %d, reason %q", crashed.ExitCode, crashed.Reason)
	}
	keeps := s.await(t, "keeps", cluster.Running)
	if keeps.Address == "" || keeps.ContainerID == "" || keeps.ImageDigest == "" {
		t.Errorf("running replica %+v lacks what the node saw", keeps)
	}
	removed, stopped := s.await(t, "removed", cluster.Running), s.await(t, "stopped", cluster.Running)
	s.await(t, "ends", cluster.Running)
	stop()
	stop = runAgent(t, e, s) // the next process
	if err := e.Remove(t.Context(), removed.ContainerID); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.await(t, "removed", cluster.Failed)
	if took := time.Since(began); took > noticed {
		t.Errorf("a container removed by hand was noticed after %v", took)
	}
	if err := e.Stop(t.Context(), stopped.ContainerID); err != nil {
		t.Fatal(err)
	}
	if r := s.await(t, "stopped", cluster.Failed); !strings.Contains(r.Reason, "by hand") {
		t.Errorf("docker stop: reason %q", r.Reason)
	}
	s.update(func() { r := s.replicas["ends"]; r.Stop = true; s.replicas["ends"] = r })
	s.await(t, "ends", cluster.Stopped)
	c, err := e.Inspect(t.Context(), keeps.ContainerID)
	if err != nil || !c.StartedAt.Equal(keeps.StartedAt) || c.Status != agent.StatusRunning {
		t.Errorf("a replica that nobody touched: %+v, error %v", c, err)
	}
	// All records but one go; a container of ours that nobody assigned goes too.
	if _, err := e.Create(t.Context(), e.spec("stray", agent.NetworkName(e.cluster, "default"))); err != nil {
		t.Fatal(err)
	}
	s.update(func() {
		s.view = &cluster.View{}
		s.replicas = map[string]cluster.Replica{}
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		containers, err := e.List(t.Context())
		networks, err2 := e.ListNetworks(t.Context())
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if len(containers)+len(networks) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %d containers, %d networks", len(containers), len(networks))
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	stop()
}

// TestLiveDrift does to running containers what people do, and wants each
// noticed within two seconds.
func TestLiveDrift(t *testing.T) {
	e := live(t)
	s := newLiveState(e)
	api := e.api
	byHand := map[string]struct {
		do     func(ctx context.Context, id string) error
		reason string
	}{
		"pause": {func(ctx context.Context, id string) error {
			_, err := api.ContainerPause(ctx, id, client.ContainerPauseOptions{})
			return err
		}, "paused by hand"},
		"rename": {func(ctx context.Context, id string) error {
			_, err := api.ContainerRename(ctx, id, client.ContainerRenameOptions{NewName: e.name("mine")})
			return err
		}, "renamed by hand"},
		"update": {func(ctx context.Context, id string) error {
			_, err := api.ContainerUpdate(ctx, id, client.ContainerUpdateOptions{Resources: &container.Resources{CPUShares: 512}})
			return err
		}, "settings were changed by hand"},
		"kill": {func(ctx context.Context, id string) error {
			_, err := api.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"})
			return err
		}, "stopped by hand"},
		"restart": {func(ctx context.Context, id string) error {
			_, err := api.ContainerRestart(ctx, id, client.ContainerRestartOptions{})
			return err
		}, "by hand"},
		"leave": {func(ctx context.Context, id string) error {
			_, err := api.NetworkDisconnect(ctx, agent.NetworkName(e.cluster, "default"), client.NetworkDisconnectOptions{Container: id})
			return err
		}, "disconnected from network"},
		"join": {func(ctx context.Context, id string) error {
			_, err := api.NetworkConnect(ctx, "bridge", client.NetworkConnectOptions{Container: id})
			return err
		}, "connected to network"},
	}
	s.update(func() {
		for id := range byHand {
			s.assign(e, id, "web", "serve")
		}
		s.assign(e, "signal", "web", "serve")
	})
	stop := runAgent(t, e, s)
	defer stop()
	for id := range byHand {
		s.await(t, id, cluster.Running)
	}
	for id, hand := range byHand {
		r := s.await(t, id, cluster.Running)
		if err := hand.do(t.Context(), r.ContainerID); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		began := time.Now()
		failed := s.await(t, id, cluster.Failed)
		if took := time.Since(began); took > noticed {
			t.Errorf("%s was noticed after %v", id, took)
		}
		if !strings.Contains(failed.Reason, hand.reason) {
			t.Errorf("%s: reason %q, want %q", id, failed.Reason, hand.reason)
		}
	}
	// A signal that ends nothing is nobody's business.
	r := s.await(t, "signal", cluster.Running)
	if _, err := e.api.ContainerKill(t.Context(), r.ContainerID, client.ContainerKillOptions{Signal: "WINCH"}); err != nil {
		t.Fatal(err)
	}
	s.update(func() { r := s.replicas["signal"]; r.Stop = true; s.replicas["signal"] = r })
	s.await(t, "signal", cluster.Stopped)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.events); n < len(byHand) {
		t.Errorf("%d events were audited, want one for each of %d", n, len(byHand))
	}
}
