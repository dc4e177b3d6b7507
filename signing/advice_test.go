package signing

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// gitClone is a bare repository and a clone of it, in which bob works with the
// real git and signs with his key.
type gitClone struct {
	tb     testing.TB
	repo   *testRepo
	dir    string // of the clone
	origin string
	env    []string
}

// newGitClone puts the objects of a test repository where git finds them and
// clones the branch at the tip.
func newGitClone(tb testing.TB, r *testRepo, tip Hash) *gitClone {
	tb.Helper()
	for _, tool := range []string{"git", "ssh-keygen"} {
		if _, err := exec.LookPath(tool); err != nil {
			tb.Skip(tool + " is not installed: the advice was not tried")
		}
	}
	home := tb.TempDir()
	g := &gitClone{tb: tb, repo: r, dir: filepath.Join(home, "clone"), origin: filepath.Join(home, "origin.git")}
	seed := sha256.Sum256([]byte("bob"))
	block, err := ssh.MarshalPrivateKey(ed25519.NewKeyFromSeed(seed[:]), "bob")
	if err != nil {
		tb.Fatal(err)
	}
	key := filepath.Join(home, "bob")
	if err := os.WriteFile(key, pem.EncodeToMemory(block), 0o600); err != nil {
		tb.Fatal(err)
	}
	config := "[user]\n\tname = Bob\n\temail = bob@example.com\n\tsigningkey = " + key + "\n[gpg]\n\tformat = ssh\n"
	if err := os.WriteFile(filepath.Join(home, "config"), []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	g.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C", "TZ=UTC", "GIT_EDITOR=false",
		"GIT_CONFIG_GLOBAL=" + filepath.Join(home, "config"), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
	}
	g.run(home, nil, "git", "init", "-q", "--bare", "-b", "main", g.origin)
	g.move(tip)
	g.run(home, nil, "git", "clone", "-q", g.origin, g.dir)
	return g
}

// move sets the origin's branch to a commit of the test repository.
func (g *gitClone) move(tip Hash) {
	g.tb.Helper()
	for id, object := range g.repo.objects {
		got := g.run(g.origin, object.Data, "git", "hash-object", "-w", "-t", object.Type.String(), "--stdin")
		if got != id.String() {
			g.tb.Fatalf("git stored %s as %s", id, got)
		}
	}
	g.run(g.origin, nil, "git", "update-ref", "refs/heads/main", tip.String())
}

func (g *gitClone) run(dir string, stdin []byte, name string, args ...string) string {
	g.tb.Helper()
	cmd := exec.CommandContext(g.tb.Context(), name, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, g.env, bytes.NewReader(stdin)
	output, err := cmd.CombinedOutput()
	if err != nil {
		g.tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, output)
	}
	return strings.TrimSpace(string(output))
}

// shell runs a command line as people paste it, and returns the origin's tip.
func (g *gitClone) shell(line string) Hash {
	g.tb.Helper()
	g.run(g.dir, nil, "sh", "-c", line)
	tip, err := ParseHash(g.run(g.origin, nil, "git", "rev-parse", "main"))
	if err != nil {
		g.tb.Fatal(err)
	}
	return tip
}

// Object implements Source over the origin.
func (g *gitClone) Object(id Hash) (Object, error) {
	kinds := map[string]ObjectType{"commit": CommitObject, "tree": TreeObject, "blob": BlobObject, "tag": TagObject}
	kind := g.run(g.origin, nil, "git", "cat-file", "-t", id.String())
	cmd := exec.CommandContext(g.tb.Context(), "git", "cat-file", kind, id.String())
	cmd.Dir, cmd.Env = g.origin, g.env
	data, err := cmd.Output()
	return Object{Type: kinds[kind], Data: data}, err
}

// commandLines finds the commands in an advice.
func commandLines(advice string) []string {
	return regexp.MustCompile(`git (switch|commit) .*`).FindAllString(advice, -1)
}

// TestAdviceWorks follows the advice of refusals with the real git: each
// command leads to a branch that is accepted to its tip.
func TestAdviceWorks(t *testing.T) {
	cases := []struct {
		name  string
		build func(r *testRepo, base Hash) (tip Hash)
		// want is the content of shop after each command of the advice.
		want []string
	}{
		{"unsigned tip", func(r *testRepo, base Hash) Hash {
			return r.commit("", "Bad", shop("2"), base)
		}, []string{"shop 1", "2"}},
		{"unsigned below others", func(r *testRepo, base Hash) Hash {
			bad := r.commit("", "Bad", edits{"deployments/shop/.env": "1"}, base)
			return r.commit("bob", "After", shop("3"), bad)
		}, []string{"3", "3"}},
		{"unsigned side", func(r *testRepo, base Hash) Hash {
			side := r.commit("", "Bad", shop("2"), base)
			merge := r.merge("bob", "Merge", nil, base, base, side)
			return r.commit("bob", "After", edits{"README.md": "2"}, merge)
		}, []string{"shop 1", "2"}},
		{"no rule", func(r *testRepo, base Hash) Hash {
			bad := r.commit("bob", "Bad", edits{"deployments/README.md": "2"}, base)
			return r.commit("bob", "After", shop("3"), bad)
		}, []string{"3"}},
		{"trust change", func(r *testRepo, base Hash) Hash {
			return r.commit("bob", "Bad", edits{"trust.yaml": r.trustText(2)}, base)
		}, []string{"shop 1"}},
		{"foxtrot", func(r *testRepo, base Hash) Hash {
			c, _ := ReadCommit(r, base)
			mine := r.commit("bob", "Mine", edits{"deployments/shop/.env": "1"}, c.Parents[0])
			merge := r.merge("bob", "Foxtrot", nil, c.Parents[0], mine, base)
			return r.commit("bob", "After", shop("3"), merge)
		}, []string{"3"}},
		{"rewritten", func(r *testRepo, base Hash) Hash {
			c, _ := ReadCommit(r, base)
			return r.commit("bob", "Other", edits{"deployments/shop/.env": "1"}, c.Parents[0])
		}, []string{"shop 1"}},
		{"reset to an older commit", func(r *testRepo, base Hash) Hash {
			c, _ := ReadCommit(r, base)
			return c.Parents[0]
		}, []string{"shop 1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, from := started(t)
			tip := c.build(r, from.Commit)
			v := r.verify(from, tip)
			if v.Refusal == nil {
				t.Fatal("accepted")
			}
			lines := commandLines(v.Refusal.Advice)
			if len(lines) != len(c.want) {
				t.Fatalf("%d commands in %q, want %d", len(lines), v.Refusal.Advice, len(c.want))
			}
			for i, line := range lines {
				// The clone saw the accepted commit before the branch went wrong.
				g := newGitClone(t, r, from.Commit)
				g.move(tip)
				if v.Refusal.Reason != ReasonRewritten && v.Refusal.Reason != ReasonFoxtrot {
					g.run(g.dir, nil, "git", "pull", "-q", "--ff-only")
				}
				next := g.shell(line)
				after, err := Verify(g, from, next, Options{Now: testNow})
				if err != nil {
					t.Fatal(err)
				}
				if after.Refusal != nil || after.Position.Commit != next {
					t.Errorf("after %q: %+v", line, after.Refusal)
				}
				if got := g.run(g.origin, nil, "git", "show", "main:deployments/shop/compose.yaml"); got != c.want[i] {
					t.Errorf("after %q shop is %q, want %q", line, got, c.want[i])
				}
			}
		})
	}
}

// TestPendingCommandWorks approves with the real git what waits.
func TestPendingCommandWorks(t *testing.T) {
	r, from := started(t)
	tip := r.commit("carol", "Two", shop("2"), from.Commit)
	waiting := r.verify(from, tip)
	if len(waiting.Pending) != 1 {
		t.Fatalf("pending %+v", waiting.Pending)
	}
	g := newGitClone(t, r, tip)
	if after := g.shell(waiting.Pending[0].Command); after != tip {
		t.Errorf("the branch moved to %s", after)
	}
	v, err := Verify(g, waiting.Position, tip, Options{Now: testNow, Tags: g.tags()})
	if err != nil {
		t.Fatal(err)
	}
	if v.Refusal != nil || len(v.Pending) != 0 || !cmp.Equal(v.Approved, []string{"shop"}) || !cmp.Equal(v.Tags, g.tags()) {
		t.Errorf("after the command: %+v", v)
	}
}

// TestTrustCommandWorks approves with the real git a trust change that waits.
func TestTrustCommandWorks(t *testing.T) {
	r, from := rooted(t)
	tip := r.commit("alice", "Policy", edits{"trust.yaml": r.rootText(2, 2, "alice", "bob", "carol")}, from.Commit)
	waiting := r.verify(from, tip)
	if waiting.Refusal == nil || waiting.Refusal.Reason != ReasonTrustPending || len(waiting.Pending) != 1 {
		t.Fatalf("verdict %s", r.show(waiting))
	}
	g := newGitClone(t, r, tip)
	g.shell(waiting.Pending[0].Command)
	v, err := Verify(g, waiting.Position, tip, Options{Now: testNow, Tags: g.tags()})
	if err != nil {
		t.Fatal(err)
	}
	if v.Refusal != nil || v.Position.Commit != tip || !cmp.Equal(v.Tags, g.tags()) {
		t.Errorf("after the command: %+v", v)
	}
}

// TestTargetCommandWorks says for which branch a commit is meant.
func TestTargetCommandWorks(t *testing.T) {
	r, from := rooted(t, "require_target: true")
	tip := r.commit("alice", "Two", edits{"deployments/blog/compose.yaml": "2"}, from.Commit)
	refused := r.verify(from, tip)
	if refused.Refusal == nil || refused.Refusal.Reason != ReasonNoTarget {
		t.Fatalf("verdict %s", r.show(refused))
	}
	lines := commandLines(refused.Refusal.Advice)
	if len(lines) != 2 {
		t.Fatalf("commands %q", lines)
	}
	for i, approved := range []int{0, 1} {
		g := newGitClone(t, r, tip)
		next := g.shell(lines[i])
		v, err := Verify(g, from, next, Options{Now: testNow})
		if err != nil {
			t.Fatal(err)
		}
		if v.Refusal != nil || v.Position.Commit != next || len(v.Approved) != approved {
			t.Errorf("after %q: %+v", lines[i], v)
		}
	}
}

// TestReanchorCommandWorks goes to a rewritten history by the advice of its
// refusal.
func TestReanchorCommandWorks(t *testing.T) {
	r, from := rooted(t)
	c, _ := ReadCommit(r, from.Commit)
	tip := r.commit("bob", "Other", edits{"README.md": "1"}, c.Parents[0])
	refused := r.verify(from, tip)
	if refused.Refusal == nil || refused.Refusal.Reason != ReasonRewritten {
		t.Fatalf("verdict %s", r.show(refused))
	}
	line := regexp.MustCompile(`git fetch origin .*`).FindString(refused.Refusal.Advice)
	g := newGitClone(t, r, tip)
	g.shell(line)
	one, err := Verify(g, from, tip, Options{Now: testNow, Tags: g.tags()})
	if err != nil {
		t.Fatal(err)
	}
	if one.Refusal == nil || len(one.Pending) != 1 || one.Pending[0].Unit != ReanchorUnit || !cmp.Equal(one.Pending[0].Have, []string{"bob"}) {
		t.Fatalf("after one of two: %+v", one)
	}
	id := r.tag("alice", "approve/reanchor/yes", tip, "Reanchor: "+from.Commit.String())
	g.move(tip)
	v, err := Verify(g, from, tip, Options{Now: testNow, Tags: append(g.tags(), id)})
	if err != nil {
		t.Fatal(err)
	}
	if v.Refusal != nil || v.Reanchored == nil || v.Position.Commit != tip || !v.Position.Anchor {
		t.Errorf("after both: %+v", v)
	}
}

// tags returns the ids of the annotated tags at the origin.
func (g *gitClone) tags() []Hash {
	g.tb.Helper()
	var ids []Hash
	for _, text := range strings.Fields(g.run(g.origin, nil, "git", "for-each-ref", "--format=%(objectname)", "refs/tags/approve")) {
		id, err := ParseHash(text)
		if err != nil {
			g.tb.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}
