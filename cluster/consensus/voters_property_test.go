package consensus

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawMembership draws a cluster in any state that raft could be in, a live
// majority or not.
func drawMembership(t *rapid.T) MembershipInput {
	in := MembershipInput{LeaderIndex: 10_000, MaxVoters: rapid.IntRange(0, 7).Draw(t, "max")}
	addresses := []string{"h:1", "h:2", "h:3", "h:4", "h:5", "h:6", "h:7", "h:8", "h:9", "h:10", "h:11", "h:12"}
	addresses = rapid.Permutation(addresses).Draw(t, "addresses")
	var voters []string
	for i := range rapid.IntRange(1, 9).Draw(t, "nodes") {
		name := fmt.Sprintf("n%d", i)
		down := rapid.SampledFrom([]time.Duration{0, 0, 0, 0, time.Second, DeadAfter, time.Hour}).Draw(t, "down")
		c := Candidate{
			Name: name, Address: addresses[i],
			Zone:  rapid.SampledFrom([]string{"", "", "u", "v", "w"}).Draw(t, "zone"),
			Index: rapid.SampledFrom([]uint64{10_000, 10_000, 9_990, 9_500, 0}).Draw(t, "index"),
			Alive: down == 0, DownFor: down,
			Removed: rapid.IntRange(0, 7).Draw(t, "removed") == 0,
		}
		if rapid.IntRange(0, 9).Draw(t, "known") > 0 {
			in.Candidates = append(in.Candidates, c)
		}
		if role := rapid.SampledFrom([]string{"voter", "voter", "server", "none"}).Draw(t, "role"); role != "none" {
			s := Server{Name: name, Address: c.Address, Voter: role == "voter"}
			if rapid.IntRange(0, 9).Draw(t, "moved") == 0 {
				s.Address = addresses[len(addresses)-1-i%3]
				if slices.ContainsFunc(in.Servers, func(o Server) bool { return o.Address == s.Address }) {
					s.Address = c.Address
				}
			}
			in.Servers = append(in.Servers, s)
			if s.Voter {
				voters = append(voters, name)
			}
		}
	}
	if len(voters) > 0 {
		in.Leader = rapid.SampledFrom(voters).Draw(t, "leader")
		// It knows itself, and its successor will hear of it.
		at := slices.IndexFunc(in.Candidates, func(c Candidate) bool { return c.Name == in.Leader })
		if at < 0 {
			in.Candidates, at = append(in.Candidates, Candidate{Name: in.Leader, Removed: true}), len(in.Candidates)
		}
		in.Candidates[at].Alive, in.Candidates[at].DownFor = true, 0
	}
	return in
}

// census is what the properties are about.
type census struct{ voters, live, max int }

func count(in MembershipInput) census {
	v := newVoting(in)
	return census{len(v.voters), v.live(), v.max}
}

func (c census) works() bool { return c.live >= majority(c.voters) }

// From any state the changes come to an end, and on the way the live majority
// is never lost and no rule of raft's broken.
func TestChangesComeToAnEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawMembership(t)
		first := count(in)
		for step := 0; ; step++ {
			before := count(in)
			change, found := NextChange(in)
			if again, same := NextChange(shuffled(t, in)); again != change || same != found {
				t.Fatalf("%v, and in another order %v", change, again)
			}
			if !found {
				checkEnd(t, in)
				return
			}
			if step > 60 {
				t.Fatalf("no end: %v", change)
			}
			checkStep(t, in, change)
			in = carryOut(in, change)
			after := count(in)
			if !before.works() || !after.works() {
				t.Fatalf("%v: %+v became %+v, the live majority is lost", change, before, after)
			}
			if after.voters > max(first.voters, first.max)+1 {
				t.Fatalf("%v: %d voters", change, after.voters)
			}
		}
	})
}

func shuffled(t *rapid.T, in MembershipInput) MembershipInput {
	if len(in.Servers) > 0 {
		in.Servers = rapid.Permutation(in.Servers).Draw(t, "servers shuffled")
	}
	if len(in.Candidates) > 0 {
		in.Candidates = rapid.Permutation(in.Candidates).Draw(t, "candidates shuffled")
	}
	return in
}

// checkStep checks that the change does something, and something that may be.
func checkStep(t *rapid.T, in MembershipInput, change Change) {
	v := newVoting(in)
	s, present := find(v.servers, change.Node)
	if change.Reason == "" {
		t.Fatalf("%v has no reason", change)
	}
	switch change.Kind {
	case ChangeAdd:
		if v.departs(change.Node) || change.Address == "" || v.used[change.Address] != "" {
			t.Fatalf("%v among %+v", change, in.Servers)
		}
	case ChangePromote:
		if !present || s.Voter || v.departs(s.Name) || !v.alive(s.Name) || v.byName[s.Name].Index+caughtUpHalfway < in.LeaderIndex {
			t.Fatalf("%v, which is %+v, %+v", change, s, v.byName[s.Name])
		}
		if len(v.voters) == 1 && !v.departs(in.Leader) && len(v.ready(CaughtUp)) < 2 {
			t.Fatalf("%v makes two voters, with nobody for the third", change)
		}
	case ChangeDemote:
		if !s.Voter || s.Name == in.Leader {
			t.Fatalf("%v, which is %+v and the leader %s", change, s, in.Leader)
		}
		if !v.alive(s.Name) && !v.departs(s.Name) && v.odd() && len(v.voters) <= v.max {
			t.Fatalf("%v: a voter that is down, not replaced", change)
		}
	case ChangeRemove:
		if !present || s.Voter || !v.departs(s.Name) {
			t.Fatalf("%v, which is %+v", change, s)
		}
	case ChangeTransfer:
		if !s.Voter || !v.alive(s.Name) || v.departs(s.Name) || !v.departs(in.Leader) {
			t.Fatalf("%v, which is %+v", change, s)
		}
	}
}

// checkEnd checks a state in which nothing more is to be done.
func checkEnd(t *rapid.T, in MembershipInput) {
	v, c := newVoting(in), count(in)
	if _, found := find(v.servers, in.Leader); !found || !c.works() {
		return
	}
	if !v.odd() || c.voters > c.max {
		t.Fatalf("%d voters of at most %d in the end", c.voters, c.max)
	}
	ready := v.ready(CaughtUp)
	for _, s := range v.servers {
		switch {
		case v.departs(s.Name) && !s.Voter:
			t.Fatalf("%s was not removed", s.Name)
		case v.departs(s.Name) && len(ready) > 0:
			t.Fatalf("%s was not replaced by %s", s.Name, ready[0].Name)
		case v.departs(s.Name) && s.Name != in.Leader && v.bears(s.Name):
			t.Fatalf("%s was not demoted", s.Name)
		case s.Voter && v.dead(s.Name) && len(ready) > 0:
			t.Fatalf("%s is dead and was not replaced by %s", s.Name, ready[0].Name)
		}
	}
	if len(ready) >= 2 && c.live == c.voters && c.voters+2 <= c.max {
		t.Fatalf("%d voters, and %d nodes are ready", c.voters, len(ready))
	}
	for _, candidate := range v.candidates {
		if _, present := find(v.servers, candidate.Name); !present && !candidate.Removed && v.used[candidate.Address] == "" {
			t.Fatalf("%s was not added", candidate.Name)
		}
	}
}

// A cluster in which all is well is left alone, whatever its indexes and
// however briefly somebody is away.
func TestNothingIsChangedWhenAllIsWell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := MembershipInput{LeaderIndex: 10_000, Leader: "n0"}
		for i := range rapid.SampledFrom([]int{1, 2, 3, 4, 5, 6, 7}).Draw(t, "nodes") {
			s := Server{Name: fmt.Sprintf("n%d", i), Address: fmt.Sprintf("h:%d", i)}
			in.Servers = append(in.Servers, s)
			in.Candidates = append(in.Candidates, Candidate{Name: s.Name, Address: s.Address, Index: 10_000, Alive: true})
		}
		in.Servers[0].Voter = true
		for change, found := NextChange(in); found; change, found = NextChange(in) {
			in = carryOut(in, change)
		}
		for i := range in.Candidates {
			in.Candidates[i].Index = rapid.Uint64Range(0, 20_000).Draw(t, "index")
			if in.Candidates[i].Alive = rapid.Bool().Draw(t, "alive"); !in.Candidates[i].Alive {
				in.Candidates[i].DownFor = time.Duration(rapid.Int64Range(0, int64(DeadAfter)-1).Draw(t, "down"))
			}
		}
		if change, found := NextChange(in); found {
			t.Fatalf("%v", change)
		}
	})
}
