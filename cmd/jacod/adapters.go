package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/gitsync"
	"github.com/jaco-sh/jaco/signing"
)

// chunkBytes is how much object data one command carries, chunkCount how many
// objects; one that is larger goes alone.
const (
	chunkBytes = 256 << 10
	chunkCount = 1000
)

// chunkObjects cuts objects into commands, in their order.
func chunkObjects(objects []cluster.StoredObject) [][]cluster.StoredObject {
	var chunks [][]cluster.StoredObject
	start, size := 0, 0
	for i, o := range objects {
		if i > start && (size+len(o.Data) > chunkBytes || i-start == chunkCount) {
			chunks = append(chunks, objects[start:i])
			start, size = i, 0
		}
		size += len(o.Data)
	}
	if start < len(objects) {
		chunks = append(chunks, objects[start:])
	}
	return chunks
}

// judge lets the sync ask the node's own verifier.
type judge struct {
	verifier *verifier.Verifier
}

// Evaluate implements gitsync.Judge: what was read on the way to the verdict
// is the evidence that every other node needs. It is judged with those tags alone
// that count, as the other nodes will: the repository's old tags are no evidence
// of anything.
func (j judge) Evaluate(_ context.Context, src signing.Source, tip signing.Hash, tags []signing.Hash) (*gitsync.Evaluation, error) {
	var counted []signing.Hash
	var awaits *signing.Pending
	if len(tags) > 0 {
		var err error
		if counted, awaits, err = j.verifier.Counting(src, tip, tags); err != nil {
			return nil, err
		}
	}
	if len(counted) > cluster.MaxClaimTags {
		return nil, fmt.Errorf("%d approval tags count at once, a claim names at most %d: push them in smaller groups", len(counted), cluster.MaxClaimTags)
	}
	recorder := signing.NewRecorder(src)
	e, err := j.verifier.Evaluate(recorder, tip, counted)
	if err != nil {
		return nil, err
	}
	if e.Verdict.Refusal == nil || awaits == nil {
		awaits = e.Awaits() // tags for what waits count for nothing yet, but say who has signed
	}
	return &gitsync.Evaluation{
		From: e.From.Commit, To: e.Verdict.Position.Commit, Moved: e.Moved(),
		Refusal: e.Verdict.Refusal, Awaits: awaits, Evidence: recorder.IDs(), Token: e,
	}, nil
}

// syncLog writes what the sync found to the log.
type syncLog struct {
	member *member
}

// Have implements gitsync.Log.
func (l *syncLog) Have(id signing.Hash) (bool, error) {
	// The state is asked, not the object store: that may hold what a lost or
	// restored state knows nothing of.
	return l.member.state.Read().HasObject(id), nil
}

// Advance implements gitsync.Log: objects first, so that they are there when
// the claim is judged, then the claim, then what it means for people.
func (l *syncLog) Advance(ctx context.Context, advance gitsync.Advance) error {
	m := l.member
	evaluation, ok := advance.Evaluation.Token.(*verifier.Evaluation)
	if !ok {
		return errors.New("advance: the evaluation is not of this verifier")
	}
	objects := make([]cluster.StoredObject, len(advance.Objects))
	for i, o := range advance.Objects {
		objects[i] = cluster.StoredObject{ID: o.ID, Object: o.Object}
	}
	for _, chunk := range chunkObjects(objects) {
		if err := m.propose(ctx, &cluster.PutObjects{Objects: chunk}); err != nil {
			return fmt.Errorf("store evidence: %w", err)
		}
	}
	before := m.verifier.Record()
	last, _ := m.state.Read().LastClaim()
	claim := cluster.Claim{
		Number: last.Number + 1, From: advance.Evaluation.From, Commit: advance.Evaluation.To, Digest: evaluation.Digest,
		Tags: evaluation.Tags(),
	}
	if err := m.propose(ctx, &cluster.AdvanceRevision{Claim: claim}); err != nil {
		return fmt.Errorf("claim %s: %w", claim.Commit.Short(), err)
	}
	if err := m.waitJudged(ctx, claim.Number); err != nil {
		return err
	}
	after := m.verifier.Record()
	if after.Refusal != nil && after.Claim == claim.Number {
		return fmt.Errorf("claim %s was refused by this node itself: %s", claim.Commit.Short(), after.Refusal.Detail)
	}
	return m.recordEvents(ctx, newEvents(&before, &after))
}

// waitJudged waits until this node has judged the claim.
func (m *member) waitJudged(ctx context.Context, number uint64) error {
	for {
		changed := m.verifier.Changed()
		if m.verifier.Record().Claim >= number {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// newEvents tells what a claim brought that people should know: deployments
// that do not compile, what a new policy would not approve again, and units that
// wait for a signature.
func newEvents(before, after *verifier.Record) []cluster.Event {
	var events []cluster.Event
	for _, name := range slices.Sorted(maps.Keys(after.Units)) {
		unit, old := after.Units[name], before.Units[name].Invalid
		if unit.Invalid != nil && (old == nil || old.Tree != unit.Invalid.Tree) {
			events = append(events, cluster.Event{
				Type: cluster.EventInvalid, Deployment: name, Revision: unit.Invalid.Revision, Message: unit.Invalid.Reason,
			})
		}
	}
	events = append(events, outdatedEvents(before, after)...)
	waiting := map[string]signing.Hash{}
	for _, p := range before.Pending {
		waiting[p.Unit] = p.Revision
	}
	for _, p := range after.Pending {
		if waiting[p.Unit] != p.Revision {
			events = append(events, cluster.Event{
				Type: cluster.EventAwaitingApproval, Deployment: p.Unit, Revision: p.Revision, Message: p.Reason,
			})
		}
	}
	return events
}

// outdatedEvents tells which of what runs stands worse under the policy than
// before the claim.
func outdatedEvents(before, after *verifier.Record) []cluster.Event {
	var events []cluster.Event
	for _, name := range slices.Sorted(maps.Keys(after.Units)) {
		pin, old := after.Units[name].Active, before.Units[name].Active
		if pin == nil || pin.Standing == nil || old != nil && old.Standing != nil && *old.Standing == *pin.Standing {
			continue
		}
		events = append(events, cluster.Event{
			Type: cluster.EventPolicyOutdated, Deployment: name, Revision: pin.Revision, Message: pin.Standing.Reason,
		})
	}
	return events
}

func (m *member) recordEvents(ctx context.Context, events []cluster.Event) error {
	if len(events) == 0 {
		return nil
	}
	for i := range events {
		if events[i].Node == "" {
			events[i].Node = m.info.Node
		}
	}
	return m.propose(ctx, &cluster.RecordEvents{Events: events})
}

// Refuse implements gitsync.Log.
func (l *syncLog) Refuse(ctx context.Context, r gitsync.Refusal) error {
	return l.member.propose(ctx, &cluster.RecordRefusal{Refusal: cluster.Refusal{
		Head: r.Head, Commit: r.Commit, Reason: r.Reason, Detail: r.Detail, Advice: r.Advice,
	}})
}

// Transition implements gitsync.Log. A new leader's sync knows nothing of the
// state before: what is recorded already is not written again.
func (l *syncLog) Transition(ctx context.Context, t gitsync.Transition) error {
	recorded := l.member.state.Read().Sync()
	if recorded.State == cluster.SyncState(t.State) && recorded.Reason == t.Reason && recorded.Head == t.Head {
		return nil
	}
	err := l.member.propose(ctx, &cluster.SetSync{State: cluster.SyncState(t.State), Reason: t.Reason, Head: t.Head, Awaits: t.Awaits})
	if err != nil || t.Awaits == nil || recorded.Awaits != nil && recorded.Awaits.Revision == t.Awaits.Revision {
		return err
	}
	return l.member.recordEvents(ctx, []cluster.Event{{
		Type: cluster.EventAwaitingApproval, Deployment: t.Awaits.Unit, Revision: t.Awaits.Revision, Message: t.Awaits.Reason,
	}})
}

// proposer carries the scheduler's plans.
type proposer struct {
	member *member
}

// Propose implements scheduler.Proposer.
func (p proposer) Propose(ctx context.Context, command cluster.Command) error {
	return p.member.proposeHere(ctx, command)
}

// agentState shows the agent the assignments.
type agentState struct {
	state *cluster.State
}

// Read implements agent.State.
func (s agentState) Read() agent.Snapshot { return s.state.Read() }

// Changed implements agent.State.
func (s agentState) Changed() <-chan struct{} { return s.state.Changed() }

// reporter carries what the agent says into the log.
type reporter struct {
	member *member
}

// Report implements agent.Reporter.
func (r *reporter) Report(ctx context.Context, report *cluster.ReportReplicas) error {
	return r.member.propose(ctx, report)
}

// Record implements agent.Reporter.
func (r *reporter) Record(ctx context.Context, events []cluster.Event) error {
	// The log of a cluster begins with its initialization: nothing else is taken
	// before it.
	if _, err := r.member.waitMeta(ctx); err != nil {
		return err
	}
	return r.member.recordEvents(ctx, events)
}

// NodeState implements agent.Reporter: heartbeats carry it, and the leader
// writes what it means.
func (r *reporter) NodeState(_ context.Context, status agent.NodeStatus) error {
	r.member.engineStatus.Store(&status)
	r.member.pokeBeat()
	return nil
}

// noteAssignment keeps an assignment that no honest leader makes.
func (m *member) noteAssignment(event cluster.Event) {
	if err := m.verifier.NoteMisbehaviour(event); err != nil {
		m.logger.Error("a refused assignment is not in the journal", "replica", event.Replica, "error", err)
	}
}
