package signing

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// naiveMatch is what pattern.match means, without care for time: segments by
// recursion, "**" as any number of them, "*" as any bytes of one.
func naiveMatch(pattern, path []string) bool {
	if len(pattern) == 0 {
		return len(path) == 0
	}
	if pattern[0] == anyDepth {
		if len(pattern) == 1 {
			return len(path) > 0
		}
		for i := range len(path) + 1 {
			if naiveMatch(pattern[1:], path[i:]) {
				return true
			}
		}
		return false
	}
	return len(path) > 0 && naiveSegment(pattern[0], path[0]) && naiveMatch(pattern[1:], path[1:])
}

func naiveSegment(pattern, text string) bool {
	if pattern == "" {
		return text == ""
	}
	if pattern[0] == '*' {
		for i := range len(text) + 1 {
			if naiveSegment(pattern[1:], text[i:]) {
				return true
			}
		}
		return false
	}
	return text != "" && pattern[0] == text[0] && naiveSegment(pattern[1:], text[1:])
}

// TestMatchIsItsDefinition compares the matcher with the naive one over a
// small alphabet, where matches are frequent.
func TestMatchIsItsDefinition(t *testing.T) {
	segment := rapid.StringMatching(`[ab*]{1,4}`)
	text := rapid.StringMatching(`[ab]{1,5}`)
	matched := 0
	rapid.Check(t, func(rt *rapid.T) {
		pattern := []string{deployDir}
		for range rapid.IntRange(1, 5).Draw(rt, "segments") {
			if rapid.IntRange(0, 2).Draw(rt, "deep") == 0 {
				pattern = append(pattern, anyDepth)
			} else if s := segment.Draw(rt, "segment"); !strings.Contains(s, anyDepth) {
				pattern = append(pattern, s)
			}
		}
		path := append([]string{deployDir}, rapid.SliceOfN(text, 1, 6).Draw(rt, "path")...)
		joined := strings.Join(pattern, "/")
		if len(pattern) == 1 {
			return
		}
		p, err := parsePattern(joined)
		if err != nil {
			rt.Fatalf("%s: %v", joined, err)
		}
		want := naiveMatch(pattern, path)
		if want {
			matched++
		}
		if got := p.match(strings.Join(path, "/")); got != want {
			rt.Fatalf("%s on %s: %v, want %v", joined, strings.Join(path, "/"), got, want)
		}
	})
	if matched == 0 {
		t.Error("no pattern matched anything")
	}
}

// TestMatch are the cases that people write, and those they fall over.
func TestMatch(t *testing.T) {
	cases := []struct {
		pattern string
		matches []string
		misses  []string
	}{
		{"deployments/**",
			[]string{"deployments/a", "deployments/a/b", "deployments/a/b/c"},
			[]string{"deployments", "deploymentsx/a", "cluster.yaml", "trust.yaml"}},
		{"deployments/shop/**",
			[]string{"deployments/shop/a", "deployments/shop/a/b"},
			[]string{"deployments/shop", "deployments/shop2/a", "deployments/x/shop/a"}},
		{"deployments/*/images.env",
			[]string{"deployments/shop/images.env"},
			[]string{"deployments/images.env", "deployments/a/b/images.env", "deployments/shop/images.env.old"}},
		{"deployments/**/*.env",
			[]string{"deployments/.env", "deployments/a/.env", "deployments/a/b/x.env"},
			[]string{"deployments/a/env", "deployments/a.env/b"}},
		{"**", []string{"deployments/a/b"}, []string{"cluster.yaml", "keys/a.pub", "trust.yaml", "README.md"}},
		{"**/compose.yaml", []string{"deployments/a/compose.yaml"}, []string{"compose.yaml", "docs/compose.yaml"}},
		{"d*/a/b", []string{"deployments/a/b"}, []string{"docs/a/b"}},
		{"deployments/a/b", []string{"deployments/a/b"}, []string{"deployments/a/bc", "deployments/a/B", "deployments/a/b/c"}},
		{"deployments/\xff*", []string{"deployments/\xff", "deployments/\xff\xfe"}, []string{"deployments/\xfe"}},
		{"cluster.yaml", []string{"cluster.yaml"}, []string{"deployments/cluster.yaml"}},
	}
	for _, c := range cases {
		p, err := parsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		r := rule{patterns: []pattern{p}}
		for _, path := range c.matches {
			if !r.matches(path) {
				t.Errorf("%s does not match %s", c.pattern, path)
			}
		}
		for _, path := range c.misses {
			if r.matches(path) {
				t.Errorf("%s matches %s", c.pattern, path)
			}
		}
	}
}

// TestMatchIsFast takes patterns that make backtracking matchers exponential.
func TestMatchIsFast(t *testing.T) {
	deep, err := parsePattern("deployments/" + strings.Repeat("**/*a*a*a*b/", 15) + "x")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	path := "deployments/" + strings.Repeat("aaaaaaaaaaaaaaa/", 250) + "y"
	for range 100 {
		if deep.match(path) {
			t.Fatal("matches")
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("100 matches took %s", took)
	}
}
