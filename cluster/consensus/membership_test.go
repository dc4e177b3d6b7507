package consensus

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

// who returns the membership as a text: voters with a star.
func who(n *testNode) string {
	out := ""
	for _, s := range n.Servers() {
		if out += " " + s.Name; s.Voter {
			out += "*"
		}
	}
	return out
}

func TestMembership(t *testing.T) {
	r := newRig(t, 3)
	one := r.form()
	two, three := r.nodes[1], r.nodes[2]
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	want := func(text string) {
		t.Helper()
		if got := who(one); got != text {
			t.Fatalf("membership is%s, want%s", got, text)
		}
	}
	want(" node-1* node-2 node-3")
	if diff := cmp.Diff(Server{Name: "node-2", Address: two.address}, one.Servers()[1]); diff != "" {
		t.Error(diff)
	}

	// What is so already makes no entry.
	before := one.Stats().LastIndex
	must(one.AddNonvoter(r.ctx, two.name, two.address))
	must(one.Promote(r.ctx, one.name))
	must(one.Demote(r.ctx, two.name))
	must(one.Demote(r.ctx, "nobody"))
	must(one.Remove(r.ctx, "nobody"))
	if after := one.Stats().LastIndex; after != before {
		t.Errorf("the log went from %d to %d", before, after)
	}

	// The only voter stays one, and only the leader changes anything.
	refused(one.Demote(r.ctx, one.name), ErrLastVoter)
	refused(one.Remove(r.ctx, one.name), ErrLastVoter)
	refused(one.Promote(r.ctx, "nobody"), ErrUnknownServer)
	eventually(t, "node-2 knows its leader", two.Quorum)
	refused(two.Promote(r.ctx, two.name), ErrNotLeader)
	refused(two.LeadershipTransferTo(r.ctx, two.name), ErrNotLeader)
	refused(one.LeadershipTransferTo(r.ctx, two.name), ErrNotVoter)
	refused(one.LeadershipTransferTo(r.ctx, "nobody"), ErrUnknownServer)
	must(one.LeadershipTransferTo(r.ctx, one.name))

	must(one.Promote(r.ctx, two.name))
	must(one.Promote(r.ctx, three.name))
	want(" node-1* node-2* node-3*")
	refused(one.Demote(r.ctx, one.name), ErrLeads)
	refused(one.Remove(r.ctx, one.name), ErrLeads)
	must(one.Demote(r.ctx, three.name))
	must(one.Remove(r.ctx, three.name))
	want(" node-1* node-2*")
	must(one.Make(r.ctx, Change{Kind: ChangeAdd, Node: three.name, Address: three.address}))
	must(one.Make(r.ctx, Change{Kind: ChangePromote, Node: three.name}))
	must(one.Make(r.ctx, Change{Kind: ChangeDemote, Node: three.name}))
	must(one.Make(r.ctx, Change{Kind: ChangeRemove, Node: three.name}))
	want(" node-1* node-2*")
	if err := one.Make(r.ctx, Change{Kind: "marry"}); err == nil {
		t.Error("a change of no kind was made")
	}

	// The other voter takes over and can remove the first.
	one.mustPropose("x")
	for one.IsLeader() { // a loaded machine may need more than one attempt
		if err := one.Make(r.ctx, Change{Kind: ChangeTransfer, Node: two.name}); err != nil && !errors.Is(err, ErrNotTransferred) {
			t.Fatal(err)
		}
	}
	r.leader(two)
	must(two.Demote(r.ctx, one.name))
	must(two.Remove(r.ctx, one.name))
	if got := who(two); got != " node-2*" {
		t.Errorf("membership is%s", got)
	}
	must(two.stop())
	if two.Servers() != nil || two.Quorum() {
		t.Error("a node that does not run knows of others")
	}
	refused(two.Promote(r.ctx, one.name), ErrNotRunning)
	refused(two.LeadershipTransferTo(r.ctx, one.name), ErrNotRunning)
}

// A change that was decided on before another one is not made.
func TestMembershipChangesExcludeEachOther(t *testing.T) {
	r := newRig(t, 3)
	one := r.form()
	two, three := r.nodes[1].name, r.nodes[2].name
	err := one.change(r.ctx, func([]Server) (alteration, error) {
		if err := one.Promote(r.ctx, two); err != nil {
			t.Fatal(err)
		}
		return func(r *raft.Raft, index uint64) raft.Future {
			return r.RemoveServer(raft.ServerID(three), index, patience)
		}, nil
	})
	if !errors.Is(err, ErrMembershipChanged) {
		t.Errorf("the second change: %v, want %v", err, ErrMembershipChanged)
	}
	if got := who(one); got != " node-1* node-2* node-3" {
		t.Errorf("membership is%s", got)
	}
}

// The index that a change must name is known after a restart, from the log and
// from a snapshot, and on a node that was sent one.
func TestMembershipIsKnownAfterARestart(t *testing.T) {
	r := newRig(t, 2)
	one := r.form()
	one.mustPropose("x")
	for _, snapshot := range []bool{false, true} {
		if snapshot {
			// Right after a change, with no command behind it.
			if err := errors.Join(one.AddNonvoter(r.ctx, "node-9", "127.0.0.1:9"), one.Snapshot(r.ctx)); err != nil {
				t.Fatal(err)
			}
		}
		index, present := one.fsm.members.get()
		one.restart()
		r.leader(one)
		if got, members := one.fsm.members.get(); got != index || !slices.Equal(members, present) {
			t.Errorf("entry %d with %v after a restart, entry %d with %v before", got, members, index, present)
		}
		if err := errors.Join(one.Promote(r.ctx, "node-2"), one.Demote(r.ctx, "node-2")); err != nil {
			t.Error(err)
		}
	}
}

// A server that has moved is followed to its new address, voter or not.
func TestAddressOfAServerChanges(t *testing.T) {
	for _, voter := range []bool{false, true} {
		r := newRig(t, 3)
		one := r.form()
		two, three := r.nodes[1], r.nodes[2]
		if voter {
			for _, n := range []*testNode{two, three} {
				if err := one.Promote(r.ctx, n.name); err != nil {
					t.Fatal(err)
				}
			}
		}
		one.mustPropose("one")
		three.state.waitFor(t, "one")
		if err := three.stop(); err != nil {
			t.Fatal(err)
		}
		three.move()
		three.open()
		three.run()
		one.mustPropose("two")
		two.state.waitFor(t, "one two")
		if got := three.state.messages(); got == "one two" {
			t.Error("the leader has found it by itself")
		}
		if err := one.AddNonvoter(r.ctx, three.name, three.address); err != nil {
			t.Fatal(err)
		}
		three.state.waitFor(t, "one two")
		if s, _ := find(one.Servers(), three.name); s.Address != three.address || s.Voter != voter {
			t.Errorf("server %+v, want voter %v at %s", s, voter, three.address)
		}
	}
}
