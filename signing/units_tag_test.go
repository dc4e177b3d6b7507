package signing

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tagCase builds commits and tags on a rooted repository: shop takes two
// people, blog one, images.env is ci's; alice and bob are root. It returns the
// tip and the tags that are offered.
type tagCase struct {
	name  string
	build func(r *testRepo, base Hash) (tip Hash, tags []Hash)
	want  string
}

const shopStart = "shop: Start by alice in approve/shop/start as a whole, bob in Start\n"

// twoBy is a change of shop that its author alone signed.
func twoBy(r *testRepo, by string, base Hash) Hash { return r.commit(by, "Two", shop("2"), base) }

func countingTags() []tagCase {
	const yes = `
at Two
  - Two by alice, 1 paths
blog: Start by bob in Start
shop: Two by alice in Two, bob in %s as a whole, new
tag %s
`
	by := func(name string) func(r *testRepo, base Hash) (Hash, []Hash) {
		return func(r *testRepo, base Hash) (Hash, []Hash) {
			two := twoBy(r, "alice", base)
			return two, []Hash{r.tag("bob", name, two, "yes")}
		}
	}
	return []tagCase{
		{"of the deployment", by("approve/shop/2"), strings.ReplaceAll(yes, "%s", "approve/shop/2")},
		{"with slashes in its name", by("approve/shop/a/b"), strings.ReplaceAll(yes, "%s", "approve/shop/a/b")},
		{"of all", by("approve/all/2"), strings.ReplaceAll(yes, "%s", "approve/all/2")},
		{"of a side branch's tip", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Side", shop("2"), base)
			return r.merge("hub", "Merge", nil, base, base, side), []Hash{r.tag("bob", "approve/shop/2", side, "yes")}
		}, `
at Merge
  - Side by alice, 1 paths
  - Merge by hub, 0 paths
blog: Start by bob in Start
shop: Merge by alice in Side, bob in approve/shop/2 as a whole, new
tag approve/shop/2
`},
		{"of a later commit, for the changes up to it", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := twoBy(r, "alice", base)
			three := r.commit("alice", "Three", edits{"deployments/shop/.env": "3"}, two)
			four := r.commit("alice", "Four", edits{"README.md": "4"}, three)
			return r.commit("alice", "Five", edits{"README.md": "5"}, four), []Hash{r.tag("bob", "approve/shop/2", four, "yes")}
		}, `
at Five
  - Two by alice, 1 paths
  - Three by alice, 1 paths
  - Four by alice, 0 paths
  - Five by alice, 0 paths
blog: Start by bob in Start
shop: Four by alice in Three, alice in Two, bob in approve/shop/2 as a whole, new
tag approve/shop/2
`},
		{"by two who did not change it", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := twoBy(r, "ci", base)
			return two, []Hash{r.tag("bob", "approve/shop/1", two, "yes"), r.tag("carol", "approve/shop/2", two, "yes")}
		}, `
at Two
  - Two by ci, 1 paths
blog: Start by bob in Start
shop: Two by bob in approve/shop/1 as a whole, carol in approve/shop/2 as a whole, new
tag approve/shop/1
tag approve/shop/2
`},
		{"of cluster.yaml, which takes root's threshold", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := r.commit("alice", "Two", edits{"cluster.yaml": "2"}, base)
			return two, []Hash{r.tag("bob", "approve/cluster/1", two, "yes")}
		}, `
at Two
  - Two by alice, 1 paths
blog: Start by bob in Start
cluster: Two by alice in Two, bob in approve/cluster/1 as a whole, new
` + shopStart + `tag approve/cluster/1
`},
		{"of a removal", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := r.commit("alice", "Two", edits{"deployments/shop/compose.yaml": gone}, base)
			return two, []Hash{r.tag("bob", "approve/shop/1", two, "yes")}
		}, `
at Two
  - Two by alice, 1 paths
blog: Start by bob in Start
shop: removed
tag approve/shop/1
`},
		{"as a mergetag", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("alice", "Side", shop("2"), base)
			merge := r.merge("alice", "Merge", nil, base, base, side)
			return r.withMergeTag("alice", merge, r.tagData("bob", "approve/shop/x", side, "yes")), nil
		}, `
at Merge
  - Side by alice, 1 paths
  - Merge by alice, 0 paths
blog: Start by bob in Start
shop: Merge by alice in Side, bob in MERGETAG as a whole, new
`},
	}
}

// withMergeTag returns a copy of a commit that carries a mergetag.
func (r *testRepo) withMergeTag(by string, id Hash, tag []byte) Hash {
	c, err := ReadCommit(r, id)
	if err != nil {
		r.tb.Fatal(err)
	}
	c.MergeTags, c.Signature = [][]byte{tag}, nil
	c.Signature = r.sign(by, encodeCommit(c))
	made := r.put(CommitObject, encodeCommit(c))
	r.files[made] = r.files[id]
	return made
}

func uselessTags() []tagCase {
	const waits = `
at Two
  - Two by alice, 1 paths
blog: Start by bob in Start
` + shopStart + `  deployments/shop/compose.yaml: alice in Two
shop waits: deployments/shop/compose.yaml; has alice, needs 2 of bob carol
`
	two := func(tag func(r *testRepo, two Hash) Hash) func(r *testRepo, base Hash) (Hash, []Hash) {
		return func(r *testRepo, base Hash) (Hash, []Hash) {
			two := twoBy(r, "alice", base)
			return two, []Hash{tag(r, two)}
		}
	}
	plain := func(by, name string) func(r *testRepo, base Hash) (Hash, []Hash) {
		return two(func(r *testRepo, at Hash) Hash { return r.tag(by, name, at, "yes") })
	}
	return []tagCase{
		{"by the author's second key", plain("alice-laptop", "approve/shop/2"), waits},
		{"by a forge", plain("hub", "approve/shop/2"), waits},
		{"by a bot that no rule names", plain("ci", "approve/shop/2"), waits},
		{"by nobody", plain("", "approve/shop/2"), waits},
		{"by an unknown key", plain("mallory", "approve/shop/2"), waits},
		{"of another deployment", plain("bob", "approve/blog/2"), waits},
		{"of trust", plain("bob", "approve/trust/2"), waits},
		{"of the cluster", plain("bob", "approve/cluster/2"), waits},
		{"of another case", plain("bob", "approve/Shop/2"), waits},
		{"without a name behind the deployment", plain("bob", "approve/shop/"), waits},
		{"without a slash behind the deployment", plain("bob", "approve/shop"), waits},
		{"of another kind", plain("bob", "v1/approve/shop/2"), waits},
		{"of a tree", two(func(r *testRepo, at Hash) Hash {
			c, _ := ReadCommit(r, at)
			t, _ := DecodeTag(r.tagData("", "approve/shop/2", c.Tree, "yes"))
			t.Type = TreeObject
			data := encodeTag(t)
			return r.put(TagObject, append(data, r.sign("bob", data)...))
		}), waits},
		{"changed after it was signed", two(func(r *testRepo, at Hash) Hash {
			data := string(r.tagData("bob", "approve/blog/2", at, "yes"))
			return r.put(TagObject, []byte(strings.Replace(data, "blog", "shop", 1)))
		}), waits},
		{"malformed", two(func(r *testRepo, at Hash) Hash { return r.put(TagObject, []byte("object x\n")) }), waits},
		{"that is a commit", two(func(r *testRepo, at Hash) Hash { return at }), waits},
		{"whose bytes are another's", two(func(r *testRepo, at Hash) Hash {
			id := Hash{1}
			r.objects[id] = Object{Type: TagObject, Data: r.tagData("bob", "approve/shop/2", at, "yes")}
			return id
		}), waits},
		{"of the commit before", func(r *testRepo, base Hash) (Hash, []Hash) {
			return twoBy(r, "alice", base), []Hash{r.tag("bob", "approve/shop/2", base, "yes")}
		}, waits},
		{"of the same content elsewhere", func(r *testRepo, base Hash) (Hash, []Hash) {
			other := r.commit("carol", "Other", shop("2"), base)
			return twoBy(r, "alice", base), []Hash{r.tag("bob", "approve/shop/2", other, "yes")}
		}, waits},
		{"of a commit that nobody has", func(r *testRepo, base Hash) (Hash, []Hash) {
			return twoBy(r, "alice", base), []Hash{r.tag("bob", "approve/shop/2", Hash{9}, "yes")}
		}, waits},
		{"as a mergetag of another tree", func(r *testRepo, base Hash) (Hash, []Hash) {
			side := r.commit("ci", "Side", edits{"README.md": "2"}, base)
			merge := r.merge("alice", "Two", shop("2"), base, base, side)
			return r.withMergeTag("alice", merge, r.tagData("bob", "approve/shop/x", side, "yes")), nil
		}, strings.Replace(waits, "  - Two by", "  - Side by ci, 0 paths\n  - Two by", 1)},
		{"twice by one person", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := twoBy(r, "ci", base)
			return two, []Hash{r.tag("bob", "approve/shop/1", two, "yes"), r.tag("bob-laptop", "approve/shop/1", two, "yes")}
		}, `
at Two
  - Two by ci, 1 paths
blog: Start by bob in Start
` + shopStart + `  deployments/shop/compose.yaml: bob in approve/shop/1 as a whole, ci in Two
shop waits: deployments/shop/compose.yaml; has bob ci, needs 2 of alice carol
tag approve/shop/1
`},
	}
}

func lateTags() []tagCase {
	return []tagCase{
		{"before a later change", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := twoBy(r, "ci", base)
			three := r.commit("alice", "Three", edits{"deployments/shop/.env": "3"}, two)
			return three, []Hash{r.tag("bob", "approve/shop/2", two, "yes")}
		}, `
at Three
  - Two by ci, 1 paths
  - Three by alice, 1 paths
blog: Start by bob in Start
` + shopStart + `  deployments/shop/.env: alice in Three
  deployments/shop/compose.yaml: ci in Two
shop waits: deployments/shop/.env deployments/shop/compose.yaml; has alice ci, needs 2 of alice bob carol
tag approve/shop/2
`},
		{"replayed when old content comes back", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := twoBy(r, "alice", base)
			three := r.commit("alice", "Three", shop("3"), two)
			four := r.commit("alice", "Four", shop("2"), three)
			return four, []Hash{r.tag("bob", "approve/shop/2", two, "yes"), r.tag("bob", "approve/shop/3", three, "yes")}
		}, `
at Four
  - Two by alice, 1 paths
  - Three by alice, 1 paths
  - Four by alice, 1 paths
blog: Start by bob in Start
shop: Three by alice in Three, bob in approve/shop/3 as a whole, new
  deployments/shop/compose.yaml: alice in Four
shop waits: deployments/shop/compose.yaml; has alice, needs 2 of bob carol
tag approve/shop/2
tag approve/shop/3
`},
		{"net-zero needs nothing", func(r *testRepo, base Hash) (Hash, []Hash) {
			return r.commit("carol", "Three", shop("shop 1"), twoBy(r, "alice", base)), nil
		}, `
at Three
  - Two by alice, 1 paths
  - Three by carol, 1 paths
blog: Start by bob in Start
` + shopStart},
		{"two authors of different paths are not two approvals", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := twoBy(r, "alice", base)
			return r.commit("bob", "Three", edits{"deployments/shop/.env": "3"}, two), nil
		}, `
at Three
  - Two by alice, 1 paths
  - Three by bob, 1 paths
blog: Start by bob in Start
` + shopStart + `  deployments/shop/.env: bob in Three
  deployments/shop/compose.yaml: alice in Two
shop waits: deployments/shop/.env deployments/shop/compose.yaml; has alice bob, needs 2 of alice bob carol
`},
		{"others go on meanwhile", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := twoBy(r, "alice", base)
			three := r.commit("carol", "Three", edits{"deployments/blog/compose.yaml": "3"}, two)
			return three, []Hash{r.tag("bob", "approve/shop/2", three, "yes")}
		}, `
at Three
  - Two by alice, 1 paths
  - Three by carol, 1 paths
blog: Three by carol in Three, new
shop: Three by alice in Two, bob in approve/shop/2 as a whole, new
tag approve/shop/2
`},
		{"by trailer of all", func(r *testRepo, base Hash) (Hash, []Hash) {
			two := r.commit("alice", "Two", edits{"deployments/shop/compose.yaml": "2", "cluster.yaml": "2"}, base)
			return r.commit("bob", approves("Yes", two, "all"), nil, two), nil
		}, `
at Yes
  - Two by alice, 2 paths
  - Yes by bob, 0 paths
blog: Start by bob in Start
cluster: never approved
  cluster.yaml: alice in Two
shop: Yes by alice in Two, bob in Yes as a whole, new
cluster waits: cluster.yaml; has alice, needs 2 of bob
`},
	}
}

// TestTags judges approvals by tag. For each: the outcome depends neither on
// how the range is cut nor on the order of the tags, the tags that counted
// alone give the same verdict, and judging the end again changes nothing.
func TestTags(t *testing.T) {
	for group, cases := range map[string][]tagCase{
		"counts": countingTags(), "counts for nothing": uselessTags(), "late": lateTags(),
	} {
		for _, c := range cases {
			t.Run(group+" "+c.name, func(t *testing.T) {
				r, from := rooted(t)
				tip, tags := c.build(r, from.Commit)
				v := r.verifyTags(from, tip, tags...)
				got := r.show(v)
				if v.Position.Units["shop"].Signers != nil && strings.Contains(c.want, "MERGETAG") {
					for _, a := range v.Position.Units["shop"].Signers {
						got = strings.Replace(got, a.Commit.Short(), "MERGETAG", 1)
					}
				}
				if diff := cmp.Diff(sortedTags(strings.TrimPrefix(c.want, "\n")), sortedTags(got)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				checkTagInvariants(t, r, from, tip, tags, v)
			})
		}
	}
}

// sortedTags sorts the lines of tags, which stand in the order of their ids.
func sortedTags(text string) string {
	lines := strings.Split(text, "\n")
	at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "tag ") })
	if at >= 0 {
		slices.Sort(lines[at : len(lines)-1])
	}
	return strings.Join(lines, "\n")
}

func checkTagInvariants(t testing.TB, r *testRepo, from Position, tip Hash, tags []Hash, v *Verdict) {
	t.Helper()
	if diff := cmp.Diff(v, r.verifyPiecewise(from, tip, func(int) bool { return true }, tags...)); diff != "" {
		t.Errorf("in one go and commit by commit differ (-one go +piecewise):\n%s", diff)
	}
	reversed := slices.Clone(tags)
	slices.Reverse(reversed)
	if diff := cmp.Diff(v, r.verifyTags(from, tip, append(reversed, tags...)...)); diff != "" {
		t.Errorf("the order of the tags matters (-one +other):\n%s", diff)
	}
	if v.Refusal == nil {
		if diff := cmp.Diff(v, r.verifyTags(from, tip, v.Tags...)); diff != "" {
			t.Errorf("with the tags that counted alone (-all +counted):\n%s", diff)
		}
	}
	end := r.verifyTags(v.Position, v.Position.Commit, tags...)
	if len(end.Tags) != 0 || len(end.Approved) != 0 || !cmp.Equal(end.Position, v.Position) {
		t.Errorf("judging the end again moves it:\n%s", r.show(end))
	}
}

// TestLateTag is a tag for a tip that was accepted already: an advance of its
// own, and tags that are there no more take nothing back.
func TestLateTag(t *testing.T) {
	r, from := rooted(t)
	two := twoBy(r, "ci", from.Commit)
	at := r.verify(from, two)
	one := r.tag("alice", "approve/shop/1", two, "yes")
	v := r.verifyTags(at.Position, two, one)
	want := `at Two
blog: Start by bob in Start
` + shopStart + `  deployments/shop/compose.yaml: alice in approve/shop/1 as a whole, ci in Two
shop waits: deployments/shop/compose.yaml; has alice ci, needs 2 of bob carol
tag approve/shop/1
`
	if diff := cmp.Diff(want, r.show(v)); diff != "" {
		t.Errorf("one (-want +got):\n%s", diff)
	}
	three := r.commit("carol", "Three", edits{"README.md": "3"}, two)
	v = r.verifyTags(v.Position, three, r.tag("bob", "approve/shop/2", two, "yes"))
	want = `at Three
  - Three by carol, 0 paths
blog: Start by bob in Start
shop: Two by alice in approve/shop/1 as a whole, bob in approve/shop/2 as a whole, new
tag approve/shop/2
`
	if diff := cmp.Diff(want, r.show(v)); diff != "" {
		t.Errorf("both (-want +got):\n%s", diff)
	}
}

// TestLargeTag counts for nothing: who may push tags need not be a signer, and
// must not fill the memory of the one who judges.
func TestLargeTag(t *testing.T) {
	for size, counts := range map[int]bool{MaxApprovalTag - 1_000: true, MaxApprovalTag: false} {
		r, from := rooted(t)
		two := twoBy(r, "alice", from.Commit)
		v := r.verifyTags(from, two, r.tag("bob", "approve/shop/2", two, strings.Repeat("x", size)))
		if (len(v.Approved) == 1) != counts {
			t.Errorf("a message of %d bytes:\n%s", size, r.show(v))
		}
	}
}

// TestLateTagOfContentThatCameBack approves nothing: the content was another
// in between, and the tag was given for the time before.
func TestLateTagOfContentThatCameBack(t *testing.T) {
	r, from := rooted(t)
	two := twoBy(r, "alice", from.Commit)
	four := r.commit("alice", "Four", shop("2"), r.commit("alice", "Three", shop("3"), two))
	at := r.verify(from, four)
	old, now := r.tag("bob", "approve/shop/2", two, "yes"), r.tag("bob", "approve/shop/4", four, "yes")
	if v := r.verifyTags(at.Position, four, old); len(v.Tags) != 0 || !cmp.Equal(v.Position, at.Position) {
		t.Errorf("the old tag:\n%s", r.show(v))
	}
	if v := r.verifyTags(at.Position, four, old, now); !cmp.Equal(v.Tags, []Hash{now}) || !cmp.Equal(v.Approved, []string{"shop"}) {
		t.Errorf("the new tag:\n%s", r.show(v))
	}
}

// TestMissingTag is no verdict.
func TestMissingTag(t *testing.T) {
	r, from := rooted(t)
	if _, err := Verify(r, from, twoBy(r, "alice", from.Commit), Options{Now: testNow, Tags: []Hash{{7}}}); err == nil || !strings.Contains(err.Error(), ErrNotFound.Error()) {
		t.Errorf("got %v", err)
	}
	// Nothing waits: no tag is looked for.
	if v := r.verifyTags(from, from.Commit, Hash{7}); v.Refusal != nil {
		t.Errorf("got %s", r.show(v))
	}
}
