package signing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// reanchorReach is the number of first-parent commits, back from the tip, among
// which a reanchor may name one.
const reanchorReach = 500

// Reanchor moves a position to a commit of a rewritten history, whose trust is
// pinned: what is approved stays so, what waited is dropped, and the first
// accepted descendant is judged as if every path in its tree had changed. It
// asks nobody: Verify calls it when root has signed that, and an operator may
// on a node's own socket.
func Reanchor(src Source, from Position, to Hash) (Position, *Trust, error) {
	at, trust, err := Anchor(src, to)
	if err != nil {
		return Position{}, nil, fmt.Errorf("re-%w", err)
	}
	for name, u := range from.Units {
		if u.Revision.IsZero() {
			continue
		}
		u.Vouched, u.Since, u.Waits = nil, Hash{}, Hash{}
		if at.Units == nil {
			at.Units = make(map[string]Unit)
		}
		at.Units[name] = u
	}
	return at, trust, nil
}

// jump is one commit that root may want the position to jump to.
type jump struct {
	commit  Hash
	signers map[string]Approval // root signers by the pinned policy
	counted []Hash
}

// reanchor looks for root's order to go to the rewritten history: a commit near
// its tip, on the first-parent chain, with the signed line "Reanchor: <accepted
// commit>", or signed tags approve/reanchor/… with that line which name one. The
// order of the pinned policy's root threshold counts, and of the new one's where
// that differs. It returns the chain behind the commit, or the refusal.
func (j *judge) reanchor(tip Hash, refusal error) ([]Hash, error) {
	offers, err := j.tags.of(j.history, ReanchorUnit)
	if err != nil {
		return nil, err
	}
	var behind []Hash
	var best *jump
	for id := tip; len(behind) < reanchorReach; {
		n, err := j.history.node(id)
		if err != nil {
			return nil, blame(id, err)
		}
		found, err := j.jumpTo(id, offers)
		if err != nil {
			return nil, err
		}
		if len(found.signers) >= j.trust.RootThreshold {
			next, problem, err := j.jumpTrust(found, offers)
			if err != nil {
				return nil, err
			}
			if problem == "" {
				slices.Reverse(behind)
				return behind, j.jump(found, next)
			}
			refusal = blame(tip, refuse(ReasonRewritten, "root ordered to go to %s, but %s", id.Short(), problem))
		} else if len(found.signers) > 0 && best == nil {
			best = found
		}
		behind = append(behind, id)
		if len(n.parents) == 0 {
			break
		}
		id = n.parents[0]
	}
	if best != nil {
		j.awaits = best.pending(j)
	}
	return nil, refusal
}

// jumpTo collects who ordered to go to the commit.
func (j *judge) jumpTo(id Hash, offers []*tagOffer) (*jump, error) {
	to := &jump{commit: id, signers: make(map[string]Approval)}
	line := j.commit.String()
	add := func(who Approval, object Hash) bool {
		if _, twice := to.signers[who.Signer]; twice || !j.trust.isRoot(who.Signer) {
			return false
		}
		who.Commit = object
		to.signers[who.Signer] = who
		return true
	}
	c, err := j.history.commit(id)
	switch {
	case err == nil && slices.Contains(c.Trailers("Reanchor"), line):
		if who, err := j.trust.signature(c.Payload, c.Signature, j.opts.Now); err == nil {
			add(who, id)
		}
	case err != nil && (isSourceError(err) || !isVerdictOnBytes(err)):
		return nil, err
	}
	for _, o := range offers {
		if o.tag.Object != id || !slices.Contains(strings.Split(o.tag.Message, "\n"), "Reanchor: "+line) {
			continue
		}
		if who, valid := o.signer(j, j.trust); valid && add(who, o.id) {
			to.counted = append(to.counted, o.id)
		}
	}
	return to, nil
}

// jumpTrust reads the policy of the commit. Another one than is pinned must be
// newer, and have its own root's threshold too.
func (j *judge) jumpTrust(to *jump, offers []*tagOffer) (next *Trust, problem string, err error) {
	next, err = LoadTrust(j.history.src, to.commit)
	switch {
	case isSourceError(err):
		return nil, "", err
	case err != nil:
		return nil, err.Error(), nil
	case next.Digest == j.trust.Digest:
		return next, "", nil
	case next.Version <= j.trust.Version:
		return nil, fmt.Sprintf("its trust.yaml has version %d and is not the one in force, which has version %d", next.Version, j.trust.Version), nil
	}
	names := make(map[string]bool)
	payloads := map[Hash][2][]byte{}
	if c, err := j.history.commit(to.commit); err == nil {
		payloads[c.ID] = [2][]byte{c.Payload, c.Signature}
	}
	for _, o := range offers {
		payloads[o.id] = [2][]byte{o.tag.Payload, o.tag.Signature}
	}
	for _, a := range to.signers {
		signed := payloads[a.Commit]
		if who, err := next.signature(signed[0], signed[1], j.opts.Now); err == nil && next.isRoot(who.Signer) {
			names[who.Signer] = true
		}
	}
	if len(names) < next.RootThreshold {
		return nil, fmt.Sprintf("by its own trust.yaml %d of %d root signers signed that", len(names), next.RootThreshold), nil
	}
	return next, "", nil
}

// jump moves the judgement to the commit.
func (j *judge) jump(to *jump, next *Trust) error {
	position, _, err := Reanchor(j.history.src, Position{Commit: j.commit, Units: unitsFrom(j.units)}, to.commit)
	if err != nil {
		return err
	}
	j.reanchored = &Reanchored{From: j.commit, To: to.commit}
	for _, name := range slices.Sorted(maps.Keys(to.signers)) {
		j.reanchored.Signers = append(j.reanchored.Signers, to.signers[name])
	}
	for _, id := range to.counted {
		j.counted[id] = true
	}
	if j.surface, err = j.history.surface(to.commit); err != nil {
		return blame(to.commit, err)
	}
	j.commit, j.anchor, j.units, j.trust = to.commit, true, unitsOf(position), next
	j.signatures.forget()
	return nil
}

// pending says who has to sign the order too.
func (to *jump) pending(j *judge) *Pending {
	p := &Pending{
		Unit: ReanchorUnit, Revision: to.commit, Have: slices.Sorted(maps.Keys(to.signers)), Need: j.trust.RootThreshold,
	}
	for _, name := range j.trust.usableRoot(j.opts.Now) {
		if _, signed := to.signers[name]; !signed {
			p.Eligible = append(p.Eligible, name)
		}
	}
	p.Reason = fmt.Sprintf("the order to go to the rewritten history at %s has %s of root (%s); waits for %s",
		to.commit.Short(), countText(len(to.signers), p.Need), orNobody(p.Have), orNobody(p.Eligible))
	p.Command = reanchorCommand(j.commit, to.commit, len(to.signers)+1)
	return p
}

// reanchorCommand is what a root signer runs to order a jump.
func reanchorCommand(from, to Hash, n int) string {
	return tagCommand(ReanchorUnit, to, n, "Reanchor: "+from.String())
}
