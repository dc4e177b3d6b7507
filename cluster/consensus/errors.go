package consensus

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

var (
	// ErrNotLeader is what a NotLeaderError is, for errors.Is.
	ErrNotLeader = errors.New("not the leader")
	// ErrUncertain is returned when it is not known whether a command will be
	// applied: leadership was lost, or the caller's context ended, while it
	// was under way. Look at the state before proposing it again.
	ErrUncertain = errors.New("outcome unknown")
	// ErrBusy is returned when a command found no place in the log in time. It
	// will not be applied.
	ErrBusy = errors.New("the log is busy")
	// ErrNotRunning is returned before Run has opened the log and after it
	// began to shut down.
	ErrNotRunning = errors.New("consensus is not running")
	// ErrHalted is returned when this node stopped applying the log.
	ErrHalted = errors.New("stopped applying the log")
	// ErrNoState is returned by Run when the directory holds no log: this node
	// was never initialized.
	ErrNoState = errors.New("no raft log: run jaco bootstrap init or jaco bootstrap join")
	// ErrBootstrapped is returned by Bootstrap when there is a log already.
	ErrBootstrapped = errors.New("there is a raft log already")
	// ErrDamaged is returned when the log or all snapshots cannot be read.
	ErrDamaged = errors.New("the raft log is damaged")
	// ErrTermEnded is the cause (context.Cause) of the end of the context that
	// WhileLeader passes on, when the leadership ended.
	ErrTermEnded = errors.New("leadership ended")
)

// NotLeaderError is returned when only the leader can do what was asked.
type NotLeaderError struct {
	// Leader is the leader's name and Address its control port; both are
	// empty when none is known.
	Leader  string
	Address string
}

// Error implements error.
func (e *NotLeaderError) Error() string {
	if e.Leader == "" {
		return "not the leader, and none is known: the cluster has no majority, or an election is under way"
	}
	return fmt.Sprintf("not the leader: that is %s at %s", e.Leader, e.Address)
}

// Is makes errors.Is(err, ErrNotLeader) true.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// translate turns raft's answer to a proposal into this package's errors.
func (c *Consensus) translate(r *raft.Raft, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return notLeader(r)
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore):
		return fmt.Errorf("%w: %w: %w", ErrUncertain, ErrNotLeader, err)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: no place within %v", ErrBusy, c.cfg.ApplyTimeout)
	case errors.Is(err, raft.ErrRaftShutdown):
		return ErrNotRunning
	}
	if fault := c.faults.current(); fault != nil {
		return fault // raft's log cache hands the text on, not the error
	}
	return explain(c.cfg.Dir, err)
}

// notLeader says who leads instead.
func notLeader(r *raft.Raft) error {
	address, name := r.LeaderWithID()
	if r.State() == raft.Leader {
		address, name = "", "" // this node is on its way out
	}
	return &NotLeaderError{Leader: string(name), Address: string(address)}
}
