package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/gitsync"
)

// daemon is the process: it owns the ports and the member, if there is one.
type daemon struct {
	config  Config
	logger  *slog.Logger
	clock   func() time.Time
	control *rpc.Server
	genesis chan genesisJob
	joins   chan joinJob
	member  atomic.Pointer[member] // nil before there is a cluster
	address string                 // host:port that other nodes reach
}

func newDaemon(config Config, logger *slog.Logger, clock func() time.Time) *daemon {
	d := &daemon{config: config, logger: logger, clock: clock, genesis: make(chan genesisJob), joins: make(chan joinJob)}
	d.control = rpc.NewServer(d, d)
	return d
}

// Run works until ctx ends or something fails that the daemon cannot go on
// without.
func (d *daemon) Run(ctx context.Context) error {
	if err := d.findAddress(); err != nil {
		return err
	}
	unlock, err := lockDirectory(d.config.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	socket, err := d.listenSocket(ctx)
	if err != nil {
		return err
	}
	listeners, err := d.listenHTTP(ctx)
	if err != nil {
		socket.Close()
		return err
	}
	webhook, err := d.newWebhook()
	if err != nil {
		socket.Close()
		return err
	}
	handler := newHTTPHandler(probe{name: d.config.Name, version: version, status: d.status, ready: d.notReady, webhook: webhook})

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.control.Serve(ctx, socket) })
	group.Go(func() error { return serveHTTP(ctx, listeners.local, handler, d.logger) })
	if listeners.webhook != nil {
		group.Go(func() error { return serveHTTP(ctx, listeners.webhook, onlyWebhook(webhook), d.logger) })
	}
	group.Go(func() error { return d.supervise(ctx) })
	if err := notifySystemd(ctx, "READY=1"); err != nil {
		d.logger.Warn("cannot notify systemd", "error", err)
	}
	d.logger.Info("jacod started", "node", d.config.Name, "version", version, "socket", d.config.Socket, "data", d.config.DataDir)
	group.Go(func() error {
		<-ctx.Done()
		if err := notifySystemd(context.WithoutCancel(ctx), "STOPPING=1"); err != nil {
			d.logger.Warn("cannot notify systemd", "error", err)
		}
		return nil
	})
	err = group.Wait()
	d.logger.Info("jacod stopped")
	return err
}

// supervise runs the member: at once when the node belongs to a cluster, else
// when init has made one.
func (d *daemon) supervise(ctx context.Context) error {
	info, err := loadMembership(d.config.DataDir)
	switch {
	case err == nil:
		// A crash between the last two steps of init leaves its mark: what is a
		// member's now must not pass for an unfinished init later.
		if err := endInit(d.config.DataDir); err != nil {
			return err
		}
		m, err := openMember(ctx, d.config, d.logger, d.clock, info, d.control)
		if err != nil {
			return err
		}
		d.attach(m)
		return m.Run(ctx)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	d.logger.Info("this node belongs to no cluster yet; waiting for jaco bootstrap init or join")
	for {
		select {
		case <-ctx.Done():
			return nil
		case job := <-d.genesis:
			m, wait, err := d.runGenesis(ctx, job)
			if err == nil {
				d.attach(m)
			}
			job.done <- err
			if err == nil {
				return wait()
			}
		case job := <-d.joins:
			m, err := d.runJoin(ctx, job)
			if err == nil {
				d.attach(m)
			}
			job.done <- err
			if err == nil {
				return m.Run(ctx)
			}
		}
	}
}

func (d *daemon) attach(m *member) {
	d.member.Store(m)
	answers := &answers{member: m}
	d.control.Attach(answers, answers, door{m}, answers)
}

// status is nil before there is a cluster.
func (d *daemon) status() *cluster.Status {
	m := d.member.Load()
	if m == nil {
		return nil
	}
	return (&answers{member: m}).Status()
}

// notReady says why this node cannot run replicas; "" when it can.
func (d *daemon) notReady() string {
	m := d.member.Load()
	if m == nil {
		return rpc.ErrNotInitialized.Error()
	}
	return m.notReady()
}

// findAddress settles what this node advertises.
func (d *daemon) findAddress() error {
	_, port, err := net.SplitHostPort(d.config.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	address := d.config.AdvertiseAddress
	if address == "" {
		all, err := hostAddresses()
		if err != nil {
			return err
		}
		chosen, err := chooseAddress(all)
		if err != nil {
			return err
		}
		address = chosen.String()
	}
	if _, err := netip.ParseAddr(address); err != nil {
		return fmt.Errorf("advertise_address: %w", err)
	}
	d.address = net.JoinHostPort(address, port)
	return nil
}

// lockDirectory makes the data directory and takes it for this process alone.
func lockDirectory(path string) (unlock func(), err error) {
	// Others may pass through to the embedded repository, and see nothing else.
	if err := os.MkdirAll(path, 0o711); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("data directory %s is in use by another jacod: %w", path, err)
	}
	return func() { file.Close() }, nil
}

// listenSocket opens the operator's socket. A stale one is replaced.
func (d *daemon) listenSocket(ctx context.Context) (net.Listener, error) {
	path := d.config.Socket
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the socket's directory: %w", err)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	// Nobody may connect between bind and chmod.
	mask := syscall.Umask(0o177)
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	syscall.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("listen on the control socket: %w", err)
	}
	if gid, found := groupID(d.config.Group); found {
		if err := os.Chown(path, -1, gid); err != nil {
			listener.Close()
			return nil, fmt.Errorf("give the control socket to group %s: %w", d.config.Group, err)
		}
	}
	if err := os.Chmod(path, 0o660); err != nil {
		listener.Close()
		return nil, fmt.Errorf("set the control socket's mode: %w", err)
	}
	return listener, nil
}

// removeStale removes a socket that nobody answers on. The lock on the data
// directory does not say so: a jacod of another one may have the same socket.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at the control socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("socket %s: there is something else than a socket; move it away, or set socket", path)
	}
	if connection, err := (&net.Dialer{}).DialContext(ctx, "unix", path); err == nil {
		connection.Close()
		return fmt.Errorf("socket %s: another jacod answers on it; stop that one, or set socket", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the stale socket: %w", err)
	}
	return nil
}

// groupID looks a group up; an unknown one means root alone.
func groupID(name string) (int, bool) {
	group, err := user.LookupGroup(name)
	if err != nil {
		return 0, false
	}
	gid, err := strconv.Atoi(group.Gid)
	return gid, err == nil
}

// httpListeners are the loopback port and, where asked for, the webhook's own.
type httpListeners struct {
	local   net.Listener
	webhook net.Listener
}

func (d *daemon) listenHTTP(ctx context.Context) (httpListeners, error) {
	var config net.ListenConfig
	local, err := config.Listen(ctx, "tcp", d.config.HTTPListen)
	if err != nil {
		return httpListeners{}, fmt.Errorf("http_listen: %w", err)
	}
	listeners := httpListeners{local: local}
	if d.config.Webhook.Listen != "" {
		if listeners.webhook, err = config.Listen(ctx, "tcp", d.config.Webhook.Listen); err != nil {
			local.Close()
			return httpListeners{}, fmt.Errorf("webhook.listen: %w", err)
		}
	}
	return listeners, nil
}

// newWebhook makes the receiver. Without a secret it refuses everything.
func (d *daemon) newWebhook() (http.Handler, error) {
	var secrets []gitsync.WebhookSecret
	if file := d.config.Webhook.SecretFile; file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("webhook.secret_file: %w", err)
		}
		if secrets, err = gitsync.ParseWebhookSecrets(data); err != nil {
			return nil, fmt.Errorf("webhook.secret_file: %s: %w", file, err)
		}
	}
	poke := func() {
		if m := d.member.Load(); m != nil {
			m.poke()
		}
	}
	return gitsync.NewWebhook(secrets, poke, d.clock), nil
}

// onlyWebhook serves the webhook and nothing else, for a port that the network
// reaches.
func onlyWebhook(webhook http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/webhook", webhook)
	return mux
}
