package signing

import (
	"errors"
	"strings"
)

// approvalReach is the number of commits, breadth first from the one that is
// judged, among which an Approves trailer may name one. A name outside counts
// for nothing: nobody can make a node look for an object that does not exist.
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

// claimsOf reads the approvals of a commit, no more than most. A trailer of another form approves
// nothing; what it was meant for keeps waiting.
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

// claimed sorts the step's claims by unit and keeps those that name a commit
// in reach with the same content of the unit.
func (s *step) claimed() (map[string][]Approval, error) {
	if len(s.claims) == 0 {
		return nil, nil
	}
	h := s.judge.history
	wanted := make(map[Hash]bool)
	for _, c := range s.claims {
		wanted[c.named] = true
	}
	reached, err := h.reach(s.commit.ID, wanted)
	if err != nil {
		return nil, err
	}
	byUnit := make(map[string][]Approval)
	for _, c := range s.claims {
		if !reached[c.named] {
			continue
		}
		there, err := h.unitAt(c.named, c.unit)
		if errors.Is(err, ErrMalformed) && !isSourceError(err) {
			continue // a commit from before the anchor; it approves nothing
		}
		if err != nil {
			return nil, err
		}
		here, err := h.unitVersion(s.surface, c.unit)
		if err != nil {
			return nil, err
		}
		if there == here {
			who := c.who
			who.Tree = wholeUnit(here)
			byUnit[c.unit] = append(byUnit[c.unit], who)
		}
	}
	return byUnit, nil
}

// wholeUnit is the content that an approval of a whole unit names.
func wholeUnit(v version) Hash {
	if v.id.IsZero() {
		return emptyTree
	}
	return v.id
}

// reach says which of the wanted commits are ancestors of one, breadth first.
func (h *history) reach(from Hash, wanted map[Hash]bool) (map[Hash]bool, error) {
	found := make(map[Hash]bool)
	seen := map[Hash]bool{from: true}
	for queue := []Hash{from}; len(queue) > 0 && len(found) < len(wanted) && len(seen) < approvalReach; queue = queue[1:] {
		n, err := h.node(queue[0])
		if err != nil {
			return nil, err
		}
		for _, parent := range n.parents {
			if seen[parent] {
				continue
			}
			seen[parent] = true
			if wanted[parent] {
				found[parent] = true
			}
			queue = append(queue, parent)
		}
	}
	return found, nil
}
