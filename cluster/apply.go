package cluster

import (
	"fmt"
	"time"

	"github.com/hashicorp/go-memdb"
)

// tx is the application of one entry: a write transaction, the entry's index,
// the time that it names and its applied time, which never runs back.
type tx struct {
	*memdb.Txn
	objects ObjectStore
	index   uint64

	proposed time.Time
	now      time.Time
	changed  bool // more than the audit log
}

// apply carries out a command. It returns a refusal, or an error that Stops;
// in both cases the caller drops the transaction.
func (t *tx) apply(e Entry) error {
	if e.Time.IsZero() || e.Actor.Kind == "" || e.Actor.Name == "" {
		return fmt.Errorf("%w: an entry needs a time and an actor", ErrInvalid)
	}
	switch c := e.Command.(type) {
	case *InitCluster:
		return t.initCluster(c)
	case *UpdateNode:
		return t.updateNode(c)
	case *PutObjects:
		return t.putObjects(c)
	case *AdvanceRevision:
		return t.advanceRevision(c)
	case *RecordRefusal:
		return t.recordRefusal(c)
	case *SetSync:
		return t.setSync(c)
	case *ApplyPlan:
		return t.applyPlan(c)
	case *ReportReplicas:
		return t.reportReplicas(c)
	case *RecordEvents:
		return t.recordEvents(c)
	case *PutSealed:
		return t.putSealed(c)
	case *PutToken:
		return t.putToken(c)
	case *AdmitNode:
		return t.admitNode(c)
	case *RemoveNode:
		return t.removeNode(c)
	case *ReportMesh:
		return t.reportMesh(c)
	}
	return fmt.Errorf("%w: %T", ErrUnknownCommand, e.Command)
}

// recordEvents checks events; that they stand in the audit log is all that
// they do.
func (t *tx) recordEvents(c *RecordEvents) error {
	if err := t.initialized(); err != nil {
		return err
	}
	if len(c.Events) == 0 {
		return fmt.Errorf("%w: no events", ErrInvalid)
	}
	for _, e := range c.Events {
		if e.Type == "" {
			return fmt.Errorf("%w: an event needs a type", ErrInvalid)
		}
	}
	return nil
}

// record appends the audit entry of a command that was applied or refused,
// seals a segment when it is time, and moves the position.
func (t *tx) record(e Entry, received []byte, refusal error, store AuditStore) error {
	p := readPosition(t.Txn)
	if put, ok := e.Command.(*PutObjects); ok {
		stripped := Entry{Time: e.Time, Actor: e.Actor, Command: put.digests()}
		var err error
		if received, err = Encode(stripped); err != nil {
			return fmt.Errorf("%w: audit entry: %w", ErrStorage, err)
		}
	}
	entry := AuditEntry{
		Number: p.Audit.Number + 1, Index: t.index, Time: t.now, Received: received, Previous: p.Audit.Hash,
	}
	if refusal != nil {
		entry.Outcome = refusal.Error()
	}
	entry.Hash = entry.sum()
	if err := auditEntries().put(t.Txn, entry); err != nil {
		return err
	}
	if err := t.seal(entry.Number, store); err != nil {
		return err
	}
	return positions().put(t.Txn, position{
		Index: t.index, Time: t.now, Audit: AuditHead{Number: entry.Number, Hash: entry.Hash},
	})
}
