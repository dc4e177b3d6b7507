package rig

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/crypto/bcrypt"
)

// Registry is a local image registry without TLS, which every engine of the rig
// pulls from and pushes to. It has no accounts until Protect.
type Registry struct {
	Addr string // host:port, with which the images' names begin

	space *Space
	proc  *Proc
}

const registryConfig = `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}
http: {addr: %q}
`

// registryPort is the usual one: nothing else listens in the rig's LAN there.
const registryPort = "5000"

// ServeRegistry starts a registry in the space and waits until it listens. A
// space has one.
func ServeRegistry(ctx context.Context, s *Space) (*Registry, error) {
	r := &Registry{Addr: net.JoinHostPort(s.Address.String(), registryPort), space: s}
	return r, r.start(ctx, "")
}

// Protect has the registry ask everybody for a name and password from now on.
func (r *Registry) Protect(ctx context.Context, username, password string) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return fmt.Errorf("protect the registry: %w", err)
	}
	file := filepath.Join(r.space.Dir, "registry.htpasswd")
	if err := os.WriteFile(file, []byte(username+":"+string(hash)+"\n"), 0o600); err != nil {
		return fmt.Errorf("protect the registry: %w", err)
	}
	if err := r.Close(ctx); err != nil {
		return err
	}
	return r.start(ctx, fmt.Sprintf("auth: {htpasswd: {realm: rig, path: %s}}\n", file))
}

func (r *Registry) start(ctx context.Context, more string) error {
	s := r.space
	config := filepath.Join(s.Dir, "registry.yml")
	text := fmt.Sprintf(registryConfig, filepath.Join(s.Dir, "registry"), r.Addr) + more
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("configure the registry: %w", err)
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, "OTEL_TRACES_EXPORTER=none"}
	var err error
	r.proc, err = s.Start(ctx, ProcConfig{Name: "registry", Path: "docker-registry", Args: []string{"serve", config}, Env: env})
	if err != nil {
		return fmt.Errorf("%w; docker-registry is installed by build/deps.sh test", err)
	}
	return r.proc.waitFor(ctx, "the registry to listen", func(ctx context.Context) error {
		return dialable(ctx, s.NetNS, "tcp", r.Addr)
	})
}

// Name is the name of an image in this registry.
func (r *Registry) Name(ref string) string { return r.Addr + "/" + ref }

// Push pushes an image of the engine and returns its name by digest:
// "10.190.0.254:5000/web@sha256:…". The engine keeps the image under its name in
// the registry too.
func (r *Registry) Push(ctx context.Context, engine *Docker, ref string) (string, error) {
	name := r.Name(ref)
	if err := engine.Tag(ctx, ref, name); err != nil {
		return "", err
	}
	digest, err := engine.Push(ctx, name)
	if err != nil {
		return "", err
	}
	repo, _ := splitRef(name)
	return repo + "@" + digest, nil
}

// Tail returns the end of the registry's log.
func (r *Registry) Tail(lines int) string { return r.proc.Tail(lines) }

// Close ends the registry; its images go with the rig's directory.
func (r *Registry) Close(ctx context.Context) error { return r.proc.Stop(ctx, syscall.SIGTERM) }
