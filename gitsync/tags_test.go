package gitsync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// tag makes an annotated tag in the clone and pushes it.
func (p *peer) tag(name, rev string) signing.Hash {
	p.t.Helper()
	id := p.hash(p.clone.Tag(p.t.Context(), name, rev, rig.CommitOptions{Message: "approve"}))
	p.must(p.clone.Push(p.t.Context(), "refs/tags/"+name))
	return id
}

// mirrors are the same repository fetched by http and read in place.
func (p *peer) mirrors() map[string]*Mirror {
	return map[string]*Mirror{
		"http":  openTestMirror(p.t, httpConfig(p.t, p.serve())),
		"local": openTestMirror(p.t, testConfig(p.t, p.bare)),
	}
}

func wantTags(t *testing.T, m *Mirror, want ...signing.Hash) {
	t.Helper()
	if _, err := m.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := m.Tags()
	if !slices.Equal(got, want) {
		t.Fatalf("tags %v, want %v", got, want)
	}
	for _, id := range got {
		if _, err := signing.ReadObject(m, id, signing.TagObject); err != nil {
			t.Error(err)
		}
	}
}

func TestTags(t *testing.T) {
	p := newPeer(t)
	one := p.push("one")
	for name, m := range p.mirrors() {
		t.Run(name, func(t *testing.T) {
			wantTags(t, m)
			b := p.tag("approve/shop/b-"+name, one.String())
			wantTags(t, m, b)
			a := p.tag("approve/shop/a-"+name, one.String())
			wantTags(t, m, a, b)
			p.run("pack-refs", "--all")
			wantTags(t, m, a, b)

			// What approves nothing is not offered: other tags, lightweight ones, and
			// a tag whose own name is another.
			p.tag("v1-"+name, one.String())
			p.run("tag", "approve/shop/light-"+name, one.String())
			p.run("update-ref", "refs/tags/approve/all/replayed-"+name, a.String())
			wantTags(t, m, a, b)

			p.run("update-ref", "-d", "refs/tags/approve/shop/a-"+name)
			p.run("update-ref", "refs/tags/approve/shop/b-"+name, a.String()) // moved: its name is another
			wantTags(t, m)
			p.run("update-ref", "-d", "refs/tags/approve/shop/b-"+name)
			p.run("update-ref", "-d", "refs/tags/approve/all/replayed-"+name)
			p.run("update-ref", "-d", "refs/tags/approve/shop/light-"+name)
		})
	}
}

// TestTagsCostNoFetch: one query of the refs says that nothing has changed.
func TestTagsCostNoFetch(t *testing.T) {
	p := newPeer(t)
	one := p.push("one")
	h := p.serve()
	m := openTestMirror(t, httpConfig(t, h))
	tag := p.tag("approve/shop/1", one.String())
	wantTags(t, m, tag)
	before := h.Counts()
	wantTags(t, m, tag)
	after := h.Counts()
	const post, get = "POST /fleet.git/git-upload-pack", "GET /fleet.git/info/refs git-upload-pack"
	if after[post] != before[post] || after[get] != before[get]+1 {
		t.Errorf("asking once more cost %d fetches and %d queries", after[post]-before[post], after[get]-before[get])
	}
}

// TestTagTooLarge: who may push a tag must not be able to stop the sync.
func TestTagTooLarge(t *testing.T) {
	p := newPeer(t)
	one := p.push("one")
	c := httpConfig(t, p.serve())
	c.Limits.Objects = 20
	m := openTestMirror(t, c)
	wantFetch(t, m, one)

	p.must(p.clone.Checkout(t.Context(), "topic", one.String()))
	for i := range 8 {
		p.commit(fmt.Sprint("unrelated", i)) // a commit and four new objects each
	}
	p.tag("approve/shop/huge", "HEAD")
	good := p.tag("approve/shop/good", one.String())
	p.must(p.clone.Checkout(t.Context(), "main", ""))
	two := p.push("two")
	wantFetch(t, m, two)
	wantTags(t, m, good)

	// A mirror that is made anew leaves it out as well.
	m.distrust()
	wantFetch(t, m, two)
	wantTags(t, m, good)
}

func TestTooManyTags(t *testing.T) {
	p := newPeer(t)
	one := p.push("one")
	p.tag("approve/shop/1", one.String())
	p.tag("approve/shop/2", one.String())
	for name, c := range map[string]Config{"http": httpConfig(t, p.serve()), "local": testConfig(t, p.bare)} {
		c.Limits.Tags = 1
		if _, err := openTestMirror(t, c).Fetch(t.Context()); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "2 tags") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestSyncerTagArrivesLater: a tag for the same head is an advance of its own;
// that it goes away again is none.
func TestSyncerTagArrivesLater(t *testing.T) {
	p := newPeer(t)
	c := httpConfig(t, p.serve())
	c.Interval = func() time.Duration { return time.Hour }
	j, l := newFakes()
	one := p.push("one")
	l.name(one, "one")
	s := start(t, c, j, l)
	wantRefresh(t, s, one)
	l.take()
	tag := p.tag("approve/shop/1", one.String())
	wantRefresh(t, s, one)
	wantTranscript(t, l, "advance one to one with 1 objects")
	calls := j.calls
	wantRefresh(t, s, one)
	if j.calls != calls {
		t.Error("what was settled was judged again")
	}
	p.run("update-ref", "-d", "refs/tags/approve/shop/1")
	wantRefresh(t, s, one)
	if len(j.offered) != 0 || j.calls != calls+1 {
		t.Errorf("after it was deleted, %v is offered in %d calls", j.offered, j.calls-calls)
	}
	wantTranscript(t, l, "")
	if !l.objects[tag] {
		t.Error("the tag is not among the evidence")
	}
}

// TestSyncerAwaits: what waits for signatures is no refusal, and goes on once
// they are there.
func TestSyncerAwaits(t *testing.T) {
	p := newPeer(t)
	c := testConfig(t, p.bare)
	c.Interval = func() time.Duration { return time.Hour }
	_, l := newFakes()
	j := &waitingJudge{fakeJudge: l.judge}
	one := p.push("one")
	l.name(one, "one")
	s := start(t, c, j, l)
	wantRefresh(t, s, one)
	wantTranscript(t, l, "Stalled at one: trust change awaits bob (trust)")
	wantRefresh(t, s, one)
	wantTranscript(t, l, "")
	p.tag("approve/trust/1", one.String())
	wantRefresh(t, s, one)
	wantTranscript(t, l, `
advance - to one with 2 objects
Synced at one`)
}

// waitingJudge accepts nothing without a tag.
type waitingJudge struct{ *fakeJudge }

func (j *waitingJudge) Evaluate(ctx context.Context, src signing.Source, tip signing.Hash, tags []signing.Hash) (*Evaluation, error) {
	if len(tags) == 0 {
		return &Evaluation{
			Refusal: &signing.Refusal{Commit: tip, Reason: signing.ReasonTrustPending, Detail: "it waits"},
			Awaits:  &signing.Pending{Unit: "trust", Revision: tip, Reason: "trust change awaits bob"},
		}, nil
	}
	return j.fakeJudge.Evaluate(ctx, src, tip, tags)
}

func TestWatchTags(t *testing.T) {
	p := newPeer(t)
	one := p.push("one")
	s, l := watched(t, p.bare, "main")
	wantWatching(t, s)
	wantHead(t, s, one)
	for i, name := range []string{"approve/shop/1", "approve/shop/2", "approve/all/deep/er/1"} {
		p.tag(name, one.String())
		rig.Eventually(t, 30*time.Second, name, func(context.Context) (bool, string) {
			l.judge.mu.Lock()
			defer l.judge.mu.Unlock()
			return len(l.judge.approved) == i+1, fmt.Sprint(l.judge.approved)
		})
	}
}
