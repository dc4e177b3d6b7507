package main

import (
	"context"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// This file is about who is a member, as far as this node knows. The state says
// it. But a node that has started has an empty state until somebody leads, and
// nobody is elected by nodes that do not let each other in; and a log on its way
// says who was a member long ago. So until the state is current, what was saved
// of an earlier one, or told at the join, counts as well.

// memberName implements identity.MemberCheck over the members; the node knows
// itself in any case.
func (m *member) memberName(keyHash [32]byte) (string, bool) {
	if keyHash == m.identity.KeyHash() {
		return m.info.Node, true
	}
	for _, peer := range m.known() {
		if peer.Key == keyHash {
			return peer.Name, true
		}
	}
	return "", false
}

// known are the members.
func (m *member) known() []rpc.MemberKey {
	nodes := memberKeys(m.state.Read().Nodes())
	if m.isCurrent() {
		return nodes
	}
	known := m.saved.Load().Peers
	names := map[string]bool{}
	for _, peer := range known {
		names[peer.Name] = true
	}
	for _, node := range nodes {
		if !names[node.Name] { // otherwise what was saved is newer
			known = append(known[:len(known):len(known)], node)
		}
	}
	return known
}

func memberKeys(nodes []cluster.Node) []rpc.MemberKey {
	keys := make([]rpc.MemberKey, len(nodes))
	for i := range nodes {
		keys[i] = rpc.MemberKey{Name: nodes[i].Name, Address: nodes[i].Address, Key: nodes[i].CertificateKey}
	}
	return keys
}

// watchMembers cuts off who is a member no more, on both ends, and saves who is
// one.
func (m *member) watchMembers(ctx context.Context) error {
	var before []rpc.MemberKey
	current := m.current
	for {
		changed := m.state.Changed()
		now := m.known()
		if !sameMembers(before, now) {
			before = now
			names := make([]string, len(now))
			for i := range now {
				names[i] = now[i].Name
			}
			m.control.Recheck()
			m.peers.Keep(names)
		}
		if m.isCurrent() {
			m.saveMembers(now)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-current:
			current = nil
		}
	}
}

// saveMembers saves the members where they are others than before. By that this
// node also forgets that it was given an empty log when it joined: from then on
// an empty one is a lost one. It is tried again with the next entry of the log.
func (m *member) saveMembers(now []rpc.MemberKey) {
	saved := *m.saved.Load()
	if !saved.Joining && sameMembers(saved.Peers, now) {
		return
	}
	saved.Joining, saved.Peers = false, now
	if err := saveMembership(m.config.DataDir, saved); err != nil {
		m.logger.Warn("who is a member cannot be saved", "error", err)
		return
	}
	m.saved.Store(&saved)
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
