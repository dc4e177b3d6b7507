package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/cluster"
)

const (
	// beatEvery is how often a node lets itself be heard.
	beatEvery = time.Second
	// beatTimeout bounds one heartbeat: a later one says more.
	beatTimeout = 2 * time.Second
	// engineGrace is how long the engine may take to answer a node that came up.
	engineGrace = 2 * time.Second
	// contactEvery is how often the end of the leader's log is asked for anew, so
	// that a back-dated entry is known for one.
	contactEvery = 30 * time.Second
)

// pulse sends this node's heartbeats to whoever leads.
type pulse struct {
	member *member
	since  time.Time // when it began
	// leader and asked are of the last contact.
	leader string
	term   uint64
	asked  time.Time
}

// run beats until ctx ends, and at once whenever what it says has changed.
func (p *pulse) run(ctx context.Context) error {
	p.since = p.member.clock()
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		views := p.member.verifier.Changed()
		p.beat(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-p.member.beatNow:
		case <-views:
		}
	}
}

// beat sends one heartbeat. One that does not arrive is no error: silence is
// what it then says.
func (p *pulse) beat(ctx context.Context) {
	m := p.member
	leader, _ := m.consensus.Leader()
	if leader == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	if leader == m.info.Node {
		if t := m.term.Load(); t != nil {
			t.beat(m.heartbeat())
		}
		return
	}
	// A node that has just come up knows nothing of its engine: what is recorded
	// of it is truer than that.
	if m.engineStatus.Load() != nil || m.clock().Sub(p.since) > engineGrace {
		if _, err := m.peers.Heartbeat(ctx, leader, m.heartbeat()); err != nil {
			m.logger.Debug("heartbeat did not arrive", "leader", leader, "error", err)
			return
		}
	}
	p.contact(ctx, leader)
}

// contact learns where the leader's log ends: what comes above is new, and once
// this node has come so far its state is current.
func (p *pulse) contact(ctx context.Context, leader string) {
	m, term, now := p.member, p.member.consensus.Term(), p.member.clock()
	if leader == p.leader && term == p.term && now.Sub(p.asked) < contactEvery {
		return
	}
	soft, err := m.peers.Soft(ctx, leader)
	if err != nil {
		m.logger.Debug("the leader does not say where its log ends", "leader", leader, "error", err)
		return
	}
	p.leader, p.term, p.asked = leader, term, now
	m.verifier.FollowSince(soft.Index, now)
	select {
	case <-m.goal: // nobody has looked at the earlier one
	default:
	}
	m.goal <- soft.Index // there is room, and nobody else sends
}

// awaitCurrent waits until the state holds what the cluster had committed when
// this node first heard of its leader: before, nothing is started and nothing is
// a stray.
func (m *member) awaitCurrent(ctx context.Context) error {
	goal, known := uint64(0), false
	for {
		changed := m.state.Changed()
		if known && m.state.Read().Index() >= goal {
			m.setCurrent.Do(func() { close(m.current) })
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.current:
			return nil
		case goal = <-m.goal: // a later leader's word counts: the one before may have lied
			known = true
		case <-changed:
		}
	}
}

// heartbeat is what this node says of itself.
func (m *member) heartbeat() cluster.Heartbeat {
	hb := cluster.Heartbeat{Node: m.info.Node, Version: version, Index: m.state.Read().Index(), SentAt: m.clock(), Stopping: m.stopping.Load()}
	if view := m.verifier.View(); view != nil {
		hb.Commit, hb.Claim, hb.Refusal = view.Commit, view.Claim, view.RefusalText()
	}
	if problem := m.verifier.Problem(); problem != nil {
		hb.Refusal = problem.Error()
	}
	if fault := m.consensus.Stats().Fault; fault != nil {
		hb.Fault = fault.Error()
	}
	hb.Reason = "the engine was not asked yet"
	if status := m.engineStatus.Load(); status != nil {
		hb.Ready, hb.Reason = status.Ready, status.Reason
		hb.CPU, hb.Memory = status.Info.CPU, status.Info.Memory
	}
	var err error
	if hb.CPUPressure, hb.MemoryPressure, err = agent.ReadPressure(os.DirFS("/proc")); err != nil {
		m.logger.Debug("cannot read the machine's pressure", "error", err)
	}
	return hb
}

// pokeBeat has a heartbeat sent at once.
func (m *member) pokeBeat() {
	select {
	case m.beatNow <- struct{}{}:
	default:
	}
}

// farewell announces a planned stop, so that nobody takes this node for lost.
func (m *member) farewell(ctx context.Context) {
	m.stopping.Store(true)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	leader, _ := m.consensus.Leader()
	t := m.term.Load()
	switch {
	case leader == "" || len(m.known()) < 2:
	case leader != m.info.Node:
		if _, err := m.peers.Heartbeat(ctx, leader, m.heartbeat()); err != nil {
			m.logger.Debug("the stop was not announced", "error", err)
		}
	case t != nil:
		t.beat(m.heartbeat())
		if err := t.assess(ctx); err != nil && !errors.Is(err, context.Canceled) {
			m.logger.Debug("the stop was not announced", "error", err)
		}
	}
}
