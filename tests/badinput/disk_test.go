package badinput

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// TestFullDisk fills the file system of the data directory: what runs goes on,
// the node says what is wrong, and the push is deployed once there is room.
func TestFullDisk(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	check(t, os.Mkdir(disk, 0o755))
	check(t, unix.Mount("none", disk, "tmpfs", 0, "size=48m"))
	t.Cleanup(func() { check(t, unix.Unmount(disk, unix.MNT_DETACH)) })
	s := stage.New(t, stage.Config{
		Transport: stage.HTTP, Settings: map[string]any{"data_dir": filepath.Join(disk, "jaco")},
	})
	web := func(tag string, more string) map[string]string {
		return map[string]string{
			stage.Path("shop"):       stage.Compose(stage.Service{Name: "web", Tag: tag, Replicas: 1}),
			"deployments/shop/notes": more,
			"cluster.yaml":           "sync: {interval: 5s}\n",
		}
	}
	s.Deploy(web("1", ""))
	before := containerIDs(s)

	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	commit := s.Commit(web("2", noise(512<<10)))
	s.Push()
	rig.Eventually(t, 30*time.Second, "the log says that the disk is full", logged(s.Daemon, "no space left on device"), s.Daemon)
	s.Eventually(30*time.Second, "the status says that the disk is full", func(status *cluster.Status) (bool, string) {
		said := status.Sync.Reason + status.Nodes[0].Reason
		return strings.Contains(said, "no space left on device: free space on the file system of "+disk), stage.Summary(status) + "\nnode: " + status.Nodes[0].Reason
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
	check(t, os.Remove(ballast))
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
		fill(t, ballast)
		err := s.Daemon.Start(t.Context())
		if err == nil {
			rig.Eventually(t, 30*time.Second, "the log says that the disk is full", logged(s.Daemon, "no space left on device"), s.Daemon)
		} else {
			readable(t, err.Error(), "no space left on device")
		}
		if after := containerIDs(&s); !slices.Equal(after, running) {
			t.Errorf("containers changed from %v to %v", running, after)
		}
		check(t, os.Remove(ballast))
		if !s.Daemon.Proc().Running() {
			s.Check(s.Daemon.Start(t.Context()))
		}
		s.Eventually(20*time.Second, "a leader", func(status *cluster.Status) (bool, string) {
			return status.Cluster.Leader != "" && status.Sync.State == cluster.SyncSynced, stage.Summary(status)
		})
		s.Deploy(web("3", ""))
	})
}

// fill takes all that is left of a file system.
func fill(t *testing.T, path string) {
	t.Helper()
	file := rig.Must[*os.File](t)(os.Create(path))
	defer file.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		for {
			if _, err := file.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
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
