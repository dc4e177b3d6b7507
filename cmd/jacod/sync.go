package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/gitsync"
)

// errNoSync is returned while no node follows the repository.
var errNoSync = errors.New("no node follows the repository right now")

// syncRemote follows a repository that every node reaches, for one term of this
// leader.
func (m *member) syncRemote(ctx context.Context) error {
	meta, err := m.waitMeta(ctx)
	if err != nil || meta.Repo.Owner != "" {
		return nil // the term ended first, or its owner follows it
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.follow(ctx, meta) })
	group.Go(func() error { return m.makeWay(ctx) })
	return group.Wait()
}

const (
	// lookAtSync is how often it is looked whether this node's disk keeps it from
	// following the repository.
	lookAtSync = time.Second
	// keepAfterYield is how long a leader that made way, and leads again, does not
	// make way: the others' disks are no better.
	keepAfterYield = 5 * time.Minute
)

// makeWay hands the leadership over when this node cannot follow the repository
// for its own disk: the log may still find room where the mirror finds none.
func (m *member) makeWay(ctx context.Context) error {
	for pause(ctx, lookAtSync) {
		syncer, now := m.syncer.Load(), m.clock()
		if syncer == nil || !gitsync.OwnDisk(syncer.Status().LastError) || now.Sub(m.yielded) < keepAfterYield {
			continue
		}
		if err := m.consensus.LeadershipTransfer(ctx); err != nil {
			m.logger.Debug("the leadership was not handed over", "error", err)
			continue
		}
		m.yielded = now
		m.logger.Warn("handed the leadership over: this node's disk keeps it from following the repository", "error", syncer.Status().LastError)
	}
	return nil
}

// syncOwn follows a repository of this machine, whoever leads: evidence
// verifies itself, whoever brings it.
func (m *member) syncOwn(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-m.current:
	}
	meta, err := m.waitMeta(ctx)
	if err != nil || meta.Repo.Owner != m.info.Node {
		return nil
	}
	return m.follow(ctx, meta)
}

// follow runs a sync. The repository's credential is sealed in state to the
// voters.
func (m *member) follow(ctx context.Context, meta *cluster.Meta) error {
	repository := gitsync.Repository{URL: meta.Repo.URL, Branch: meta.Repo.Branch}
	repository.Credentials.KnownHosts = meta.Repo.KnownHosts
	if item, found := m.state.Read().Sealed(sealedCredential); found && meta.Repo.Owner == "" {
		plaintext, err := m.identity.Open(item)
		if err != nil {
			return fmt.Errorf("open the repository's credential: %w", err)
		}
		if err := decodeCredential(plaintext, &repository.Credentials); err != nil {
			return err
		}
	}
	settings := gitsync.DefaultConfig()
	settings.Repository = repository
	settings.Directory = filepath.Join(m.config.DataDir, mirrorDirectory)
	settings.Logger = m.logger.With("component", "sync")
	settings.Interval = m.syncInterval
	syncer, err := gitsync.New(settings, judge{m.verifier}, &syncLog{member: m})
	if err != nil {
		return err
	}
	m.syncer.Store(syncer)
	defer m.syncer.Store(nil)
	return syncer.Run(ctx)
}

func (m *member) syncInterval() time.Duration {
	if view := m.verifier.View(); view != nil {
		return view.Cluster.SyncInterval
	}
	return 0
}

// waitMeta waits for the last entry of genesis, which comes after the first
// election: it seals what the sync needs.
func (m *member) waitMeta(ctx context.Context) (*cluster.Meta, error) {
	for {
		changed := m.state.Changed()
		snapshot := m.state.Read()
		if _, sealed := snapshot.Sealed(sealedAuthority); sealed && snapshot.Meta() != nil {
			return snapshot.Meta(), nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// syncNode names the node that follows the repository; "" when none does.
func (m *member) syncNode() string {
	meta := m.state.Read().Meta()
	if meta != nil && meta.Repo.Owner != "" {
		return meta.Repo.Owner
	}
	leader, _ := m.consensus.Leader()
	return leader
}

// poke wakes the sync, wherever it is, and does not wait for that.
func (m *member) poke() {
	if syncer := m.syncer.Load(); syncer != nil {
		syncer.Poke()
		return
	}
	select {
	case m.pokes <- struct{}{}:
	default: // one that waits says as much
	}
}

// pokeTimeout bounds passing on that there is something new: the poll finds it
// later.
const pokeTimeout = 5 * time.Second

// passPokes tells the node that follows the repository what this one was told.
func (m *member) passPokes(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.pokes:
			m.passPoke(ctx)
		}
	}
}

func (m *member) passPoke(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pokeTimeout)
	defer cancel()
	for {
		if syncer := m.syncer.Load(); syncer != nil {
			syncer.Poke()
			return
		}
		if node := m.syncNode(); node != "" && node != m.info.Node {
			err := m.peers.Poke(ctx, node)
			if err == nil {
				return
			}
			m.logger.Debug("the sync was not told", "node", node, "error", err)
		}
		if !pause(ctx, askAgain) {
			return
		}
	}
}

// refresh asks the sync, wherever it is, and waits for it for as long as ctx
// allows: between two leaders there is none.
func (m *member) refresh(ctx context.Context, revision string) (head string, contains bool, err error) {
	for {
		node := m.syncNode()
		switch node {
		case "":
			err = errNoSync
		case m.info.Node:
			head, contains, err = m.refreshHere(ctx, revision)
		default:
			head, contains, err = m.peers.Refresh(ctx, node, revision)
		}
		if !passing(err) && !errors.Is(err, errNoSync) && !errors.Is(err, gitsync.ErrNotRunning) {
			return head, contains, err
		}
		if !pause(ctx, askAgain) {
			return "", false, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}

// refreshHere asks this node's own sync.
func (m *member) refreshHere(ctx context.Context, revision string) (string, bool, error) {
	syncer := m.syncer.Load()
	if syncer == nil {
		return "", false, m.notLeaderOrOwner()
	}
	head, err := syncer.Refresh(ctx)
	if err != nil {
		return "", false, err
	}
	contains := false
	if revision != "" {
		if contains, err = syncer.Contains(head, revision); err != nil {
			return "", false, err
		}
	}
	return head.String(), contains, nil
}

// notLeaderOrOwner says that this node does not follow the repository, in words
// that make the asker look for who does.
func (m *member) notLeaderOrOwner() error {
	if m.syncNode() == m.info.Node {
		return errNoSync // in a moment it does
	}
	return m.notLeader()
}
