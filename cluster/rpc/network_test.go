package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// oneNode is node-1, which answers.
func oneNode(t *testing.T) (*fakeCluster, *fakeServer) {
	t.Helper()
	c := newFakeCluster(t, "0123456789abcdef")
	return c, c.serve(t, c.node(t, "node-1"), "127.0.0.1:0")
}

// raw is a connection for any service over one protocol.
func raw(t *testing.T, s *fakeServer, config *tls.Config, options ...grpc.DialOption) *link {
	t.Helper()
	l, err := newLink(func() (string, *tls.Config, error) { return s.address(), config, nil }, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (s *fakeServer) strangerConfig(protocol string, c *fakeCluster) *tls.Config {
	return identity.StrangerConfig(s.id.AuthorityHash(), protocol, c.clock)
}

// TestEachProtocolHasItsServices asks for everything over each of the three.
func TestEachProtocolHasItsServices(t *testing.T) {
	c, s := oneNode(t)
	two := c.node(t, "node-2")
	s.node.poke = func() error { return nil }
	shop := unitKey(t, "shop")
	s.node.unitKey = func(string, string) (*identity.UnitKey, error) { return shop, nil }
	s.node.check = func(string, Secret) (time.Time, error) { return noon.AddDate(100, 0, 0), nil }
	s.node.hello = func(context.Context, string) (*HelloResult, error) { return &HelloResult{Checkpoint: []byte("x")}, nil }
	s.member.trace = func(string) (*cluster.TraceReport, error) { return &cluster.TraceReport{}, nil }
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, bearerHeader, bearerScheme+"0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAA")
	calls := map[string]func(*link) error{
		"health": func(l *link) error {
			_, err := grpc_health_v1.NewHealthClient(l).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
			return err
		},
		"Peer.Poke": func(l *link) error { _, err := jacov1.NewPeerClient(l).Poke(ctx, &jacov1.PokeRequest{}); return err },
		"Join.Hello": func(l *link) error {
			_, err := jacov1.NewJoinClient(l).Hello(ctx, &jacov1.HelloRequest{})
			return err
		},
		"Control.Trace": func(l *link) error {
			_, err := jacov1.NewControlClient(l).Trace(ctx, &jacov1.TraceRequest{})
			return err
		},
		"Peer.UnitKey": func(l *link) error {
			_, err := jacov1.NewPeerClient(l).UnitKey(ctx, &jacov1.UnitKeyRequest{Unit: "shop"})
			return err
		},
		"Control.Recipient": func(l *link) error {
			_, err := jacov1.NewControlClient(l).Recipient(ctx, &jacov1.RecipientRequest{Unit: "shop"})
			return err
		},
		"Control.Init": func(l *link) error {
			_, err := jacov1.NewControlClient(l).Init(ctx, &jacov1.InitRequest{})
			return err
		},
		"Control.IssueToken": func(l *link) error {
			_, err := jacov1.NewControlClient(l).IssueToken(ctx, &jacov1.IssueTokenRequest{Kind: "join", TtlSeconds: 60})
			return err
		},
		"Control.JoinCluster": func(l *link) error {
			_, err := jacov1.NewControlClient(l).JoinCluster(ctx, &jacov1.JoinClusterRequest{})
			return err
		},
		"Control.Reanchor": func(l *link) error {
			_, err := jacov1.NewControlClient(l).Reanchor(ctx, &jacov1.ReanchorRequest{Commit: make([]byte, 20)})
			return err
		},
		"Control.Refresh": func(l *link) error {
			_, err := jacov1.NewControlClient(l).Refresh(ctx, &jacov1.RefreshRequest{})
			return err
		},
	}
	for name, c := range map[string]struct {
		config *tls.Config
		good   []string
	}{
		"members":   {two.ClientConfig("node-1", identity.ProtocolGRPC, c.member), []string{"health", "Peer.Poke", "Peer.UnitKey"}},
		"joining":   {s.strangerConfig(identity.ProtocolJoin, c), []string{"Join.Hello"}},
		"reading":   {s.strangerConfig(identity.ProtocolRead, c), []string{"Control.Trace", "Control.Recipient"}},
		"strangers": {s.strangerConfig(identity.ProtocolGRPC, c), nil},
	} {
		l := raw(t, s, c.config)
		var good []string
		for _, call := range []string{
			"health", "Peer.Poke", "Peer.UnitKey", "Join.Hello", "Control.Trace", "Control.Recipient", "Control.Init", "Control.IssueToken", "Control.JoinCluster", "Control.Refresh", "Control.Reanchor",
		} {
			err := calls[call](l)
			switch code := status.Code(err); {
			case err == nil:
				good = append(good, call)
			case name == "strangers" && code == codes.Unavailable, code == codes.Unimplemented:
			default:
				t.Errorf("%s: %s: %v", name, call, err)
			}
		}
		if diff := cmp.Diff(c.good, good); diff != "" {
			t.Errorf("%s reach (-want +got):\n%s", name, diff)
		}
	}
}

func TestServeNetworkNeedsEverything(t *testing.T) {
	c, s := oneNode(t)
	full := Network{
		Identity: s.id, Members: c.member, Log: s.node, Liveness: s.node, Sync: s.node, Data: s.node, Secrets: s.node,
		Join: fakeDoor{s.node}, Tokens: s.node, Control: NewServer(nil, nil),
	}
	if err := full.Check(); err != nil {
		t.Fatal(err)
	}
	for part, remove := range map[string]func(*Network){
		"Identity": func(n *Network) { n.Identity = nil },
		"Members":  func(n *Network) { n.Members = nil },
		"Log":      func(n *Network) { n.Log = nil },
		"Liveness": func(n *Network) { n.Liveness = nil },
		"Sync":     func(n *Network) { n.Sync = nil },
		"Data":     func(n *Network) { n.Data = nil },
		"Secrets":  func(n *Network) { n.Secrets = nil },
		"Join":     func(n *Network) { n.Join = nil },
		"Tokens":   func(n *Network) { n.Tokens = nil },
		"Control":  func(n *Network) { n.Control = nil },
	} {
		network := full
		remove(&network)
		if err := ServeNetwork(t.Context(), s.listener, network); err == nil || !strings.Contains(err.Error(), part+" is missing") {
			t.Errorf("without %s: %v", part, err)
		}
	}
	s.stop()
	if err := ServeNetwork(t.Context(), s.listener, full); !errors.Is(err, net.ErrClosed) {
		t.Errorf("serving a closed port: %v", err)
	}
}

// TestStrangersAreBounded takes all the places of strangers: a member does not
// notice, and a place that is given back is another's.
func TestStrangersAreBounded(t *testing.T) {
	c, s := oneNode(t)
	two := c.node(t, "node-2")
	s.node.poke = func() error { return nil }
	peers, _ := c.peers(t, two, s)
	for protocol, most := range map[string]int{identity.ProtocolJoin: maxJoining, identity.ProtocolRead: maxReading} {
		var open []net.Conn
		for range most {
			conn, err := tls.Dial("tcp", s.address(), s.strangerConfig(protocol, c))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			open = append(open, conn)
		}
		branch := s.listener.join
		if protocol == identity.ProtocolRead {
			branch = s.listener.read
		}
		for len(branch.places) < most { // the client's handshake ends before the server's
			if err := peers.Poke(t.Context(), "node-1"); err != nil {
				t.Fatal(err)
			}
		}
		if conn, err := tls.Dial("tcp", s.address(), s.strangerConfig(protocol, c)); err == nil {
			mustEnd(t, conn)
			conn.Close()
		}
		s.log.waitFor(t, protocol, "turned a stranger away")
		if err := peers.Poke(t.Context(), "node-1"); err != nil {
			t.Errorf("%s: a member among strangers: %v", protocol, err)
		}
		open[0].Close()
		for len(branch.places) == most {
			if err := peers.Poke(t.Context(), "node-1"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestStrangersMessagesAreSmall: what is large is not looked at.
func TestStrangersMessagesAreSmall(t *testing.T) {
	c, s := oneNode(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	api := jacov1.NewJoinClient(raw(t, s, s.strangerConfig(identity.ProtocolJoin, c)))
	_, err := api.Join(ctx, &jacov1.JoinRequest{Name: strings.Repeat("x", maxStrangerMessage)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a large message: %v", err)
	}
	_, err = api.Hello(metadata.AppendToOutgoingContext(ctx, "x", strings.Repeat("x", maxStrangerHeader)), &jacov1.HelloRequest{})
	if err == nil || ctx.Err() != nil || strings.Contains(err.Error(), errUnset.Error()) {
		t.Errorf("a large header: %v", err)
	}
}

// readerOf is a client with a read token that the server knows.
func readerOf(t *testing.T, c *fakeCluster, s *fakeServer, expires time.Time) (*Client, Token) {
	t.Helper()
	token := c.token(t, cluster.TokenRead, [32]byte{})
	stored := &cluster.Token{ID: token.ID, Kind: token.Kind, Hash: token.Hash(), ExpiresAt: expires}
	s.node.check = func(id string, secret Secret) (time.Time, error) {
		if id != stored.ID {
			return time.Time{}, CheckToken(nil, id, secret, cluster.TokenRead, c.clock())
		}
		return stored.ExpiresAt, CheckToken(stored, id, secret, cluster.TokenRead, c.clock())
	}
	client, err := DialServer(s.address(), token, c.clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, token
}

// TestReadFromAfar reads everything that a token lets read, and nothing more.
func TestReadFromAfar(t *testing.T) {
	c, s := oneNode(t)
	client, _ := readerOf(t, c, s, noon.AddDate(100, 0, 0))
	s.member.records, s.member.lines = []cluster.AuditRecord{{Number: 3}}, []LogLine{{Slot: 4}}
	s.member.trace = func(id string) (*cluster.TraceReport, error) {
		if id != "r1" {
			return nil, errors.Join(ErrNotFound)
		}
		return &cluster.TraceReport{Replica: id}, nil
	}
	s.member.export = func(w io.Writer) error { _, err := w.Write([]byte("bundle")); return err }
	got, err := client.Status(t.Context())
	if err != nil || got.Cluster.Name != "test" {
		t.Errorf("status: %+v, %v", got, err)
	}
	records := 0
	if err := client.Audit(t.Context(), AuditRequest{}, func(cluster.AuditRecord) error { records++; return nil }); err != nil || records != 1 {
		t.Errorf("audit: %d records, %v", records, err)
	}
	lines := 0
	if err := client.Logs(t.Context(), LogsRequest{}, func(LogLine) error { lines++; return nil }); err != nil || lines != 1 {
		t.Errorf("logs: %d lines, %v", lines, err)
	}
	if report, err := client.Trace(t.Context(), "r1"); err != nil || report.Replica != "r1" {
		t.Errorf("trace: %+v, %v", report, err)
	}
	if _, err := client.Trace(t.Context(), "r2"); !errors.Is(err, ErrNotFound) || err.Error() != "not found" {
		t.Errorf("trace of nothing: %v", err)
	}
	var bundle strings.Builder
	if err := client.Export(t.Context(), &bundle); err != nil || bundle.String() != "bundle" {
		t.Errorf("export: %q, %v", bundle.String(), err)
	}
	for name, call := range map[string]func() error{
		"init":    func() error { _, err := client.Init(t.Context(), &InitRequest{}); return err },
		"refresh": func() error { _, _, err := client.Refresh(t.Context(), ""); return err },
		"token":   func() error { _, err := client.IssueToken(t.Context(), cluster.TokenRead, time.Hour); return err },
		"join":    func() error { _, err := client.JoinCluster(t.Context(), &JoinClusterRequest{}); return err },
	} {
		if err := call(); !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "run the command on a node") {
			t.Errorf("%s from afar: %v", name, err)
		}
	}
}

func TestReadTokenIsJudgedWithEveryCall(t *testing.T) {
	c, s := oneNode(t)
	client, token := readerOf(t, c, s, noon.Add(time.Hour))
	if _, err := client.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Token){
		"wrong secret": func(k *Token) { k.Secret[0] ^= 1 },
		"unknown id":   func(k *Token) { k.ID = "00000000000000ff" },
	} {
		wrong := token
		change(&wrong)
		other, err := DialServer(s.address(), wrong, c.clock)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if _, err := other.Status(t.Context()); !errors.Is(err, cluster.ErrToken) || !strings.Contains(err.Error(), "knows no token "+wrong.ID) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := other.Trace(t.Context(), "x"); !errors.Is(err, cluster.ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.pass(time.Hour)
	_, err := client.Status(t.Context())
	if !errors.Is(err, cluster.ErrToken) || !strings.Contains(err.Error(), "expired at 2026-11-23T13:00:00Z: `jaco bootstrap token --read`") {
		t.Errorf("an expired token: %v", err)
	}
}

// TestMalformedReadTokens shows what is no token at all.
func TestMalformedReadTokens(t *testing.T) {
	c, s := oneNode(t)
	s.node.check = func(string, Secret) (time.Time, error) {
		t.Error("a malformed token was looked up")
		return time.Time{}, nil
	}
	api := jacov1.NewControlClient(raw(t, s, s.strangerConfig(identity.ProtocolRead, c)))
	const good = "0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAA"
	for name, headers := range map[string][]string{
		"none":           nil,
		"empty":          {""},
		"no scheme":      {good},
		"another scheme": {"Basic " + good},
		"no secret":      {bearerScheme + "0123456789abcdef"},
		"short id":       {bearerScheme + "0123." + good[17:]},
		"no hexadecimal": {bearerScheme + "0123456789abcdeg." + good[17:]},
		"short secret":   {bearerScheme + good[:len(good)-4]},
		"long secret":    {bearerScheme + good + "AAAA"},
		"bits too many":  {bearerScheme + good[:len(good)-1] + "B"},
		"two":            {bearerScheme + good, bearerScheme + good},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		for _, header := range headers {
			ctx = metadata.AppendToOutgoingContext(ctx, bearerHeader, header)
		}
		_, err := api.Trace(ctx, &jacov1.TraceRequest{})
		stream, streamErr := api.Status(ctx, &jacov1.StatusRequest{})
		if streamErr == nil {
			_, streamErr = stream.Recv()
		}
		cancel()
		for _, err := range []error{err, streamErr} {
			if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "none was shown, or not a whole one") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestWatchEndsWithItsToken: whoever follows does not outlive the token.
func TestWatchEndsWithItsToken(t *testing.T) {
	c, s := oneNode(t)
	// The guard's deadline is of this machine's clock.
	s.node.check = func(string, Secret) (time.Time, error) { return time.Now().Add(100 * time.Millisecond), nil }
	client, err := DialServer(s.address(), c.token(t, cluster.TokenRead, [32]byte{}), c.clock)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	err = client.WatchStatus(t.Context(), func(*cluster.Status) error { return nil })
	if !errors.Is(err, cluster.ErrToken) || !strings.Contains(err.Error(), "it expired at") {
		t.Errorf("the watch ended with %v", err)
	}
}
