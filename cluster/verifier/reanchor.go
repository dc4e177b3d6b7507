package verifier

import (
	"context"
	"fmt"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// ReasonReanchored marks the journal's entry on a pin that the operator moved.
// The text is in the journal: never rename it.
const ReasonReanchored signing.Reason = "reanchored"

// Reanchored is one time that this node's operator moved its pin by hand.
type Reanchored struct {
	// Commit was pinned then, in the place of From. The claims above Claim are
	// judged from there.
	Commit signing.Hash `json:"commit"`
	From   signing.Hash `json:"from"`
	Claim  uint64       `json:"claim"`
	At     time.Time    `json:"at"`
	By     string       `json:"by"` // the operator: "uid:0"
}

// reanchorOrder is the operator's word on its way to Run.
type reanchorOrder struct {
	src    signing.Source
	commit signing.Hash
	by     string
	done   chan reanchorAnswer
}

type reanchorAnswer struct {
	trust *signing.Trust
	err   error
}

// Reanchor moves this node's pin to a commit of a rewritten history: its
// trust.yaml and keys/ are in force from now on, without being judged by those
// before, and its first descendant is judged as if every path in its tree had
// changed. What runs goes on. It is for the operator of the machine alone, by
// name, and is written to the journal first; nothing that comes through the log
// leads here. It waits for Run.
func (v *Verifier) Reanchor(ctx context.Context, src signing.Source, commit signing.Hash, by string) (*signing.Trust, error) {
	order := reanchorOrder{src: src, commit: commit, by: by, done: make(chan reanchorAnswer, 1)}
	select {
	case v.orders <- order:
	case <-ctx.Done():
		return nil, fmt.Errorf("reanchor at %s: %w", commit.Short(), ctx.Err())
	}
	select {
	case answer := <-order.done:
		return answer.trust, answer.err
	case <-ctx.Done():
		return nil, fmt.Errorf("reanchor at %s: %w", commit.Short(), ctx.Err())
	}
}

// reanchor does what Reanchor says, in Run's goroutine.
func (v *Verifier) reanchor(order reanchorOrder) (*signing.Trust, error) {
	trust, err := v.moveAnchor(order)
	if err != nil {
		return nil, fmt.Errorf("reanchor at %s: %w", order.commit.Short(), err)
	}
	return trust, nil
}

func (v *Verifier) moveAnchor(order reanchorOrder) (*signing.Trust, error) {
	record := v.Record()
	if order.commit == record.Position.Commit {
		return nil, fmt.Errorf("this node has accepted that commit: there is nothing to move")
	}
	position, trust, err := signing.Reanchor(order.src, record.Position, order.commit)
	if err != nil {
		return nil, err
	}
	digest, err := cluster.ContentDigest(order.src, position)
	if err != nil {
		return nil, err
	}
	moved := Reanchored{
		Commit: order.commit, From: record.Position.Commit, Claim: record.Accepted.Number, At: v.config.Now().UTC(), By: order.by,
	}
	entry := JournalEntry{
		Time: moved.At, Claim: moved.Claim, Commit: moved.Commit, Reason: ReasonReanchored,
		Detail: fmt.Sprintf("operator %s moved the pin of this node from %s to %s, with version %d of its trust.yaml",
			moved.By, moved.From, moved.Commit, trust.Version),
	}
	if err := v.write(entry); err != nil {
		return nil, err
	}
	v.config.Logger.Warn("the operator moved this node's pin", "operator", moved.By,
		"from", moved.From.String(), "commit", moved.Commit.String(), "trust_version", trust.Version)
	record.Position, record.Digest, record.TrustVersion, record.MaxAge = position, digest, trust.Version, trust.MaxAge
	record.Signers, record.Pending = nil, nil
	record.Units = judgeAgain(record.Units, trust, v.compiledOf(nil))
	record.Reanchors = append(record.Reanchors[:len(record.Reanchors):len(record.Reanchors)], moved)
	// What was claimed meanwhile, and refused for leading elsewhere, is judged
	// again.
	if err := v.realign(record, record.Accepted); err != nil {
		return nil, err
	}
	if v.config.Misbehaviour != nil { // who tells of the journal tells of this too
		v.config.Misbehaviour(entry.Event())
	}
	return trust, nil
}
