package identity

import (
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// epoch is when the tests' clusters are made.
var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// seeded returns a source of bytes that are the same in every run.
func seeded(seed string) io.Reader {
	var key [32]byte
	copy(key[:], seed)
	return rand.NewChaCha8(key)
}

func fixed(at time.Time) func() time.Time { return func() time.Time { return at } }

func newTestAuthority(t *testing.T, cluster string) *Authority {
	t.Helper()
	a, err := NewAuthority(cluster, epoch, seeded("authority "+cluster))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newTestStore(t *testing.T, clock func() time.Time) *Store {
	t.Helper()
	return NewStore(filepath.Join(t.TempDir(), "identity"), clock, seeded(t.Name()))
}

func newTestNode(t *testing.T, a *Authority, node string, clock func() time.Time) *Identity {
	t.Helper()
	s := NewStore(filepath.Join(t.TempDir(), node), clock, seeded(node))
	id, err := s.Create(a, node)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// members is a member table of the given nodes.
func members(nodes ...*Identity) MemberCheck {
	table := map[[32]byte]string{}
	for _, n := range nodes {
		table[n.KeyHash()] = n.Node()
	}
	return func(hash [32]byte) (string, bool) {
		name, ok := table[hash]
		return name, ok
	}
}
