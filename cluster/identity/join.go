package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"filippo.io/age"
)

// The ways in which a server is refused by whoever knows its cluster by the
// authority's hash alone.
var (
	// ErrForeignCluster is returned when the server is not of the cluster that
	// the hash stands for.
	ErrForeignCluster = errors.New("the server belongs to another cluster than the token")
	// ErrClock is returned when the server's certificate is not valid by this
	// machine's clock.
	ErrClock = errors.New("the server's certificate is not valid at this machine's time")
)

// proofPrefix keeps what a candidate signs apart from everything else that the
// node's key signs. It is on the wire: never change it.
const proofPrefix = "jaco join proof 1\x00"

// AuthorityHash returns the SHA-256 of an authority's certificate in DER form,
// by which those know a cluster who are not its members: it stands in tokens.
func AuthorityHash(authorityPEM []byte) ([32]byte, error) {
	ca, _, err := parseAuthorityCertificate(authorityPEM)
	if err != nil {
		return [32]byte{}, fmt.Errorf("hash of cluster authority: %w", err)
	}
	return sha256.Sum256(ca.Raw), nil
}

// AuthorityHash returns the hash of the authority that the node trusts.
func (i *Identity) AuthorityHash() [32]byte { return sha256.Sum256(i.ca.Raw) }

// Candidate is the keys of a node that has no certificate yet. They are in
// memory alone until Store.Admit writes them with their certificate: a crash
// in between leaves nothing.
type Candidate struct {
	key  ed25519.PrivateKey
	seal *age.X25519Identity
}

// NewCandidate draws the keys of a new node.
func NewCandidate(rand io.Reader) (*Candidate, error) {
	key, err := newKey(rand)
	if err != nil {
		return nil, err
	}
	seal, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("draw a seal key: %w", err)
	}
	return &Candidate{key: key, seal: seal}, nil
}

// PublicKey returns the key that the node's certificate is to be for.
func (c *Candidate) PublicKey() ed25519.PublicKey {
	public, _ := c.key.Public().(ed25519.PublicKey)
	return public
}

// Recipient returns the age recipient to which secrets for the node are sealed.
func (c *Candidate) Recipient() string { return c.seal.Recipient().String() }

// Prove signs a request to join, so that nobody joins with another's key.
func (c *Candidate) Prove(message []byte) []byte {
	return ed25519.Sign(c.key, append([]byte(proofPrefix), message...))
}

// VerifyProof reports whether proof was made by Prove, over message, with the
// private half of public.
func VerifyProof(public ed25519.PublicKey, message, proof []byte) bool {
	return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, append([]byte(proofPrefix), message...), proof)
}

// CheckRecipient returns an error that wraps ErrBadKey unless secrets can be
// sealed to recipient.
func CheckRecipient(recipient string) error {
	if _, err := age.ParseX25519Recipient(recipient); err != nil {
		return fmt.Errorf("%w: %q is no age recipient", ErrBadKey, recipient)
	}
	return nil
}

// String names the candidate without its keys.
func (c *Candidate) String() string { return "candidate " + c.Recipient() }

// GoString keeps the keys out of %#v.
func (c *Candidate) GoString() string { return c.String() }

// files are the four of the candidate once it has its certificate.
func (c *Candidate) files(authorityPEM, certPEM []byte) (files, error) {
	keyPEM, err := encodeKey(c.key)
	if err != nil {
		return files{}, err
	}
	return files{key: keyPEM, cert: certPEM, ca: authorityPEM, seal: []byte(c.seal.String() + "\n")}, nil
}

// Admit makes an identity of a candidate whose certificate was issued
// elsewhere, under the given name, and writes it to disk. The certificate is
// written last and makes the identity complete: what a crash left behind
// without it is replaced. What does not fit together is refused before
// anything is written, with an error that wraps ErrBadCertificate.
func (s *Store) Admit(c *Candidate, node string, authorityPEM, certPEM []byte) (*Identity, error) {
	if _, err := os.Lstat(s.path(certFile)); err == nil {
		return nil, fmt.Errorf("create identity in %s: %w", s.dir, ErrExists)
	}
	f, err := c.files(authorityPEM, certPEM)
	if err != nil {
		return nil, fmt.Errorf("create identity of node %s: %w", node, err)
	}
	id, err := newIdentity(f, s.clock)
	if err != nil {
		return nil, fmt.Errorf("create identity of node %s: %w", node, err)
	}
	if id.node != node {
		return nil, fmt.Errorf("create identity of node %s: %w: it is for node %s", node, ErrBadCertificate, id.node)
	}
	if err := s.persist(f); err != nil {
		return nil, fmt.Errorf("create identity of node %s: %w", node, err)
	}
	return id, nil
}

// persist writes the files of a new identity, the certificate last.
func (s *Store) persist(f files) error {
	if err := os.MkdirAll(s.dir, dirMode); err != nil {
		return s.explain(s.dir, err)
	}
	if err := s.checkMode(s.dir, 0o022, "0700"); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		data []byte
	}{{sealFile, f.seal}, {keyFile, f.key}, {caFile, f.ca}, {certFile, f.cert}} {
		if err := s.write(step.name, step.data); err != nil {
			return err
		}
	}
	return nil
}

// VerifyRenewal judges the certificate that a caller showed over ProtocolJoin
// in order to have it renewed, and returns the node that it is and the key to
// certify. It may have expired, because a node renews also after a long
// power-off; it must be of this cluster's authority, and its key in the member
// table, because a removed node does not renew. Errors wrap ErrNotMember or
// ErrBadCertificate.
func (i *Identity) VerifyRenewal(state tls.ConnectionState, members MemberCheck) (string, ed25519.PublicKey, error) {
	if !state.HandshakeComplete || len(state.PeerCertificates) == 0 {
		return "", nil, fmt.Errorf("renew certificate: %w: none was shown", ErrBadCertificate)
	}
	// That the caller holds its key was proved in the handshake.
	leaf := state.PeerCertificates[0]
	if _, err := verifyNode(leaf, i.ca, i.cluster); err != nil {
		return "", nil, fmt.Errorf("renew certificate: %w", err)
	}
	node, err := i.checkMember(leaf, members)
	if err != nil {
		return "", nil, fmt.Errorf("renew certificate: %w", err)
	}
	public, ok := leaf.PublicKey.(ed25519.PublicKey)
	if !ok {
		return "", nil, fmt.Errorf("renew certificate of node %s: %w: not an ed25519 key", node, ErrBadCertificate)
	}
	return node, public, nil
}

// StrangerConfig returns the configuration for a connection without a
// certificate, for ProtocolJoin or ProtocolRead, to any node of the cluster
// whose authority has the given hash. What is refused wraps ErrForeignCluster,
// ErrBadCertificate, ErrClock or ErrProtocol.
func StrangerConfig(authority [32]byte, protocol string, clock func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		NextProtos:             []string{protocol},
		SessionTicketsDisabled: true,
		Time:                   clock,
		// The authority is not known before the server has shown it, nor is
		// the server's name: VerifyConnection does all the verifying.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if state.NegotiatedProtocol != protocol {
				return fmt.Errorf("%w: the server does not speak %s", ErrProtocol, protocol)
			}
			return verifyServer(state.PeerCertificates, authority, clock())
		},
	}
}

// RenewConfig is StrangerConfig for a member whose own certificate may have
// expired: it shows it.
func (i *Identity) RenewConfig() *tls.Config {
	config := StrangerConfig(i.AuthorityHash(), ProtocolJoin, i.clock)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return i.current.Load(), nil
	}
	return config
}

// verifyServer checks that chain is a node's certificate followed by that of
// the authority with the given hash, and that both are valid now.
func verifyServer(chain []*x509.Certificate, authority [32]byte, now time.Time) error {
	if len(chain) < 2 {
		return fmt.Errorf("%w: it does not show its authority", ErrForeignCluster)
	}
	leaf, ca := chain[0], chain[len(chain)-1]
	if got := sha256.Sum256(ca.Raw); got != authority {
		return fmt.Errorf("%w: its authority is sha256:%x, wanted sha256:%x", ErrForeignCluster, got, authority)
	}
	_, cluster, err := parseAuthorityCertificate(encodePEM(pemCertificate, ca.Raw))
	if err != nil {
		return fmt.Errorf("the server's authority: %w", err)
	}
	if _, err := verifyNode(leaf, ca, cluster); err != nil {
		return fmt.Errorf("the server's certificate: %w", err)
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("%w: it is valid from %s to %s, and it is %s here: set the clocks right", ErrClock,
			leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
		return fmt.Errorf("the server's certificate: %w: %w", ErrBadCertificate, err)
	}
	return nil
}
