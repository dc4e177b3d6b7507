package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Git is a hermetic home for git, ssh and gpg: nothing of the user's own
// configuration, agents or keys is read or written.
type Git struct {
	// Dir is short: gpg keeps sockets in it.
	Dir string
}

// gitConfig has no identity that matters: verification looks at keys alone.
const gitConfig = `[user]
	name = Rig
	email = rig@example.com
[init]
	defaultBranch = main
[commit]
	gpgsign = false
[gc]
	auto = 0
[http]
	postBuffer = 104857600
[protocol "file"]
	allow = always
[safe]
	directory = *
[advice]
	detachedHead = false
`

// NewGit makes the home in a directory below the system's temporary one.
func NewGit(ctx context.Context) (*Git, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("make git home: %w", err)
	}
	g := &Git{Dir: filepath.Join(os.TempDir(), newID()+"g")}
	for _, d := range []string{"gnupg", "ssh"} {
		if err := os.MkdirAll(filepath.Join(g.Dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("make git home: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(g.Dir, "gitconfig"), []byte(gitConfig), 0o600); err != nil {
		return nil, fmt.Errorf("make git home: %w", err)
	}
	return g, nil
}

// Close ends gpg's agents and removes the home with everything in it.
func (g *Git) Close(ctx context.Context) error {
	var errs error
	if _, err := exec.LookPath("gpgconf"); err == nil {
		_, errs = output(g.command(ctx, "", "gpgconf", "--kill", "all"))
	}
	if err := os.RemoveAll(g.Dir); err != nil {
		errs = errors.Join(errs, fmt.Errorf("remove git home: %w", err))
	}
	return errs
}

// Env is the environment for git commands that a suite or the demo runs itself.
func (g *Git) Env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + g.Dir, "GNUPGHOME=" + filepath.Join(g.Dir, "gnupg"), "LC_ALL=C",
		"GIT_CONFIG_GLOBAL=" + filepath.Join(g.Dir, "gitconfig"), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_SSH_COMMAND=ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile=" +
			filepath.Join(g.Dir, "ssh/known_hosts") + " -i " + filepath.Join(g.Dir, "ssh/client"),
	}
}

func (g *Git) command(ctx context.Context, ns NetNS, name string, args ...string) *exec.Cmd {
	cmd := ns.Command(ctx, name, args...)
	cmd.Env = g.Env()
	return cmd
}

// InitBare makes an empty bare repository that takes pushes, signed or not.
func (g *Git) InitBare(ctx context.Context, path string) error {
	if _, err := output(g.command(ctx, "", "git", "init", "-q", "--bare", path)); err != nil {
		return err
	}
	_, err := output(g.command(ctx, "", "git", "-C", path, "config", "http.receivepack", "true"))
	return err
}

// Clone clones into a new directory below the home. The namespace is where
// git runs, then and later: a server inside the rig is not reached from the
// host's network. For a path it is empty.
func (g *Git) Clone(ctx context.Context, url string, ns NetNS) (*Repo, error) {
	dir, err := os.MkdirTemp(g.Dir, "clone")
	if err != nil {
		return nil, fmt.Errorf("make directory of clone: %w", err)
	}
	if _, err := output(g.command(ctx, ns, "git", "clone", "-q", url, dir)); err != nil {
		return nil, err
	}
	return &Repo{Dir: dir, git: g, ns: ns}, nil
}

// Repo is a clone with a work tree, as a developer has it. Nothing leaves it
// without Push.
type Repo struct {
	Dir string

	git *Git
	ns  NetNS
}

// Git runs any git command in the clone and returns its trimmed output.
func (r *Repo) Git(ctx context.Context, args ...string) (string, error) {
	return output(r.git.command(ctx, r.ns, "git", append([]string{"-C", r.Dir}, args...)...))
}

// Write writes files, by path in the repository; directories are made.
func (r *Repo) Write(files map[string]string) error {
	for name, data := range files {
		path := filepath.Join(r.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// Remove removes files or folders, by path in the repository.
func (r *Repo) Remove(names ...string) error {
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(r.Dir, name)); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// CommitOptions says how to make a commit; only Message is required.
type CommitOptions struct {
	Message string
	// Key signs; nil leaves the commit unsigned.
	Key *Key
	// Date is the author's and committer's; zero means now.
	Date time.Time
	// Amend replaces the last commit.
	Amend bool
}

// Commit commits everything in the work tree, also when nothing changed, and
// returns the hash.
func (r *Repo) Commit(ctx context.Context, opts CommitOptions) (string, error) {
	if _, err := r.Git(ctx, "add", "-A"); err != nil {
		return "", err
	}
	args := []string{"commit", "-q", "--allow-empty", "-m", opts.Message}
	if opts.Amend {
		args = append(args, "--amend")
	}
	return r.sign(ctx, opts.Key, opts.Date, args...)
}

// CommitFiles is Write, then Commit.
func (r *Repo) CommitFiles(ctx context.Context, files map[string]string, opts CommitOptions) (string, error) {
	if err := r.Write(files); err != nil {
		return "", err
	}
	return r.Commit(ctx, opts)
}

// Merge merges a branch or commit into the current branch, always with a
// merge commit, and returns its hash.
func (r *Repo) Merge(ctx context.Context, rev string, opts CommitOptions) (string, error) {
	return r.sign(ctx, opts.Key, opts.Date, "merge", "-q", "--no-ff", "-m", opts.Message, rev)
}

// sign runs a git command that makes a commit and returns the new head.
func (r *Repo) sign(ctx context.Context, key *Key, date time.Time, args ...string) (string, error) {
	full := []string{"-C", r.Dir}
	if key != nil {
		full = append(full, key.gitConfig()...)
		args = append(args, "-S")
	}
	cmd := r.git.command(ctx, r.ns, "git", append(full, args...)...)
	if !date.IsZero() {
		stamp := date.Format(time.RFC3339)
		cmd.Env = append(cmd.Env, "GIT_AUTHOR_DATE="+stamp, "GIT_COMMITTER_DATE="+stamp)
	}
	if _, err := output(cmd); err != nil {
		return "", err
	}
	return r.Git(ctx, "rev-parse", "HEAD")
}

// Tag makes an annotated tag of a revision, signed unless the key is nil, and
// returns the hash of the tag object.
func (r *Repo) Tag(ctx context.Context, name, rev string, opts CommitOptions) (string, error) {
	args := []string{"-C", r.Dir}
	kind := "-a"
	if opts.Key != nil {
		args, kind = append(args, opts.Key.gitConfig()...), "-s"
	}
	args = append(args, "tag", kind, "-m", opts.Message, name, rev)
	if _, err := output(r.git.command(ctx, r.ns, "git", args...)); err != nil {
		return "", err
	}
	return r.Git(ctx, "rev-parse", "refs/tags/"+name)
}

// Checkout switches to a branch; a new one starts at the revision, which is
// empty for a branch that exists.
func (r *Repo) Checkout(ctx context.Context, branch, from string) error {
	args := []string{"checkout", "-q", branch}
	if from != "" {
		args = []string{"checkout", "-q", "-B", branch, from}
	}
	_, err := r.Git(ctx, args...)
	return err
}

// Reset makes a revision the tip of the current branch, work tree included.
func (r *Repo) Reset(ctx context.Context, rev string) error {
	_, err := r.Git(ctx, "reset", "-q", "--hard", rev)
	return err
}

// Push pushes refs to the origin; without any, the current head to main.
func (r *Repo) Push(ctx context.Context, refs ...string) error { return r.push(ctx, nil, refs) }

// ForcePush is Push that may rewrite what is there.
func (r *Repo) ForcePush(ctx context.Context, refs ...string) error {
	return r.push(ctx, []string{"--force"}, refs)
}

func (r *Repo) push(ctx context.Context, flags, refs []string) error {
	if len(refs) == 0 {
		refs = []string{"HEAD:refs/heads/main"}
	}
	_, err := r.Git(ctx, append(append(append([]string{"push", "-q"}, flags...), "origin"), refs...)...)
	return err
}

// SignWith makes the clone sign with the key by itself, as a developer sets
// their clone up: git commit -S and git rebase -S need no more options.
func (r *Repo) SignWith(ctx context.Context, key *Key) error {
	options := key.gitConfig()
	for i := 1; i < len(options); i += 2 { // pairs of -c and name=value
		name, value, _ := strings.Cut(options[i], "=")
		if _, err := r.Git(ctx, "config", name, value); err != nil {
			return err
		}
	}
	return nil
}

// Shell runs a command line in the clone, such as an advice, and returns what
// it prints. An editor that it opens keeps the text as it is.
func (r *Repo) Shell(ctx context.Context, line string) (string, error) {
	cmd := r.git.command(ctx, r.ns, "sh", "-c", line)
	cmd.Dir = r.Dir
	cmd.Env = append(cmd.Env, "GIT_EDITOR=true")
	return output(cmd)
}
