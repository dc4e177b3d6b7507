package gitsync

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/jaco-sh/jaco/signing"
)

// gitDirectory finds the git directory of a repository on this machine, bare
// or with a work tree.
func gitDirectory(path string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("%w: %w: %s does not exist", ErrUnreachable, ErrGone, path)
		}
		return "", fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	dir := path
	if info, err := os.Stat(filepath.Join(path, ".git")); err == nil {
		if !info.IsDir() {
			return "", fmt.Errorf("%w: %s is a linked work tree; give the path of its repository", ErrFormat, path)
		}
		dir = filepath.Join(path, ".git")
	}
	for _, part := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Stat(filepath.Join(dir, part)); errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("%w: %w: %s is not a git repository (no %s)", ErrUnreachable, ErrGone, path, part)
		} else if err != nil {
			return "", fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
	}
	return dir, nil
}

// localRefs reads a branch and the approval tags of a repository on this
// machine, no more tags than most.
func localRefs(path, branch string, most int) (signing.Hash, []tagRef, error) {
	dir, err := gitDirectory(path)
	if err != nil {
		return signing.Hash{}, nil, err
	}
	refs := filesystem.NewStorage(osfs.New(dir, osfs.WithBoundOS()), cache.NewObjectLRU(0))
	if err := checkFormat(refs); err != nil {
		return signing.Hash{}, nil, err
	}
	// A ref that is moved, or packed, while all are listed may be missing among
	// them, so that the branch is asked for by its name.
	ref, err := storer.ResolveReference(refs, plumbing.NewBranchReferenceName(branch))
	if err != nil && !errors.Is(err, plumbing.ErrReferenceNotFound) {
		return signing.Hash{}, nil, fmt.Errorf("%w: read branch %s of %s: %w", ErrUnreachable, branch, path, err)
	}
	branches, tags, listing := listLocal(refs)
	switch {
	case listing != nil:
		return signing.Hash{}, nil, fmt.Errorf("%w: read the refs of %s: %w", ErrUnreachable, path, listing)
	case err != nil:
		return signing.Hash{}, nil, missingBranch(branch, branches)
	}
	if tags, err = sortTags(tags, most); err != nil {
		return signing.Hash{}, nil, fmt.Errorf("read the refs of %s: %w", path, err)
	}
	return signing.Hash(ref.Hash()), tags, nil
}

// listLocal lists the branches and the approval tags.
func listLocal(refs *filesystem.Storage) (branches []string, tags []tagRef, err error) {
	all, err := refs.IterReferences()
	if err != nil {
		return nil, nil, err
	}
	err = all.ForEach(func(ref *plumbing.Reference) error {
		switch name := ref.Name(); {
		case name.IsBranch():
			branches = append(branches, name.Short())
		case ref.Type() == plumbing.HashReference && strings.HasPrefix(name.String(), approveRefs):
			tags = append(tags, tagRef{name: strings.TrimPrefix(name.String(), tagRefs), id: signing.Hash(ref.Hash())})
		}
		return nil
	})
	return branches, tags, err
}

// checkFormat refuses what the library would read wrongly.
func checkFormat(repository *filesystem.Storage) error {
	config, err := repository.Config()
	if err != nil {
		return fmt.Errorf("%w: read the repository's config: %w", ErrUnreachable, err)
	}
	extensions := config.Raw.Section("extensions")
	if format := extensions.Option("objectFormat"); format != "" && !strings.EqualFold(format, "sha1") {
		return fmt.Errorf("%w: its objects have %s ids; make one with the default format (git init --object-format=sha1)", ErrFormat, format)
	}
	if refs := extensions.Option("refStorage"); refs != "" && !strings.EqualFold(refs, "files") {
		return fmt.Errorf("%w: its refs are stored as %s; convert it (git refs migrate --ref-format=files)", ErrFormat, refs)
	}
	return nil
}
