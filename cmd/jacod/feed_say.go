package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// sayAgain is the pause before something is said again that the log refused.
const sayAgain = 5 * time.Second

// reportMesh has the state say of this node what its edge does: its key, port
// and mode.
func (f *feed) reportMesh(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-f.deps.Current:
	}
	for {
		state, _ := f.deps.Changed()
		f.mu.Lock()
		report, changed := f.report, f.changed
		f.mu.Unlock()
		if key, wanted := f.unsaid(report); wanted {
			err := f.deps.ReportMesh(ctx, key, report.Port, report.Mode)
			if err != nil && ctx.Err() == nil {
				f.deps.Logger.Warn("the cluster does not take this node into its mesh", "error", err)
				if !pause(ctx, sayAgain) {
					return nil
				}
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-state:
		}
	}
}

// unsaid reports whether the state says something else of this node than its
// edge does, and returns the edge's key.
func (f *feed) unsaid(report *cluster.EdgeReport) (key [32]byte, wanted bool) {
	if report == nil || report.Port == 0 || report.Mode == "" || len(report.PublicKey) != len(key) {
		return key, false // it does not know it yet
	}
	copy(key[:], report.PublicKey)
	node, known := f.deps.MeshNode()
	return key, !known || node.PublicKey != key || node.Port != report.Port || node.Mode != report.Mode
}

// recordEvents puts the edge's events into the audit log, and has the edge told
// of those that are in it. An event is recorded at least once: one whose entry
// was written, and not acknowledged before jacod or the edge ended, is offered
// again. It carries its number in its text, and one that the log holds already is
// not written again.
func (f *feed) recordEvents(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-f.deps.Current:
	}
	for {
		f.mu.Lock()
		report, seen, changed := f.report, f.seen, f.changed
		f.mu.Unlock()
		if fresh := unseen(report, seen); len(fresh) > 0 {
			if err := f.record(ctx, report, fresh); err != nil && ctx.Err() == nil {
				f.deps.Logger.Warn("what the edge repaired is not in the audit log yet", "events", len(fresh), "error", err)
				if !pause(ctx, sayAgain) {
					return nil
				}
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// unseen are the events that are not known to be in the log.
func unseen(report *cluster.EdgeReport, seen uint64) []cluster.EdgeEvent {
	var fresh []cluster.EdgeEvent
	if report != nil {
		for _, e := range report.Events {
			if e.Number > seen {
				fresh = append(fresh, e)
			}
		}
	}
	return fresh
}

// record puts events into the log and notes that they are there. The edge may
// have been replaced meanwhile, by one that counts anew: then nothing is noted,
// and what that one offers is looked at by itself.
func (f *feed) record(ctx context.Context, of *cluster.EdgeReport, fresh []cluster.EdgeEvent) error {
	events := make([]cluster.Event, 0, len(fresh))
	var newest, repairs uint64
	for _, e := range fresh {
		newest = max(newest, e.Number)
		event := numbered(f.deps.Node, e)
		if f.deps.Recorded(event) {
			continue
		}
		events = append(events, event)
		if event.Type == cluster.EventFirewallRepaired || event.Type == cluster.EventMeshRepaired {
			repairs++
		}
	}
	if len(events) > 0 {
		if err := f.deps.Record(ctx, events); err != nil {
			if errors.Is(err, cluster.ErrInvalid) {
				// The log will never take them. They must not stand in the way of
				// those that follow.
				f.deps.Logger.Error("the cluster refuses what the edge says it repaired", "events", events, "error", err)
			} else {
				return err
			}
		}
	}
	f.update(func() {
		f.repairs += repairs
		if f.report != nil && f.report.PID == of.PID {
			f.seen = max(f.seen, newest)
		}
	})
	return nil
}

// numbered is an event as the log has it.
func numbered(node string, e cluster.EdgeEvent) cluster.Event {
	event := e.Event
	event.Node = node // the edge speaks for nobody else
	event.Message = fmt.Sprintf("%s (event %d of the edge)", event.Message, e.Number)
	return event
}
