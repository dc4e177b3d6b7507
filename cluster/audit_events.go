package cluster

import (
	"iter"
	"slices"
	"time"
)

// RecordedEvent is an event with the audit entry that holds it.
type RecordedEvent struct {
	Event

	Number uint64    // of the audit entry
	Index  uint64    // its raft index
	Time   time.Time // applied time
}

// Events walks the events of the audit entries after a number, oldest first or
// newest first. It yields an error and ends when a segment is missing or does
// not match its hash.
func (s *Snapshot) Events(after uint64, newestFirst bool) iter.Seq2[RecordedEvent, error] {
	entries := s.auditBackward
	if !newestFirst {
		entries = func(yield func(AuditEntry, error) bool) { s.auditForward(after, yield) }
	}
	return func(yield func(RecordedEvent, error) bool) {
		for e, err := range entries {
			if err != nil {
				yield(RecordedEvent{}, err)
				return
			}
			if e.Number <= after {
				return // on the way back; forward there is none
			}
			events := eventsOf(&e)
			if newestFirst {
				slices.Reverse(events)
			}
			for _, event := range events {
				if !yield(RecordedEvent{Event: event, Number: e.Number, Index: e.Index, Time: e.Time}, nil) {
					return
				}
			}
		}
	}
}

// eventsOf returns the events that an entry recorded; none when it was refused,
// or is of another kind.
func eventsOf(e *AuditEntry) []Event {
	if e.Outcome != "" {
		return nil
	}
	entry, err := decodeAudited(e.Received)
	if err != nil {
		return nil
	}
	if c, ok := entry.Command.(*RecordEvents); ok {
		return c.Events
	}
	return nil
}
