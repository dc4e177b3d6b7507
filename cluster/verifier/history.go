package verifier

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// Mark tells a claim from every other one, also from one of the same number in
// another log. The zero mark stands for no claim.
type Mark struct {
	Number uint64 `json:"number"`
	Index  uint64 `json:"index"` // raft index
	// Digest is the SHA-256 over every field of the claim.
	Digest Digest `json:"digest"`
}

// markOf returns the mark of a claim. Never change it: it is on disk.
func markOf(c cluster.Claim) Mark {
	b := []byte("jaco claim v1\x00")
	b = binary.BigEndian.AppendUint64(b, c.Number)
	b = append(b, c.From[:]...)
	b = append(b, c.Commit[:]...)
	b = append(b, c.Digest[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Time.Unix()))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Time.Nanosecond()))
	b = binary.BigEndian.AppendUint64(b, c.Index)
	for _, tag := range c.Tags { // none: as before there were tags
		b = append(b, tag[:]...)
	}
	return Mark{Number: c.Number, Index: c.Index, Digest: sha256.Sum256(b)}
}

// in reports whether a state holds the claim. Every state holds no claim.
func (m Mark) in(snapshot *cluster.Snapshot) bool {
	if m.Number == 0 {
		return true
	}
	claim, found := snapshot.Claim(m.Number)
	return found && markOf(claim) == m
}

// follow compares the state with what this node judged in earlier ones, and
// reports whether its claims may be judged. The log only grows, so an honest
// state continues the last one, or is on its way there after a restart. Any
// other was made by a leader that lies now or lied before, and it cannot be told
// which of the two: the node goes back to the last claim that it accepted, and
// judges from there what is new to it. Its position only moves forward all the
// same, whatever the state says.
func (v *Verifier) follow(snapshot *cluster.Snapshot) (bool, error) {
	meta := snapshot.Meta()
	if meta == nil {
		v.setProblem(fmt.Errorf("%w: nothing of it has arrived", ErrWaiting))
		if v.seen() == 0 {
			return false, nil
		}
		v.changedHistory()
		return false, v.misled(JournalEntry{Reason: ReasonHistory, Detail: "the state is empty: what this node followed was taken away"})
	}
	record := v.Record()
	if foreign := record.foreign(meta); foreign != "" {
		v.changedHistory()
		v.setProblem(fmt.Errorf("%w: %s", ErrReplaced, foreign))
		return false, v.misled(JournalEntry{Reason: ReasonHistory, Detail: foreign})
	}
	if snapshot.Index() < v.seen() {
		v.changedHistory()
	}
	if record.adopt(snapshot) {
		v.setRecord(record)
	}
	accepted := record.Accepted.in(snapshot)
	switch {
	case accepted && record.Astray: // what was followed before is back
		record.Astray = false
		if err := v.realign(record, record.Accepted); err != nil {
			return false, err
		}
	case record.Judged.in(snapshot):
	case v.behind(snapshot, &record):
		v.setProblem(fmt.Errorf("%w: it is at entry %d, and claim %d, which this node judged, at entry %d",
			ErrWaiting, snapshot.Index(), record.Claim, record.Judged.Index))
		return false, nil
	default:
		if err := v.replaced(snapshot, record, accepted); err != nil {
			return false, err
		}
	}
	v.setLagging(false)
	if accepted {
		v.setProblem(nil)
		return true, nil
	}
	v.setProblem(fmt.Errorf("%w: claim %d, which this node accepted, is not in it; the node keeps what it accepted until a claim leads on from there",
		ErrReplaced, record.Accepted.Number))
	return true, nil
}

// replaced takes note of a log that is not the one whose claims were judged, and
// goes back to what the two have in common.
func (v *Verifier) replaced(snapshot *cluster.Snapshot, record Record, accepted bool) error {
	detail := fmt.Sprintf("claim %d, which this node judged, is another one now", record.Claim)
	if last, _ := snapshot.LastClaim(); last.Number < record.Claim {
		detail = fmt.Sprintf("the log ends with claim %d at entry %d; this node judged claim %d", last.Number, snapshot.Index(), record.Claim)
	}
	err := v.misled(JournalEntry{Claim: record.Claim, Commit: record.Position.Commit, Reason: ReasonHistory, Detail: detail})
	if err != nil {
		return err
	}
	record.Astray = !accepted
	return v.realign(record, base(snapshot, &record, accepted))
}

// judgedAgain is how many claims of a log that does not hold what this node
// accepted are judged. The newest is enough to go on with: it says all that the
// ones before it said.
const judgedAgain = 64

// base is the claim of another log from which on it is judged.
func base(snapshot *cluster.Snapshot, record *Record, accepted bool) Mark {
	if accepted {
		return record.Accepted
	}
	last, _ := snapshot.LastClaim()
	if last.Number <= judgedAgain {
		return Mark{}
	}
	claim, _ := snapshot.Claim(last.Number - judgedAgain)
	return markOf(claim)
}

// foreign says why a state is not that of the node's cluster, or "".
func (r *Record) foreign(meta *cluster.Meta) string {
	switch {
	case meta.ID != r.ClusterID:
		return fmt.Sprintf("the state is that of cluster %s; this node belongs to %s", meta.ID, r.ClusterID)
	case meta.Anchor != r.Anchor:
		return fmt.Sprintf("the state is anchored at %s; this node pinned %s", meta.Anchor, r.Anchor)
	}
	return ""
}

// adopt fills in the marks that a record from an earlier build lacks, once the
// state holds the claims, and reports whether it did.
func (r *Record) adopt(snapshot *cluster.Snapshot) bool {
	if r.Judged.Number != 0 {
		return false
	}
	last, found := snapshot.Claim(r.Claim)
	if !found {
		r.Judged.Number = r.Claim // which one it was is not known; 0: there was none
		return false
	}
	r.Judged = markOf(last)
	for number := r.Claim; number > 0; number-- {
		if claim, _ := snapshot.Claim(number); claim.Commit == r.Position.Commit {
			r.Accepted = markOf(claim)
			break
		}
	}
	return true
}

// behind reports whether the state is merely on its way to the last claim that
// was judged, as it is after a restart: there is no other claim in its place, the
// state never was that far in this process, and the leader has more.
func (v *Verifier) behind(snapshot *cluster.Snapshot, record *Record) bool {
	_, another := snapshot.Claim(record.Claim)
	unknown := record.Judged.Index == 0
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lagging = !another && (unknown || snapshot.Index() < record.Judged.Index && v.live.seen < record.Judged.Index) &&
		!v.live.ends(snapshot.Index(), v.live.changed)
	return v.lagging
}

// realign goes on from a claim that the state holds.
func (v *Verifier) realign(record Record, base Mark) error {
	v.changedHistory()
	record.Claim, record.Judged, record.Refusal = base.Number, base, nil
	return v.save(record, nil)
}

// passOver reports whether a claim in a log that does not hold what this node
// accepted lies behind that: an honest leader may not have come as far, and
// there is nothing to do.
func (v *Verifier) passOver(snapshot *cluster.Snapshot, record *Record, claim cluster.Claim) (bool, error) {
	if record.Accepted.in(snapshot) || claim.Commit == record.Position.Commit {
		return false, nil
	}
	if v.pastOf != record.Position.Commit {
		past, err := firstParents(v.config.Objects, record.Position.Commit, record.Anchor)
		if err != nil {
			return false, err
		}
		v.past, v.pastOf = past, record.Position.Commit
	}
	return v.past[claim.Commit], nil
}

// firstParents returns the commits behind one, back to the anchor, or as far as
// there are objects.
func firstParents(src signing.Source, commit, anchor signing.Hash) (map[signing.Hash]bool, error) {
	past := map[signing.Hash]bool{}
	for commit != anchor {
		object, err := signing.ReadCommit(src, commit)
		if errors.Is(err, signing.ErrNotFound) {
			return past, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read accepted history: %w", err)
		}
		if len(object.Parents) == 0 {
			return past, nil
		}
		commit = object.Parents[0]
		past[commit] = true
	}
	return past, nil
}

func (v *Verifier) changedHistory() {
	now := v.config.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live.changed = now
}

func (v *Verifier) seen() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.live.seen
}

func (v *Verifier) setLagging(lagging bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lagging = lagging
}
