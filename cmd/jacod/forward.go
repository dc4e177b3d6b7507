package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/consensus"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// askAgain is the pause before a leader is looked for again that did not answer
// or has just lost the leadership.
const askAgain = 100 * time.Millisecond

// propose puts a command into the log in this node's name, by whoever leads,
// and waits until this node has applied it. It is tried again until ctx ends
// while there is no leader: what a node says of itself may be said twice.
func (m *member) propose(ctx context.Context, command cluster.Command) error {
	for {
		leader, _, err := m.consensus.WaitLeader(ctx)
		if err != nil {
			return err
		}
		if err = m.proposeTo(ctx, leader, command); !passing(err) {
			return err
		}
		m.logger.Debug("proposal is tried again", "kind", string(command.Kind()), "leader", leader, "error", err)
		if !pause(ctx, askAgain) {
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}

func (m *member) proposeTo(ctx context.Context, leader string, command cluster.Command) error {
	if leader == m.info.Node {
		return m.proposeHere(ctx, command)
	}
	result, err := m.peers.Propose(ctx, leader, cluster.Entry{Time: m.clock(), Actor: m.actor(), Command: command})
	if err != nil {
		return err
	}
	return m.waitApplied(ctx, result.Index)
}

// proposeHere is for what only a leader proposes: it does not look for another.
func (m *member) proposeHere(ctx context.Context, command cluster.Command) error {
	_, err := m.consensus.Propose(ctx, m.actor(), command)
	return err
}

func (m *member) actor() cluster.Actor {
	return cluster.Actor{Kind: cluster.ActorNode, Name: m.info.Node}
}

// passing reports whether another leader, or the same in a moment, may well
// take what was refused with err.
func passing(err error) bool {
	return errors.Is(err, consensus.ErrNotLeader) || errors.Is(err, consensus.ErrUncertain) || errors.Is(err, consensus.ErrBusy) ||
		errors.Is(err, consensus.ErrDisk) || errors.Is(err, rpc.ErrNotLeader) || errors.Is(err, rpc.ErrUnreachable)
}

// waitApplied waits until this node has applied an index of the log.
func (m *member) waitApplied(ctx context.Context, index uint64) error {
	for {
		changed := m.state.Changed()
		if m.state.Read().Index() >= index {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for entry %d of the log: %w", index, context.Cause(ctx))
		case <-changed:
		}
	}
}

// pause returns false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// notLeader says to another node who leads.
func (m *member) notLeader() error {
	leader, _ := m.consensus.Leader()
	if leader == m.info.Node {
		leader = "" // it leads, and is not ready to
	}
	return &rpc.NotLeaderError{Leader: leader}
}

// memberName implements identity.MemberCheck over the member table; the node
// knows itself before the table does, and those who bring it the table by what
// it was told when it joined.
func (m *member) memberName(keyHash [32]byte) (string, bool) {
	if keyHash == m.identity.KeyHash() {
		return m.info.Node, true
	}
	nodes := m.state.Read().Nodes()
	for i := range nodes {
		if nodes[i].CertificateKey == keyHash {
			return nodes[i].Name, true
		}
	}
	if len(nodes) == 0 {
		for _, peer := range m.info.Peers {
			if peer.Key == keyHash {
				return peer.Name, true
			}
		}
	}
	return "", false
}

// raftConfig is how this node proves itself to the one with the given address,
// and whom it expects there.
func (m *member) raftConfig(address string) (*tls.Config, error) {
	for _, peer := range m.known() {
		if peer.Address == address {
			return m.identity.ClientConfig(peer.Name, identity.ProtocolRaft, m.memberName), nil
		}
	}
	return nil, fmt.Errorf("dial %s: no member has this address", address)
}

// peerConfig says where a member is and how to know it.
func (m *member) peerConfig(node string) (address string, config *tls.Config, err error) {
	for _, peer := range m.known() {
		if peer.Name == node {
			return peer.Address, m.identity.ClientConfig(node, identity.ProtocolGRPC, m.memberName), nil
		}
	}
	return "", nil, fmt.Errorf("node %s: %w", node, identity.ErrNotMember)
}

// known are the members as far as this node knows them.
func (m *member) known() []rpc.MemberKey {
	nodes := m.state.Read().Nodes()
	if len(nodes) == 0 {
		return m.info.Peers
	}
	return memberKeys(nodes)
}

func memberKeys(nodes []cluster.Node) []rpc.MemberKey {
	keys := make([]rpc.MemberKey, len(nodes))
	for i := range nodes {
		keys[i] = rpc.MemberKey{Name: nodes[i].Name, Address: nodes[i].Address, Key: nodes[i].CertificateKey}
	}
	return keys
}

// watchMembers cuts off who is a member no more, on both ends.
func (m *member) watchMembers(ctx context.Context) error {
	var before []rpc.MemberKey
	for {
		changed := m.state.Changed()
		if now := m.known(); !sameMembers(before, now) {
			before = now
			names := make([]string, len(now))
			for i := range now {
				names[i] = now[i].Name
			}
			m.control.Recheck()
			m.peers.Keep(names)
			m.pokeBeat() // who has just come is heard at once
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func sameMembers(a, b []rpc.MemberKey) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
