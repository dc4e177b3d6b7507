package identity

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// connect makes one connection over loopback and returns what both ends saw.
// The client's side only counts after it read a byte: in TLS 1.3 the server's
// refusal of its certificate arrives with the first read.
func connect(t *testing.T, server, client *tls.Config) (serverState, clientState tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := l.Accept()
		if err != nil {
			serverErr = err
			return
		}
		defer raw.Close()
		conn := tls.Server(raw, server)
		if serverErr = conn.Handshake(); serverErr == nil {
			serverState = conn.ConnectionState()
			_, serverErr = conn.Write([]byte("."))
		}
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, client)
	if clientErr = conn.Handshake(); clientErr == nil {
		clientState = conn.ConnectionState()
		_, clientErr = conn.Read(make([]byte, 1))
	}
	conn.Close()
	<-done
	return serverState, clientState, serverErr, clientErr
}

func TestMutualTLS(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	one, two := newTestNode(t, a, "node-1", fixed(epoch)), newTestNode(t, a, "node-2", fixed(epoch))
	for _, protocol := range []string{ProtocolRaft, ProtocolGRPC} {
		server, client, serverErr, clientErr := connect(t,
			one.ServerConfig(members(one, two)), two.ClientConfig("node-1", protocol, members(one, two)))
		if serverErr != nil || clientErr != nil {
			t.Fatalf("%s: server %v, client %v", protocol, serverErr, clientErr)
		}
		if PeerNode(server) != "node-2" || PeerNode(client) != "node-1" {
			t.Errorf("peers are %q and %q", PeerNode(server), PeerNode(client))
		}
		if server.NegotiatedProtocol != protocol || server.Version != tls.VersionTLS13 {
			t.Errorf("protocol %q, version %x", server.NegotiatedProtocol, server.Version)
		}
	}
}

func TestTLSRefuses(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	one, two := newTestNode(t, a, "node-1", fixed(epoch)), newTestNode(t, a, "node-2", fixed(epoch))
	foreign := newTestNode(t, newTestAuthority(t, "fedcba9876543210"), "node-2", fixed(epoch))
	// A second authority that claims to be of the same cluster.
	forgedBy, err := NewAuthority("0123456789abcdef", epoch, seeded("forger"))
	if err != nil {
		t.Fatal(err)
	}
	forged := newTestNode(t, forgedBy, "node-2", fixed(epoch))
	old := newTestNode(t, a, "node-2", fixed(epoch.Add(-91*24*time.Hour)))
	all := members(one, two, foreign, forged, old)
	renamed := func([32]byte) (string, bool) { return "node-9", true }
	without := func(mutate func(*tls.Config), c *tls.Config) *tls.Config { mutate(c); return c }

	for name, c := range map[string]struct {
		server, client *tls.Config
		atServer       error  // what the server's error wraps; nil: the client refuses
		text           string // in either error
	}{
		"client not a member": {
			one.ServerConfig(members(one)), two.ClientConfig("node-1", ProtocolRaft, all), ErrNotMember, "not in the member table",
		},
		"client's key under another name": {
			one.ServerConfig(renamed), two.ClientConfig("node-1", ProtocolRaft, all), ErrNotMember, "belongs to node node-9",
		},
		"server not a member": {
			one.ServerConfig(all), two.ClientConfig("node-1", ProtocolRaft, members(two)), nil, "not in the member table",
		},
		"another node answers": {
			one.ServerConfig(all), two.ClientConfig("node-3", ProtocolRaft, all), nil, "valid for node-1, not node-3",
		},
		"client of another cluster": {
			one.ServerConfig(all), without(func(c *tls.Config) { c.RootCAs, c.VerifyConnection = one.roots, nil }, foreign.ClientConfig("node-1", ProtocolRaft, all)), nil, "unknown authority",
		},
		"client of a forged authority": {
			one.ServerConfig(all), without(func(c *tls.Config) { c.RootCAs = one.roots }, forged.ClientConfig("node-1", ProtocolRaft, all)), nil, "verify certificate",
		},
		"server of another cluster": {
			foreign.ServerConfig(all), two.ClientConfig("node-2", ProtocolRaft, all), nil, "unknown authority",
		},
		"client's certificate expired": {
			one.ServerConfig(all), without(func(c *tls.Config) { c.Time = fixed(epoch) }, old.ClientConfig("node-1", ProtocolRaft, all)), nil, "expired",
		},
		"no client certificate": {
			one.ServerConfig(all), without(func(c *tls.Config) { c.GetClientCertificate = nil }, two.ClientConfig("node-1", ProtocolRaft, all)), nil, "didn't provide a certificate",
		},
		"TLS 1.2": {
			one.ServerConfig(all), without(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, two.ClientConfig("node-1", ProtocolRaft, all)), nil, "unsupported versions",
		},
		"unknown protocol": {
			one.ServerConfig(all), two.ClientConfig("node-1", "gopher", all), nil, "unsupported application protocols",
		},
		"server without protocols": {
			without(func(c *tls.Config) { c.NextProtos = nil }, one.ServerConfig(all)), two.ClientConfig("node-1", ProtocolRaft, all), nil, "does not speak jaco-raft/1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, serverErr, clientErr := connect(t, c.server, c.client)
			if clientErr == nil {
				t.Fatal("the client got through")
			}
			if c.atServer != nil && !errors.Is(serverErr, c.atServer) {
				t.Errorf("server: %v, want %v", serverErr, c.atServer)
			}
			both := clientErr.Error() + "; "
			if serverErr != nil {
				both += serverErr.Error()
			}
			if !strings.Contains(both, c.text) {
				t.Errorf("client: %v; server: %v; want %q in one of them", clientErr, serverErr, c.text)
			}
		})
	}
}

// The member table is asked anew for each connection.
func TestRemovedMemberIsRefusedAtOnce(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	one, two := newTestNode(t, a, "node-1", fixed(epoch)), newTestNode(t, a, "node-2", fixed(epoch))
	table := members(one, two)
	check := func(hash [32]byte) (string, bool) { return table(hash) }
	server, client := one.ServerConfig(check), two.ClientConfig("node-1", ProtocolRaft, members(one))
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	client.SessionTicketsDisabled = false
	if _, _, _, err := connect(t, server, client); err != nil {
		t.Fatal(err)
	}
	table = members(one)
	if _, _, err, _ := connect(t, server, client); !errors.Is(err, ErrNotMember) {
		t.Fatalf("server: %v, want %v", err, ErrNotMember)
	}
}

func TestRenewedCertificateServesNextConnection(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	now := epoch
	s := newTestStore(t, func() time.Time { return now })
	one, err := s.Create(a, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	two := newTestNode(t, a, "node-2", fixed(epoch))
	server, client := one.ServerConfig(members(one, two)), two.ClientConfig("node-1", ProtocolGRPC, members(one, two))
	_, before, _, err := connect(t, server, client)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	if err := s.Renew(one, a); err != nil {
		t.Fatal(err)
	}
	_, after, _, err := connect(t, server, client)
	if err != nil {
		t.Fatal(err)
	}
	if before.PeerCertificates[0].Equal(after.PeerCertificates[0]) || !after.PeerCertificates[0].Equal(one.current.Load().Leaf) {
		t.Error("the server still shows its old certificate")
	}
}

func TestPeerNodeOfNobody(t *testing.T) {
	if got := PeerNode(tls.ConnectionState{}); got != "" {
		t.Errorf("peer is %q", got)
	}
	one := newTestNode(t, newTestAuthority(t, "0123456789abcdef"), "node-1", fixed(epoch))
	unverified := tls.ConnectionState{HandshakeComplete: true}
	unverified.PeerCertificates = append(unverified.PeerCertificates, one.current.Load().Leaf)
	if got := PeerNode(unverified); got != "" {
		t.Errorf("an unverified certificate names %q", got)
	}
}
