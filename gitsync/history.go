package gitsync

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/jaco-sh/jaco/signing"
)

// minPrefix is the shortest abbreviation that Contains takes: git's own.
const minPrefix = 7

// Contains says whether a commit whose id begins with the prefix (7 to 40
// hexadecimal digits) is head or one of its ancestors. Signatures are not
// looked at. It gives up, with an error that wraps ErrTooLarge, after
// Limits.Commits commits.
func (m *Mirror) Contains(head signing.Hash, prefix string) (bool, error) {
	prefix = strings.ToLower(prefix)
	if len(prefix) < minPrefix || len(prefix) > 2*len(head) || strings.Trim(prefix, "0123456789abcdef") != "" {
		return false, fmt.Errorf("revision %q: want %d to %d hexadecimal digits", prefix, minPrefix, 2*len(head))
	}
	seen := map[signing.Hash]bool{head: true}
	// Breadth first: what is asked for is mostly recent.
	for queue := []signing.Hash{head}; len(queue) > 0; queue = queue[1:] {
		if strings.HasPrefix(queue[0].String(), prefix) {
			return true, nil
		}
		if len(seen) > m.config.Limits.Commits {
			return false, fmt.Errorf("look for %s: %w: it is not among the newest %d commits", prefix, ErrTooLarge, m.config.Limits.Commits)
		}
		parents, err := parentsOf(m, queue[0])
		if err != nil {
			return false, fmt.Errorf("look for %s: %w", prefix, err)
		}
		for _, p := range parents {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	return false, nil
}

// parentsOf reads the parents of a commit, and nothing else of it: history
// before the anchor may hold commits that the strict decoder refuses.
func parentsOf(src signing.Source, id signing.Hash) ([]signing.Hash, error) {
	object, err := src.Object(id)
	if err != nil {
		return nil, err
	}
	if object.Type != signing.CommitObject {
		return nil, fmt.Errorf("%s is a %s, not a commit", id, object.Type)
	}
	var parents []signing.Hash
	for line := range bytes.Lines(object.Data) {
		if len(line) == 1 {
			break // the message follows
		}
		text, found := bytes.CutPrefix(line, []byte("parent "))
		if !found {
			continue
		}
		parent, err := signing.ParseHash(string(bytes.TrimSuffix(text, []byte("\n"))))
		if err != nil {
			return nil, fmt.Errorf("commit %s: %w", id, err)
		}
		parents = append(parents, parent)
	}
	return parents, nil
}
