package rig_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
)

//rig:program jacod-fast ./cmd/jacod -X main.clockOffset=1h

func TestDaemonThatEnds(t *testing.T) {
	r := rig.Start(t, rig.Config{NoEngine: true})
	d, err := rig.NewDaemon(r.Node(), rig.DaemonConfig{
		Jacod: "/bin/ls", Jaco: "/bin/ls", Settings: map[string]any{"name": nil, "log": map[string]any{"level": "debug"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	err = d.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "unrecognized option") || time.Since(start) > 10*time.Second {
		t.Errorf("start after %s: %v; want the end of the log at once", time.Since(start), err)
	}
	config := string(rig.Must[[]byte](t)(os.ReadFile(d.ConfigFile)))
	for _, want := range []string{"advertise_address: 10.190.0.1\n", "log:\n    level: debug\n", "data_dir: "} {
		if !strings.Contains(config, want) {
			t.Errorf("configuration lacks %q:\n%s", want, config)
		}
	}
	if strings.Contains(config, "name:") {
		t.Errorf("removed key is there:\n%s", config)
	}
	if _, err := d.Run(t.Context(), "status"); rig.ExitCode(err) != 2 {
		t.Errorf("exit code %d of %v, want 2", rig.ExitCode(err), err)
	}
}

// initialize makes a cluster of one and returns its id.
func initialize(t *testing.T, d *rig.Daemon) string {
	t.Helper()
	key := rig.Must[*rig.Key](t)(rig.StartGit(t).NewSSHKey(t.Context(), "alice", "ed25519"))
	rig.Must[string](t)(d.Run(t.Context(), "bootstrap", "init", "--cluster", "rig", "--signer", "alice="+key.Private+".pub"))
	return clusterID(t, d)
}

// clusterID waits for it: after a start the state comes with the first election.
func clusterID(t *testing.T, d *rig.Daemon) string {
	t.Helper()
	var status struct{ Cluster struct{ ID string } }
	rig.Eventually(t, 20*time.Second, "a status with a cluster", func(ctx context.Context) (bool, string) {
		if err := d.Status(ctx, &status); err != nil {
			return false, err.Error()
		}
		return status.Cluster.ID != "", "no cluster yet"
	}, d)
	return status.Cluster.ID
}

// TestDaemon does to jacod what can happen to one.
func TestDaemon(t *testing.T) {
	ctx := t.Context()
	r := rig.Start(t, rig.Config{NoEngine: true})
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d := rig.StartDaemon(t, r.Node(), rig.DaemonConfig{DataSize: 48 << 20})
	id := initialize(t, d)

	check(d.Pause(ctx))
	short, cancel := context.WithTimeout(ctx, silence)
	if out, err := d.Run(short, "status"); err == nil {
		t.Errorf("a paused jacod answers:\n%s", out)
	}
	cancel()
	check(d.Resume(ctx))
	clusterID(t, d)
	check(d.Pause(ctx))
	check(d.Kill(ctx))
	if err := d.Pause(ctx); err == nil {
		t.Error("a jacod that does not run was paused")
	}

	check(d.FillDisk(ctx))
	file := filepath.Join(d.DataDir, "more")
	if err := os.WriteFile(file, []byte("more"), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing to a full disk: %v", err)
	}
	check(d.FillDisk(ctx))
	check(d.FreeDisk(ctx))
	check(os.WriteFile(file, []byte("more"), 0o600))

	check(r.Node().PowerOff(ctx))
	if err := d.Start(ctx); err == nil || !strings.Contains(err.Error(), "powered off") {
		t.Errorf("start without power: %v", err)
	}
	check(r.Node().PowerOn(ctx))
	check(d.Start(ctx))
	if got := clusterID(t, d); got != id {
		t.Errorf("after a power failure the cluster is %q, was %q", got, id)
	}

	if err := d.Wipe(ctx); err == nil {
		t.Error("wiped under a running jacod")
	}
	check(d.Stop(ctx))
	check(d.Wipe(ctx))
	if entries := rig.Must[[]os.DirEntry](t)(os.ReadDir(d.DataDir)); len(entries) != 0 {
		t.Errorf("left in the data directory: %v", entries)
	}
	check(d.Start(ctx))
	if again := initialize(t, d); again == id {
		t.Errorf("a wiped node is still of cluster %s", id)
	}
}

// TestDaemonWithoutDisk has nothing that could be filled safely.
func TestDaemonWithoutDisk(t *testing.T) {
	r := rig.Start(t, rig.Config{NoEngine: true})
	d, err := rig.NewDaemon(r.Node(), rig.DaemonConfig{Jacod: "/bin/ls", Jaco: "/bin/ls"})
	if err != nil {
		t.Fatal(err)
	}
	if d.FillDisk(t.Context()) == nil || d.FreeDisk(t.Context()) == nil {
		t.Error("the machine's disk was filled")
	}
}

// TestWrongClock runs the jacod that was built with a clock an hour ahead.
func TestWrongClock(t *testing.T) {
	r := rig.Start(t, rig.Config{NoEngine: true})
	d := rig.StartDaemon(t, r.Node(), rig.DaemonConfig{Jacod: rig.Must[string](t)(rig.Bin("jacod-fast"))})
	initialize(t, d)
	out := rig.Must[string](t)(d.Run(t.Context(), "audit", "-o", "json"))
	var records []struct{ Time time.Time }
	if err := json.Unmarshal([]byte(out), &records); err != nil || len(records) == 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	if ahead := time.Until(records[0].Time); ahead < 59*time.Minute || ahead > time.Hour {
		t.Errorf("the log is %s ahead, want an hour", ahead)
	}
}
