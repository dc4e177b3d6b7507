package mesh

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// Memory is what outlives the process. Its JSON is a file; fields are added,
// never renamed.
type Memory struct {
	// Next is the number of the next event; numbers start from 1.
	Next uint64 `json:"next"`
	// Events are those that jacod has not been told of for sure.
	Events []cluster.EdgeEvent `json:"events,omitempty"`
	// Generation is the firewall's.
	Generation uint64 `json:"generation"`
}

const (
	// maxEvents bounds the events that wait for a jacod to take them, maxMessage
	// the bytes of one's text, and maxHeld the kinds of difference that are counted
	// rather than told.
	maxEvents  = 256
	maxMessage = 4 << 10
	maxHeld    = 64
)

// The pace at which events are told: whoever changes things by hand sees every
// change, and a program that fights ours does not fill the audit log. One and the
// same difference is told sameBurst times and then once every sameEvery; all of
// them together anyBurst times, and then once every anyEvery.
const (
	sameBurst = 5
	sameEvery = 20 * time.Second
	anyBurst  = 60
	anyEvery  = 5 * time.Second
)

// journal numbers what was repaired, at a bounded pace, and keeps it until jacod
// has it in the audit log.
type journal struct {
	deps   Deps
	notify func()
	bell   chan struct{}

	mu     sync.Mutex // guards the fields below
	memory Memory     // as it was stored; run alone changes it
	acked  uint64     // what jacod has
	level  uint64     // the firewall's generation now
	// unmended are differences of facilities that are not right again yet.
	unmended map[cluster.EventType][]string
	queue    []note
}

// note is something to tell.
type note struct {
	kind    cluster.EventType
	message string
}

func newJournal(deps Deps, memory Memory, notify func()) *journal {
	memory.Next = max(memory.Next, 1)
	for _, e := range memory.Events {
		memory.Next = max(memory.Next, e.Number+1)
	}
	return &journal{
		deps: deps, notify: notify, bell: make(chan struct{}, 1),
		memory: memory, level: memory.Generation, unmended: map[cluster.EventType][]string{},
	}
}

// pending are the events that jacod does not have.
func (j *journal) pending() []cluster.EdgeEvent {
	j.mu.Lock()
	defer j.mu.Unlock()
	return after(j.memory.Events, j.acked)
}

// after are the events with higher numbers.
func after(events []cluster.EdgeEvent, number uint64) []cluster.EdgeEvent {
	return slices.DeleteFunc(slices.Clone(events), func(e cluster.EdgeEvent) bool { return e.Number <= number })
}

// seen takes in the number of the newest event that jacod has; 0 says nothing.
func (j *journal) seen(number uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if number > j.acked {
		j.acked = number
		ring(j.bell)
	}
}

// generation takes in the firewall's.
func (j *journal) generation(level uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if level > j.level {
		j.level = level
		ring(j.bell)
	}
}

// repaired takes in what was found different. It is told once that is right
// again, as the event says so.
func (j *journal) repaired(kind cluster.EventType, differences []string, right bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, d := range differences {
		if waiting := j.unmended[kind]; !slices.Contains(waiting, d) && len(waiting) < maxHeld {
			j.unmended[kind] = append(waiting, d)
		}
	}
	if right && len(j.unmended[kind]) > 0 {
		j.queue = append(j.queue, note{kind, message(j.unmended[kind])})
		delete(j.unmended, kind)
		ring(j.bell)
	}
}

// message is the text of an event, of a bounded size.
func message(differences []string) string {
	text := ""
	for i, d := range differences {
		if i > 0 {
			d = "; " + d
		}
		switch left := maxMessage - len(text); {
		case len(d) <= left:
			text += d
		case i > 0:
			return fmt.Sprintf("%s; and %d more", text, len(differences)-i)
		default:
			text = strings.ToValidUTF8(d[:left], "") + "…"
		}
	}
	return text
}

// run writes what comes until ctx ends, and what it has then.
func (j *journal) run(ctx context.Context) {
	pacer := newPacer(j.deps.Clock())
	timer := time.NewTimer(anyEvery)
	defer timer.Stop()
	for {
		done := false
		select {
		case <-ctx.Done():
			done = true
		case <-j.bell:
		case <-timer.C:
		}
		if j.write(pacer, done) {
			timer.Reset(anyEvery)
		}
		if done {
			return
		}
	}
}

// write moves the queue into the memory and stores it. It reports whether
// something is held back; last says that nothing is to be.
func (j *journal) write(pacer *pacer, last bool) (held bool) {
	j.mu.Lock()
	stored, acked, level, queue := j.memory, j.acked, j.level, j.queue
	j.queue = nil
	j.mu.Unlock()

	memory := Memory{Next: stored.Next, Generation: level}
	if acked < memory.Next {
		memory.Events = after(stored.Events, acked)
	} else {
		// A number that this journal never gave: it was lost. Those after it are new
		// to jacod.
		memory.Next = acked + 1
		for _, e := range stored.Events {
			memory.Events = append(memory.Events, cluster.EdgeEvent{Number: memory.Next, Event: e.Event})
			memory.Next++
		}
	}
	for _, n := range pacer.admit(j.deps.Clock(), queue, last) {
		memory.Events = append(memory.Events, cluster.EdgeEvent{Number: memory.Next, Event: cluster.Event{Type: n.kind, Message: n.message}})
		memory.Next++
	}
	memory.Events = bounded(memory.Events)
	if memory.Next == stored.Next && memory.Generation == stored.Generation && len(memory.Events) == len(stored.Events) {
		return pacer.holds()
	}
	// On disk before anybody hears a number, so that none is ever given twice.
	if err := j.deps.Keep(memory); err != nil {
		j.deps.Logger.Warn("cannot keep what was repaired; it may be told again after a restart", "error", err)
	}
	j.mu.Lock()
	j.memory = memory
	j.mu.Unlock()
	j.notify()
	return pacer.holds()
}

// bounded leaves out the newest of too many events, and says so in the last one
// that stays.
func bounded(events []cluster.EdgeEvent) []cluster.EdgeEvent {
	if len(events) <= maxEvents {
		return events
	}
	last := events[len(events)-1] // keeps its number: those between were given up
	last.Event.Message = message([]string{last.Event.Message, "there were more before it than are kept"})
	return append(events[:maxEvents-1:maxEvents-1], last)
}

// pacer decides which notes are told now. What it holds back it counts.
type pacer struct {
	any  bucket
	same map[note]*bucket
	held []heldNote
}

type heldNote struct {
	note
	times int
}

// bucket is a token bucket.
type bucket struct {
	tokens int
	since  time.Time // when the last token fell into it
}

// fill adds the tokens of the time that has passed.
func (b *bucket) fill(now time.Time, burst int, every time.Duration) {
	if n := int(now.Sub(b.since) / every); n > 0 {
		b.tokens = min(b.tokens+n, burst)
		b.since = b.since.Add(time.Duration(n) * every)
	}
	if b.tokens == burst {
		b.since = now
	}
}

func newPacer(now time.Time) *pacer {
	return &pacer{any: bucket{anyBurst, now}, same: map[note]*bucket{}}
}

func (p *pacer) holds() bool { return len(p.held) > 0 }

// admit returns what is told now: of those held back and then of the new ones;
// all of them when last says that there is no later.
func (p *pacer) admit(now time.Time, queue []note, last bool) []note {
	p.any.fill(now, anyBurst, anyEvery)
	for n, b := range p.same {
		if b.fill(now, sameBurst, sameEvery); b.tokens == sameBurst {
			delete(p.same, n) // a full one is like none
		}
	}
	var out []note
	waiting := p.held
	p.held = nil
	for _, h := range waiting {
		if last || p.take(now, h.note) {
			out = append(out, h.told())
		} else {
			p.hold(h)
		}
	}
	for _, n := range queue {
		if last || p.take(now, n) {
			out = append(out, n)
		} else {
			p.hold(heldNote{n, 1})
		}
	}
	return out
}

// take reports whether a note may be told.
func (p *pacer) take(now time.Time, n note) bool {
	b := p.same[n]
	if b == nil {
		b = &bucket{sameBurst, now}
	}
	if p.any.tokens == 0 || b.tokens == 0 || slices.ContainsFunc(p.held, func(h heldNote) bool { return h.note == n }) {
		return false
	}
	p.any.tokens--
	b.tokens--
	p.same[n] = b
	return true
}

// hold counts a note that is not told now. Of too many different ones only the
// number is known.
func (p *pacer) hold(h heldNote) {
	i := slices.IndexFunc(p.held, func(other heldNote) bool { return other.note == h.note })
	if i < 0 && len(p.held) >= maxHeld {
		h.message = tooMany
		i = slices.IndexFunc(p.held, func(other heldNote) bool { return other.note == h.note })
	}
	if i >= 0 {
		p.held[i].times += h.times
		return
	}
	p.held = append(p.held, h)
}

const tooMany = "more kinds of differences than are kept apart"

// told is the note with how often it was held back.
func (h heldNote) told() note {
	if h.times > 1 {
		h.message = message([]string{h.message, fmt.Sprintf("%d times since it was told last", h.times)})
	}
	return h.note
}
