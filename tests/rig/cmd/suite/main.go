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
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/rig/gotest"
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

	args := []string{fmt.Sprintf("-count=%d", opts.count), fmt.Sprintf("-timeout=%s", opts.timeout)}
	if opts.run != "" {
		args = append(args, "-run="+opts.run)
	}
	if opts.race {
		args = append(args, "-race")
	}
	root, err := rig.ModuleRoot()
	if err != nil {
		return false, err
	}
	var counts gotest.Counts
	runErr := gotest.Command{
		Dir: root, Env: []string{rig.BinEnv + "=" + bin, rig.RunEnv + "=" + runID}, Args: append(args, "./tests/"+name),
	}.Run(ctx, out, func(ev gotest.Event) {
		counts.Take(ev)
		show(out, ev)
	})
	// The context may have ended: what is left is removed all the same.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := rig.Sweep(clean, runID); err != nil {
		_, _ = fmt.Fprintf(out, "suite %s left something behind: %v\n", name, err)
	}
	var exit *exec.ExitError
	if runErr != nil && !errors.As(runErr, &exit) {
		return false, fmt.Errorf("run suite %s: %w", name, runErr)
	}
	ok := runErr == nil && counts.Failed == 0 && counts.Passed > 0
	if runErr != nil && counts.Failed == 0 {
		counts.Failed = 1 // it did not compile, crashed or ran out of time
	}
	if runErr == nil && counts.Passed == 0 {
		_, _ = fmt.Fprintf(out, "suite %s ran no test: that counts as a failure\n", name)
	}
	_, _ = fmt.Fprintf(out, "suite %s: %s\n", name, counts)
	return ok, nil
}

// show prints what is worth reading of an event.
func show(out io.Writer, ev gotest.Event) {
	if (ev.Action == "output" || ev.Action == "build-output") && !gotest.Noise(ev.Output) {
		_, _ = io.WriteString(out, ev.Output)
	}
}
