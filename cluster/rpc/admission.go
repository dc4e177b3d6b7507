package rpc

import (
	"fmt"

	"github.com/jaco-sh/jaco/cluster"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// Admission is what a node is given that becomes a member.
type Admission struct {
	Certificate []byte // PEM
	// Members are the others: until the log has come, the new node knows by
	// this who may bring it.
	Members []MemberKey
}

// MemberKey is a member as a node that has no member table yet knows it.
type MemberKey struct {
	Name    string   `json:"name"`
	Address string   `json:"address"` // host:port of its control port
	Key     [32]byte `json:"key"`     // SHA-256 of its certificate's public key
}

func (a *Admission) message() *jacov1.JoinResponse {
	out := &jacov1.JoinResponse{Certificate: a.Certificate}
	for _, m := range a.Members {
		out.Members = append(out.Members, &jacov1.MemberKey{Name: m.Name, Address: m.Address, Key: m.Key[:]})
	}
	return out
}

func admissionOf(in *jacov1.JoinResponse) (*Admission, error) {
	a := &Admission{Certificate: in.GetCertificate()}
	for _, m := range in.GetMembers() {
		if len(m.GetKey()) != len(MemberKey{}.Key) {
			return nil, fmt.Errorf("%w: member %q has a key hash of %d bytes", cluster.ErrInvalid, m.GetName(), len(m.GetKey()))
		}
		a.Members = append(a.Members, MemberKey{Name: m.GetName(), Address: m.GetAddress(), Key: [32]byte(m.GetKey())})
	}
	return a, nil
}
