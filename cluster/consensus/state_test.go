package consensus

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jaco-sh/jaco/cluster"
)

// The real state, through the log, a snapshot and a restart.
func TestClusterState(t *testing.T) {
	n := newRig(t, 1).nodes[0]
	n.open()
	if err := n.Bootstrap(); err != nil {
		t.Fatal(err)
	}
	objects, audit := cluster.NewMemoryObjects(), cluster.NewMemoryAudit()
	use := func() *cluster.State {
		state, err := cluster.NewState(objects, audit)
		if err != nil {
			t.Fatal(err)
		}
		n.fsm.state = state
		n.run()
		n.rig.leader()
		return state
	}
	state := use()
	actor := cluster.Actor{Kind: cluster.ActorOperator, Name: "uid:0@node-1"}
	init := &cluster.InitCluster{
		Meta: cluster.Meta{
			ID: "0123456789abcdef", Name: "jaco", CA: n.id.AuthorityPEM(),
			Repo: cluster.Repo{URL: "https://git.example/fleet", Branch: "main"}, Anchor: [20]byte{1},
		},
		Node: cluster.Node{
			Name: n.name, Address: n.address, CertificateKey: n.id.KeyHash(), SealKey: n.id.Recipient(),
			State: cluster.NodeReady,
		},
	}
	result, err := n.Propose(t.Context(), actor, init)
	if err != nil || !result.Changed {
		t.Fatalf("init: %+v, %v", result, err)
	}
	meta := state.Read().Meta()
	if meta == nil || !meta.InitializedAt.Equal(epoch) {
		t.Fatalf("meta %+v, want it initialized at the clock's time", meta)
	}
	if _, err := n.Propose(t.Context(), actor, init); !errors.Is(err, cluster.ErrExists) {
		t.Errorf("second init: %v, want %v", err, cluster.ErrExists)
	}
	if err := n.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	event := event("after the snapshot")
	if _, err := n.Propose(t.Context(), actor, event); err != nil {
		t.Fatal(err)
	}
	want := state.Read()

	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n.open()
	state = use()
	if err := state.WaitIndex(n.rig.ctx, want.Index()); err != nil {
		t.Fatal(err)
	}
	got := state.Read()
	if diff := cmp.Diff(want.Meta(), got.Meta(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("meta after a restart (-want +got):\n%s", diff)
	}
	if got.AuditHead() != want.AuditHead() {
		t.Errorf("audit head %+v after a restart, %+v before", got.AuditHead(), want.AuditHead())
	}
	if !got.Time().Equal(epoch) || got.Time().Location() != time.UTC {
		t.Errorf("time %v", got.Time())
	}
}
