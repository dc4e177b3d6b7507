// Package stage sets a cluster up for a suite: a node with its own engine, a
// repository served in one of three ways, a signer, and jacod made a cluster of
// it. Everything goes when the test ends.
package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
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

// WebhookSecret authenticates deliveries to the staged daemon.
const WebhookSecret = "a secret of the stage"

// Image is the repository name of the staged images; tags are ImageTags.
const Image = "jaco-stage/web"

// ImageTags are the tags that every stage's engine holds.
var ImageTags = []string{"1", "2", "3"}

// Config says what to stage. The zero value is the embedded default.
type Config struct {
	Transport Transport
	// Engine is where jacod finds its engine; empty: the node's own. A suite
	// puts a proxy there.
	Engine func(*rig.Node) string
	// NoInit leaves the daemon without a cluster.
	NoInit bool
	// Settings are added to jacod.yaml.
	Settings map[string]any
}

// Stage is what a suite works with.
type Stage struct {
	T      rig.TB
	Rig    *rig.Rig
	Node   *rig.Node
	Git    *rig.Git
	Alice  *rig.Key
	Daemon *rig.Daemon
	Repo   *rig.Repo // alice's clone, which signs with her key
	Anchor string

	transport Transport
	root      string // of the served repositories
	http      *rig.GitHTTP
	ssh       *rig.GitSSH
}

// New sets everything up and returns when jacod has its cluster.
func New(t rig.TB, config Config) *Stage {
	t.Helper()
	if config.Transport == "" {
		config.Transport = Embedded
	}
	s := &Stage{T: t, transport: config.Transport}
	s.Rig = rig.Start(t, rig.Config{})
	s.Node = s.Rig.Node()
	s.buildImages()
	s.Git = rig.StartGit(t)
	s.Alice = s.NewKey("alice")
	s.serve()
	settings := map[string]any{"log": map[string]string{"format": "text", "level": "debug"}}
	if s.transport == HTTP {
		secret := filepath.Join(s.Node.Dir, "webhook.secret")
		s.Check(os.WriteFile(secret, []byte(WebhookSecret+"\n"), 0o600))
		settings["webhook"] = map[string]string{"listen": s.WebhookAddress(), "secret_file": secret}
	}
	if config.Engine != nil {
		settings["engine"] = config.Engine(s.Node)
	}
	for k, v := range config.Settings {
		settings[k] = v
	}
	s.Daemon = rig.StartDaemon(t, s.Node, rig.DaemonConfig{Settings: settings})
	if !config.NoInit {
		s.Init()
	}
	return s
}

// Check ends the test on an error.
func (s *Stage) Check(err error) {
	s.T.Helper()
	if err != nil {
		s.T.Fatal(err)
	}
}

// NewKey makes an ed25519 SSH key.
func (s *Stage) NewKey(name string) *rig.Key {
	s.T.Helper()
	return rig.Must[*rig.Key](s.T)(s.Git.NewSSHKey(s.T.Context(), name, "ed25519"))
}

func (s *Stage) buildImages() {
	s.T.Helper()
	binary := rig.Must[string](s.T)(rig.Bin("web"))
	for _, tag := range ImageTags {
		rig.Must[string](s.T)(s.Node.Engine.Build(s.T.Context(), rig.WebImage(Image+":"+tag, tag, binary)))
	}
}

// serve makes the repository's server; the embedded repository has none.
func (s *Stage) serve() {
	s.T.Helper()
	if s.transport == Embedded {
		return
	}
	s.root = filepath.Join(s.Rig.Dir, "repositories")
	bare := filepath.Join(s.root, "fleet.git")
	s.Check(os.MkdirAll(s.root, 0o755))
	s.Check(s.Git.InitBare(s.T.Context(), bare))
	switch s.transport {
	case HTTP:
		s.http = rig.StartGitHTTP(s.T, &s.Rig.LAN.Space, s.root)
		s.clone(s.http.PushURL("fleet.git"))
	case Embedded:
	case SSH:
		s.ssh = rig.StartGitSSH(s.T, &s.Rig.LAN.Space, s.Git, s.root)
		s.clone(s.ssh.URL("fleet.git"))
	}
	s.Commit(map[string]string{"trust.yaml": TrustFile, "keys/alice.pub": s.Alice.Public})
}

// TrustFile names alice alone.
const TrustFile = `version: 1
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: [keys/alice.pub]}
rules:
  - {paths: ["deployments/**"], approvals: 1}
`

func (s *Stage) clone(url string) {
	s.T.Helper()
	var ns rig.NetNS
	if s.transport != Embedded {
		ns = s.Rig.LAN.NetNS
	}
	s.Repo = rig.Must[*rig.Repo](s.T)(s.Git.Clone(s.T.Context(), url, ns))
	s.Check(s.Repo.SignWith(s.T.Context(), s.Alice))
}

// Init makes the cluster, as an operator does.
func (s *Stage) Init() {
	s.T.Helper()
	args := []string{"bootstrap", "init", "--cluster", "stage"}
	switch s.transport {
	case Embedded:
		public := filepath.Join(s.Node.Dir, "alice.pub")
		s.Check(os.WriteFile(public, []byte(s.Alice.Public), 0o600))
		args = append(args, "--signer", "alice="+public)
	case HTTP:
		s.Check(s.Repo.Push(s.T.Context()))
		token := filepath.Join(s.Node.Dir, "token")
		s.Check(os.WriteFile(token, s.Credential(), 0o600))
		args = append(args, "--repo", s.RepositoryURL(), "--anchor", "tip", "--token-file", token)
	case SSH:
		s.Check(s.Repo.Push(s.T.Context()))
		hosts := filepath.Join(s.Node.Dir, "known_hosts")
		s.Check(os.WriteFile(hosts, []byte(s.ssh.KnownHosts+"\n"), 0o600))
		args = append(args, "--repo", s.RepositoryURL(), "--anchor", "tip", "--ssh-key", s.ssh.ClientKey, "--known-hosts", hosts)
	}
	s.Jaco(args...)
	if s.transport == Embedded {
		s.clone(filepath.Join(s.Daemon.DataDir, "repo.git"))
	}
	s.Anchor = rig.Must[string](s.T)(s.Repo.Git(s.T.Context(), "rev-parse", "HEAD"))
}

// RepositoryURL is the served repository's; empty for the embedded one.
func (s *Stage) RepositoryURL() string {
	switch s.transport {
	case HTTP:
		return s.http.URL("fleet.git")
	case SSH:
		return s.ssh.URL("fleet.git")
	case Embedded:
	}
	return ""
}

// Credential is what init hands over for the served repository: "user:password"
// or a private key; nil for the embedded one.
func (s *Stage) Credential() []byte {
	s.T.Helper()
	switch s.transport {
	case HTTP:
		return []byte(s.http.User + ":" + s.http.Password)
	case SSH:
		return rig.Must[[]byte](s.T)(os.ReadFile(s.ssh.ClientKey))
	case Embedded:
	}
	return nil
}

// WebhookAddress is where the daemon takes deliveries from the LAN.
func (s *Stage) WebhookAddress() string { return s.Node.Address.String() + ":9000" }

// Jaco runs the CLI and returns what it prints; a failure ends the test.
func (s *Stage) Jaco(args ...string) string {
	s.T.Helper()
	out, err := s.Daemon.Run(s.T.Context(), args...)
	if err != nil {
		s.T.Fatal(fmt.Sprintf("jaco %s: %v\n%s\n%s", strings.Join(args, " "), err, out, s.Daemon.Tail(25)))
	}
	return out
}

// JacoFails runs the CLI, wants that exit code, and returns everything that
// was printed.
func (s *Stage) JacoFails(code int, args ...string) string {
	s.T.Helper()
	out, err := s.Daemon.Run(s.T.Context(), args...)
	if got := rig.ExitCode(err); got != code {
		s.T.Fatal(fmt.Sprintf("jaco %s ended with %d, want %d: %v\n%s\n%s", strings.Join(args, " "), got, code, err, out, s.Daemon.Tail(25)))
	}
	if failed, ok := errors.AsType[*rig.CommandError](err); ok {
		out += failed.Stderr
	}
	return out
}

// Commit commits files in alice's clone, signed by her.
func (s *Stage) Commit(files map[string]string) string {
	s.T.Helper()
	return s.CommitAs(s.Alice, files)
}

// CommitAs commits files with another's signature, or with none.
func (s *Stage) CommitAs(key *rig.Key, files map[string]string) string {
	s.T.Helper()
	return rig.Must[string](s.T)(s.Repo.CommitFiles(s.T.Context(), files, rig.CommitOptions{Message: "change", Key: key}))
}

// Push pushes the clone's head; with the webhook transport it tells jacod.
func (s *Stage) Push() {
	s.T.Helper()
	s.Check(s.Repo.Push(s.T.Context()))
}

// Deploy commits files as alice, pushes, and waits until they run.
func (s *Stage) Deploy(files map[string]string) string {
	s.T.Helper()
	commit := s.Commit(files)
	s.Push()
	s.Converge()
	return commit
}

// Converge asks the remote and waits until its head runs.
func (s *Stage) Converge() {
	s.T.Helper()
	s.Jaco("status", "--wait", "--timeout", "90s")
}

// Status returns the status document.
func (s *Stage) Status() *cluster.Status {
	s.T.Helper()
	status, err := s.TryStatus(s.T.Context())
	s.Check(err)
	return status
}

// TryStatus is Status for a daemon that may be down.
func (s *Stage) TryStatus(ctx context.Context) (*cluster.Status, error) {
	status := new(cluster.Status)
	if err := s.Daemon.Status(ctx, status); err != nil {
		return nil, err
	}
	return status, nil
}

// Eventually waits for a condition on the status.
func (s *Stage) Eventually(within time.Duration, desc string, cond func(*cluster.Status) (bool, string)) {
	s.T.Helper()
	rig.Eventually(s.T, within, desc, func(ctx context.Context) (bool, string) {
		status, err := s.TryStatus(ctx)
		if err != nil {
			return false, err.Error()
		}
		return cond(status)
	}, s.Daemon)
}

// Containers lists the cluster's containers by asking the engine itself.
func (s *Stage) Containers() []rig.Container {
	s.T.Helper()
	return rig.Must[[]rig.Container](s.T)(s.Node.Engine.Containers(s.T.Context(), "sh.jaco.cluster"))
}
