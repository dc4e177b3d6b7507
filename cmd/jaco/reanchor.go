package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/signing"
)

func newReanchor(global *globals) *cobra.Command {
	var commit string
	cmd := &cobra.Command{
		Use:   "reanchor --commit HASH",
		Short: "Have the local node, and no other, trust a history that was rewritten",
		Long: "Reanchor pins the trust.yaml and keys/ of a commit on the local node alone, in the place of what it had accepted.\n" +
			"It is for a history that was rewritten for a reason and whose root keys are lost: with them, a tag\n" +
			"approve/reanchor/… signed by root does the same on every node, without this command. Nothing in the commit is\n" +
			"deployed: the first commit after it is judged as if all of its files were new. What runs goes on meanwhile.\n" +
			"No node takes this from another: run it on each, beginning with the one that follows the repository.",
		Example: "  jaco bootstrap reanchor --commit 3f786850e387550fdab836ed7e6dc881de23001b",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if commit == "" {
				return usagef("--commit HASH is needed: the commit whose trust.yaml this node shall trust")
			}
			hash, err := signing.ParseHash(strings.ToLower(commit))
			if err != nil {
				return usagef("--commit: %v (the full hash is needed)", err)
			}
			return withLocal(global, func(client *rpc.Client) error {
				result, err := client.Reanchor(cmd.Context(), hash)
				if err != nil {
					return err
				}
				for _, line := range result.Lines {
					fmt.Fprintln(cmd.OutOrStdout(), line)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&commit, "commit", "", "the full hash of the commit to pin")
	return cmd
}
