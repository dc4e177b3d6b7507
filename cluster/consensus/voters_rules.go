package consensus

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// readdress carries a member's new address. An address that another server
// still has waits until that one has moved on or is gone.
func (v *voting) readdress() (Change, bool) {
	for _, s := range v.servers {
		c := v.byName[s.Name]
		if v.departs(s.Name) || c.Address == "" || c.Address == s.Address || v.used[c.Address] != "" {
			continue
		}
		return Change{ChangeAdd, s.Name, c.Address, fmt.Sprintf("its address was %s", s.Address)}, true
	}
	return Change{}, false
}

// admit adds a member that does not take part yet, alive or not: before it has
// the log it can tell nobody that it is.
func (v *voting) admit() (Change, bool) {
	for _, c := range v.candidates {
		if _, present := find(v.servers, c.Name); present || c.Removed || c.Address == "" || v.used[c.Address] != "" {
			continue
		}
		return Change{ChangeAdd, c.Name, c.Address, "it is a member"}, true
	}
	return Change{}, false
}

// dismiss takes out who is no member any more.
func (v *voting) dismiss() (Change, bool) {
	const reason = "it is no member any more"
	var leaving []Server
	for _, s := range v.servers {
		switch {
		case !v.departs(s.Name):
		case s.Voter:
			leaving = append(leaving, s)
		default:
			return Change{ChangeRemove, s.Name, "", reason}, true
		}
	}
	if len(leaving) == 0 {
		return Change{}, false
	}
	if v.departs(v.leader) {
		if change, found := v.abdicate(); found {
			return change, true
		}
	}
	// Those that are down first: without them a live majority is more likely.
	slices.SortStableFunc(leaving, func(a, b Server) int {
		return cmp.Compare(liveRank(v.alive(a.Name)), liveRank(v.alive(b.Name)))
	})
	for _, s := range leaving {
		if s.Name == v.leader {
			continue
		}
		if ready := v.ready(CaughtUp); len(ready) > 0 && v.odd() && len(v.voters) <= v.max {
			return Change{ChangePromote, ready[0].Name, "", fmt.Sprintf("to replace %s, which is no member any more", s.Name)}, true
		}
		if v.bears(s.Name) {
			return Change{ChangeDemote, s.Name, "", reason}, true
		}
	}
	return Change{}, false
}

func liveRank(alive bool) int {
	if alive {
		return 1
	}
	return 0
}

// abdicate finds a successor for a leader that is no member any more: the live
// voter that is furthest along, or else a node that must be promoted first.
func (v *voting) abdicate() (Change, bool) {
	var heir *Server
	for _, s := range v.voters {
		if s.Name == v.leader || v.departs(s.Name) || !v.alive(s.Name) {
			continue
		}
		if heir == nil || v.byName[s.Name].Index > v.byName[heir.Name].Index {
			heir = &s
		}
	}
	if heir != nil {
		return Change{ChangeTransfer, heir.Name, "", fmt.Sprintf("the leader %s is no member any more", v.leader)}, true
	}
	if ready := v.ready(CaughtUp); len(ready) > 0 {
		return Change{ChangePromote, ready[0].Name, "", fmt.Sprintf("to take over from the leader %s, which is no member any more", v.leader)}, true
	}
	return Change{}, false
}

// replace gives the vote of a dead voter to another node.
func (v *voting) replace() (Change, bool) {
	for _, s := range v.voters {
		if !v.dead(s.Name) {
			continue
		}
		down := fmt.Sprintf("down for %v", v.byName[s.Name].DownFor.Truncate(time.Second))
		if !v.odd() || len(v.voters) > v.max {
			if v.bears(s.Name) {
				return Change{ChangeDemote, s.Name, "", down}, true
			}
			continue
		}
		if ready := v.ready(CaughtUp); len(ready) > 0 {
			return Change{ChangePromote, ready[0].Name, "", fmt.Sprintf("to replace %s, %s", s.Name, down)}, true
		}
	}
	return Change{}, false
}

// shrink takes votes beyond the maximum.
func (v *voting) shrink() (Change, bool) {
	if len(v.voters) <= v.max {
		return Change{}, false
	}
	return v.demoteSpare(fmt.Sprintf("%d voters are more than %d", len(v.voters), v.max))
}

// even makes the number of voters odd.
func (v *voting) even() (Change, bool) {
	if v.odd() {
		return Change{}, false
	}
	if ready := v.ready(caughtUpHalfway); len(ready) > 0 {
		return Change{ChangePromote, ready[0].Name, "", fmt.Sprintf("%d voters bear more losses than %d", len(v.voters)+1, len(v.voters))}, true
	}
	return v.demoteSpare(fmt.Sprintf("%d voters bear no more losses than %d", len(v.voters), len(v.voters)-1))
}

func (v *voting) demoteSpare(reason string) (Change, bool) {
	s, found := v.spare()
	if !found {
		return Change{}, false
	}
	return Change{ChangeDemote, s.Name, "", reason}, true
}

// grow begins to give a vote to two more nodes; even goes on with the second.
func (v *voting) grow() (Change, bool) {
	if len(v.voters)+2 > v.max || v.live() < len(v.voters) {
		return Change{}, false
	}
	ready := v.ready(CaughtUp)
	if len(ready) < 2 {
		return Change{}, false
	}
	return Change{ChangePromote, ready[0].Name, "", fmt.Sprintf("%d voters bear more losses than %d", len(v.voters)+2, len(v.voters))}, true
}

// spread begins to move a vote to an emptier zone; shrink or even then take it
// from the most crowded one, where the leader is never alone.
func (v *voting) spread() (Change, bool) {
	ready := v.ready(CaughtUp)
	if len(ready) == 0 || v.live() < len(v.voters) {
		return Change{}, false
	}
	crowded := ""
	for _, s := range v.voters {
		if zone := v.zone(s.Name); crowded == "" || v.crowd(zone) > v.crowd(crowded) {
			crowded = zone
		}
	}
	if v.crowd(crowded)-v.crowd(v.zone(ready[0].Name)) < 2 {
		return Change{}, false
	}
	return Change{ChangePromote, ready[0].Name, "", fmt.Sprintf("%d voters are in %s", v.crowd(crowded), crowded)}, true
}
