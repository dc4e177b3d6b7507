package consensus

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// gate stands between raft and the network on a node whose disk may refuse
// writes. It says no where raft would go too far to turn back:
//
//   - Nothing that raises the term comes in unless the disk takes a few bytes:
//     raft would stop until it can write the term, and answer nobody.
//   - While something does not work, this node asks nobody for votes and
//     accepts no leadership: it would lose it at the next entry.
//   - A leader whose state or log is stuck falls silent, and the voters elect
//     another. Raft's heartbeats come from goroutines of their own, which would
//     go on for ever while everything else stands still.
//
// With a single voter there is nobody else to go to, and the gate is open.
type gate struct {
	*raft.NetworkTransport
	guard   *guard
	faults  *faults
	members *members
	hangs   time.Duration // how long an entry may take to be stored
	leads   func(term uint64) (commit uint64, leads bool)
	open    *pipelines

	rpcs   chan raft.RPC
	closed chan struct{}
	once   sync.Once
	pump   sync.WaitGroup
}

var (
	_ raft.Transport   = (*gate)(nil)
	_ raft.WithPreVote = (*gate)(nil)
	_ raft.WithClose   = (*gate)(nil)
)

// hangsAfter is gate.hangs: as long as other nodes wait for an answer.
const hangsAfter = transportTimeout

// errStuck is what another node is told when raft does not take what it sent.
var errStuck = errors.New("busy with its disk")

// newGate puts a gate before transport; Close ends both.
func newGate(transport *raft.NetworkTransport, guard *guard, c *Consensus) *gate {
	g := &gate{
		NetworkTransport: transport, guard: guard, faults: c.faults, members: c.fsm.members, hangs: c.hangs,
		leads: c.leads, open: c.fsm.pipelines,
		rpcs: make(chan raft.RPC), closed: make(chan struct{}),
	}
	g.pump.Go(g.forward)
	return g
}

// Close implements raft.WithClose.
func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	err := g.NetworkTransport.Close()
	g.pump.Wait()
	return err
}

// Consumer implements raft.Transport.
func (g *gate) Consumer() <-chan raft.RPC { return g.rpcs }

// SetHeartbeatHandler implements raft.Transport.
func (g *gate) SetHeartbeatHandler(handle func(raft.RPC)) {
	g.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		if err := g.admit(rpc); err != nil {
			rpc.Respond(nil, err)
			return
		}
		handle(rpc)
	})
}

// forward passes on what comes in. What raft does not take in time is refused:
// its sender has given up, and would otherwise leave one more connection
// behind at each attempt.
func (g *gate) forward() {
	for {
		select {
		case rpc := <-g.NetworkTransport.Consumer():
			err := g.admit(rpc)
			if err == nil {
				err = g.deliver(rpc)
			}
			if err != nil {
				g.pump.Go(func() { refuse(rpc, err) })
			}
		case <-g.closed:
			return
		}
	}
}

// refuse answers with err. It first reads the snapshot that may follow, behind
// which the connection goes on; closing the gate ends that.
func refuse(rpc raft.RPC, err error) {
	if rpc.Reader != nil {
		if _, failed := io.Copy(io.Discard, rpc.Reader); failed != nil {
			err = errors.Join(err, failed)
		}
	}
	rpc.Respond(nil, err)
}

func (g *gate) deliver(rpc raft.RPC) error {
	timer := time.NewTimer(transportTimeout)
	defer timer.Stop()
	select {
	case g.rpcs <- rpc:
		return nil
	case <-timer.C:
		return errStuck
	case <-g.closed:
		return raft.ErrTransportShutdown
	}
}

// admit decides what comes in.
func (g *gate) admit(rpc raft.RPC) error {
	var term uint64
	switch command := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		term = command.Term
	case *raft.RequestVoteRequest:
		term = command.Term
	case *raft.InstallSnapshotRequest:
		term = command.Term
	case *raft.TimeoutNowRequest:
		return g.mayStand()
	}
	if term <= g.guard.term.Load() {
		return nil
	}
	if err := g.guard.ready(); err != nil {
		return fmt.Errorf("cannot follow into term %d: %w", term, err)
	}
	return nil
}

// mayStand returns why this node must not become leader.
func (g *gate) mayStand() error {
	if err := g.faults.current(); err != nil {
		return fmt.Errorf("cannot lead: %w", err)
	}
	if err := g.guard.ready(); err != nil {
		return fmt.Errorf("cannot lead: %w", err)
	}
	return nil
}

// silent returns why this node must not act as leader any more.
func (g *gate) silent() error {
	failing, hanging := g.faults.lasting(retryEvery), g.guard.hangs(g.hangs)
	switch {
	case !failing && !hanging, g.members.voters() < 2:
		return nil
	case failing:
		return fmt.Errorf("no longer leading: %w", errors.Join(ErrDisk, g.faults.current()))
	}
	return fmt.Errorf("no longer leading: %w: an entry has not been stored for %v", ErrDisk, g.hangs)
}

// RequestPreVote implements raft.WithPreVote.
func (g *gate) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if err := g.mayStand(); err != nil {
		return err
	}
	return g.NetworkTransport.RequestPreVote(id, target, args, resp)
}

// AppendEntries implements raft.Transport.
func (g *gate) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if err := g.silent(); err != nil {
		return err
	}
	return g.NetworkTransport.AppendEntries(id, target, args, resp)
}

// AppendEntriesPipeline implements raft.Transport.
func (g *gate) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	if err := g.silent(); err != nil {
		return nil, err
	}
	pipeline, err := g.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := newGatedPipeline(pipeline, g, func(args *raft.AppendEntriesRequest) error {
		return g.NetworkTransport.AppendEntries(id, target, args, new(raft.AppendEntriesResponse))
	}, time.Now)
	g.pump.Go(func() { g.open.follow(p, g.closed) })
	return p, nil
}

// InstallSnapshot implements raft.Transport.
func (g *gate) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if err := g.silent(); err != nil {
		return err
	}
	return g.NetworkTransport.InstallSnapshot(id, target, args, resp, data)
}
