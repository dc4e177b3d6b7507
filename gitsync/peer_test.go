package gitsync

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// peer is a bare repository of the real git with a developer's clone.
type peer struct {
	t     *testing.T
	git   *rig.Git
	root  string // holds fleet.git
	bare  string
	clone *rig.Repo
	date  time.Time
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{t: t, git: rig.StartGit(t), root: t.TempDir(), date: time.Unix(1_800_000_000, 0)}
	p.bare = filepath.Join(p.root, "fleet.git")
	p.must(p.git.InitBare(t.Context(), p.bare))
	clone, err := p.git.Clone(t.Context(), p.bare, "")
	p.must(err)
	p.clone = clone
	return p
}

func (p *peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// commit commits a file named after the message; nothing is pushed.
func (p *peer) commit(message string) signing.Hash {
	p.t.Helper()
	p.date = p.date.Add(time.Minute)
	return p.hash(p.clone.CommitFiles(p.t.Context(),
		map[string]string{"deployments/" + message + "/compose.yaml": "# " + message + "\n"},
		rig.CommitOptions{Message: message, Date: p.date}))
}

func (p *peer) hash(text string, err error) signing.Hash {
	p.t.Helper()
	p.must(err)
	h, err := signing.ParseHash(text)
	p.must(err)
	return h
}

// push commits and pushes to main.
func (p *peer) push(message string) signing.Hash {
	p.t.Helper()
	h := p.commit(message)
	p.must(p.clone.Push(p.t.Context()))
	return h
}

// plant makes a commit in the bare repository itself, quicker than a push.
func (p *peer) plant(message string) signing.Hash {
	p.t.Helper()
	text := p.run("commit-tree", "-p", "main", "-m", message, "main^{tree}")
	p.run("update-ref", "refs/heads/main", text)
	return p.hash(text, nil)
}

// run runs git in the bare repository.
func (p *peer) run(args ...string) string {
	p.t.Helper()
	out, err := p.gitCommand(args...)
	if err != nil {
		p.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (p *peer) gitCommand(args ...string) (string, error) {
	cmd := rig.NetNS("").Command(p.t.Context(), "git", append([]string{"-C", p.bare}, args...)...)
	cmd.Env = p.git.Env()
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// serve serves the peer's repositories by smart HTTP on loopback.
func (p *peer) serve() *rig.GitHTTP {
	p.t.Helper()
	return rig.StartGitHTTP(p.t, &rig.Space{Name: "test", Address: netip.AddrFrom4([4]byte{127, 0, 0, 1})}, p.root)
}

// config follows a URL into a mirror of its own.
func testConfig(t *testing.T, url string) Config {
	t.Helper()
	c := DefaultConfig()
	c.Repository.URL = url
	c.Directory = filepath.Join(t.TempDir(), "mirror")
	return c
}

func httpConfig(t *testing.T, h *rig.GitHTTP) Config {
	t.Helper()
	c := testConfig(t, h.URL("fleet.git"))
	c.Repository.Credentials.Token = []byte(h.User + ":" + h.Password)
	return c
}

func openTestMirror(t *testing.T, c Config) *Mirror {
	t.Helper()
	m, err := OpenMirror(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// wantFetch fetches and expects a head with its whole history behind it.
func wantFetch(t *testing.T, m *Mirror, want signing.Hash) {
	t.Helper()
	head, err := m.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if head != want {
		t.Fatalf("head %s, want %s", head, want)
	}
	wantHistory(t, m, want)
}

// wantHistory reads every object that a head reaches.
func wantHistory(t *testing.T, src signing.Source, head signing.Hash) (commits int) {
	t.Helper()
	seen := map[signing.Hash]bool{}
	var walkTree func(id signing.Hash)
	walkTree = func(id signing.Hash) {
		if seen[id] {
			return
		}
		seen[id] = true
		entries, err := signing.ReadTree(src, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Mode == signing.ModeTree {
				walkTree(e.ID)
			} else if _, err := signing.ReadObject(src, e.ID, signing.BlobObject); err != nil {
				t.Fatal(err)
			}
		}
	}
	for stack := []signing.Hash{head}; len(stack) > 0; {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[id] {
			continue
		}
		seen[id] = true
		commit, err := signing.ReadCommit(src, id)
		if err != nil {
			t.Fatal(err)
		}
		commits++
		walkTree(commit.Tree)
		stack = append(stack, commit.Parents...)
	}
	return commits
}

// wantNoLeftovers expects neither half-received packs nor half-made mirrors.
func wantNoLeftovers(t *testing.T, c Config) {
	t.Helper()
	for _, pattern := range []string{c.Directory + "/objects/pack/tmp*", c.Directory + ".*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			t.Errorf("left behind: %v", found)
		}
	}
}

// fakeJudge accepts fast-forwards up to the first commit whose message starts
// with "bad", at most step commits at a time.
type fakeJudge struct {
	mu       sync.Mutex
	accepted signing.Hash
	step     int
	fail     error
	calls    int
	before   func() // called at the start of Evaluate
	approved map[signing.Hash]bool
	offered  []signing.Hash // the tags of the last call
}

// approve reads the tags and says whether one is new.
func (j *fakeJudge) approve(src signing.Source, tags []signing.Hash) (bool, error) {
	j.offered = tags
	fresh := false
	for _, tag := range tags {
		if _, err := signing.ReadObject(src, tag, signing.TagObject); err != nil {
			return false, fmt.Errorf("what is offered is not there: %w", err)
		}
		fresh = fresh || !j.approved[tag]
	}
	return fresh, nil
}

var _ Judge = (*fakeJudge)(nil)

func (j *fakeJudge) Evaluate(_ context.Context, src signing.Source, tip signing.Hash, tags []signing.Hash) (*Evaluation, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls++
	if j.before != nil {
		j.before()
	}
	if j.fail != nil {
		return nil, j.fail
	}
	recorder := signing.NewRecorder(src)
	var chain []*signing.Commit
	for id := tip; id != j.accepted; {
		commit, err := signing.ReadCommit(recorder, id)
		if err != nil {
			return nil, err
		}
		chain = append(chain, commit)
		if len(commit.Parents) == 0 && !j.accepted.IsZero() {
			return &Evaluation{From: j.accepted, To: j.accepted, Refusal: &signing.Refusal{
				Commit: tip, Reason: signing.ReasonRewritten, Detail: "the branch was rewritten",
			}}, nil
		}
		if len(commit.Parents) == 0 {
			break
		}
		id = commit.Parents[0]
	}
	e := &Evaluation{From: j.accepted, To: j.accepted, Token: j}
	for i := len(chain) - 1; i >= 0; i-- {
		if strings.HasPrefix(chain[i].Message, "bad") {
			e.Refusal = &signing.Refusal{Commit: chain[i].ID, Reason: signing.ReasonUnsigned, Detail: "it has no signature"}
			break
		}
		if j.step > 0 && len(chain)-1-i == j.step {
			break
		}
		e.To = chain[i].ID
	}
	fresh, err := j.approve(recorder, tags)
	if err != nil {
		return nil, err
	}
	if fresh && e.Refusal == nil {
		e.Moved = true
	}
	e.Moved = e.Moved || e.To != e.From
	e.Evidence = recorder.IDs()
	return e, nil
}

func (j *fakeJudge) setFail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fail = err
}

// fakeLog keeps what it was told as a transcript, and moves the judge on.
type fakeLog struct {
	judge *fakeJudge

	mu      sync.Mutex
	names   map[signing.Hash]string
	objects map[signing.Hash]bool
	lines   []string
	have    int
	fail    error
}

var _ Log = (*fakeLog)(nil)

func newFakes() (*fakeJudge, *fakeLog) {
	j := &fakeJudge{approved: map[signing.Hash]bool{}}
	return j, &fakeLog{judge: j, names: map[signing.Hash]string{{}: "-"}, objects: map[signing.Hash]bool{}}
}

func (l *fakeLog) name(h signing.Hash, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names[h] = name
}

func (l *fakeLog) nameOf(h signing.Hash) string {
	if n := l.names[h]; n != "" {
		return n
	}
	return h.Short()
}

func (l *fakeLog) say(format string, args ...any) error {
	if l.fail != nil {
		return l.fail
	}
	line := fmt.Sprintf(format, args...)
	for h, n := range l.names {
		line = strings.ReplaceAll(line, h.Short(), n)
	}
	l.lines = append(l.lines, line)
	return nil
}

func (l *fakeLog) Have(id signing.Hash) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.have++
	return l.objects[id], nil
}

func (l *fakeLog) Advance(_ context.Context, a Advance) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.Evaluation.Token != l.judge {
		return fmt.Errorf("the token is %v", a.Evaluation.Token)
	}
	for _, o := range a.Objects {
		if got, err := signing.HashObject(o.Object); err != nil || got != o.ID {
			return fmt.Errorf("object %s has the bytes of %s: %w", o.ID, got, err)
		}
	}
	if err := l.say("advance %s to %s with %d objects", l.nameOf(a.Evaluation.From), l.nameOf(a.Evaluation.To), len(a.Objects)); err != nil {
		return err
	}
	for _, o := range a.Objects {
		l.objects[o.ID] = true
	}
	l.judge.mu.Lock()
	defer l.judge.mu.Unlock()
	l.judge.accepted = a.Evaluation.To
	for _, tag := range l.judge.offered {
		l.judge.approved[tag] = true
	}
	return nil
}

func (l *fakeLog) Refuse(_ context.Context, r Refusal) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.say("refuse head %s at %s: %s", l.nameOf(r.Head), l.nameOf(r.Commit), r.Reason)
}

func (l *fakeLog) Transition(_ context.Context, t Transition) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	reason := t.Reason
	if reason != "" {
		reason = ": " + reason
	}
	if t.Awaits != nil {
		reason += " (" + t.Awaits.Unit + ")"
	}
	return l.say("%s at %s%s", t.State, l.nameOf(t.Head), reason)
}

func (l *fakeLog) setFail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// take returns the transcript since the last take.
func (l *fakeLog) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.Join(l.lines, "\n")
	l.lines = nil
	return text
}

// start runs a Syncer until the test ends.
func start(t *testing.T, c Config, j Judge, l Log) *Syncer {
	t.Helper()
	s, err := New(c, j, l)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func wantRefresh(t *testing.T, s *Syncer, want signing.Hash) {
	t.Helper()
	head, err := s.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if head != want {
		t.Fatalf("refreshed to %s, want %s", head, want)
	}
}

func wantTranscript(t *testing.T, l *fakeLog, want string) {
	t.Helper()
	if got := l.take(); got != strings.TrimSpace(want) {
		t.Errorf("the log was told\n%s\nwant\n%s", got, strings.TrimSpace(want))
	}
}

func writeFile(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readTestFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// run2 runs git outside of the bare repository.
func (p *peer) run2(args ...string) {
	p.t.Helper()
	cmd := rig.NetNS("").Command(p.t.Context(), "git", args...)
	cmd.Env = p.git.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (s *Syncer) rounds() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}
