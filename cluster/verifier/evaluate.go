package verifier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// Reasons that this package adds to those of signing. The values reach JSON
// and the journal: never rename one.
const (
	ReasonEvidence signing.Reason = "missing-evidence"      // objects that the verdict needs are not in state
	ReasonDigest   signing.Reason = "wrong-digest"          // the claim's digest is not that of its content
	ReasonClock                   = cluster.ReasonWrongTime // the entry's time runs back, or is off this node's clock
	ReasonPartial  signing.Reason = "not-accepted"          // the claim goes further than the range can be accepted
	ReasonHistory  signing.Reason = "other-history"         // the log does not continue the one that this node followed
	ReasonForeign  signing.Reason = "foreign-history"       // the state is not the one that the checkpoint is of
	// ReasonAssignment is that of an assignment which no accepted revision bears out.
	ReasonAssignment signing.Reason = "wrong-assignment"
)

// Evaluation is what a tip comes to, judged from the accepted position. It
// changes nothing: the leader evaluates before it proposes, every node before
// it accepts, by the same code.
type Evaluation struct {
	// From is the position that was judged from.
	From    signing.Position
	Verdict *signing.Verdict
	// Digest is the content digest of Verdict.Position.
	Digest [32]byte
	// Units is the record of every unit as it would be afterwards; the claim
	// numbers of new pins are 0 until a claim brings them.
	Units map[string]UnitRecord
	// Trust is the policy in force afterwards.
	Trust *signing.Trust

	compiled map[contentKey]*compiled
}

// Moved reports whether a claim would change anything: a commit, a unit that a
// late approval activates, or who has approved what waits. The last is claimed
// too, so that an approval that once counted counts whatever becomes of its tag.
func (e *Evaluation) Moved() bool {
	return e.Verdict.Position.Commit != e.From.Commit || len(e.Verdict.Approved) > 0 ||
		len(e.Verdict.Tags) > 0 && !samePosition(e.Verdict.Position, e.From)
}

// samePosition compares what of two positions is kept.
func samePosition(a, b signing.Position) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// Tags are the approval tags that a claim has to name, in the order that it
// names them in.
func (e *Evaluation) Tags() []signing.Hash {
	tags := slices.Clone(e.Verdict.Tags)
	slices.SortFunc(tags, func(a, b signing.Hash) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(tags)
}

// contentKey names what was compiled: two deployments may have equal folders.
type contentKey struct {
	unit string
	tree signing.Hash
}

// compiled is the outcome of compiling one unit's content.
type compiled struct {
	deployment *desired.Deployment
	cluster    *desired.Cluster
	invalid    error
}

// compileTimeout bounds one unit's compilation. Running into it is no verdict:
// it says that this machine is too busy now.
const compileTimeout = 5 * time.Second

// errBusy is returned when compiling took longer than compileTimeout.
var errBusy = errors.New("compiling took longer than 5 s; it is tried again")

// evaluate judges a tip from the record. Errors mean "try again", or evidence
// that is missing (signing.ErrNotFound).
func evaluate(src signing.Source, record *Record, tip signing.Hash, options signing.Options) (*Evaluation, error) {
	verdict, err := signing.Verify(src, record.Position, tip, options)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", tip.Short(), err)
	}
	e := &Evaluation{From: record.Position, Verdict: verdict, compiled: map[contentKey]*compiled{}}
	guard, err := cluster.PruneGuard(src, record.Position, verdict, options.Branch)
	if err != nil {
		return nil, err
	}
	if guard != nil { // nothing is half-applied: the position stays where it was
		e.Verdict = &signing.Verdict{Position: record.Position, Pending: record.Pending, Refusal: guard}
	}
	e.Digest, err = cluster.ContentDigest(src, e.Verdict.Position)
	switch {
	case errors.Is(err, cluster.ErrContentTooLarge):
		// The bound is on the content as a whole, so no part of the range can be
		// taken: the position stays where it was.
		e.Verdict = &signing.Verdict{Position: record.Position, Refusal: &signing.Refusal{
			Commit: tip, Chain: tip, Reason: signing.ReasonTooLarge, Detail: err.Error(),
			Advice: "make the deployment folders smaller, and push again",
		}}
		e.Digest, err = cluster.ContentDigest(src, record.Position)
		if err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	if e.Trust, err = signing.LoadTrust(src, e.Verdict.Position.Commit); err != nil {
		return nil, fmt.Errorf("load trust: %w", err)
	}
	return e, e.compileUnits(src, record)
}

// compileUnits fills in Units: approved content that compiles becomes active,
// approved content that does not leaves what is active alone.
func (e *Evaluation) compileUnits(src signing.Source, record *Record) error {
	e.Units = maps.Clone(record.Units)
	if e.Units == nil {
		e.Units = map[string]UnitRecord{}
	}
	results := map[string]*compiled{}
	for _, name := range e.candidates() {
		unit, exists := e.Verdict.Position.Units[name]
		if !exists || unit.Tree.IsZero() {
			delete(e.Units, name)
			continue
		}
		result, err := compileUnit(src, name, unit.Tree, gateOf(e.Trust, name))
		if err != nil {
			return err
		}
		results[name] = result
	}
	if err := e.refuseConflicts(src, results); err != nil {
		return err
	}
	for name, result := range results {
		unit, before := e.Verdict.Position.Units[name], e.Units[name]
		if result.invalid != nil {
			before.Invalid = &InvalidPin{Revision: unit.Revision, Tree: unit.Tree, Reason: result.invalid.Error()}
			e.Units[name] = before
			continue
		}
		e.compiled[contentKey{name, unit.Tree}] = result
		pin := &Pin{Revision: unit.Revision, Tree: unit.Tree, Signers: unit.Signers, TrustVersion: e.Trust.Version, At: unit.At, Grounds: unit.Grounds}
		e.Units[name] = UnitRecord{Active: pin, Previous: before.Active}
	}
	return nil
}

// compileUnit compiles one folder, or reads one cluster.yaml. An error is no
// verdict; what is wrong with the content is in the result.
func compileUnit(src signing.Source, name string, tree signing.Hash, gate desired.Options) (*compiled, error) {
	type outcome struct {
		result *compiled
		err    error
	}
	// The library cannot be interrupted. Its input is bounded, so that the
	// goroutine ends by itself; after a timeout nobody reads its outcome.
	done := make(chan outcome, 1)
	go func() {
		result, err := compileNow(src, name, tree, gate)
		done <- outcome{result, err}
	}()
	timer := time.NewTimer(compileTimeout)
	defer timer.Stop()
	select {
	case o := <-done:
		return o.result, o.err
	case <-timer.C:
		return nil, fmt.Errorf("deployment %s: %w", name, errBusy)
	}
}

func compileNow(src signing.Source, name string, tree signing.Hash, gate desired.Options) (*compiled, error) {
	watched := &missing{Source: src}
	result := &compiled{}
	if name == signing.ClusterUnit {
		data, err := signing.ReadObject(watched, tree, signing.BlobObject)
		if err != nil {
			return nil, fmt.Errorf("read cluster.yaml: %w", err)
		}
		result.cluster, result.invalid = desired.ParseCluster(data)
		return result, nil
	}
	result.deployment, result.invalid = desired.CompileWith(signing.NewTreeFS(watched, tree), name, "deployments/"+name, gate)
	if watched.err != nil {
		return nil, fmt.Errorf("compile %s: %w", name, watched.err)
	}
	return result, nil
}

// missing remembers that an object was not there: a compiler that could not
// read a file must not take its absence for content.
type missing struct {
	signing.Source
	err error
}

// Object implements signing.Source.
func (m *missing) Object(id signing.Hash) (signing.Object, error) {
	object, err := m.Source.Object(id)
	if err != nil {
		m.err = err
	}
	return object, err
}

// Awaits returns what stands between the position and the tip when that is
// nothing but signatures of root: a trust change, or the order to go to a
// rewritten history, that lacks its threshold. Nil when the tip was reached, or
// refused.
func (e *Evaluation) Awaits() *signing.Pending {
	if e.Verdict.Refusal == nil {
		return nil
	}
	for _, p := range e.Verdict.Pending {
		if p.Unit == signing.TrustUnit || p.Unit == signing.ReanchorUnit {
			return &p
		}
	}
	return nil
}
