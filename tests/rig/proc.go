package rig

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Space is where processes run: a network namespace, an address in it, a
// directory for their files, and a cgroup that ends them all.
type Space struct {
	// Name is short and unique within the rig: "n1", "lan", "host".
	Name string
	// NetNS is empty for the host's own network.
	NetNS NetNS
	// Address is how others in the rig reach what listens here.
	Address netip.Addr
	// Dir holds everything the space's processes write; Close removes it.
	Dir string

	group *group

	mu    sync.Mutex // guards the fields below
	procs []*Proc
	off   bool // powered off: nothing can be started
}

// describe settles the names; nothing is made yet.
func (s *Space) describe(r *Rig, name string, address netip.Addr) {
	s.Name, s.NetNS, s.Address, s.Dir = name, NetNS(r.ID+"-"+name), address, filepath.Join(r.Dir, name)
	s.group = &group{path: filepath.Join(r.group.path, name)}
}

// make makes what the space does not have yet: directory, cgroup, namespace.
func (s *Space) make(ctx context.Context) error {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return fmt.Errorf("make directory of %s: %w", s.Name, err)
	}
	if _, err := newGroup(s.group.path); err != nil {
		return err
	}
	return s.NetNS.create(ctx)
}

// ProcConfig describes a process to start.
type ProcConfig struct {
	// Name names the log file, NAME.log in the space's directory; a restarted
	// process appends to it.
	Name string
	Path string
	Args []string
	// Env replaces the environment when it is not nil.
	Env []string
}

// Proc is a running process of a Space.
type Proc struct {
	Name string
	PID  int
	// Log is the file that takes standard output and error.
	Log string

	done chan struct{} // closed after the process was reaped
	err  error         // set before done is closed
}

// Start starts a process in the space, in a session of its own so that a
// Ctrl-C on the terminal does not reach it, and reaps it when it ends. The
// context bounds starting only: the process lives until it ends or is killed.
func (s *Space) Start(ctx context.Context, cfg ProcConfig) (*Proc, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Name, err)
	}
	s.mu.Lock()
	off := s.off
	s.mu.Unlock()
	if off {
		return nil, fmt.Errorf("start %s: %s is powered off", cfg.Name, s.Name)
	}
	leaf, err := s.group.leaf("_" + cfg.Name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = leaf.Close() }()
	p := &Proc{Name: cfg.Name, Log: filepath.Join(s.Dir, cfg.Name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", cfg.Name, err)
	}
	defer func() { _ = out.Close() }()
	cmd := s.NetNS.Command(context.WithoutCancel(ctx), cfg.Path, cfg.Args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = cfg.Env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(leaf.Fd())}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Name, err)
	}
	p.PID = cmd.Process.Pid
	go func() { // awaited by Wait, and by Close after it killed the group
		p.err = cmd.Wait()
		close(p.done)
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.procs = append(s.procs, p)
	return p, nil
}

// Run runs a command in the space's network to its end and returns its trimmed
// standard output. The error is a *CommandError.
func (s *Space) Run(ctx context.Context, name string, args ...string) (string, error) {
	return output(s.NetNS.Command(ctx, name, args...))
}

// kill ends everything in the space and waits for it.
func (s *Space) kill(ctx context.Context) error {
	if s.group == nil {
		return nil // it was never made
	}
	if err := s.group.kill(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.procs {
		select {
		case <-p.done:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", p.Name, ctx.Err())
		}
	}
	s.procs = nil
	return nil
}

// Signal sends a signal; a process that has ended already is no error.
func (p *Proc) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// Stop sends the signal and waits for the end of the process, for as long as
// the context allows.
func (p *Proc) Stop(ctx context.Context, sig syscall.Signal) error {
	if err := p.Signal(sig); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s after %s: %w", p.Name, sig, ctx.Err())
	}
}

// Done is closed when the process has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Err says how the process ended: nil for status 0, an *exec.ExitError
// otherwise. It may be called once Done is closed.
func (p *Proc) Err() error { return p.err }

// Running says whether the process has not ended yet.
func (p *Proc) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// waitFor is WaitFor that gives up when the process ends.
func (p *Proc) waitFor(ctx context.Context, desc string, cond func(context.Context) error) error {
	ended := false
	err := WaitFor(ctx, desc, func(ctx context.Context) (bool, string) {
		if ended = !p.Running(); ended {
			return true, ""
		}
		if err := cond(ctx); err != nil {
			return false, err.Error()
		}
		return true, ""
	}, p)
	if ended {
		return fmt.Errorf("wait for %s: %s ended (%s)\n%s", desc, p.Name, fmt.Sprint(p.Err()), p.Tail(30))
	}
	return err
}

// dialable says whether something takes connections at the address.
func dialable(ctx context.Context, ns NetNS, network, address string) error {
	conn, err := ns.DialContext(ctx, network, address)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", address, err)
	}
	if err := conn.Close(); err != nil {
		return fmt.Errorf("close connection to %s: %w", address, err)
	}
	return nil
}

// Tail returns the last lines of the log under a heading.
func (p *Proc) Tail(lines int) string { return tailFile(p.Log, lines) }

func tailFile(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprintf("--- %s: %v\n", path, err)
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	all = all[max(0, len(all)-lines):]
	return fmt.Sprintf("--- %s\n%s\n", path, strings.Join(all, "\n"))
}
