package notify

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// recallEntries is how many audit entries a new leader looks back for what was
// told. What lies further back counts as never told.
const recallEntries = 16384

// told is what one receiver was told, by subject.
type told map[string]tale

// tale is what was told last of a subject.
type tale struct {
	value string
	// index is that of the log entry that recorded the last that was recorded, 0
	// when there is none; since counts what was told after it. The next id is made
	// from both.
	index uint64
	since int
}

// tellEvent is how the log keeps that somebody was told.
func tellEvent(receiver string, f fact) cluster.Event {
	e := cluster.Event{
		Type: cluster.EventNotified, Deployment: f.notice.Deployment,
		Message: fmt.Sprintf("told %s: %s %s", receiver, f.subject, f.value),
	}
	revision := f.notice.Revision
	if f.status.revision != "" {
		revision = f.status.revision
	}
	if id, err := signing.ParseHash(revision); err == nil {
		e.Revision = id
	}
	return e
}

// parseTell is the inverse of tellEvent.
func parseTell(e cluster.Event) (receiver, subject, value string, ok bool) {
	rest, isTell := strings.CutPrefix(e.Message, "told ")
	receiver, rest, named := strings.Cut(rest, ": ")
	subject, value, whole := strings.Cut(rest, " ")
	return receiver, subject, value, e.Type == cluster.EventNotified && isTell && named && whole
}

// recall reads from the log what earlier leaders told, by receiver.
func recall(snapshot *cluster.Snapshot) (map[string]told, error) {
	all := map[string]told{}
	head := snapshot.AuditHead().Number
	for e, err := range snapshot.Events(head-min(head, recallEntries), true) {
		if err != nil {
			return all, fmt.Errorf("read what was told: %w", err)
		}
		receiver, subject, value, ok := parseTell(e.Event)
		if !ok {
			continue
		}
		if all[receiver] == nil {
			all[receiver] = told{}
		}
		if _, newer := all[receiver][subject]; !newer {
			all[receiver][subject] = tale{value: value, index: e.Index}
		}
	}
	return all, nil
}

// book is what one receiver was told, and what has yet to settle.
type book struct {
	told  told
	since map[string]settling // by subject
	begun bool
}

// settling is a value with the time at which it began to hold.
type settling struct {
	value string
	at    time.Time
}

func newBook(known told) *book {
	if known == nil {
		known = told{}
	}
	return &book{told: known, since: map[string]settling{}}
}

// news returns which of the facts are to be told, sorted by subject, and when to
// look again though nothing changed; zero: never. What it returns counts as told.
func (b *book) news(facts []fact, now time.Time) (tell []fact, next time.Time) {
	present := map[string]bool{}
	for _, f := range facts {
		f = b.follow(f)
		present[f.subject] = true
		known, ever := b.told[f.subject]
		switch due := b.due(f, known, now); {
		case f.hold || known.value == f.value:
		case f.silent, f.fine && !ever && !b.begun:
			b.told[f.subject] = tale{f.value, known.index, known.since}
		case now.Before(due):
			if next.IsZero() || due.Before(next) {
				next = due
			}
			continue
		default:
			tell = append(tell, b.tell(f))
		}
		delete(b.since, f.subject)
	}
	b.begun = true
	for subject := range b.since {
		if !present[subject] {
			delete(b.since, subject)
		}
	}
	for subject, known := range b.told {
		if present[subject] || !strings.HasPrefix(subject, statusPrefix) {
			continue
		}
		if f := replaced(subject, known.value); f != nil {
			tell = append(tell, b.tell(*f))
		}
		delete(b.told, subject)
	}
	slices.SortFunc(tell, func(a, b fact) int { return strings.Compare(a.subject, b.subject) })
	return tell, next
}

// follow has a change that waits keep the revision at which that was told first.
func (b *book) follow(f fact) fact {
	if !f.follows {
		return f
	}
	for subject, known := range b.told {
		if known.value == f.value && strings.HasPrefix(subject, statusPrefix) && unitOf(subject) == unitOf(f.subject) {
			f.subject, f.status.revision = subject, strings.TrimPrefix(subject, unitOf(subject))
			return f
		}
	}
	return f
}

// due is when the fact may be told.
func (b *book) due(f fact, known tale, now time.Time) time.Time {
	if f.settle == 0 || f.hold || f.silent || known.value == f.value {
		return now
	}
	if b.since[f.subject].value != f.value {
		b.since[f.subject] = settling{f.value, now}
	}
	return b.since[f.subject].at.Add(f.settle)
}

// tell notes that the fact is told.
func (b *book) tell(f fact) fact {
	known := b.told[f.subject]
	f.after = known
	b.told[f.subject] = tale{value: f.value, index: known.index, since: known.since + 1}
	return f
}

// recorded notes which log entry keeps that a fact was told.
func (b *book) recorded(f fact, index uint64) {
	if known, ok := b.told[f.subject]; ok && known.value == f.value {
		b.told[f.subject] = tale{value: f.value, index: index}
	}
}

// driftTold is what is told of drift up to an audit entry.
func driftTold(number uint64) tale { return tale{value: strconv.FormatUint(number, 10)} }

// number is what a drift fact's value says, 0 for none.
func (t told) number() uint64 {
	n, err := strconv.ParseUint(t[driftSubject].value, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
