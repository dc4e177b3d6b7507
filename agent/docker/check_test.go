package docker

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/desired"
)

func TestCheckCommand(t *testing.T) {
	shell := []string{"/bin/ash", "-eo", "pipefail", "-c"}
	for _, c := range []struct {
		test, shell, want []string
	}{
		{nil, nil, nil},
		{[]string{"NONE"}, nil, nil},
		{[]string{"CMD"}, nil, nil},
		{[]string{"NONE", "true"}, nil, nil},
		{[]string{"CMD", "/web", "-probe", "x"}, shell, []string{"/web", "-probe", "x"}},
		{[]string{"CMD-SHELL", "test -e /ok"}, nil, []string{"/bin/sh", "-c", "test -e /ok"}},
		{[]string{"CMD-SHELL", "test -e /ok"}, shell, append(slices.Clone(shell), "test -e /ok")},
	} {
		config := &container.Config{Shell: c.shell}
		if c.test != nil {
			config.Healthcheck = &container.HealthConfig{Test: c.test}
		}
		if got := checkCommand(config); !slices.Equal(got, c.want) {
			t.Errorf("%q with the shell %q runs %q, want %q", c.test, c.shell, got, c.want)
		}
	}
	if got := checkCommand(nil); got != nil {
		t.Errorf("nothing runs %q", got)
	}
}

// TestLiveCheck: a healthcheck that the engine would run in a minute.
func TestLiveCheck(t *testing.T) {
	e := live(t)
	network := e.network(t, "a")
	check := func(name, file string) (agent.Container, bool, error) {
		t.Helper()
		spec := e.spec(name, network)
		spec.Container.Healthcheck = &desired.Healthcheck{
			Test: []string{"CMD", "/helper", "exists", file}, Interval: time.Minute, Timeout: time.Second, Retries: 1,
		}
		c := e.run(t, spec)
		passed, err := e.Check(t.Context(), c.ID)
		return c, passed, err
	}
	c, passed, err := check("passes", "/helper")
	if err != nil || !passed {
		t.Errorf("a check that passes: %t, %v", passed, err)
	}
	if _, passed, err := check("fails", "/missing"); err != nil || passed {
		t.Errorf("a check that fails: %t, %v", passed, err)
	}
	plain := e.run(t, e.spec("plain", network))
	if passed, err := e.Check(t.Context(), plain.ID); err != nil || passed {
		t.Errorf("a container without a check: %t, %v", passed, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Check(ended, c.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("a check that is given up: %v", err)
	}
	if err := e.Remove(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Check(t.Context(), c.ID); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("a check of a container that is gone: %v, want %v", err, agent.ErrNotFound)
	}
}
