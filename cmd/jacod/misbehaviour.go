package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/verifier"
)

const (
	// reportAgain is how long a leader has that took a report and in whose log it
	// does not show; another leader gets it at once.
	reportAgain = 30 * time.Second
	// reportTimeout bounds one report.
	reportTimeout = 15 * time.Second
	// lookForLeader is how often another leader is looked for, while something is
	// to be reported.
	lookForLeader = time.Second
	// reportLast is how many entries of the journal are reported, the newest: more
	// tell nobody anything new.
	reportLast = 64
	// reportSlack is how far this node's clock may have been ahead of the log's.
	reportSlack = time.Hour
)

// noteMisbehaviour has what was refused reported. The journal has it already.
func (m *member) noteMisbehaviour(cluster.Event) {
	select {
	case m.misbehaved <- struct{}{}:
	default:
	}
}

// reportMisbehaviour brings into the log what stands in the journal and not in
// the log. A leader that lies may drop a report, or say that it took it, and a
// node may be stopped before it was heard: so the two are compared, and the
// report is made again to the next leader.
func (m *member) reportMisbehaviour(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-m.current: // before, the log is not there to be compared with
	}
	for {
		term := m.consensus.Term()
		left, err := m.reportAll(ctx)
		if err != nil && ctx.Err() == nil {
			m.logger.Warn("what this node refused stands in its journal and not in the log", "entries", left, "error", err)
		}
		if !m.awaitReport(ctx, term, left > 0) {
			return nil
		}
	}
}

// awaitReport waits until there is something to report; while something is
// left, for another leader, or for long. It returns false when ctx ended.
func (m *member) awaitReport(ctx context.Context, term uint64, left bool) bool {
	if !left {
		select {
		case <-ctx.Done():
			return false
		case <-m.misbehaved:
			return true
		}
	}
	for waited := time.Duration(0); waited < reportAgain && m.consensus.Term() == term; waited += lookForLeader {
		if !pause(ctx, lookForLeader) {
			return false
		}
	}
	return true
}

// reportAll reports until one report does not show. It returns how many are left.
func (m *member) reportAll(ctx context.Context) (left int, err error) {
	journal, err := m.verifier.Refused()
	if err != nil {
		return 0, err
	}
	for {
		unreported, err := m.unreported(journal)
		if err != nil || len(unreported) == 0 || left == len(unreported) {
			return len(unreported), err
		}
		left = len(unreported)
		if err := m.report(ctx, unreported[0]); err != nil {
			return left, err
		}
	}
}

func (m *member) report(ctx context.Context, event cluster.Event) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	return m.recordEvents(ctx, []cluster.Event{event})
}

// reportKey is what the audit log shows of a report.
type reportKey struct{ revision, message string }

// unreported are the reports on entries of the journal that the log lacks.
func (m *member) unreported(journal []verifier.JournalEntry) ([]cluster.Event, error) {
	journal = journal[max(0, len(journal)-reportLast):]
	if len(journal) == 0 {
		return nil, nil
	}
	reported, snapshot := map[reportKey]int{}, m.state.Read()
	for _, kind := range []cluster.EventType{cluster.EventLeaderMisbehaviour, cluster.EventReanchored} {
		for record, err := range snapshot.Audit(cluster.AuditFilter{
			Type: string(kind), Actor: string(cluster.ActorNode) + ":" + m.info.Node,
			Since: journal[0].Time.Add(-reportSlack), NewestFirst: true,
		}) {
			if err != nil {
				return nil, fmt.Errorf("read what was reported: %w", err)
			}
			reported[reportKey{record.Revision, record.Message}]++
		}
	}
	return notIn(reported, journal), nil
}

// notIn are the reports on those entries that were reported less often than they
// stand in the journal.
func notIn(reported map[reportKey]int, journal []verifier.JournalEntry) []cluster.Event {
	var left []cluster.Event
	for i := range journal {
		event := journal[i].Event()
		key := reportKey{message: event.Message}
		if !event.Revision.IsZero() {
			key.revision = event.Revision.String()
		}
		if reported[key]--; reported[key] < 0 {
			left = append(left, event)
		}
	}
	return left
}

// misledText is what status says of the last thing that this node refused; ""
// when that was long ago.
func (m *member) misledText() string {
	last := m.verifier.LastRefused()
	if last == nil || m.clock().Sub(last.Time) > misledFor {
		return ""
	}
	return fmt.Sprintf("%s (%s)", last.Event().Message, last.Time.Format(time.RFC3339))
}

// misledFor is how long a refusal is shown.
const misledFor = 24 * time.Hour
