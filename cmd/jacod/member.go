package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/agent/docker"
	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/consensus"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/gitsync"
	"github.com/jaco-sh/jaco/scheduler"
)

// member is this node as part of a cluster: its stores, and the loops that
// work on them.
type member struct {
	config Config
	info   membership
	logger *slog.Logger
	clock  func() time.Time

	identity  *identity.Identity
	objects   *cluster.DiskObjects
	audit     *cluster.DirAudit
	state     *cluster.State
	consensus *consensus.Consensus
	verifier  *verifier.Verifier
	agent     *agent.Agent
	engine    *docker.Engine
	control   *rpc.Listener

	// syncer is set while this node leads.
	syncer atomic.Pointer[gitsync.Syncer]
	// current is closed once the state holds what the cluster had committed
	// when this node came up: before, nothing is started and nothing is a stray.
	current    chan struct{}
	setCurrent sync.Once
	misbehaved chan cluster.Event
}

// newIdentityStore opens the node's keys.
func newIdentityStore(dataDir string, clock func() time.Time) *identity.Store {
	return identity.NewStore(filepath.Join(dataDir, identityDirectory), clock, rand.Reader)
}

// openMember opens every store of a member and wires its parts; nothing runs
// before Run.
func openMember(ctx context.Context, config Config, logger *slog.Logger, clock func() time.Time, info membership) (*member, error) {
	m := &member{
		config: config, info: info, logger: logger, clock: clock, current: make(chan struct{}), misbehaved: make(chan cluster.Event, 64),
	}
	if err := m.open(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *member) open(ctx context.Context) (err error) {
	dir := func(name string) string { return filepath.Join(m.config.DataDir, name) }
	if m.identity, err = newIdentityStore(m.config.DataDir, m.clock).Load(); err != nil {
		return err
	}
	if m.objects, err = cluster.OpenObjects(dir(objectsFile)); err != nil {
		return err
	}
	if m.audit, err = cluster.OpenAudit(dir(auditDirectory)); err != nil {
		return err
	}
	if m.state, err = cluster.NewState(m.objects, m.audit); err != nil {
		return err
	}
	m.verifier, err = verifier.Open(verifier.Config{
		Directory: dir(trustDirectory), State: m.state, Objects: m.objects, Branch: m.info.Branch,
		Now: m.clock, Logger: m.logger.With("component", "verifier"), Misbehaviour: m.noteMisbehaviour,
	})
	if err != nil {
		return err
	}
	if err := m.openConsensus(ctx, dir(raftDirectory)); err != nil {
		return err
	}
	return m.openAgent()
}

func (m *member) openConsensus(ctx context.Context, directory string) (err error) {
	m.control, err = rpc.Listen(ctx, m.config.Listen, m.identity.ServerConfig(m.memberName), m.logger.With("component", "control"))
	if err != nil {
		return err
	}
	settings := consensus.DefaultConfig()
	settings.Dir, settings.Node, settings.Address = directory, m.info.Node, m.info.Address
	settings.Clock, settings.Logger = m.clock, m.logger
	for _, timer := range []struct {
		to   *time.Duration
		from time.Duration
	}{
		{&settings.Heartbeat, m.config.Raft.Heartbeat}, {&settings.Election, m.config.Raft.Election},
		{&settings.Lease, m.config.Raft.Lease}, {&settings.CommitTimeout, m.config.Raft.Commit},
	} {
		if timer.from != 0 {
			*timer.to = timer.from
		}
	}
	m.consensus, err = consensus.New(settings, m.state, consensus.Stream{Listener: m.control.Raft(), Dial: rpc.Dialer(m.dialConfig)})
	return err
}

func (m *member) openAgent() (err error) {
	if m.engine, err = docker.New(m.config.Engine, m.info.Cluster); err != nil {
		return err
	}
	m.agent, err = agent.New(agent.Deps{
		Engine: m.engine, State: agentState{m.state}, Views: m.verifier, Reporter: &reporter{member: m},
		Ready: m.current, Log: m.logger.With("component", "agent"),
	}, agent.DefaultConfig(m.info.Node, m.info.Cluster))
	return err
}

// Close closes what open opened. Run does it by itself.
func (m *member) Close() error {
	var errs []error
	if m.control != nil {
		errs = append(errs, m.control.Close())
	}
	if m.engine != nil {
		errs = append(errs, m.engine.Close())
	}
	if m.objects != nil {
		errs = append(errs, m.objects.Close())
	}
	return errors.Join(errs...)
}

// Run works until ctx ends, or until a part fails that the member cannot go on
// without. Containers run on.
func (m *member) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context) error{
		m.control.Run, m.consensus.Run, m.verifier.Run, m.agent.Run, m.serveMembers, m.lead, m.reportMisbehaviour,
	} {
		group.Go(func() error { return part(ctx) })
	}
	err := group.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, m.Close())
}

// serveMembers answers other nodes on the control port.
func (m *member) serveMembers(ctx context.Context) error {
	return rpc.ServeNetwork(ctx, m.control, rpc.Network{
		Identity: m.identity, Members: m.memberName,
		Log: unwiredLog{}, Liveness: unwired{}, Sync: unwired{}, Data: unwired{}, Join: unwired{}, Tokens: unwired{},
		Control: rpc.NewServer(nil, nil), // no token is good, so that nobody reads
	})
}

// lead does the leader's work in each term of this node.
func (m *member) lead(ctx context.Context) error {
	return m.consensus.WhileLeader(ctx, func(ctx context.Context) error {
		// The state holds everything committed before this term.
		index := m.state.Read().Index()
		m.verifier.FollowLive(index)
		m.setCurrent.Do(func() { close(m.current) })
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return m.schedule(ctx) })
		group.Go(func() error { return m.sync(ctx) })
		return group.Wait()
	})
}

func (m *member) schedule(ctx context.Context) error {
	config := scheduler.DefaultConfig()
	config.Clock = m.clock
	s, err := scheduler.New(m.state, m.verifier, proposer{m}, m.logger.With("component", "scheduler"), config)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// sync follows the repository for one term. The repository is known from the
// first entry on; its credential is sealed in state to the voters.
func (m *member) sync(ctx context.Context) error {
	meta, err := m.waitMeta(ctx)
	if err != nil {
		return nil // the term ended first
	}
	repository := gitsync.Repository{URL: meta.Repo.URL, Branch: meta.Repo.Branch}
	repository.Credentials.KnownHosts = meta.Repo.KnownHosts
	if item, found := m.state.Read().Sealed(sealedCredential); found {
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

// poke wakes the sync, if it is this node's.
func (m *member) poke() {
	if syncer := m.syncer.Load(); syncer != nil {
		syncer.Poke()
	}
}

// notReady says why this node cannot run replicas.
func (m *member) notReady() string {
	select {
	case <-m.current:
	default:
		return "the cluster's state is not known yet"
	}
	if fault := m.consensus.Stats().Fault; fault != nil {
		return fault.Error()
	}
	if m.verifier.View() == nil {
		return "the accepted state is not compiled yet"
	}
	node, found := m.state.Read().Node(m.info.Node)
	switch {
	case !found:
		return "this node is not a member"
	case node.State != cluster.NodeReady:
		return fmt.Sprintf("%s: %s", node.State, node.Reason)
	}
	return ""
}

// propose puts a command into the log in this node's name.
func (m *member) propose(ctx context.Context, command cluster.Command) error {
	_, err := m.consensus.Propose(ctx, cluster.Actor{Kind: cluster.ActorNode, Name: m.info.Node}, command)
	return err
}

// memberName implements identity.MemberCheck over the member table; the node
// knows itself before the table does.
func (m *member) memberName(keyHash [32]byte) (string, bool) {
	if keyHash == m.identity.KeyHash() {
		return m.info.Node, true
	}
	for _, node := range m.state.Read().Nodes() {
		if node.CertificateKey == keyHash {
			return node.Name, true
		}
	}
	return "", false
}

// dialConfig is how this node proves itself to the one with the given address,
// and whom it expects there.
func (m *member) dialConfig(address string) (*tls.Config, error) {
	for _, node := range m.state.Read().Nodes() {
		if node.Address == address {
			return m.identity.ClientConfig(node.Name, identity.ProtocolRaft, m.memberName), nil
		}
	}
	return nil, fmt.Errorf("dial %s: no member has this address", address)
}
