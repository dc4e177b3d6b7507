package signing

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// refusalCase builds, on a good commit, a bad one. It returns the bad commit
// and the commit of the branch that brings it in, on which more may stand.
type refusalCase struct {
	name   string
	reason Reason
	detail string
	build  func(r *testRepo, good Hash) (bad, chain Hash)
}

// alone is for bad commits on the branch itself.
func alone(build func(r *testRepo, good Hash) Hash) func(*testRepo, Hash) (Hash, Hash) {
	return func(r *testRepo, good Hash) (Hash, Hash) {
		bad := build(r, good)
		return bad, bad
	}
}

// by is a commit of that signer with those edits.
func by(signer string, change edits) func(*testRepo, Hash) (Hash, Hash) {
	return alone(func(r *testRepo, good Hash) Hash { return r.commit(signer, "Bad", change, good) })
}

// shop is an edit of the shop deployment.
func shop(content string) edits { return edits{"deployments/shop/compose.yaml": content} }

func signatureCases() []refusalCase {
	return []refusalCase{
		{"unsigned", ReasonUnsigned, "no signature", by("", shop("2"))},
		{"unsigned outside deployments", ReasonUnsigned, "no signature", by("", edits{"README.md": "2"})},
		{"unknown signer", ReasonUnknownSigner, "trust.yaml does not list", by("mallory", shop("2"))},
		{"revoked key", ReasonRevoked, "carol is revoked: laptop lost", by("carol-laptop", edits{"README.md": "2"})},
		{"expired signer", ReasonExpired, "dave signs nothing new since 2026-11-23T00:00:00Z", by("dave", edits{"README.md": "2"})},
		{"changed message", ReasonBadSignature, "bad signature", alone(func(r *testRepo, good Hash) Hash {
			id := r.commit("bob", "Bad", shop("2"), good)
			data := bytes.Replace(r.objects[id].Data, []byte("Bad"), []byte("Bed"), 1)
			return r.put(CommitObject, data)
		})},
		{"unsigned side commit", ReasonUnsigned, "no signature", func(r *testRepo, good Hash) (Hash, Hash) {
			bad := r.commit("", "Bad", edits{"notes.md": "1"}, good)
			side := r.commit("bob", "Good", shop("2"), bad)
			return bad, r.merge("bob", "Merge", nil, good, good, side)
		}},
		{"unsigned side commit of a merged side", ReasonUnsigned, "no signature", func(r *testRepo, good Hash) (Hash, Hash) {
			bad := r.commit("", "Bad", edits{"notes.md": "1"}, good)
			side := r.merge("bob", "Inner", nil, good, r.commit("bob", "Good", shop("2"), good), bad)
			return bad, r.merge("bob", "Merge", nil, good, good, side)
		}},
		{"unsigned merge", ReasonUnsigned, "no signature", alone(func(r *testRepo, good Hash) Hash {
			return r.merge("", "Merge", nil, good, good, r.commit("bob", "Good", shop("2"), good))
		})},
	}
}

func objectCases() []refusalCase {
	raw := func(change func(data []byte) []byte) func(*testRepo, Hash) (Hash, Hash) {
		return alone(func(r *testRepo, good Hash) Hash {
			return r.put(CommitObject, change(r.objects[r.commit("bob", "Bad", shop("2"), good)].Data))
		})
	}
	withTree := func(entries func(r *testRepo) []TreeEntry) func(*testRepo, Hash) (Hash, Hash) {
		return alone(func(r *testRepo, good Hash) Hash {
			return r.commitTree("bob", r.put(TreeObject, encodeTree(entries(r))), good)
		})
	}
	return []refusalCase{
		{"unknown header", ReasonMalformed, "unexpected header", raw(func(data []byte) []byte {
			return bytes.Replace(data, []byte("\ngpgsig "), []byte("\nnote x\ngpgsig "), 1)
		})},
		{"parent zero", ReasonMalformed, "the zero id", raw(func(data []byte) []byte {
			return bytes.Replace(data, []byte("\nauthor "), []byte("\nparent "+strings.Repeat("0", 40)+"\nauthor "), 1)
		})},
		{"unsorted tree", ReasonMalformed, "out of order", withTree(func(r *testRepo) []TreeEntry {
			blob := r.put(BlobObject, []byte("x"))
			return []TreeEntry{{Mode: ModeFile, Name: "b", ID: blob}, {Mode: ModeFile, Name: "a", ID: blob}}
		})},
		{"dots in a deployment", ReasonMalformed, "not a name", withTree(func(r *testRepo) []TreeEntry {
			up := r.put(TreeObject, encodeTree([]TreeEntry{{Mode: ModeFile, Name: "..", ID: r.put(BlobObject, []byte("x"))}}))
			all := r.put(TreeObject, encodeTree([]TreeEntry{{Mode: ModeTree, Name: "shop", ID: up}}))
			return []TreeEntry{{Mode: ModeTree, Name: "deployments", ID: all}}
		})},
		{"symlink", ReasonMalformed, "shop/link is a symbolic link", by("bob", edits{"deployments/shop/link": symlink})},
		{"submodule", ReasonMalformed, "shop/sub is a submodule", by("bob", edits{"deployments/shop/sub": submodule})},
		{"symlink in place of the folder", ReasonMalformed, "deployments/blog is a symbolic link",
			by("alice", edits{"deployments/blog/compose.yaml": gone, "deployments/blog": symlink})},
		{"deployments is a file", ReasonMalformed, "deployments is a file", by("bob", edits{
			"deployments/shop/compose.yaml": gone, "deployments/shop/.env": gone,
			"deployments/blog/compose.yaml": gone, "deployments": "x",
		})},
		{"cluster.yaml is a folder", ReasonMalformed, "cluster.yaml is a folder", by("alice", edits{"cluster.yaml/x": "x"})},
		{"cluster.yaml is a symlink", ReasonMalformed, "cluster.yaml is a symbolic link", by("alice", edits{"cluster.yaml": symlink})},
		{"deployment's name", ReasonMalformed, "deployments/Shop: the folder's name", by("bob", edits{"deployments/Shop/compose.yaml": "x"})},
		{"approval's name", ReasonMalformed, "taken by the approve/cluster/", by("bob", edits{"deployments/cluster/compose.yaml": "x"})},
		{"command's name", ReasonMalformed, "taken by a command", by("bob", edits{"deployments/sync/compose.yaml": "x"})},
		{"side symlink removed again", ReasonMalformed, "is a symbolic link", func(r *testRepo, good Hash) (Hash, Hash) {
			bad := r.commit("bob", "Bad", edits{"deployments/shop/link": symlink}, good)
			side := r.commit("bob", "Good", edits{"deployments/shop/link": gone}, bad)
			return bad, r.merge("bob", "Merge", nil, good, good, side)
		}},
		{"name that is not UTF-8", ReasonMalformed, `"deployments/shop/\xff": the name`, by("bob", edits{"deployments/shop/\xff": "x"})},
		{"name with an escape", ReasonMalformed, `"deployments/shop/\x1b[2J": the name`, by("bob", edits{"deployments/shop/\x1b[2J": "x"})},
		{"no rule", ReasonNoRule, "deployments/README.md: no rule", by("alice", edits{"deployments/README.md": "x"})},
		{"tampered tree", ReasonTampered, "does not match its id", alone(func(r *testRepo, good Hash) Hash {
			bad := r.commit("bob", "Bad", shop("2"), good)
			c, _ := ReadCommit(r, bad)
			r.objects[c.Tree] = Object{Type: TreeObject, Data: nil}
			return bad
		})},
	}
}

// commitTree is commit with a tree of any kind.
func (r *testRepo) commitTree(by string, tree Hash, parents ...Hash) Hash {
	r.clock++
	c, err := ReadCommit(r, r.commit("", "Any", nil, parents...))
	if err != nil {
		r.tb.Fatal(err)
	}
	c.Tree = tree
	c.Signature = r.sign(by, encodeCommit(c))
	return r.put(CommitObject, encodeCommit(c))
}

func trustCases() []refusalCase {
	trust := func(signer string, change func(r *testRepo) edits) func(*testRepo, Hash) (Hash, Hash) {
		return alone(func(r *testRepo, good Hash) Hash { return r.commit(signer, "Bad", change(r), good) })
	}
	edited := func(signer, old, new string) func(*testRepo, Hash) (Hash, Hash) {
		return trust(signer, func(r *testRepo) edits {
			text := r.trustText(2, carolRevoked(r))
			changed := strings.Replace(text, old, new, 1)
			if changed == text {
				r.tb.Fatalf("%q is not in the policy", old)
			}
			return edits{"trust.yaml": changed}
		})
	}
	next := func(r *testRepo) edits { return edits{"trust.yaml": r.trustText(2, carolRevoked(r))} }
	return []refusalCase{
		{"by no root", ReasonTrust, "bob is not root: trust.yaml and keys/ are changed by alice only", trust("bob", next)},
		{"key file by no root", ReasonTrust, "bob is not root", by("bob", edits{"keys/bob.pub": "x"})},
		{"same version", ReasonTrust, "version is 1, want 2", edited("alice", "version: 2", "version: 1 # again")},
		{"version jumps", ReasonTrust, "version is 3, want 2", edited("alice", "version: 2", "version: 3")},
		{"key file without a new version", ReasonTrust, "version is 1, want 2", by("alice", edits{"keys/note.txt": "x"})},
		{"not parsable", ReasonTrust, "trust.yaml:2: unknown field", edited("alice", "root:", "roots: {}\nroot:")},
		{"not supported", ReasonTrust, "trust.yaml:2: root: threshold: 2 of 1 signers: nobody could change trust.yaml again", edited("alice", "signers: [alice]", "signers: [alice], threshold: 2")},
		{"removed", ReasonTrust, "trust.yaml", by("alice", edits{"trust.yaml": gone})},
		{"symlink", ReasonTrust, "trust.yaml", by("alice", edits{"trust.yaml": symlink})},
		{"key file removed", ReasonTrust, "trust.yaml:5: key file keys/bob.pub", trust("alice", func(r *testRepo) edits {
			change := next(r)
			change["keys/bob.pub"] = gone
			return change
		})},
		{"revokes root's key", ReasonTrust, "Nobody locks the door", trust("alice", func(r *testRepo) edits {
			return edits{"trust.yaml": r.trustText(2, "revoked:", fmt.Sprintf("  - {key: %q}", r.fingerprint("alice")))}
		})},
		{"ends root's time", ReasonTrust, "Nobody locks the door", trust("alice", func(r *testRepo) edits {
			key := fmt.Sprintf("alice: {keys: [%q]", r.public("alice"))
			return edits{"trust.yaml": strings.Replace(r.trustText(2), key, key+", valid_until: 2026-11-22", 1)}
		})},
		{"with a deployment", ReasonTrust, `it changes "deployments" too`, trust("alice", func(r *testRepo) edits {
			change := next(r)
			change["deployments/blog/compose.yaml"] = "2"
			return change
		})},
		{"with another file", ReasonTrust, `it changes "README.md" too`, trust("alice", func(r *testRepo) edits {
			change := next(r)
			change["README.md"] = "2"
			return change
		})},
		{"on a side branch", ReasonTrust, "never on a side branch", func(r *testRepo, good Hash) (Hash, Hash) {
			bad := r.commit("alice", "Bad", next(r), good)
			return bad, r.merge("alice", "Merge", nil, good, good, bad)
		}},
		{"by a merge", ReasonTrust, "a merge changes trust.yaml", alone(func(r *testRepo, good Hash) Hash {
			side := r.commit("alice", "Side", edits{"README.md": "2"}, good)
			return r.merge("alice", "Merge", next(r), good, good, side)
		})},
	}
}

func historyCases() []refusalCase {
	return []refusalCase{
		{"too many commits in one merge", ReasonTooLarge, "it brings in 8 commits at once, more than 7", alone(func(r *testRepo, good Hash) Hash {
			side := good
			for i := range 8 {
				side = r.commit("bob", fmt.Sprint("Side ", i), shop(fmt.Sprint(i)), side)
			}
			return r.merge("bob", "Merge", nil, good, good, side)
		})},
		{"too many paths", ReasonTooLarge, "deployable paths", alone(func(r *testRepo, good Hash) Hash {
			// A tree that names itself ten times a level: 10^7 files in eight objects.
			id := r.put(BlobObject, []byte("x"))
			mode := ModeFile
			for range 7 {
				var entries []TreeEntry
				for i := range 10 {
					entries = append(entries, TreeEntry{Mode: mode, Name: fmt.Sprint("f", i), ID: id})
				}
				id, mode = r.put(TreeObject, encodeTree(entries)), ModeTree
			}
			all := r.put(TreeObject, encodeTree([]TreeEntry{{Mode: ModeTree, Name: "shop", ID: id}}))
			return r.commitTree("bob", r.put(TreeObject, encodeTree([]TreeEntry{{Mode: ModeTree, Name: "deployments", ID: all}})), good)
		})},
		{"too deep", ReasonTooLarge, "a path of more than 4096 bytes", alone(func(r *testRepo, good Hash) Hash {
			id, mode := r.put(BlobObject, []byte("x")), ModeFile
			for range 3_000 {
				id, mode = r.put(TreeObject, encodeTree([]TreeEntry{{Mode: mode, Name: "d", ID: id}})), ModeTree
			}
			all := r.put(TreeObject, encodeTree([]TreeEntry{{Mode: ModeTree, Name: "shop", ID: id}}))
			return r.commitTree("bob", r.put(TreeObject, encodeTree([]TreeEntry{{Mode: ModeTree, Name: "deployments", ID: all}})), good)
		})},
	}
}

func carolRevoked(r *testRepo) string {
	return fmt.Sprintf("revoked:\n  - {key: %q, since: 2026-10-01T00:00:00Z, compromised: true, reason: laptop lost}", r.fingerprint("carol-laptop"))
}

// TestRefusals puts every kind of bad commit between good ones: what stands
// before it is accepted, it is named, and nothing behind it moves anything.
func TestRefusals(t *testing.T) {
	var cases []refusalCase
	cases = append(cases, signatureCases()...)
	cases = append(cases, objectCases()...)
	cases = append(cases, trustCases()...)
	cases = append(cases, historyCases()...)
	for _, c := range cases {
		t.Run(string(c.reason)+" "+c.name, func(t *testing.T) {
			r, from := started(t, carolRevoked(newTestRepo(t)))
			good := r.commit("bob", "Good", edits{"deployments/shop/.env": "1"}, from.Commit)
			want := r.verify(from, good)
			if want.Refusal != nil || want.Position.Commit != good {
				t.Fatalf("the good commit was refused: %+v", want.Refusal)
			}
			bad, chain := c.build(r, good)
			for _, tip := range []Hash{chain, r.commitTree("bob", r.tree(edits{"after": "1"}), chain)} {
				got := r.verify(from, tip)
				if got.Refusal == nil {
					t.Fatalf("accepted up to %s", got.Position.Commit)
				}
				if got.Refusal.Reason != c.reason || got.Refusal.Commit != bad || got.Refusal.Chain != chain {
					t.Errorf("refusal %+v, want %s of %s by %s", got.Refusal, c.reason, bad, chain)
				}
				if !strings.Contains(got.Refusal.Detail, c.detail) {
					t.Errorf("detail %q, want %q in it", got.Refusal.Detail, c.detail)
				}
				if got.Refusal.Advice == "" || strings.Contains(got.Refusal.Advice, "%!") {
					t.Errorf("advice %q", got.Refusal.Advice)
				}
				got.Refusal = nil
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the rest of the verdict is not that of the good commit (-want +got):\n%s", diff)
				}
			}
			if got := r.verify(want.Position, chain); got.Refusal == nil || len(got.Commits) != 0 ||
				!cmp.Equal(got.Position, want.Position) {
				t.Errorf("judged from the good commit: %+v", got)
			}
		})
	}
}

// TestDetachedTips are tips that do not have the accepted commit on their
// first-parent chain: nothing of them is accepted.
func TestDetachedTips(t *testing.T) {
	cases := []struct {
		name   string
		reason Reason
		build  func(r *testRepo, anchor, accepted Hash) (bad, tip Hash)
	}{
		{"an older commit", ReasonRewritten, func(r *testRepo, anchor, accepted Hash) (Hash, Hash) {
			return anchor, anchor
		}},
		{"a sibling", ReasonRewritten, func(r *testRepo, anchor, accepted Hash) (Hash, Hash) {
			tip := r.commit("bob", "Other", shop("2"), anchor)
			return tip, tip
		}},
		{"another root", ReasonRewritten, func(r *testRepo, anchor, accepted Hash) (Hash, Hash) {
			tip := r.commit("bob", "Other", shop("2"))
			return tip, tip
		}},
		{"a foxtrot merge", ReasonFoxtrot, func(r *testRepo, anchor, accepted Hash) (Hash, Hash) {
			mine := r.commit("bob", "Mine", shop("2"), anchor)
			bad := r.merge("bob", "Merge", nil, anchor, mine, accepted)
			return bad, r.commit("bob", "After", shop("3"), bad)
		}},
		{"a foxtrot merge of a side of the accepted", ReasonFoxtrot, func(r *testRepo, anchor, accepted Hash) (Hash, Hash) {
			mine := r.commit("bob", "Mine", shop("2"), anchor)
			side := r.commit("bob", "Side", edits{"README.md": "2"}, accepted)
			bad := r.merge("bob", "Merge", nil, anchor, mine, side)
			again := r.merge("bob", "Merge again", nil, anchor, bad, accepted)
			return bad, again
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, from := started(t)
			accepted, _ := ReadCommit(r, from.Commit)
			bad, tip := c.build(r, accepted.Parents[0], from.Commit)
			v := r.verify(from, tip)
			if v.Refusal == nil || v.Refusal.Reason != c.reason || v.Refusal.Commit != bad || v.Refusal.Chain != bad {
				t.Fatalf("refusal %+v, want %s of %s", v.Refusal, c.reason, bad)
			}
			if !strings.Contains(v.Refusal.Advice, from.Commit.String()) {
				t.Errorf("advice %q does not name the accepted commit", v.Refusal.Advice)
			}
			if !cmp.Equal(v.Position, from) || len(v.Commits) != 0 || len(v.Approved) != 0 {
				t.Errorf("something was accepted: %+v", v)
			}
		})
	}
}

// TestTamperedCommit has bytes on the chain that are not the commit's: nothing
// they say is believed, not even what comes before, so that nothing moves.
func TestTamperedCommit(t *testing.T) {
	r, from := started(t)
	good := r.commit("bob", "Good", shop("2"), from.Commit)
	bad := r.commit("bob", "Bad", shop("3"), good)
	r.objects[bad] = r.objects[good]
	v := r.verify(from, r.commit("bob", "After", shop("4"), bad))
	if v.Refusal == nil || v.Refusal.Reason != ReasonTampered || v.Refusal.Commit != bad || v.Refusal.Chain != bad {
		t.Errorf("refusal %+v, want one of %s", v.Refusal, bad)
	}
	if !cmp.Equal(v.Position, from) {
		t.Errorf("moved to %+v", v.Position)
	}
}

// TestMissingEvidence takes every object away that a judgement reads, one by
// one: each time there is no verdict.
func TestMissingEvidence(t *testing.T) {
	r, from := started(t)
	side := r.commit("bob", "Side", shop("2"), from.Commit)
	main := r.commit("alice", "Main", edits{"deployments/blog/compose.yaml": "2"}, from.Commit)
	merge := r.merge("alice", "Merge", nil, from.Commit, main, side)
	tip := r.commit("alice", "Policy", edits{"trust.yaml": r.trustText(2)}, merge)

	recorder := NewRecorder(r)
	want, err := Verify(recorder, from, tip, Options{Now: testNow})
	if err != nil || want.Refusal != nil {
		t.Fatal(err, want.Refusal)
	}
	evidence := fixtureSource{}
	for _, id := range recorder.IDs() {
		evidence[id] = r.objects[id]
	}
	got, err := Verify(evidence, from, tip, Options{Now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdict from the evidence alone (-want +got):\n%s", diff)
	}
	for _, id := range recorder.IDs() {
		kept := evidence[id]
		delete(evidence, id)
		if v, err := Verify(evidence, from, tip, Options{Now: testNow}); !errors.Is(err, ErrNotFound) || v != nil {
			t.Errorf("without %s %s: verdict %+v, error %v", kept.Type, id, v, err)
		}
		evidence[id] = kept
	}
	for _, read := range recorder.Reads() {
		if o := r.objects[read.ID]; read.Type != o.Type || read.Size != len(o.Data) {
			t.Errorf("recorded %+v, is a %s of %d bytes", read, o.Type, len(o.Data))
		}
		if string(r.objects[read.ID].Data) == "fleet" {
			t.Error("a file outside the surface was read")
		}
	}
}

// TestNothingNew judges a position against its own commit.
func TestNothingNew(t *testing.T) {
	r, from := started(t)
	v := r.verify(from, from.Commit)
	if diff := cmp.Diff(&Verdict{Position: from}, v); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSubjects are fit for JSON and terminals.
func TestSubjects(t *testing.T) {
	r, from := started(t)
	for subject, want := range map[string]string{
		"Plain":                   "Plain",
		"Bell \a and \x1b[31mred": "Bell  and [31mred",
		"Latin \xe9":              "Latin \uFFFD",
		strings.Repeat("ü", 150):  strings.Repeat("ü", 100) + "…",
	} {
		v := r.verify(from, r.commit("bob", subject, nil, from.Commit))
		if len(v.Commits) != 1 || v.Commits[0].Subject != want {
			t.Errorf("%q: %+v, want %q", subject, v.Commits, want)
		}
	}
}

// TestNoTime fails closed: without a time nothing would ever be expired.
func TestNoTime(t *testing.T) {
	r, from := started(t)
	if v, err := Verify(r, from, from.Commit, Options{}); err == nil {
		t.Errorf("judged without a time: %+v", v)
	}
}

// TestBrokenPosition has no verdict: the accepted commit itself is damaged.
func TestBrokenPosition(t *testing.T) {
	r, from := started(t)
	tip := r.commit("bob", "Next", shop("2"), from.Commit)
	c, _ := ReadCommit(r, from.Commit)
	r.objects[c.Tree] = Object{Type: TreeObject}
	if v, err := Verify(r, from, tip, Options{Now: testNow}); err == nil || v != nil {
		t.Errorf("verdict %+v, error %v", v, err)
	}
}
