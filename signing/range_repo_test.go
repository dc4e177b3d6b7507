package signing

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// testNow is the entry's time of all judgements; commits are older.
var testNow = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Values of edits with a meaning of their own.
const (
	gone      = "\x00gone"
	symlink   = "\x00symlink"
	submodule = "\x00submodule"
)

// edits are changed files by path.
type edits map[string]string

// testRepo is a git repository in memory whose commits are really signed, by
// ed25519 SSH keys that are made of the signers' names.
type testRepo struct {
	tb      testing.TB
	objects fixtureSource
	files   map[Hash]edits // the whole tree of each commit
	keys    map[string]ssh.Signer
	clock   int64
}

func newTestRepo(tb testing.TB) *testRepo {
	return &testRepo{
		tb: tb, objects: fixtureSource{}, files: make(map[Hash]edits),
		keys: make(map[string]ssh.Signer), clock: testNow.Unix() - 1_000_000,
	}
}

// Object implements Source.
func (r *testRepo) Object(id Hash) (Object, error) { return r.objects.Object(id) }

// key returns the key of that name.
func (r *testRepo) key(name string) ssh.Signer {
	if key, made := r.keys[name]; made {
		return key
	}
	seed := sha256.Sum256([]byte(name))
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		r.tb.Fatal(err)
	}
	r.keys[name] = signer
	return signer
}

// public returns the key's line, as in a .pub file.
func (r *testRepo) public(name string) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(r.key(name).PublicKey())))
}

func (r *testRepo) fingerprint(name string) string {
	return ssh.FingerprintSHA256(r.key(name).PublicKey())
}

// put stores an object.
func (r *testRepo) put(kind ObjectType, data []byte) Hash {
	object := Object{Type: kind, Data: data}
	id, err := HashObject(object)
	if err != nil {
		r.tb.Fatal(err)
	}
	if _, stored := r.objects[id]; !stored { // a test may have damaged it
		r.objects[id] = object
	}
	return id
}

// tree stores a tree of files.
func (r *testRepo) tree(files edits) Hash {
	var entries []TreeEntry
	folders := make(map[string]edits)
	for path, content := range files {
		if folder, rest, nested := strings.Cut(path, "/"); nested {
			if folders[folder] == nil {
				folders[folder] = edits{}
			}
			folders[folder][rest] = content
			continue
		}
		entry := TreeEntry{Mode: ModeFile, Name: path, ID: r.put(BlobObject, []byte(content))}
		switch content {
		case symlink:
			entry.Mode = ModeSymlink
		case submodule:
			entry.Mode = ModeSubmodule
		}
		entries = append(entries, entry)
	}
	for folder, inside := range folders {
		entries = append(entries, TreeEntry{Mode: ModeTree, Name: folder, ID: r.tree(inside)})
	}
	slices.SortFunc(entries, compareEntries)
	return r.put(TreeObject, encodeTree(entries))
}

// commit adds a commit on the parents, the first of which it edits. By names
// the key that signs, "" for none. Each commit is a second newer than the last.
func (r *testRepo) commit(by, message string, change edits, parents ...Hash) Hash {
	r.clock++
	return r.commitAt(r.clock, by, message, change, parents...)
}

// commitAt is commit with a date.
func (r *testRepo) commitAt(date int64, by, message string, change edits, parents ...Hash) Hash {
	files := edits{}
	if len(parents) > 0 {
		maps.Copy(files, r.files[parents[0]])
	}
	for path, content := range change {
		if content == gone {
			delete(files, path)
		} else {
			files[path] = content
		}
	}
	who := Ident{Name: "Someone", Email: "someone@example.com", Time: time.Unix(date, 0).In(time.FixedZone("+0000", 0))}
	c := &Commit{Tree: r.tree(files), Parents: parents, Author: who, Committer: who, Message: message + "\n"}
	if by != "" {
		c.Signature = r.sign(by, encodeCommit(c))
	}
	id := r.put(CommitObject, encodeCommit(c))
	r.files[id] = files
	return id
}

// sign makes an SSH signature as git does.
func (r *testRepo) sign(by string, payload []byte) []byte {
	signature, err := sshsig.Sign(bytes.NewReader(payload), r.key(by), sshsig.HashSHA512, "git")
	if err != nil {
		r.tb.Fatal(err)
	}
	return sshArmor().encode(signature.Marshal())
}

// merge adds a clean merge of the side branch: what the side changed against
// the base is taken. Change is what the merge changes by itself.
func (r *testRepo) merge(by, message string, change edits, base, branch, side Hash) Hash {
	merged := edits{}
	for path := range r.files[base] {
		if _, kept := r.files[side][path]; !kept {
			merged[path] = gone
		}
	}
	for path, content := range r.files[side] {
		if r.files[base][path] != content {
			merged[path] = content
		}
	}
	maps.Copy(merged, change)
	return r.commit(by, message, merged, branch, side)
}

// trustText is the policy of most tests: alice is root, bob alone decides
// about shop, ci about image files; carol is a person without rights of her own.
func (r *testRepo) trustText(version int, extra ...string) string {
	lines := []string{
		fmt.Sprintf("version: %d", version),
		"root: {signers: [alice]}",
		"signers:",
		fmt.Sprintf("  alice: {keys: [%q]}", r.public("alice")),
		"  bob: {keys: [keys/bob.pub]}",
		fmt.Sprintf("  carol: {keys: [%q, %q]}", r.public("carol"), r.public("carol-laptop")),
		fmt.Sprintf("  ci: {class: bot, keys: [%q]}", r.public("ci")),
		fmt.Sprintf("  dave: {keys: [%q], valid_until: 2026-11-22}", r.public("dave")),
		"rules:",
		`  - {paths: ["deployments/*/**"]}`,
		`  - {paths: ["deployments/shop/**"], signers: [bob]}`,
		`  - {paths: ["deployments/*/images.env"], signers: [ci]}`,
	}
	return strings.Join(append(lines, extra...), "\n") + "\n"
}

// anchored makes a repository whose first commit, unsigned, holds the policy.
func anchored(tb testing.TB, extra ...string) (*testRepo, Hash) {
	r := newTestRepo(tb)
	return r, r.commit("", "Anchor", edits{
		"trust.yaml": r.trustText(1, extra...), "keys/bob.pub": r.public("bob") + "\n", "README.md": "fleet",
	})
}

// started is anchored, with one accepted commit that starts shop and blog.
func started(tb testing.TB, extra ...string) (*testRepo, Position) {
	r, anchor := anchored(tb, extra...)
	tip := r.commit("bob", "Start", edits{
		"deployments/shop/compose.yaml": "shop 1", "deployments/blog/compose.yaml": "blog 1",
	}, anchor)
	v := r.verify(Position{Commit: anchor, Anchor: true}, tip)
	if v.Refusal != nil || len(v.Pending) != 0 {
		tb.Fatalf("start: refusal %+v, pending %+v", v.Refusal, v.Pending)
	}
	return r, v.Position
}

// verify judges and expects a verdict.
func (r *testRepo) verify(from Position, tip Hash) *Verdict {
	r.tb.Helper()
	v, err := Verify(r, from, tip, Options{Now: testNow, MaxStep: 8})
	if err != nil {
		r.tb.Fatal(err)
	}
	return v
}

// tag makes a signed tag of a commit; by nobody for "".
func (r *testRepo) tag(by, name string, named Hash, message string) Hash {
	return r.put(TagObject, r.tagData(by, name, named, message))
}

func (r *testRepo) tagData(by, name string, named Hash, message string) []byte {
	r.clock++
	who := Ident{Name: "Someone", Email: "someone@example.com", Time: time.Unix(r.clock, 0).In(time.FixedZone("+0000", 0))}
	t := &Tag{Object: named, Type: CommitObject, Name: name, Tagger: who, Message: message + "\n"}
	data := encodeTag(t)
	if by == "" {
		return data
	}
	return append(data, r.sign(by, data)...)
}

// rootText is a policy with a root of several people: two of whom it takes a
// number. Shop takes two approvals, everything else one.
func (r *testRepo) rootText(version, threshold int, root ...string) string {
	lines := []string{
		fmt.Sprintf("version: %d", version),
		fmt.Sprintf("root: {threshold: %d, signers: [%s]}", threshold, strings.Join(root, ", ")),
		"signers:",
	}
	for _, name := range []string{"alice", "bob", "carol"} {
		lines = append(lines, fmt.Sprintf("  %s: {keys: [%q, %q]}", name, r.public(name), r.public(name+"-laptop")))
	}
	lines = append(lines,
		fmt.Sprintf("  ci: {class: bot, keys: [%q]}", r.public("ci")),
		fmt.Sprintf("  hub: {class: forge, keys: [%q]}", r.public("hub")),
		"rules:",
		`  - {paths: ["deployments/*/**"]}`,
		`  - {paths: ["deployments/shop/**"], approvals: 2}`,
		`  - {paths: ["deployments/*/images.env"], signers: [ci]}`,
	)
	return strings.Join(lines, "\n") + "\n"
}

// rooted is started with that policy: two of alice and bob are root. Extra are
// lines at the end of trust.yaml.
func rooted(tb testing.TB, extra ...string) (*testRepo, Position) {
	r := newTestRepo(tb)
	text := r.rootText(1, 2, "alice", "bob")
	for _, line := range extra {
		text += line + "\n"
	}
	anchor := r.commit("", "Anchor", edits{"trust.yaml": text, "README.md": "fleet"})
	start := edits{"deployments/shop/compose.yaml": "shop 1", "deployments/blog/compose.yaml": "blog 1"}
	tip := r.commit("bob", "Start\n\nDeploy-Target: main", start, anchor)
	v := r.verifyTags(Position{Commit: anchor, Anchor: true}, tip, r.tag("alice", "approve/shop/start", tip, "yes"))
	if v.Refusal != nil || len(v.Pending) != 0 {
		tb.Fatalf("start: refusal %+v, pending %+v", v.Refusal, v.Pending)
	}
	return r, v.Position
}

// verifyTags is verify with tags.
func (r *testRepo) verifyTags(from Position, tip Hash, tags ...Hash) *Verdict {
	r.tb.Helper()
	v, err := Verify(r, from, tip, Options{Now: testNow, MaxStep: 8, Tags: tags})
	if err != nil {
		r.tb.Fatal(err)
	}
	return v
}

// replace stores a tree with one existing file changed.
func (r *testRepo) replace(tree Hash, path, content string) Hash {
	entries, err := ReadTree(r, tree)
	if err != nil {
		r.tb.Fatal(err)
	}
	name, rest, nested := strings.Cut(path, "/")
	at := slices.IndexFunc(entries, func(e TreeEntry) bool { return e.Name == name })
	if nested {
		entries[at].ID = r.replace(entries[at].ID, rest, content)
	} else {
		entries[at].ID = r.put(BlobObject, []byte(content))
	}
	return r.put(TreeObject, encodeTree(entries))
}

// subject names a commit in expected texts.
func (r *testRepo) subject(id Hash) string {
	if r.objects[id].Type == TagObject {
		if tag, err := DecodeTag(r.objects[id].Data); err == nil {
			return tag.Name
		}
	}
	c, err := ReadCommit(r, id)
	if err != nil {
		return id.Short()
	}
	return c.Subject()
}

// show prints a verdict: what was accepted and approved, each unit with its
// approved revision, and what waits for whom.
func (r *testRepo) show(v *Verdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "at %s\n", r.subject(v.Position.Commit))
	for _, c := range v.Commits {
		fmt.Fprintf(&b, "  - %s by %s, %d paths\n", c.Subject, c.Signer, c.Paths)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Position.Units)) {
		u := v.Position.Units[name]
		line := name + ": never approved"
		if !u.Revision.IsZero() {
			line = fmt.Sprintf("%s: %s by %s", name, r.subject(u.Revision), r.showSigners(u.Signers))
		}
		if slices.Contains(v.Approved, name) {
			line += ", new"
		}
		fmt.Fprintln(&b, line)
		for _, vouch := range u.Vouched {
			fmt.Fprintf(&b, "  %s: %s\n", vouch.Path, r.showSigners(vouch.Signers))
		}
	}
	for _, name := range v.Approved {
		if _, there := v.Position.Units[name]; !there {
			fmt.Fprintf(&b, "%s: removed\n", name)
		}
	}
	for _, p := range v.Pending {
		fmt.Fprintf(&b, "%s waits: %s; has %s, needs %d of %s\n", p.Unit,
			strings.Join(p.Paths, " "), strings.Join(p.Have, " "), p.Need, strings.Join(p.Eligible, " "))
	}
	if v.Reanchored != nil {
		fmt.Fprintf(&b, "reanchored from %s to %s by %s\n", r.subject(v.Reanchored.From), r.subject(v.Reanchored.To),
			r.showSigners(v.Reanchored.Signers))
	}
	for _, id := range v.Tags {
		fmt.Fprintf(&b, "tag %s\n", r.subject(id))
	}
	if v.Refusal != nil {
		fmt.Fprintf(&b, "refused: %s, %s\n", r.subject(v.Refusal.Commit), v.Refusal.Reason)
	}
	return b.String()
}

func (r *testRepo) showSigners(approvals []Approval) string {
	var names []string
	for _, a := range approvals {
		name := a.Signer + " in " + r.subject(a.Commit)
		if !a.Tree.IsZero() {
			name += " as a whole"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
