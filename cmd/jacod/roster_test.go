package main

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/signing"
)

// TestKnown: a node that has started knows those that it knew before, or nobody
// of a cluster that stood still could be elected; once its state is current,
// that alone counts.
func TestKnown(t *testing.T) {
	state, err := cluster.NewState(cluster.NewMemoryObjects(), cluster.NewMemoryAudit())
	check(t, err)
	m := &member{state: state, current: make(chan struct{}), logger: slog.New(slog.DiscardHandler), config: Config{DataDir: t.TempDir()}}
	key := func(name, address string, key byte) rpc.MemberKey {
		return rpc.MemberKey{Name: name, Address: address, Key: [32]byte{key}}
	}
	m.saved.Store(&membership{Node: "n1", Joining: true, Peers: []rpc.MemberKey{key("n1", "a:7000", 1), key("n2", "b:7000", 2)}})
	knows := func(when string, want ...rpc.MemberKey) {
		t.Helper()
		if diff := cmp.Diff(want, m.known()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	index := uint64(0)
	apply := func(command cluster.Command) {
		t.Helper()
		index++
		data, err := cluster.Encode(cluster.Entry{Time: noTime.AddDate(2026, 0, 0), Actor: cluster.Actor{Kind: cluster.ActorNode, Name: "n1"}, Command: command})
		check(t, err)
		check(t, state.Apply(index, data).Err)
	}
	node := func(k rpc.MemberKey) cluster.Node {
		return cluster.Node{Name: k.Name, Address: k.Address, CertificateKey: k.Key, State: cluster.NodeReady}
	}
	knows("at the start", key("n1", "a:7000", 1), key("n2", "b:7000", 2))
	apply(&cluster.InitCluster{
		Meta: cluster.Meta{ID: "0123456789abcdef", Name: "test", CA: []byte("x"), Anchor: signing.Hash{1}, Repo: cluster.Repo{URL: "/r", Branch: "main"}},
		Node: node(key("n1", "old:7000", 1)),
	})
	apply(&cluster.UpdateNode{Node: node(key("n3", "c:7000", 3))})
	knows("on the way", key("n1", "a:7000", 1), key("n2", "b:7000", 2), key("n3", "c:7000", 3))
	m.setCurrent.Do(func() { close(m.current) })
	knows("when it is current", key("n1", "old:7000", 1), key("n3", "c:7000", 3))

	m.saveMembers(m.known())
	saved, err := loadMembership(m.config.DataDir)
	check(t, err)
	if diff := cmp.Diff(membership{Node: "n1", Peers: m.known()}, saved); diff != "" {
		t.Errorf("saved (-want +got):\n%s", diff)
	}
}

// TestALiarKeepsNobodyWaiting: a node that was told by a lying leader how far the
// log is, is current as soon as it is as far as the next one says.
func TestALiarKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state, err := cluster.NewState(cluster.NewMemoryObjects(), cluster.NewMemoryAudit())
		check(t, err)
		m := &member{state: state, goal: make(chan uint64, 1), current: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = m.awaitCurrent(ctx) }()
		m.goal <- 1 << 60
		synctest.Wait()
		if m.isCurrent() {
			t.Fatal("it is current before it is as far")
		}
		m.goal <- 0
		synctest.Wait()
		if !m.isCurrent() {
			t.Error("it still waits for what the liar said")
		}
	})
}
