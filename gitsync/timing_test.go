package gitsync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// fakeRepository is a repository without git, for the timing of the loop.
type fakeRepository struct {
	mu      sync.Mutex
	head    signing.Hash
	err     error
	at      []time.Time // of the fetches
	helps   bool        // what suspect answers
	doubted int
}

var _ repository = (*fakeRepository)(nil)

func (r *fakeRepository) Fetch(context.Context) (signing.Hash, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = append(r.at, time.Now())
	return r.head, r.err
}

func (r *fakeRepository) set(head signing.Hash, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head, r.err = head, err
}

// waits returns the time between the fetches since the last call.
func (r *fakeRepository) waits() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	var waits []time.Duration
	for i := 1; i < len(r.at); i++ {
		waits = append(waits, r.at[i].Sub(r.at[i-1]))
	}
	r.at = r.at[max(0, len(r.at)-1):]
	return waits
}

func (r *fakeRepository) Object(signing.Hash) (signing.Object, error) {
	return signing.Object{}, signing.ErrNotFound
}
func (r *fakeRepository) Contains(signing.Hash, string) (bool, error) { return false, nil }
func (r *fakeRepository) Tags() []signing.Hash                        { return nil }
func (r *fakeRepository) release()                                    {}

func (r *fakeRepository) suspect(signing.Hash) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubted++
	return r.helps
}

// yesJudge accepts every head without looking at it.
type yesJudge struct{ fakeJudge }

func (j *yesJudge) Evaluate(_ context.Context, _ signing.Source, tip signing.Hash, _ []signing.Hash) (*Evaluation, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls++
	if j.fail != nil {
		return nil, j.fail
	}
	return &Evaluation{From: j.accepted, To: tip, Moved: j.accepted != tip, Token: &j.fakeJudge}, nil
}

// timed runs a Syncer on a fake repository in a bubble of its own time.
func timed(t *testing.T, test func(t *testing.T, s *Syncer, r *fakeRepository, j *yesJudge, l *fakeLog)) {
	synctest.Test(t, func(t *testing.T) {
		r, j := &fakeRepository{head: signing.Hash{1}}, &yesJudge{}
		_, l := newFakes()
		l.judge = &j.fakeJudge
		for i := range 9 {
			l.names[signing.Hash{byte(i)}] = fmt.Sprint("h", i)
		}
		c := DefaultConfig()
		s := newSyncer(c, r, j, l)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		test(t, s, r, j, l)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := s.Refresh(t.Context()); !errors.Is(err, ErrNotRunning) {
			t.Errorf("refresh after Run: %v", err)
		}
	})
}

// pass lets time go by.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
	synctest.Wait()
}

func TestSyncerJitter(t *testing.T) {
	timed(t, func(t *testing.T, _ *Syncer, r *fakeRepository, j *yesJudge, l *fakeLog) {
		pass(t, time.Hour)
		waits := r.waits()
		if len(waits) < 109 || len(waits) > 133 {
			t.Errorf("%d polls in an hour", len(waits))
		}
		short, long := waits[0], waits[0]
		for _, w := range waits {
			short, long = min(short, w), max(long, w)
		}
		if short < 27*time.Second || long > 33*time.Second || long-short < 2*time.Second {
			t.Errorf("waits from %s to %s, want 30 s ± 10 %%", short, long)
		}
		wantTranscript(t, l, "advance h0 to h1 with 0 objects\nSynced at h1")
		if j.calls != 1 {
			t.Errorf("%d judgements", j.calls)
		}
	})
}

func TestSyncerBackOff(t *testing.T) {
	timed(t, func(t *testing.T, s *Syncer, r *fakeRepository, _ *yesJudge, l *fakeLog) {
		l.take()
		r.waits()
		// Each failure reads differently, as with ports and addresses.
		for i := range 60 {
			r.set(signing.Hash{}, fmt.Errorf("%w: read tcp 10.0.0.1:%d: connection reset", ErrUnreachable, i))
			pass(t, 5*time.Second)
		}
		waits := r.waits()[1:]
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			want *= time.Second
			if w := waits[i]; w < want*9/10 || w > want*11/10 {
				t.Errorf("wait %d is %s, want about %s", i, w, want)
			}
		}
		if got := l.take(); !strings.HasPrefix(got, "Unreachable at h1: repository unreachable: read tcp") || strings.Contains(got, "\n") {
			t.Errorf("the log was told\n%s\nwant one line", got)
		}
		// A poke does not wait, another kind of error is news, a return too.
		r.set(signing.Hash{}, fmt.Errorf("%w: %w: no token", ErrUnreachable, ErrDenied))
		if _, err := s.Refresh(t.Context()); !errors.Is(err, ErrDenied) {
			t.Errorf("error %v", err)
		}
		wantTranscript(t, l, "Unreachable at h1: repository unreachable: access denied: no token")
		r.set(signing.Hash{1}, nil)
		pass(t, 40*time.Second)
		wantTranscript(t, l, "Synced at h1")
		r.waits()
		pass(t, 100*time.Second)
		for _, w := range r.waits() {
			if w < 27*time.Second {
				t.Errorf("waits %s after recovery", w)
			}
		}
	})
}

func TestSyncerNeedsPerson(t *testing.T) {
	timed(t, func(t *testing.T, _ *Syncer, r *fakeRepository, _ *yesJudge, l *fakeLog) {
		l.take()
		r.waits()
		r.set(signing.Hash{}, fmt.Errorf("%w: main", ErrNoBranch))
		pass(t, 5*time.Minute)
		wantTranscript(t, l, "Stalled at h1: no such branch: main")
		for _, w := range r.waits() {
			if w < 27*time.Second {
				t.Errorf("retried after %s: nobody can be that quick", w)
			}
		}
		r.set(signing.Hash{2}, nil)
		pass(t, time.Minute)
		wantTranscript(t, l, "advance h1 to h2 with 0 objects\nSynced at h2")
	})
}

func TestSyncerFullDisk(t *testing.T) {
	timed(t, func(t *testing.T, _ *Syncer, r *fakeRepository, _ *yesJudge, l *fakeLog) {
		l.take()
		for i := range 20 {
			r.set(signing.Hash{}, fmt.Errorf("fetch: %w", storeError{fmt.Errorf("write tmp_pack_%d: no space left", i)}))
			pass(t, 5*time.Second)
		}
		got := l.take()
		if !strings.HasPrefix(got, "Stalled at h1: fetch: store pack: write tmp_pack_") || strings.Contains(got, "\n") {
			t.Errorf("the log was told\n%s\nwant one line", got)
		}
		r.set(signing.Hash{1}, nil)
		pass(t, time.Minute)
		wantTranscript(t, l, "Synced at h1")
	})
}

func TestSyncerJudgeAndLogFail(t *testing.T) {
	timed(t, func(t *testing.T, s *Syncer, r *fakeRepository, j *yesJudge, l *fakeLog) {
		l.take()
		j.setFail(errors.New("watchdog"))
		r.set(signing.Hash{2}, nil)
		if _, err := s.Refresh(t.Context()); err == nil {
			t.Error("a judge's error is no judgement")
		}
		wantTranscript(t, l, "")
		j.setFail(nil)
		l.setFail(errors.New("no leader"))
		pass(t, 3*time.Second)
		wantTranscript(t, l, "")
		if s.Status().LastError == nil {
			t.Error("the status shows no error")
		}
		l.setFail(nil)
		pass(t, 30*time.Second)
		wantTranscript(t, l, "advance h1 to h2 with 0 objects\nSynced at h2")

		j.setFail(fmt.Errorf("read: %w", ErrObjectTooLarge))
		r.set(signing.Hash{3}, nil)
		pass(t, 5*time.Minute)
		wantTranscript(t, l, "Stalled at h3: judge h3: read: git object exceeds the limit")

		// Missing objects: the mirror is asked to mend itself; when it cannot,
		// a person is told.
		j.setFail(fmt.Errorf("read: %w", signing.ErrNotFound))
		r.mu.Lock()
		r.helps = true
		r.mu.Unlock()
		r.set(signing.Hash{4}, nil)
		pass(t, 31*time.Second)
		wantTranscript(t, l, "")
		r.mu.Lock()
		r.helps = false
		doubted := r.doubted
		r.mu.Unlock()
		if doubted == 0 {
			t.Error("the mirror was not doubted")
		}
		pass(t, 5*time.Minute)
		wantTranscript(t, l, "Stalled at h4: the repository is damaged: judge h4: read: object not found")
		j.setFail(nil)
		pass(t, time.Minute)
		wantTranscript(t, l, "advance h2 to h4 with 0 objects\nSynced at h4")
	})
}
