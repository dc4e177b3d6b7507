// Command unit runs the unit tests of packages. It prints a line per package
// and what failing tests said; every skipped test is listed at the end with its
// reason, so that a test that did not run is seen. The last line is
//
//	unit: N passed, N failed, N skipped
//
// (tests and subtests). Its status is 1 when a test failed, when none ran and,
// where JACO_REQUIRE_RIG is set or CI=true, when one skipped whose reason does
// not start with "on purpose: ".
//
//	go run ./tests/rig/cmd/unit [-timeout 20m] [-race] [-short] PACKAGE...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/rig/gotest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx, os.Args[1:], rig.Required(), os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "unit:", err)
	}
	stop()
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run runs the tests in the current module. With strict, a skip that is not on
// purpose counts as a failure.
func run(ctx context.Context, args []string, strict bool, out io.Writer) (bool, error) {
	fs := flag.NewFlagSet("unit", flag.ContinueOnError)
	timeout := fs.Duration("timeout", 20*time.Minute, "end the tests of a package that take longer")
	race := fs.Bool("race", false, "build the tests with the race detector")
	short := fs.Bool("short", false, "leave out what takes long")
	if err := fs.Parse(args); err != nil {
		return false, fmt.Errorf("read arguments: %w", err)
	}
	if fs.NArg() == 0 {
		return false, errors.New("no package named; usage: unit [flags] PACKAGE")
	}
	testArgs := []string{fmt.Sprintf("-timeout=%s", *timeout), fmt.Sprintf("-race=%t", *race), fmt.Sprintf("-short=%t", *short)}
	r := newReport(out)
	err := gotest.Command{Args: append(testArgs, fs.Args()...)}.Run(ctx, out, r.take)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return false, fmt.Errorf("run tests: %w", err)
	}
	return r.finish(err == nil, strict), nil
}
