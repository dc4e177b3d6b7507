package consensus

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// parseMembership reads a cluster written in one line: a word per node, in
// which the first letter is the name and the rest says what it is.
//
//	!         leads (the leader is at entry 1000)
//	*         votes
//	+         is in raft's membership, without a vote
//	(neither) is not in there
//	@zone     its label
//	-N        is N entries behind the leader
//	~N        has been down for N seconds
//	x         is removed
//	?         is not in the member table
//	>addr     has a new address
func parseMembership(t *testing.T, text string) MembershipInput {
	t.Helper()
	in := MembershipInput{LeaderIndex: 1000}
	for word := range strings.FieldsSeq(text) {
		if limit, found := strings.CutPrefix(word, "max="); found {
			in.MaxVoters = number(t, limit)
			continue
		}
		c := Candidate{Name: word[:1], Address: word[:1] + ":1", Index: 1000, Alive: true}
		s := Server{Name: c.Name, Address: c.Address}
		known, present := true, false
		for rest := word[1:]; rest != ""; {
			end := 1 + len(rest[1:]) - len(strings.TrimLeft(rest[1:], "abcdefghijklmnopqrstuvw:0123456789"))
			argument := rest[1:end]
			switch rest[0] {
			case '!':
				in.Leader, s.Voter, present = c.Name, true, true
			case '*':
				s.Voter, present = true, true
			case '+':
				present = true
			case '@':
				c.Zone = argument
			case '-':
				c.Index -= uint64(number(t, argument))
			case '~':
				c.Alive, c.DownFor = false, time.Duration(number(t, argument))*time.Second
			case 'x':
				c.Removed = true
			case '?':
				known = false
			case '>':
				c.Address = argument
			default:
				t.Fatalf("%q in %q", rest, word)
			}
			rest = rest[end:]
		}
		if present {
			in.Servers = append(in.Servers, s)
		}
		if known {
			in.Candidates = append(in.Candidates, c)
		}
	}
	return in
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// carryOut changes the input as the change changes the cluster.
func carryOut(in MembershipInput, change Change) MembershipInput {
	in.Servers = slices.Clone(in.Servers)
	at := slices.IndexFunc(in.Servers, func(s Server) bool { return s.Name == change.Node })
	switch change.Kind {
	case ChangeAdd:
		if at < 0 {
			in.Servers = append(in.Servers, Server{Name: change.Node})
			at = len(in.Servers) - 1
		}
		in.Servers[at].Address = change.Address
	case ChangePromote:
		in.Servers[at].Voter = true
	case ChangeDemote:
		in.Servers[at].Voter = false
	case ChangeRemove:
		in.Servers = slices.Delete(in.Servers, at, at+1)
	case ChangeTransfer:
		in.Leader = change.Node
	}
	return in
}

func TestNextChange(t *testing.T) {
	for _, c := range []struct {
		name string
		in   string
		want string // the changes to the end, one after the other
	}{
		{"one node", "a!", ""},
		{"two nodes keep one voter", "a! b", "add b at b:1: it is a member"},
		{"three nodes", "a! b c", `add b at b:1: it is a member
add c at c:1: it is a member
promote b: 3 voters bear more losses than 1
promote c: 3 voters bear more losses than 2`},
		{"not before both are caught up", "a! b+ c+-257", ""},
		{"not before both are alive", "a! b+ c+~1", ""},
		{"the second may fall behind a little once the first has a vote", "a! b* c+-1000", "promote c: 3 voters bear more losses than 2"},
		{"but when it is gone the first loses its vote again", "a! b* c+~1", "demote b: 2 voters bear no more losses than 1"},
		{"five and the rest without a vote", "a! b* c* d+ e+ f+ g+", `promote d: 5 voters bear more losses than 3
promote e: 5 voters bear more losses than 4`},
		{"four nodes have three voters", "a! b* c* d+", ""},
		{"no more voters while one is down", "a! b* c*~5 d+ e+", ""},
		{"seven at most when allowed", "max=8 a! b* c* d* e* f+ g+", `promote f: 7 voters bear more losses than 5
promote g: 7 voters bear more losses than 6`},
		{"fewer allowed", "max=3 a! b* c* d* e*", `demote e: 5 voters are more than 3
demote d: 4 voters are more than 3`},
		{"an even maximum counts as one less", "max=4 a! b* c* d+ e+", ""},
		{"a lagging voter keeps its vote", "a! b*-900 c* d+", ""},

		{"a voter that is down is waited for", "a! b* c*~29 d+", ""},
		{"and then replaced", "a! b* c*~30 d+", "promote d: to replace c, down for 30s\ndemote c: down for 30s"},
		{"but never merely removed", "a! b* c*~3000 d+-257 e+~1", ""},
		{"two dead of five, one after the other", "a! b* c* d*~40 e*~90 f+ g+", `promote f: to replace d, down for 40s
demote d: down for 40s
promote g: to replace e, down for 1m30s
demote e: down for 1m30s`},
		{"too many and one dead", "max=3 a! b* c* d*~40 e* f+", "demote d: down for 40s\ndemote e: 4 voters are more than 3"},
		{"no majority, no change", "a! b*~40 c*~40 d+ e", ""},
		{"the leader is not in the membership", "a b* c*", ""},
		{"the leader does not vote", "a!+ b* c*", ""},

		{"an address", "a! b+>n:2", "add b at n:2: its address was b:1"},
		{"an address that another server leaves", "a! b+-900>c:1 c+-900>n:2", "add c at n:2: its address was c:1\nadd b at c:1: its address was b:1"},
		{"addresses exchanged wait", "a! b+-900>c:1 c+-900>b:1", ""},
		{"a member without an address waits", "a! b>", ""},

		{"a removed node", "a! b+x", "remove b: it is no member any more"},
		{"a server that nobody knows", "a! b+?", "remove b: it is no member any more"},
		{"a removed node that never took part", "a! bx", ""},
		{"a removed voter is replaced first", "a! b* c*x d+", `promote d: to replace c, which is no member any more
demote c: it is no member any more
remove c: it is no member any more`},
		{"a removed voter without a replacement", "a! b* c*x", `demote c: it is no member any more
remove c: it is no member any more
demote b: 2 voters bear no more losses than 1`},
		{"a removed voter that the majority needs", "a! b*~5 c*x", ""},
		{"the dead one of two that are removed goes first", "a! b*x c*x~99 d*", `demote c: it is no member any more
remove c: it is no member any more
demote b: it is no member any more
remove b: it is no member any more
demote d: 2 voters bear no more losses than 1`},
		{"a removed leader hands over to whoever is furthest", "a!x b*-3 c*-1", `transfer c: the leader a is no member any more
demote a: it is no member any more
remove a: it is no member any more
demote b: 2 voters bear no more losses than 1`},
		{"a removed leader that votes alone", "a!x b+", `promote b: to take over from the leader a, which is no member any more
transfer b: the leader a is no member any more
demote a: it is no member any more
remove a: it is no member any more`},
		{"a removed leader without anybody ready", "a!x b+-300 c+~1", ""},

		{"zones: an empty one first", "a!@u b@u c@v d@w", `add b at b:1: it is a member
add c at c:1: it is a member
add d at d:1: it is a member
promote c: 3 voters bear more losses than 1
promote d: 3 voters bear more losses than 2`},
		{"zones: the most crowded one gives up a vote, not the leader", "max=3 a!@u b*@u c*@v d*@u e*@w", `demote d: 5 voters are more than 3
demote b: 4 voters are more than 3`},
		{"zones: a vote moves to a new one", "a!@u b*@u c*@u d+@v", `promote d: 3 voters are in zone u
demote c: 4 voters bear no more losses than 3`},
		{"zones: not while a voter is down", "a!@u b*@u c*@u~5 d+@v", ""},
		{"zones: as even as can be", "a!@u b*@u c*@v d+@v", ""},
		{"zones: a node without one is one of its own", "a!@u b*@u c*@u d+ e+ f+", `promote d: 5 voters bear more losses than 3
promote e: 5 voters bear more losses than 4
promote f: 3 voters are in zone u
demote c: 6 voters are more than 5`},
		{"zones: the replacement comes from the zone of the dead", "a!@u b*@v c*@w~60 d+@u e+@w", `promote e: to replace c, down for 1m0s
demote c: down for 1m0s`},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := parseMembership(t, c.in)
			if diff := cmp.Diff(c.want, strings.Join(changes(in), "\n")); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.in, diff)
			}
		})
	}
}

// changes carries out what NextChange wants until it wants nothing more.
func changes(in MembershipInput) []string {
	var out []string
	for len(out) < 20 {
		change, found := NextChange(in)
		if !found {
			return out
		}
		out = append(out, change.String())
		in = carryOut(in, change)
	}
	return append(out, fmt.Sprint("and no end to it: ", in.Servers))
}
