// Command suite runs end-to-end suites: Go test packages under tests/ that need
// real engines. It builds the programs once, shows the tests' output as it
// comes, ends each suite with the line
//
//	suite NAME: N passed, N failed, N skipped
//
// (top-level tests and subtests), and removes what a suite that crashed or ran
// out of time left on the machine. Its status is 1 when a test failed or a
// suite ran no test.
//
//	go run ./tests/rig/cmd/suite [-run REGEXP] [-timeout 20m] [-count N] [-race] NAME...
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
	}
	stop()
	if err != nil || !ok {
		os.Exit(1)
	}
}

// options are passed on to go test.
type options struct {
	run     string
	timeout time.Duration
	count   int
	race    bool
	names   []string
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("suite", flag.ContinueOnError)
	fs.StringVar(&o.run, "run", "", "run only tests that match")
	fs.DurationVar(&o.timeout, "timeout", 20*time.Minute, "end a suite that takes longer")
	fs.IntVar(&o.count, "count", 1, "run each test so many times")
	fs.BoolVar(&o.race, "race", false, "build the tests with the race detector")
	if err := fs.Parse(args); err != nil {
		return o, fmt.Errorf("read arguments: %w", err)
	}
	if o.names = fs.Args(); len(o.names) == 0 {
		return o, errors.New("no suite named; usage: suite [flags] NAME")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) (ok bool, err error) {
	opts, err := parse(args)
	if err != nil {
		return false, err
	}
	root, err := rig.ModuleRoot()
	if err != nil {
		return false, err
	}
	for _, name := range opts.names {
		if tests, err := filepath.Glob(filepath.Join(root, "tests", name, "*_test.go")); err != nil || tests == nil {
			return false, fmt.Errorf("no suite %q: tests/%s has no tests", name, name)
		}
	}
	bin, err := os.MkdirTemp("", "jaco-bin-")
	if err != nil {
		return false, fmt.Errorf("make directory for programs: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	if err := rig.BuildPrograms(ctx, bin, opts.names...); err != nil {
		return false, err
	}
	ok = true
	for _, name := range opts.names {
		if ctx.Err() != nil {
			return false, fmt.Errorf("run suite %s: %w", name, ctx.Err())
		}
		passed, err := suite(ctx, name, opts, bin, out)
		if err != nil {
			return false, err
		}
		ok = ok && passed
	}
	return ok, nil
}

// suite runs one suite and prints its last line.
func suite(ctx context.Context, name string, opts options, bin string, out io.Writer) (bool, error) {
	var id [3]byte
	_, _ = rand.Read(id[:]) // never fails
	runID := hex.EncodeToString(id[:])

	args := []string{"test", "-json", fmt.Sprintf("-count=%d", opts.count), fmt.Sprintf("-timeout=%s", opts.timeout)}
	if opts.run != "" {
		args = append(args, "-run="+opts.run)
	}
	if opts.race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./tests/"+name)...)
	root, err := rig.ModuleRoot()
	if err != nil {
		return false, err
	}
	cmd.Dir = root
	cmd.Env = append(os.Environ(), rig.BinEnv+"="+bin, rig.RunEnv+"="+runID)
	// A Ctrl-C reaches go test and the tests with it; they get time to clean up.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("run suite %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("run suite %s: %w", name, err)
	}
	var c counts
	readErr := c.read(pipe, out)
	waitErr := cmd.Wait()
	if stderr.Len() > 0 {
		_, _ = out.Write(stderr.Bytes())
	}
	// The context may have ended: what is left is removed all the same.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := rig.Sweep(clean, runID); err != nil {
		_, _ = fmt.Fprintf(out, "suite %s left something behind: %v\n", name, err)
	}
	if readErr != nil {
		return false, fmt.Errorf("read output of suite %s: %w", name, readErr)
	}
	ok := waitErr == nil && c.failed == 0 && c.passed > 0
	if waitErr != nil && c.failed == 0 {
		c.failed = 1 // it did not compile, crashed or ran out of time
	}
	if waitErr == nil && c.passed == 0 {
		_, _ = fmt.Fprintf(out, "suite %s ran no test: that counts as a failure\n", name)
	}
	_, _ = fmt.Fprintf(out, "suite %s: %d passed, %d failed, %d skipped\n", name, c.passed, c.failed, c.skipped)
	return ok, nil
}

// counts are of tests and subtests.
type counts struct{ passed, failed, skipped int }

// event is a line of "go test -json".
type event struct {
	Action, Test, Output string
}

// read counts the events and prints what is worth reading of their output.
func (c *counts) read(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			c.take(line, out)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

func (c *counts) take(line []byte, out io.Writer) {
	var ev event
	if json.Unmarshal(line, &ev) != nil {
		_, _ = out.Write(line) // the go command's own words
		return
	}
	switch {
	case ev.Action == "output" || ev.Action == "build-output":
		if !noise(ev.Output) {
			_, _ = io.WriteString(out, ev.Output)
		}
	case ev.Test == "":
	case ev.Action == "pass":
		c.passed++
	case ev.Action == "fail":
		c.failed++
	case ev.Action == "skip":
		c.skipped++
	}
}

// noise are the lines that say when a test started, paused and went on.
func noise(line string) bool {
	for _, prefix := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return line == "PASS\n" || line == "FAIL\n"
}
