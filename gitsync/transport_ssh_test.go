package gitsync

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/tests/rig"
)

// serveSSH starts a real sshd, which takes root.
func serveSSH(t *testing.T, p *peer) *rig.GitSSH {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("sshd needs root")
	}
	host, err := rig.NewHost(t.Context())
	p.must(err)
	t.Cleanup(func() {
		if err := host.Close(t.Context()); err != nil && !errors.Is(err, t.Context().Err()) {
			t.Error(err)
		}
	})
	return rig.StartGitSSH(t, &host.Space, p.git, p.root)
}

func sshConfig(t *testing.T, server *rig.GitSSH) Config {
	t.Helper()
	c := testConfig(t, server.URL("fleet.git"))
	c.Repository.Credentials = Credentials{SSHKey: readTestFile(t, server.ClientKey), KnownHosts: []byte(server.KnownHosts)}
	return c
}

func TestSSH(t *testing.T) {
	p := newPeer(t)
	head := p.push("one")
	server := serveSSH(t, p)
	decoy, err := p.git.NewSSHKey(t.Context(), "decoy", "ecdsa")
	p.must(err)
	t.Run("fetch", func(t *testing.T) {
		m := openTestMirror(t, sshConfig(t, server))
		wantFetch(t, m, head)
		wantFetch(t, m, head)
		head = p.push("two")
		wantFetch(t, m, head)
		if listed, err := m.ListHead(t.Context()); err != nil || listed != head {
			t.Errorf("listed %s %v", listed, err)
		}
	})
	t.Run("among other hosts", func(t *testing.T) {
		c := sshConfig(t, server)
		c.Repository.Credentials.KnownHosts = []byte("# hosts\n\nother.example.com " + decoy.Public + "\n" + server.KnownHosts)
		wantFetch(t, openTestMirror(t, c), head)
	})
	t.Run("limit", func(t *testing.T) {
		c := sshConfig(t, server)
		c.Limits.Objects = 3
		if _, err := openTestMirror(t, c).Fetch(t.Context()); !errors.Is(err, ErrTooLarge) {
			t.Errorf("error %v, want ErrTooLarge", err)
		}
		wantNoLeftovers(t, c)
	})
	t.Run("empty", func(t *testing.T) {
		p.must(p.git.InitBare(t.Context(), filepath.Join(p.root, "it's empty.git")))
		c := sshConfig(t, server)
		c.Repository.URL = server.URL("it's empty.git")
		if _, err := openTestMirror(t, c).Fetch(t.Context()); !errors.Is(err, ErrEmpty) {
			t.Errorf("error %v, want ErrEmpty", err)
		}
	})
	leftovers, err := filepath.Glob(filepath.Join(os.TempDir(), "jaco-known-hosts-*"))
	if err != nil || len(leftovers) > 0 {
		t.Errorf("left behind: %v %v", leftovers, err)
	}
}

func TestSSHErrors(t *testing.T) {
	p := newPeer(t)
	p.push("one")
	server := serveSSH(t, p)
	stranger, err := p.git.NewSSHKey(t.Context(), "stranger", "ed25519")
	p.must(err)
	decoy, err := p.git.NewSSHKey(t.Context(), "decoy", "ecdsa")
	p.must(err)
	hostAndPort := strings.Fields(server.KnownHosts)[0]
	for name, test := range map[string]struct {
		change func(*Config)
		kind   error
		text   string
	}{
		"unknown host": {
			func(c *Config) {
				c.Repository.Credentials.KnownHosts = []byte("other.example.com " + stranger.Public + "\n")
			},
			ErrHostKey, "ssh-keyscan -p ",
		},
		"changed host key": {
			func(c *Config) {
				c.Repository.Credentials.KnownHosts = []byte(hostAndPort + " " + stranger.Public + "\n")
			},
			ErrHostKey, "is not the pinned key",
		},
		"host key of a kind that the host lacks": {
			func(c *Config) {
				c.Repository.Credentials.KnownHosts = []byte(hostAndPort + " " + decoy.Public + "\n")
			},
			ErrUnreachable, "host key",
		},
		"revoked host key": {
			func(c *Config) {
				c.Repository.Credentials.KnownHosts = []byte(server.KnownHosts + "@revoked " + server.KnownHosts)
			},
			ErrHostKey, "is not the pinned key",
		},
		"wrong key": {
			func(c *Config) { c.Repository.Credentials.SSHKey = readTestFile(t, stranger.Private) },
			ErrDenied, stranger.Fingerprint,
		},
		"gone": {
			func(c *Config) { c.Repository.URL = server.URL("gone.git") },
			ErrGone, "not appear to be a git repository",
		},
		"missing branch": {
			func(c *Config) { c.Repository.Branch = "production" },
			ErrNoBranch, "the repository has main",
		},
		"nobody listens": {
			func(c *Config) {
				c.Repository.URL = "ssh://git@127.0.0.1:1/x"
				c.Repository.Credentials.KnownHosts = []byte("[127.0.0.1]:1 " + stranger.Public + "\n")
			},
			ErrUnreachable, "connection refused",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := sshConfig(t, server)
			test.change(&c)
			_, err := openTestMirror(t, c).Fetch(t.Context())
			if !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.kind, test.text)
			}
		})
	}
}
