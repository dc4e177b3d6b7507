// Command jaco reads a cluster's status, proves its history, and bootstraps
// it. Nothing else: a cluster is changed by a signed commit alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "devel"

// The exit codes of docs/cli.md.
const (
	exitError        = 1
	exitUsage        = 2
	exitNotConverged = 3
	exitVerification = 4
)

// statusError is an error with an exit code of its own.
type statusError struct {
	code int
	err  error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// globals are the flags that every command has.
type globals struct {
	socket string
	// The three of a reader from afar.
	server    string
	tokenFile string
	caHash    string

	stdin func() io.Reader
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 128 + int(syscall.SIGINT)
	}
	fmt.Fprintf(root.ErrOrStderr(), "jaco: %v\n", err)
	if status, ok := errors.AsType[*statusError](err); ok {
		return status.code
	}
	return exitError
}

func newRoot() *cobra.Command {
	var global globals
	root := &cobra.Command{
		Use:   "jaco",
		Short: "Status, proof and bootstrap of a JACO cluster",
		Long: "JACO runs the compose files of a signed git repository on plain Docker hosts.\n" +
			"Git is the only way to change a cluster: this command reads it, proves it, and makes it.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	global.stdin = root.InOrStdin
	root.PersistentFlags().StringVar(&global.socket, "socket", "/run/jaco/jaco.sock", "the local daemon's socket")
	root.PersistentFlags().StringVar(&global.server, "server", "", "read from afar: HOST:PORT of any node's control port, with --token-file")
	root.PersistentFlags().StringVar(&global.tokenFile, "token-file", "", "with --server: the file that holds a read token, or - for standard input")
	root.PersistentFlags().StringVar(&global.caHash, "ca-hash", "", "with --server: the SHA-256 that the token's cluster authority must have")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &statusError{exitUsage, err} })
	root.AddCommand(newStatus(&global), newAudit(&global), newBootstrap(&global), newVersion())
	return root
}

// usageArgs makes wrong positional arguments end with the usage exit code.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &statusError{exitUsage, fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
		}
		return nil
	}
}

// usagef is a wrong use of a flag or argument.
func usagef(format string, args ...any) error {
	return &statusError{exitUsage, fmt.Errorf(format, args...)}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usageArgs(cobra.NoArgs),
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "jaco", version) },
	}
}
