package rig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const netnsDir = "/run/netns"

// NetNS names a network namespace under /run/netns, or is the path of its file;
// the empty name is the host's own network.
type NetNS string

// NetNSOf is the network namespace of a process, for as long as the process
// lives: that of a container, by the process id that the engine tells.
func NetNSOf(pid int) NetNS { return NetNS(fmt.Sprintf("/proc/%d/ns/net", pid)) }

// path is the namespace's file.
func (n NetNS) path() string {
	if filepath.IsAbs(string(n)) {
		return string(n)
	}
	return filepath.Join(netnsDir, string(n))
}

func (n NetNS) create(ctx context.Context) error {
	if _, err := output(exec.CommandContext(ctx, "ip", "netns", "add", string(n))); err != nil {
		return err
	}
	return n.ip(ctx, "link set lo up")
}

// ip runs one ip(8) command, written as on a command line, in the namespace.
func (n NetNS) ip(ctx context.Context, line string) error {
	_, err := output(n.Command(ctx, "ip", strings.Fields(line)...))
	return err
}

func (n NetNS) remove(ctx context.Context) error {
	if _, err := os.Stat(n.path()); n == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err := output(exec.CommandContext(ctx, "ip", "netns", "del", string(n)))
	return err
}

// Command is exec.CommandContext inside the namespace. nsenter replaces itself
// by the program, so that the process id is the program's own.
func (n NetNS) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if n == "" {
		return exec.CommandContext(ctx, name, args...)
	}
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.path(), "--", name}, args...)...)
}

// Do runs fn on a thread inside the namespace. Sockets that fn opens on its own
// goroutine belong to the namespace for their whole life.
func (n NetNS) Do(fn func() error) error {
	if n == "" {
		return fn()
	}
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the runtime throws the thread away, no other
		// goroutine can end up in the namespace.
		runtime.LockOSThread()
		f, err := os.Open(n.path())
		if err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		defer func() { _ = f.Close() }()
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", n, err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// DialContext connects from inside the namespace; address must be literal, not
// a name: looking names up leaves the thread.
func (n NetNS) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.Do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens inside the namespace.
func (n NetNS) Listen(ctx context.Context, network, address string) (l net.Listener, err error) {
	err = n.Do(func() error {
		l, err = (&net.ListenConfig{}).Listen(ctx, network, address)
		return err
	})
	return l, err
}

// FreePort returns a TCP port that nobody listens on at that address just now.
func (n NetNS) FreePort(ctx context.Context, host string) (int, error) {
	l, err := n.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("find a free port: %s is no TCP address", l.Addr())
	}
	return addr.Port, nil
}

// FreeUDPPort is FreePort for UDP.
func (n NetNS) FreeUDPPort(ctx context.Context, host string) (port int, err error) {
	err = n.Do(func() error {
		conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", net.JoinHostPort(host, "0"))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		address, ok := conn.LocalAddr().(*net.UDPAddr)
		if !ok {
			return fmt.Errorf("%s is no UDP address", conn.LocalAddr())
		}
		port = address.Port
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return port, nil
}

// HTTPClient makes requests from inside the namespace. Connections are not
// re-used: suites ask what answers now, not what answered before. A request
// takes 10 s at most.
func (n NetNS) HTTPClient() *http.Client {
	return &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true},
	}
}

// output runs a command to its end and returns its trimmed output; the error
// carries what it printed.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return strings.TrimSpace(stdout.String()), &CommandError{
			Args: cmd.Args, Code: cmd.ProcessState.ExitCode(), Stderr: strings.TrimSpace(stderr.String()), Err: err,
		}
	}
	return strings.TrimSpace(stdout.String()), nil
}

// CommandError is returned when a command that the rig ran ended with a status
// other than 0, or could not be started (Code is -1 then).
type CommandError struct {
	Args   []string
	Code   int
	Stderr string
	Err    error
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("run %s: %v: %s", strings.Join(e.Args, " "), e.Err, e.Stderr)
}

// Unwrap gives the error of os/exec.
func (e *CommandError) Unwrap() error { return e.Err }

// setSysctl writes a setting below /proc/sys that belongs to a namespace.
func (n NetNS) setSysctl(name, value string) error {
	return n.Do(func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
		return nil
	})
}
