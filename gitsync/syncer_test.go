package gitsync

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

func TestSyncerFollows(t *testing.T) {
	p := newPeer(t)
	h := p.serve()
	c := httpConfig(t, h)
	c.Interval = func() time.Duration { return time.Hour } // only Refresh wakes it
	j, l := newFakes()
	one := p.push("one")
	l.name(one, "one")
	s := start(t, c, j, l)
	wantRefresh(t, s, one)
	wantTranscript(t, l, `
advance - to one with 1 objects
Synced at one`)

	two, three := p.commit("two"), p.push("three")
	l.name(two, "two")
	l.name(three, "three")
	wantRefresh(t, s, three)
	wantTranscript(t, l, `
advance one to three with 2 objects
Synced at three`)

	// Nothing new: no fetch, no judge, no word to the log.
	fetches, calls, have := h.Counts()["POST /fleet.git/git-upload-pack"], j.calls, l.have
	wantRefresh(t, s, three)
	wantRefresh(t, s, three)
	wantTranscript(t, l, "")
	if got := h.Counts()["POST /fleet.git/git-upload-pack"]; got != fetches || j.calls != calls || l.have != have {
		t.Errorf("an unchanged head cost %d fetches, %d judgements, %d questions", got-fetches, j.calls-calls, l.have-have)
	}

	// A bad commit in the middle: what is before it goes on, it is refused.
	good, bad := p.commit("good"), p.commit("bad")
	after := p.push("after")
	l.name(good, "good")
	l.name(bad, "bad")
	l.name(after, "after")
	wantRefresh(t, s, after)
	wantTranscript(t, l, `
advance three to good with 3 objects
refuse head after at bad: unsigned
Stalled at after: unsigned: commit bad: it has no signature`)
	wantRefresh(t, s, after)
	wantTranscript(t, l, "")

	// Pushed on top: refused again under its own head.
	top := p.push("top")
	l.name(top, "top")
	wantRefresh(t, s, top)
	wantTranscript(t, l, `
refuse head top at bad: unsigned
Stalled at top: unsigned: commit bad: it has no signature`)

	// The way out: drop it, force-push.
	p.must(p.clone.Reset(t.Context(), good.String()))
	mended := p.commit("mended")
	p.must(p.clone.ForcePush(t.Context()))
	l.name(mended, "mended")
	wantRefresh(t, s, mended)
	wantTranscript(t, l, `
advance good to mended with 1 objects
Synced at mended`)

	// A rewritten branch reaches the judge, which refuses it.
	p.must(p.clone.Reset(t.Context(), one.String()))
	rewritten := p.commit("rewritten")
	p.must(p.clone.ForcePush(t.Context()))
	l.name(rewritten, "rewritten")
	wantRefresh(t, s, rewritten)
	wantTranscript(t, l, `
refuse head rewritten at rewritten: rewritten
Stalled at rewritten: rewritten: commit rewritten: the branch was rewritten`)
	if soft := s.Status(); soft.Head != rewritten || soft.LastError != nil || soft.FetchedAt.IsZero() {
		t.Errorf("status %+v", soft)
	}
	if found, err := s.Contains(rewritten, one.String()); err != nil || !found {
		t.Errorf("Contains: %v %v", found, err)
	}
}

func TestSyncerLongRange(t *testing.T) {
	p := newPeer(t)
	j, l := newFakes()
	j.step = 2
	c := testConfig(t, p.bare)
	for i := range 5 {
		l.name(p.commit(fmt.Sprint("c", i)), fmt.Sprint("c", i))
	}
	p.must(p.clone.Push(t.Context()))
	s := start(t, c, j, l)
	if _, err := s.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTranscript(t, l, `
advance - to c1 with 5 objects
advance c1 to c3 with 0 objects
advance c3 to c4 with 0 objects
Synced at c4`)
}

func TestSyncerRepositoryGoneAndBack(t *testing.T) {
	p := newPeer(t)
	one := p.push("one")
	c := httpConfig(t, p.serve())
	j, l := newFakes()
	l.name(one, "one")
	s := start(t, c, j, l)
	wantRefresh(t, s, one)
	l.take()
	p.must(os.Rename(p.bare, p.bare+".away"))
	for range 3 {
		if _, err := s.Refresh(t.Context()); !errors.Is(err, ErrUnreachable) || !errors.Is(err, ErrGone) {
			t.Errorf("error %v, want ErrGone", err)
		}
	}
	want := "Unreachable at one: query " + c.Repository.URL + ": repository unreachable: repository not found: "
	if got := l.take(); len(got) < len(want) || got[:len(want)] != want {
		t.Errorf("the log was told\n%s\nwant once\n%s", got, want)
	}
	if s.Status().LastError == nil {
		t.Error("the status shows no error")
	}
	p.must(os.Rename(p.bare+".away", p.bare))
	wantRefresh(t, s, one)
	wantTranscript(t, l, "Synced at one")
	if err := s.Status().LastError; err != nil {
		t.Errorf("the status still shows %v", err)
	}
}

func TestSyncerRebuildsDamagedMirror(t *testing.T) {
	p := newPeer(t)
	one := p.push("one")
	c := httpConfig(t, p.serve())
	j, l := newFakes()
	l.name(one, "one")
	wantFetch(t, openTestMirror(t, c), one)
	truncate(t, packFiles(t, c.Directory, ".pack"))
	s := start(t, c, j, l)
	rig.Eventually(t, 30*time.Second, "the head to be synced", func(context.Context) (bool, string) {
		soft := s.Status()
		return soft.LastError == nil && !soft.Fetching && soft.Head == one, fmt.Sprint(soft)
	})
	wantTranscript(t, l, `
advance - to one with 1 objects
Synced at one`)
}

func TestSyncerPushDuringRound(t *testing.T) {
	p := newPeer(t)
	one := p.push("one")
	two := p.commit("two")
	three := p.commit("three")
	c := httpConfig(t, p.serve())
	c.Interval = func() time.Duration { return time.Hour }
	j, l := newFakes()
	l.name(one, "one")
	l.name(two, "two")
	l.name(three, "three")
	refreshed := make(chan signing.Hash, 2)
	var s *Syncer
	var once sync.Once
	ready := make(chan struct{})
	j.before = func() {
		once.Do(func() {
			<-ready
			// While the first head is being judged, two pushes come, each with
			// its refresh. Neither may be answered by this round.
			for _, h := range []signing.Hash{two, three} {
				p.must(p.clone.Push(t.Context(), h.String()+":refs/heads/main"))
				asked := make(chan struct{})
				go func() {
					close(asked)
					head, err := s.Refresh(t.Context())
					if err != nil {
						t.Error(err)
					}
					refreshed <- head
				}()
				<-asked
				rig.Eventually(t, 30*time.Second, "the poke", func(context.Context) (bool, string) { return len(s.wake) == 1, "none" })
			}
		})
	}
	s = start(t, c, j, l)
	close(ready)
	for range 2 {
		if head := <-refreshed; head != three {
			t.Errorf("refreshed to %s, want three", head)
		}
	}
	wantTranscript(t, l, `
advance - to one with 1 objects
Synced at one
advance one to three with 2 objects
Synced at three`)
}

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
func (r *fakeRepository) release()                                    {}

func (r *fakeRepository) suspect(signing.Hash) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubted++
	return r.helps
}

// yesJudge accepts every head without looking at it.
type yesJudge struct{ fakeJudge }

func (j *yesJudge) Evaluate(_ context.Context, _ signing.Source, tip signing.Hash) (*Evaluation, error) {
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

func TestSyncerStopsInARound(t *testing.T) {
	arrived := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	j, l := newFakes()
	s, err := New(testConfig(t, server.URL+"/fleet.git"), j, l)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-arrived
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	// Being stopped says nothing about the repository.
	wantTranscript(t, l, "")
}

func TestNewRefusesBadConfiguration(t *testing.T) {
	j, l := newFakes()
	if _, err := New(testConfig(t, "file:///srv/fleet.git"), j, l); err == nil {
		t.Error("file:// was taken")
	}
	c := testConfig(t, "https://example.com/f")
	writeFile(t, c.Directory, "in the way")
	if _, err := New(c, j, l); err == nil {
		t.Error("a mirror over a file was taken")
	}
}
