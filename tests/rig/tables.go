package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// legacyPrograms are what an engine and jacod look for by these names.
var legacyPrograms = [...]string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"}

// linkLegacyTables fills a directory with the programs that write to the
// kernel's older packet filter, under their usual names. The machine's own
// choice stays what it is.
func linkLegacyTables(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory of iptables-legacy: %w", err)
	}
	for _, name := range legacyPrograms {
		family, rest, _ := strings.Cut(name, "tables")
		path, err := exec.LookPath(family + "tables-legacy" + rest)
		if err != nil {
			return fmt.Errorf("find iptables-legacy: %w", err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("link iptables-legacy: %w", err)
		}
	}
	return nil
}

func (e *Engine) legacyDir() string { return filepath.Join(e.space.Dir, "legacy") }

// path is the PATH of the engine and of jacod beside it: both must write to the
// same packet filter.
func (e *Engine) path() string {
	path := os.Getenv("PATH") + ":/usr/sbin:/sbin"
	if e.cfg.LegacyTables {
		path = e.legacyDir() + ":" + path
	}
	return "PATH=" + path
}

// dropForwarded sets the policy that a production host has: an engine that
// finds forwarding on leaves it as it is.
func (e *Engine) dropForwarded(ctx context.Context) error {
	_, err := output(e.Tables(ctx, "iptables", "-w", "10", "-P", "FORWARD", "DROP"))
	return err
}

// Tables is a command of the engine's own iptables on its node: "iptables" or
// "iptables-save".
func (e *Engine) Tables(ctx context.Context, name string, args ...string) *exec.Cmd {
	// Looked up here: the node has the machine's files.
	if e.cfg.LegacyTables {
		name = filepath.Join(e.legacyDir(), name)
	}
	return e.space.NetNS.Command(ctx, name, args...)
}

// HeldTable is a packet filter table that nobody else can change.
type HeldTable struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

// HoldTable takes the table inet NAME away and keeps an empty one in its place,
// owned by a process of the rig: the kernel refuses every change by others until
// Release (NFT_TABLE_F_OWNER, Linux 5.12).
func (s *Space) HoldTable(ctx context.Context, name string) (*HeldTable, error) {
	// An interactive nft keeps its socket, and the kernel ties the table to that.
	cmd := s.NetNS.Command(context.WithoutCancel(ctx), "nft", "--interactive")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("hold table %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("hold table %s: %w", name, err)
	}
	held := &HeldTable{cmd: cmd, stdin: stdin}
	line := fmt.Sprintf("add table inet %[1]s; delete table inet %[1]s; add table inet %[1]s { flags owner; }\n", name)
	if _, err := io.WriteString(stdin, line); err != nil {
		return nil, errors.Join(fmt.Errorf("hold table %s: %w", name, err), held.Release())
	}
	err = WaitFor(ctx, "table "+name+" to be held", func(ctx context.Context) (bool, string) {
		out, err := s.Run(ctx, "nft", "list", "table", "inet", name)
		return err == nil && strings.Contains(out, "flags owner"), fmt.Sprintf("%s %v", out, err)
	})
	if err != nil {
		return nil, errors.Join(err, held.Release())
	}
	return held, nil
}

// Release lets go of the table, which ends with it.
func (h *HeldTable) Release() error {
	if err := errors.Join(h.stdin.Close(), h.cmd.Wait()); err != nil {
		return fmt.Errorf("release table: %w", err)
	}
	return nil
}

// PathVariable is "PATH=…" for a process that must write to the same packet
// filter as the engine.
func (e *Engine) PathVariable() string { return e.path() }
