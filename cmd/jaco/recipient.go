package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/jaco-sh/jaco/cluster/rpc"
)

func newRecipient(global *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "recipient DEPLOYMENT|cluster",
		Short: "What the secrets of a deployment, or of cluster.yaml, are encrypted to",
		Long: "Recipient prints the age recipient of a deployment, which need not exist yet, or of cluster.yaml. It is no secret.\n" +
			"Each deployment has one of its own: what is encrypted to another's does not open.",
		Example: "  sops encrypt --in-place --age \"$(jaco status recipient shop)\" deployments/shop/db.sops.env",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := rpc.CheckUnit(args[0]); err != nil {
				return usagef("%v", err)
			}
			return withClient(global, func(client *rpc.Client) error {
				recipient, err := client.Recipient(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), recipient)
				return err
			})
		},
	}
}
