package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// clone is what a clone of the fleet repository says, by the git program.
type clone struct {
	dir   string
	chain map[string]bool   // the first parents of the branch
	tags  map[string]string // ids by name, without "refs/tags/"
}

// readClone reads the branch as the clone knows it, its own and the one that was
// fetched last, and its approval tags.
func readClone(ctx context.Context, dir, branch string) (*clone, error) {
	c := &clone{dir: dir, chain: map[string]bool{}, tags: map[string]string{}}
	var refs []string
	for _, ref := range []string{"refs/remotes/origin/" + branch, "refs/heads/" + branch} {
		if _, err := c.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}"); err == nil {
			refs = append(refs, ref)
		}
	}
	if len(refs) == 0 {
		if _, err := c.git(ctx, "rev-parse", "--git-dir"); err != nil {
			return nil, fmt.Errorf("--repo %s: %w", dir, err)
		}
		return nil, fmt.Errorf("--repo %s: the clone has no branch %s; run git fetch in it", dir, branch)
	}
	chain, err := c.git(ctx, append([]string{"rev-list", "--first-parent", "--end-of-options"}, refs...)...)
	if err != nil {
		return nil, fmt.Errorf("--repo %s: %w", dir, err)
	}
	for id := range strings.FieldsSeq(chain) {
		c.chain[id] = true
	}
	tags, err := c.git(ctx, "for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/tags/approve/")
	if err != nil {
		return nil, fmt.Errorf("--repo %s: %w", dir, err)
	}
	for line := range strings.Lines(tags) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		c.tags[name] = id
	}
	return c, nil
}

// git runs the git program in the clone.
func (c *clone) git(ctx context.Context, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, "git", append([]string{"-C", c.dir}, arguments...)...)
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("the git program is needed to read a clone")
	}
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", arguments[0], err, strings.TrimSpace(said.String()))
	}
	return string(out), nil
}

// compare checks that what a bundle says was accepted is what the clone holds.
// It returns what differs, and what is merely not there any more.
func (c *clone) compare(ctx context.Context, report *cluster.BundleReport) (differs, warnings []string) {
	onBranch := func(what string, id signing.Hash) {
		if c.chain[id.String()] {
			return
		}
		if _, err := c.git(ctx, "cat-file", "-e", id.String()+"^{commit}"); err != nil {
			differs = append(differs, fmt.Sprintf("%s %s is not in the clone: run git fetch there; if it stays away, the repository never had it or was rewritten", what, id))
			return
		}
		differs = append(differs, fmt.Sprintf("%s %s is in the clone, but not on branch %s", what, id, report.Branch))
	}
	// What was accepted before the history was rewritten, by the word of root, is
	// on the branch no longer.
	after := 0
	for i, claim := range report.Claims {
		if claim.Reanchored {
			after = i
		}
	}
	if after == 0 {
		onBranch("the anchor", report.Anchor)
	}
	for _, claim := range report.Claims[after:] {
		if claim.Refused == "" {
			onBranch(fmt.Sprintf("the commit of claim %d", claim.Number), claim.Commit)
		}
	}
	for _, claim := range report.Claims {
		for _, tag := range claim.Tags {
			switch here, found := c.tags[tag.Name]; {
			case !found:
				warnings = append(warnings, fmt.Sprintf("tag %s, on which claim %d relies, is not in the clone: it was deleted, or not fetched (git fetch --tags)", tag.Name, claim.Number))
			case here != tag.ID.String():
				differs = append(differs, fmt.Sprintf("tag %s is %s in the clone; claim %d relies on %s: it was moved", tag.Name, here, claim.Number, tag.ID))
			}
		}
	}
	return differs, warnings
}

// verifyClone is `audit verify --repo`: it adds to a verified report what a
// clone says of it.
func verifyClone(ctx context.Context, report *cluster.BundleReport, dir string) error {
	c, err := readClone(ctx, dir, report.Branch)
	if err != nil {
		return err
	}
	differs, warnings := c.compare(ctx, report)
	report.Warnings = append(report.Warnings, warnings...)
	if len(differs) > 0 {
		return &statusError{exitVerification, fmt.Errorf("verification failed: the clone %s does not agree:\n%s", dir, indent(strings.Join(differs, "\n")))}
	}
	return nil
}
