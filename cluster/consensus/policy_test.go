package consensus

import (
	"testing"
)

// decide carries out what NextChange decides on for the nodes as they are,
// until it has nothing more to say.
func (r *rig) decide(leader *testNode, down ...*testNode) {
	r.t.Helper()
	for {
		in := MembershipInput{Servers: leader.Servers(), Leader: leader.name, LeaderIndex: leader.Stats().LastIndex, MaxVoters: 3}
		for _, n := range r.nodes {
			c := Candidate{Name: n.name, Address: n.address, Index: n.Stats().AppliedIndex, Alive: true}
			for _, d := range down {
				if d == n {
					c.Alive, c.DownFor = false, DeadAfter
				}
			}
			in.Candidates = append(in.Candidates, c)
		}
		change, found := NextChange(in)
		if !found {
			return
		}
		if err := leader.Make(r.ctx, change); err != nil {
			r.t.Fatalf("%v: %v", change, err)
		}
	}
}

// Raft and the policy together: a cluster forms, and replaces a voter that has
// gone; the one that comes back waits its turn.
func TestClusterFormsAndReplacesAVoter(t *testing.T) {
	r := newRig(t, 4)
	leader := r.form()
	leader.mustPropose("one")
	for _, n := range r.nodes {
		n.state.waitFor(t, "one")
	}
	r.decide(leader)
	if got, want := who(leader), " node-1* node-2* node-3* node-4"; got != want {
		t.Fatalf("membership is%s, want%s", got, want)
	}
	gone := r.nodes[2]
	gone.isolate()
	leader.mustPropose("two")
	r.nodes[3].state.waitFor(t, "one two")
	r.decide(leader, gone)
	want := " node-1* node-2* node-3 node-4*"
	if got := who(leader); got != want {
		t.Fatalf("membership is%s, want%s", got, want)
	}
	gone.heal()
	gone.state.waitFor(t, "one two")
	r.decide(leader)
	if got := who(leader); got != want {
		t.Fatalf("membership is%s, want%s", got, want)
	}
	if !leader.IsLeader() {
		t.Error("the node that came back has disturbed the leader")
	}
}
