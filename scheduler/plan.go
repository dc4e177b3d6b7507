package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// Action is what a decision does.
type Action string

// The actions. Wait is a decision to do nothing yet.
const (
	ActionCreate  Action = "create"
	ActionStop    Action = "stop"
	ActionLose    Action = "lose"
	ActionRemove  Action = "remove"
	ActionRollout Action = "rollout"
	ActionDrop    Action = "drop"
	ActionWait    Action = "wait"
)

// Decision is one line of an explanation.
type Decision struct {
	Action     Action
	Deployment string
	Service    string
	Slot       int    // 0 when it is about the whole service
	Serial     uint64 // of the replica; 0 when there is none
	Node       string
	Spec       string // hash
	Attempt    int
	Why        string
}

// String prints the decision in one line.
func (d Decision) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-7s %s/%s", d.Action, d.Deployment, d.Service)
	if d.Slot > 0 {
		fmt.Fprintf(&b, ".%d", d.Slot)
	}
	if d.Serial > 0 {
		fmt.Fprintf(&b, "#%d", d.Serial)
	}
	if d.Node != "" {
		b.WriteString(" on " + d.Node)
	}
	if d.Action == ActionCreate {
		fmt.Fprintf(&b, " spec %.8s", d.Spec)
		if d.Attempt > 0 {
			fmt.Fprintf(&b, " attempt %d", d.Attempt)
		}
	}
	if d.Why != "" {
		b.WriteString(": " + d.Why)
	}
	return b.String()
}

// String prints what was decided and why, then when to look again.
func (r Result) String() string {
	var b strings.Builder
	for _, d := range r.Explain {
		b.WriteString(d.String() + "\n")
	}
	for _, e := range r.Events {
		fmt.Fprintf(&b, "event   %s %s", e.Type, e.Deployment)
		if e.Service != "" {
			b.WriteString("/" + e.Service)
		}
		b.WriteString(": " + e.Message + "\n")
	}
	if r.Plan == nil {
		b.WriteString("no plan\n")
	}
	if !r.Wake.IsZero() {
		b.WriteString("wake    " + r.Wake.UTC().Format("15:04:05.000") + "\n")
	}
	if r.More {
		b.WriteString("more\n")
	}
	return b.String()
}

// builder collects the plan. What it is told comes in a fixed order, so that
// equal inputs give equal plans.
type builder struct {
	plan    cluster.ApplyPlan
	expect  map[expectKey]uint64
	wake    time.Time
	events  []cluster.Event
	explain []Decision
	limit   int
	more    bool
}

type expectKey struct {
	kind cluster.ExpectKind
	key  string
}

func newBuilder(limit int) builder {
	return builder{expect: map[expectKey]uint64{}, limit: limit}
}

// full reports whether the plan may create no more; it is then to be continued.
func (b *builder) full() bool {
	if b.limit > 0 && len(b.plan.Create) >= b.limit {
		b.more = true
		return true
	}
	return false
}

// wakeAt asks for another look at t.
func (b *builder) wakeAt(t time.Time) {
	if b.wake.IsZero() || t.Before(b.wake) {
		b.wake = t
	}
}

func (b *builder) note(d Decision) { b.explain = append(b.explain, d) }

func (b *builder) dependOn(r *cluster.Replica) {
	b.expect[expectKey{cluster.ExpectReplica, r.ID}] = r.ModifyIndex
}

func (b *builder) dependOnService(s *service) {
	var index uint64
	if s.old != nil {
		index = s.old.ModifyIndex
	}
	b.expect[expectKey{cluster.ExpectService, s.key.Deployment + "/" + s.key.Service}] = index
}

// dependOnNode makes the plan void when the node of that name changes; nil is
// one that is no member.
func (b *builder) dependOnNode(name string, n *node) {
	var index uint64
	if n != nil {
		index = n.modifyIndex
	}
	b.expect[expectKey{cluster.ExpectNode, name}] = index
}

func (b *builder) create(r cluster.Replica, n *node, why string) {
	b.plan.Create = append(b.plan.Create, r)
	b.dependOnNode(n.name, n)
	d := decide(ActionCreate, &r, why)
	d.Spec, d.Attempt = r.SpecHash, r.Attempt
	b.note(d)
}

func (b *builder) stop(s *service, r *cluster.Replica, why string) {
	b.plan.Stop = append(b.plan.Stop, r.ID)
	b.dependOn(r)
	b.dependOnService(s)
	b.note(decide(ActionStop, r, why))
}

// lose ends a replica whose node n is gone; nil is one that is no member.
func (b *builder) lose(s *service, r *cluster.Replica, n *node) {
	b.plan.Lose = append(b.plan.Lose, r.ID)
	b.dependOn(r)
	b.dependOnNode(r.Node, n)
	b.dependOnService(s)
	b.note(decide(ActionLose, r, lossReason(r.Node, n)))
}

func (b *builder) remove(s *service, r *cluster.Replica, why string) {
	b.plan.Remove = append(b.plan.Remove, r.ID)
	b.dependOn(r)
	b.dependOnService(s)
	b.note(decide(ActionRemove, r, why))
}

func decide(a Action, r *cluster.Replica, why string) Decision {
	return Decision{
		Action: a, Deployment: r.Deployment, Service: r.Service,
		Slot: r.Slot, Serial: r.Serial, Node: r.Node, Why: why,
	}
}

// record writes the service's record when it changed, and tells of the
// transitions that it makes.
func (b *builder) record(s *service) {
	if s.old != nil && sameRecord(*s.old, s.rec) {
		return
	}
	var was cluster.Service
	if s.old != nil {
		was = *s.old
	}
	b.plan.Services = append(b.plan.Services, s.rec)
	b.dependOnService(s)
	if was.Rollout.State != s.rec.Rollout.State {
		why := string(s.rec.Rollout.State)
		if s.rec.Rollout.Reason != "" {
			why += ": " + s.rec.Rollout.Reason
		}
		b.note(Decision{Action: ActionRollout, Deployment: s.key.Deployment, Service: s.key.Service, Why: why})
	}
	if was.Reason != s.rec.Reason && s.rec.Reason != "" {
		b.note(Decision{Action: ActionWait, Deployment: s.key.Deployment, Service: s.key.Service, Why: s.rec.Reason})
	}
	if msg := degradation(was, s.rec); msg != "" {
		b.events = append(b.events, cluster.Event{
			Type: cluster.EventDegraded, Deployment: s.key.Deployment, Service: s.key.Service,
			Revision: s.accepted.Revision, Message: msg,
		})
	}
}

// degradation returns what got worse between two records, or "".
func degradation(was, is cluster.Service) string {
	switch {
	case is.Rollout.State == cluster.RolloutPaused && was.Rollout.State != cluster.RolloutPaused:
		return is.Rollout.Reason
	case lasting(is.Reason) && !lasting(was.Reason):
		return is.Reason
	}
	return ""
}

// lasting reports whether a reason means trouble and not merely patience.
func lasting(reason string) bool {
	return strings.HasPrefix(reason, noNode) || strings.HasPrefix(reason, gaveUp) || awaitsNode(reason)
}

// awaitsNode reports whether a reason says that a node must come back.
func awaitsNode(reason string) bool {
	return strings.HasSuffix(reason, beforeMoving) ||
		strings.HasPrefix(reason, waitsForNode) && strings.HasSuffix(reason, itsVolume)
}

// sameRecord compares what the scheduler writes.
func sameRecord(a, b cluster.Service) bool {
	x, y := a.Rollout, b.Rollout
	times := x.StartedAt.Equal(y.StartedAt) && x.StepAt.Equal(y.StepAt)
	x.StartedAt, x.StepAt, y.StartedAt, y.StepAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return times && x == y && a.NextSerial == b.NextSerial && a.Reason == b.Reason
}

// result closes the plan.
func (b *builder) result() Result {
	r := Result{Wake: b.wake, Events: b.events, Explain: b.explain, More: b.more}
	if b.empty() {
		return r
	}
	b.plan.Expect = make([]cluster.Expectation, 0, len(b.expect))
	for k, index := range b.expect {
		b.plan.Expect = append(b.plan.Expect, cluster.Expectation{Kind: k.kind, Key: k.key, ModifyIndex: index})
	}
	slices.SortFunc(b.plan.Expect, func(x, y cluster.Expectation) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Key, y.Key))
	})
	r.Plan = &b.plan
	return r
}

func (b *builder) empty() bool {
	p := &b.plan
	return len(p.Create)+len(p.Stop)+len(p.Lose)+len(p.Remove)+len(p.Services)+len(p.DropService)+
		len(p.Deployments)+len(p.DropStatus) == 0
}
