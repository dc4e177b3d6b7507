package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// history is every entry that was applied, and the state that is to be saved
// instead of what they lead to.
type history struct {
	mu      sync.Mutex // guards the fields below
	entries map[uint64][]byte
	forged  []byte
}

func (h *history) keep(index uint64, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries[index] = bytes.Clone(data)
}

func (h *history) replace(forged []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forged = forged
}

func (h *history) instead() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.forged
}

func (h *history) wasForged() bool { return h.instead() != nil }

// snapshot makes a state of another history, in itself without a flaw, and
// drops the log, so that a node that lags is given that state.
func (f *forger) snapshot(ctx context.Context, r request) (answer, error) {
	// The forgery takes the place of entries that mean nothing, so that it is as
	// far as the log.
	first, last := uint64(0), uint64(0)
	for range 3 * max(len(r.With), 1) {
		result, err := f.raft.put(ctx, f.entry(r, &cluster.RecordEvents{Events: []cluster.Event{{Type: "nothing"}}}))
		if err != nil {
			return answer{}, err
		}
		if first == 0 {
			first = result.Index
		}
		last = result.Index
	}
	state, err := f.rewrite(r, first)
	if err != nil {
		return answer{}, err
	}
	a := answer{Index: last}
	at := first
	for _, with := range r.With {
		part, commands, err := f.commands(ctx, state, with)
		if err != nil {
			return a, err
		}
		a.Claim, a.Replicas = max(a.Claim, part.Claim), append(a.Replicas, part.Replicas...)
		for _, command := range commands {
			if err := apply(state, at, f.entry(with, command)); err != nil {
				return a, err
			}
			at++
		}
	}
	for ; at <= last; at++ {
		if err := apply(state, at, f.entry(r, &cluster.RecordEvents{Events: []cluster.Event{{Type: "nothing"}}})); err != nil {
			return a, err
		}
	}
	var saved bytes.Buffer
	if err := state.Save(&saved); err != nil {
		return a, err
	}
	f.history.replace(saved.Bytes())
	if err := f.raft.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return a, fmt.Errorf("take a snapshot: %w", err)
	}
	return a, nil
}

// rewrite applies the history anew as far as before an index, with what the
// request changes in it.
func (f *forger) rewrite(r request, before uint64) (*cluster.State, error) {
	state, err := cluster.NewState(cluster.NewMemoryObjects(), cluster.NewMemoryAudit())
	if err != nil {
		return nil, err
	}
	f.history.mu.Lock()
	defer f.history.mu.Unlock()
	for _, index := range slices.Sorted(maps.Keys(f.history.entries)) {
		if index >= before {
			break
		}
		entry, err := cluster.Decode(f.history.entries[index])
		if err != nil {
			return nil, err
		}
		switch command := entry.Command.(type) {
		case *cluster.AdvanceRevision:
			if r.Cut && command.Claim.Number > r.Claims {
				continue
			}
		case *cluster.InitCluster:
			if r.Replace {
				if command.Meta.Anchor, err = signing.ParseHash(r.Commit); err != nil {
					return nil, err
				}
			}
		}
		if err := apply(state, index, entry); err != nil {
			return nil, err
		}
	}
	return state, nil
}

// apply applies one entry. What the state refuses is a part of the history.
func apply(state *cluster.State, index uint64, entry cluster.Entry) error {
	data, err := cluster.Encode(entry)
	if err != nil {
		return err
	}
	if result := state.Apply(index, data); cluster.Stops(result.Err) {
		return result.Err
	}
	return nil
}
