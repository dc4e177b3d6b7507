package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/signing"
)

// initFlags are those of `jaco bootstrap init`.
type initFlags struct {
	name       string
	repo       string
	anchor     string
	branch     string
	signers    []string
	sshKey     string
	tokenFile  string
	knownHosts string
}

func newBootstrap(global *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Make a cluster, and take nodes and readers in",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newInit(global), newToken(global), newJoin(global), newReanchor(global))
	return cmd
}

func newInit(global *globals) *cobra.Command {
	var flags initFlags
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a cluster of the local node and pin the trust it starts from",
		Long: "Without --repo, init makes a bare repository in the data directory, whose first commit holds a trust.yaml\n" +
			"made from --signer. With --repo the anchor must be named: the commit whose trust.yaml and keys/ are pinned.\n" +
			"Nothing in the anchor is deployed: the first commit after it is judged as if all of its files were new.",
		Example: "  jaco bootstrap init --signer alice=/home/alice/.ssh/id_ed25519.pub\n" +
			"  jaco bootstrap init --repo git@git.example.com:ops/fleet.git --anchor tip --ssh-key deploy_key --known-hosts known_hosts",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := flags.request()
			if err != nil {
				return err
			}
			return withLocal(global, func(client *rpc.Client) error {
				result, err := client.Init(cmd.Context(), request)
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				fmt.Fprintf(out, "Cluster %s: repository %s, branch %s, anchor %s\n", result.ClusterID, result.Repo, result.Branch, result.Anchor)
				for _, line := range result.Lines {
					fmt.Fprintln(out, line)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&flags.name, "cluster", "jaco", "the cluster's name, for people")
	cmd.Flags().StringVar(&flags.repo, "repo", "", "the fleet repository: https://, ssh:// or user@host:path, or an absolute path on this node")
	cmd.Flags().StringVar(&flags.anchor, "anchor", "", "with --repo: the commit to pin, or tip")
	cmd.Flags().StringVar(&flags.branch, "branch", "main", "the branch to follow")
	cmd.Flags().StringArrayVar(&flags.signers, "signer", nil, "without --repo: NAME=KEYFILE, a public key (SSH or armored OpenPGP); may be repeated")
	cmd.Flags().StringVar(&flags.sshKey, "ssh-key", "", "with an ssh repository: a private key without passphrase")
	cmd.Flags().StringVar(&flags.tokenFile, "token-file", "", "with an https repository: a file with USER:TOKEN, or a token alone")
	cmd.Flags().StringVar(&flags.knownHosts, "known-hosts", "", "with an ssh repository: the file that names its host key")
	return cmd
}

// request checks the flags against each other and reads the files they name.
func (f *initFlags) request() (*rpc.InitRequest, error) {
	switch {
	case f.repo == "" && len(f.signers) == 0:
		return nil, usagef("name who may sign: --signer NAME=KEYFILE (or follow an existing repository with --repo and --anchor)")
	case f.repo == "" && (f.anchor != "" || f.sshKey != "" || f.tokenFile != "" || f.knownHosts != ""):
		return nil, usagef("--anchor, --ssh-key, --token-file and --known-hosts go with --repo")
	case f.repo != "" && len(f.signers) > 0:
		return nil, usagef("--signer goes without --repo: who may sign stands in that repository's trust.yaml")
	case f.repo != "" && f.anchor == "":
		return nil, usagef("--repo needs --anchor: the full hash of the commit whose trust.yaml is pinned, or tip to take the present one")
	case f.sshKey != "" && f.tokenFile != "":
		return nil, usagef("--ssh-key and --token-file exclude each other")
	}
	request := &rpc.InitRequest{ClusterName: f.name, Repo: f.repo, Branch: f.branch, Anchor: f.anchor}
	for _, s := range f.signers {
		name, file, found := strings.Cut(s, "=")
		if !found || name == "" || file == "" {
			return nil, usagef("--signer %s: want NAME=KEYFILE", s)
		}
		key, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--signer %s: %w", name, err)
		}
		request.Signers = append(request.Signers, rpc.Signer{Name: name, Key: key})
	}
	for _, file := range []struct {
		flag, path string
		into       *[]byte
	}{
		{"--ssh-key", f.sshKey, &request.SSHKey},
		{"--token-file", f.tokenFile, &request.Token},
		{"--known-hosts", f.knownHosts, &request.KnownHosts},
	} {
		if file.path == "" {
			continue
		}
		data, err := os.ReadFile(file.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.flag, err)
		}
		*file.into = data
	}
	return request, nil
}

// verifyOptions parses the anchor, which may be empty.
func verifyOptions(anchor string) (cluster.BundleOptions, error) {
	options := cluster.BundleOptions{Digest: cluster.ContentDigest}
	if anchor == "" {
		return options, nil
	}
	hash, err := signing.ParseHash(anchor)
	if err != nil {
		return options, usagef("--anchor: %v (the full hash is needed)", err)
	}
	options.Anchor = &hash
	return options, nil
}
