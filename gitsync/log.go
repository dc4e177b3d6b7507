package gitsync

import (
	"context"

	"github.com/jaco-sh/jaco/signing"
)

// Judge evaluates a head by the node's own verifier, the code that every node
// runs. It is called from one goroutine at a time.
type Judge interface {
	// Evaluate judges what tip adds to the accepted commit, and what the approval
	// tags add to it, as far as one claim goes. An error is no verdict: it is
	// tried again later.
	Evaluate(ctx context.Context, src signing.Source, tip signing.Hash, tags []signing.Hash) (*Evaluation, error)
}

// Evaluation is what a Judge found.
type Evaluation struct {
	// From is the accepted commit, To the one that can be accepted now; they
	// may be the same while Moved is set (an approval that arrived later).
	From, To signing.Hash
	// Moved says that there is something to claim.
	Moved bool
	// Refusal says why To is not the tip; nil when it is, or when the tip is
	// further away than one claim goes.
	Refusal *signing.Refusal
	// Awaits is set with a Refusal that is none for good: the range goes on once
	// somebody has signed.
	Awaits *signing.Pending
	// Evidence names the objects that judging read, in the order of first
	// reads; other nodes need the same.
	Evidence []signing.Hash
	// Token is the Judge's own, handed back to Log.Advance untouched.
	Token any
}

// Object is one piece of evidence.
type Object struct {
	ID signing.Hash
	signing.Object
}

// Advance is a claim with its evidence.
type Advance struct {
	Evaluation *Evaluation
	// Objects are the parts of the evidence that the log did not have.
	Objects []Object
}

// Refusal is a head that was refused, wholly or in its last part.
type Refusal struct {
	Head signing.Hash
	signing.Refusal
}

// State is the sync state of the repository. The values reach JSON: never
// rename one.
type State string

// The states that are recorded; fetching is soft and stands in Soft.
const (
	// Synced: the head was judged, and all of it accepted.
	Synced State = "Synced"
	// Stalled: a person is needed, the reason says for what.
	Stalled State = "Stalled"
	// Unreachable: the repository does not answer; it is tried again.
	Unreachable State = "Unreachable"
)

// Transition is what the Syncer has to say of the repository as a whole.
type Transition struct {
	State  State
	Reason string
	// Head is the newest head that was seen, zero when none was.
	Head signing.Hash
	// Awaits is what a Stalled repository waits for, when signatures are all that
	// is missing; nil otherwise.
	Awaits *signing.Pending
}

// Log records what the Syncer has to say. It is called from one goroutine at a
// time. A Syncer starts without memory at every Run, so that the first round
// may repeat what a Syncer before it, or on another node, has said: an
// implementation drops what its state already holds.
type Log interface {
	// Have says whether the log holds the object already.
	Have(id signing.Hash) (bool, error)
	// Advance records the objects in chunks, then the claim, and returns once
	// the local node has accepted the claim.
	Advance(ctx context.Context, claim Advance) error
	// Refuse records a refusal, once per head and reason.
	Refuse(ctx context.Context, refusal Refusal) error
	// Transition records a change of state or reason.
	Transition(ctx context.Context, transition Transition) error
}
