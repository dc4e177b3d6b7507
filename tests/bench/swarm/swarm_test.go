package swarm

import (
	"context"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
)

func TestMain(m *testing.M) { rig.Main(m, "bench/swarm") }

// TestSwarm does everything that is measured once, and logs the figures.
func TestSwarm(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s := Start(t, 3, Config{})
	took := rig.Must[time.Duration](t)
	t.Logf("deploy of %d services with %d replicas each: %s", Services, Replicas, took(s.Deploy(ctx, "one")))
	if err := s.Remove(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	t.Logf("the same again: %s", took(s.Deploy(ctx, "two")))
	t.Logf("update of %d replicas: %s", Replicas, took(s.Update(ctx, "two", "a")))
	t.Logf("the same again: %s", took(s.Update(ctx, "two", "b")))
	if _, err := s.LoseNode(ctx, s.Nodes()[0], "two"); err == nil {
		t.Error("the node that is asked was lost")
	}
	loss := rig.Must[Loss](t)(s.LoseNode(ctx, s.Nodes()[2], "two"))
	t.Logf("node lost: %+v", loss)
	if loss.SeenDown == 0 || loss.Running < loss.SeenDown/2 || loss.Healthy < loss.Running {
		t.Errorf("these cannot be: %+v", loss)
	}
}
