package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// launchFirst and launchLast bound the pause before an edge is started again
	// that ended; launchCalm is how long one must have run for the pause to be
	// the first again.
	launchFirst = time.Second
	launchLast  = 30 * time.Second
	launchCalm  = time.Minute
	// stopTimeout is how long an edge of another version may take to end.
	stopTimeout = 15 * time.Second
)

// launcher starts the node's edge as a process that outlives this one (edge.start),
// starts it again when it ended, and replaces one of another version. It is for
// machines without a service manager that does.
type launcher struct {
	program string   // the path of this program
	args    []string // of the edge's process
	output  io.Writer
	clock   func() time.Time
	logger  *slog.Logger

	mu      sync.Mutex // guards the fields below
	running bool
	started time.Time
	wait    time.Duration
}

// newLauncher makes the launcher of the edge that has this configuration file;
// an empty name means the default one.
func newLauncher(configFile string, clock func() time.Time, logger *slog.Logger) (*launcher, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	l := &launcher{program: program, args: []string{edgeCommand}, output: os.Stderr, clock: clock, logger: logger, wait: launchFirst}
	if configFile != "" {
		l.args = append(l.args, "--config", configFile)
	}
	return l, nil
}

// edgeCommand is the subcommand that runs the edge.
const edgeCommand = "edge"

// ensure starts an edge unless one that this process started runs, or the last
// one ended a moment ago. It does not wait until it answers.
func (l *launcher) ensure(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	if l.running || !l.started.IsZero() && now.Sub(l.started) < l.wait {
		return
	}
	l.started = now
	// The process must not end with ctx: it outlives this one.
	command := exec.CommandContext(context.WithoutCancel(ctx), l.program, l.args...)
	command.Stdout, command.Stderr = l.output, l.output
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		l.wait = min(2*l.wait, launchLast)
		l.logger.Error("the edge cannot be started", "program", l.program, "error", err)
		return
	}
	l.running = true
	l.logger.Info("edge started", "pid", command.Process.Pid)
	// It ends with the edge, or with this process.
	go l.reap(command)
}

// reap takes note of an edge's end.
func (l *launcher) reap(command *exec.Cmd) {
	err := command.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = false
	if l.clock().Sub(l.started) >= launchCalm {
		l.wait = launchFirst
	} else {
		l.wait = min(2*l.wait, launchLast)
	}
	l.logger.Warn("the edge ended", "pid", command.Process.Pid, "error", err)
}

// errNotOurEdge is returned for a process that is not the edge of this node.
var errNotOurEdge = errors.New("is not this node's edge")

// replace ends an edge of another version, so that the next ensure starts one of
// this. What isolates the node's containers stays in the kernel meanwhile.
func (l *launcher) replace(ctx context.Context, pid int, other string) error {
	// The descriptor stands for the process that is looked at, even where its
	// number is given to another one meanwhile.
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(process)
	if err := l.owns(pid); err != nil {
		return err
	}
	l.logger.Info("the edge is replaced", "pid", pid, "version", other, "by", version)
	if err := unix.PidfdSendSignal(process, unix.SIGTERM, nil, 0); err != nil {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	for {
		polled := []unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}} // readable once it ended: pidfd_open(2)
		n, err := unix.Poll(polled, 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
		if n > 0 {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.started, l.wait = time.Time{}, launchFirst // the next one is no repetition
			return nil
		}
		if !pause(ctx, 20*time.Millisecond) {
			return fmt.Errorf("process %d did not end within %s of SIGTERM", pid, stopTimeout)
		}
	}
}

// owns refuses a process that was not started as this node's edge: its command
// line, but for the program's directory, must be what ensure starts.
func (l *launcher) owns(pid int) error {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	args := bytes.Split(bytes.TrimSuffix(line, []byte{0}), []byte{0})
	if len(args) != 1+len(l.args) {
		return fmt.Errorf("process %d %w: %q", pid, errNotOurEdge, bytes.Join(args, []byte(" ")))
	}
	for i, arg := range l.args {
		if string(args[1+i]) != arg {
			return fmt.Errorf("process %d %w: %q", pid, errNotOurEdge, bytes.Join(args, []byte(" ")))
		}
	}
	return nil
}
