package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// errNoHead is returned where git has no last commit to read.
var errNoHead = errors.New("no git repository with a commit")

// head reads the last commit of a working tree by way of the git command. The
// objects are checked against their ids by whoever reads them.
type head struct {
	commit signing.Hash
	tree   signing.Hash // of the directory, which may be below the repository's top
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
}

var _ signing.Source = (*head)(nil)

// openHead finds the last commit of the repository that a directory is in. The
// error wraps errNoHead when there is none, or no git.
func openHead(ctx context.Context, dir string) (*head, error) {
	h := &head{}
	for _, want := range []struct {
		what string
		to   *signing.Hash
	}{{"HEAD^{commit}", &h.commit}, {"HEAD:./", &h.tree}} {
		out, err := exec.CommandContext(ctx, "git", "-C", dir, "rev-parse", "--verify", "--quiet", want.what).Output()
		if err != nil {
			return nil, errNoHead
		}
		if *want.to, err = signing.ParseHash(strings.TrimSpace(string(out))); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoHead, err)
		}
	}
	h.cmd = exec.CommandContext(ctx, "git", "-C", dir, "cat-file", "--batch")
	var err error
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.out = bufio.NewReader(out)
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("run git cat-file: %w", err)
	}
	return h, nil
}

// Close ends git.
func (h *head) Close() error {
	return errors.Join(h.in.Close(), h.cmd.Wait())
}

// Object implements signing.Source.
func (h *head) Object(id signing.Hash) (signing.Object, error) {
	if _, err := fmt.Fprintln(h.in, id); err != nil {
		return signing.Object{}, fmt.Errorf("ask git for %s: %w", id.Short(), err)
	}
	line, err := h.out.ReadString('\n')
	if err != nil {
		return signing.Object{}, fmt.Errorf("git does not give %s: %w", id.Short(), err)
	}
	words := strings.Fields(line)
	if len(words) != 3 {
		return signing.Object{}, fmt.Errorf("%s: %w in the repository", id.Short(), signing.ErrNotFound)
	}
	size, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil || size < 0 || size > desired.MaxTotalBytes {
		return signing.Object{}, fmt.Errorf("object %s of %s bytes: more than the limit of %d", id.Short(), words[2], desired.MaxTotalBytes)
	}
	data := make([]byte, size+1) // and a line end
	if _, err := io.ReadFull(h.out, data); err != nil {
		return signing.Object{}, fmt.Errorf("git does not give %s: %w", id.Short(), err)
	}
	o := signing.Object{Data: data[:size]}
	switch words[1] {
	case "commit":
		o.Type = signing.CommitObject
	case "tree":
		o.Type = signing.TreeObject
	case "blob":
		o.Type = signing.BlobObject
	default:
		o.Type = signing.TagObject
	}
	return o, nil
}
