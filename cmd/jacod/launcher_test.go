package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testLauncher starts a shell script as the edge: it notes its process and then
// does as the script says.
func testLauncher(t *testing.T, script string) (l *launcher, started func() []int) {
	t.Helper()
	dir := t.TempDir()
	path, pids := filepath.Join(dir, "edge.sh"), filepath.Join(dir, "pids")
	check(t, os.WriteFile(path, []byte("echo $$ >>"+pids+"\n"+script+"\n"), 0o600))
	l = &launcher{
		program: "/bin/sh", args: []string{path, edgeCommand}, output: io.Discard, clock: time.Now, wait: launchFirst,
		logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	started = func() []int {
		data, err := os.ReadFile(pids)
		if err != nil {
			return nil
		}
		var all []int
		for _, text := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(text)
			check(t, err)
			all = append(all, pid)
		}
		return all
	}
	t.Cleanup(func() {
		for _, pid := range started() {
			if l.owns(pid) == nil {
				check(t, syscall.Kill(pid, syscall.SIGKILL))
			}
		}
	})
	return l, started
}

func (l *launcher) runs() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running
}

// TestLaunchedEdgeOutlivesItsLauncher: it has a session of its own, is started
// once, and does not end with the context.
func TestLaunchedEdgeOutlivesItsLauncher(t *testing.T) {
	l, started := testLauncher(t, "read forever </dev/zero; sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	for range 3 {
		l.ensure(ctx)
	}
	until(t, "the process", func() bool { return len(started()) == 1 })
	pid := started()[0]
	session, err := unix.Getsid(pid)
	check(t, err)
	if session != pid {
		t.Errorf("the edge is in session %d, want one of its own", session)
	}
	cancel()
	if err := l.owns(pid); err != nil || !l.runs() {
		t.Errorf("after its context ended the edge is gone: %v", err)
	}
	if n := len(started()); n != 1 {
		t.Errorf("%d processes were started", n)
	}
}

// TestLauncherBacksOff: one that ends at once is started again after a pause
// that grows, and after the first pause when it had run for long.
func TestLauncherBacksOff(t *testing.T) {
	l, started := testLauncher(t, "exit 1")
	var mu sync.Mutex
	now := time.Now()
	l.clock = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	ended := func(n int) {
		t.Helper()
		until(t, "the end", func() bool { return len(started()) == n && !l.runs() })
	}
	l.ensure(t.Context())
	ended(1)
	pass(launchFirst)
	l.ensure(t.Context()) // too early: the pause is twice the first
	if n := len(started()); n != 1 || l.runs() {
		t.Errorf("%d processes were started at once", n)
	}
	pass(launchFirst)
	l.ensure(t.Context())
	ended(2)
	if l.wait != 4*launchFirst {
		t.Errorf("the third waits %s, want %s", l.wait, 4*launchFirst)
	}
	l.program = "/nonexistent"
	for range 10 {
		pass(launchLast)
		l.ensure(t.Context())
	}
	if l.wait != launchLast || l.runs() {
		t.Errorf("a program that is not there waits %s, want %s", l.wait, launchLast)
	}
}

// TestReplaceEndsOurEdgeAlone: an edge of another version ends; a process that
// is something else is left alone.
func TestReplaceEndsOurEdgeAlone(t *testing.T) {
	l, started := testLauncher(t, "trap 'exit 0' TERM; while :; do sleep 0.01; done")
	l.ensure(t.Context())
	until(t, "the process", func() bool { return len(started()) == 1 })
	old := started()[0]

	other := exec.CommandContext(t.Context(), "sleep", "60")
	check(t, other.Start())
	if err := l.replace(t.Context(), other.Process.Pid, "v0"); !errors.Is(err, errNotOurEdge) {
		t.Errorf("another process: %v, want %v", err, errNotOurEdge)
	}
	if err := l.replace(t.Context(), os.Getpid(), "v0"); !errors.Is(err, errNotOurEdge) {
		t.Errorf("this process: %v, want %v", err, errNotOurEdge)
	}
	check(t, other.Process.Signal(syscall.Signal(0)))
	check(t, other.Process.Kill())
	if err := other.Wait(); err == nil {
		t.Error("the other process ended by itself")
	}
	if err := l.replace(t.Context(), other.Process.Pid, "v0"); err == nil {
		t.Error("a process that is gone was replaced")
	}

	check(t, l.replace(t.Context(), old, "v0"))
	until(t, "its end", func() bool { return !l.runs() })
	l.ensure(t.Context()) // at once
	until(t, "the next one", func() bool { return len(started()) == 2 })
}
