package badinput

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// TestFullDisk fills the file system of the data directory: what runs goes on,
// the node says what is wrong, and the push is deployed once there is room.
func TestFullDisk(t *testing.T) {
	s := stage.New(t, stage.Config{Transport: stage.HTTP, DataSize: 48 << 20})
	web := func(tag string, more string) map[string]string {
		return map[string]string{
			stage.Path("shop"):       stage.Compose(stage.Service{Name: "web", Tag: tag, Replicas: 1}),
			"deployments/shop/notes": more,
			"cluster.yaml":           "sync: {interval: 5s}\n",
		}
	}
	s.Deploy(web("1", ""))
	before := containerIDs(s)

	check(t, s.Daemon.FillDisk(t.Context()))
	commit := s.Commit(web("2", noise(512<<10)))
	s.Push()
	rig.Eventually(t, 30*time.Second, "the log says that the disk is full", logged(s.Daemon, "no space left on device"), s.Daemon)
	s.Eventually(30*time.Second, "the status says that the disk is full", func(status *cluster.Status) (bool, string) {
		said := status.Sync.Reason + status.Nodes[0].Reason
		return strings.Contains(said, "no space left on device: free space on the file system of "+filepath.Dir(s.Daemon.DataDir)), stage.Summary(status) + "\nnode: " + status.Nodes[0].Reason
	})
	// The log's file may have room left where the mirror's has none.
	if status := s.Status(); status.Nodes[0].Reason != "" {
		if code, body := ready(t, s); code != http.StatusServiceUnavailable || !strings.Contains(body, "no space left on device") {
			t.Errorf("/readyz answers %d %s", code, body)
		}
	}
	if after := containerIDs(s); !slices.Equal(after, before) {
		t.Errorf("containers changed from %v to %v", before, after)
	}
	if !s.Daemon.Proc().Running() {
		t.Fatal("jacod ended")
	}
	check(t, s.Daemon.FreeDisk(t.Context()))
	s.Converge()
	if got := s.Status().Sync.Accepted; got != commit {
		t.Errorf("accepted is %s, want %s", got, commit)
	}
	if after := containerIDs(s); len(after) != 1 || after[0] == before[0] {
		t.Errorf("containers are %v, before the push %v", after, before)
	}
	readable(t, s.Jaco("audit", "verify", "--anchor", s.Anchor), "verified")

	t.Run("started on a full disk", func(t *testing.T) {
		s := *s
		s.T = t
		running := containerIDs(&s)
		s.Check(s.Daemon.Stop(t.Context()))
		check(t, s.Daemon.FillDisk(t.Context()))
		err := s.Daemon.Start(t.Context())
		if err == nil {
			rig.Eventually(t, 30*time.Second, "the log says that the disk is full", logged(s.Daemon, "no space left on device"), s.Daemon)
		} else {
			readable(t, err.Error(), "no space left on device")
		}
		if after := containerIDs(&s); !slices.Equal(after, running) {
			t.Errorf("containers changed from %v to %v", running, after)
		}
		check(t, s.Daemon.FreeDisk(t.Context()))
		if !s.Daemon.Proc().Running() {
			s.Check(s.Daemon.Start(t.Context()))
		}
		s.Eventually(20*time.Second, "a leader", func(status *cluster.Status) (bool, string) {
			return status.Cluster.Leader != "" && status.Sync.State == cluster.SyncSynced, stage.Summary(status)
		})
		s.Deploy(web("3", ""))
	})
}

// noise is text that does not compress well and is the same each time.
func noise(size int) string {
	var b strings.Builder
	state := uint64(1)
	for b.Len() < size {
		state = state*6364136223846793005 + 1442695040888963407
		b.WriteByte(byte('!' + state>>33%90))
	}
	return b.String()
}
