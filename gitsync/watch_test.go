package gitsync

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// watched runs a Syncer on a path that polls so rarely that only the watch can
// be what wakes it.
func watched(t *testing.T, path, branch string) (*Syncer, *fakeLog) {
	t.Helper()
	c := testConfig(t, path)
	c.Repository.Branch = branch
	c.Interval = func() time.Duration { return time.Hour }
	j, l := newFakes()
	return start(t, c, j, l), l
}

// wantHead waits until a head was seen and its round is over.
func wantHead(t *testing.T, s *Syncer, want signing.Hash) {
	t.Helper()
	rig.Eventually(t, 30*time.Second, "head "+want.Short(), func(context.Context) (bool, string) {
		soft := s.Status()
		return soft.Head == want && !soft.Fetching && soft.LastError == nil, fmt.Sprintf("%+v", soft)
	})
}

// wantWatching waits until the watch stands, so that what follows is seen by it.
func wantWatching(t *testing.T, s *Syncer) {
	t.Helper()
	rig.Eventually(t, 30*time.Second, "the watch", func(context.Context) (bool, string) {
		s.watcher.mu.Lock()
		defer s.watcher.mu.Unlock()
		return len(s.watcher.watched) > 0, "nothing is watched"
	})
	if _, err := s.Refresh(t.Context()); err != nil {
		t.Log("first round:", err)
	}
}

func TestWatch(t *testing.T) {
	p := newPeer(t)
	s, _ := watched(t, p.bare, "main")
	wantWatching(t, s)
	wantHead(t, s, p.push("the first push into an empty repository"))
	wantHead(t, s, p.push("two"))
	p.run("pack-refs", "--all")
	wantHead(t, s, p.push("three"))
	p.run("gc", "-q", "--prune=now") // removes empty ref directories too
	wantHead(t, s, p.push("four"))
	p.commit("five")
	six := p.commit("six")
	p.must(p.clone.Push(t.Context()))
	wantHead(t, s, six)
	p.must(p.clone.Reset(t.Context(), "HEAD~3"))
	seven := p.commit("seven")
	p.must(p.clone.ForcePush(t.Context()))
	wantHead(t, s, seven)
}

func TestWatchBranchWithSlash(t *testing.T) {
	p := newPeer(t)
	p.push("one")
	s, _ := watched(t, p.bare, "release/2026/1")
	wantWatching(t, s)
	two := p.commit("two")
	p.must(p.clone.Push(t.Context(), "HEAD:refs/heads/release/2026/1"))
	wantHead(t, s, two)
	p.run("pack-refs", "--all", "--prune") // release/2026 goes
	three := p.commit("three")
	p.must(p.clone.Push(t.Context(), "HEAD:refs/heads/release/2026/1"))
	wantHead(t, s, three)
}

func TestWatchReplacedRepository(t *testing.T) {
	p := newPeer(t)
	one := p.push("one")
	s, l := watched(t, p.bare, "main")
	wantHead(t, s, one)
	wantWatching(t, s)
	p.must(os.Rename(p.bare, p.bare+".old"))
	rig.Eventually(t, 30*time.Second, "the loss to be seen", func(context.Context) (bool, string) {
		return s.Status().LastError != nil, "no error"
	})
	p.run2("clone", "-q", "--bare", p.bare+".old", p.bare)
	wantHead(t, s, one)
	wantHead(t, s, p.push("two"))
	if got := l.take(); got == "" {
		t.Error("the log was told nothing")
	}
}

func TestWatchDebounces(t *testing.T) {
	for name, want := range map[string]bool{
		"/r/refs/heads/main": true, "/r/refs/heads/main.lock": false, "/r/packed-refs": true, "/r/packed-refs.lock": false,
		"/r/HEAD": true, "/r/refs/heads/release": true, "/r/objects": false, "/r/gc.pid": false,
	} {
		if got := relevant(filepath.FromSlash(name)); got != want {
			t.Errorf("relevant(%s) = %v", name, got)
		}
	}
	p := newPeer(t)
	s, l := watched(t, p.bare, "main")
	wantWatching(t, s)
	before := s.rounds()
	last := p.push("one")
	wantHead(t, s, last)
	// One push is some ten events and becomes one round, or two when the
	// machine is slow.
	if n := s.rounds() - before; n > 3 {
		t.Errorf("%d rounds for one push", n)
	}
	l.take()
}
