package cluster

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/signing"
)

// content is a fleet whose units are taken from one commit.
type content struct {
	files map[string]string
	units map[string]signing.Hash
}

func plainContent() content {
	return content{
		files: map[string]string{
			"trust.yaml": "version: 1", "keys/alice.pub": "A", "keys/old/bob.pub": "B", "cluster.yaml": "sync: {}",
			"deployments/shop/compose.yaml": "services: {}", "deployments/shop/conf/nginx.conf": "x", "deployments/blog/compose.yaml": "y",
		},
		units: map[string]signing.Hash{"shop": {1}, "blog": {1}, signing.ClusterUnit: {1}},
	}
}

func (c content) clone() content {
	return content{files: maps.Clone(c.files), units: maps.Clone(c.units)}
}

// contentSource gives the objects of a history by their ids.
type contentSource map[signing.Hash]signing.Object

// Object implements signing.Source.
func (s contentSource) Object(id signing.Hash) (signing.Object, error) {
	o, found := s[id]
	if !found {
		return o, signing.ErrNotFound
	}
	return o, nil
}

// position makes the content's objects and the position that pins them. The
// commit holds the trust files alone: what is in the units comes from their
// trees, and must not be covered by the commit's id only.
func (c content) position(t *testing.T) (contentSource, signing.Position) {
	t.Helper()
	h := newHistory(t)
	p := signing.Position{Commit: h.commit(signing.Hash{}, c.trustFiles(), "all", nil), Units: map[string]signing.Unit{}}
	for name, revision := range c.units {
		unit := signing.Unit{Revision: revision}
		if name == signing.ClusterUnit {
			unit.Tree = h.add(signing.BlobObject, []byte(c.files["cluster.yaml"]))
		} else if below := c.below("deployments/" + name + "/"); len(below) > 0 {
			unit.Tree = h.tree(below)
		}
		p.Units[name] = unit
	}
	source := contentSource{}
	for _, o := range h.taken() {
		source[o.ID] = o.Object
	}
	return source, p
}

func (c content) below(prefix string) map[string]string {
	files := map[string]string{}
	for path, data := range c.files {
		if rest, found := strings.CutPrefix(path, prefix); found {
			files[rest] = data
		}
	}
	return files
}

func (c content) trustFiles() map[string]string {
	files := map[string]string{}
	for path, data := range c.files {
		if path == "trust.yaml" || strings.HasPrefix(path, "keys/") {
			files[path] = data
		}
	}
	return files
}

func (c content) digest(t *testing.T) [32]byte {
	t.Helper()
	source, p := c.position(t)
	digest, err := ContentDigest(source, p)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestContentDigestCoversEverything(t *testing.T) {
	base := plainContent().digest(t)
	seen := map[[32]byte]string{base: "nothing"}
	for _, test := range []struct {
		name   string
		change func(*content)
	}{
		{"a byte of a file", func(c *content) { c.files["deployments/shop/compose.yaml"] = "services: {} " }},
		{"a byte of a nested file", func(c *content) { c.files["deployments/shop/conf/nginx.conf"] = "y" }},
		{"a byte moved from one file to the next", func(c *content) {
			c.files["deployments/shop/compose.yaml"], c.files["deployments/shop/conf/nginx.conf"] = "services: {", "}x"
		}},
		{"a file's name", func(c *content) {
			c.files["deployments/shop/compose.yml"] = c.files["deployments/shop/compose.yaml"]
			delete(c.files, "deployments/shop/compose.yaml")
		}},
		{"a folder's name", func(c *content) {
			c.files["deployments/shop/config/nginx.conf"] = c.files["deployments/shop/conf/nginx.conf"]
			delete(c.files, "deployments/shop/conf/nginx.conf")
		}},
		{"an added file", func(c *content) { c.files["deployments/shop/zero"] = "" }},
		{"a removed file", func(c *content) { delete(c.files, "deployments/shop/conf/nginx.conf") }},
		{"a file of another unit", func(c *content) { c.files["deployments/blog/compose.yaml"] = "z" }},
		{"cluster.yaml", func(c *content) { c.files["cluster.yaml"] = "sync: { }" }},
		{"trust.yaml", func(c *content) { c.files["trust.yaml"] = "version: 2" }},
		{"a key", func(c *content) { c.files["keys/alice.pub"] = "C" }},
		{"a nested key", func(c *content) { c.files["keys/old/bob.pub"] = "C" }},
		{"an added key", func(c *content) { c.files["keys/carol.pub"] = "C" }},
		{"a unit's revision", func(c *content) { c.units["shop"] = signing.Hash{2} }},
		{"the other unit's revision", func(c *content) { c.units["blog"] = signing.Hash{2} }},
		{"a removed unit", func(c *content) { delete(c.units, "blog") }},
		{"an empty unit", func(c *content) { c.units["none"] = signing.Hash{1} }},
		{"an emptied unit", func(c *content) { delete(c.files, "deployments/blog/compose.yaml") }},
		{"two units swapped", func(c *content) {
			blog := c.files["deployments/blog/compose.yaml"]
			delete(c.files, "deployments/blog/compose.yaml")
			for path, data := range c.below("deployments/shop/") {
				delete(c.files, "deployments/shop/"+path)
				c.files["deployments/blog/"+path] = data
			}
			c.files["deployments/shop/compose.yaml"] = blog
		}},
	} {
		c := plainContent().clone()
		test.change(&c)
		digest := c.digest(t)
		if other, taken := seen[digest]; taken {
			t.Errorf("changing %s gives the digest of %s", test.name, other)
		}
		seen[digest] = test.name
	}
}

// TestContentDigestCoversModes gives a file another mode, and nothing else.
func TestContentDigestCoversModes(t *testing.T) {
	blob := func(mode string) [32]byte {
		h := newHistory(t)
		id := h.add(signing.BlobObject, []byte("#!/bin/sh\n"))
		tree := h.add(signing.TreeObject, []byte(mode+" run.sh\x00"+string(id[:])))
		commit := h.commit(signing.Hash{}, map[string]string{"trust.yaml": "x"}, "all", nil)
		source := contentSource{}
		for _, o := range h.taken() {
			source[o.ID] = o.Object
		}
		digest, err := ContentDigest(source, signing.Position{Commit: commit, Units: map[string]signing.Unit{"shop": {Revision: commit, Tree: tree}}})
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	if blob("100644") == blob("100755") {
		t.Error("the digest does not cover a file's mode")
	}
}

// TestContentDigestIsInjective draws pairs of contents: equal digests mean
// equal contents.
func TestContentDigestIsInjective(t *testing.T) {
	draw := func(rt *rapid.T, label string) content {
		c := content{files: map[string]string{"trust.yaml": "t"}, units: map[string]signing.Hash{}}
		for i := range rapid.IntRange(0, 4).Draw(rt, label+" files") {
			path := rapid.SampledFrom([]string{"deployments/a/f", "deployments/a/g/f", "deployments/aa/f", "deployments/b/f", "keys/f"}).Draw(rt, fmt.Sprint(label, i))
			c.files[path] = rapid.StringMatching(`[ab]{0,2}`).Draw(rt, fmt.Sprint(label, i, " data"))
		}
		for _, name := range []string{"a", "aa", "b"} {
			if len(c.below("deployments/"+name+"/")) > 0 {
				c.units[name] = signing.Hash{byte(rapid.IntRange(1, 2).Draw(rt, label+name))}
			}
		}
		return c
	}
	rapid.Check(t, func(rt *rapid.T) {
		a, b := draw(rt, "a"), draw(rt, "b")
		same := maps.Equal(a.files, b.files) && maps.Equal(a.units, b.units)
		if equal := a.digest(t) == b.digest(t); equal != same {
			rt.Fatalf("digests equal: %v, contents equal: %v\n%v\n%v", equal, same, a, b)
		}
	})
}

func TestContentDigestBounds(t *testing.T) {
	deep := func(n int) string { return "deployments/shop/" + strings.Repeat("d/", n) + "f" }
	many := func(n int) func(*content) {
		return func(c *content) {
			for i := range n {
				c.files[fmt.Sprintf("deployments/shop/%d", i)] = ""
			}
		}
	}
	other, bytes := len(plainContent().files), 0
	for _, data := range plainContent().files {
		bytes += len(data)
	}
	for _, test := range []struct {
		name   string
		change func(*content)
		want   string // of the error; "" for none
	}{
		{"as deep as may be", func(c *content) { c.files[deep(maxContentDepth-1)] = "" }, ""},
		{"too deep", func(c *content) { c.files[deep(maxContentDepth)] = "" }, "more than 32 folders deep"},
		{"as many files as may be", many(MaxContentFiles - other), ""},
		{"too many files", many(MaxContentFiles - other + 1), "at most 10000 files and 16 MiB"},
		{"as many bytes as may be", func(c *content) { c.files["deployments/shop/f"] = strings.Repeat("x", MaxContentBytes-bytes) }, ""},
		{"too many bytes", func(c *content) { c.files["deployments/shop/f"] = strings.Repeat("x", MaxContentBytes-bytes+1) }, "at most 10000 files and 16 MiB"},
		{"too many bytes in keys", func(c *content) { c.files["keys/f"] = strings.Repeat("x", MaxContentBytes) }, "at most 10000 files and 16 MiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := plainContent()
			test.change(&c)
			source, p := c.position(t)
			_, err := ContentDigest(source, p)
			if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, ErrContentTooLarge) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
		})
	}
}

// TestContentDigestMissingEvidence takes away each object in turn.
func TestContentDigestMissingEvidence(t *testing.T) {
	source, p := plainContent().position(t)
	for id, object := range maps.Clone(source) {
		delete(source, id)
		if _, err := ContentDigest(source, p); !errors.Is(err, signing.ErrNotFound) {
			t.Errorf("without the %v %s: %v", object.Type, id.Short(), err)
		}
		source[id] = object
	}
	if _, err := ContentDigest(source, p); err != nil {
		t.Error(err)
	}
}
