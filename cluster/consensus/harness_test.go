package consensus

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
)

// patience bounds every wait of a test; none of them takes nearly as long on
// a machine that is not overloaded.
const patience = 30 * time.Second

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// memory is a State that keeps the messages of applied events.
type memory struct {
	mu      sync.Mutex
	content struct {
		Index uint64
		Lines []string
	}
	ballast []byte // what the message "ballast" leaves: ballastSize bytes
	loads   int
	changed chan struct{}
	// apply, when set, may return what Apply is to return instead.
	apply func(index uint64, message string) error
	load  func() error // likewise for Load
}

// ballastSize makes a state that takes a while to send.
const ballastSize = 50 << 20

func newMemory() *memory { return &memory{changed: make(chan struct{})} }

func (m *memory) Apply(index uint64, data []byte) cluster.Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	if index <= m.content.Index {
		return cluster.Result{Index: index}
	}
	entry, err := cluster.Decode(data)
	if err != nil {
		return cluster.Result{Index: index, Err: err}
	}
	message := entry.Command.(*cluster.RecordEvents).Events[0].Message
	if m.apply != nil {
		if err := m.apply(index, message); err != nil {
			return cluster.Result{Index: index, Err: err}
		}
	}
	if message == "ballast" {
		m.ballast = make([]byte, ballastSize)
		random := rand.NewChaCha8([32]byte{byte(index)})
		_, _ = random.Read(m.ballast) // never fails
	}
	m.content.Index = index
	m.content.Lines = append(m.content.Lines, fmt.Sprintf("%s %s/%s %s",
		entry.Time.Format(time.TimeOnly), entry.Actor.Kind, entry.Actor.Name, message))
	m.notifyLocked()
	return cluster.Result{Index: index, Changed: true}
}

func (m *memory) notifyLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) Save(w io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := json.NewEncoder(w).Encode(m.content); err != nil {
		return err
	}
	_, err := w.Write(m.ballast)
	return err
}

func (m *memory) Load(r io.Reader) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.load != nil {
		if err := m.load(); err != nil {
			return err
		}
	}
	m.loads++
	m.content.Lines = nil
	buffered := bufio.NewReader(r)
	line, err := buffered.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &m.content)
	}
	if err == nil {
		m.ballast, err = io.ReadAll(buffered)
	}
	m.notifyLocked()
	return err
}

// messages returns the applied messages without time and actor.
func (m *memory) messages() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, line := range m.content.Lines {
		out = append(out, line[strings.LastIndex(line, " ")+1:])
	}
	return strings.Join(out, " ")
}

// waitFor waits until the applied messages are want.
func (m *memory) waitFor(t testing.TB, want string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		if m.messages() == want {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("applied %q, want %q", m.messages(), want)
		}
	}
}

// testNode is one node of a test cluster: its directory and identity outlive
// its runs.
type testNode struct {
	name    string
	address string
	dir     string
	rig     *rig
	id      *identity.Identity
	join    bool // Config.Join of the runs to come

	*Consensus // of the present run
	state      *memory
	disk       *moodyDisk // below its log
	cancel     context.CancelFunc
	ended      chan error

	mu       sync.Mutex
	isolated bool
	conns    map[net.Conn]struct{}
}

// rig is a cluster over real TLS on loopback, in which nodes can be cut off.
type rig struct {
	t     testing.TB
	ctx   context.Context
	nodes []*testNode
	// hangs is Consensus.hangs and logger Config.Logger of the runs to come, when
	// set.
	hangs  time.Duration
	logger *slog.Logger
	// commitTimeout is Config.CommitTimeout of the runs to come, when set.
	commitTimeout time.Duration
}

func newRig(t testing.TB, size int) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*patience)
	t.Cleanup(cancel)
	r := &rig{t: t, ctx: ctx}
	random := rand.NewChaCha8([32]byte{})
	authority, err := identity.NewAuthority("0123456789abcdef", epoch, random)
	if err != nil {
		t.Fatal(err)
	}
	for i := range size {
		n := &testNode{name: fmt.Sprintf("node-%d", i+1), dir: t.TempDir(), rig: r, conns: map[net.Conn]struct{}{}}
		store := identity.NewStore(filepath.Join(n.dir, "identity"), func() time.Time { return epoch }, random)
		if n.id, err = store.Create(authority, n.name); err != nil {
			t.Fatal(err)
		}
		n.move()
		r.nodes = append(r.nodes, n)
	}
	t.Cleanup(func() {
		for _, n := range r.nodes {
			n.stop()
		}
	})
	return r
}

// move gives the node, which is not running, another address.
func (n *testNode) move() {
	n.rig.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.rig.t.Fatal(err)
	}
	n.address = l.Addr().String()
	l.Close()
}

// bootstrap begins the log on every node and runs all.
func (r *rig) bootstrap() {
	r.t.Helper()
	var voters []raft.Server
	for _, n := range r.nodes {
		voters = append(voters, raft.Server{ID: raft.ServerID(n.name), Address: raft.ServerAddress(n.address)})
	}
	for _, n := range r.nodes {
		n.open()
		if err := n.bootstrap(voters...); err != nil {
			r.t.Fatal(err)
		}
		n.run()
	}
}

// leader waits until one of the given nodes leads and returns it.
func (r *rig) leader(among ...*testNode) *testNode {
	r.t.Helper()
	if len(among) == 0 {
		among = r.nodes
	}
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	found := make(chan *testNode, len(among))
	var waits sync.WaitGroup
	for _, n := range among {
		waits.Go(func() {
			_ = n.WhileLeader(ctx, func(context.Context) error {
				found <- n
				return errors.New("found")
			})
		})
	}
	defer waits.Wait()
	defer cancel()
	select {
	case n := <-found:
		return n
	case <-ctx.Done():
		r.t.Fatal("no leader")
		return nil
	}
}

func (r *rig) others(n *testNode) []*testNode {
	var others []*testNode
	for _, o := range r.nodes {
		if o != n {
			others = append(others, o)
		}
	}
	return others
}

func (r *rig) member(hash [32]byte) (string, bool) {
	for _, n := range r.nodes {
		if n.id.KeyHash() == hash {
			return n.name, true
		}
	}
	return "", false
}

func testConfig(t testing.TB, dir, node, address string) Config {
	cfg := DefaultConfig()
	cfg.Dir, cfg.Node, cfg.Address = filepath.Join(dir, "raft"), node, address
	cfg.Clock = func() time.Time { return epoch }
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	return cfg
}

// open makes a new, empty state and a Consensus on the node's directory.
func (n *testNode) open() {
	n.rig.t.Helper()
	l, err := net.Listen("tcp", n.address)
	if err != nil {
		n.rig.t.Fatal(err)
	}
	n.state = newMemory()
	secured := tls.NewListener(&cuttable{l, n}, n.id.ServerConfig(n.rig.member))
	cfg := testConfig(n.rig.t, n.dir, n.name, n.address)
	cfg.Join = n.join
	if n.rig.logger != nil {
		cfg.Logger = n.rig.logger
	}
	if n.rig.commitTimeout != 0 {
		cfg.CommitTimeout = n.rig.commitTimeout
	}
	if len(n.rig.nodes) == 1 { // there is nobody to be slow
		cfg.Heartbeat, cfg.Election, cfg.Lease = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	}
	n.Consensus, err = New(cfg, n.state, Stream{Listener: secured, Dial: n.connect})
	if err != nil {
		n.rig.t.Fatal(err)
	}
	n.disk = &moodyDisk{}
	n.wrap = n.disk.over
	if n.rig.hangs != 0 {
		n.hangs = n.rig.hangs
	}
}

func (n *testNode) run() {
	ctx, cancel := context.WithCancel(n.rig.ctx)
	n.cancel, n.ended = cancel, make(chan error, 1)
	go func() { n.ended <- n.Run(ctx) }()
}

// stop ends the present run and returns what Run returned.
func (n *testNode) stop() error {
	if n.cancel == nil {
		return nil
	}
	n.cancel()
	n.cancel = nil
	return <-n.ended
}

// restart ends the present run and begins another with an empty state.
func (n *testNode) restart() {
	n.rig.t.Helper()
	if err := n.stop(); err != nil {
		n.rig.t.Fatalf("stop %s: %v", n.name, err)
	}
	n.open()
	n.run()
}

func (n *testNode) connect(ctx context.Context, address string) (net.Conn, error) {
	var peer string
	for _, o := range n.rig.nodes {
		if o.address == address {
			peer = o.name
		}
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if raw, err = n.admit(raw); err != nil {
		return nil, err
	}
	conn := tls.Client(raw, n.id.ClientConfig(peer, identity.ProtocolRaft, n.rig.member))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// isolate cuts the node off from all others; heal lets it back.
func (n *testNode) isolate() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.isolated = true
	for c := range n.conns {
		c.Close()
	}
	clear(n.conns)
}

func (n *testNode) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.isolated = false
}

func (n *testNode) admit(c net.Conn) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.isolated {
		c.Close()
		return nil, errors.New("isolated")
	}
	n.conns[c] = struct{}{}
	return c, nil
}

// propose puts a message into the log.
func (n *testNode) propose(message string) (cluster.Result, error) {
	ctx, cancel := context.WithTimeout(n.rig.ctx, patience)
	defer cancel()
	return n.Propose(ctx, cluster.Actor{Kind: cluster.ActorNode, Name: n.name}, event(message))
}

// mustPropose commits message, on n or, when an election on a busy machine has
// moved the leadership, on the node that leads now: ErrNotLeader says that
// nothing was appended.
func (n *testNode) mustPropose(message string) cluster.Result {
	r := n.rig
	r.t.Helper()
	for {
		result, err := n.propose(message)
		switch {
		case err == nil:
			return result
		case !errors.Is(err, ErrNotLeader) || errors.Is(err, ErrUncertain):
			r.t.Fatalf("propose %s on %s: %v", message, n.name, err)
		}
		n = r.leader(r.connected()...)
	}
}

// connected returns the nodes that are not cut off.
func (r *rig) connected() []*testNode {
	var out []*testNode
	for _, n := range r.nodes {
		n.mu.Lock()
		if !n.isolated {
			out = append(out, n)
		}
		n.mu.Unlock()
	}
	return out
}

func event(message string) cluster.Command {
	return &cluster.RecordEvents{Events: []cluster.Event{{Type: cluster.EventConverged, Message: message}}}
}

// cuttable drops connections while its node is isolated.
type cuttable struct {
	net.Listener
	node *testNode
}

func (l *cuttable) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c, err = l.node.admit(c); err == nil {
			return c, nil
		}
	}
}
