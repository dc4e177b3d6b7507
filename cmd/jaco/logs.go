package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/jaco-sh/jaco/cluster/rpc"
)

func newLogs(global *globals) *cobra.Command {
	var follow bool
	var since string
	var tail int
	cmd := &cobra.Command{
		Use:   "logs DEPLOYMENT[/SERVICE]",
		Short: "The log lines of a deployment's replicas, merged",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			deployment, service, err := splitTarget(args[0])
			if err != nil {
				return err
			}
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			request := rpc.LogsRequest{Deployment: deployment, Service: service, Follow: follow, Since: from, Tail: tail}
			return withClient(global, func(client *rpc.Client) error {
				return client.Logs(cmd.Context(), request, func(line rpc.LogLine) error {
					out := cmd.OutOrStdout()
					if line.Stderr {
						out = cmd.ErrOrStderr()
					}
					_, err := fmt.Fprintf(out, "%s.%d  %s\n", line.Service, line.Slot, line.Text)
					return err
				})
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines")
	cmd.Flags().StringVar(&since, "since", "", "only from this time on (RFC 3339), or this long ago (10m)")
	cmd.Flags().IntVar(&tail, "tail", -1, "at most so many lines of each replica")
	return cmd
}
