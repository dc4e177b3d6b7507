package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/consensus"
)

const (
	// probeTimeout bounds a second opinion.
	probeTimeout = 2 * time.Second
	// assessEvery is the least time between two looks at the nodes.
	assessEvery = 20 * time.Millisecond
	// lookEvery is how often a leader looks at the membership without a change:
	// who is caught up or has been down for long is soft state.
	lookEvery = time.Second
)

// term is what this node knows and does while it leads.
type term struct {
	member *member
	begun  time.Time
	wake   chan struct{}
	// assessing is held by whoever looks at the nodes and writes what it found.
	assessing sync.Mutex
	// leaving is since when the nodes that a commit removes are known to be; the
	// reconciler's alone.
	leaving map[string]time.Time

	mu        sync.Mutex // guards the fields below
	liveness  *cluster.Liveness
	massUntil time.Time
}

func newTerm(m *member) (*term, error) {
	config := cluster.DefaultLivenessConfig()
	config.Self = m.info.Node
	now := m.clock()
	liveness, err := cluster.NewLiveness(config, now)
	if err != nil {
		return nil, err
	}
	return &term{member: m, begun: now, liveness: liveness, wake: make(chan struct{}, 1)}, nil
}

// lead does the leader's work in each term of this node.
func (m *member) lead(ctx context.Context) error {
	return m.consensus.WhileLeader(ctx, func(ctx context.Context) error {
		// The state holds everything committed before this term.
		m.verifier.FollowLive(m.state.Read().Index())
		m.setCurrent.Do(func() { close(m.current) })
		t, err := newTerm(m)
		if err != nil {
			return err
		}
		if m.engineStatus.Load() != nil {
			t.beat(m.heartbeat())
		}
		m.term.Store(t)
		defer m.term.CompareAndSwap(t, nil)
		group, ctx := errgroup.WithContext(ctx)
		for _, part := range []func(context.Context) error{t.watch, t.schedule, t.reconcile, t.tell, m.syncRemote} {
			group.Go(func() error { return part(ctx) })
		}
		return group.Wait()
	})
}

// beat takes in what a node says of itself.
func (t *term) beat(hb cluster.Heartbeat) {
	t.mu.Lock()
	t.liveness.Beat(hb, t.member.clock())
	t.mu.Unlock()
	t.poke()
}

func (t *term) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// soft is what was heard of the nodes.
func (t *term) soft() map[string]cluster.NodeSoft {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.liveness.Soft(t.member.clock())
}

func (t *term) massLossUntil() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.massUntil
}

// status is what this leader knows and the log does not carry.
func (t *term) status() *cluster.LeaderStatus {
	m := t.member
	status := &cluster.LeaderStatus{Leader: m.info.Node, Index: m.state.Read().Index(), Nodes: t.soft(), MassLossUntil: t.massLossUntil()}
	if syncer := m.syncer.Load(); syncer != nil {
		soft := syncer.Status()
		status.Head, status.FetchedAt, status.Fetching = soft.Head, soft.FetchedAt, soft.Fetching
	}
	return status
}

// watch turns heartbeats, and their absence, into the states of nodes.
func (t *term) watch(ctx context.Context) error {
	probes, probing := errgroup.WithContext(ctx)
	defer func() { _ = probes.Wait() }() // a probe has no error of its own
	for {
		changed := t.member.state.Changed()
		next, wanted, err := t.look(ctx)
		if err != nil {
			return err
		}
		for _, p := range wanted {
			probes.Go(func() error {
				t.probe(probing, p)
				return nil
			})
		}
		looked := time.Now()
		timer := time.NewTimer(max(t.until(next), assessEvery))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-changed:
		case <-t.wake:
		case <-timer.C:
		}
		timer.Stop()
		if early := assessEvery - time.Since(looked); early > 0 && !pause(ctx, early) {
			return ctx.Err()
		}
	}
}

// until is how long to wait for a moment; none never comes, and is not now.
func (t *term) until(next time.Time) time.Duration {
	if next.IsZero() {
		return math.MaxInt64
	}
	return max(next.Sub(t.member.clock()), 0)
}

// assess looks once, for who cannot wait for the loop.
func (t *term) assess(ctx context.Context) error {
	_, _, err := t.look(ctx)
	return err
}

// look assesses the nodes and writes what has changed. It returns when to look
// again by the clock alone, and whom to ask about whom.
func (t *term) look(ctx context.Context) (next time.Time, probes []cluster.Probe, err error) {
	t.assessing.Lock()
	defer t.assessing.Unlock()
	m := t.member
	nodes := m.state.Read().Nodes()
	t.mu.Lock()
	found := t.liveness.Assess(m.clock(), nodes)
	// The scheduler must know of a pause before the state says why.
	t.massUntil = found.MassLossUntil
	t.mu.Unlock()
	for _, node := range found.Updates {
		err := m.proposeHere(ctx, &cluster.UpdateNode{Node: node, Expect: node.ModifyIndex})
		if err != nil && !errors.Is(err, cluster.ErrConflict) {
			return next, nil, fmt.Errorf("record the state of node %s: %w", node.Name, err)
		}
		m.logger.Info("node state", "node", node.Name, "state", string(node.State), "reason", node.Reason)
	}
	if len(found.Events) > 0 {
		if err := m.proposeHere(ctx, &cluster.RecordEvents{Events: found.Events}); err != nil {
			return next, nil, fmt.Errorf("record events: %w", err)
		}
	}
	return found.NextAt, found.Probes, nil
}

// probe asks for a second opinion. A node that gives none has none.
func (t *term) probe(ctx context.Context, p cluster.Probe) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	answers, err := t.member.peers.Probe(ctx, p.By, p.Node)
	if err != nil {
		t.member.logger.Debug("no second opinion", "node", p.Node, "by", p.By, "error", err)
		return
	}
	t.mu.Lock()
	t.liveness.Confirm(p.Node, p.By, answers, t.member.clock())
	t.mu.Unlock()
	t.poke()
}

// reconcile brings who takes part in consensus, and who may open what is
// sealed, in line with the member table.
func (t *term) reconcile(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		changed := t.member.state.Changed()
		again, err := t.step(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, consensus.ErrMembershipChanged), errors.Is(err, consensus.ErrNotTransferred), errors.Is(err, consensus.ErrUncertain),
			errors.Is(err, consensus.ErrBusy), errors.Is(err, cluster.ErrConflict):
			t.member.logger.Debug("membership is looked at again", "error", err)
		case errors.Is(err, consensus.ErrNotLeader):
			return err
		case err != nil:
			t.member.logger.Warn("membership cannot be changed", "error", err)
		case again:
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-ticker.C:
		}
	}
}
