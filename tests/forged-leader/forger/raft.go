package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

const (
	// patience is how long this node leads without hearing from anybody: it
	// gives nothing up by itself. It needs no short timers to win, see seize.
	patience = 3 * time.Second
	// seizeEvery is how often it stands for election until it leads.
	seizeEvery = 250 * time.Millisecond
	// applyTimeout bounds one entry.
	applyTimeout = 10 * time.Second
)

// leader is this node's raft.
type leader struct {
	raft      *raft.Raft
	store     *raftboltdb.BoltStore
	transport *transport
}

func openRaft(dir, scratch, address string, f *forger, listener net.Listener) (*leader, error) {
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(f.identity.Node())
	config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = patience, patience, patience
	config.CommitTimeout = 10 * time.Millisecond
	// A snapshot leaves nothing of the log: who lags must take it.
	config.TrailingLogs = 0
	config.LogLevel = "INFO"
	store, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db")})
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	snapshots, err := raft.NewFileSnapshotStore(scratch, 1, os.Stderr)
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	network := raft.NewNetworkTransport(&layer{listener, address, rpc.Dialer(f.dialConfig)}, 3, 5*time.Second, os.Stderr)
	l := &leader{store: store, transport: newTransport(network)}
	l.raft, err = raft.NewRaft(config, &fsm{f.state, f.history}, store, store, snapshots, l.transport)
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	return l, nil
}

func (l *leader) close() error {
	// Raft closes its transport.
	err := errors.Join(l.raft.Shutdown().Error(), l.store.Close())
	if err != nil {
		return fmt.Errorf("stop raft: %w", err)
	}
	return nil
}

// seize makes this node the leader. Voters refuse a candidate as long as they
// hear a leader, unless that leader handed its office over: so this node tells
// itself that it did.
func (l *leader) seize(ctx context.Context) error {
	tick := time.NewTicker(seizeEvery)
	defer tick.Stop()
	for l.raft.State() != raft.Leader {
		if leader, _ := l.raft.LeaderWithID(); leader != "" || l.raft.State() == raft.Follower {
			l.transport.inject(&raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	// What earlier terms left is applied.
	if err := l.raft.Barrier(applyTimeout).Error(); err != nil {
		return fmt.Errorf("wait for the log: %w", err)
	}
	return nil
}

// put puts an entry into the log and waits until it was applied.
func (l *leader) put(ctx context.Context, entry cluster.Entry) (cluster.Result, error) {
	data, err := cluster.Encode(entry)
	if err != nil {
		return cluster.Result{}, err
	}
	if err := l.seize(ctx); err != nil {
		return cluster.Result{}, err
	}
	future := l.raft.Apply(data, applyTimeout)
	if err := future.Error(); err != nil {
		return cluster.Result{}, fmt.Errorf("put %s into the log: %w", entry.Command.Kind(), err)
	}
	result, ok := future.Response().(cluster.Result)
	if !ok {
		return result, fmt.Errorf("unexpected answer %T", future.Response())
	}
	return result, nil
}

// fsm applies the log as jacod does, and keeps what it applied. What it saves
// instead of its state is up to the forgery.
type fsm struct {
	state   *cluster.State
	history *history
}

// Apply implements raft.FSM.
func (f *fsm) Apply(entry *raft.Log) any {
	f.history.keep(entry.Index, entry.Data)
	return f.state.Apply(entry.Index, entry.Data)
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	forged := f.history.instead()
	if forged == nil {
		return nil, errors.New("nothing was forged")
	}
	return bytesSnapshot(forged), nil
}

// Restore implements raft.FSM.
func (f *fsm) Restore(source io.ReadCloser) error {
	defer source.Close()
	return f.state.Load(source)
}

// bytesSnapshot is a snapshot that is there already.
type bytesSnapshot []byte

// Persist implements raft.FSMSnapshot.
func (b bytesSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(b); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (bytesSnapshot) Release() {}

// dialConfig is how this node proves itself to a member.
func (f *forger) dialConfig(address string) (*tls.Config, error) {
	for _, node := range f.members() {
		if node.Address == address {
			return f.identity.ClientConfig(node.Name, identity.ProtocolRaft, f.member), nil
		}
	}
	return nil, fmt.Errorf("no member has the address %s", address)
}

// layer is raft's way to the other nodes: the control port with their
// certificates.
type layer struct {
	net.Listener
	address string
	dial    func(ctx context.Context, address string) (net.Conn, error)
}

// Dial implements raft.StreamLayer.
func (l *layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return l.dial(ctx, string(address))
}

// Addr implements net.Listener.
func (l *layer) Addr() net.Addr { return advertised(l.address) }

// advertised is an address as the other nodes know it.
type advertised string

// Network implements net.Addr.
func (advertised) Network() string { return "tcp" }

// String implements net.Addr.
func (a advertised) String() string { return string(a) }

// transport lets this node send messages to itself.
type transport struct {
	*raft.NetworkTransport
	rpcs chan raft.RPC
	done chan struct{}
}

func newTransport(network *raft.NetworkTransport) *transport {
	t := &transport{network, make(chan raft.RPC), make(chan struct{})}
	go func() { // ended by Close
		for {
			select {
			case call := <-network.Consumer():
				t.deliver(call)
			case <-t.done:
				return
			}
		}
	}()
	return t
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// Close implements raft.WithClose.
func (t *transport) Close() error {
	close(t.done)
	return t.NetworkTransport.Close()
}

func (t *transport) deliver(call raft.RPC) {
	select {
	case t.rpcs <- call:
	case <-t.done:
	}
}

// inject delivers a message as if another node had sent it.
func (t *transport) inject(command any) {
	answers := make(chan raft.RPCResponse, 1)
	t.deliver(raft.RPC{Command: command, RespChan: answers})
	<-answers
}
