package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/mesh"
	"github.com/jaco-sh/jaco/mesh/wireguard"
)

// The files of the edge, in the directory edge of the data directory.
const (
	edgeDirectory = "edge"
	edgeLockFile  = "lock"
	edgeKeyFile   = "wireguard.key"
)

// newEdgeCommand is "jacod edge", the process that owns the node's network.
func newEdgeCommand() *cobra.Command {
	var file string
	load := func(cmd *cobra.Command) (Config, *slog.Logger, error) {
		host, err := os.Hostname()
		if err != nil {
			return Config{}, nil, fmt.Errorf("read the host name: %w", err)
		}
		host, _, _ = strings.Cut(host, ".")
		config, err := LoadConfig(file, strings.ToLower(host), cmd.Flags().Changed("config"))
		return config, newLogger(os.Stderr, config.Log).With("process", "edge"), err
	}
	command := &cobra.Command{
		Use:   edgeCommand,
		Short: "Run the node's network: WireGuard, firewall, bridges and DNS",
		Long: "Run the node's network: WireGuard, firewall, bridges and DNS. It is told by jacod\n" +
			"what there should be, and works from what it was told last while jacod is away.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, logger, err := load(cmd)
			if err != nil {
				return err
			}
			// Where jacod has started this, standard error may be a pipe of jacod's,
			// whose end must not be this process's too.
			signal.Ignore(syscall.SIGPIPE)
			return runEdge(cmd.Context(), config, logger)
		},
	}
	command.PersistentFlags().StringVar(&file, "config", DefaultConfigFile, "the configuration file, jacod's own")
	command.AddCommand(&cobra.Command{
		Use:   "cleanup",
		Short: "Undo what the edge did to this machine",
		Long: "Undo what the edge did to this machine: its engine networks, its WireGuard\n" +
			"interface with routes and key, its firewall. It refuses while an edge runs, and\n" +
			"stops before the firewall while containers use the networks. Nothing is undone\n" +
			"that the edge did not do; to say it twice is no error.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, logger, err := load(cmd)
			if err != nil {
				return err
			}
			return cleanUpEdge(cmd.Context(), config, logger, cmd.OutOrStdout())
		},
	})
	return command
}

// edgeProcess is one run of the edge.
type edgeProcess struct {
	name   string // of the node
	mesh   *mesh.Mesh
	store  *edgeStore
	logger *slog.Logger
}

var _ rpc.EdgeHandler = (*edgeProcess)(nil)

// runEdge works until ctx ends or something fails that the edge cannot go on
// without. What is in the kernel and the engine stays.
func runEdge(ctx context.Context, config Config, logger *slog.Logger) (err error) {
	directory, unlock, err := lockEdge(config.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	key, err := wireguard.LoadKey(filepath.Join(directory, edgeKeyFile))
	if err != nil {
		return err
	}
	store := newEdgeStore(directory, logger)
	host, err := newEdgeHost(config, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.close()) }()
	listener, err := listenEdge(ctx, config.Edge.Socket)
	if err != nil {
		return err
	}
	local := mesh.Local{
		Interface: config.WireGuard.Interface, Mode: wireguard.Mode(config.WireGuard.Mode),
		Key: key, Port: config.WireGuard.Port, MTU: config.WireGuard.MTU,
	}
	deps := host.deps()
	deps.Keep, deps.Clock, deps.Logger = store.keepMemory, time.Now, logger
	e := &edgeProcess{name: config.Name, store: store, logger: logger}
	e.mesh = mesh.New(deps, mesh.Config{
		Local: local, PublicKey: key.Public(), Mode: likelyMode(local.Mode, local.Interface),
		Version: version, PID: os.Getpid(), Memory: store.memory(),
	})
	if state := store.state(); state != nil {
		logger.Info("working from what jacod said last", "index", state.Index)
		e.mesh.Update(state)
	}
	return e.serve(ctx, listener, config.Edge.Socket)
}

// serve runs the parts until ctx ends.
func (e *edgeProcess) serve(ctx context.Context, listener net.Listener, socket string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.mesh.Run(ctx) })
	group.Go(func() error { return rpc.ServeEdge(ctx, listener, e, e.logger) })
	group.Go(func() error { return e.store.run(ctx) })
	if err := notifySystemd(ctx, "READY=1"); err != nil {
		e.logger.Warn("cannot notify systemd", "error", err)
	}
	e.logger.Info("edge started", "node", e.name, "version", version, "socket", socket)
	group.Go(func() error {
		<-ctx.Done()
		if err := notifySystemd(context.WithoutCancel(ctx), "STOPPING=1"); err != nil {
			e.logger.Warn("cannot notify systemd", "error", err)
		}
		return nil
	})
	err := group.Wait()
	e.logger.Info("edge stopped; the firewall and the bridges stay")
	return err
}

// Feed implements rpc.EdgeHandler.
func (e *edgeProcess) Feed(ctx context.Context, states <-chan *cluster.EdgeState, reports func(*cluster.EdgeReport) error) error {
	for {
		changed := e.mesh.Changed()
		if err := reports(e.mesh.Report()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case state := <-states:
			if state.Node != e.name {
				return fmt.Errorf("this is the edge of %s, not of %s: name and edge.socket do not go together", e.name, state.Node)
			}
			// Names first; the disk can wait.
			e.mesh.Update(state)
			e.store.keepState(state)
		case <-changed:
		}
	}
}

// lockEdge makes the edge's directory and takes it for this process alone.
func lockEdge(dataDir string) (directory string, unlock func(), err error) {
	// The data directory's own mode is jacod's business; here nobody but root has
	// anything to look for.
	if err := os.MkdirAll(dataDir, 0o711); err != nil {
		return "", nil, fmt.Errorf("make data directory: %w", err)
	}
	directory = filepath.Join(dataDir, edgeDirectory)
	if err := os.Mkdir(directory, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", nil, fmt.Errorf("make the edge's directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(directory, edgeLockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("open the edge's directory: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer file.Close()
		return "", nil, fmt.Errorf("%s: %w: %w", directory, errEdgeRuns, err)
	}
	return directory, func() { file.Close() }, nil
}

// errEdgeRuns is returned by lockEdge while another process has the directory.
var errEdgeRuns = errors.New("another jacod edge is at work on it")

// listenEdge opens the edge's socket, for root alone. A stale one is replaced.
func listenEdge(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the edge's socket: %w", err)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, fmt.Errorf("edge.socket: %w", err)
	}
	// Nobody may connect between bind and chmod.
	mask := syscall.Umask(0o177)
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	syscall.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("edge.socket: %w", err)
	}
	return listener, nil
}
