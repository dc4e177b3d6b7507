package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"
)

// DaemonConfig says which programs to run and how.
type DaemonConfig struct {
	// Jacod and Jaco are the programs' paths; empty ones are taken from Bin.
	Jacod, Jaco string
	// Settings go into jacod.yaml on top of what the rig sets: data_dir,
	// socket, name, advertise_address, engine. A nil value removes a key.
	Settings map[string]any
	// Env is added to the environment of jacod.
	Env []string
	// DataSize, in bytes, puts the data directory on a disk of its own of that
	// size, so that FillDisk can fill it; 0: it is on the machine's disk. The
	// disk's content outlives a power failure, like that of the node's own.
	DataSize int64
}

// Daemon is jacod on a node, the edge that it starts, and jaco as its operator.
// Its methods are not for concurrent use, except Run, Status and Tail.
type Daemon struct {
	Node   *Node
	Socket string
	// DataDir and ConfigFile survive Kill, Stop and Restart.
	DataDir, ConfigFile string

	jacod, jaco string
	env         []string
	disk        string // where DataSize was given
	proc        *Proc
}

// readyTimeout bounds the wait for jacod's socket.
const readyTimeout = 30 * time.Second

// NewDaemon writes jacod's configuration, makes its disk where it is to have
// one, and starts nothing.
func NewDaemon(node *Node, cfg DaemonConfig) (*Daemon, error) {
	dir := filepath.Join(node.Dir, "jacod")
	d := &Daemon{
		Node: node, Socket: filepath.Join(dir, "jacod.sock"), DataDir: filepath.Join(dir, "data"),
		ConfigFile: filepath.Join(dir, "jacod.yaml"), jacod: cfg.Jacod, jaco: cfg.Jaco, env: cfg.Env,
	}
	for name, path := range map[string]*string{"jacod": &d.jacod, "jaco": &d.jaco} {
		if *path != "" {
			continue
		}
		var err error
		if *path, err = Bin(name); err != nil {
			return nil, err
		}
	}
	if cfg.DataSize > 0 {
		d.disk = node.Dir + "-disk"
		d.DataDir = filepath.Join(d.disk, "data")
		if err := mountDisk(d.disk, cfg.DataSize); err != nil {
			return nil, err
		}
	}
	settings := map[string]any{
		"data_dir": d.DataDir, "socket": d.Socket, "name": node.Name, "advertise_address": node.Address.String(),
	}
	if node.Engine != nil {
		settings["engine"] = node.Engine.Host()
	}
	maps.Copy(settings, cfg.Settings)
	maps.DeleteFunc(settings, func(_ string, v any) bool { return v == nil })
	if dir, ok := settings["data_dir"].(string); ok {
		d.DataDir = dir
	}
	data, err := yaml.Marshal(settings)
	if err != nil {
		return nil, fmt.Errorf("encode jacod.yaml: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make directory of jacod: %w", err)
	}
	if err := os.WriteFile(d.ConfigFile, data, 0o600); err != nil {
		return nil, fmt.Errorf("write jacod.yaml: %w", err)
	}
	return d, nil
}

// Start starts jacod and waits until its socket takes connections. A jacod
// that ends instead is an error with the end of its log.
func (d *Daemon) Start(ctx context.Context) error {
	if d.Running() {
		return errors.New("start jacod: it is running")
	}
	// A socket that a killed jacod left must not pass for the new one's.
	if err := os.Remove(d.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	var err error
	d.proc, err = d.Node.Start(ctx, ProcConfig{
		Name: "jacod", Path: d.jacod, Args: []string{"--config", d.ConfigFile}, Env: d.environment(),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return d.proc.waitFor(ctx, "jacod's socket", func(ctx context.Context) error {
		return dialable(ctx, "", "unix", d.Socket)
	})
}

// environment is what jacod runs with.
func (d *Daemon) environment() []string {
	env := os.Environ()
	if d.Node.Engine != nil {
		env = append(env, d.Node.Engine.path())
	}
	return append(env, d.env...)
}

// Kill ends jacod with SIGKILL; one that does not run is no error. The edge runs
// on.
func (d *Daemon) Kill(ctx context.Context) error { return d.end(ctx, syscall.SIGKILL) }

// Stop ends jacod with SIGTERM and waits for it; one that does not run is no
// error. The edge runs on.
func (d *Daemon) Stop(ctx context.Context) error { return d.end(ctx, syscall.SIGTERM) }

func (d *Daemon) end(ctx context.Context, sig syscall.Signal) error {
	if d.proc == nil {
		return nil
	}
	return d.proc.Stop(ctx, sig)
}

// Pause freezes jacod alone, as a debugger or a long stall of its host does;
// containers run on. A paused jacod can be killed; Stop waits for Resume.
func (d *Daemon) Pause(ctx context.Context) error {
	if err := d.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return WaitFor(ctx, "jacod to stand still", func(context.Context) (bool, string) {
		state := processState(d.proc.PID)
		return state == 'T', fmt.Sprintf("process state %q", state)
	}, d)
}

// Resume lets a paused jacod go on.
func (d *Daemon) Resume(context.Context) error { return d.signal(syscall.SIGCONT) }

func (d *Daemon) signal(sig syscall.Signal) error {
	if !d.Running() {
		return fmt.Errorf("signal jacod of %s: it does not run", d.Node.Name)
	}
	return d.proc.Signal(sig)
}

// Restart is Stop, then Start.
func (d *Daemon) Restart(ctx context.Context) error {
	if err := d.Stop(ctx); err != nil {
		return err
	}
	return d.Start(ctx)
}

// Running says whether jacod runs, paused or not.
func (d *Daemon) Running() bool { return d.proc != nil && d.proc.Running() }

// Proc is the running or last process, nil before the first Start.
func (d *Daemon) Proc() *Proc { return d.proc }

// Tail returns the end of jacod's log, all starts in one file.
func (d *Daemon) Tail(lines int) string {
	return tailFile(filepath.Join(d.Node.Dir, "jacod.log"), lines)
}

// Run runs "jaco --socket SOCKET ARGS…" and returns its trimmed standard
// output, also beside an error. The error is a *CommandError with the exit
// code and standard error.
func (d *Daemon) Run(ctx context.Context, args ...string) (string, error) {
	return d.Node.Run(ctx, d.jaco, append([]string{"--socket", d.Socket}, args...)...)
}

// Status runs "jaco status -o json" and decodes it into out, a pointer to a
// struct, or to a map[string]any.
func (d *Daemon) Status(ctx context.Context, out any) error {
	text, err := d.Run(ctx, "status", "-o", "json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		return fmt.Errorf("decode status: %w\n%s", err, text)
	}
	return nil
}

// ExitCode is the status that a command of the rig ended with: 0 for no error,
// -1 when the error is of another kind.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	var cmd *CommandError
	if errors.As(err, &cmd) {
		return cmd.Code
	}
	return -1
}
