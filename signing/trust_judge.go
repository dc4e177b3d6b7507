package signing

import (
	"slices"
	"strings"
	"time"
)

// Standing is how a unit that was approved earlier stands under the policy in
// force. The zero value: it would be approved again.
type Standing struct {
	// Outdated says that its approvals would not suffice any more
	// (PolicyOutdated): it runs on and changes no more until it is approved.
	Outdated bool
	// Suspect says that one who approved it did so with a key that is revoked
	// as compromised, at or after the time that the revocation names.
	Suspect bool
	// Reason is a sentence for people; "" for the zero value.
	Reason string
}

// Judge judges again a unit that was accepted under an earlier policy, by its
// name and its state in a Position. What changed with its approved revision is
// looked at, the first hundred paths of it, and for compromised keys, as far as
// that number goes, what stands since before; a unit of which no paths are known
// passes as long as one of its signers still counts. Nothing is torn down for
// what this returns.
func (t *Trust) Judge(name string, u Unit) Standing {
	var s Standing
	var reasons []string
	if u.Revision.IsZero() {
		return s
	}
	suspect := func(approvals []Approval, at time.Time) {
		for _, a := range approvals {
			if r := t.compromised(a.Key, at); r != nil && !s.Suspect {
				s.Suspect = true
				reasons = append(reasons, suspectReason(a, r))
			}
		}
	}
	suspect(u.Signers, u.At)
	for _, g := range u.Grounds {
		suspect(g.Approvals, g.At)
	}
	if problem := t.outdated(name, u); problem != "" {
		s.Outdated = true
		reasons = append(reasons, problem)
	}
	s.Reason = strings.Join(reasons, "; ")
	return s
}

func suspectReason(a Approval, r *Revocation) string {
	reason := "approved by " + a.Signer + " with the key " + a.Key + ", which is compromised"
	if !r.Since.IsZero() {
		reason += " since " + r.Since.Format(time.RFC3339)
	}
	if r.Reason != "" {
		reason += " (" + r.Reason + ")"
	}
	return reason
}

// compromised returns the revocation that marks what the key signed at that
// time; nil when none does. An unknown time counts as behind it.
func (t *Trust) compromised(key string, at time.Time) *Revocation {
	for i := range t.Revoked {
		r := &t.Revoked[i]
		at0, listed := t.revoked[key]
		if r.Compromised && (r.Key == key || listed && at0 == i) && (at.IsZero() || !at.Before(r.Since)) {
			return r
		}
	}
	return nil
}

// outdated says why the approvals of a unit do not suffice any more; "" when
// they do.
func (t *Trust) outdated(name string, u Unit) string {
	for _, g := range u.Grounds {
		if len(g.Approvals) > 0 {
			continue // the policy of its time let it count, and no newer revision asks for it again
		}
		from := approvalsOf(u.Signers, g.Signers)
		for _, path := range g.Paths {
			if t.rule(path) == nil && path != clusterFile {
				return path + ": no rule of trust.yaml matches it any more"
			}
			if have, need := signerNames(t.counting(path, from)), t.needed(path); len(have) < need {
				return path + ": " + countText(len(have), need) + " by the trust.yaml in force: it was approved by " +
					strings.Join(g.Signers, ", ")
			}
		}
	}
	if len(u.Grounds) == 0 && !slices.ContainsFunc(u.Signers, t.stands) {
		return name + ": nobody who approved it is a signer any more"
	}
	return ""
}
