// Command jacod is the daemon of JACO, the same on every node. It wires the
// packages together and decides nothing.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "devel"

// clockOffset is set by the linker, and only by the test rig's: a jacod with
// "1h" takes the time to be an hour later than its host does. It is empty in
// every release.
var clockOffset string

// newClock is the time as this jacod takes it to be. Every part that judges or
// stamps by the time of day gets its clock from here. The agent compares with
// the engine, which has the host's, and uses that.
func newClock(offset string) (func() time.Time, error) {
	if offset == "" {
		return time.Now, nil
	}
	ahead, err := time.ParseDuration(offset)
	if err != nil {
		return nil, fmt.Errorf("clock offset of this build: %w", err)
	}
	return func() time.Time { return time.Now().Add(ahead) }, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "jacod:", err)
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	var file string
	root := &cobra.Command{
		Use:           "jacod",
		Short:         "The JACO daemon",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := os.Hostname()
			if err != nil {
				return fmt.Errorf("read the host name: %w", err)
			}
			host, _, _ = strings.Cut(host, ".")
			config, err := LoadConfig(file, strings.ToLower(host), cmd.Flags().Changed("config"))
			if err != nil {
				return err
			}
			clock, err := newClock(clockOffset)
			if err != nil {
				return err
			}
			return newDaemon(config, newLogger(os.Stderr, config.Log), clock).Run(cmd.Context())
		},
	}
	root.Flags().StringVar(&file, "config", DefaultConfigFile, "the configuration file")
	root.AddCommand(&cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "jacod", version) },
	})
	return root
}
