package signing

import (
	"bytes"
	"cmp"
	"container/heap"
	"maps"
	"slices"
)

// maxWalk is the number of commits that are looked at to find where a side
// branch left the branch.
const maxWalk = 10_000

// The marks that spread from a commit to its ancestors.
const (
	ours   uint8 = 1 << iota // reachable from the first side
	theirs                   // reachable from the other
	below                    // an ancestor of a merge base
)

// painter spreads marks from commits to their ancestors, newest first. Commits
// are read as they are reached, so that only the history down to where the
// sides meet is looked at.
type painter struct {
	history *history
	marks   map[Hash]uint8
	queue   dateQueue
	queued  map[Hash]bool
	open    int                // queued commits that are still to be told apart
	undone  func(m uint8) bool // which marks make a commit open
	walked  int
}

func newPainter(h *history, undone func(m uint8) bool) *painter {
	return &painter{history: h, marks: make(map[Hash]uint8), queued: make(map[Hash]bool), undone: undone}
}

// paint adds marks to a commit and queues it when they are new.
func (p *painter) paint(id Hash, add uint8) error {
	before := p.marks[id]
	after := before | add
	if after == before {
		return nil
	}
	p.marks[id] = after
	if p.queued[id] {
		p.open += count(p.undone(after)) - count(p.undone(before))
		return nil
	}
	n, err := p.history.node(id)
	if err != nil {
		return blame(id, err)
	}
	p.queued[id] = true
	p.open += count(p.undone(after))
	heap.Push(&p.queue, dated{id: id, date: n.date})
	return nil
}

// next takes the newest queued commit.
func (p *painter) next() (dated, uint8, error) {
	if p.walked++; p.walked > maxWalk {
		return dated{}, 0, refuse(ReasonTooLarge,
			"its side branch left the branch more than %d commits ago", maxWalk)
	}
	at := heap.Pop(&p.queue).(dated)
	p.queued[at.id] = false
	marks := p.marks[at.id]
	p.open -= count(p.undone(marks))
	return at, marks, nil
}

// spread hands marks on to the parents.
func (p *painter) spread(id Hash, marks uint8) error {
	n, err := p.history.node(id)
	if err != nil {
		return blame(id, err)
	}
	for _, parent := range n.parents {
		if err := p.paint(parent, marks); err != nil {
			return err
		}
	}
	return nil
}

// newCommits returns the commits that the merge brings in besides itself:
// reachable from its other parents and not from the first, parents before
// children, in an order that depends on nothing but the commits. More than
// limit are refused.
func (h *history) newCommits(merge Hash, limit int) ([]Hash, error) {
	top, err := h.node(merge)
	if err != nil {
		return nil, blame(merge, err)
	}
	p := newPainter(h, func(m uint8) bool { return m == theirs })
	if err := p.paint(top.parents[0], ours); err != nil {
		return nil, err
	}
	for _, parent := range top.parents[1:] {
		if err := p.paint(parent, theirs); err != nil {
			return nil, err
		}
	}
	// A commit that only the side reached so far may yet turn out to be old,
	// by way of any queued commit that is not older than it.
	side := make(map[Hash]bool)
	var oldest int64
	for len(p.queue) > 0 && (p.open > 0 || len(side) > 0 && p.queue[0].date >= oldest) {
		at, marks, err := p.next()
		if err != nil {
			return nil, err
		}
		if marks == theirs {
			if len(side) == 0 || at.date < oldest {
				oldest = at.date
			}
			side[at.id] = true
		} else {
			delete(side, at.id)
		}
		if err := p.spread(at.id, marks); err != nil {
			return nil, err
		}
	}
	maps.DeleteFunc(side, func(id Hash, _ bool) bool { return p.marks[id] != theirs })
	if len(side) > limit {
		return nil, refuse(ReasonTooLarge, "it brings in %d commits at once, more than %d", len(side), limit)
	}
	return h.sorted(merge, side), nil
}

// sorted orders the set topologically, following parents in their order.
func (h *history) sorted(from Hash, set map[Hash]bool) []Hash {
	type frame struct {
		id   Hash
		next int // parent to look at
	}
	var order []Hash
	seen := make(map[Hash]bool)
	for stack := []frame{{id: from}}; len(stack) > 0; {
		top := &stack[len(stack)-1]
		parents := h.nodes[top.id].parents
		if top.next == len(parents) {
			if set[top.id] {
				order = append(order, top.id)
			}
			stack = stack[:len(stack)-1]
			continue
		}
		parent := parents[top.next]
		top.next++
		if set[parent] && !seen[parent] {
			seen[parent] = true
			stack = append(stack, frame{id: parent})
		}
	}
	return order
}

// mergeBases returns the newest common ancestors of one commit and of what the
// others would be when merged, sorted by id. With clocks that run backwards it
// may return older ones too: more bases only make the three-way rule stricter.
func (h *history) mergeBases(others []Hash, one Hash) ([]Hash, error) {
	p := newPainter(h, func(m uint8) bool { return m&below == 0 })
	for _, id := range others {
		if err := p.paint(id, ours); err != nil {
			return nil, err
		}
	}
	if err := p.paint(one, theirs); err != nil {
		return nil, err
	}
	bases := make(map[Hash]bool)
	var oldest int64
	for len(p.queue) > 0 && (p.open > 0 || len(bases) > 0 && p.queue[0].date >= oldest) {
		at, marks, err := p.next()
		if err != nil {
			return nil, err
		}
		if marks == ours|theirs {
			if len(bases) == 0 || at.date < oldest {
				oldest = at.date
			}
			bases[at.id] = true
			marks |= below
		}
		if err := p.spread(at.id, marks); err != nil {
			return nil, err
		}
	}
	var result []Hash
	for id := range bases {
		if p.marks[id]&below == 0 {
			result = append(result, id)
		}
	}
	slices.SortFunc(result, func(a, b Hash) int { return bytes.Compare(a[:], b[:]) })
	return result, nil
}

// dated is a commit in a dateQueue.
type dated struct {
	id   Hash
	date int64
}

// dateQueue is a heap, the newest commit first.
type dateQueue []dated

func (q dateQueue) Len() int { return len(q) }

func (q dateQueue) Less(i, j int) bool {
	if c := cmp.Compare(q[j].date, q[i].date); c != 0 {
		return c < 0
	}
	return bytes.Compare(q[i].id[:], q[j].id[:]) < 0
}

func (q dateQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *dateQueue) Push(x any) { *q = append(*q, x.(dated)) }

// Pop implements heap.Interface.
func (q *dateQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// threeWay is the rule of git's merges for one path: what only one side
// changed against the base is taken, what both sides changed alike too. It
// reports false where they conflict, and where several bases disagree.
func threeWay(bases []version, ours, theirs version) (version, bool) {
	if ours == theirs {
		return ours, true
	}
	all := func(v version) bool {
		return !slices.ContainsFunc(bases, func(b version) bool { return b != v })
	}
	switch {
	case all(ours):
		return theirs, true
	case all(theirs):
		return ours, true
	}
	return version{}, false
}

// mergeShape says how the versions of one path of a merge are laid out: the
// merge's own, its parents', then the bases of each parent after the first
// with the ones before it.
type mergeShape struct {
	parents int
	bases   []int // one count for each parent after the first
}

// follows reports whether the merge's version is what the three-way rule gives.
// What holds for the ids of trees holds for all that is below them.
func (m mergeShape) follows(v []version) bool {
	result := v[1]
	rest := v[1+m.parents:]
	for i, n := range m.bases {
		merged, ok := threeWay(rest[:n], result, v[2+i])
		if !ok {
			return false
		}
		result, rest = merged, rest[n:]
	}
	return result == v[0]
}

// checkForge refuses what a forge may not sign: everything but a merge of two
// parents with one merge base that changes nothing by itself.
func (j *judge) checkForge(c *Commit, who Approval) error {
	switch len(c.Parents) {
	case 2:
	case 0, 1:
		return refuse(ReasonMerge, "%s is a forge and may sign clean merges only, and this is none: squashing, rebasing and editing "+
			"on the forge's pages make commits that no person signed. Use a merge commit, or merge and sign on your own machine", who.Signer)
	default:
		return refuse(ReasonMerge, "%s is a forge and may merge one branch at a time, this merge has %d parents", who.Signer, len(c.Parents))
	}
	bases, err := j.history.mergeBases(c.Parents[:1], c.Parents[1])
	if err != nil {
		return err
	}
	if len(bases) != 1 {
		return refuse(ReasonMerge, "%s is a forge and may sign merges with one merge base only, this one has %d: merge and sign on your own machine",
			who.Signer, len(bases))
	}
	own, err := j.history.ownChanges(c)
	if err != nil {
		return err
	}
	if len(own) > 0 {
		return refuse(ReasonMerge, "%s is a forge and may sign clean merges only: what the merge has at %s is in neither of its parents. "+
			"Merge and sign on your own machine", who.Signer, showPath(own[0].path))
	}
	return nil
}
