package rig

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/cgi"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// GitHTTP serves the bare repositories of a directory by git's own smart HTTP
// program behind basic authentication, for reading and pushing.
type GitHTTP struct {
	Addr           string // host:port
	User, Password string

	srv    *http.Server
	served chan error

	mu     sync.Mutex // guards the fields below
	counts map[string]int
}

// ServeGitHTTP serves the directory in the space, at its address and a free
// port, until Close.
func ServeGitHTTP(ctx context.Context, s *Space, root string) (*GitHTTP, error) {
	execPath, err := output(exec.CommandContext(ctx, "git", "--exec-path"))
	if err != nil {
		return nil, err
	}
	l, err := s.NetNS.Listen(ctx, "tcp", net.JoinHostPort(s.Address.String(), "0"))
	if err != nil {
		return nil, fmt.Errorf("serve git: %w", err)
	}
	// A password of its own can be looked for in what jacod leaves behind.
	h := &GitHTTP{Addr: l.Addr().String(), User: "jaco", Password: rand.Text(), served: make(chan error, 1), counts: map[string]int{}}
	backend := &cgi.Handler{
		Path: filepath.Join(execPath, "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=" + h.User,
			"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
	h.srv = &http.Server{Handler: h.authenticate(backend), ReadHeaderTimeout: 5 * time.Second}
	go func() { h.served <- h.srv.Serve(l) }()
	return h, nil
}

func (h *GitHTTP) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := r.Method + " " + r.URL.Path
		if q := r.URL.Query().Get("service"); q != "" {
			what += " " + q
		}
		h.mu.Lock()
		h.counts[what]++
		h.mu.Unlock()
		user, password, _ := r.BasicAuth()
		if user != h.User || subtle.ConstantTimeCompare([]byte(password), []byte(h.Password)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="rig"`)
			http.Error(w, "wrong user or password", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// URL is a repository's, "fleet.git", without credentials.
func (h *GitHTTP) URL(repo string) string { return "http://" + h.Addr + "/" + repo }

// PushURL is URL with credentials, for Git.Clone.
func (h *GitHTTP) PushURL(repo string) string {
	u := url.URL{Scheme: "http", User: url.UserPassword(h.User, h.Password), Host: h.Addr, Path: "/" + repo}
	return u.String()
}

// Counts says how often each request came: "GET /fleet.git/info/refs
// git-upload-pack" is a query of the refs, "POST /fleet.git/git-upload-pack"
// with it a fetch (or, in protocol 2, the query itself). Refused ones count.
func (h *GitHTTP) Counts() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.counts)
}

// Close ends the server and cuts its connections.
func (h *GitHTTP) Close(context.Context) error {
	err := h.srv.Close()
	if served := <-h.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// GitSSH is an sshd of its own: own configuration, host key and port; one
// client key may log in.
type GitSSH struct {
	Addr string // host:port
	// KnownHosts is the line that a client pins.
	KnownHosts string
	// ClientKey is the file of the private key that may log in; commands of
	// Git use it and the known host by themselves.
	ClientKey string

	root string
	proc *Proc
}

// sshdConfig points the session's shell to an empty home: bash reads the
// account's .bashrc when sshd starts it, which may do anything, and slowly.
const sshdConfig = `ListenAddress %s
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
SetEnv HOME=%s GIT_CONFIG_GLOBAL=%s GIT_CONFIG_NOSYSTEM=1
`

// ServeGitSSH serves the repositories of a directory in the space. Host and
// client key are made in the git home; a home has one such server.
func ServeGitSSH(ctx context.Context, s *Space, g *Git, root string) (*GitSSH, error) {
	host, err := g.NewSSHKey(ctx, "host", "ed25519")
	if err != nil {
		return nil, err
	}
	client, err := g.NewSSHKey(ctx, "client", "ed25519")
	if err != nil {
		return nil, err
	}
	port, err := s.NetNS.FreePort(ctx, s.Address.String())
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort(s.Address.String(), strconv.Itoa(port))
	hostKey := strings.TrimSuffix(host.Public, " "+host.Name)
	h := &GitSSH{
		Addr: addr, root: root, ClientKey: client.Private,
		KnownHosts: fmt.Sprintf("[%s]:%d %s\n", s.Address, port, hostKey),
	}
	config, authorized := filepath.Join(s.Dir, "sshd_config"), filepath.Join(s.Dir, "authorized_keys")
	for path, data := range map[string]string{
		config:                                  fmt.Sprintf(sshdConfig, addr, host.Private, authorized, s.Dir, filepath.Join(g.Dir, "gitconfig")),
		authorized:                              client.Public + "\n",
		filepath.Join(g.Dir, "ssh/known_hosts"): h.KnownHosts,
	} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			return nil, fmt.Errorf("configure sshd: %w", err)
		}
	}
	// Debian's sshd insists on the directory its service would have made.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return nil, fmt.Errorf("make sshd's directory: %w", err)
	}
	// sshd re-executes itself and so must be started by its full path.
	if h.proc, err = s.Start(ctx, ProcConfig{Name: "sshd", Path: sshdPath(), Args: []string{"-D", "-e", "-f", config}}); err != nil {
		return nil, err
	}
	return h, h.proc.waitFor(ctx, "sshd to listen", func(ctx context.Context) error {
		return dialable(ctx, s.NetNS, "tcp", addr)
	})
}

func sshdPath() string {
	if p, err := exec.LookPath("sshd"); err == nil {
		return p
	}
	return "/usr/sbin/sshd"
}

// URL is a repository's, "fleet.git".
func (h *GitSSH) URL(repo string) string {
	return "ssh://root@" + h.Addr + filepath.Join(h.root, repo)
}

// Tail returns the end of sshd's log.
func (h *GitSSH) Tail(lines int) string { return h.proc.Tail(lines) }

// Close ends the server; connections of clients end with the rig.
func (h *GitSSH) Close(ctx context.Context) error { return h.proc.Stop(ctx, syscall.SIGTERM) }
