package verifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// State is the part of cluster state that claims come from.
type State interface {
	Read() *cluster.Snapshot
	Changed() <-chan struct{}
}

// Config is what a Verifier needs. Every field but Misbehaviour is required.
type Config struct {
	// Directory holds the trust store and the journal.
	Directory string
	State     State
	// Objects gives the evidence that the log brought.
	Objects signing.Source
	// Branch is the name that advice uses.
	Branch string
	Now    func() time.Time
	Logger *slog.Logger
	// Misbehaviour is told of every refused claim. It must not block. Default: nobody.
	Misbehaviour func(cluster.Event)
}

// clockTolerance is how far an entry's time may be from this node's clock
// while the node follows live (docs/architecture.md: Trust).
const clockTolerance = 5 * time.Minute

// retryDelay is the wait before what was no verdict is tried again.
const retryDelay = time.Second

// Verifier judges claims. It is made by Open, and works while Run does.
type Verifier struct {
	config  Config
	store   *Store
	journal *Journal

	mu       sync.Mutex // guards the fields below
	record   *Record
	view     *cluster.View
	changed  chan struct{} // closed when view is replaced
	compiled map[contentKey]*compiled
	// live is the raft index from which on entries are followed as they come;
	// older ones may carry any time that does not run back.
	live uint64
}

// PinAnchor creates the trust store of a new member: the anchor's trust is pinned,
// and nothing is accepted yet. It refuses to replace an existing store.
func PinAnchor(directory, clusterID string, src signing.Source, anchor signing.Hash) (*signing.Trust, error) {
	position, trust, err := signing.Anchor(src, anchor)
	if err != nil {
		return nil, fmt.Errorf("pin anchor %s: %w", anchor.Short(), err)
	}
	store, err := OpenStore(directory)
	if err != nil {
		return nil, err
	}
	if _, err := store.Load(); !errors.Is(err, ErrNoTrust) {
		return nil, fmt.Errorf("pin anchor %s: there is a trust store already in %s", anchor.Short(), directory)
	}
	record := &Record{ClusterID: clusterID, Anchor: anchor, Position: position, TrustVersion: trust.Version}
	return trust, store.Save(record)
}

// Open loads the node's own record. It returns ErrNoTrust or an error that
// wraps ErrCorrupt when there is none that can be trusted.
func Open(config Config) (*Verifier, error) {
	store, err := OpenStore(config.Directory)
	if err != nil {
		return nil, err
	}
	record, err := store.Load()
	if err != nil {
		return nil, err
	}
	return &Verifier{
		config: config, store: store, journal: OpenJournal(config.Directory), record: record,
		changed: make(chan struct{}), compiled: map[contentKey]*compiled{}, live: ^uint64(0),
	}, nil
}

// View returns what this node accepted; nil until it has been compiled.
func (v *Verifier) View() *cluster.View {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.view
}

// Changed returns a channel that is closed when the view is replaced. Take it
// before View, so that no change is missed.
func (v *Verifier) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// Record returns a copy of the node's record; its maps and slices are shared
// and must not be changed.
func (v *Verifier) Record() Record {
	v.mu.Lock()
	defer v.mu.Unlock()
	return *v.record
}

// Refused returns the journal of refused claims, oldest first.
func (v *Verifier) Refused() ([]JournalEntry, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.journal.Read()
}

// FollowLive says that entries above index are followed as they come: their
// time must be within 5 minutes of this node's clock.
func (v *Verifier) FollowLive(index uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live = min(v.live, index)
}

// Evaluate judges a tip from the accepted position and changes nothing. An
// error means "try again".
func (v *Verifier) Evaluate(src signing.Source, tip signing.Hash) (*Evaluation, error) {
	record := v.Record()
	return evaluate(src, &record, tip, v.options(v.config.Now()))
}

func (v *Verifier) options(at time.Time) signing.Options {
	return signing.Options{Now: at, Branch: v.config.Branch}
}

// Run publishes the view of what was accepted before, then judges every claim
// in its order, until ctx ends. It fails when the record cannot be kept.
func (v *Verifier) Run(ctx context.Context) error {
	for {
		changed := v.config.State.Changed()
		err := v.step()
		var retry <-chan time.Time
		switch {
		case err == nil:
		case errors.Is(err, errBusy) || errors.Is(err, signing.ErrNotFound):
			v.config.Logger.Warn("cannot judge yet", "error", err)
			timer := time.NewTimer(retryDelay)
			defer timer.Stop()
			retry = timer.C
		default:
			return fmt.Errorf("verifier: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-retry:
		}
	}
}

// step publishes the first view if there is none, and judges what is new.
func (v *Verifier) step() error {
	if v.View() == nil {
		if err := v.publish(v.Record(), nil); err != nil {
			return err
		}
	}
	record := v.Record()
	for _, claim := range v.config.State.Read().ClaimsAfter(record.Claim) {
		if err := v.judge(claim); err != nil {
			return fmt.Errorf("claim %d: %w", claim.Number, err)
		}
	}
	return nil
}

// judge accepts or refuses one claim. An error means that it was neither.
func (v *Verifier) judge(claim cluster.Claim) error {
	record := v.Record()
	if problem := v.checkTime(&record, claim); problem != "" {
		return v.refuse(record, claim, &signing.Refusal{Commit: claim.Commit, Reason: ReasonClock, Detail: problem})
	}
	evaluation, err := evaluate(v.config.Objects, &record, claim.Commit, v.options(claim.Time))
	if errors.Is(err, signing.ErrNotFound) {
		return v.refuse(record, claim, &signing.Refusal{Commit: claim.Commit, Reason: ReasonEvidence, Detail: err.Error()})
	}
	if err != nil {
		return err
	}
	if refusal := disagreement(evaluation, claim); refusal != nil {
		return v.refuse(record, claim, refusal)
	}
	return v.accept(record, claim, evaluation)
}

// disagreement says why an evaluation does not bear the claim out; nil when it
// does.
func disagreement(e *Evaluation, claim cluster.Claim) *signing.Refusal {
	switch {
	case e.Verdict.Refusal != nil:
		return e.Verdict.Refusal
	case e.Verdict.Position.Commit != claim.Commit:
		return &signing.Refusal{Commit: claim.Commit, Reason: ReasonPartial,
			Detail: "the range is accepted up to " + e.Verdict.Position.Commit.String() + " only"}
	case e.Digest != claim.Digest:
		return &signing.Refusal{Commit: claim.Commit, Reason: ReasonDigest,
			Detail: fmt.Sprintf("the claim's content digest is %x, that of its content %x", claim.Digest, e.Digest)}
	}
	return nil
}

// checkTime returns what is wrong with the claim's time, or "".
func (v *Verifier) checkTime(record *Record, claim cluster.Claim) string {
	v.mu.Lock()
	live := claim.Index > v.live
	v.mu.Unlock()
	now := v.config.Now()
	switch {
	case claim.Time.Before(record.Time):
		return fmt.Sprintf("its time %s is before that of the last accepted claim, %s", claim.Time.UTC().Format(time.RFC3339), record.Time.UTC().Format(time.RFC3339))
	case claim.Time.After(now.Add(clockTolerance)):
		return fmt.Sprintf("its time %s is in the future of this node's clock, %s", claim.Time.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case live && claim.Time.Before(now.Add(-clockTolerance)):
		return fmt.Sprintf("its time %s is back-dated against this node's clock, %s", claim.Time.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return ""
}

// refuse writes the journal first: a record that says "judged" without it
// would lose the refusal.
func (v *Verifier) refuse(record Record, claim cluster.Claim, refusal *signing.Refusal) error {
	v.config.Logger.Error("claim refused", "claim", claim.Number, "commit", claim.Commit.String(),
		"reason", string(refusal.Reason), "detail", refusal.Detail)
	err := v.journal.Append(JournalEntry{
		Time: v.config.Now().UTC(), Claim: claim.Number, Commit: claim.Commit, Reason: refusal.Reason, Detail: refusal.Detail,
	})
	if err != nil {
		return err
	}
	if v.config.Misbehaviour != nil {
		v.config.Misbehaviour(cluster.Event{
			Type: cluster.EventLeaderMisbehaviour, Revision: claim.Commit,
			Message: fmt.Sprintf("claim %d refused (%s): %s", claim.Number, refusal.Reason, refusal.Detail),
		})
	}
	record.Claim, record.Refusal = claim.Number, refusal
	return v.save(record, nil)
}

func (v *Verifier) accept(record Record, claim cluster.Claim, e *Evaluation) error {
	record.Claim, record.Position, record.Time = claim.Number, e.Verdict.Position, claim.Time
	record.TrustVersion, record.Pending, record.Refusal = e.Trust.Version, e.Verdict.Pending, nil
	for _, commit := range e.Verdict.Commits {
		if commit.Commit == claim.Commit {
			record.Signers = []string{commit.Signer}
		}
	}
	record.Units = e.Units
	for _, name := range e.Verdict.Approved {
		if unit := record.Units[name]; unit.Active != nil && unit.Active.Claim == 0 {
			unit.Active.Claim = claim.Number
		}
	}
	if err := v.save(record, e.compiled); err != nil {
		return err
	}
	v.config.Logger.Info("claim accepted", "claim", claim.Number, "commit", claim.Commit.String(), "approved", e.Verdict.Approved)
	return nil
}

// save makes the record durable, then publishes the view made from it.
func (v *Verifier) save(record Record, fresh map[contentKey]*compiled) error {
	if err := v.store.Save(&record); err != nil {
		return err
	}
	v.mu.Lock()
	v.record = &record
	v.mu.Unlock()
	return v.publish(record, fresh)
}
