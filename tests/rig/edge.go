package rig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// wireGuardSockets is where user-space WireGuard has its sockets, by interface,
// for the whole machine whatever the network namespace.
const wireGuardSockets = "/var/run/wireguard"

// maxInterface is how long the name of an interface may be (IFNAMSIZ without the
// byte that ends it).
const maxInterface = 15

// wireGuardPrefix starts the interfaces of all rigs whose ids start so.
func wireGuardPrefix(id string) string {
	return "j" + strings.ReplaceAll(strings.TrimPrefix(id, idPrefix), "-", "")
}

// wireGuardName is the mesh interface of a node: the ids of a run and a rig have
// six letters each, which leaves room for two digits.
func wireGuardName(id string, number int) string {
	name := wireGuardPrefix(id) + strconv.Itoa(number)
	return name[:min(len(name), maxInterface)]
}

// removeWireGuardSockets removes what edges that were killed left.
func removeWireGuardSockets(prefix string) error {
	files, err := filepath.Glob(filepath.Join(wireGuardSockets, prefix+"*.sock"))
	if err != nil {
		return fmt.Errorf("find sockets of WireGuard: %w", err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove socket of WireGuard: %w", err)
		}
	}
	return nil
}

// EdgeSocket is where the edge listens.
func (d *Daemon) EdgeSocket() string { return filepath.Join(filepath.Dir(d.ConfigFile), "edge.sock") }

// EdgePID is the process id of the edge that jacod started with this
// configuration, 0 when there is none.
func (d *Daemon) EdgePID() (int, error) {
	pids, err := d.Node.group.pids()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue // it has ended since
		}
		args := strings.Split(string(line), "\x00")
		if len(args) > 1 && args[1] == "edge" && slices.ContainsFunc(args, func(arg string) bool { return strings.HasSuffix(arg, d.ConfigFile) }) {
			return pid, nil
		}
	}
	return 0, nil
}

// WaitEdge waits until an edge runs that is not the one before, and returns it;
// 0 is before the first.
func (d *Daemon) WaitEdge(ctx context.Context, before int) (pid int, err error) {
	err = WaitFor(ctx, "another edge on "+d.Node.Name, func(context.Context) (bool, string) {
		pid, err = d.EdgePID()
		return err == nil && pid != 0 && pid != before, fmt.Sprintf("process %d, %v", pid, err)
	}, d)
	return pid, err
}

// KillEdge ends the edge with SIGKILL. A jacod that runs starts another one.
// None is no error.
func (d *Daemon) KillEdge(ctx context.Context) error { return d.endEdge(ctx, syscall.SIGKILL) }

// StopEdge ends the edge with SIGTERM, like KillEdge.
func (d *Daemon) StopEdge(ctx context.Context) error { return d.endEdge(ctx, syscall.SIGTERM) }

// PauseEdge freezes the edge alone until ResumeEdge.
func (d *Daemon) PauseEdge(context.Context) error { return d.signalEdge(syscall.SIGSTOP) }

// ResumeEdge lets a paused edge go on.
func (d *Daemon) ResumeEdge(context.Context) error { return d.signalEdge(syscall.SIGCONT) }

func (d *Daemon) signalEdge(sig syscall.Signal) error {
	pid, err := d.EdgePID()
	if err != nil {
		return err
	}
	if pid == 0 {
		return fmt.Errorf("signal the edge of %s: it does not run", d.Node.Name)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("signal the edge of %s: %w", d.Node.Name, err)
	}
	return nil
}

// edgeTimeout bounds the end of an edge.
const edgeTimeout = 15 * time.Second

func (d *Daemon) endEdge(ctx context.Context, sig syscall.Signal) error {
	pid, err := d.EdgePID()
	if err != nil || pid == 0 {
		return err
	}
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end the edge of %s: %w", d.Node.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, edgeTimeout)
	defer cancel()
	// It is no child of this process: its owner reaps it.
	return WaitFor(ctx, "the end of the edge of "+d.Node.Name, func(context.Context) (bool, string) {
		state := processState(pid)
		return state == 0 || state == 'Z', fmt.Sprintf("process state %q", state)
	}, d)
}

// CleanUpEdge undoes what the edge did to the node, as an operator does who
// takes a node away: "jacod edge cleanup". It returns what that printed.
func (d *Daemon) CleanUpEdge(ctx context.Context) (string, error) {
	cmd := d.Node.NetNS.Command(ctx, d.jacod, "edge", "cleanup", "--config", d.ConfigFile)
	cmd.Env = d.environment()
	return output(cmd)
}
