package gitsync

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

func TestFetchFastForward(t *testing.T) {
	p := newPeer(t)
	p.push("one")
	two := p.push("two")
	h := p.serve()
	m := openTestMirror(t, httpConfig(t, h))
	wantFetch(t, m, two)
	p.commit("three")
	four := p.push("four")
	listed, err := m.ListHead(t.Context())
	if err != nil || listed != four {
		t.Fatalf("listed %s %v, want %s", listed, err, four)
	}
	if _, err := m.Object(four); !errors.Is(err, signing.ErrNotFound) {
		t.Fatalf("a listed head was fetched: %v", err)
	}
	wantFetch(t, m, four)
	if n := wantHistory(t, m, four); n != 4 {
		t.Errorf("%d commits, want 4", n)
	}
	// The second pack held what was new, not everything.
	packs, err := listPacks(m.config.Directory)
	if err != nil || len(packs) != 2 {
		t.Fatalf("packs %v %v, want 2", packs, err)
	}
	if out, err := rig.NetNS("").Command(t.Context(), "git", "-C", m.config.Directory, "fsck", "--strict").CombinedOutput(); err != nil {
		t.Errorf("git does not like the mirror: %v\n%s", err, out)
	}
}

func TestUnchangedHeadIsNotFetched(t *testing.T) {
	p := newPeer(t)
	head := p.push("one")
	h := p.serve()
	c := httpConfig(t, h)
	wantFetch(t, openTestMirror(t, c), head)
	before := h.Counts()
	m := openTestMirror(t, c) // also one that was opened anew
	for range 3 {
		wantFetch(t, m, head)
	}
	after := h.Counts()
	const query, fetch = "GET /fleet.git/info/refs git-upload-pack", "POST /fleet.git/git-upload-pack"
	if after[query] != before[query]+3 {
		t.Errorf("%d queries, want 3", after[query]-before[query])
	}
	if after[fetch] != before[fetch] || before[fetch] != 1 {
		t.Errorf("%d fetches, want 1", after[fetch])
	}
	if len(after) != 2 {
		t.Errorf("requests %v, want two kinds", slices.Collect(maps.Keys(after)))
	}
}

func TestFetchRewrittenBranch(t *testing.T) {
	p := newPeer(t)
	one := p.push("one")
	p.push("two")
	h := p.serve()
	m := openTestMirror(t, httpConfig(t, h))
	if _, err := m.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Back to an ancestor: nothing is to be sent at all.
	p.must(p.clone.Reset(t.Context(), one.String()))
	p.must(p.clone.ForcePush(t.Context()))
	wantFetch(t, m, one)
	// Something else, after the server has forgotten what we have.
	p.must(p.clone.Checkout(t.Context(), "other", one.String()))
	p.run("reflog", "expire", "--expire=now", "--all")
	p.run("gc", "-q", "--prune=now")
	other := p.commit("other")
	p.must(p.clone.ForcePush(t.Context()))
	wantFetch(t, m, other)
}

func TestFetchErrors(t *testing.T) {
	p := newPeer(t)
	p.must(p.git.InitBare(t.Context(), filepath.Join(p.root, "empty.git")))
	p.push("one")
	p.must(p.clone.Push(t.Context(), "HEAD:refs/heads/release/1"))
	h := p.serve()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }))
	t.Cleanup(page.Close)
	away := httptest.NewServer(http.RedirectHandler("http://elsewhere.example.com/x", http.StatusFound))
	t.Cleanup(away.Close)
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		fmt.Fprint(w, "001e# service=git-upload-pack\n0000zzzz")
	}))
	t.Cleanup(broken.Close)

	for name, test := range map[string]struct {
		change func(*Config)
		kinds  []error
		text   string
	}{
		"empty": {
			func(c *Config) { c.Repository.URL = h.URL("empty.git") },
			[]error{ErrEmpty}, "push a signed commit to main",
		},
		"missing branch": {
			func(c *Config) { c.Repository.Branch = "production" },
			[]error{ErrNoBranch}, "production; the repository has main, release/1",
		},
		"gone": {
			func(c *Config) { c.Repository.URL = h.URL("gone.git") },
			[]error{ErrUnreachable, ErrGone}, "404",
		},
		"wrong token": {
			func(c *Config) { c.Repository.Credentials.Token = []byte("jaco:wrong") },
			[]error{ErrUnreachable, ErrDenied}, "refuses the token (401 Unauthorized)",
		},
		"no token": {
			func(c *Config) { c.Repository.Credentials.Token = nil },
			[]error{ErrUnreachable, ErrDenied}, "asks for credentials",
		},
		"nobody listens": {
			func(c *Config) { c.Repository.URL = "http://127.0.0.1:1/fleet.git" },
			[]error{ErrUnreachable}, "connection refused",
		},
		"no git server": {
			func(c *Config) { c.Repository.URL = page.URL + "/x" },
			[]error{ErrUnreachable}, "not a git server",
		},
		"no such page": {
			func(c *Config) { c.Repository.URL = plain.URL + "/x" },
			[]error{ErrUnreachable, ErrGone}, "404",
		},
		"redirect to another host": {
			func(c *Config) { c.Repository.URL = away.URL + "/x" },
			[]error{ErrUnreachable}, "redirects to http://elsewhere.example.com/x",
		},
		"broken protocol": {
			func(c *Config) { c.Repository.URL = broken.URL + "/x" },
			[]error{ErrUnreachable}, "pkt-len",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := httpConfig(t, h)
			test.change(&c)
			m := openTestMirror(t, c)
			for _, ask := range []func(context.Context) (signing.Hash, error){m.ListHead, m.Fetch} {
				_, err := ask(t.Context())
				for _, kind := range test.kinds {
					if !errors.Is(err, kind) {
						t.Errorf("error %v, want %v", err, kind)
					}
				}
				if err == nil || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), h.Password) {
					t.Errorf("error %v, want one with %q and no secret", err, test.text)
				}
				if errors.Is(err, ErrGone) && !errors.Is(err, test.kinds[len(test.kinds)-1]) {
					t.Errorf("error %v is of a kind too many", err)
				}
			}
			wantNoLeftovers(t, c)
		})
	}
}

func TestFetchLimits(t *testing.T) {
	p := newPeer(t)
	p.push("one")
	noise := make([]byte, 30_000)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	// Noise fills the wire, zeros fill the memory; git sends most of the many
	// as deltas of a few bytes.
	files := map[string]string{"noise": string(noise), "zeros": strings.Repeat("\x00", 300_000)}
	const many = 60
	for i := range many {
		files[fmt.Sprint("many/", i)] = fmt.Sprint(i) + strings.Repeat("\x00", 100_000)
	}
	p.must(p.clone.Write(files))
	head := p.push("two")
	p.run("repack", "-q", "-a", "-d") // so that git sends what it has
	h := p.serve()
	for name, test := range map[string]struct {
		change func(*Limits)
		text   string
	}{
		"bytes":          {func(l *Limits) { l.Bytes = 25_000 }, "larger than 25000 bytes"},
		"objects":        {func(l *Limits) { l.Objects = 9 }, "objects, more than 9"},
		"commits":        {func(l *Limits) { l.Commits = 1 }, "more than 1 commits"},
		"inflated bytes": {func(l *Limits) { l.Bytes = 200_000 }, "an object of 300000 bytes"},
		"inflated total": {func(l *Limits) { l.Bytes = 300_000 }, "in all"},
	} {
		t.Run(name, func(t *testing.T) {
			c := httpConfig(t, h)
			test.change(&c.Limits)
			m := openTestMirror(t, c)
			_, err := m.Fetch(t.Context())
			if !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want ErrTooLarge with %q", err, test.text)
			}
			if packs, err := listPacks(c.Directory); err != nil || len(packs) > 0 {
				t.Errorf("kept %v %v", packs, err)
			}
			wantNoLeftovers(t, c)
			// The same head is not fetched in vain a second time.
			before := h.Counts()["POST /fleet.git/git-upload-pack"]
			if _, err := m.Fetch(t.Context()); !errors.Is(err, ErrTooLarge) {
				t.Errorf("second error %v", err)
			}
			if after := h.Counts()["POST /fleet.git/git-upload-pack"]; after != before {
				t.Error("fetched again")
			}
		})
	}
	t.Run("one object", func(t *testing.T) {
		c := httpConfig(t, h)
		c.Limits.ObjectBytes = 200_000
		m := openTestMirror(t, c)
		if _, err := m.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
		zeros := p.hash(p.clone.Git(t.Context(), "rev-parse", head.String()+":zeros"))
		if _, err := m.Object(zeros); !errors.Is(err, ErrObjectTooLarge) {
			t.Errorf("error %v, want ErrObjectTooLarge", err)
		}
		if _, err := m.Object(head); err != nil {
			t.Errorf("the rest must stay readable: %v", err)
		}
	})
	t.Run("just enough", func(t *testing.T) {
		c := httpConfig(t, h)
		c.Limits = Limits{Bytes: 500_000, Objects: many + 13, Commits: 2, ObjectBytes: 300_000}
		wantFetch(t, openTestMirror(t, c), head)
	})
}

func TestFetchCancelled(t *testing.T) {
	arrived := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	m := openTestMirror(t, testConfig(t, server.URL+"/fleet.git"))
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := m.Fetch(ctx)
		result <- err
	}()
	<-arrived
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestMirrorIsConsolidated(t *testing.T) {
	p := newPeer(t)
	head := p.push("first")
	h := p.serve()
	c := httpConfig(t, h)
	m := openTestMirror(t, c)
	if m.packs != 50 {
		t.Errorf("%d packs are let be, want 50", m.packs)
	}
	m.packs = 4
	const rounds = 13
	wantFetch(t, m, head)
	most := 0
	for i := range rounds {
		head = p.plant(fmt.Sprint("n", i))
		if got, err := m.Fetch(t.Context()); err != nil || got != head {
			t.Fatal(got, err)
		}
		packs, err := listPacks(c.Directory)
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, len(packs))
	}
	packs, err := listPacks(c.Directory)
	if err != nil || most != m.packs || len(packs) > m.packs {
		t.Errorf("%d packs at the end, %d at most, %v; want %d at most", len(packs), most, err, m.packs)
	}
	if n := wantHistory(t, m, head); n != rounds+1 {
		t.Errorf("%d commits", n)
	}
	wantNoLeftovers(t, c)
	if out, err := rig.NetNS("").Command(t.Context(), "git", "-C", c.Directory, "fsck", "--strict").CombinedOutput(); err != nil {
		t.Errorf("git does not like the mirror: %v\n%s", err, out)
	}
}

func TestCorruptMirrorIsRebuilt(t *testing.T) {
	p := newPeer(t)
	p.push("one")
	head := p.push("two")
	h := p.serve()
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"pack bytes": func(t *testing.T, dir string) {
			for _, path := range packFiles(t, dir, ".pack") {
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				for i := 12; i < len(data)-20; i += 7 {
					data[i] ^= 0x55
				}
				writeFile(t, path, string(data))
			}
		},
		"pack cut":   func(t *testing.T, dir string) { truncate(t, packFiles(t, dir, ".pack")) },
		"index cut":  func(t *testing.T, dir string) { truncate(t, packFiles(t, dir, ".idx")) },
		"pack gone":  func(t *testing.T, dir string) { remove(t, packFiles(t, dir, ".pack")) },
		"head":       func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, headRef), "nonsense\n") },
		"everything": func(t *testing.T, dir string) { remove(t, []string{dir}) },
	} {
		t.Run(name, func(t *testing.T) {
			c := httpConfig(t, h)
			wantFetch(t, openTestMirror(t, c), head)
			spoil(t, c.Directory)
			m := openTestMirror(t, c)
			if _, err := m.Object(head); err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, signing.ErrNotFound) {
				t.Errorf("error %v, want ErrCorrupt or ErrNotFound", err)
			} else if errors.Is(err, signing.ErrNotFound) {
				m.suspect(head)
			}
			wantFetch(t, m, head)
			wantNoLeftovers(t, c)
		})
	}
}

func packFiles(t *testing.T, dir, suffix string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "objects/pack/pack-*"+suffix))
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s: %v", suffix, err)
	}
	return found
}

func truncate(t *testing.T, paths []string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Truncate(path, 40); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, paths []string) {
	t.Helper()
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIncompleteServerIsNotRebuiltForEver(t *testing.T) {
	p := newPeer(t)
	head := p.push("one")
	m := openTestMirror(t, httpConfig(t, p.serve()))
	wantFetch(t, m, head)
	if !m.suspect(head) {
		t.Fatal("a rebuild may help")
	}
	wantFetch(t, m, head)
	if m.suspect(head) {
		t.Error("a second rebuild for the same head cannot help")
	}
}

func TestSHA256RepositoryIsRefused(t *testing.T) {
	p := newPeer(t)
	other := filepath.Join(p.root, "new.git")
	p.run("init", "-q", "--bare", "--object-format=sha256", other)
	tree := p.run("-C", other, "write-tree")
	p.run("-C", other, "update-ref", "refs/heads/main", p.run("-C", other, "commit-tree", "-m", "one", tree))
	h := p.serve()
	for _, url := range []string{other, h.URL("new.git")} {
		c := httpConfig(t, h)
		c.Repository.URL = url
		if _, err := openTestMirror(t, c).Fetch(t.Context()); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "--object-format=sha1") {
			t.Errorf("%s: error %v, want ErrFormat with advice", url, err)
		}
	}
}

func TestContains(t *testing.T) {
	p := newPeer(t)
	one := p.push("one")
	p.must(p.clone.Checkout(t.Context(), "side", one.String()))
	side := p.commit("side")
	p.must(p.clone.Checkout(t.Context(), "main", ""))
	p.commit("two")
	head := p.hash(p.clone.Merge(t.Context(), "side", rig.CommitOptions{Message: "merge"}))
	later := p.commit("later")
	p.must(p.clone.Push(t.Context(), "main"))
	m := openTestMirror(t, httpConfig(t, p.serve()))
	wantFetch(t, m, later)
	for _, test := range []struct {
		head   signing.Hash
		prefix string
		want   bool
	}{
		{head, head.String(), true},
		{head, side.String()[:7], true},
		{head, strings.ToUpper(one.Short()), true},
		{head, later.String(), false},
		{one, head.String(), false},
	} {
		if got, err := m.Contains(test.head, test.prefix); err != nil || got != test.want {
			t.Errorf("Contains(%s, %s) = %v %v, want %v", test.head, test.prefix, got, err, test.want)
		}
	}
	for _, prefix := range []string{"", "abc", "main", head.String() + "0", "abcdefg"} {
		if _, err := m.Contains(head, prefix); err == nil || !strings.Contains(err.Error(), "hexadecimal") {
			t.Errorf("Contains(%q): %v, want an error", prefix, err)
		}
	}
	m.config.Limits.Commits = 2
	if _, err := m.Contains(head, one.String()); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v, want ErrTooLarge", err)
	}
}
