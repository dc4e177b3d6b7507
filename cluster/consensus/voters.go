package consensus

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Who votes is decided here, by one pure function that the leader calls again
// after each change it has made. The rules, the first that applies:
//
//  1. Without a live majority of voters nothing can be committed: no change.
//  2. A member's new address is carried into the membership, and a member that
//     is missing is added as a non-voter.
//  3. A server that is no member any more is removed, after its vote was taken.
//     If there is somebody to replace it, that one is promoted first. A leader
//     that is no member hands the leadership over first.
//  4. A voter that has been down for DownFor is replaced: first the other one
//     is promoted, then it is demoted. Without a replacement it stays: taking
//     it away would leave as many that must agree out of fewer that can.
//  5. Voters beyond MaxVoters are demoted.
//  6. An even number of voters bears no more losses than one less: it is made
//     odd, by one more if a node is ready and by one less otherwise. So two
//     nodes have one voter; were it two, the loss of either would stop all
//     changes.
//  7. Two more voters, when two nodes are ready and all voters alive.
//  8. A voter of a crowded zone gives its vote to a ready node of an emptier
//     one, if that makes the spread more even.
//
// None of them takes the majority's life: a promoted node is alive, and a vote
// is taken only if those that are alive remain a majority of the others.

const (
	// DeadAfter is how long a voter must have been down to be replaced: longer
	// than a restart of the daemon or a short cut of the network, and short
	// enough that a second loss seldom comes before. What a replacement costs
	// is two entries; a node that comes back is a non-voter and waits its turn.
	DeadAfter = 30 * time.Second
	// CaughtUp is how many entries a node may be behind the leader to be ready
	// for a vote. With a vote it would otherwise hold up every commit for which
	// it is needed.
	CaughtUp = 256
	// caughtUpHalfway is the same for the second of two promotions, so that a
	// node that was ready when the first was decided on still is.
	caughtUpHalfway = 4 * CaughtUp
	// defaultMaxVoters is MembershipInput.MaxVoters when it is not set.
	defaultMaxVoters = 5
)

// Candidate is what the leader knows of a node that may take part.
type Candidate struct {
	Name    string
	Address string
	// Zone is the node's label "zone". A node without one is a zone of its own.
	Zone string
	// Index is the entry that the node had applied when last heard of.
	Index uint64
	// Alive says that its heartbeats come, and DownFor how long they have not;
	// 0 when alive.
	Alive   bool
	DownFor time.Duration
	// Removed says that a signed cluster.yaml takes it out, or that it is not
	// in the member table.
	Removed bool
}

// MembershipInput is what NextChange decides on.
type MembershipInput struct {
	// Servers is the present membership, as Consensus.Servers returns it.
	Servers []Server
	// Candidates are the nodes of the member table. A server without a
	// candidate is to be removed.
	Candidates []Candidate
	// Leader is the name of the node that asks, and LeaderIndex its newest
	// entry.
	Leader      string
	LeaderIndex uint64
	// MaxVoters is how many may vote, odd; an even number counts as one less.
	// Default 5: each further voter bears no loss that two do not, and every
	// commit waits for one more.
	MaxVoters int
}

// ChangeKind is what is to be done to a server.
type ChangeKind string

// The kinds of changes.
const (
	ChangeAdd      ChangeKind = "add"      // as a non-voter; or a new address
	ChangePromote  ChangeKind = "promote"  // give it a vote
	ChangeDemote   ChangeKind = "demote"   // take its vote
	ChangeRemove   ChangeKind = "remove"   // take it out
	ChangeTransfer ChangeKind = "transfer" // hand the leadership to it
)

// Change is one change of membership.
type Change struct {
	Kind ChangeKind
	Node string
	// Address is set for ChangeAdd.
	Address string
	Reason  string
}

// String returns the change in one line.
func (c Change) String() string {
	if c.Address != "" {
		return fmt.Sprintf("%s %s at %s: %s", c.Kind, c.Node, c.Address, c.Reason)
	}
	return fmt.Sprintf("%s %s: %s", c.Kind, c.Node, c.Reason)
}

// NextChange returns the change of membership to make now; false when all is
// as it should be, or nothing can be done about it. It looks at its argument
// alone and does not depend on the order in there.
func NextChange(in MembershipInput) (Change, bool) {
	v := newVoting(in)
	if leader, found := find(v.servers, in.Leader); !found || !leader.Voter || v.live() < majority(len(v.voters)) {
		return Change{}, false
	}
	for _, rule := range []func() (Change, bool){
		v.readdress, v.admit, v.dismiss, v.replace, v.shrink, v.even, v.grow, v.spread,
	} {
		if change, found := rule(); found {
			return change, true
		}
	}
	return Change{}, false
}

// majority returns how many of the voters must agree.
func majority(voters int) int { return voters/2 + 1 }

// voting is the input, looked through.
type voting struct {
	servers     []Server // sorted by name
	voters      []Server // likewise
	candidates  []Candidate
	byName      map[string]Candidate
	used        map[string]string // address to the server that has it
	leader      string
	leaderIndex uint64
	max         int // odd
}

func newVoting(in MembershipInput) *voting {
	v := &voting{
		servers: slices.Clone(in.Servers), candidates: slices.Clone(in.Candidates),
		byName: map[string]Candidate{}, used: map[string]string{},
		leader: in.Leader, leaderIndex: in.LeaderIndex, max: in.MaxVoters,
	}
	if v.max <= 0 {
		v.max = defaultMaxVoters
	}
	v.max -= 1 - v.max%2
	slices.SortFunc(v.servers, func(a, b Server) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(v.candidates, func(a, b Candidate) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range v.candidates {
		v.byName[c.Name] = c
	}
	for _, s := range v.servers {
		v.used[s.Address] = s.Name
		if s.Voter {
			v.voters = append(v.voters, s)
		}
	}
	return v
}

func (v *voting) departs(name string) bool {
	c, found := v.byName[name]
	return !found || c.Removed
}

func (v *voting) alive(name string) bool { return name == v.leader || v.byName[name].Alive }

func (v *voting) dead(name string) bool {
	return !v.alive(name) && !v.departs(name) && v.byName[name].DownFor >= DeadAfter
}

// zone is the key under which a node's zone is counted.
func (v *voting) zone(name string) string {
	if zone := v.byName[name].Zone; zone != "" {
		return "zone " + zone
	}
	return "node " + name
}

// live counts the voters that are alive.
func (v *voting) live() int {
	count := 0
	for _, s := range v.voters {
		if v.alive(s.Name) {
			count++
		}
	}
	return count
}

// odd reports whether the number of voters is.
func (v *voting) odd() bool { return len(v.voters)%2 == 1 }

// crowd counts the voters of the zone that will stay: neither dead nor leaving.
func (v *voting) crowd(zone string) int {
	count := 0
	for _, s := range v.voters {
		if v.zone(s.Name) == zone && !v.dead(s.Name) && !v.departs(s.Name) {
			count++
		}
	}
	return count
}

// ready returns the non-voters that can be given a vote, the one whose zone
// has fewest voters first.
func (v *voting) ready(lag uint64) []Server {
	var out []Server
	for _, s := range v.servers {
		c := v.byName[s.Name]
		if !s.Voter && !v.departs(s.Name) && c.Alive && c.Index+lag >= v.leaderIndex {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b Server) int {
		return cmp.Compare(v.crowd(v.zone(a.Name)), v.crowd(v.zone(b.Name)))
	})
	return out
}

// bears reports whether those that are alive remain a majority when this voter
// loses its vote.
func (v *voting) bears(name string) bool {
	live := v.live()
	if v.alive(name) {
		live--
	}
	return live >= majority(len(v.voters)-1)
}

// spare returns the voter that is missed least, never the leader: one that is
// dead or down before one of the most crowded zone; false when none can go.
func (v *voting) spare() (Server, bool) {
	var out []Server
	for _, s := range v.voters {
		if s.Name != v.leader && v.bears(s.Name) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return Server{}, false
	}
	rank := func(s Server) int {
		switch {
		case v.dead(s.Name):
			return 2
		case !v.alive(s.Name):
			return 1
		}
		return 0
	}
	return slices.MinFunc(out, func(a, b Server) int {
		return cmp.Or(
			cmp.Compare(rank(b), rank(a)),
			cmp.Compare(v.crowd(v.zone(b.Name)), v.crowd(v.zone(a.Name))),
			cmp.Compare(b.Name, a.Name),
		)
	}), true
}
