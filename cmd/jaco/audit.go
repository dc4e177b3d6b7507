package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// auditFlags are those of `jaco audit`.
type auditFlags struct {
	since      string
	kind       string
	deployment string
	revision   string
	actor      string
	follow     bool
	output     string
}

func newAudit(global *globals) *cobra.Command {
	var flags auditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Who approved what, when, and the proof of it",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listAudit(cmd, global, &flags)
		},
	}
	addAuditFilters(cmd, &flags)
	cmd.Flags().StringVar(&flags.kind, "type", "", "only this type, as in the TYPE column")
	cmd.PersistentFlags().StringVarP(&flags.output, "output", "o", "table", "table, wide, json or yaml")
	cmd.AddCommand(newAuditShow(global, &flags), newAuditTrace(global, &flags), newAuditVerify(global, &flags), newAuditExport(global))
	return cmd
}

func addAuditFilters(cmd *cobra.Command, flags *auditFlags) {
	cmd.Flags().StringVar(&flags.since, "since", "", "only from this time on (RFC 3339), or this long ago (2h, 30m)")
	cmd.Flags().StringVar(&flags.deployment, "deployment", "", "only of this deployment")
	cmd.Flags().StringVar(&flags.revision, "revision", "", "only of this commit (a prefix of its hash)")
	cmd.Flags().StringVar(&flags.actor, "actor", "", "only by this actor")
	cmd.Flags().BoolVarP(&flags.follow, "follow", "f", false, "go on with new entries")
}

// newEvents is `jaco status events`: what happened, without the log's own
// book-keeping.
func newEvents(global *globals, status *statusFlags) *cobra.Command {
	var flags auditFlags
	cmd := &cobra.Command{
		Use:   "events",
		Short: "What happened lately: deploys, refusals, drift, failures",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags.output = status.output
			return listAudit(cmd, global, &flags, cluster.KindPutObjects, cluster.KindApplyPlan, cluster.KindPutSealed)
		},
	}
	addAuditFilters(cmd, &flags)
	return cmd
}

func listAudit(cmd *cobra.Command, global *globals, flags *auditFlags, hide ...cluster.CommandKind) error {
	if err := checkOutput(flags.output); err != nil {
		return err
	}
	since, err := parseSince(flags.since, time.Now())
	if err != nil {
		return err
	}
	request := rpc.AuditRequest{
		Since: since, Type: flags.kind, Deployment: flags.deployment,
		Revision: flags.revision, Actor: flags.actor, Follow: flags.follow,
	}
	out := cmd.OutOrStdout()
	return withClient(global, func(client *rpc.Client) error {
		var records []cluster.AuditRecord
		err := client.Audit(cmd.Context(), request, func(r cluster.AuditRecord) error {
			for _, kind := range hide {
				if r.Type == string(kind) {
					return nil
				}
			}
			if flags.follow {
				return printRecords(out, []cluster.AuditRecord{r}, flags.output, false)
			}
			records = append(records, r)
			return nil
		})
		if err != nil || flags.follow {
			return err
		}
		return printRecords(out, records, flags.output, true)
	})
}

func printRecords(out io.Writer, records []cluster.AuditRecord, output string, header bool) error {
	if records == nil {
		records = []cluster.AuditRecord{}
	}
	if encoded, err := encodeOutput(out, output, records); encoded {
		return err
	}
	t := newTable(out, "NUMBER", "TIME", "TYPE", "ACTOR", "DEPLOYMENT", "REVISION", "MESSAGE")
	if !header {
		t.rows = nil
	}
	for _, r := range records {
		message := r.Message
		if r.Outcome != "" {
			message += " (refused: " + r.Outcome + ")"
		}
		last := reasonCell(message, output == "wide")
		t.add(text(strconv.FormatUint(r.Number, 10)), text(r.Time.Local().Format("2006-01-02 15:04:05")), text(r.Type),
			text(r.Actor), text(r.Deployment), text(revisionText(r.Revision, output == "wide")), last)
	}
	return t.flush()
}

// parseSince reads a time or a duration before now; "" is the zero time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(s); err == nil {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, usagef("--since %s: want a time like 2026-11-23T15:04:05Z or a duration like 2h", s)
	}
	return at, nil
}

var commitPattern = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

func newAuditShow(global *globals, flags *auditFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "show REVISION|NUMBER",
		Short: "All that is recorded of one commit, or one entry",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(flags.output); err != nil {
				return err
			}
			var request rpc.AuditRequest
			// A short number is an entry; a commit has at least 7 digits.
			if number, err := strconv.ParseUint(args[0], 10, 64); err == nil && number > 0 && len(args[0]) < 7 {
				request.Number = number
			} else if commitPattern.MatchString(args[0]) {
				request.Revision = args[0]
			} else {
				return usagef("%q is neither an entry's number nor a commit's hash (7 to 40 digits)", args[0])
			}
			return withClient(global, func(client *rpc.Client) error {
				records := []cluster.AuditRecord{}
				err := client.Audit(cmd.Context(), request, func(r cluster.AuditRecord) error {
					records = append(records, r)
					return nil
				})
				if err != nil {
					return err
				}
				if len(records) == 0 {
					return fmt.Errorf("nothing is recorded of %s", args[0])
				}
				return showRecords(cmd.OutOrStdout(), records, flags.output)
			})
		},
	}
}

func showRecords(out io.Writer, records []cluster.AuditRecord, output string) error {
	if encoded, err := encodeOutput(out, output, records); encoded {
		return err
	}
	for i, r := range records {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "entry %d  %s  %s\n", r.Number, r.Type, r.Time.UTC().Format(time.RFC3339))
		for _, field := range [][2]string{
			{"actor", r.Actor}, {"node", r.Node}, {"deployment", r.Deployment}, {"service", r.Service},
			{"revision", r.Revision}, {"raft index", strconv.FormatUint(r.Index, 10)}, {"refused", r.Outcome},
		} {
			if field[1] != "" {
				fmt.Fprintf(out, "  %-11s %s\n", field[0], field[1])
			}
		}
		fmt.Fprintf(out, "%s\n", indent(r.Message))
	}
	return nil
}

func newAuditTrace(global *globals, flags *auditFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "trace CONTAINER|REPLICA",
		Short: "From a container back to the commit, its signers and the policy",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(flags.output); err != nil {
				return err
			}
			return withClient(global, func(client *rpc.Client) error {
				report, err := client.Trace(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if encoded, err := encodeOutput(cmd.OutOrStdout(), flags.output, report); encoded {
					return err
				}
				t := newTable(cmd.OutOrStdout(), "FACT", "VALUE", "SOURCE")
				for _, fact := range report.Facts {
					source := cell{string(fact.Source), yellow}
					if fact.Source == cluster.FactSigned {
						source.colour = green
					}
					t.add(text(fact.Name), text(fact.Value), source)
				}
				return t.flush()
			})
		},
	}
}

func newAuditExport(global *globals) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "export --output FILE",
		Short: "Write the audit log with all evidence to a file that verifies offline",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usagef("--output FILE is needed")
			}
			return withClient(global, func(client *rpc.Client) error {
				return writeFile(file, func(w io.Writer) error { return client.Export(cmd.Context(), w) })
			})
		},
	}
	// Here -o names a file; it hides the parent's flag of the same name.
	cmd.Flags().StringVarP(&file, "output", "o", "", "the file to write")
	return cmd
}

// writeFile writes a new file whole or not at all.
func writeFile(path string, write func(io.Writer) error) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(file.Name())
	if err := errors.Join(write(file), file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func newAuditVerify(global *globals, flags *auditFlags) *cobra.Command {
	var file, anchor, repo string
	var reanchors []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Re-verify the whole history from signatures alone",
		Long: "Verify re-checks every entry's place in the chain, the chain head's signature, and every accepted\n" +
			"commit from the anchor on. With --bundle it needs no cluster, no network and no git. With --repo it checks\n" +
			"in addition that what was accepted is what a clone of the fleet repository holds.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(flags.output); err != nil {
				return err
			}
			options, err := verifyOptions(anchor)
			if err != nil {
				return err
			}
			for _, commit := range reanchors {
				named, err := verifyOptions(commit)
				if err != nil || named.Anchor == nil {
					return usagef("--reanchor %s: the full hash is needed", commit)
				}
				options.Reanchors = append(options.Reanchors, *named.Anchor)
			}
			bundle, err := openBundle(cmd, global, file, &options)
			if err != nil {
				return err
			}
			defer bundle.Close()
			report, err := cluster.VerifyBundle(bundle, options)
			if _, failed := errors.AsType[*cluster.VerificationError](err); failed {
				return &statusError{exitVerification, fmt.Errorf("verification failed: %w", err)}
			}
			if err != nil {
				return err
			}
			if repo != "" {
				if err := verifyClone(cmd.Context(), report, repo); err != nil {
					return err
				}
			}
			return showBundleReport(cmd.OutOrStdout(), report, flags.output)
		},
	}
	cmd.Flags().StringVar(&file, "bundle", "", "a file that `jaco audit export` wrote; without it the local node's log is verified")
	cmd.Flags().StringArrayVar(&reanchors, "reanchor", nil, "a commit to which operators moved their nodes by hand (`jaco bootstrap reanchor`) and that you trust; may be repeated")
	cmd.Flags().StringVar(&repo, "repo", "", "a clone of the fleet repository to compare with; this needs the git program")
	cmd.Flags().StringVar(&anchor, "anchor", "", "the commit that was pinned at init; without it a bundle is only checked for consistency")
	return cmd
}

// openBundle opens the file, or fetches a node's log. The local node's is
// checked against the anchor in that node's own trust store; what a node from
// afar says of its own would prove nothing.
func openBundle(cmd *cobra.Command, global *globals, file string, options *cluster.BundleOptions) (io.ReadCloser, error) {
	if file != "" {
		bundle, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("open bundle: %w", err)
		}
		return bundle, nil
	}
	var buffer bytes.Buffer
	err := withClient(global, func(client *rpc.Client) error {
		if options.Anchor == nil && global.server == "" {
			status, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			fromNode, err := verifyOptions(status.Sync.Anchor)
			if err != nil {
				return err
			}
			options.Anchor = fromNode.Anchor
		}
		return client.Export(cmd.Context(), &buffer)
	})
	return io.NopCloser(&buffer), err
}

func showBundleReport(out io.Writer, report *cluster.BundleReport, output string) error {
	if encoded, err := encodeOutput(out, output, report); encoded {
		return err
	}
	verdict := "verified"
	if !report.RootChecked {
		verdict = "consistent, root not checked (give --anchor)"
	}
	fmt.Fprintf(out, "%s: %d entries, %d claims, %d objects, up to raft index %d\n", verdict, report.Entries, len(report.Claims), report.Objects, report.Index)
	fmt.Fprintf(out, "cluster %s, anchor %s, accepted %s\n", report.Cluster, report.Anchor.Short(), report.Accepted.Short())
	for _, s := range report.Signatures {
		fmt.Fprintf(out, "head signed by node %s (key %s)\n", s.Node, s.Key)
	}
	for _, w := range report.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	t := newTable(out, "CLAIM", "RAFT INDEX", "COMMIT", "COMMITS", "SIGNED BY")
	for _, c := range report.Claims {
		signed := text(strings.Join(c.Signers, ", "))
		if c.Refused != "" {
			signed = cell{"not followed: " + c.Refused, red}
		}
		t.add(text(strconv.FormatUint(c.Number, 10)), text(strconv.FormatUint(c.Index, 10)), text(c.Commit.Short()),
			text(strconv.Itoa(c.Commits)), signed)
	}
	return t.flush()
}
