package sops

import "fmt"

// A document is a branch: SOPS computes its MAC in the order of the file. A value
// is a branch, a sequence, or a scalar: string, int, float64, bool, time.Time,
// or nil. Comments are no part of it; they are in no MAC either.
type (
	branch   []item
	sequence []any
	item     struct {
		key   string
		value any
	}
)

// get returns the value of a key, or nil.
func (b branch) get(key string) any {
	for _, it := range b {
		if it.key == key {
			return it.value
		}
	}
	return nil
}

// counter bounds a document before anything is made of it.
type counter struct{ nodes int }

func (c *counter) enter(depth int) error {
	c.nodes++
	switch {
	case c.nodes > maxNodes:
		return fmt.Errorf("%w: more than the limit of %d values", ErrMalformed, maxNodes)
	case depth > maxDepth:
		return fmt.Errorf("%w: nested deeper than the limit of %d", ErrMalformed, maxDepth)
	}
	return nil
}
