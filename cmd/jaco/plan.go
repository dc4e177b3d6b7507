package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/scheduler/preview"
	"github.com/jaco-sh/jaco/signing"
)

func newPlan(global *globals, flags *statusFlags) *cobra.Command {
	var offline bool
	cmd := &cobra.Command{
		Use:   "plan [DIR]",
		Short: "What the cluster would do with a working tree: who must sign, what changes, what is refused",
		Long: "Compares the files below DIR (default: the present directory), committed or not, with what the\n" +
			"cluster accepted. Nothing is changed. The exit code is 4 when something would be refused.\n\n" +
			"--offline asks no cluster: it checks the syntax, and the policy of trust.yaml as it is in the\n" +
			"last commit (git HEAD), or, where DIR is in no repository, in DIR itself.",
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(flags.output); err != nil {
				return err
			}
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			files, err := readTree(dir)
			if err != nil {
				return err
			}
			var plan *preview.Plan
			if offline {
				plan, err = planOffline(cmd.Context(), dir, files)
			} else {
				plan, err = planOnline(cmd.Context(), global, files)
			}
			if err != nil {
				return err
			}
			if encoded, err := encodeOutput(cmd.OutOrStdout(), flags.output, plan); encoded || err != nil {
				return errors.Join(err, refusedError(plan))
			}
			return errors.Join(renderPlan(cmd.OutOrStdout(), plan, flags.output == "wide"), refusedError(plan))
		},
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "ask no cluster: syntax and policy only")
	return cmd
}

// refusedError ends the command with the exit code of docs/cli.md.
func refusedError(plan *preview.Plan) error {
	switch n := len(plan.Refused); {
	case n == 0:
		return nil
	case plan.Whole:
		return &statusError{exitVerification, errors.New("a commit of this would be refused as a whole")}
	case n == 1:
		return &statusError{exitVerification, errors.New("1 problem would be refused")}
	default:
		return &statusError{exitVerification, fmt.Errorf("%d problems would be refused", n)}
	}
}

func planOnline(ctx context.Context, global *globals, files []preview.File) (plan *preview.Plan, err error) {
	sent := make([]rpc.PlanFile, len(files))
	for i, f := range files {
		sent[i] = rpc.PlanFile{Path: f.Path, Mode: string(f.Mode), Data: f.Data}
	}
	err = withClient(global, func(client *rpc.Client) error {
		data, err := client.Plan(ctx, sent)
		if err != nil {
			return err
		}
		plan = new(preview.Plan)
		if err := json.Unmarshal(data, plan); err != nil {
			return fmt.Errorf("decode plan: %w", err)
		}
		return nil
	})
	return plan, err
}

// planOffline judges by the last commit's policy where there is one.
func planOffline(ctx context.Context, dir string, files []preview.File) (plan *preview.Plan, err error) {
	tree, err := preview.NewTree(files)
	if err != nil {
		return nil, err
	}
	in := preview.Input{Tree: tree, Now: time.Now()}
	var note string
	head, err := openHead(ctx, dir)
	switch {
	case errors.Is(err, errNoHead):
		note = "there is no commit to compare with (" + err.Error() + "): everything counts as added, and the policy is that of this trust.yaml"
		if in.Trust, err = signing.LoadTreeTrust(tree, tree.Root); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		defer func() { err = errors.Join(err, head.Close()) }()
		in.Accepted, in.Against, in.Base = head, head.commit, head.tree
		if in.Trust, err = signing.LoadTreeTrust(head, head.tree); err != nil {
			return nil, fmt.Errorf("the policy of the last commit: %w", err)
		}
		if in.Units, err = signing.UnitsOfTree(head, head.tree); err != nil {
			return nil, fmt.Errorf("read the last commit: %w", err)
		}
	}
	plan, err = preview.Compute(ctx, in)
	if err == nil && note != "" {
		plan.Warnings = append(plan.Warnings, note)
	}
	return plan, err
}

// readTree reads the files below a directory that can have an effect.
func readTree(dir string) ([]preview.File, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", dir, err)
	}
	t := treeReader{dir: dir}
	for _, top := range []string{"cluster.yaml", "deployments", "keys", "trust.yaml"} {
		err := filepath.WalkDir(filepath.Join(dir, top), t.visit)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("plan %s: %w", dir, err)
		}
	}
	if len(t.files) == 0 {
		return nil, fmt.Errorf("plan %s: it holds neither trust.yaml nor deployments/: name the top of the fleet repository", dir)
	}
	return t.files, nil
}

type treeReader struct {
	dir    string
	files  []preview.File
	limits preview.Limits
}

func (t *treeReader) visit(path string, entry fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	name, err := filepath.Rel(t.dir, path)
	if err != nil {
		return err
	}
	f := preview.File{Path: filepath.ToSlash(name), Mode: preview.Plain}
	switch {
	case entry.Name() == ".git" && entry.IsDir():
		return filepath.SkipDir
	case entry.Name() == ".git" || entry.IsDir(): // a worktree's .git is a file
		return nil
	case entry.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		f.Mode, f.Data = preview.Symlink, []byte(target)
		t.files = append(t.files, f)
		return t.limits.Add(f.Path, int64(len(target)))
	case !entry.Type().IsRegular():
		return fmt.Errorf("%s is neither a file nor a folder", f.Path)
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	if err := t.limits.Add(f.Path, info.Size()); err != nil {
		return err
	}
	if info.Mode()&0o100 != 0 {
		f.Mode = preview.Executable
	}
	// Not more than was counted, should the file grow meanwhile.
	if f.Data, err = readLimited(path, info.Size()); err != nil {
		return err
	}
	t.files = append(t.files, f)
	return nil
}
