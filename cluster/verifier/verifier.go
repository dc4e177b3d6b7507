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
	// Branch is the name that advice uses, and that Deploy-Target trailers must
	// have where trust.yaml sets require_target: it must not come from the log.
	Branch string
	Now    func() time.Time
	Logger *slog.Logger
	// Misbehaviour is told of everything that this node refused. It must not
	// block. Default: nobody.
	Misbehaviour func(cluster.Event)
}

// Why a node does not follow the state. Problem wraps one of them.
var (
	// ErrForeignHistory is returned when the state that a joined node was given
	// is not the one that its token's checkpoint is of. It is final.
	ErrForeignHistory = errors.New("this is not the history that the join token vouches for: " +
		"find out which node lies, remove this node's data directory, and join again with a new token")
	// ErrReplaced is returned while the state does not continue the one that
	// this node followed.
	ErrReplaced = errors.New("the log is not the one that this node followed")
	// ErrWaiting is returned while the state has not come as far as this node
	// had.
	ErrWaiting = errors.New("waiting for the cluster's log")
)

// retryDelay is the wait before what was no verdict is tried again.
const retryDelay = time.Second

// Verifier judges claims. It is made by Open, and works while Run does.
type Verifier struct {
	config  Config
	store   *Store
	poke    chan struct{} // wakes Run when something else than the state changed
	orders  chan reanchorOrder
	journal *Journal
	writing sync.Mutex // serialises use of the journal

	// Of Run's goroutine alone:
	told   map[string]bool       // what was reported of the log as a whole
	pastOf signing.Hash          // the commit that past lies behind
	past   map[signing.Hash]bool // its first parents
	unkept bool                  // the record on disk is older than the one in memory

	mu       sync.Mutex // guards the fields below
	record   *Record
	view     *cluster.View
	changed  chan struct{} // closed when view is replaced
	compiled map[contentKey]*compiled
	problem  error
	lagging  bool // the state is not there yet; a contact may show that it is
	live     liveness
	refused  *JournalEntry // the newest of the journal
}

// PinAnchor creates the trust store of a new member: the anchor's trust is pinned,
// and nothing is accepted yet. It refuses to replace an existing store.
func PinAnchor(directory, clusterID string, src signing.Source, anchor signing.Hash) (*signing.Trust, error) {
	position, trust, err := signing.Anchor(src, anchor)
	if err != nil {
		return nil, fmt.Errorf("pin anchor %s: %w", anchor.Short(), err)
	}
	digest, err := cluster.ContentDigest(src, position)
	if err != nil {
		return nil, fmt.Errorf("pin anchor %s: %w", anchor.Short(), err)
	}
	record := &Record{ClusterID: clusterID, Anchor: anchor, Position: position, Digest: digest, TrustVersion: trust.Version}
	if err := create(directory, record); err != nil {
		return nil, fmt.Errorf("pin anchor %s: %w", anchor.Short(), err)
	}
	return trust, nil
}

// create saves the first record of a store.
func create(directory string, record *Record) error {
	store, err := OpenStore(directory)
	if err != nil {
		return err
	}
	if _, err := store.Load(); !errors.Is(err, ErrNoTrust) {
		return fmt.Errorf("there is a trust store already in %s", directory)
	}
	return store.Save(record)
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
	v := &Verifier{
		config: config, store: store, journal: OpenJournal(config.Directory), record: record,
		poke: make(chan struct{}, 1), orders: make(chan reanchorOrder), told: map[string]bool{},
		changed: make(chan struct{}), compiled: map[contentKey]*compiled{}, problem: record.Checkpoint.problem(),
	}
	v.live.recall(record.Heard, config.Now())
	refused, err := v.journal.Read()
	if err != nil { // nothing is judged by it
		config.Logger.Warn("cannot read what this node refused", "error", err)
	}
	for i := range refused {
		if refused[i].Reason != ReasonReanchored {
			v.refused = &refused[i]
		}
	}
	return v, nil
}

// View returns what this node accepted; nil until it has been compiled, and on a
// node that joined until the state was checked against its checkpoint.
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

// Problem returns why this node does not follow the state as a whole, nil when
// it does; a refused claim alone is none (Record.Refusal). It wraps
// ErrForeignHistory, ErrReplaced or ErrWaiting.
func (v *Verifier) Problem() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.problem
}

func (v *Verifier) setProblem(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.problem = err
}

// setRecord changes the record in memory alone; save makes it last.
func (v *Verifier) setRecord(record Record) {
	v.unkept = true
	v.mu.Lock()
	defer v.mu.Unlock()
	v.record = &record
}

// Evaluate judges a tip, and the approval tags that are offered for it, from the
// accepted position and changes nothing. An error means "try again".
func (v *Verifier) Evaluate(src signing.Source, tip signing.Hash, tags []signing.Hash) (*Evaluation, error) {
	record := v.Record()
	return evaluate(src, &record, tip, v.options(v.config.Now(), tags))
}

// Counting says which of the tags that are offered count for a tip, in the order
// in which a claim names them, and what waits all the same: nil when nothing but
// deployments does. It is what Evaluate finds, without compiling anything.
func (v *Verifier) Counting(src signing.Source, tip signing.Hash, tags []signing.Hash) ([]signing.Hash, *signing.Pending, error) {
	record := v.Record()
	verdict, err := signing.Verify(src, record.Position, tip, v.options(v.config.Now(), tags))
	if err != nil {
		return nil, nil, fmt.Errorf("verify %s: %w", tip.Short(), err)
	}
	e := &Evaluation{From: record.Position, Verdict: verdict}
	return e.Tags(), e.Awaits(), nil
}

func (v *Verifier) options(at time.Time, tags []signing.Hash) signing.Options {
	return signing.Options{Now: at, Branch: v.config.Branch, Tags: tags}
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
		case errors.Is(err, errBusy), errors.Is(err, signing.ErrNotFound), errors.Is(err, errUnchecked):
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
		case <-v.poke:
		case order := <-v.orders:
			trust, err := v.reanchor(order)
			order.done <- reanchorAnswer{trust, err}
		case <-retry:
		}
	}
}

// step publishes the first view if there is none, and judges what is new.
func (v *Verifier) step() error {
	snapshot := v.config.State.Read()
	if joined, err := v.joined(snapshot); err != nil || !joined {
		return err
	}
	if v.View() == nil {
		if err := v.publish(v.Record(), nil); err != nil {
			return err
		}
	}
	if follows, err := v.follow(snapshot); err != nil || !follows {
		return err
	}
	for _, claim := range snapshot.ClaimsAfter(v.Record().Claim) {
		if err := v.judge(snapshot, claim); err != nil {
			return fmt.Errorf("claim %d: %w", claim.Number, err)
		}
	}
	if v.unkept {
		if err := v.save(v.Record(), nil); err != nil {
			return err
		}
	}
	return v.reach(snapshot.Index())
}

// reach notes that every claim up to an index was judged, and keeps what it was
// told of that index. No view changes by that.
func (v *Verifier) reach(index uint64) error {
	v.mu.Lock()
	v.live.reached(index)
	record := *v.record
	heard := v.live.latest(record.Heard)
	v.mu.Unlock()
	if heard == nil {
		return nil
	}
	record.Heard = heard
	if err := v.store.Save(&record); err != nil {
		return err
	}
	v.setRecord(record)
	v.unkept = false
	return nil
}

// save makes the record durable, then publishes the view made from it.
func (v *Verifier) save(record Record, fresh map[contentKey]*compiled) error {
	if err := v.store.Save(&record); err != nil {
		return err
	}
	v.setRecord(record)
	v.unkept = false
	return v.publish(record, fresh)
}
