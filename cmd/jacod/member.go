package main

import (
	"context"
	"crypto/rand"
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
	"github.com/jaco-sh/jaco/agent/tmpfs"
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
	saved  atomic.Pointer[membership] // as it stands on disk, with who was a member last
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
	units     *unitKeys
	control   *rpc.Listener
	peers     *rpc.Peers
	operator  *rpc.Server // of the local socket; readers from afar reach half of it

	// yielded is when this node last handed the leadership over for its disk; the
	// leader's alone.
	yielded time.Time
	// syncer is set while this node follows the repository.
	syncer atomic.Pointer[gitsync.Syncer]
	// term is set while this node leads and has applied what came before.
	term atomic.Pointer[term]
	// engineStatus is what the agent said last of its engine.
	engineStatus atomic.Pointer[agent.NodeStatus]
	beatNow      chan struct{} // has a heartbeat sent at once
	stopping     atomic.Bool
	goal         chan uint64 // the index at which this node is current
	pokes        chan struct{}
	// current is closed once the state holds what the cluster had committed
	// when this node came up: before, nothing is started and nothing is a stray.
	current    chan struct{}
	setCurrent sync.Once
	misbehaved chan struct{}
	planning   chan struct{} // holds a token while a plan is made for a reader
}

// newIdentityStore opens the node's keys.
func newIdentityStore(dataDir string, clock func() time.Time) *identity.Store {
	return identity.NewStore(filepath.Join(dataDir, identityDirectory), clock, rand.Reader)
}

// openMember opens every store of a member and wires its parts; nothing runs
// before Run.
func openMember(ctx context.Context, config Config, logger *slog.Logger, clock func() time.Time, info membership, operator *rpc.Server) (*member, error) {
	m := &member{
		config: config, info: info, logger: logger, clock: clock, operator: operator,
		current: make(chan struct{}), misbehaved: make(chan struct{}, 1), beatNow: make(chan struct{}, 1), goal: make(chan uint64, 1),
		pokes: make(chan struct{}, 1), planning: make(chan struct{}, 1),
	}
	m.units = &unitKeys{member: m, known: map[string]*identity.UnitKey{}}
	m.saved.Store(&info)
	m.peers = rpc.NewPeers(m.peerConfig, logger.With("component", "peers"))
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
	settings.Join = m.info.Joining
	m.consensus, err = consensus.New(settings, m.state, consensus.Stream{Listener: m.control.Raft(), Dial: rpc.Dialer(m.raftConfig)})
	return err
}

func (m *member) openAgent() (err error) {
	if m.engine, err = docker.New(m.config.Engine, m.info.Cluster); err != nil {
		return err
	}
	m.agent, err = agent.New(agent.Deps{
		Engine: m.engine, State: agentState{m.state}, Views: m.verifier, Reporter: &reporter{member: m},
		Keys: m.units, SecretFiles: tmpfs.New(m.secretsDirectory()), Ready: m.current, Log: m.logger.With("component", "agent"), Misbehaviour: m.noteAssignment,
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
	// The parts outlive ctx by the time that a farewell takes.
	partsContext, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, partsContext := errgroup.WithContext(partsContext)
	for _, part := range []func(context.Context) error{
		m.control.Run, m.peers.Run, m.consensus.Run, m.verifier.Run, m.agent.Run, m.serveMembers, m.lead,
		(&pulse{member: m}).run, m.awaitCurrent, m.watchMembers, m.syncOwn, m.passPokes, m.fetchSegments, m.renew, m.reportMisbehaviour,
	} {
		group.Go(func() error { return part(partsContext) })
	}
	select {
	case <-ctx.Done():
		m.farewell(context.WithoutCancel(ctx))
		stop()
	case <-partsContext.Done():
	}
	err := group.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, m.Close())
}

func (t *term) schedule(ctx context.Context) error {
	m, config := t.member, scheduler.DefaultConfig()
	config.Clock, config.MassLossUntil = m.clock, t.massLossUntil
	s, err := scheduler.New(m.state, m.verifier, proposer{m}, m.logger.With("component", "scheduler"), config)
	if err != nil {
		return err
	}
	return s.Run(ctx)
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
