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

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "devel"

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
			return newDaemon(config, newLogger(os.Stderr, config.Log)).Run(cmd.Context())
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
