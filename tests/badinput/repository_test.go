package badinput

import (
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// The huge commit is above what a fetch may bring, 256 MiB.
const (
	hugeFiles    = 17
	hugeFileSize = 16 << 20
)

// TestRepository has the repository vanish, come back, lose its branch and
// grow without bound while containers run.
func TestRepository(t *testing.T) {
	s := stage.New(t, stage.Config{Transport: stage.HTTP})
	round := 0
	files := func() map[string]string {
		round++
		return map[string]string{
			stage.Path("shop"): stage.Compose(stage.Service{Name: "web", Tag: "1", Replicas: 1}),
			"README":           strings.Repeat("x", round),
			"cluster.yaml":     "sync: {interval: 5s}\n",
		}
	}
	s.Deploy(files())
	before := containerIDs(s)
	bare := filepath.Join(s.Rig.Dir, "repositories", "fleet.git")
	away := bare + ".away"

	for _, test := range []struct {
		name        string
		spoil, mend func(t *testing.T)
		state       cluster.SyncState
		want        []string
	}{
		{"gone", func(t *testing.T) { check(t, os.Rename(bare, away)) }, func(t *testing.T) { check(t, os.Rename(away, bare)) },
			cluster.SyncUnreachable, []string{"not found", "404"}},
		{"emptied", func(t *testing.T) {
			check(t, os.Rename(bare, away))
			check(t, s.Git.InitBare(t.Context(), bare))
		}, func(t *testing.T) {
			check(t, os.RemoveAll(bare))
			check(t, os.Rename(away, bare))
		}, cluster.SyncStalled, []string{"empty"}},
		{"branch removed", func(t *testing.T) {
			bareGit(t, s, bare, "branch", "-m", "main", "trunk")
		}, func(t *testing.T) {
			bareGit(t, s, bare, "branch", "-m", "trunk", "main")
		}, cluster.SyncStalled, []string{"no such branch", "main", "trunk"}},
		{"not a repository", func(t *testing.T) {
			check(t, os.Rename(bare, away))
			check(t, os.WriteFile(bare, []byte("a file"), 0o600))
		}, func(t *testing.T) {
			check(t, os.Remove(bare))
			check(t, os.Rename(away, bare))
		}, cluster.SyncUnreachable, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := *s
			s.T = t
			test.spoil(t)
			waitSync(&s, test.state, test.want...)
			if after := containerIDs(&s); !slices.Equal(after, before) {
				t.Errorf("containers changed from %v to %v", before, after)
			}
			readable(t, s.Jaco("status", "sync"), append(test.want, string(test.state))...)
			test.mend(t)
			waitSync(&s, cluster.SyncSynced)
			s.Deploy(files())
		})
	}
	t.Run("huge", func(t *testing.T) {
		s := *s
		s.T = t
		makeHuge(t, &s, bare)
		waitSync(&s, cluster.SyncStalled, "exceeds a limit", "268435456 bytes")
		if after := containerIDs(&s); !slices.Equal(after, before) {
			t.Errorf("containers changed from %v to %v", before, after)
		}
		s.Commit(files())
		check(t, s.Repo.ForcePush(t.Context()))
		s.Converge()
	})
	if after := containerIDs(s); !slices.Equal(after, before) {
		t.Errorf("at the end the containers are %v, at first %v: nothing changed them", after, before)
	}
}

// makeHuge adds a commit with more bytes than anybody should fetch, past
// git's HTTP server, which would take its time.
func makeHuge(t *testing.T, s *stage.Stage, bare string) {
	t.Helper()
	// A server that looks for deltas in noise would take its time as well.
	bareGit(t, s, bare, "config", "core.bigFileThreshold", "1m")
	cmd := exec.CommandContext(t.Context(), "git", "-c", "core.compression=0", "--git-dir", bare, "fast-import", "--quiet")
	cmd.Env = s.Git.Env()
	in := rig.Must[io.WriteCloser](t)(cmd.StdinPipe())
	check(t, cmd.Start())
	source := mathrand.NewChaCha8([32]byte{})
	for i := range hugeFiles {
		_, err := fmt.Fprintf(in, "blob\nmark :%d\ndata %d\n", i+1, hugeFileSize)
		check(t, err)
		_, err = io.CopyN(in, source, hugeFileSize)
		check(t, err)
		_, err = fmt.Fprintln(in)
		check(t, err)
	}
	_, err := fmt.Fprint(in, "commit refs/heads/main\ncommitter A <a@example.com> 1 +0000\ndata 4\nhuge\nfrom refs/heads/main^0\n")
	check(t, err)
	for i := range hugeFiles {
		_, err := fmt.Fprintf(in, "M 100644 :%d noise-%d\n", i+1, i)
		check(t, err)
	}
	check(t, errors.Join(in.Close(), cmd.Wait()))
}

func bareGit(t *testing.T, s *stage.Stage, bare string, args ...string) {
	t.Helper()
	rig.Must[string](t)(s.Repo.Git(t.Context(), append([]string{"--git-dir", bare}, args...)...))
}

// waitSync waits until status has that state of the repository, with a reason
// that holds all the parts.
func waitSync(s *stage.Stage, state cluster.SyncState, parts ...string) {
	s.T.Helper()
	s.Eventually(30*time.Second, "sync "+string(state), func(status *cluster.Status) (bool, string) {
		for _, part := range parts {
			if !strings.Contains(status.Sync.Reason, part) {
				return false, "no " + part + " in: " + stage.Summary(status)
			}
		}
		return status.Sync.State == state, stage.Summary(status)
	})
}

func containerIDs(s *stage.Stage) []string {
	s.T.Helper()
	var ids []string
	for _, c := range s.Containers() {
		ids = append(ids, c.ID)
	}
	slices.Sort(ids)
	return ids
}
