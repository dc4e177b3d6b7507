package gitsync

import (
	"crypto/sha256"
	"sync"
)

// keptReplays is how many deliveries are remembered. It is more than the bucket
// lets through in the ten minutes for which a signed time can be taken, so that
// none of these is forgotten before its time has passed.
const keptReplays = 8192

// replayKind says what a delivery is known by. Where the sender signs an id, that
// is it: a retry has the id of the first attempt, and another time. Otherwise it
// is the body, since no header beside it is signed.
type replayKind byte

const (
	replayBody replayKind = iota + 1
	replayID
)

// replayKey is one delivery: SHA-256 of what it is known by.
type replayKey struct {
	kind replayKind
	sum  [sha256.Size]byte
}

// replays remembers the last deliveries that were taken. Only authentic ones get
// in, so that nobody else can push one out.
type replays struct {
	mu    sync.Mutex // guards the fields below
	known map[replayKey]bool
	order []replayKey // a ring of fixed size
	next  int
}

func newReplays(kept int) *replays {
	return &replays{known: make(map[replayKey]bool), order: make([]replayKey, kept)}
}

// add remembers a delivery; false when it was there already under one of its
// keys.
func (r *replays) add(keys []replayKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := true
	for _, key := range keys {
		if r.known[key] {
			fresh = false
			continue
		}
		delete(r.known, r.order[r.next])
		r.order[r.next], r.known[key] = key, true
		r.next = (r.next + 1) % len(r.order)
	}
	return fresh
}
