// Command forger is a leader that lies, for the suite forged-leader. It takes
// over the data directory of a stopped node with all that an intruder finds
// there, its certificate and its log, speaks raft to the other nodes as jacod
// does, and seizes the leadership. Then it puts into the log what it is told to
// on standard input, one JSON request a line, and answers each with one line.
// It ends when its input does.
//
// To members it is worse than a leader that does not answer: it takes their
// reports, says that they are in the log, and drops them.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

func main() {
	data := flag.String("data", "", "the data directory of a stopped node")
	listen := flag.String("listen", "", "host:port of its control port, as the others know it")
	scratch := flag.String("scratch", "", "where snapshots are kept, so that none of them is left to the node")
	flag.Parse()
	if err := run(context.Background(), *data, *listen, *scratch); err != nil {
		fmt.Fprintln(os.Stderr, "forger:", err)
		os.Exit(1)
	}
}

// forger is the node that was taken over.
type forger struct {
	identity *identity.Identity
	objects  *cluster.DiskObjects
	state    *cluster.State
	history  *history
	raft     *leader
	// saved are the members as jacod saved them: its state is empty until
	// somebody leads.
	saved []rpc.MemberKey
}

func run(ctx context.Context, data, listen, scratch string) error {
	f, err := open(data)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	control, err := rpc.Listen(ctx, listen, f.identity.ServerConfig(f.member), logger)
	if err != nil {
		return err
	}
	f.raft, err = openRaft(filepath.Join(data, "raft"), scratch, listen, f, control.Raft())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return control.Run(ctx) })
	group.Go(func() error { return f.serve(ctx, control) })
	group.Go(func() error {
		defer cancel()
		return errors.Join(f.obey(ctx), f.raft.close())
	})
	return errors.Join(group.Wait(), f.objects.Close())
}

// open takes the node's keys and stores.
func open(data string) (*forger, error) {
	f := &forger{history: &history{entries: map[uint64][]byte{}}}
	var err error
	if f.identity, err = identity.NewStore(filepath.Join(data, "identity"), time.Now, rand.Reader).Load(); err != nil {
		return nil, err
	}
	file, err := os.ReadFile(filepath.Join(data, "member.json"))
	if err != nil {
		return nil, err
	}
	var saved struct{ Peers []rpc.MemberKey }
	if err := json.Unmarshal(file, &saved); err != nil {
		return nil, err
	}
	f.saved = saved.Peers
	audit, err := cluster.OpenAudit(filepath.Join(data, "audit"))
	if err != nil {
		return nil, err
	}
	if f.objects, err = cluster.OpenObjects(filepath.Join(data, "objects.db")); err != nil {
		return nil, err
	}
	f.state, err = cluster.NewState(f.objects, audit)
	return f, err
}

// member looks a key up among the members, as jacod does.
func (f *forger) member(key [32]byte) (string, bool) {
	for _, peer := range f.members() {
		if peer.Key == key {
			return peer.Name, true
		}
	}
	return "", false
}

func (f *forger) members() []rpc.MemberKey {
	nodes := f.state.Read().Nodes()
	if len(nodes) == 0 {
		return f.saved
	}
	members := make([]rpc.MemberKey, len(nodes))
	for i, node := range nodes {
		members[i] = rpc.MemberKey{Name: node.Name, Address: node.Address, Key: node.CertificateKey}
	}
	return members
}

// answer is one line of the output.
type answer struct {
	Index uint64 `json:"index"` // that the request brought
	// Claim is the number of the claim, Replicas the ids of what was assigned.
	Claim    uint64   `json:"claim,omitempty"`
	Replicas []string `json:"replicas,omitempty"`
	// Refused is what the state said, on this node as on every other.
	Refused string `json:"refused,omitempty"`
	Error   string `json:"error,omitempty"`
}

// obey carries out requests until the input ends.
func (f *forger) obey(ctx context.Context) error {
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var r request
		var a answer
		err := json.Unmarshal(lines.Bytes(), &r)
		if err == nil {
			a, err = f.forge(ctx, r)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return lines.Err()
}
