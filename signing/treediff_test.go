package signing

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// randomFiles draws a small set of files below deployments/, in which names
// are often shared, also between a file and a folder.
func randomFiles(t *rapid.T) edits {
	files := edits{}
	segment := rapid.SampledFrom([]string{"a", "a-", "a0", "b"})
	for range rapid.IntRange(0, 6).Draw(t, "files") {
		path := deployDir
		for range rapid.IntRange(1, 3).Draw(t, "depth") {
			path += "/" + segment.Draw(t, "segment")
		}
		files[path] = rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "content")
	}
	// git can hold a file or a folder of a name, not both.
	for path := range files {
		for other := range files {
			if len(other) > len(path) && other[:len(path)+1] == path+"/" {
				delete(files, other)
			}
		}
	}
	return files
}

// walkFiles compares the trees of several file sets and returns the paths
// that are not settled.
func walkFiles(t *rapid.T, r *testRepo, settled func([]version) bool, sets ...edits) []string {
	h := newHistory(r)
	var surfaces []surface
	for _, files := range sets {
		root, err := h.tree(r.tree(files))
		if err != nil {
			t.Fatal(err)
		}
		surfaces = append(surfaces, surfaceOf(root))
	}
	changes, err := h.changes(surfaces, settled)
	if err != nil {
		t.Fatal(err)
	}
	paths := make([]string, len(changes))
	for i, c := range changes {
		paths[i] = c.path
		want := version{}
		if content, there := sets[0][c.path]; there {
			want = version{mode: ModeFile, id: r.put(BlobObject, []byte(content))}
		}
		if c.now != want {
			t.Fatalf("%s is %v, want %v", c.path, c.now, want)
		}
	}
	slices.Sort(paths)
	return paths
}

// TestWalkIsADiff compares the walk over trees with the paths that differ.
func TestWalkIsADiff(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newTestRepo(t)
		one, two := randomFiles(rt), randomFiles(rt)
		var want []string
		for path := range maps.All(one) {
			if one[path] != two[path] {
				want = append(want, path)
			}
		}
		for path := range two {
			if _, there := one[path]; !there {
				want = append(want, path)
			}
		}
		slices.Sort(want)
		if got := walkFiles(rt, r, same, one, two); !slices.Equal(got, want) {
			rt.Fatalf("%v and %v: got %v, want %v", one, two, got, want)
		}
	})
}

// TestWalkMerges applies the three-way rule to whole trees, which must be the
// same as applying it path by path.
func TestWalkMerges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newTestRepo(t)
		result, mine, other, base := randomFiles(rt), randomFiles(rt), randomFiles(rt), randomFiles(rt)
		if rapid.Bool().Draw(rt, "clean") { // else hardly a path follows
			mine, other, result = maps.Clone(base), maps.Clone(base), maps.Clone(base)
			for path := range base {
				content := rapid.SampledFrom([]string{"1", "9"}).Draw(rt, "new")
				result[path] = content
				if rapid.Bool().Draw(rt, "by us") {
					mine[path] = content
				} else {
					other[path] = content
				}
			}
		}
		all := edits{}
		for _, files := range []edits{result, mine, other, base} {
			maps.Copy(all, files)
		}
		var want []string
		for path := range all {
			b, m, o, got := base[path], mine[path], other[path], result[path]
			clean := m == o && got == m || m == b && got == o || o == b && got == m
			if !clean {
				want = append(want, path)
			}
		}
		slices.Sort(want)
		shape := mergeShape{parents: 2, bases: []int{1}}
		if got := walkFiles(rt, r, shape.follows, result, mine, other, base); !slices.Equal(got, want) {
			rt.Fatalf("base %v, ours %v, theirs %v, result %v: got %v, want %v", base, mine, other, result, got, want)
		}
	})
}

// TestThreeWay has more than one base and more than two parents.
func TestThreeWay(t *testing.T) {
	v := func(n byte) version {
		if n == 0 {
			return version{}
		}
		return version{mode: ModeFile, id: Hash{n}}
	}
	cases := []struct {
		name     string
		shape    mergeShape
		versions []byte // result, parents, bases
		want     bool
	}{
		{"nothing changed", mergeShape{2, []int{1}}, []byte{1, 1, 1, 1}, true},
		{"theirs", mergeShape{2, []int{1}}, []byte{2, 1, 2, 1}, true},
		{"ours", mergeShape{2, []int{1}}, []byte{2, 2, 1, 1}, true},
		{"both alike", mergeShape{2, []int{1}}, []byte{2, 2, 2, 1}, true},
		{"removed by them", mergeShape{2, []int{1}}, []byte{0, 1, 0, 1}, true},
		{"their removal undone", mergeShape{2, []int{1}}, []byte{1, 1, 0, 1}, false},
		{"conflict", mergeShape{2, []int{1}}, []byte{2, 2, 3, 1}, false},
		{"their change dropped", mergeShape{2, []int{1}}, []byte{1, 1, 2, 1}, false},
		{"something else", mergeShape{2, []int{1}}, []byte{3, 1, 1, 1}, false},
		{"bases agree", mergeShape{2, []int{2}}, []byte{2, 1, 2, 1, 1}, true},
		{"bases disagree", mergeShape{2, []int{2}}, []byte{2, 1, 2, 1, 2}, false},
		{"bases disagree, sides do not", mergeShape{2, []int{2}}, []byte{2, 2, 2, 1, 2}, true},
		{"third parent", mergeShape{3, []int{1, 1}}, []byte{2, 1, 1, 2, 1, 1}, true},
		{"second and third parent conflict", mergeShape{3, []int{1, 1}}, []byte{2, 1, 2, 3, 1, 1}, false},
		{"one parent twice", mergeShape{2, []int{1}}, []byte{1, 1, 1, 1}, true},
	}
	for _, c := range cases {
		var versions []version
		for _, n := range c.versions {
			versions = append(versions, v(n))
		}
		if got := c.shape.follows(versions); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestTwinsAreDecoded reads trees that share modes and names by the short way,
// which must give what the strict decoder gives.
func TestTwinsAreDecoded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		names := []string{"a", "b", "c", "d"}
		tree := func() []TreeEntry {
			var entries []TreeEntry
			for _, name := range names {
				entry := TreeEntry{Mode: rapid.SampledFrom([]uint32{ModeFile, ModeTree, ModeSymlink}).Draw(rt, "mode"), Name: name}
				entry.ID[0] = rapid.SampledFrom([]byte{0, 1, 1, 1, 2}).Draw(rt, "id")
				entries = append(entries, entry)
			}
			return entries
		}
		first, second := tree(), tree()
		t1 := twin{data: encodeTree(first), entries: first}
		data := encodeTree(second)
		got, ok := t1.decode(data)
		want, err := DecodeTree(data)
		if ok && (err != nil || !cmp.Equal(got, want)) {
			rt.Fatalf("the short way gives %v, the strict decoder %v, %v", got, want, err)
		}
		if _, own := t1.decode(t1.data); own == slices.ContainsFunc(first, func(e TreeEntry) bool { return e.ID.IsZero() }) {
			rt.Fatalf("of itself: %v", own)
		}
	})
}

// TestCache keeps what is asked for and forgets the rest.
func TestCache(t *testing.T) {
	g := generations[int]{limit: 10}
	for i := range 100 {
		g.put(Hash{byte(i + 1)}, i, 1)
		if v, ok := g.get(Hash{1}); !ok || v != 0 {
			t.Fatalf("after %d: the first is gone, though it was asked for each time", i)
		}
		if n := len(g.young) + len(g.old); n > 20 {
			t.Fatalf("after %d: %d entries", i, n)
		}
	}
	if _, ok := g.get(Hash{2}); ok {
		t.Error("the second is still there")
	}
}

// TestAreas sorts paths into units.
func TestAreas(t *testing.T) {
	for path, want := range map[string]string{
		"trust.yaml": "trust", "keys/a.pub": "trust", "keys": "trust", "trust.yaml/x": "trust",
		"cluster.yaml": "its unit is cluster", "cluster.yaml/x": "its unit is cluster",
		"deployments/shop/a": "deploy shop", "deployments/shop/a/b": "deploy shop",
		"deployments/README.md": "deploy ", "deployments": "deploy ",
	} {
		in, unit := areaOf(path)
		got := map[area]string{areaDeploy: "deploy " + unit, areaCluster: "its unit is " + unit, areaTrust: "trust"}[in]
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// TestDeploymentNames are the names that a folder may have.
func TestDeploymentNames(t *testing.T) {
	for name, good := range map[string]bool{
		"shop": true, "a": true, "0": true, "shop-2": true, "a-": true, fmt.Sprintf("%063d", 1): true,
		"-a": false, "Shop": false, "a.b": false, "a_b": false, "ü": false, fmt.Sprintf("%064d", 1): false,
		"all": false, "trust": false, "cluster": false, "reanchor": false, "sync": false, "nodes": false,
		"routes": false, "certs": false, "events": false, "logs": false, "plan": false, "recipient": false,
		"status": false, "audit": false, "bootstrap": false, "version": false, "completion": false, "help": false,
	} {
		if err := checkDeploymentName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
