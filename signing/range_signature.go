package signing

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// maxWindow is the number of chain commits whose signatures are checked at
// once, at most. It starts at one and doubles, so that little is checked in
// vain when the range ends early.
const maxWindow = 256

// checked is the answer about one commit's signature, by the trust in force.
type checked struct {
	who Approval
	err error
}

// signatures checks the signatures of one judgement, ahead of its walk and on
// all processors. Objects are read by the caller's goroutine alone, in order,
// so that what is read never depends on how the workers run.
type signatures struct {
	history *history
	now     time.Time
	known   map[Hash]checked
	window  int
	next    *batch // what comes behind the known ones, being worked on; or nil
}

// of returns who signed the commit, or why the signature does not count. Ahead
// are the chain commits that are not judged yet.
func (s *signatures) of(id Hash, ahead []Hash, trust *Trust) (Approval, error) {
	if _, known := s.known[id]; !known {
		if len(ahead) > 0 && ahead[0] == id {
			s.move(ahead, trust)
		} else {
			s.check([]Hash{id}, trust)
		}
	}
	found := s.known[id]
	return found.who, found.err
}

// check makes the answers about some commits known.
func (s *signatures) check(ids []Hash, trust *Trust) {
	b := s.start(ids, trust)
	b.finish()
	b.report(s.known)
}

// move makes the answers about the next commits of the chain known, and starts
// on those behind them.
func (s *signatures) move(ahead []Hash, trust *Trust) {
	clear(s.known) // what lies behind is not asked for again
	b := s.next
	if b == nil {
		s.window = 1
		b = s.start(ahead[:1], trust)
	}
	b.finish()
	b.report(s.known)
	s.next = nil
	if rest := ahead[min(len(b.commits), len(ahead)):]; len(rest) > 0 && b.err == nil {
		s.window = min(2*s.window, maxWindow)
		s.next = s.start(rest[:min(s.window, len(rest))], trust)
	}
}

// forget drops all answers: they were given by a policy no longer in force.
func (s *signatures) forget() {
	s.stop()
	clear(s.known)
}

// stop ends the workers and waits for them.
func (s *signatures) stop() {
	if s.next != nil {
		s.next.cancel()
		s.next = nil
	}
}

// batch is some commits whose signatures are being checked.
type batch struct {
	commits []*Commit
	answers []checked
	trust   *Trust
	now     time.Time
	taken   atomic.Int64
	workers sync.WaitGroup
	// unread is the commit behind the others that could not be read, for err.
	unread Hash
	err    error
}

// start reads the commits and sets workers on their signatures; the caller's
// goroutine, which joins in by finish, is one of the processors' share.
func (s *signatures) start(ids []Hash, trust *Trust) *batch {
	b := &batch{trust: trust, now: s.now}
	for _, id := range ids {
		c, err := s.history.commit(id)
		if err != nil {
			b.unread, b.err = id, err
			break
		}
		b.commits = append(b.commits, c)
	}
	b.answers = make([]checked, len(b.commits))
	for range min(runtime.GOMAXPROCS(0), len(b.commits)) - 1 {
		b.workers.Go(b.work)
	}
	return b
}

// work checks one signature after the other until none is left.
func (b *batch) work() {
	for i := b.taken.Add(1) - 1; i < int64(len(b.commits)); i = b.taken.Add(1) - 1 {
		c := b.commits[i]
		b.answers[i].who, b.answers[i].err = b.trust.signature(c.Payload, c.Signature, b.now)
		b.answers[i].who.Commit = c.ID
	}
}

// finish helps with what is left and waits for the workers.
func (b *batch) finish() {
	b.work()
	b.workers.Wait()
}

// cancel waits for the workers without giving them more to do.
func (b *batch) cancel() {
	b.taken.Store(int64(len(b.commits)))
	b.workers.Wait()
}

// report hands out the answers of a finished batch.
func (b *batch) report(to map[Hash]checked) {
	for i, c := range b.commits {
		to[c.ID] = b.answers[i]
	}
	if b.err != nil {
		to[b.unread] = checked{err: b.err}
	}
}
