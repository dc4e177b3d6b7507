package scheduler

import (
	"fmt"
	"slices"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// standing is what may be done with a node. It follows from the node's state,
// from what cluster.yaml says of it, and from how many are down at once.
type standing int

const (
	// nodeServes: the node is Ready and takes replicas.
	nodeServes standing = iota
	// nodeLeaves: it is Ready, but a commit removes it. It takes none, and what it
	// runs is moved while it still runs.
	nodeLeaves
	// nodeSilent: it is NotReady or Suspect, or it is Down and so many are that
	// nothing is concluded from it yet. It takes none and nothing moves.
	nodeSilent
	// nodeGone: it is Down, or it is removed and does not answer. What it ran is
	// lost, but for replicas that wait for a volume on a Down node.
	nodeGone
)

// standing judges n by its state and settings.
func (p *pass) standing(n *node) standing {
	switch {
	case n.removed && n.state != cluster.NodeReady:
		return nodeGone
	case n.removed:
		return nodeLeaves
	case n.state == cluster.NodeReady:
		return nodeServes
	case n.state == cluster.NodeDown && !p.paused():
		return nodeGone
	}
	return nodeSilent
}

// paused reports whether so many nodes went down at once that nothing is lost
// or moved for that. A node that a commit removes is not waited for: somebody
// has decided.
func (p *pass) paused() bool { return p.now.Before(p.in.MassLossUntil) }

// pauseReason says why nothing moves while the pass is paused.
func (p *pass) pauseReason() string {
	members := 0
	for i := range p.nodes {
		if !p.nodes[i].removed {
			members++
		}
	}
	are := "nodes are"
	if p.down == 1 {
		are = "nodes is"
	}
	until := p.in.MassLossUntil.UTC().Format("15:04:05")
	return fmt.Sprintf("%d of %d %s down: waiting until %s%s", p.down, members, are, until, beforeMoving)
}

// beforeMoving ends the reason of a pause.
const beforeMoving = " before moving replicas"

// down reports whether n is Down and still to come back: one that is removed
// is waited for by nobody.
func (n *node) down() bool { return n.state == cluster.NodeDown && !n.removed }

// stateText is n's state for a sentence: "which is down".
func (n *node) stateText() string {
	switch {
	case n.removed:
		return "removed"
	case n.state == cluster.NodeDown:
		return "down"
	}
	return string(n.state)
}

// stateOrder is n's place in an explanation, the worst state first.
func (n *node) stateOrder() int {
	switch {
	case n.state == cluster.NodeDown && !n.removed:
		return 0
	case n.removed:
		return 1
	case n.state == cluster.NodeSuspect:
		return 2
	}
	return 3
}

// stateName names what stateOrder returned.
func stateName(order int) string {
	switch order {
	case 0:
		return string(cluster.NodeDown)
	case 1:
		return string(desired.NodeRemoved)
	case 2:
		return string(cluster.NodeSuspect)
	}
	return string(cluster.NodeNotReady)
}

// isDown reports whether the node of that name is Down.
func (p *pass) isDown(name string) bool {
	n := p.node(name)
	return n != nil && n.down()
}

// acts reports whether the node of that name does what the plan says: it is
// Ready.
func (p *pass) acts(name string) bool {
	n := p.node(name)
	return n != nil && n.state == cluster.NodeReady
}

// carries reports whether r is healthy as far as its node can be heard. One on
// a Suspect or Down node may be dead, and traffic avoids it already.
func (p *pass) carries(s *service, r *cluster.Replica) bool {
	if !s.healthy(r) {
		return false
	}
	n := p.node(r.Node)
	return n != nil && n.state.Alive()
}

// pinned reports whether r may hold data that its slot must come back to: its
// own spec and the present one mount a named volume, and its node did not say
// that it never ran. A spec that the view has dropped is taken for one like the
// present.
func (s *service) pinned(r *cluster.Replica) bool {
	neverRan := r.Phase.Final() && r.Phase != cluster.Lost && r.StartedAt.IsZero()
	return s.spec != nil && !neverRan && hasVolume(s.spec) && hasVolume(s.likelySpecOf(r))
}

// keeperOf is the replica that says where the slot's volume is: the newest that
// had one, those first whose spec is known. Its record is kept until another
// takes its place, also through scaling down, so that no other memory is needed.
// nil: there is none, or its node is no member any more or is removed by a
// commit, which gives the data up.
func (p *pass) keeperOf(s *service, sl *slot) *cluster.Replica {
	var keeper *cluster.Replica
	for _, r := range sl.replicas {
		if s.pinned(r) && (keeper == nil || s.specOf(r) != nil || s.specOf(keeper) == nil) {
			keeper = r
		}
	}
	if keeper != nil {
		if n := p.node(keeper.Node); n == nil || n.removed {
			return nil
		}
	}
	return keeper
}

// isLost reports whether r, which is not final, ends with its node n; nil is
// one that is no member. What was told to stop is not waited for: its slot
// remembers the volume without it.
func (p *pass) isLost(s *service, r *cluster.Replica, n *node) bool {
	if n == nil || n.removed && n.standing == nodeGone {
		return true
	}
	return n.standing == nodeGone && (r.Stop || !s.pinned(r))
}

// markLost returns r as it is once the plan has ended it.
func (p *pass) markLost(r *cluster.Replica, n *node) *cluster.Replica {
	c := *r
	c.Phase, c.FinishedAt, c.Reason = cluster.Lost, p.now, lossReason(r.Node, n)
	if p.lost == nil {
		p.lost = map[*cluster.Replica]bool{}
	}
	p.lost[&c] = true
	return &c
}

func lossReason(name string, n *node) string {
	switch {
	case n == nil:
		return "node " + name + " is no member"
	case n.removed:
		return "node " + name + " is removed"
	}
	return "node " + name + " is down"
}

// lose ends the replicas of s whose node is gone.
func (p *pass) lose(s *service) {
	for _, r := range s.replicas {
		if p.lost[r] {
			p.out.lose(s, r, p.node(r.Node))
		}
	}
}

// await says what s waits for on nodes that are down.
func (p *pass) await(s *service) {
	if s.uprooted && p.paused() && slices.ContainsFunc(s.replicas, func(r *cluster.Replica) bool {
		return active(r) && p.isDown(r.Node) && !s.pinned(r)
	}) {
		s.say(reasonPause, p.pauseReason())
	}
	for i := range s.slots {
		if sl := &s.slots[i]; sl.waits {
			s.say(reasonVolume, p.volumeReason(sl.pin))
			return
		}
	}
}

// volumeReason says that a slot cannot run but on the node of that name.
func (p *pass) volumeReason(name string) string {
	return waitsForNode + name + ", which is " + p.node(name).stateText() + itsVolume
}

// What every reason of that kind has in it. Both count, as a service may be
// called "node", and others wait for it in other words.
const (
	waitsForNode = "waits for node "
	itsVolume    = ": its volume data is there"
)
