package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// The back-off of reports that the cluster did not take, and the most events
// that wait for one that does.
const (
	reportRetryMin = 100 * time.Millisecond
	reportRetryMax = time.Second
	reportTimeout  = 15 * time.Second
	maxEvents      = 256
)

// reporter brings what the loop wants reported to the cluster: the first
// report at once, the next ones together, and nothing twice. It holds wishes,
// not a queue: a newer wish for a replica replaces an older one.
type reporter struct {
	to   Reporter
	cfg  Config
	log  *slog.Logger
	wake chan struct{}

	mu      sync.Mutex // guards the fields below
	wanted  map[string]wish
	acked   map[string]cluster.ReplicaReport // what the cluster took last
	events  []cluster.Event
	node    *NodeStatus // to be sent
	ackNode *NodeStatus
}

// wish is a report that is wanted since a time.
type wish struct {
	report cluster.ReplicaReport
	since  time.Time
}

func newReporter(to Reporter, cfg Config, log *slog.Logger) *reporter {
	return &reporter{
		to: to, cfg: cfg, log: log,
		wake:   make(chan struct{}, 1),
		wanted: map[string]wish{},
		acked:  map[string]cluster.ReplicaReport{},
	}
}

// want replaces what is to be reported and adds events to be audited, which
// never go ahead of the reports. assigned are the replicas that exist: what is
// remembered of others is forgotten.
func (r *reporter) want(now time.Time, reports []cluster.ReplicaReport, assigned map[string]bool, events []cluster.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := make(map[string]wish, len(reports))
	for _, rep := range reports {
		if acked, ok := r.acked[rep.ID]; ok && sameReport(acked, rep) {
			continue // taken; the local state has not caught up yet
		}
		w := wish{report: rep, since: now}
		if old, ok := r.wanted[rep.ID]; ok {
			w.since = old.since
		}
		wanted[rep.ID] = w
	}
	for id := range r.acked {
		if !assigned[id] {
			delete(r.acked, id)
		}
	}
	r.wanted = wanted
	r.recordLocked(events)
	if len(wanted)+len(events) > 0 {
		poke(r.wake)
	}
}

// nodeState says whether this node can run replicas, with the events that go
// with it.
func (r *reporter) nodeState(s NodeStatus, events ...cluster.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.node = &s
	r.recordLocked(events)
	poke(r.wake)
}

// recordLocked adds events. When too many wait, the oldest are dropped.
func (r *reporter) recordLocked(events []cluster.Event) {
	r.events = append(r.events, events...)
	if n := len(r.events) - maxEvents; n > 0 {
		r.log.Error("events were dropped: the cluster takes none", "events", n)
		r.events = slices.Clone(r.events[n:])
	}
}

func (r *reporter) run(ctx context.Context) error {
	retry := time.Duration(0)
	for ctx.Err() == nil {
		sent, wait, err := r.send(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			continue
		case err != nil:
			if retry == 0 {
				r.log.Warn("the cluster does not take reports, trying again", "error", err)
			}
			retry = min(max(2*retry, reportRetryMin), reportRetryMax)
			wait = retry
		case sent:
			retry, wait = 0, r.cfg.Coalesce
		default:
			wait = r.idle(ctx, wait)
		}
		pause(ctx, wait)
	}
	return nil
}

// idle waits until there may be something to send; wait bounds it, 0 does not.
func (r *reporter) idle(ctx context.Context, wait time.Duration) time.Duration {
	var due <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-due:
	case <-r.wake:
	}
	return 0
}

// send brings what is due: the node's state, then reports, then events. When
// nothing is, wait says when something will be; 0: not by itself. One that is
// refused does not hold up the others.
func (r *reporter) send(ctx context.Context) (sent bool, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	var errs []error
	try := func(done func(), err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		done()
		sent = true
	}
	if s := r.dueNode(); s != nil {
		try(func() { r.ackNode = s }, r.to.NodeState(ctx, *s))
	}
	reports, wait := r.dueReports(time.Now())
	if len(reports) > 0 {
		try(func() { r.ackLocked(reports) }, r.to.Report(ctx, &cluster.ReportReplicas{Node: r.cfg.Node, Reports: reports}))
	}
	r.mu.Lock()
	events := slices.Clone(r.events)
	r.mu.Unlock()
	if len(events) > 0 {
		// Meanwhile the oldest may have been dropped to make room.
		try(func() { r.events = slices.Clone(r.events[min(len(events), len(r.events)):]) }, r.to.Record(ctx, events))
	}
	return sent, wait, errors.Join(errs...)
}

func (r *reporter) dueNode() *NodeStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.node
	if s == nil || r.ackNode != nil && *r.ackNode == *s {
		return nil
	}
	return s
}

// dueReports returns the wishes that are due. That a replica is being prepared
// or started is so only when it takes long; wait says how long that is.
func (r *reporter) dueReports(now time.Time) (due []cluster.ReplicaReport, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.wanted {
		left := w.since.Add(r.cfg.Transient).Sub(now)
		if !transient(w.report) || left <= 0 {
			due = append(due, w.report)
		} else if wait == 0 || left < wait {
			wait = left
		}
	}
	slices.SortFunc(due, func(a, b cluster.ReplicaReport) int { return cmp.Compare(a.ID, b.ID) })
	return due, wait
}

func transient(rep cluster.ReplicaReport) bool {
	return rep.Phase == cluster.Starting || rep.Phase == cluster.Preparing && rep.Reason == ""
}

func (r *reporter) ackLocked(reports []cluster.ReplicaReport) {
	for _, rep := range reports {
		r.acked[rep.ID] = rep
		if w, ok := r.wanted[rep.ID]; ok && sameReport(w.report, rep) {
			delete(r.wanted, rep.ID)
		}
	}
}

// sameReport compares reports but for the digits in their reasons.
func sameReport(a, b cluster.ReplicaReport) bool {
	same := sameReason(a.Reason, b.Reason)
	a.Reason, b.Reason = "", ""
	return same && a == b
}
