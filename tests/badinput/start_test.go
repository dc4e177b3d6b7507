package badinput

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/jaco-sh/jaco/tests/rig"
)

// TestRefusesToStart starts jacod where it cannot work: it must end at once,
// and say which setting is wrong.
func TestRefusesToStart(t *testing.T) {
	n := newNode(t)
	file := filepath.Join(n.Dir, "a-file")
	check(t, os.WriteFile(file, nil, 0o600))
	readOnly := filepath.Join(n.Dir, "read-only")
	check(t, os.Mkdir(readOnly, 0o755))
	check(t, unix.Mount("none", readOnly, "tmpfs", unix.MS_RDONLY, ""))
	t.Cleanup(func() { check(t, unix.Unmount(readOnly, unix.MNT_DETACH)) })
	taken := rig.Must[net.Listener](t)(n.NetNS.Listen(t.Context(), "tcp", "127.0.0.1:0"))
	defer taken.Close()

	for _, test := range []struct {
		name    string
		changes map[string]any
		want    []string
	}{
		{"unknown key", map[string]any{"datadir": "/var/lib/jaco"}, []string{"jacod.yaml", "line", "datadir"}},
		{"value of the wrong kind", map[string]any{"log": "loud"}, []string{"jacod.yaml", "line"}},
		{"metrics for the network", map[string]any{"http_listen": "0.0.0.0:7080"}, []string{"http_listen", "loopback"}},
		{"http port in use", map[string]any{"http_listen": taken.Addr().String()},
			[]string{"http_listen", taken.Addr().String(), "address already in use"}},
		{"webhook port in use", map[string]any{"webhook": map[string]string{"listen": taken.Addr().String(), "secret_file": secretFile(t, "x\n")}},
			[]string{"webhook.listen", "address already in use"}},
		{"webhook secret is missing", map[string]any{"webhook": map[string]string{"secret_file": filepath.Join(n.Dir, "none")}},
			[]string{"webhook.secret_file", "no such file"}},
		{"webhook secret is empty", map[string]any{"webhook": map[string]string{"secret_file": secretFile(t, "\n \n")}},
			[]string{"webhook.secret_file", "is empty"}},
		{"data directory is a file", map[string]any{"data_dir": file}, []string{"data directory", file}},
		{"data directory below a file", map[string]any{"data_dir": filepath.Join(file, "data")}, []string{"data directory", "not a directory"}},
		{"data directory is read-only", map[string]any{"data_dir": readOnly}, []string{"data directory", readOnly, "read-only"}},
		{"socket below a file", map[string]any{"socket": filepath.Join(file, "jaco.sock")}, []string{"socket", "not a directory"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n.refuses(t, n.config(t, test.changes), test.want...)
			if _, err := os.Lstat(n.daemon.Socket); err == nil {
				t.Error("it left its socket behind")
			}
		})
	}
	t.Run("configuration is missing", func(t *testing.T) {
		n.refuses(t, filepath.Join(n.Dir, "none.yaml"), "none.yaml", "no such file")
	})
}

func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	check(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// TestDamagedNode damages the data of a member part by part. It must refuse to
// start with advice, never begin anew, and be as it was once the part is back.
func TestDamagedNode(t *testing.T) {
	n := newNode(t)
	check(t, n.daemon.Start(t.Context()))
	git := rig.StartGit(t)
	alice := rig.Must[*rig.Key](t)(git.NewSSHKey(t.Context(), "alice", "ed25519"))
	rig.Must[string](t)(n.daemon.Run(t.Context(), "bootstrap", "init", "--signer", "alice="+keyFile(t, alice.Public)))
	before := n.standing(t)
	check(t, n.daemon.Stop(t.Context()))

	for _, test := range []struct {
		name  string
		path  string
		spoil func(t *testing.T, path string)
		want  []string
	}{
		{"identity key is open to others", "identity/node.key", chmod(0o644), []string{"identity/node.key", "open to other users", "chmod 0600"}},
		{"identity key is unreadable", "identity/node.key", replaceBy(nil), []string{"node.key", "bad private key", "restore"}},
		{"identity key is missing", "identity/node.key", remove, []string{"identity/node.key", "restore it from a backup"}},
		{"seal key is open to others", "identity/seal.key", chmod(0o640), []string{"identity/seal.key", "chmod 0600"}},
		{"identity directory is open to others", "identity", chmod(0o777), []string{"identity", "chmod 0700"}},
		{"certificate is another's", "identity/node.crt", replaceBy([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
			[]string{"identity", "restore"}},
		{"trust store is damaged", "trust/trust.json", flipByte, []string{"trust/trust.json", "the trust store is damaged", "restore"}},
		{"trust store is cut short", "trust/trust.json", truncate, []string{"trust/trust.json", "the trust store is damaged"}},
		{"trust store is missing", "trust/trust.json", remove, []string{"no trust store"}},
		{"membership is damaged", "member.json", truncate, []string{"member.json", "damaged"}},
		{"log is cut short", "raft/raft.db", truncate, []string{"raft.db", "damaged", "restore"}},
		{"log is missing", "raft/raft.db", remove, []string{"raft", "no raft log"}},
		{"objects are cut short", "objects.db", truncate, []string{"objects.db", "corrupt", "restore"}},
		{"objects are emptied", "objects.db", replaceBy(nil), []string{"objects.db", "is empty", "restore"}},
		{"objects are not ours", "objects.db", replaceBy(bytes.Repeat([]byte("x"), 65536)), []string{"objects.db", "restore"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(n.daemon.DataDir, test.path)
			mend := keep(t, path)
			test.spoil(t, path)
			n.refuses(t, n.daemon.ConfigFile, test.want...)
			mend()
		})
	}
	t.Run("membership is missing", func(t *testing.T) {
		path := filepath.Join(n.daemon.DataDir, "member.json")
		mend := keep(t, path)
		remove(t, path)
		check(t, n.daemon.Start(t.Context()))
		_, err := n.daemon.Run(t.Context(), "bootstrap", "init", "--signer", "alice="+keyFile(t, alice.Public))
		if rig.ExitCode(err) != 1 {
			t.Fatalf("init over a member's data ended with %d: %v", rig.ExitCode(err), err)
		}
		readable(t, err.Error(), "holds a node's data", "member.json", "restore that file")
		check(t, n.daemon.Stop(t.Context()))
		mend()
	})
	t.Run("control port is in use", func(t *testing.T) {
		taken := rig.Must[net.Listener](t)(n.NetNS.Listen(t.Context(), "tcp", ":7000"))
		defer taken.Close()
		n.refuses(t, n.daemon.ConfigFile, "7000", "address already in use", "listen")
	})
	check(t, n.daemon.Start(t.Context()))
	if after := n.standing(t); after.Entries < before.Entries {
		t.Errorf("audit holds %d entries, before the damage %d", after.Entries, before.Entries)
	} else if after.Entries = before.Entries; after != before {
		t.Errorf("after all was mended the node stands at %+v, before at %+v", after, before)
	}
	t.Run("second jacod", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "other.sock")
		n.refuses(t, n.config(t, map[string]any{"socket": other, "http_listen": "127.0.0.1:7081"}),
			"data directory "+n.daemon.DataDir, "in use by another jacod")
		n.refuses(t, n.config(t, map[string]any{"data_dir": t.TempDir(), "http_listen": "127.0.0.1:7081"}),
			"socket", n.daemon.Socket, "another jacod")
		n.standing(t) // the first one still answers
	})
	t.Run("init twice", func(t *testing.T) {
		_, err := n.daemon.Run(t.Context(), "bootstrap", "init", "--signer", "alice="+keyFile(t, alice.Public))
		if rig.ExitCode(err) != 1 {
			t.Fatalf("the second init ended with %d: %v", rig.ExitCode(err), err)
		}
		readable(t, err.Error(), "belongs to cluster "+before.Cluster+" already")
	})
}

func keyFile(t *testing.T, public string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pub")
	check(t, os.WriteFile(path, []byte(public), 0o600))
	return path
}

// keep remembers a file or directory's content and mode for the function that
// it returns.
func keep(t *testing.T, path string) (mend func()) {
	t.Helper()
	info := rig.Must[os.FileInfo](t)(os.Lstat(path))
	if info.IsDir() {
		return func() { check(t, os.Chmod(path, info.Mode().Perm())) }
	}
	data := rig.Must[[]byte](t)(os.ReadFile(path))
	return func() {
		check(t, os.WriteFile(path, data, info.Mode().Perm()))
		check(t, os.Chmod(path, info.Mode().Perm()))
	}
}

func chmod(mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		check(t, os.Chmod(path, mode))
	}
}

func replaceBy(data []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		check(t, os.WriteFile(path, data, 0o600))
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	check(t, os.Remove(path))
}

func truncate(t *testing.T, path string) {
	t.Helper()
	info := rig.Must[os.FileInfo](t)(os.Stat(path))
	check(t, os.Truncate(path, info.Size()/2))
}

func flipByte(t *testing.T, path string) {
	t.Helper()
	data := rig.Must[[]byte](t)(os.ReadFile(path))
	data[len(data)/2] ^= 1
	check(t, os.WriteFile(path, data, 0o600))
}
