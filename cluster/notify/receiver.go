package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

const (
	// maxQueue bounds what waits for one receiver; the oldest is dropped.
	maxQueue = 256
	// firstRetry doubles with every failure in a row, up to lastRetry.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// giveUp is how long one message is tried.
	giveUp = 24 * time.Hour
	// failuresToRecord is how many failures in a row make an event of it: one that
	// passes is not worth an audit entry.
	failuresToRecord = 3
	recordTimeout    = 10 * time.Second
)

// sender carries one message. The error holds no secret; it wraps errFinal when
// the same message will never be taken.
type sender interface {
	send(ctx context.Context, m message) error
}

// message is a fact on its way to a receiver.
type message struct {
	fact
	// id is the same whichever leader sends it, and however often.
	id   string
	at   time.Time // when it was found
	info clusterInfo
}

// clusterInfo names the cluster.
type clusterInfo struct{ id, name string }

// errFinal is wrapped by what cannot be mended by trying again.
var errFinal = errors.New("not tried again")

// retryError carries the time that a receiver asks for.
type retryError struct {
	err   error
	after time.Duration
}

// Error implements error.
func (e *retryError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *retryError) Unwrap() error { return e.err }

// receiver is one channel, or the forge, with its queue and its goroutine.
type receiver struct {
	name   string
	sender sender
	info   clusterInfo
	record func(ctx context.Context, events []cluster.Event) (index uint64, err error)
	now    func() time.Time
	logger *slog.Logger
	wake   chan struct{}

	mu    sync.Mutex // guards the fields below
	book  *book
	queue []message
}

// take finds what is new, queues it, and returns when to look again.
func (r *receiver) take(facts []fact, now time.Time) (next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tell, next := r.book.news(facts, now)
	for _, f := range tell {
		r.enqueueLocked(message{fact: f, id: messageID(r.info.id, r.name, f), at: now, info: r.info})
	}
	if len(tell) > 0 {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	return next
}

// enqueueLocked puts a message at the end. An older one of the same subject has
// nothing to say any more; what drifted stays true.
func (r *receiver) enqueueLocked(m message) {
	if m.subject != driftSubject {
		r.queue = slices.DeleteFunc(r.queue, func(o message) bool { return o.subject == m.subject })
	}
	if len(r.queue) == maxQueue {
		r.logger.Warn("too many notifications wait; the oldest is dropped", "receiver", r.name, "subject", r.queue[0].subject)
		r.queue = slices.Delete(r.queue, 0, 1)
	}
	r.queue = append(r.queue, m)
}

// messageID is the same for the same message of any leader that knows the same
// of what was told before.
func messageID(cluster, receiver string, f fact) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "jaco notification 1\x00%s\x00%s\x00%s\x00%s\x00%d\x00%d", cluster, receiver, f.subject, f.value, f.after.index, f.after.since))
	return "msg_" + hex.EncodeToString(sum[:16])
}

// first returns the message that is next.
func (r *receiver) first() (message, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return message{}, false
	}
	return r.queue[0], true
}

// done takes a message out of the queue, unless a newer one of its subject has
// taken its place.
func (r *receiver) done(m message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = slices.DeleteFunc(r.queue, func(o message) bool { return o.id == m.id })
}

// run sends what is queued, one after the other, until ctx ends.
func (r *receiver) run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		m, waits := r.first()
		if !waits {
			select {
			case <-ctx.Done():
			case <-r.wake:
			}
			continue
		}
		err := r.sender.send(ctx, m)
		switch {
		case ctx.Err() != nil: // the term is over: the next leader sends it
			return
		case err == nil:
			failures = 0
			r.done(m)
			r.tell(ctx, m)
			continue
		}
		failures++
		final := errors.Is(err, errFinal) || r.now().Sub(m.at) > giveUp
		r.logger.Warn("a notification was not taken", "receiver", r.name, "subject", m.subject, "value", m.value, "failures", failures, "final", final, "error", err)
		if final || failures == failuresToRecord {
			r.complain(ctx, m, err)
		}
		if final {
			r.done(m)
			continue
		}
		if !pause(ctx, retryAfter(failures, err)) {
			return
		}
	}
}

// retryAfter is the wait after a number of failures in a row.
func retryAfter(failures int, err error) time.Duration {
	const enough = 10 // doublings of a second reach the longest wait
	wait := min(lastRetry, firstRetry<<min(failures-1, enough))
	var asked *retryError
	if errors.As(err, &asked) {
		wait = max(wait, min(asked.after, time.Hour))
	}
	return wait
}

// tell has the log keep that the message was taken.
func (r *receiver) tell(ctx context.Context, m message) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	index, err := r.record(ctx, []cluster.Event{tellEvent(r.name, m.fact)})
	if err != nil {
		r.logger.Debug("it is not recorded who was told", "receiver", r.name, "error", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.book.recorded(m.fact, index)
}

// complain has the log say that a receiver does not take what it is sent.
func (r *receiver) complain(ctx context.Context, m message, cause error) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	event := tellEvent(r.name, m.fact)
	event.Type, event.Message = cluster.EventNotNotified, fmt.Sprintf("%s was not told %s %s: %s", r.name, m.subject, m.value, cause)
	if _, err := r.record(ctx, []cluster.Event{event}); err != nil {
		r.logger.Debug("it is not recorded who was not told", "receiver", r.name, "error", err)
	}
}

// pause returns false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
