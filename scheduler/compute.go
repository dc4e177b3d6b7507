package scheduler

import (
	"slices"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// Input is everything that a plan follows from. Compute reads it and keeps
// nothing of it; the order of the lists is of no account.
type Input struct {
	// ClusterID goes into the ids of new replicas.
	ClusterID string
	// Now must not be before the time of the last applied entry, or replicas
	// would seem to be from the future.
	Now time.Time
	// Index is that of the state. The replicas of a service that is new to the
	// state are numbered from it on: one that was dropped and comes back must
	// not give an id twice. 0 starts at 1.
	Index uint64
	// View is what this node accepted; with nil, nothing is done.
	View        *cluster.View
	Nodes       []cluster.Node
	Replicas    []cluster.Replica
	Services    []cluster.Service
	Deployments []cluster.DeploymentStatus
	// MassLossUntil is until when nothing is lost or moved because nodes are
	// Down: so many went down at once that the fault may be elsewhere. Zero or
	// past: no such pause.
	MassLossUntil time.Time
	// Limit bounds the replicas that one plan creates, so that a log entry
	// stays small; 0 means no bound. What is left over sets Result.More.
	Limit int
}

// Result is what a pass decided.
type Result struct {
	// Plan is nil when there is nothing to do.
	Plan *cluster.ApplyPlan
	// Wake is when time alone changes the answer; zero when it never does.
	Wake time.Time
	// Events tell of transitions that Plan brings about; they are to be
	// recorded once it is applied.
	Events []cluster.Event
	// Explain has one line for each thing done and for each thing left undone.
	Explain []Decision
	// More reports that Limit cut the plan: compute again once it is applied.
	More bool
}

// Compute returns the plan that leads from the state to the view by one step.
// On a state that needs nothing it returns a nil plan and a zero Wake.
func Compute(in Input) Result {
	if !actionable(in.View) {
		return Result{}
	}
	p := newPass(in)
	for _, s := range p.services {
		if s.spec != nil && !p.calm(s) {
			p.chooseSlots(s)
			s.restless = true
		}
	}
	for _, s := range p.services {
		if p.out.full() {
			break
		}
		p.reconcile(s)
	}
	p.converge()
	return p.out.result()
}

// actionable reports whether v may be acted on. A view before any claim knows
// of no deployment: a node that lost its trust store has one, and taking it
// for the wish to run nothing would stop everything.
func actionable(v *cluster.View) bool {
	return v != nil && (v.Claim > 0 || len(v.Deployments) > 0)
}

// reconcile brings one service a step closer to its spec.
func (p *pass) reconcile(s *service) {
	switch {
	case s.untouchable:
		return
	case s.spec == nil:
		p.lose(s)
		p.retire(s)
		return
	case !s.restless:
		return
	}
	s.quota = p.newQuota(s)
	p.lose(s)
	p.await(s)
	p.removeSurplus(s)
	p.weigh(s)
	p.fill(s)
	p.rollOut(s)
	p.forget(s)
	p.finishRollout(s)
	s.rec.Reason = s.reason()
	p.out.record(s)
}

// compareKeys orders services by deployment, then name.
func compareKeys(a, b cluster.ServiceKey) int {
	if c := strings.Compare(a.Deployment, b.Deployment); c != 0 {
		return c
	}
	return strings.Compare(a.Service, b.Service)
}

// sortReplicas orders the replicas of one service by slot, then by age.
func sortReplicas(replicas []*cluster.Replica) {
	compare := func(a, b *cluster.Replica) int {
		switch {
		case a.Slot != b.Slot:
			return a.Slot - b.Slot
		case a.Serial < b.Serial:
			return -1
		case a.Serial > b.Serial:
			return 1
		}
		return strings.Compare(a.ID, b.ID)
	}
	if !slices.IsSortedFunc(replicas, compare) {
		slices.SortFunc(replicas, compare)
	}
}
