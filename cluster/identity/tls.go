package identity

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// The protocols of the control port, told apart by ALPN. They are on the wire:
// never rename one.
const (
	ProtocolRaft = "jaco-raft/1"
	ProtocolGRPC = "h2"
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

// ServerConfig returns the configuration of the control port: TLS 1.3 only,
// a client certificate required, its chain and its membership checked, no
// session tickets, so that every connection is checked in full.
func (i *Identity) ServerConfig(members MemberCheck) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              i.roots,
		NextProtos:             []string{ProtocolRaft, ProtocolGRPC},
		SessionTicketsDisabled: true,
		Time:                   i.clock,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return i.current.Load(), nil
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := i.checkPeer(state, members)
			return err
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
			peer, err := i.checkPeer(state, members)
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

// checkPeer judges the certificate at the other end after crypto/tls verified
// its chain, and returns the name of its node.
func (i *Identity) checkPeer(state tls.ConnectionState, members MemberCheck) (string, error) {
	if len(state.VerifiedChains) == 0 {
		return "", fmt.Errorf("%w: no verified certificate", ErrNotMember)
	}
	leaf := state.VerifiedChains[0][0]
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
