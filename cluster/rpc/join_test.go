package rpc

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
)

func newCandidate(t *testing.T, c *fakeCluster) *identity.Candidate {
	t.Helper()
	candidate, err := identity.NewCandidate(c.random)
	if err != nil {
		t.Fatal(err)
	}
	return candidate
}

// TestJoin takes a node in, by a member that does not lead, and has it speak as
// a member afterwards.
func TestJoin(t *testing.T) {
	c := newFakeCluster(t, "0123456789abcdef")
	one, two := c.node(t, "node-1"), c.node(t, "node-2")
	leader, door := c.serve(t, one, "127.0.0.1:0"), c.serve(t, two, "127.0.0.1:0")
	between, _ := c.peers(t, two, leader)
	checkpoint := bytes.Repeat([]byte("checkpoint"), 300<<10)
	token := c.token(t, cluster.TokenJoin, sha256.Sum256(checkpoint))
	stored := &cluster.Token{ID: token.ID, Kind: token.Kind, Hash: token.Hash(), ExpiresAt: noon.Add(time.Hour)}
	hello := &HelloResult{ClusterID: c.id, ClusterName: "test", Authority: c.authority.CertificatePEM(), Checkpoint: checkpoint, Branch: "main", Pool: netip.MustParsePrefix("10.32.0.0/12")}
	door.node.hello = func(_ context.Context, id string) (*HelloResult, error) {
		if id != token.ID {
			return nil, errUnset
		}
		return hello, nil
	}
	door.node.join = func(r *JoinRequest) (*Admission, error) { return between.Join(t.Context(), "node-1", r) }
	members := []MemberKey{{Name: "node-1", Address: leader.address(), Key: one.KeyHash()}, {Name: "node-2", Address: door.address(), Key: two.KeyHash()}}
	var got *JoinRequest
	leader.node.pass = func(node string, r *JoinRequest) (*Admission, error) {
		if node != "node-2" {
			t.Errorf("the request was passed on by %q", node)
		}
		if err := CheckToken(stored, r.TokenID, r.Secret, cluster.TokenJoin, c.clock()); err != nil {
			return nil, err
		}
		got = r
		cert, err := c.authority.Issue(r.Name, r.PublicKey, c.clock(), c.random)
		return &Admission{Certificate: cert, Members: members}, err
	}

	client := NewJoinClient(door.address(), c.clock)
	answer, err := client.Hello(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(hello.Checkpoint, answer.Checkpoint) {
		t.Error("another checkpoint arrived")
	}
	answer.Checkpoint = hello.Checkpoint[:1] // go-cmp takes seconds for the whole
	hello.Checkpoint = answer.Checkpoint
	if diff := cmp.Diff(hello, answer, samePrefix); diff != "" {
		t.Errorf("hello (-sent +received):\n%s", diff)
	}
	candidate := newCandidate(t, c)
	request, err := NewJoinRequest(token, candidate, "node-3", "192.0.2.3:7000", "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	admission, err := client.Join(t.Context(), token, request)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(members, admission.Members); diff != "" {
		t.Errorf("members (-sent +received):\n%s", diff)
	}
	if diff := cmp.Diff(request, got); diff != "" {
		t.Errorf("request (-sent +received):\n%s", diff)
	}
	if got.Secret != token.Secret || got.Version != "v1.2.3" || got.Address != "192.0.2.3:7000" {
		t.Errorf("request %+v", got)
	}
	store := identity.NewStore(filepath.Join(t.TempDir(), "node-3"), c.clock, c.random)
	three, err := store.Admit(candidate, "node-3", answer.Authority, admission.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	leader.node.poke = func() error { return nil }
	asThree, _ := c.peers(t, three, leader)
	if err := asThree.Poke(t.Context(), "node-1"); !errors.Is(err, ErrUnreachable) || !errors.Is(err, identity.ErrNotMember) {
		t.Errorf("a node that is not in the member table yet: %v", err)
	}
	c.mu.Lock()
	c.table[three.KeyHash()] = "node-3"
	c.mu.Unlock()
	asThree, _ = c.peers(t, three, leader)
	if err := asThree.Poke(t.Context(), "node-1"); err != nil {
		t.Errorf("the new member: %v", err)
	}
}

// TestRenewFromAfar renews the certificate of a node that was off for a year,
// and refuses one that was removed meanwhile.
func TestRenewFromAfar(t *testing.T) {
	c := newFakeCluster(t, "0123456789abcdef")
	store := identity.NewStore(filepath.Join(t.TempDir(), "node-2"), c.clock, c.random)
	two, err := store.Create(c.authority, "node-2")
	if err != nil {
		t.Fatal(err)
	}
	c.pass(365 * 24 * time.Hour)
	s := c.serve(t, c.node(t, "node-1"), "127.0.0.1:0")
	s.node.renew = func(node string, public ed25519.PublicKey) ([]byte, error) {
		return c.authority.Issue(node, public, c.clock(), c.random)
	}
	client := NewJoinClient(s.address(), c.clock)
	_, err = client.Renew(t.Context(), two)
	if !errors.Is(err, identity.ErrNotMember) || !strings.Contains(err.Error(), "joins anew, with a token and an empty data directory") {
		t.Errorf("a removed node renews: %v", err)
	}
	c.mu.Lock()
	c.table[two.KeyHash()] = "node-2"
	c.mu.Unlock()
	s.node.poke = func() error { return nil }
	peers, _ := c.peers(t, two, s)
	if err := peers.Poke(t.Context(), "node-1"); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "certificate has expired") {
		t.Errorf("before the renewal: %v", err)
	}
	cert, err := client.Renew(t.Context(), two)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Replace(two, cert); err != nil {
		t.Fatal(err)
	}
	peers, _ = c.peers(t, two, s)
	if err := peers.Poke(t.Context(), "node-1"); err != nil {
		t.Errorf("after the renewal: %v", err)
	}
}

// refusalCase is a call that ends with a refusal, which says what is wrong and
// what to do, and can be told from the others.
type refusalCase struct {
	call func(ctx context.Context) error
	want error // nil: of no kind
	says string
}

func checkRefusals(t *testing.T, cases map[string]refusalCase) {
	t.Helper()
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := test.call(ctx)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %v with %q", err, test.want, test.says)
			}
			if err != nil && (strings.Contains(err.Error(), "rpc error") || strings.Contains(err.Error(), "desc =")) {
				t.Errorf("the error speaks of gRPC: %v", err)
			}
		})
	}
}

func TestJoinAtTheWrongDoor(t *testing.T) {
	c, s := oneNode(t)
	foreign := newFakeCluster(t, "fedcba9876543210")
	other := foreign.serve(t, foreign.node(t, "node-1"), "127.0.0.1:0")
	web, plain := httptest.NewUnstartedServer(http.NotFoundHandler()), httptest.NewServer(http.NotFoundHandler())
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	defer web.Close()
	defer plain.Close()
	closed := newProxy(t, "127.0.0.1:1") // takes connections and ends them
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	token := c.token(t, cluster.TokenJoin, [32]byte{})
	hello := func(address string, k Token) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := NewJoinClient(address, c.clock).Hello(ctx, k)
			return err
		}
	}
	lookup := func(context.Context) error {
		return explainConnection("node-9:7000", fmt.Errorf("dial: %w", &net.DNSError{Err: "no such host", Name: "node-9"}), "")
	}
	checkRefusals(t, map[string]refusalCase{
		"foreign": {
			hello(other.address(), token), identity.ErrForeignCluster, "name a member of the token's cluster, or have a token made there",
		},
		"read token": {
			hello(s.address(), c.token(t, cluster.TokenRead, [32]byte{})), ErrTokenKind, "`jaco bootstrap token` on a member makes one to join with",
		},
		"not reachable":   {hello(free.Addr().String(), token), ErrUnreachable, "is jacod running there"},
		"no such host":    {lookup, ErrUnreachable, "node-9:7000: does not answer: its name leads nowhere"},
		"wrong port, TLS": {hello(web.Listener.Addr().String(), token), ErrNotJaco, "7000 by default"},
		"wrong port":      {hello(plain.Listener.Addr().String(), token), ErrNotJaco, "7000 by default"},
		"closed at once":  {hello(closed.Addr().String(), token), ErrUnreachable, "is this the control port"},
		"no port":         {hello("192.0.2.1", token), cluster.ErrInvalid, "want HOST:PORT"},
	})
}

func TestJoinRefusals(t *testing.T) {
	c, s := oneNode(t)
	checkpoint := []byte("checkpoint")
	token := c.token(t, cluster.TokenJoin, sha256.Sum256(checkpoint))
	hello := func(answer *HelloResult, failure error) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			s.node.hello = func(context.Context, string) (*HelloResult, error) { return answer, failure }
			_, err := NewJoinClient(s.address(), c.clock).Hello(ctx, token)
			return err
		}
	}
	join := func(failure error) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			s.node.join = func(*JoinRequest) (*Admission, error) { return nil, failure }
			request, err := NewJoinRequest(token, newCandidate(t, c), "node-3", "192.0.2.3:7000", "v1")
			if err != nil {
				return err
			}
			_, err = NewJoinClient(s.address(), c.clock).Join(ctx, token, request)
			return err
		}
	}
	ours := c.authority.CertificatePEM()
	foreign := newFakeCluster(t, "fedcba9876543210").authority.CertificatePEM()
	checkRefusals(t, map[string]refusalCase{
		"another checkpoint": {hello(&HelloResult{Authority: ours, Checkpoint: []byte("other")}, nil), ErrCheckpoint, "its checkpoint is another"},
		"another authority":  {hello(&HelloResult{Authority: foreign, Checkpoint: checkpoint}, nil), ErrCheckpoint, "its authority is another"},
		"no authority":       {hello(&HelloResult{Checkpoint: checkpoint}, nil), ErrCheckpoint, "no PEM block"},
		"unknown": {
			hello(nil, CheckToken(nil, token.ID, token.Secret, cluster.TokenJoin, noon)), cluster.ErrToken, "knows no token " + token.ID,
		},
		"used, at hello": {hello(&HelloResult{}, nil), cluster.ErrToken, "was used: `jaco bootstrap token` on a member makes another"},
		"used": {
			join(fmt.Errorf("%w: token x was used by node node-2", cluster.ErrToken)),
			cluster.ErrToken, "was used by node node-2: `jaco bootstrap token` on a member makes another",
		},
		"expired": {join(fmt.Errorf("%w: token x expired at noon", cluster.ErrToken)), cluster.ErrToken, "expired at noon: `jaco bootstrap token`"},
		"name taken": {
			join(fmt.Errorf("%w: node node-3 is a member and Ready; choose another name, or stop that one first", cluster.ErrExists)),
			cluster.ErrExists, "choose another name",
		},
		"no leader":                {join(&NotLeaderError{}), ErrNotLeader, "no leader at the moment"},
		"the server's own trouble": {join(errors.New("the disk is full")), nil, s.address() + ": the disk is full"},
	})
}

// TestClockIsNamed: a certificate that is not valid here is most often a clock.
func TestClockIsNamed(t *testing.T) {
	c, s := oneNode(t)
	behind := func() time.Time { return c.clock().Add(-3 * time.Hour) }
	_, err := NewJoinClient(s.address(), behind).Hello(t.Context(), c.token(t, cluster.TokenJoin, [32]byte{}))
	if !errors.Is(err, identity.ErrClock) || !strings.Contains(err.Error(), "set the clocks right") {
		t.Errorf("a clock that is behind: %v", err)
	}
}

// TestSilentServer: a firewall that swallows does not hang a join.
func TestSilentServer(t *testing.T) {
	c, s := oneNode(t)
	through := newProxy(t, s.address())
	through.swallow(true)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := NewJoinClient(through.Addr().String(), c.clock).Hello(ctx, c.token(t, cluster.TokenJoin, [32]byte{}))
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("a silent server: %v", err)
	}
}

// TestProofBindsEverything changes each field of a request on its way.
func TestProofBindsEverything(t *testing.T) {
	c := newFakeCluster(t, "0123456789abcdef")
	token := c.token(t, cluster.TokenJoin, [32]byte{})
	request, err := NewJoinRequest(token, newCandidate(t, c), "node-3", "192.0.2.3:7000", "v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := request.VerifyProof(token.Authority); err != nil {
		t.Fatal(err)
	}
	another := newCandidate(t, c)
	for name, change := range map[string]func(*JoinRequest){
		"token":      func(r *JoinRequest) { r.TokenID = "00000000000000ff" },
		"name":       func(r *JoinRequest) { r.Name = "node-4" },
		"address":    func(r *JoinRequest) { r.Address = "192.0.2.4:7000" },
		"public key": func(r *JoinRequest) { r.PublicKey = another.PublicKey() },
		"seal key":   func(r *JoinRequest) { r.SealKey = another.Recipient() },
		"version":    func(r *JoinRequest) { r.Version = "v2" },
		"proof":      func(r *JoinRequest) { r.Proof = bytes.Clone(r.Proof); r.Proof[0] ^= 1 },
		"no proof":   func(r *JoinRequest) { r.Proof = nil },
		"no key":     func(r *JoinRequest) { r.PublicKey = nil },
		// A byte moves from one field into the next.
		"border": func(r *JoinRequest) { r.TokenID, r.Name = r.TokenID+"n", r.Name[1:] },
	} {
		changed := *request
		change(&changed)
		if err := changed.VerifyProof(token.Authority); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("another %s: %v, want %v", name, err, cluster.ErrInvalid)
		}
	}
	if err := request.VerifyProof([32]byte{1}); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("another cluster: %v", err)
	}
	sameBut := *request
	sameBut.Secret[0] ^= 1
	if err := sameBut.VerifyProof(token.Authority); err != nil {
		t.Errorf("the proof holds the secret: %v", err)
	}
}

// TestRequestsAreCheckedOnArrival sends requests that no honest node makes.
func TestRequestsAreCheckedOnArrival(t *testing.T) {
	c, s := oneNode(t)
	s.node.join = func(*JoinRequest) (*Admission, error) { t.Error("a bad request got through"); return nil, nil }
	s.node.pass = func(string, *JoinRequest) (*Admission, error) {
		t.Error("a bad request was passed on")
		return nil, nil
	}
	peers, _ := c.peers(t, c.node(t, "node-2"), s)
	token := c.token(t, cluster.TokenJoin, [32]byte{})
	client := NewJoinClient(s.address(), c.clock)
	for name, test := range map[string]struct {
		change func(*JoinRequest)
		says   string
	}{
		"bad name":        {func(r *JoinRequest) { r.Name = "Node 3" }, "set name in jacod.yaml"},
		"no name":         {func(r *JoinRequest) { r.Name = "" }, "set name in jacod.yaml"},
		"no address":      {func(r *JoinRequest) { r.Address = "" }, "set advertise_address in jacod.yaml"},
		"no port":         {func(r *JoinRequest) { r.Address = "192.0.2.3" }, "want HOST:PORT"},
		"port 0":          {func(r *JoinRequest) { r.Address = "192.0.2.3:0" }, "want a port"},
		"port name":       {func(r *JoinRequest) { r.Address = "192.0.2.3:http" }, "want a port"},
		"every address":   {func(r *JoinRequest) { r.Address = "0.0.0.0:7000" }, "is no machine's address"},
		"every address 6": {func(r *JoinRequest) { r.Address = "[::]:7000" }, "is no machine's address"},
		"no host":         {func(r *JoinRequest) { r.Address = ":7000" }, "want a host"},
		"bad seal key":    {func(r *JoinRequest) { r.SealKey = "age1x" }, "no age recipient"},
		"long version":    {func(r *JoinRequest) { r.Version = strings.Repeat("v", 129) }, "a version of 129 characters"},
		"another's proof": {func(r *JoinRequest) { r.PublicKey = newCandidate(t, c).PublicKey() }, "not made by the holder of its key"},
		"short key":       {func(r *JoinRequest) { r.PublicKey = r.PublicKey[:31] }, "not made by the holder of its key"},
	} {
		candidate := newCandidate(t, c)
		request := &JoinRequest{
			TokenID: token.ID, Secret: token.Secret, Name: "node-3", Address: "192.0.2.3:7000",
			PublicKey: candidate.PublicKey(), SealKey: candidate.Recipient(), Version: "v1",
		}
		test.change(request)
		request.Proof = candidate.Prove(request.proved(token.Authority))
		if _, err := client.Join(t.Context(), token, request); !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
		if _, err := peers.Join(t.Context(), "node-1", request); !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s, passed on: %v, want %q", name, err, test.says)
		}
	}
	if _, err := NewJoinRequest(token, newCandidate(t, c), "Node 3", "192.0.2.3:7000", "v1"); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("a bad name gets as far as the wire: %v", err)
	}
	if _, err := NewJoinRequest(c.token(t, cluster.TokenRead, [32]byte{}), newCandidate(t, c), "node-3", "192.0.2.3:7000", "v1"); !errors.Is(err, ErrTokenKind) {
		t.Errorf("a read token gets as far as the wire: %v", err)
	}
}

func TestDialServerRefuses(t *testing.T) {
	c, s := oneNode(t)
	read := c.token(t, cluster.TokenRead, [32]byte{})
	if _, err := DialServer("10.0.0.1", read, c.clock); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("a server without a port: %v", err)
	}
	if _, err := DialServer(s.address(), c.token(t, cluster.TokenJoin, [32]byte{}), c.clock); !errors.Is(err, ErrTokenKind) {
		t.Errorf("a join token: %v", err)
	}
	foreign := newFakeCluster(t, "fedcba9876543210")
	client, err := DialServer(s.address(), foreign.token(t, cluster.TokenRead, [32]byte{}), c.clock)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Status(t.Context()); !errors.Is(err, identity.ErrForeignCluster) {
		t.Errorf("a foreign token: %v", err)
	}
}

// TestSecretGoesToTheTokensClusterAlone: what a foreign server is sent before
// it is refused holds no secret.
func TestSecretGoesToTheTokensClusterAlone(t *testing.T) {
	c := newFakeCluster(t, "0123456789abcdef")
	foreign := newFakeCluster(t, "fedcba9876543210")
	config := foreign.node(t, "node-1").ServerConfig(foreign.member)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	received := make(chan []byte, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		data := make([]byte, 1<<10)
		n, _ := conn.Read(data)
		received <- data[:n]
	}()
	token := c.token(t, cluster.TokenJoin, [32]byte{})
	request, err := NewJoinRequest(token, newCandidate(t, c), "node-3", "192.0.2.3:7000", "v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewJoinClient(listener.Addr().String(), c.clock).Join(t.Context(), token, request); !errors.Is(err, identity.ErrForeignCluster) {
		t.Errorf("a foreign server: %v", err)
	}
	if got := receiveFrom(t, received); len(got) != 0 {
		t.Errorf("a foreign server received %d bytes", len(got))
	}
}
