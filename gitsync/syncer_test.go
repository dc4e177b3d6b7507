package gitsync

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
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
	l.name(rewritten, "other")
	wantRefresh(t, s, rewritten)
	wantTranscript(t, l, `
refuse head other at other: rewritten
Stalled at other: rewritten: commit other: the branch was rewritten`)
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
