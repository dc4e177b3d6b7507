package gitsync

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// firstRetry is the wait after a first failure; it doubles up to the interval.
const firstRetry = time.Second

// Soft is what is known here and now, and recorded nowhere.
type Soft struct {
	// Head is the newest commit that was seen; zero before the first.
	Head signing.Hash
	// FetchedAt is when the repository last answered; zero when it never did.
	FetchedAt time.Time
	// Fetching says that a round is under way.
	Fetching bool
	// LastError is why the last round was not finished; nil when it was, a
	// refused head included.
	LastError error
}

// repository is what a Syncer needs of a Mirror.
type repository interface {
	signing.Source
	Fetch(ctx context.Context) (signing.Hash, error)
	Tags() []signing.Hash
	Contains(head signing.Hash, prefix string) (bool, error)
	// suspect is told that objects of the head are missing, and says whether
	// the next Fetch can help.
	suspect(head signing.Hash) bool
	release()
}

var _ repository = (*Mirror)(nil)

// Syncer follows a repository: it wakes, fetches, has the head judged, and
// proposes what can be accepted. Only one node of a cluster runs one at a time.
type Syncer struct {
	config  Config
	judge   Judge
	log     Log
	mirror  repository
	watcher *refWatcher // nil for a remote repository
	wake    chan struct{}

	mu      sync.Mutex // guards the fields below
	soft    Soft
	changed chan struct{} // closed and replaced at each change
	begun   uint64        // rounds
	ended   uint64        // rounds
	stopped bool          // Run has returned
	again   bool          // what was settled is to be judged again
}

// New prepares a Syncer; nothing runs and nothing is fetched before Run. The
// configuration is validated.
func New(config Config, judge Judge, log Log) (*Syncer, error) {
	config = config.withDefaults()
	mirror, err := OpenMirror(config)
	if err != nil {
		return nil, err
	}
	s := newSyncer(config, mirror, judge, log)
	if config.Repository.Local() {
		s.watcher = newRefWatcher(config.Repository, s.Poke, config.Logger)
	}
	return s, nil
}

func newSyncer(config Config, mirror repository, judge Judge, log Log) *Syncer {
	return &Syncer{
		config: config, judge: judge, log: log, mirror: mirror,
		wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// Poke asks for a round now. It never blocks; pokes during a round make one
// more round.
func (s *Syncer) Poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Rejudge asks for a round in which also what was settled is judged again: what
// the judge goes by has changed.
func (s *Syncer) Rejudge() {
	s.update(func() { s.again = true })
	s.Poke()
}

// Object implements signing.Source with the objects that are here.
func (s *Syncer) Object(id signing.Hash) (signing.Object, error) { return s.mirror.Object(id) }

// Run follows the repository until the context ends, which is no error. It may
// be called again after it returned, not while it runs.
func (s *Syncer) Run(ctx context.Context) error {
	s.update(func() { s.stopped = false })
	defer s.update(func() { s.stopped = true })
	var watching sync.WaitGroup
	defer watching.Wait()
	if s.watcher != nil {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		watching.Go(func() { s.watcher.run(ctx) })
	}
	defer s.mirror.release()
	memory := newMemory()
	failures := 0
	for {
		if s.watcher != nil {
			s.watcher.arm()
		}
		retry := s.round(ctx, memory)
		if ctx.Err() != nil {
			return nil
		}
		if retry {
			failures++
		} else {
			failures = 0
		}
		timer := time.NewTimer(pause(failures, s.interval()))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.wake:
		}
		timer.Stop()
	}
}

// interval is the time between polls.
func (s *Syncer) interval() time.Duration {
	interval := s.config.Interval()
	if interval <= 0 {
		return defaultInterval
	}
	return max(interval, minInterval)
}

// pause is the wait before the next round, after a number of failures in a row.
func pause(failures int, interval time.Duration) time.Duration {
	wait := interval
	if failures > 0 {
		const enough = 20 // doublings of a second reach any interval
		wait = min(interval, firstRetry<<min(failures-1, enough))
	}
	return time.Duration(float64(wait) * (0.9 + 0.2*rand.Float64()))
}

// Refresh has the repository asked once more and waits until the head that it
// then has was judged and proposed. Callers at the same time share a round; one
// that is under way already does not count, since it may have asked before a
// push. A refused head is no error. The error says why no head was judged, or
// is ErrNotRunning once Run has returned.
func (s *Syncer) Refresh(ctx context.Context) (signing.Hash, error) {
	s.mu.Lock()
	round := s.begun + 1
	s.mu.Unlock()
	s.Poke()
	for {
		s.mu.Lock()
		soft, changed, done, stopped := s.soft, s.changed, s.ended >= round, s.stopped
		s.mu.Unlock()
		switch {
		case done:
			return soft.Head, soft.LastError
		case stopped:
			return signing.Hash{}, ErrNotRunning
		}
		select {
		case <-ctx.Done():
			return signing.Hash{}, ctx.Err()
		case <-changed:
		}
	}
}

// Contains is Mirror.Contains.
func (s *Syncer) Contains(head signing.Hash, prefix string) (bool, error) {
	return s.mirror.Contains(head, prefix)
}

// Status returns what is known now.
func (s *Syncer) Status() Soft {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.soft
}

// Changed returns a channel that is closed at the next change of Status. Take
// it before reading Status.
func (s *Syncer) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// update changes fields under the lock and tells who waits.
func (s *Syncer) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// round asks the repository once and does what follows from the answer. It
// says whether to try again soon.
func (s *Syncer) round(ctx context.Context, memory *memory) (retry bool) {
	s.update(func() {
		s.begun++
		s.soft.Fetching = true
		if s.again {
			memory.settled, s.again = announcement{}, false
		}
	})
	head, err := s.mirror.Fetch(ctx)
	if err == nil {
		s.update(func() { s.soft.Head, s.soft.FetchedAt = head, time.Now() })
		err = s.judgeHead(ctx, memory, head)
	} else {
		err = s.fetchFailed(ctx, memory, err)
	}
	if err != nil && ctx.Err() == nil {
		s.config.Logger.Warn("sync round not finished", "error", err)
	}
	s.update(func() { s.ended = s.begun; s.soft.Fetching, s.soft.LastError = false, err })
	return err != nil && !needsPerson(err)
}

// needsPerson says whether trying again soon is of no use.
func needsPerson(err error) bool {
	for _, kind := range []error{ErrEmpty, ErrNoBranch, ErrTooLarge, ErrObjectTooLarge, ErrFormat} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
