package stage

import (
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/jaco-sh/jaco/tests/rig"
)

// Transport is how jacod reaches the repository.
type Transport string

// The transports of a fleet repository.
const (
	Embedded Transport = "embedded" // made by init, watched by fsnotify
	HTTP     Transport = "http"     // smart HTTP with basic auth, told by webhook
	SSH      Transport = "ssh"      // sshd, polled
)

// WebhookSecret authenticates deliveries to the staged daemons.
const WebhookSecret = "a secret of the stage"

// TrustFile names alice alone.
const TrustFile = `version: 1
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: [keys/alice.pub]}
rules:
  - {paths: ["deployments/**"], approvals: 1}
`

// NewKey makes an ed25519 SSH key.
func (c *Cluster) NewKey(name string) *rig.Key {
	c.T.Helper()
	return rig.Must[*rig.Key](c.T)(c.Git.NewSSHKey(c.T.Context(), name, "ed25519"))
}

// serve makes the repository's server; the embedded repository has none.
func (c *Cluster) serve() {
	c.T.Helper()
	if c.config.Transport == Embedded {
		return
	}
	root := filepath.Join(c.Rig.Dir, "repositories")
	c.Check(os.MkdirAll(root, 0o755))
	c.Check(c.Git.InitBare(c.T.Context(), filepath.Join(root, "fleet.git")))
	switch c.config.Transport {
	case HTTP:
		c.http = rig.StartGitHTTP(c.T, &c.Rig.LAN.Space, root)
		c.clone(c.http.PushURL("fleet.git"))
	case Embedded:
	case SSH:
		c.ssh = rig.StartGitSSH(c.T, &c.Rig.LAN.Space, c.Git, root)
		c.clone(c.ssh.URL("fleet.git"))
	}
	c.Commit(map[string]string{"trust.yaml": TrustFile, "keys/alice.pub": c.Alice.Public})
}

func (c *Cluster) clone(url string) {
	c.T.Helper()
	var ns rig.NetNS
	if c.config.Transport != Embedded {
		ns = c.Rig.LAN.NetNS
	}
	c.Repo = rig.Must[*rig.Repo](c.T)(c.Git.Clone(c.T.Context(), url, ns))
	c.Check(c.Repo.SignWith(c.T.Context(), c.Alice))
}

// Clone makes another person's clone of the served repository, which signs with
// their key. The transport is not Embedded.
func (c *Cluster) Clone(key *rig.Key) *rig.Repo {
	c.T.Helper()
	url := rig.Must[string](c.T)(c.Repo.Git(c.T.Context(), "remote", "get-url", "origin"))
	repo := rig.Must[*rig.Repo](c.T)(c.Git.Clone(c.T.Context(), url, c.Rig.LAN.NetNS))
	c.Check(repo.SignWith(c.T.Context(), key))
	return repo
}

// Init makes the cluster of the first node, as an operator does.
func (c *Cluster) Init() {
	c.T.Helper()
	first := c.Member(0)
	file := func(name, data string) string {
		path := filepath.Join(first.Node.Dir, name)
		c.Check(os.WriteFile(path, []byte(data), 0o600))
		return path
	}
	args := []string{"bootstrap", "init", "--cluster", "stage"}
	switch c.config.Transport {
	case Embedded:
		args = append(args, "--signer", "alice="+file("alice.pub", c.Alice.Public))
	case HTTP:
		c.Push()
		token := file("token", c.http.User+":"+c.http.Password)
		args = append(args, "--repo", c.http.URL("fleet.git"), "--anchor", "tip", "--token-file", token)
	case SSH:
		c.Push()
		hosts := file("known_hosts", c.ssh.KnownHosts+"\n")
		args = append(args, "--repo", c.ssh.URL("fleet.git"), "--anchor", "tip", "--ssh-key", c.ssh.ClientKey, "--known-hosts", hosts)
	}
	first.Jaco(args...)
	if c.config.Transport == Embedded {
		c.clone(filepath.Join(first.DataDir, "repo.git"))
	}
	c.Anchor = rig.Must[string](c.T)(c.Repo.Git(c.T.Context(), "rev-parse", "HEAD"))
}

// Commit commits files in alice's clone, signed by her.
func (c *Cluster) Commit(files map[string]string) string {
	c.T.Helper()
	return c.CommitAs(c.Alice, files)
}

// CommitAs commits files with another's signature, or with none.
func (c *Cluster) CommitAs(key *rig.Key, files map[string]string) string {
	c.T.Helper()
	return rig.Must[string](c.T)(c.Repo.CommitFiles(c.T.Context(), files, rig.CommitOptions{Message: "change", Key: key}))
}

// Push pushes the clone's head.
func (c *Cluster) Push() {
	c.T.Helper()
	c.Check(c.Repo.Push(c.T.Context()))
}

// Deploy commits files as alice, pushes, and waits until they run.
func (c *Cluster) Deploy(files map[string]string) string {
	c.T.Helper()
	commit := c.Commit(files)
	c.Push()
	c.Converge()
	return commit
}

// Converge asks the remote, by any node that runs, and waits until its head
// runs.
func (c *Cluster) Converge() {
	c.T.Helper()
	c.Any().Converge()
}

// RepositoryURL is the served repository's; empty for the embedded one.
func (c *Cluster) RepositoryURL() string {
	switch c.config.Transport {
	case HTTP:
		return c.http.URL("fleet.git")
	case SSH:
		return c.ssh.URL("fleet.git")
	case Embedded:
	}
	return ""
}

// Port is the TCP port in a URL, 0 where there is none.
func (c *Cluster) Port(address string) uint16 {
	c.T.Helper()
	parsed := rig.Must[*url.URL](c.T)(url.Parse(address))
	if parsed.Port() == "" {
		return 0
	}
	port := rig.Must[uint64](c.T)(strconv.ParseUint(parsed.Port(), 10, 16))
	return uint16(port)
}

// Credential is what init hands over for the served repository: "user:password"
// or a private key; nil for the embedded one.
func (c *Cluster) Credential() []byte {
	c.T.Helper()
	switch c.config.Transport {
	case HTTP:
		return []byte(c.http.User + ":" + c.http.Password)
	case SSH:
		return rig.Must[[]byte](c.T)(os.ReadFile(c.ssh.ClientKey))
	case Embedded:
	}
	return nil
}

// InitAlone makes a cluster of its own of a node, with a repository of its own,
// that has nothing to do with the staged one.
func (c *Cluster) InitAlone(m Member) {
	c.T.Helper()
	path := filepath.Join(m.Node.Dir, "alone.pub")
	c.Check(os.WriteFile(path, []byte(c.Alice.Public), 0o600))
	m.Jaco("bootstrap", "init", "--cluster", "alone", "--signer", "alice="+path)
}
