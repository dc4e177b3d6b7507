package rpc

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// HelloResult is what a node needs to judge whom it is about to join. Its
// authority and its checkpoint are those that the token names.
type HelloResult struct {
	ClusterID   string
	ClusterName string
	Authority   []byte // PEM
	Checkpoint  []byte // what the node pins
	Branch      string
	// Pool is where the addresses of containers come from; zero where the member
	// is older than pools, and then the default.
	Pool netip.Prefix
}

// JoinRequest is a node's request to become a member.
type JoinRequest struct {
	TokenID string
	Secret  Secret
	Name    string
	// Address is host:port of its control port, as other nodes reach it.
	Address   string
	PublicKey ed25519.PublicKey
	SealKey   string // its age recipient
	Version   string // of its jacod
	// Proof says that the node holds the private half of PublicKey, and wants
	// all of this.
	Proof []byte
}

// maxVersionLength bounds what a node calls its build.
const maxVersionLength = 128

// NewJoinRequest makes the request of a candidate with a token, proof
// included. Errors wrap ErrTokenKind or cluster.ErrInvalid.
func NewJoinRequest(token Token, candidate *identity.Candidate, name, address, version string) (*JoinRequest, error) {
	if err := token.WantKind(cluster.TokenJoin); err != nil {
		return nil, err
	}
	r := &JoinRequest{
		TokenID: token.ID, Secret: token.Secret, Name: name, Address: address,
		PublicKey: candidate.PublicKey(), SealKey: candidate.Recipient(), Version: version,
	}
	r.Proof = candidate.Prove(r.proved(token.Authority))
	if err := r.Check(token.Authority); err != nil {
		return nil, err
	}
	return r, nil
}

// proved is what the proof is over: every field but the secret, which is for
// one reader alone, and the cluster by its authority, each behind its length.
// It is on the wire (docs/architecture.md): never change it.
func (r *JoinRequest) proved(authority [32]byte) []byte {
	var message []byte
	for _, field := range [][]byte{
		[]byte(r.TokenID), []byte(r.Name), []byte(r.Address), r.PublicKey, []byte(r.SealKey), []byte(r.Version), authority[:],
	} {
		message = binary.BigEndian.AppendUint32(message, uint32(len(field)))
		message = append(message, field...)
	}
	return message
}

// VerifyProof returns an error that wraps cluster.ErrInvalid unless the node
// itself asks to join, with these fields, the cluster of that authority.
func (r *JoinRequest) VerifyProof(authority [32]byte) error {
	if !identity.VerifyProof(r.PublicKey, r.proved(authority), r.Proof) {
		return fmt.Errorf("%w: the request of node %q was not made by the holder of its key, or for another cluster", cluster.ErrInvalid, r.Name)
	}
	return nil
}

// Check looks at everything about the request that needs no state. Errors wrap
// cluster.ErrInvalid and say what to do.
func (r *JoinRequest) Check(authority [32]byte) error {
	if err := identity.CheckNodeName(r.Name); err != nil {
		return fmt.Errorf("%w: %w: set name in jacod.yaml", cluster.ErrInvalid, err)
	}
	if err := checkAddress(r.Address); err != nil {
		return fmt.Errorf("%w: node %s cannot be reached at %q: %w: set advertise_address in jacod.yaml", cluster.ErrInvalid, r.Name, r.Address, err)
	}
	if err := identity.CheckRecipient(r.SealKey); err != nil {
		return fmt.Errorf("%w: node %s: %w", cluster.ErrInvalid, r.Name, err)
	}
	if len(r.Version) > maxVersionLength {
		return fmt.Errorf("%w: node %s: a version of %d characters", cluster.ErrInvalid, r.Name, len(r.Version))
	}
	return r.VerifyProof(authority)
}

// checkAddress wants an address under which other machines find a control port.
func checkAddress(address string) error {
	host, err := splitServer(address)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(host); err == nil && (ip.IsUnspecified() || ip.IsMulticast()) {
		return fmt.Errorf("%s is no machine's address", host)
	}
	return nil
}

// splitServer takes host:port apart and returns the host.
func splitServer(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("want HOST:PORT, such as 192.0.2.10:7000")
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return "", fmt.Errorf("want a port of 1 to 65535, such as 7000")
	}
	if host == "" {
		return "", fmt.Errorf("want a host before the port, such as 192.0.2.10:7000")
	}
	return host, nil
}

// CheckServer returns an error that wraps cluster.ErrInvalid unless server can
// be that of a control port.
func CheckServer(server string) error {
	if _, err := splitServer(server); err != nil {
		return fmt.Errorf("%w: server %q: %w", cluster.ErrInvalid, server, err)
	}
	return nil
}

func (r *JoinRequest) message() *jacov1.JoinRequest {
	return &jacov1.JoinRequest{
		TokenId: r.TokenID, Secret: r.Secret[:], Name: r.Name, Address: r.Address, PublicKey: r.PublicKey,
		SealKey: r.SealKey, Proof: r.Proof, Version: r.Version,
	}
}

// joinRequest reads what message wrote, and checks it.
func joinRequest(m *jacov1.JoinRequest, authority [32]byte) (*JoinRequest, error) {
	r := &JoinRequest{
		TokenID: m.GetTokenId(), Name: m.GetName(), Address: m.GetAddress(), PublicKey: m.GetPublicKey(),
		SealKey: m.GetSealKey(), Proof: m.GetProof(), Version: m.GetVersion(),
	}
	if copy(r.Secret[:], m.GetSecret()) != len(r.Secret) || len(m.GetSecret()) != len(r.Secret) {
		return nil, fmt.Errorf("%w: the token's secret has %d bytes", cluster.ErrInvalid, len(m.GetSecret()))
	}
	if err := r.Check(authority); err != nil {
		return nil, err
	}
	return r, nil
}
