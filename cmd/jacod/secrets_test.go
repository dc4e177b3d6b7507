package main

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

func webReplica() string { return cluster.ReplicaID("0123456789abcdef", "shop", "web", 1, 1) }

// sealedState is a cluster of n1, which votes, and n2, which runs shop.
type sealedState struct {
	t     *testing.T
	state *cluster.State
	index uint64
	one   *member
	two   *member
}

func newSealedState(t *testing.T) *sealedState {
	t.Helper()
	state, err := cluster.NewState(cluster.NewMemoryObjects(), cluster.NewMemoryAudit())
	check(t, err)
	s := &sealedState{t: t, state: state}
	authority, err := identity.NewAuthority("0123456789abcdef", time.Now(), rand.Reader)
	check(t, err)
	node := func(name string) *member {
		id, err := identity.NewStore(filepath.Join(t.TempDir(), name), time.Now, rand.Reader).Create(authority, name)
		check(t, err)
		m := &member{state: state, identity: id, info: membership{Node: name}, logger: slog.New(slog.DiscardHandler)}
		m.units = &unitKeys{member: m, known: map[string]*identity.UnitKey{}}
		return m
	}
	s.one, s.two = node("n1"), node("n2")
	record := func(m *member, address string) cluster.Node {
		return cluster.Node{
			Name: m.info.Node, Address: address, CertificateKey: m.identity.KeyHash(), SealKey: m.identity.Recipient(), State: cluster.NodeReady,
		}
	}
	s.apply(&cluster.InitCluster{
		Meta: cluster.Meta{ID: "0123456789abcdef", Name: "test", CA: []byte("x"), Anchor: signing.Hash{1}, Repo: cluster.Repo{URL: "/r", Branch: "main"}},
		Node: record(s.one, "10.0.0.1:7000"),
	})
	s.apply(&cluster.UpdateNode{Node: record(s.two, "10.0.0.2:7000")})
	s.apply(&cluster.ApplyPlan{Create: []cluster.Replica{{
		ID: webReplica(), Deployment: "shop", Service: "web", Slot: 1, Serial: 1, Node: "n2", Revision: signing.Hash{1}, SpecHash: strings.Repeat("a", 64), Phase: cluster.Assigned,
	}}})
	return s
}

func (s *sealedState) apply(command cluster.Command) {
	s.t.Helper()
	s.index++
	data, err := cluster.Encode(cluster.Entry{Time: noTime.AddDate(2026, 0, 0), Actor: cluster.Actor{Kind: cluster.ActorNode, Name: "n1"}, Command: command})
	check(s.t, err)
	check(s.t, s.state.Apply(s.index, data).Err)
}

// TestUnitSecretOfAnOlderCluster is made by the leader, once, and not while init
// is under way.
func TestUnitSecretOfAnOlderCluster(t *testing.T) {
	s := newSealedState(t)
	voters := []string{"n1", "gone"}
	if got := lackUnitSecret(s.state.Read(), voters); len(got) != 0 {
		t.Errorf("in the middle of init: %v", got)
	}
	item, err := identity.Seal(sealedAuthority, []byte("key"), map[string]string{"n1": s.one.identity.Recipient()})
	check(t, err)
	s.apply(&cluster.PutSealed{Items: []cluster.SealedItem{item}})
	if _, err := s.one.derive("shop"); !errors.Is(err, rpc.ErrNotFound) {
		t.Errorf("before it is made: %v", err)
	}
	got := lackUnitSecret(s.state.Read(), voters)
	if diff := cmp.Diff(map[string]string{"n1": s.one.identity.Recipient()}, got); diff != "" {
		t.Errorf("sealed to (-want +got):\n%s", diff)
	}
	item, err = sealUnitSecret(got)
	check(t, err)
	s.apply(&cluster.PutSealed{Items: []cluster.SealedItem{item}})
	if got := lackUnitSecret(s.state.Read(), voters); len(got) != 0 {
		t.Errorf("made twice, for %v", got)
	}
	if key, err := s.one.derive("shop"); err != nil || !strings.HasPrefix(key.Recipient(), "age1") {
		t.Errorf("%v, %v", key, err)
	}
}

// TestUnitKeyIsForThoseWhoRunIt asks a voter in the name of each node.
func TestUnitKeyIsForThoseWhoRunIt(t *testing.T) {
	s := newSealedState(t)
	item, err := sealUnitSecret(map[string]string{"n1": s.one.identity.Recipient()})
	check(t, err)
	s.apply(&cluster.PutSealed{Items: []cluster.SealedItem{item}})
	voter, other := network{s.one}, network{s.two}
	key, err := voter.UnitKey(t.Context(), "n2", "shop")
	check(t, err)
	recipient, err := voter.Recipient(t.Context(), "shop")
	if err != nil || key.Recipient() != recipient {
		t.Errorf("the key of %v, the recipient %s, %v", key, recipient, err)
	}
	for _, asked := range []struct{ node, unit string }{{"n1", "shop"}, {"n3", "shop"}, {"n2", "blog"}} {
		if key, err := voter.UnitKey(t.Context(), asked.node, asked.unit); key != nil || !errors.Is(err, rpc.ErrForbidden) {
			t.Errorf("%s got the key of %s: %v", asked.node, asked.unit, err)
		}
	}
	if _, err := voter.UnitKey(t.Context(), "n2", rpc.ClusterUnit); err != nil {
		t.Errorf("the cluster's for a member: %v", err)
	}
	if key, err := other.UnitKey(t.Context(), "n2", "shop"); key != nil || !errors.Is(err, rpc.ErrNotFound) {
		t.Errorf("one that does not vote: %v, %v", key, err)
	}
	// What ran and runs no more is no reason.
	s.apply(&cluster.ReportReplicas{Node: "n2", Reports: []cluster.ReplicaReport{{ID: webReplica(), Phase: cluster.Failed}}})
	if key, err := voter.UnitKey(t.Context(), "n2", "shop"); key != nil || !errors.Is(err, rpc.ErrForbidden) {
		t.Errorf("after its replica ended n2 got %v, %v", key, err)
	}
}

// TestUnitKeysAreForgotten: what a node runs no more it has no key of.
func TestUnitKeysAreForgotten(t *testing.T) {
	s := newSealedState(t)
	item, err := sealUnitSecret(map[string]string{"n1": s.one.identity.Recipient(), "n2": s.two.identity.Recipient()})
	check(t, err)
	s.apply(&cluster.PutSealed{Items: []cluster.SealedItem{item}})
	for _, unit := range []string{"shop", rpc.ClusterUnit} {
		_, err := s.two.units.Key(t.Context(), unit)
		check(t, err)
	}
	if len(s.two.units.known) != 2 {
		t.Errorf("known: %v", s.two.units.known)
	}
	s.apply(&cluster.ReportReplicas{Node: "n2", Reports: []cluster.ReplicaReport{{ID: webReplica(), Phase: cluster.Failed}}})
	_, err = s.two.units.Key(t.Context(), rpc.ClusterUnit)
	check(t, err)
	if len(s.two.units.known) != 1 || s.two.units.known["shop"] != nil {
		t.Errorf("known: %v", s.two.units.known)
	}
}

// TestRecipientsAreForever: they are the same after a restart, and each unit has
// its own.
func TestRecipientsAreForever(t *testing.T) {
	n := newTestNode(t)
	n.start(t)
	if _, err := n.client.Recipient(t.Context(), "shop"); !errors.Is(err, rpc.ErrNotInitialized) {
		t.Errorf("before init: %v", err)
	}
	alice := rig.Must[*rig.Key](t)(rig.StartGit(t).NewSSHKey(t.Context(), "alice", "ed25519"))
	_, err := n.client.Init(t.Context(), &rpc.InitRequest{ClusterName: "test", Signers: []rpc.Signer{{Name: "alice", Key: []byte(alice.Public)}}})
	check(t, err)
	before := map[string]string{}
	for _, unit := range []string{"shop", "blog", rpc.ClusterUnit} {
		before[unit], err = n.client.Recipient(t.Context(), unit)
		check(t, err)
	}
	if before["shop"] == before["blog"] || before["shop"] == before[rpc.ClusterUnit] {
		t.Errorf("recipients: %v", before)
	}
	n.stop(t)
	n.start(t)
	for unit, want := range before {
		var got string
		n.eventually(t, "the recipient of "+unit, func() bool {
			var err error
			got, err = n.client.Recipient(t.Context(), unit)
			return err == nil
		})
		if got != want {
			t.Errorf("the recipient of %s was %s and is %s", unit, want, got)
		}
	}
	n.stop(t)
	if strings.Contains(n.log.String(), "AGE-SECRET-KEY") {
		t.Error("the log holds an identity")
	}
}
