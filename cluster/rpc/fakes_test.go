package rpc

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
)

// fakeNode answers whatever a node is asked over the network. A function that
// is not set answers errUnset.
type fakeNode struct {
	propose   func(node string, entry cluster.Entry) (cluster.Result, error)
	issue     func(node string, request IssueTokenRequest) (*IssuedToken, error)
	pass      func(node string, request *JoinRequest) (*Admission, error)
	heartbeat func(ctx context.Context, beat cluster.Heartbeat) (time.Time, error)
	soft      func() (*cluster.LeaderStatus, error)
	probe     func(node string) (bool, error)
	poke      func() error
	refresh   func(revision string) (string, bool, error)
	logs      func(ctx context.Context, request LogsRequest, each func(LogLine) error) error
	segment   func(first uint64, hash [32]byte) ([]byte, error)
	hello     func(ctx context.Context, id string) (*HelloResult, error)
	join      func(request *JoinRequest) (*Admission, error)
	renew     func(node string, public ed25519.PublicKey) ([]byte, error)
	check     func(id string, secret Secret) (time.Time, error)
	recipient func(unit string) (string, error)
	unitKey   func(node, unit string) (*identity.UnitKey, error)
}

var errUnset = errors.New("the test did not expect this call")

var (
	_ PeerLog      = (*fakeNode)(nil)
	_ PeerLiveness = (*fakeNode)(nil)
	_ PeerSync     = (*fakeNode)(nil)
	_ PeerData     = (*fakeNode)(nil)
	_ PeerSecrets  = (*fakeNode)(nil)
	_ JoinServer   = fakeDoor{}
	_ ReadTokens   = (*fakeNode)(nil)
)

// Propose implements PeerLog.
func (f *fakeNode) Propose(_ context.Context, node string, entry cluster.Entry) (cluster.Result, error) {
	if f.propose == nil {
		return cluster.Result{}, errUnset
	}
	return f.propose(node, entry)
}

// IssueToken implements PeerLog.
func (f *fakeNode) IssueToken(_ context.Context, node string, request IssueTokenRequest) (*IssuedToken, error) {
	if f.issue == nil {
		return nil, errUnset
	}
	return f.issue(node, request)
}

// Join implements PeerLog.
func (f *fakeNode) Join(_ context.Context, node string, request *JoinRequest) (*Admission, error) {
	if f.pass == nil {
		return nil, errUnset
	}
	return f.pass(node, request)
}

// Recipient implements PeerSecrets.
func (f *fakeNode) Recipient(_ context.Context, unit string) (string, error) {
	if f.recipient == nil {
		return "", errUnset
	}
	return f.recipient(unit)
}

// UnitKey implements PeerSecrets.
func (f *fakeNode) UnitKey(_ context.Context, node, unit string) (*identity.UnitKey, error) {
	if f.unitKey == nil {
		return nil, errUnset
	}
	return f.unitKey(node, unit)
}

// Heartbeat implements PeerLiveness.
func (f *fakeNode) Heartbeat(ctx context.Context, beat cluster.Heartbeat) (time.Time, error) {
	if f.heartbeat == nil {
		return time.Time{}, errUnset
	}
	return f.heartbeat(ctx, beat)
}

// Soft implements PeerLiveness.
func (f *fakeNode) Soft(context.Context) (*cluster.LeaderStatus, error) {
	if f.soft == nil {
		return nil, errUnset
	}
	return f.soft()
}

// Probe implements PeerLiveness.
func (f *fakeNode) Probe(_ context.Context, node string) (bool, error) {
	if f.probe == nil {
		return false, errUnset
	}
	return f.probe(node)
}

// Poke implements PeerSync.
func (f *fakeNode) Poke(context.Context) error {
	if f.poke == nil {
		return errUnset
	}
	return f.poke()
}

// Refresh implements PeerSync.
func (f *fakeNode) Refresh(_ context.Context, revision string) (string, bool, error) {
	if f.refresh == nil {
		return "", false, errUnset
	}
	return f.refresh(revision)
}

// Logs implements PeerData.
func (f *fakeNode) Logs(ctx context.Context, request LogsRequest, each func(LogLine) error) error {
	if f.logs == nil {
		return errUnset
	}
	return f.logs(ctx, request, each)
}

// Segment implements PeerData.
func (f *fakeNode) Segment(_ context.Context, first uint64, hash [32]byte) ([]byte, error) {
	if f.segment == nil {
		return nil, errUnset
	}
	return f.segment(first, hash)
}

// Check implements ReadTokens.
func (f *fakeNode) Check(_ context.Context, id string, secret Secret) (time.Time, error) {
	if f.check == nil {
		return time.Time{}, errUnset
	}
	return f.check(id, secret)
}

// fakeDoor is a fakeNode as a JoinServer.
type fakeDoor struct{ *fakeNode }

// Hello implements JoinServer.
func (f fakeDoor) Hello(ctx context.Context, id string) (*HelloResult, error) {
	if f.hello == nil {
		return nil, errUnset
	}
	return f.hello(ctx, id)
}

// Join implements JoinServer.
func (f fakeDoor) Join(_ context.Context, request *JoinRequest) (*Admission, error) {
	if f.join == nil {
		return nil, errUnset
	}
	return f.join(request)
}

// Renew implements JoinServer.
func (f fakeDoor) Renew(_ context.Context, node string, public ed25519.PublicKey) ([]byte, error) {
	if f.renew == nil {
		return nil, errUnset
	}
	return f.renew(node, public)
}

// fakeCluster is an authority with the member table of its nodes, and a clock.
type fakeCluster struct {
	id        string
	authority *identity.Authority
	random    io.Reader

	mu    sync.Mutex // guards the fields below
	now   time.Time
	table map[[32]byte]string
}

func newFakeCluster(t *testing.T, id string) *fakeCluster {
	t.Helper()
	c := &fakeCluster{id: id, random: rand.NewChaCha8([32]byte{id[0]}), now: noon, table: map[[32]byte]string{}}
	authority, err := identity.NewAuthority(id, c.now, c.random)
	if err != nil {
		t.Fatal(err)
	}
	c.authority = authority
	return c
}

func (c *fakeCluster) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeCluster) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// member implements identity.MemberCheck.
func (c *fakeCluster) member(hash [32]byte) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, ok := c.table[hash]
	return name, ok
}

func (c *fakeCluster) remove(id *identity.Identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.table, id.KeyHash())
}

// node makes a member.
func (c *fakeCluster) node(t *testing.T, name string) *identity.Identity {
	t.Helper()
	store := identity.NewStore(filepath.Join(t.TempDir(), name), c.clock, c.random)
	id, err := store.Create(c.authority, name)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.table[id.KeyHash()] = name
	return id
}

func (c *fakeCluster) hash(t *testing.T) [32]byte {
	t.Helper()
	hash, err := identity.AuthorityHash(c.authority.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// token makes a token of the cluster.
func (c *fakeCluster) token(t *testing.T, kind cluster.TokenKind, checkpoint [32]byte) Token {
	t.Helper()
	token, err := NewToken(c.random, kind, c.hash(t), checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// fakeServer is a member whose control port is open and served.
type fakeServer struct {
	node     *fakeNode
	member   *fakeMember // what its control service answers
	id       *identity.Identity
	listener *Listener
	log      *syncBuffer

	stop  context.CancelFunc
	ended chan error
}

// serve opens and serves the control port of a member until stop, or the
// end of the test.
func (c *fakeCluster) serve(t *testing.T, id *identity.Identity, address string) *fakeServer {
	t.Helper()
	s := &fakeServer{node: &fakeNode{}, member: newFakeMember(), id: id, log: &syncBuffer{}, ended: make(chan error, 2)}
	logger := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	listener, err := Listen(t.Context(), address, id.ServerConfig(c.member), logger)
	if err != nil {
		t.Fatal(err)
	}
	s.listener = listener
	control := NewServer(nil, nil)
	control.Attach(s.member, s.member, s.member, s.member)
	network := Network{
		Identity: id, Members: c.member, Log: s.node, Liveness: s.node, Sync: s.node, Data: s.node, Secrets: s.node,
		Join: fakeDoor{s.node}, Tokens: s.node, Control: control,
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { s.ended <- listener.Run(ctx) }()
	go func() { s.ended <- ServeNetwork(ctx, listener, network) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		for range 2 {
			if err := receiveFrom(t, s.ended); err != nil {
				t.Errorf("the control port of %s ended with %v", id.Node(), err)
			}
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *fakeServer) address() string { return s.listener.Addr().String() }

// directory is where nodes are, for a Peers.
type directory struct {
	cluster *fakeCluster
	caller  *identity.Identity

	mu    sync.Mutex // guards the field below
	where map[string]string
	asked atomic.Int64
}

func (d *directory) set(node, address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.where[node] = address
}

func (d *directory) dial(node string) (string, *tls.Config, error) {
	d.asked.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	address, found := d.where[node]
	if !found {
		return "", nil, errors.New("no such node")
	}
	return address, d.caller.ClientConfig(node, identity.ProtocolGRPC, d.cluster.member), nil
}

// peers runs the connections of a member until the end of the test.
func (c *fakeCluster) peers(t *testing.T, caller *identity.Identity, servers ...*fakeServer) (*Peers, *directory) {
	t.Helper()
	d := &directory{cluster: c, caller: caller, where: map[string]string{}}
	for _, s := range servers {
		d.set(s.id.Node(), s.address())
	}
	p := NewPeers(d.dial, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := receiveFrom(t, ended); err != nil {
			t.Errorf("Run of the peers: %v", err)
		}
	})
	return p, d
}
