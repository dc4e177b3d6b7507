package verifier

import (
	"maps"
	"strings"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// Standing is how approved content stands under a policy that came later.
type Standing struct {
	// Outdated: its approvals would not suffice any more. Suspect: one of them
	// was made with a key that is revoked as compromised.
	Outdated bool   `json:"outdated,omitempty"`
	Suspect  bool   `json:"suspect,omitempty"`
	Reason   string `json:"reason"`
}

// Floor is the newest claim that brought a commit with the signed trailer
// "Rollback-Floor: true": nothing goes back behind it by itself.
type Floor struct {
	Claim  uint64       `json:"claim"`
	Commit signing.Hash `json:"commit"`
}

// unit is the pin as the policy judges it again.
func (p *Pin) unit() signing.Unit {
	return signing.Unit{Revision: p.Revision, Tree: p.Tree, At: p.At, Signers: p.Signers, Grounds: p.Grounds}
}

// judgedAgain returns the pin with its standing under a policy. Content is what
// it compiles to, nil when that is not at hand.
func (p *Pin) judgedAgain(name string, trust *signing.Trust, content *desired.Deployment) *Pin {
	if p == nil {
		return nil
	}
	judged := *p
	judged.Standing = nil
	s := trust.Judge(name, p.unit())
	if content != nil {
		if err := Outdated(trust, content); err != nil {
			s.Outdated = true
			s.Reason = strings.TrimPrefix(s.Reason+"; "+err.Error(), "; ")
		}
	}
	if s.Outdated || s.Suspect {
		judged.Standing = &Standing{Outdated: s.Outdated, Suspect: s.Suspect, Reason: s.Reason}
	}
	return &judged
}

// judgeAgain works out how all that is active stands under a policy that has
// just come into force. Nothing is torn down for it. Content gives what a pin
// compiles to.
func judgeAgain(units map[string]UnitRecord, trust *signing.Trust, content func(name string, pin *Pin) *desired.Deployment) map[string]UnitRecord {
	judged := maps.Clone(units)
	for name, unit := range judged {
		unit.Active = unit.Active.judgedAgain(name, trust, content(name, unit.Active))
		unit.Previous = unit.Previous.judgedAgain(name, trust, content(name, unit.Previous))
		judged[name] = unit
	}
	return judged
}

// outdated is what the view says of a pin's standing; nil when all is well.
func (p *Pin) outdated() *cluster.Outdated {
	if p.Standing == nil {
		return nil
	}
	return &cluster.Outdated{Suspect: p.Standing.Suspect, Reason: p.Standing.Reason}
}

// noReturn says why nothing is rolled back to the pin; "" when it may be.
func (r *Record) noReturn(p *Pin) string {
	switch {
	case p.Standing != nil:
		return p.Standing.Reason
	case r.Floor != nil && p.Claim < r.Floor.Claim:
		return "commit " + r.Floor.Commit.Short() + " is a rollback floor"
	}
	return ""
}
