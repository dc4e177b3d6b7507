package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// statusFlags are those of `jaco status`.
type statusFlags struct {
	output   string
	watch    bool
	wait     bool
	revision string
	timeout  time.Duration
	exitCode bool
}

func newStatus(global *globals) *cobra.Command {
	var flags statusFlags
	cmd := &cobra.Command{
		Use:   "status [DEPLOYMENT[/SERVICE]]",
		Short: "What runs, what is wanted, and why the two differ",
		Args:  usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := parseTarget(args)
			if err != nil {
				return err
			}
			if flags.wait && global.server != "" {
				return usagef("--wait has the leader ask the repository, which a read token does not allow: run it on a node, or look with --exit-code")
			}
			return withClient(global, func(client *rpc.Client) error {
				return runStatus(cmd.Context(), client, target, flags, cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().BoolVarP(&flags.watch, "watch", "w", false, "redraw at every change")
	cmd.Flags().BoolVar(&flags.wait, "wait", false, "ask the remote once, then wait until its head is converged, refused or failed")
	cmd.Flags().StringVar(&flags.revision, "revision", "", "with --wait: a head that is or descends from this commit")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 5*time.Minute, "with --wait: give up after")
	cmd.Flags().BoolVar(&flags.exitCode, "exit-code", false, "end with 3 unless everything shown is synced and healthy")
	cmd.PersistentFlags().StringVarP(&flags.output, "output", "o", "table", "table, wide, json or yaml")
	cmd.AddCommand(
		newStatusPart(global, &flags, "sync", "The repository: head, accepted commit, what waits, what was refused", renderSync, func(s *cluster.Status) any { return s.Sync }),
		newStatusPart(global, &flags, "nodes", "The nodes", renderNodes, func(s *cluster.Status) any { return s.Nodes }),
		newEvents(global, &flags),
		newLogs(global),
		newRecipient(global),
		newPlan(global, &flags),
	)
	return cmd
}

// target is what the positional argument selects; both empty: everything.
type target struct {
	deployment string
	service    string
}

func parseTarget(args []string) (target, error) {
	if len(args) == 0 {
		return target{}, nil
	}
	deployment, service, err := splitTarget(args[0])
	return target{deployment, service}, err
}

func runStatus(ctx context.Context, client *rpc.Client, t target, flags statusFlags, out io.Writer) error {
	if err := checkOutput(flags.output); err != nil {
		return err
	}
	if flags.revision != "" && !flags.wait {
		return usagef("--revision goes with --wait")
	}
	if flags.wait {
		return waitConverged(ctx, client, t, flags, out)
	}
	if flags.watch {
		return client.WatchStatus(ctx, func(status *cluster.Status) error {
			if isTerminal(out) {
				fmt.Fprint(out, "\x1b[H\x1b[2J")
			}
			return showStatus(status, t, flags.output, out)
		})
	}
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	if err := showStatus(status, t, flags.output, out); err != nil {
		return err
	}
	if flags.exitCode {
		return convergedError(status, t)
	}
	return nil
}

// showStatus prints the whole status, or the selected part of it.
func showStatus(status *cluster.Status, t target, output string, out io.Writer) error {
	if t.deployment != "" {
		selected, err := selectTarget(status, t)
		if err != nil {
			return err
		}
		if encoded, err := encodeOutput(out, output, selected); encoded {
			return err
		}
		return renderDeployment(out, selected, t.service, output == "wide")
	}
	if encoded, err := encodeOutput(out, output, status); encoded {
		return err
	}
	return renderStatus(out, status, output == "wide")
}

// selectTarget cuts the status down to one deployment, and to one service.
func selectTarget(status *cluster.Status, t target) (*cluster.DeploymentState, error) {
	for i := range status.Deployments {
		d := status.Deployments[i]
		if d.Name != t.deployment {
			continue
		}
		if t.service == "" {
			return &d, nil
		}
		for _, s := range d.Services {
			if s.Name == t.service {
				d.Services = []cluster.ServiceStatus{s}
				return &d, nil
			}
		}
		return nil, fmt.Errorf("deployment %s has no service %s", t.deployment, t.service)
	}
	return nil, fmt.Errorf("no deployment %s: `jaco status` lists them; a new one appears when its commit is accepted", t.deployment)
}

func newStatusPart(global *globals, flags *statusFlags, name, help string,
	render func(io.Writer, *cluster.Status, bool) error, part func(*cluster.Status) any,
) *cobra.Command {
	return &cobra.Command{
		Use:   name,
		Short: help,
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(flags.output); err != nil {
				return err
			}
			return withClient(global, func(client *rpc.Client) error {
				status, err := client.Status(cmd.Context())
				if err != nil {
					return err
				}
				if encoded, err := encodeOutput(cmd.OutOrStdout(), flags.output, part(status)); encoded {
					return err
				}
				return render(cmd.OutOrStdout(), status, flags.output == "wide")
			})
		},
	}
}

func checkOutput(format string) error {
	switch format {
	case "table", "wide", "json", "yaml":
		return nil
	}
	return usagef("--output %s: want table, wide, json or yaml", format)
}

// encodeOutput writes value as JSON or YAML and reports whether the format is
// one of the two. YAML has the same keys in the same order as JSON.
func encodeOutput(out io.Writer, format string, value any) (bool, error) {
	if format != "json" && format != "yaml" {
		return false, nil
	}
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return true, fmt.Errorf("encode output: %w", err)
	}
	if format == "yaml" {
		if data, err = jsonToYAML(data); err != nil {
			return true, err
		}
		_, err = out.Write(data)
		return true, err
	}
	_, err = fmt.Fprintf(out, "%s\n", data)
	return true, err
}

// jsonToYAML re-writes a JSON document in YAML's block style; JSON is YAML, so
// a node tree keeps keys, order and types.
func jsonToYAML(data []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("encode output: %w", err)
	}
	setBlockStyle(&document)
	out, err := yaml.Marshal(&document)
	if err != nil {
		return nil, fmt.Errorf("encode output: %w", err)
	}
	return out, nil
}

func setBlockStyle(node *yaml.Node) {
	node.Style &^= yaml.FlowStyle
	if node.Kind == yaml.ScalarNode {
		node.Style &^= yaml.DoubleQuotedStyle // the encoder quotes where the type asks for it
	}
	for _, child := range node.Content {
		setBlockStyle(child)
	}
}
