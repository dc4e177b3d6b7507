package consensus

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// Server is a node that takes part in consensus.
type Server struct {
	// Name is the node's name and Address its control port.
	Name    string
	Address string
	// Voter says that it counts in elections and commits. The others receive
	// the log like everybody else.
	Voter bool
}

// members is the membership as last applied, and the index of its entry, which
// a change must name.
type members struct {
	mu            sync.Mutex // guards the fields below
	index         uint64
	configuration raft.Configuration
}

func (m *members) set(index uint64, configuration raft.Configuration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index, m.configuration = index, configuration.Clone()
}

func (m *members) get() (uint64, []Server) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index, servers(m.configuration)
}

// voters counts those that vote.
func (m *members) voters() int {
	_, present := m.get()
	return countVoters(present)
}

// servers returns the configuration in this package's words, sorted by name.
func servers(configuration raft.Configuration) []Server {
	out := make([]Server, 0, len(configuration.Servers))
	for _, s := range configuration.Servers {
		out = append(out, Server{Name: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	slices.SortFunc(out, func(a, b Server) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func countVoters(present []Server) int {
	count := 0
	for _, s := range present {
		if s.Voter {
			count++
		}
	}
	return count
}

// find returns the server of that name.
func find(present []Server, name string) (Server, bool) {
	for _, s := range present {
		if s.Name == name {
			return s, true
		}
	}
	return Server{}, false
}

// Servers returns the present membership sorted by name, a change that is
// under way included; nil while Run is not running or has not learned it yet.
func (c *Consensus) Servers() []Server {
	r, err := c.node()
	if err != nil {
		return nil
	}
	if present := servers(r.GetConfiguration().Configuration()); len(present) > 0 {
		return present
	}
	return nil
}

// alteration puts one change of membership into the log, unless the membership
// is no longer that of the entry at index.
type alteration func(r *raft.Raft, index uint64) raft.Future

// AddNonvoter adds a node that receives the log and does not vote. For a
// server that is there already, voter or not, it changes the address.
//
// It and the other changes are for the leader, and return when the change is
// committed; what is so already is no error. Of changes at the same time one
// is made and the others return ErrMembershipChanged. They also return the
// errors of Propose.
func (c *Consensus) AddNonvoter(ctx context.Context, name, address string) error {
	err := c.change(ctx, func(present []Server) (alteration, error) {
		if s, found := find(present, name); found && s.Address == address {
			return nil, nil
		}
		return func(r *raft.Raft, index uint64) raft.Future {
			return r.AddNonvoter(raft.ServerID(name), raft.ServerAddress(address), index, c.cfg.ApplyTimeout)
		}, nil
	})
	if err != nil {
		return fmt.Errorf("add server %s at %s: %w", name, address, err)
	}
	return nil
}

// Promote gives a server a vote. It returns ErrUnknownServer for one that was
// not added.
func (c *Consensus) Promote(ctx context.Context, name string) error {
	err := c.change(ctx, func(present []Server) (alteration, error) {
		s, found := find(present, name)
		switch {
		case !found:
			return nil, ErrUnknownServer
		case s.Voter:
			return nil, nil
		}
		return func(r *raft.Raft, index uint64) raft.Future {
			return r.AddVoter(raft.ServerID(name), raft.ServerAddress(s.Address), index, c.cfg.ApplyTimeout)
		}, nil
	})
	if err != nil {
		return fmt.Errorf("promote server %s: %w", name, err)
	}
	return nil
}

// Demote takes a server's vote. It returns ErrLastVoter for the only voter and
// ErrLeads for the leader.
func (c *Consensus) Demote(ctx context.Context, name string) error {
	err := c.change(ctx, func(present []Server) (alteration, error) {
		if s, _ := find(present, name); !s.Voter {
			return nil, nil
		}
		if err := c.mayLoseVote(present, name); err != nil {
			return nil, err
		}
		return func(r *raft.Raft, index uint64) raft.Future {
			return r.DemoteVoter(raft.ServerID(name), index, c.cfg.ApplyTimeout)
		}, nil
	})
	if err != nil {
		return fmt.Errorf("demote server %s: %w", name, err)
	}
	return nil
}

// Remove takes a server out of the membership. It returns ErrLastVoter for the
// only voter and ErrLeads for the leader.
func (c *Consensus) Remove(ctx context.Context, name string) error {
	err := c.change(ctx, func(present []Server) (alteration, error) {
		s, found := find(present, name)
		if !found {
			return nil, nil
		}
		if s.Voter {
			if err := c.mayLoseVote(present, name); err != nil {
				return nil, err
			}
		}
		return func(r *raft.Raft, index uint64) raft.Future {
			return r.RemoveServer(raft.ServerID(name), index, c.cfg.ApplyTimeout)
		}, nil
	})
	if err != nil {
		return fmt.Errorf("remove server %s: %w", name, err)
	}
	return nil
}

func (c *Consensus) mayLoseVote(present []Server, name string) error {
	switch {
	case countVoters(present) == 1:
		return ErrLastVoter
	case name == c.cfg.Node: // changes are made by the leader
		return ErrLeads
	}
	return nil
}

// change makes the alteration that decide returns for the present membership;
// nil is none. It begins only when the disk has room: see changeFuture.
func (c *Consensus) change(ctx context.Context, decide func([]Server) (alteration, error)) error {
	r, err := c.node()
	if err != nil {
		return err
	}
	if r.State() != raft.Leader {
		return notLeader(r)
	}
	index, present := c.fsm.members.get()
	if index == 0 {
		return fmt.Errorf("%w: it is not known yet", ErrMembershipChanged)
	}
	alter, err := decide(present)
	if err != nil || alter == nil {
		return err
	}
	_, err = c.await(ctx, func(r *raft.Raft) raft.Future {
		if err := c.guard.probe(probeSize); err != nil {
			return failedFuture{fmt.Errorf("%w: %w", ErrDisk, explain(c.cfg.Dir, err))}
		}
		return changeFuture{alter(r, index), c}
	})
	return err
}

// failedFuture is an operation that was not begun.
type failedFuture struct{ err error }

// Error implements raft.Future.
func (f failedFuture) Error() error { return f.err }

// changeFuture is a change of membership under way. Raft puts it into force
// before it is written, and keeps it in memory when the disk then refuses the
// entry. Nobody else knows of it, and the next change would carry it along, two
// at a time, which is not safe. Only a new start forgets it, so that is what
// the daemon is asked for by the end of Run.
type changeFuture struct {
	raft.Future
	consensus *Consensus
}

// Error implements raft.Future.
func (f changeFuture) Error() error {
	err := f.Future.Error()
	if refusedByDisk(err) {
		f.consensus.faults.fatal(fmt.Errorf("%w: a change of membership is half made; jacod must start again: %w",
			ErrDisk, f.consensus.faults.lastOfLog(err)))
	}
	return err
}

// Make makes a change that NextChange has decided on.
func (c *Consensus) Make(ctx context.Context, change Change) error {
	switch change.Kind {
	case ChangeAdd:
		return c.AddNonvoter(ctx, change.Node, change.Address)
	case ChangePromote:
		return c.Promote(ctx, change.Node)
	case ChangeDemote:
		return c.Demote(ctx, change.Node)
	case ChangeRemove:
		return c.Remove(ctx, change.Node)
	case ChangeTransfer:
		return c.LeadershipTransferTo(ctx, change.Node)
	}
	return fmt.Errorf("unknown change of membership %q", change.Kind)
}
