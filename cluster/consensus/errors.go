package consensus

import (
	"errors"
	"fmt"
	"strings"

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
	// ErrDisk is returned when this node's disk refused the entry. It is not in
	// the log; where there are several voters, another one takes over and may
	// be asked.
	ErrDisk = errors.New("the disk refuses writes")
	// ErrMembershipChanged is returned when another change of membership came
	// first. Look at Servers and decide again.
	ErrMembershipChanged = errors.New("the membership has changed in between")
	// ErrUnknownServer is returned for a node that takes no part in consensus.
	ErrUnknownServer = errors.New("no such server: add the node first")
	// ErrNotVoter is returned when the leadership is to go to a node that does
	// not vote.
	ErrNotVoter = errors.New("not a voter: promote the node first")
	// ErrLastVoter is returned when the only voter is to lose its vote.
	ErrLastVoter = errors.New("the only voter: promote another node first")
	// ErrLeads is returned when the leader is to lose its vote.
	ErrLeads = errors.New("the node leads: transfer the leadership first")
	// ErrNotTransferred is returned when the leadership stayed where it was.
	ErrNotTransferred = errors.New("the leadership was not handed over")
	// ErrNoState is returned by Run when the directory holds no log and
	// Config.Join is not set: this node was never initialized.
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
	case errors.Is(err, ErrDisk):
		return err
	case refusedByDisk(err):
		return fmt.Errorf("%w: %w", ErrDisk, c.faults.lastOfLog(err))
	case strings.HasPrefix(err.Error(), "configuration changed since "): // raft has no value for it
		return fmt.Errorf("%w: %w", ErrMembershipChanged, err)
	}
	if fault := c.faults.current(); fault != nil {
		return fault
	}
	return explain(c.cfg.Dir, err)
}

// refusedByDisk reports whether the log did not take an entry. Raft's log cache
// hands on the text of the guard's error, not the error.
func refusedByDisk(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "unable to store logs within log store")
}

// notLeader says who leads instead.
func notLeader(r *raft.Raft) error {
	address, name := r.LeaderWithID()
	if r.State() == raft.Leader {
		address, name = "", "" // this node is on its way out
	}
	return &NotLeaderError{Leader: string(name), Address: string(address)}
}
