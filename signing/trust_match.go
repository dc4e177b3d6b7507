package signing

import (
	"fmt"
	"strings"
)

// anyDepth is the pattern segment that stands for any number of segments.
const anyDepth = "**"

// maxPattern bounds a pattern in bytes: matching costs at most the product of
// the lengths of pattern and path.
const maxPattern = 256

// pattern matches paths: "*" stands for any bytes within a segment, a segment
// "**" for any number of whole segments, none included; at the end of a
// pattern for at least one. Everything else stands for itself, byte by byte.
type pattern struct {
	segments []string
	literal  bool
}

// parsePattern reads a pattern of a rule. It refuses what could be taken for
// more than it does: other systems' wildcards, and paths that no rule decides.
func parsePattern(text string) (pattern, error) {
	if len(text) > maxPattern {
		return pattern{}, fmt.Errorf("pattern of %d bytes: more than %d", len(text), maxPattern)
	}
	if i := strings.IndexAny(text, `?[]{}!\`); i >= 0 {
		return pattern{}, fmt.Errorf("pattern %q: %q is not supported, only * and **", text, text[i])
	}
	p := pattern{literal: !strings.Contains(text, "*")}
	segments := strings.Split(text, "/")
	for _, segment := range segments {
		switch {
		case segment == "", segment == ".", segment == "..":
			return pattern{}, fmt.Errorf("pattern %q: want a path from the top of the repository, such as deployments/shop/**", text)
		case segment != anyDepth && strings.Contains(segment, anyDepth):
			return pattern{}, fmt.Errorf("pattern %q: ** must stand between slashes", text)
		case segment == anyDepth && len(p.segments) > 0 && p.segments[len(p.segments)-1] == anyDepth:
		default:
			p.segments = append(p.segments, segment)
		}
	}
	if p.segments[len(p.segments)-1] == anyDepth {
		p.segments = append(p.segments, "*")
	}
	if err := p.checkReach(text); err != nil {
		return pattern{}, err
	}
	return p, nil
}

// checkReach refuses a pattern that can never decide anything.
func (p pattern) checkReach(text string) error {
	if p.literal && text == clusterFile {
		return nil
	}
	first := p.segments[0]
	if first == trustFile || first == keysDir {
		return fmt.Errorf("pattern %q: root alone changes trust.yaml and keys/, no rule does", text)
	}
	if first != anyDepth && (len(p.segments) < 2 || !matchSegment(first, deployDir)) {
		return fmt.Errorf("pattern %q: rules decide about paths below deployments/ and cluster.yaml only", text)
	}
	return nil
}

// matches reports whether the rule has a pattern for the path. Only a literal
// pattern names a file outside deployments/.
func (r *rule) matches(path string) bool {
	deployed := strings.HasPrefix(path, deployDir+"/")
	for _, p := range r.patterns {
		if (deployed || p.literal) && p.match(path) {
			return true
		}
	}
	return false
}

// match walks pattern and path once, and falls back to the last "**" only:
// what an earlier one could give up, the last one can take.
func (p pattern) match(path string) bool {
	at, offset := 0, 0 // next pattern segment, start of the next path segment
	deep, mark := -1, 0
	for offset <= len(path) {
		segment := firstSegment(path[offset:])
		switch {
		case at < len(p.segments) && p.segments[at] == anyDepth:
			deep, mark = at, offset
			at++
		case at < len(p.segments) && matchSegment(p.segments[at], segment):
			at++
			offset += len(segment) + 1
		case deep >= 0:
			mark += len(firstSegment(path[mark:])) + 1
			at, offset = deep+1, mark
		default:
			return false
		}
	}
	return at == len(p.segments)
}

// matchSegment matches one segment, in the same way byte by byte.
func matchSegment(pattern, text string) bool {
	at, offset := 0, 0
	star, mark := -1, 0
	for offset < len(text) {
		switch {
		case at < len(pattern) && pattern[at] == '*':
			star, mark = at, offset
			at++
		case at < len(pattern) && pattern[at] == text[offset]:
			at++
			offset++
		case star >= 0:
			mark++
			at, offset = star+1, mark
		default:
			return false
		}
	}
	for at < len(pattern) && pattern[at] == '*' {
		at++
	}
	return at == len(pattern)
}

// firstSegment returns the path up to its first slash.
func firstSegment(path string) string {
	segment, _, _ := strings.Cut(path, "/")
	return segment
}
