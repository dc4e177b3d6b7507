package badinput

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// hosts are the git servers of one test, each with the same repositories:
// fleet.git is good, empty.git has no commit, plain.git no trust.yaml.
type hosts struct {
	root string
	git  *rig.Git
	http *rig.GitHTTP
	ssh  *rig.GitSSH
	tip  string // of fleet.git
}

func newHosts(t *testing.T, n *node) *hosts {
	t.Helper()
	r := filepath.Join(n.Dir, "repositories")
	check(t, os.MkdirAll(r, 0o755))
	h := &hosts{root: r, git: rig.StartGit(t)}
	h.http = rig.StartGitHTTP(t, &n.Space, r)
	h.ssh = rig.StartGitSSH(t, &n.Space, h.git, r)
	alice := rig.Must[*rig.Key](t)(h.git.NewSSHKey(t.Context(), "alice", "ed25519"))
	h.tip = h.make(t, "fleet.git", map[string]string{"trust.yaml": stage.TrustFile, "keys/alice.pub": alice.Public})
	h.make(t, "plain.git", map[string]string{"README": "no trust here\n"})
	h.make(t, "badtrust.git", map[string]string{
		"trust.yaml": strings.Replace(stage.TrustFile, "rules:", "rulez:", 1), "keys/alice.pub": alice.Public,
	})
	check(t, h.git.InitBare(t.Context(), filepath.Join(r, "empty.git")))
	return h
}

// make makes a repository with one commit, which it returns.
func (h *hosts) make(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	bare := filepath.Join(h.root, name)
	check(t, h.git.InitBare(t.Context(), bare))
	clone := rig.Must[*rig.Repo](t)(h.git.Clone(t.Context(), bare, ""))
	commit := rig.Must[string](t)(clone.CommitFiles(t.Context(), files, rig.CommitOptions{Message: "start"}))
	check(t, clone.Push(t.Context()))
	return commit
}

// TestInit tries init with everything that an operator gets wrong. No attempt
// may leave anything behind, and the right one then works.
func TestInit(t *testing.T) {
	n := newNode(t)
	h := newHosts(t, n)
	check(t, n.daemon.Start(t.Context()))
	files := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(files, name)
		check(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	token := write("token", h.http.User+":"+h.http.Password)
	knownHosts := write("known_hosts", h.ssh.KnownHosts+"\n")
	alice := rig.Must[*rig.Key](t)(h.git.NewSSHKey(t.Context(), "alice-2", "ed25519"))
	public := write("alice.pub", alice.Public)
	other := rig.Must[*rig.Key](t)(h.git.NewSSHKey(t.Context(), "other", "ed25519"))
	strangers := write("strangers", "["+n.Address.String()+"]:"+portOf(t, h.ssh.Addr)+" "+other.Public)
	closed := rig.Must[net.Listener](t)(n.NetNS.Listen(t.Context(), "tcp", "127.0.0.1:0"))
	check(t, closed.Close())
	remote := func(repo string, more ...string) []string {
		return append([]string{"--repo", h.http.URL(repo), "--anchor", "tip", "--token-file", token}, more...)
	}
	overSSH := func(hosts, key string) []string {
		return []string{"--repo", h.ssh.URL("fleet.git"), "--anchor", "tip", "--ssh-key", key, "--known-hosts", hosts}
	}
	before := listing(t, n.daemon.DataDir)

	for _, test := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"private key as signer", []string{"--signer", "alice=" + alice.Private}, 1, []string{"signer alice", "private key", "public one"}},
		{"no key as signer", []string{"--signer", "alice=" + write("junk", "ssh-ed25519 nonsense\n")}, 1, []string{"signer alice", "key"}},
		{"empty key file", []string{"--signer", "alice=" + write("nothing", "")}, 1, []string{"alice"}},
		{"key file is missing", []string{"--signer", "alice=" + filepath.Join(files, "none")}, 1, []string{"--signer alice", "no such file"}},
		{"signer with a strange name", []string{"--signer", "../../x=" + public}, 1, []string{"../../x"}},
		{"cluster with a strange name", []string{"--cluster", "a b", "--signer", "alice=" + public}, 1, []string{"cluster name", `"a b"`}},
		{"branch with a strange name", []string{"--branch", "../x", "--signer", "alice=" + public}, 1, []string{"branch", "../x"}},
		{"empty repository", remote("empty.git"), 1, []string{"empty"}},
		{"missing branch", remote("fleet.git", "--branch", "prod"), 1, []string{"no such branch", "prod", "main"}},
		{"repository is gone", remote("gone.git"), 1, []string{"gone.git", "not found", "404"}},
		{"no git host there", []string{"--repo", "http://" + closed.Addr().String() + "/fleet.git", "--anchor", "tip"}, 1, []string{"unreachable", "refused"}},
		{"wrong token", append(remote("fleet.git")[:4], "--token-file", write("wrong", "jaco:nonsense-token")), 1, []string{"access denied", "refuses the token"}},
		{"no token", remote("fleet.git")[:4], 1, []string{"access denied", "--token-file"}},
		{"password in the URL", []string{"--repo", h.http.PushURL("fleet.git"), "--anchor", "tip"}, 1, []string{"must not hold a password", "--token-file"}},
		{"unknown host key", overSSH(write("nobody", "example.com "+other.Public), h.ssh.ClientKey), 1, []string{"no key is pinned", "ssh-keyscan"}},
		{"another host key", overSSH(strangers, h.ssh.ClientKey), 1, []string{"not the pinned key"}},
		{"no host key", overSSH(write("empty-hosts", ""), h.ssh.ClientKey), 1, []string{"ssh-keyscan", "--known-hosts"}},
		{"another client key", overSSH(knownHosts, other.Private), 1, []string{"access denied"}},
		{"anchor is not in the branch", append(remote("fleet.git"), "--anchor", strings.Repeat("1", 40)), 1, []string{"anchor 111111111111 is not in the history of branch main"}},
		{"anchor is no hash", append(remote("fleet.git"), "--anchor", "v1"), 1, []string{"anchor", "the full hash, or tip"}},
		{"anchor without trust", remote("plain.git"), 1, []string{"trust.yaml"}},
		{"anchor with a bad trust", remote("badtrust.git"), 1, []string{"trust.yaml:5", "rulez"}},
		{"repository by a relative path", []string{"--repo", "fleet.git", "--anchor", "tip"}, 1, []string{"fleet.git", "absolute path"}},
		{"repository without anchor", []string{"--repo", h.http.URL("fleet.git")}, 2, []string{"--anchor"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := n.initFails(t, test.code, test.args...)
			readable(t, answer, test.want...)
			for _, secret := range []string{h.http.Password, "nonsense-token", "PRIVATE KEY"} {
				if strings.Contains(answer, secret) {
					t.Errorf("the answer holds a secret (%s):\n%s", secret, answer)
				}
			}
			if after := listing(t, n.daemon.DataDir); !slices.Equal(after, before) {
				t.Errorf("it left %q in the data directory, before %q", after, before)
			}
		})
	}
	t.Run("control port is in use", func(t *testing.T) {
		taken := rig.Must[net.Listener](t)(n.NetNS.Listen(t.Context(), "tcp", ":7000"))
		defer taken.Close()
		readable(t, n.initFails(t, 1, "--signer", "alice="+public), "7000", "address already in use")
		if after := listing(t, n.daemon.DataDir); !slices.Equal(after, before) {
			t.Errorf("it left %q in the data directory, before %q", after, before)
		}
	})
	t.Run("killed half way", func(t *testing.T) {
		check(t, n.daemon.Stop(t.Context()))
		for _, name := range []string{"init.unfinished", "objects.db"} {
			check(t, os.WriteFile(filepath.Join(n.daemon.DataDir, name), nil, 0o600))
		}
		check(t, n.daemon.Start(t.Context()))
	})
	out := rig.Must[string](t)(n.init(t.Context(), remote("fleet.git")...))
	readable(t, out, h.tip, "alice: SHA256:")
	log := n.daemon.Tail(10_000)
	for _, secret := range []string{h.http.Password, "nonsense-token", "PRIVATE KEY"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds a secret (%s)", secret)
		}
	}
}

func (n *node) init(ctx context.Context, args ...string) (string, error) {
	return n.daemon.Run(ctx, append([]string{"bootstrap", "init"}, args...)...)
}

func (n *node) initFails(t *testing.T, code int, args ...string) string {
	t.Helper()
	out, err := n.init(t.Context(), args...)
	if rig.ExitCode(err) != code {
		t.Fatalf("init ended with %d, want %d: %v\n%s", rig.ExitCode(err), code, err, out)
	}
	// The command line that the rig adds is not part of the answer.
	_, answer, _ := strings.Cut(err.Error(), "exit status")
	return answer
}

func listing(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	for _, entry := range rig.Must[[]os.DirEntry](t)(os.ReadDir(dir)) {
		names = append(names, entry.Name())
	}
	return names
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	check(t, err)
	return port
}
