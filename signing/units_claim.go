package signing

import (
	"strings"
)

// approvalReach is the number of first-parent commits, back from the one that
// is judged, among which an approval may name one. A name outside counts for
// nothing: nobody can make a node look for an object that does not exist.
const approvalReach = 2_000

// maxClaims bounds the approvals that one step brings by trailer; others count
// for nothing.
const maxClaims = 1_000

// claim is one approval by the trailer "Approves: <full hash> <deployment>…".
type claim struct {
	unit  string
	named Hash
	who   Approval
}

// claimsOf reads the approvals of a commit, no more than most. A trailer of
// another form approves nothing; what it was meant for keeps waiting.
func claimsOf(c *Commit, who Approval, most int) []claim {
	var claims []claim
	for _, value := range c.Trailers("Approves") {
		words := strings.Fields(value)
		if len(words) < 2 || len(claims)+len(words)-1 > most {
			continue
		}
		named, err := ParseHash(words[0])
		if err != nil || named.IsZero() {
			continue
		}
		for _, unit := range words[1:] {
			claims = append(claims, claim{unit: unit, named: named, who: who})
		}
	}
	return claims
}

// unitAt returns what a commit holds of a unit.
func (h *history) unitAt(id Hash, unit string) (version, error) {
	at, err := h.surface(id)
	if err != nil {
		return version{}, err
	}
	return h.unitVersion(at, unit)
}

// cover says which commits an approval of a unit's present content may name:
// those that came to the branch with that content or behind it, and hold the
// unit as it is now. What was approved before the content changed, and came
// back since, was approved for another time: an old tag does not return with
// old content.
type cover struct {
	judge *judge
	unit  string
	here  version
	chain map[Hash]bool // first-parent commits since the content came
	merge []Hash        // the merges among them
	sides map[Hash]bool // what these brought in; nil: not looked up yet
	known map[Hash]bool // answers
}

// newCover looks at the chain back from a commit to the one that brought the
// content.
func (j *judge) newCover(unit string, here version, since, at Hash) (*cover, error) {
	c := &cover{judge: j, unit: unit, here: here, chain: make(map[Hash]bool), known: make(map[Hash]bool)}
	c.chain[since] = true // whatever is between
	for id, looked := at, 0; ; looked++ {
		n, err := j.history.node(id)
		if err != nil {
			return nil, err
		}
		c.chain[id] = true
		if len(n.parents) > 1 {
			c.merge = append(c.merge, id)
		}
		if id == since || len(n.parents) == 0 || looked == approvalReach {
			return c, nil
		}
		id = n.parents[0]
	}
}

// holds reports whether an approval that names the commit counts.
func (c *cover) holds(named Hash) (bool, error) {
	if answer, known := c.known[named]; known {
		return answer, nil
	}
	came, err := c.came(named)
	if err != nil || !came {
		c.known[named] = false
		return false, err
	}
	there, err := c.judge.history.unitAt(named, c.unit)
	if err != nil {
		if isVerdictOnBytes(err) && !isSourceError(err) {
			return false, nil // a commit that nobody had to judge; it approves nothing
		}
		return false, err
	}
	c.known[named] = there == c.here
	return there == c.here, nil
}

// came reports whether the commit came to the branch since the content did.
func (c *cover) came(named Hash) (bool, error) {
	if c.chain[named] {
		return true, nil
	}
	if c.sides == nil {
		c.sides = make(map[Hash]bool)
		for _, id := range c.merge {
			members, err := c.judge.side(id)
			if err != nil {
				return false, err
			}
			for _, member := range members {
				c.sides[member] = true
			}
		}
	}
	return c.sides[named], nil
}

// side returns what a merge on the chain brought in, nothing when that is more
// than one step may.
func (j *judge) side(merge Hash) ([]Hash, error) {
	if members, known := j.sides[merge]; known {
		return members, nil
	}
	members, err := j.history.newCommits(merge, j.opts.MaxStep-1)
	if _, refused := asRefusal(err); refused {
		members, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	j.sides[merge] = members
	return members, nil
}

// wholeUnit is the content that an approval of a whole unit names.
func wholeUnit(v version) Hash {
	if v.id.IsZero() {
		return emptyTree
	}
	return v.id
}
