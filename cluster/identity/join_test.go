package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newTestCandidate(t *testing.T, seed string) *Candidate {
	t.Helper()
	c, err := NewCandidate(seeded(seed))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A stranger gets through with the authority's hash alone, whether or not it
// shows a certificate, and is nobody to the members' protocols.
func TestStrangersReachTheirProtocolsAlone(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	one, two := newTestNode(t, a, "node-1", fixed(epoch)), newTestNode(t, a, "node-2", fixed(epoch))
	all := members(one, two)
	hash, err := AuthorityHash(a.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	if hash != one.AuthorityHash() || hash != sha256.Sum256(a.cert.Raw) {
		t.Errorf("hashes of the authority differ: %x, %x", hash, one.AuthorityHash())
	}
	for _, protocol := range []string{ProtocolJoin, ProtocolRead} {
		client := StrangerConfig(hash, protocol, fixed(epoch))
		server, state, serverErr, clientErr := connect(t, one.ServerConfig(all), client)
		if serverErr != nil || clientErr != nil {
			t.Fatalf("%s: server %v, client %v", protocol, serverErr, clientErr)
		}
		if server.NegotiatedProtocol != protocol || PeerNode(server) != "" || len(server.PeerCertificates) != 0 {
			t.Errorf("%s: protocol %q, peer %q, %d certificates", protocol, server.NegotiatedProtocol, PeerNode(server), len(server.PeerCertificates))
		}
		if len(state.PeerCertificates) != 2 || !state.PeerCertificates[1].Equal(a.cert) {
			t.Errorf("%s: the server shows %d certificates", protocol, len(state.PeerCertificates))
		}

		// Whoever also offers a member's protocol ends with the stranger's.
		client.NextProtos = []string{ProtocolRaft, ProtocolGRPC, protocol}
		if server, _, serverErr, clientErr = connect(t, one.ServerConfig(all), client); serverErr != nil || clientErr != nil {
			t.Fatalf("%s among others: server %v, client %v", protocol, serverErr, clientErr)
		}
		if server.NegotiatedProtocol != protocol {
			t.Errorf("a stranger who offers all protocols speaks %q", server.NegotiatedProtocol)
		}
	}
	for _, protocol := range []string{ProtocolRaft, ProtocolGRPC} {
		_, _, serverErr, clientErr := connect(t, one.ServerConfig(all), StrangerConfig(hash, protocol, fixed(epoch)))
		if serverErr == nil || clientErr == nil {
			t.Errorf("a stranger speaks %s", protocol)
		}
	}
}

// Members do not show the authority to each other: they have it.
func TestMembersShowOneCertificate(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	one, two := newTestNode(t, a, "node-1", fixed(epoch)), newTestNode(t, a, "node-2", fixed(epoch))
	_, client, _, err := connect(t, one.ServerConfig(members(one, two)), two.ClientConfig("node-1", ProtocolRaft, members(one, two)))
	if err != nil {
		t.Fatal(err)
	}
	if len(client.PeerCertificates) != 1 {
		t.Errorf("the server shows %d certificates", len(client.PeerCertificates))
	}
}

func TestStrangerRefuses(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	one := newTestNode(t, a, "node-1", fixed(epoch))
	foreign := newTestNode(t, newTestAuthority(t, "fedcba9876543210"), "node-1", fixed(epoch))
	none := members()
	server := func(id *Identity, mutate func(*tls.Config)) *tls.Config {
		c := id.openConfig(ProtocolJoin, tls.RequestClientCert)
		mutate(c)
		return c
	}
	// shows has one's server show other certificates than its own.
	shows := func(id *Identity, chain ...[]byte) func(*tls.Config) {
		return func(c *tls.Config) {
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				own := *id.current.Load()
				own.Certificate = chain
				return &own, nil
			}
		}
	}
	// An authority's own certificate is no server's, though its key is known.
	asAuthority := func(c *tls.Config) {
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{a.cert.Raw, a.cert.Raw}, PrivateKey: a.key}, nil
		}
	}
	for name, c := range map[string]struct {
		server *tls.Config
		at     time.Time
		want   error
		text   string
	}{
		"another cluster":               {foreign.ServerConfig(none), epoch, ErrForeignCluster, fmt.Sprintf("its authority is sha256:%x", foreign.AuthorityHash())},
		"no authority shown":            {server(one, shows(one, one.current.Load().Leaf.Raw)), epoch, ErrForeignCluster, "does not show its authority"},
		"another's leaf, our authority": {server(foreign, shows(foreign, foreign.current.Load().Leaf.Raw, a.cert.Raw)), epoch, ErrBadCertificate, "not issued by this cluster's authority"},
		"the authority as a node":       {server(one, asAuthority), epoch, ErrBadCertificate, "not a node's"},
		"the clock is behind":           {one.ServerConfig(none), epoch.Add(-2 * time.Hour), ErrClock, "it is 2026-11-23T10:00:00Z here"},
		"the certificate expired":       {one.ServerConfig(none), epoch.Add(91 * 24 * time.Hour), ErrClock, "valid from 2026-11-23T11:00:00Z"},
		"speaks no protocol":            {server(one, func(c *tls.Config) { c.NextProtos = nil }), epoch, ErrProtocol, "jaco-join/1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _, err := connect(t, c.server, StrangerConfig(one.AuthorityHash(), ProtocolJoin, fixed(c.at)))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("client: %v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

// renewal makes the connection over which id asks server for a certificate.
func renewal(t *testing.T, server, id *Identity, table MemberCheck) tls.ConnectionState {
	t.Helper()
	state, _, serverErr, clientErr := connect(t, server.ServerConfig(table), id.RenewConfig())
	if serverErr != nil || clientErr != nil {
		t.Fatalf("server %v, client %v", serverErr, clientErr)
	}
	return state
}

// A node that was off for a year still renews; what it gets serves its next
// connections without a restart.
func TestRenewAfterLongPowerOff(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	now := epoch
	clock := func() time.Time { return now }
	store := newTestStore(t, clock)
	two, err := store.Create(a, "node-2")
	if err != nil {
		t.Fatal(err)
	}
	now = epoch.Add(365 * 24 * time.Hour)
	one := newTestNode(t, a, "node-1", clock)
	table := members(one, two)
	if _, _, serverErr, _ := connect(t, one.ServerConfig(table), two.ClientConfig("node-1", ProtocolGRPC, table)); serverErr == nil {
		t.Fatal("an expired certificate opens the members' protocol")
	}
	node, public, err := one.VerifyRenewal(renewal(t, one, two, table), table)
	if err != nil || node != "node-2" {
		t.Fatalf("renewal of %q: %v", node, err)
	}
	cert, err := a.Issue(node, public, now, seeded("renewed"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Replace(two, cert); err != nil {
		t.Fatal(err)
	}
	if _, _, serverErr, clientErr := connect(t, one.ServerConfig(table), two.ClientConfig("node-1", ProtocolGRPC, table)); serverErr != nil || clientErr != nil {
		t.Errorf("after the renewal: server %v, client %v", serverErr, clientErr)
	}
}

func TestVerifyRenewalRefuses(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	one, two := newTestNode(t, a, "node-1", fixed(epoch)), newTestNode(t, a, "node-2", fixed(epoch))
	foreign := newTestNode(t, newTestAuthority(t, "fedcba9876543210"), "node-2", fixed(epoch))
	forgedBy, err := NewAuthority("0123456789abcdef", epoch, seeded("forger"))
	if err != nil {
		t.Fatal(err)
	}
	forged := newTestNode(t, forgedBy, "node-2", fixed(epoch))
	all := members(one, two, foreign, forged)
	stranger, _, _, err := connect(t, one.ServerConfig(all), StrangerConfig(one.AuthorityHash(), ProtocolJoin, fixed(epoch)))
	if err != nil {
		t.Fatal(err)
	}
	// They take the server for theirs, and show their own certificates.
	shown := func(id *Identity) tls.ConnectionState {
		config := id.RenewConfig()
		config.VerifyConnection = nil
		state, _, serverErr, clientErr := connect(t, one.ServerConfig(all), config)
		if serverErr != nil || clientErr != nil {
			t.Fatalf("server %v, client %v", serverErr, clientErr)
		}
		return state
	}
	for name, c := range map[string]struct {
		state tls.ConnectionState
		table MemberCheck
		want  error
		text  string
	}{
		"no certificate":     {stranger, all, ErrBadCertificate, "none was shown"},
		"removed":            {renewal(t, one, two, all), members(one), ErrNotMember, "node node-2: its key is not in the member table"},
		"under another name": {renewal(t, one, two, all), func([32]byte) (string, bool) { return "node-9", true }, ErrNotMember, "belongs to node node-9"},
		"another cluster's":  {shown(foreign), all, ErrBadCertificate, "not issued by this cluster's authority"},
		"a forger's":         {shown(forged), all, ErrBadCertificate, "not issued by this cluster's authority"},
		"before a handshake": {tls.ConnectionState{PeerCertificates: stranger.PeerCertificates}, all, ErrBadCertificate, "none was shown"},
	} {
		if _, _, err := one.VerifyRenewal(c.state, c.table); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, c.want, c.text)
		}
	}
}

// Somebody who holds a member's certificate without its key does not get as
// far as a renewal.
func TestShownCertificateMustBeHeld(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	one, two := newTestNode(t, a, "node-1", fixed(epoch)), newTestNode(t, a, "node-2", fixed(epoch))
	config := two.RenewConfig()
	thief, err := newKey(seeded("thief"))
	if err != nil {
		t.Fatal(err)
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: two.current.Load().Certificate, PrivateKey: thief}, nil
	}
	_, _, serverErr, _ := connect(t, one.ServerConfig(members(one, two)), config)
	if serverErr == nil || !strings.Contains(serverErr.Error(), "invalid signature") {
		t.Errorf("server: %v", serverErr)
	}
}

func TestAdmit(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	s := newTestStore(t, fixed(epoch))
	c := newTestCandidate(t, "node-2")
	if _, err := os.Lstat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a candidate leaves something on disk: %v", err)
	}
	issue := func(node string, of *Candidate, by *Authority) []byte {
		cert, err := by.Issue(node, of.PublicKey(), epoch, seeded("serial"))
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	other := newTestAuthority(t, "fedcba9876543210")
	for name, cert := range map[string][]byte{
		"another key's":     issue("node-2", newTestCandidate(t, "other"), a),
		"another name's":    issue("node-3", c, a),
		"another cluster's": issue("node-2", c, other),
		"none":              nil,
	} {
		if _, err := s.Admit(c, "node-2", a.CertificatePEM(), cert); !errors.Is(err, ErrBadCertificate) {
			t.Errorf("certificate that is %s: %v, want %v", name, err, ErrBadCertificate)
		}
		if _, err := os.Lstat(s.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("certificate that is %s: something was written: %v", name, err)
		}
	}
	id, err := s.Admit(c, "node-2", a.CertificatePEM(), issue("node-2", c, a))
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if loaded.KeyHash() != id.KeyHash() || loaded.Recipient() != c.Recipient() || loaded.Node() != "node-2" {
		t.Errorf("loaded %v", loaded)
	}
	if _, err := s.Admit(c, "node-2", a.CertificatePEM(), issue("node-2", c, a)); !errors.Is(err, ErrExists) {
		t.Errorf("second time: %v, want %v", err, ErrExists)
	}
}

// A crash at any step of Admit leaves no identity, and the next one takes its
// place.
func TestAdmitAfterCrash(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	for _, lost := range [][]string{{certFile}, {certFile, caFile}, {certFile, caFile, keyFile}, {certFile, caFile, keyFile, sealFile}} {
		s := newTestStore(t, fixed(epoch))
		if _, err := s.Create(a, "node-2"); err != nil {
			t.Fatal(err)
		}
		for _, name := range lost {
			if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Load(); !errors.Is(err, ErrNoIdentity) {
			t.Fatalf("without %v: load: %v, want %v", lost, err, ErrNoIdentity)
		}
		c := newTestCandidate(t, "again")
		cert, err := a.Issue("node-2", c.PublicKey(), epoch, seeded("serial"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Admit(c, "node-2", a.CertificatePEM(), cert); err != nil {
			t.Fatalf("without %v: %v", lost, err)
		}
		if id, err := s.Load(); err != nil || id.Recipient() != c.Recipient() {
			t.Errorf("without %v: load: %v, %v", lost, id, err)
		}
	}
}

func TestReplaceTakesNoShorterCertificate(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	s := newTestStore(t, fixed(epoch))
	id, err := s.Create(a, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	older, err := a.Issue("node-1", id.key.Public().(ed25519.PublicKey), epoch.Add(-time.Hour), seeded("older"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Replace(id, older); !errors.Is(err, ErrBadCertificate) || !strings.Contains(err.Error(), "before the present one") {
		t.Errorf("a certificate that ends earlier: %v", err)
	}
}

func TestProof(t *testing.T) {
	c := newTestCandidate(t, "node-2")
	message := []byte("what is proved")
	proof := c.Prove(message)
	if !VerifyProof(c.PublicKey(), message, proof) {
		t.Fatal("a good proof does not stand")
	}
	if VerifyProof(newTestCandidate(t, "other").PublicKey(), message, proof) || VerifyProof(c.PublicKey(), message[1:], proof) ||
		VerifyProof(c.PublicKey(), message, proof[1:]) || VerifyProof(c.PublicKey()[1:], message, proof) || VerifyProof(nil, message, proof) {
		t.Error("a wrong proof stands")
	}
	// Nothing else that the key signs can pass for a proof.
	digest := sha256.Sum256(message)
	a := newTestAuthority(t, "0123456789abcdef")
	s := newTestStore(t, fixed(epoch))
	cert, err := a.Issue("node-2", c.PublicKey(), epoch, seeded("serial"))
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.Admit(c, "node-2", a.CertificatePEM(), cert)
	if err != nil {
		t.Fatal(err)
	}
	signature, _, err := id.Sign(digest[:])
	if err != nil {
		t.Fatal(err)
	}
	if VerifyProof(c.PublicKey(), digest[:], signature) {
		t.Error("a bundle's signature passes for a proof")
	}
}

func TestCandidateDoesNotPrintItsKeys(t *testing.T) {
	c := newTestCandidate(t, "node-2")
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, c); got != "candidate "+c.Recipient() {
			t.Errorf("%s prints %q", format, got)
		}
	}
}

func TestCheckRecipient(t *testing.T) {
	if err := CheckRecipient(newTestCandidate(t, "x").Recipient()); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "age1", "node-1", "AGE-SECRET-KEY-1"} {
		if err := CheckRecipient(bad); !errors.Is(err, ErrBadKey) {
			t.Errorf("%q: %v, want %v", bad, err, ErrBadKey)
		}
	}
}

func TestAuthorityHashRefuses(t *testing.T) {
	node := newTestNode(t, newTestAuthority(t, "0123456789abcdef"), "node-1", fixed(epoch))
	for _, pem := range [][]byte{nil, node.CertificatePEM()} {
		if _, err := AuthorityHash(pem); !errors.Is(err, ErrBadCertificate) {
			t.Errorf("hash of %d bytes: %v, want %v", len(pem), err, ErrBadCertificate)
		}
	}
}
