package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// The protocols of the control port, told apart by ALPN. They are on the wire:
// never rename one.
const (
	ProtocolRaft = "jaco-raft/1"
	ProtocolGRPC = "h2"
	// ProtocolJoin is for those who have no certificate yet, or none that is
	// still valid; ProtocolRead for those who read with a token.
	ProtocolJoin = "jaco-join/1"
	ProtocolRead = "jaco-read/1"
)

// The ways in which the other end of a connection is refused.
var (
	// ErrNotMember is returned for a certificate of the cluster whose key is
	// not in the member table, or is there under another name.
	ErrNotMember = errors.New("not a member of the cluster")
	// ErrWrongNode is returned when another node answers than was dialed.
	ErrWrongNode = errors.New("another node answered")
	// ErrProtocol is returned when the other end did not agree on the protocol.
	ErrProtocol = errors.New("no common protocol")
)

// MemberCheck looks a node up in the member table by the hash of its public
// key. It is called for every connection, possibly at the same time.
type MemberCheck func(keyHash [32]byte) (node string, ok bool)

// ServerConfig returns the configuration of the control port: TLS 1.3 only, no
// session tickets, so that every connection is checked in full. What is asked
// of a client hangs on the protocol that it offers. Members (raft, gRPC) need a
// certificate whose chain and membership are checked. Over ProtocolJoin a
// certificate may be shown and is not checked (VerifyRenewal does that), over
// ProtocolRead none is asked for; to both the server shows its authority too,
// which they know by its hash.
func (i *Identity) ServerConfig(members MemberCheck) *tls.Config {
	join, read := i.openConfig(ProtocolJoin, tls.RequestClientCert), i.openConfig(ProtocolRead, tls.NoClientCert)
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              i.roots,
		NextProtos:             []string{ProtocolRaft, ProtocolGRPC},
		SessionTicketsDisabled: true,
		Time:                   i.clock,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			// Each of the two agrees on its own protocol and no other: who
			// offers one of them can never end among the members.
			switch {
			case slices.Contains(hello.SupportedProtos, ProtocolJoin):
				return join, nil
			case slices.Contains(hello.SupportedProtos, ProtocolRead):
				return read, nil
			}
			return nil, nil
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return i.current.Load(), nil
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := i.CheckPeer(state, members)
			return err
		},
	}
}

// openConfig is for clients of whom no certificate is demanded.
func (i *Identity) openConfig(protocol string, ask tls.ClientAuthType) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		ClientAuth:             ask,
		NextProtos:             []string{protocol},
		SessionTicketsDisabled: true,
		Time:                   i.clock,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			chain := *i.current.Load()
			chain.Certificate = [][]byte{chain.Certificate[0], i.ca.Raw}
			return &chain, nil
		},
	}
}

// ClientConfig returns the configuration for a connection to the given node
// and no other, for one protocol.
func (i *Identity) ClientConfig(node, protocol string, members MemberCheck) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		RootCAs:                i.roots,
		ServerName:             node,
		NextProtos:             []string{protocol},
		SessionTicketsDisabled: true,
		Time:                   i.clock,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return i.current.Load(), nil
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			peer, err := i.CheckPeer(state, members)
			if err != nil {
				return err
			}
			if peer != node {
				return fmt.Errorf("%w: dialed %s, got %s", ErrWrongNode, node, peer)
			}
			if state.NegotiatedProtocol != protocol {
				return fmt.Errorf("%w: node %s does not speak %s", ErrProtocol, node, protocol)
			}
			return nil
		},
	}
}

// CheckPeer judges the certificate at the other end of a member's connection
// after crypto/tls verified its chain, and returns the name of its node. The
// configurations call it for each new connection; whoever serves one that stays
// open calls it again, because the node may have been removed. Errors wrap
// ErrNotMember or ErrBadCertificate.
func (i *Identity) CheckPeer(state tls.ConnectionState, members MemberCheck) (string, error) {
	if len(state.VerifiedChains) == 0 {
		return "", fmt.Errorf("%w: no verified certificate", ErrNotMember)
	}
	return i.checkMember(state.VerifiedChains[0][0], members)
}

// checkMember looks a certificate that the authority issued up in the member
// table, and returns the name of its node.
func (i *Identity) checkMember(leaf *x509.Certificate, members MemberCheck) (string, error) {
	cluster, node, err := certificateNames(leaf)
	if err != nil {
		return "", err
	}
	if cluster != i.cluster || node == "" {
		return "", fmt.Errorf("%w: the certificate is for cluster %q, node %q", ErrNotMember, cluster, node)
	}
	member, ok := members(KeyHash(leaf))
	if !ok {
		return "", fmt.Errorf("%w: node %s: its key is not in the member table", ErrNotMember, node)
	}
	if member != node {
		return "", fmt.Errorf("%w: node %s: its key belongs to node %s", ErrNotMember, node, member)
	}
	return node, nil
}

// PeerNode returns the name of the node at the other end of a connection that
// was made with a configuration of this package, and "" when it has none.
func PeerNode(state tls.ConnectionState) string {
	if !state.HandshakeComplete || len(state.VerifiedChains) == 0 {
		return ""
	}
	_, node, err := certificateNames(state.VerifiedChains[0][0])
	if err != nil {
		return ""
	}
	return node
}
