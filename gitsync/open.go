package gitsync

import (
	"context"
	"errors"

	"github.com/jaco-sh/jaco/signing"
)

// Opened is a repository that was fetched once, for bootstrap init.
type Opened struct {
	*Mirror
	head signing.Hash
}

// OpenSource fetches a repository into the directory, with the default limits,
// and gives its objects. What was fetched serves a later Syncer with the same
// directory. The caller closes it.
func OpenSource(ctx context.Context, r Repository, directory string) (*Opened, error) {
	config := DefaultConfig()
	config.Repository, config.Directory = r, directory
	m, err := OpenMirror(config)
	if err != nil {
		return nil, err
	}
	head, err := m.Fetch(ctx)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return &Opened{Mirror: m, head: head}, nil
}

// Head is the branch's commit at the time of the fetch.
func (o *Opened) Head() signing.Hash { return o.head }
