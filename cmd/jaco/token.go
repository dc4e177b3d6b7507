package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

func newToken(global *globals) *cobra.Command {
	var ttl time.Duration
	var read bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a token for one node to join with, or with --read to read from afar",
		Long: "Token prints a token alone on standard output, and what to do with it on standard error. A token to join with\n" +
			"admits one node, which then is a member: hand it over like a password. It carries the cluster authority's hash and\n" +
			"what this node has verified, so that the new node trusts no one on its way in.",
		Example: "  jaco bootstrap token\n  jaco bootstrap token --read --ttl 720h > reader.token",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			kind := cluster.TokenJoin
			if read {
				kind = cluster.TokenRead
			}
			if err := rpc.CheckTTL(kind, ttl); err != nil {
				return usagef("--ttl: %v", err)
			}
			return withLocal(global, func(client *rpc.Client) error {
				issued, err := client.IssueToken(cmd.Context(), kind, ttl)
				if err != nil {
					return err
				}
				explainToken(cmd.ErrOrStderr(), issued, serverOf(cmd.Context(), client))
				_, err = fmt.Fprintln(cmd.OutOrStdout(), issued.Token.Text())
				return err
			})
		},
	}
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long the token is good for; at most 168h to join, 8784h to read")
	cmd.Flags().BoolVar(&read, "read", false, "a token to read status, audit and logs with, as often as wanted")
	return cmd
}

// explainToken says what the token is and the command that takes it. The token
// itself is not in that command: others on the machine see command lines.
func explainToken(out io.Writer, issued *rpc.IssuedToken, server string) {
	until := issued.ExpiresAt.UTC().Format("2006-01-02 15:04:05 UTC")
	if issued.Token.Kind == cluster.TokenJoin {
		fmt.Fprintf(out, "Join token %s admits one node until %s.\n"+
			"Whoever has it can become a member: hand it over like a password.\n"+
			"On the new node, where jacod runs and belongs to no cluster, run this and paste the token:\n\n"+
			"  jaco bootstrap join --server %s --token-file -\n\n", issued.Token.ID, until, server)
		return
	}
	fmt.Fprintf(out, "Read token %s is good until %s for status, audit and logs.\n"+
		"Keep it in a file that is yours alone (chmod 600 FILE). From any machine that reaches the node:\n\n"+
		"  jaco --server %s --token-file FILE status\n\n"+
		"The cluster's authority, for --ca-hash: sha256:%x\n", issued.Token.ID, until, server, issued.Token.Authority)
}

// serverOf finds a node to ask: the leader, else any that is ready.
func serverOf(ctx context.Context, client *rpc.Client) string {
	server := "HOST:7000"
	status, err := client.Status(ctx)
	if err != nil {
		return server
	}
	for _, node := range status.Nodes {
		switch {
		case node.Name == status.Cluster.Leader:
			return node.Address
		case node.State == cluster.NodeReady:
			server = node.Address
		}
	}
	return server
}

func newJoin(global *globals) *cobra.Command {
	var server, text, file string
	cmd := &cobra.Command{
		Use:   "join --server HOST:PORT (--token-file FILE | --token TOKEN)",
		Short: "Make the local node a member of another node's cluster",
		Long: "Join has the local daemon ask any member to be admitted. What the token names is checked before anything secret\n" +
			"is sent. The node then verifies by itself all that the cluster accepted since the token was made, and runs nothing\n" +
			"before. Prefer --token-file: a token on the command line is visible to every user of this machine.",
		Example: "  jaco bootstrap join --server 10.0.0.1:7000 --token-file -",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case server == "":
				return usagef("name a member: --server HOST:PORT, as `jaco bootstrap token` printed it")
			case (text == "") == (file == ""):
				return usagef("give the token once: --token-file FILE, or - for standard input (or --token TOKEN, which others on this machine see)")
			}
			if err := rpc.CheckServer(server); err != nil {
				return usagef("--server: %v", err)
			}
			token, err := joinToken(text, file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			return withLocal(global, func(client *rpc.Client) error {
				result, err := client.JoinCluster(cmd.Context(), &rpc.JoinClusterRequest{Server: server, Token: token})
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				fmt.Fprintf(out, "Node %s joined cluster %s (%s)\n", result.Node, result.ClusterID, result.ClusterName)
				for _, line := range result.Lines {
					fmt.Fprintln(out, line)
				}
				return nil
			})
		},
	}
	// These hide the global flags of the same names, which are for readers.
	cmd.Flags().StringVar(&server, "server", "", "HOST:PORT of any member's control port")
	cmd.Flags().StringVar(&file, "token-file", "", "the file that holds the token, or - for a line of standard input")
	cmd.Flags().StringVar(&text, "token", "", "the token itself; every user of this machine sees it on the command line")
	return cmd
}

// joinToken takes the token from wherever it was given.
func joinToken(text, file string, stdin io.Reader) (rpc.Token, error) {
	if file != "" {
		return readToken(file, stdin, cluster.TokenJoin)
	}
	token, err := rpc.ParseToken(text)
	if err == nil {
		err = token.WantKind(cluster.TokenJoin)
	}
	if err != nil {
		return rpc.Token{}, fmt.Errorf("--token: %w", err)
	}
	return token, nil
}
