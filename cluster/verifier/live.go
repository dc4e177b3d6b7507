package verifier

import (
	"fmt"
	"slices"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// clockTolerance is how far an entry's time may be from this node's clock
// while the node follows live (docs/architecture.md: Trust).
const clockTolerance = 5 * time.Minute

// maxContacts bounds the contacts that are kept while no claim can be judged.
const maxContacts = 64

// contact says that at a moment of this node's clock the leader's log ended at
// an index: what stands above it was made after that moment.
type contact struct {
	index uint64
	at    time.Time
}

// liveness is what this node knows about when entries were made, by its own
// clock. The caller holds the Verifier's mutex.
type liveness struct {
	// contacts are in order of both index and time: an index that is heard again
	// later, or a lower one, says all that the higher ones said, and more.
	contacts []contact
	// seen is the index of the state in which every claim has been judged: a
	// claim that is new to a later state was made after it, whatever index it
	// names.
	seen uint64
	// changed is when the state was last found not to continue the one before;
	// zero when its indexes are those of one growing log. Until the leader says
	// that there is no more, old entries may come under any index.
	changed time.Time
	// before is a contact of an earlier process. It says what came after it, but
	// not that the log that is being replayed has ended.
	before *contact
}

// recall takes in what an earlier process heard. A clock that was set back since
// makes it worthless.
func (l *liveness) recall(heard *Heard, now time.Time) {
	if heard != nil && !heard.At.After(now) {
		l.before = &contact{heard.Index, heard.At}
	}
}

// latest returns the newest contact that the state has come up to, if it is news
// for what is on disk. One contact in clockTolerance is enough there: to know
// less makes the check of times laxer by as much.
func (l *liveness) latest(kept *Heard) *Heard {
	if len(l.contacts) == 0 || l.contacts[0].index > l.seen {
		return nil
	}
	c := l.contacts[0]
	if kept != nil && c.at.Sub(kept.At) < clockTolerance && c.at.After(kept.At) {
		return nil
	}
	if kept != nil && *kept == (Heard{c.index, c.at}) {
		return nil
	}
	return &Heard{c.index, c.at}
}

// hear takes in a contact.
func (l *liveness) hear(index uint64, at time.Time) {
	l.contacts = slices.DeleteFunc(l.contacts, func(c contact) bool { return c.index >= index })
	l.contacts = append(l.contacts, contact{index, at})
	if n := len(l.contacts); n > maxContacts {
		l.contacts = slices.Delete(l.contacts, n-2, n-1)
	}
}

// reached notes that every claim of a state was judged, and forgets the contacts
// that no later claim can lie between.
func (l *liveness) reached(index uint64) {
	l.seen = index
	for len(l.contacts) > 1 && l.contacts[1].index <= index {
		l.contacts = slices.Delete(l.contacts, 0, 1)
	}
	if l.ends(index, l.changed) {
		l.changed = time.Time{}
	}
}

// ends reports whether the leader said, at a moment or later, that its log ends
// at or below an index.
func (l *liveness) ends(index uint64, since time.Time) bool {
	return slices.ContainsFunc(l.contacts, func(c contact) bool { return c.index <= index && !c.at.Before(since) })
}

// madeAfter returns the latest moment that the entry at an index was made after,
// as far as this node knows; zero when it knows of none. A clock that was set
// back since is not held against the entry.
func (l *liveness) madeAfter(index uint64, now time.Time) time.Time {
	index = max(index, l.seen+1)
	var after time.Time
	contacts := l.contacts
	if l.before != nil {
		contacts = append(slices.Clone(contacts), *l.before)
	}
	for _, c := range contacts {
		if (c.index < index || !l.changed.IsZero()) && c.at.After(after) {
			after = c.at
		}
	}
	if after.After(now) {
		return now
	}
	return after
}

// FollowLive says that the leader's log ends at index now: what comes above it is
// made from now on, and its time must not be more than 5 minutes before. The
// leader itself calls it at the start of its term, once it has applied what
// earlier terms left.
func (v *Verifier) FollowLive(index uint64) { v.FollowSince(index, v.config.Now()) }

// FollowSince says the same of a moment in the past. A follower calls it with
// what the leader answered, and the time at which it asked: an answer may be old
// when it is read. To call it rarely makes the check of times laxer, never
// stricter.
//
// The index must be that of the last entry in the leader's log, or the one that
// it has applied when it answers after the barrier of its term: entries of
// earlier terms that it has yet to apply are not new.
func (v *Verifier) FollowSince(index uint64, asked time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live.hear(index, asked)
	if v.lagging || v.live.latest(v.record.Heard) != nil {
		select { // the state may be all there is, though it ends early
		case v.poke <- struct{}{}:
		default:
		}
	}
}

// judgingTime returns the time by which a claim is judged, or what is wrong with
// its own. As long as the state's indexes cannot be trusted, no time is refused
// for its age: but then nothing is judged by an earlier time than this node can
// vouch for, so that no expired key comes back to life.
func (v *Verifier) judgingTime(record *Record, claim cluster.Claim) (time.Time, string) {
	now := v.config.Now()
	v.mu.Lock()
	after, changed := v.live.madeAfter(claim.Index, now), !v.live.changed.IsZero()
	v.mu.Unlock()
	floor := after
	if !after.IsZero() {
		floor = after.Add(-clockTolerance)
	}
	last := record.Time
	if last.After(now.Add(clockTolerance)) {
		// This node accepted it while its clock was ahead, and would wait for that
		// time to come. What it can vouch for bounds the age all the same.
		last = time.Time{}
	}
	switch {
	case claim.Time.After(now.Add(clockTolerance)):
		return now, fmt.Sprintf("its time %s is in the future of this node's clock, %s", timeText(claim.Time), timeText(now))
	case changed:
		return latest(claim.Time, last, floor), ""
	case claim.Time.Before(last):
		return now, fmt.Sprintf("its time %s is before that of the last accepted claim, %s", timeText(claim.Time), timeText(last))
	case claim.Time.Before(floor):
		return now, fmt.Sprintf("its time %s is back-dated: by this node's clock it was made after %s", timeText(claim.Time), timeText(after))
	}
	return claim.Time, ""
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }
