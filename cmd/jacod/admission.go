package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/desired"
)

// door admits nodes, and gives tokens out.
type door struct {
	member *member
}

var (
	_ rpc.JoinServer  = door{}
	_ rpc.ReadTokens  = door{}
	_ rpc.TokenIssuer = door{}
)

// tokenWait is how long a node that lags is given to learn of a fresh token.
const tokenWait = 3 * time.Second

// token returns a token that state knows, now or in a moment.
func (d door) token(ctx context.Context, id string) *cluster.Token {
	ctx, cancel := context.WithTimeout(ctx, tokenWait)
	defer cancel()
	state := d.member.state
	for {
		changed := state.Changed()
		if token, found := state.Read().Token(id); found {
			return &token
		}
		if leader, _ := d.member.consensus.Leader(); leader == d.member.info.Node {
			return nil // nobody knows more
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// Check implements rpc.ReadTokens.
func (d door) Check(ctx context.Context, id string, secret rpc.Secret) (time.Time, error) {
	stored := d.token(ctx, id)
	if err := rpc.CheckToken(stored, id, secret, cluster.TokenRead, d.member.clock()); err != nil {
		return time.Time{}, err
	}
	return stored.ExpiresAt, nil
}

// Hello implements rpc.JoinServer.
func (d door) Hello(ctx context.Context, id string) (*rpc.HelloResult, error) {
	m := d.member
	token := d.token(ctx, id)
	if token == nil {
		return nil, rpc.CheckToken(nil, id, rpc.Secret{}, cluster.TokenJoin, m.clock())
	}
	switch {
	case token.Kind != cluster.TokenJoin:
		return nil, fmt.Errorf("%w: token %s is to %s with", cluster.ErrToken, id, token.Kind)
	case token.UsedBy != "":
		return nil, fmt.Errorf("%w: token %s was used by node %s: `jaco bootstrap token` on a member makes another", cluster.ErrToken, id, token.UsedBy)
	case !m.clock().Before(token.ExpiresAt):
		return nil, fmt.Errorf("%w: token %s expired at %s: `jaco bootstrap token` on a member makes another",
			cluster.ErrToken, id, token.ExpiresAt.UTC().Format(time.RFC3339))
	}
	meta := m.state.Read().Meta()
	if meta == nil {
		return nil, errors.New("this node does not know its cluster yet: ask another one")
	}
	return &rpc.HelloResult{
		ClusterID: meta.ID, ClusterName: meta.Name, Authority: meta.CA, Checkpoint: token.Checkpoint, Branch: meta.Repo.Branch,
	}, nil
}

// Join implements rpc.JoinServer.
func (d door) Join(ctx context.Context, request *rpc.JoinRequest) (*rpc.Admission, error) {
	m := d.member
	if t := m.term.Load(); t != nil {
		return t.admit(ctx, request)
	}
	leader, _, err := m.consensus.WaitLeader(ctx)
	if err != nil {
		return nil, fmt.Errorf("no leader can admit a node now: %w", err)
	}
	if leader == m.info.Node {
		return nil, m.notLeader()
	}
	return m.peers.Join(ctx, leader, request)
}

// Renew implements rpc.JoinServer. Any voter can.
func (d door) Renew(_ context.Context, node string, public ed25519.PublicKey) ([]byte, error) {
	authority, err := d.member.authority()
	if err != nil {
		return nil, err
	}
	return authority.Issue(node, public, d.member.clock(), rand.Reader)
}

// authority opens the cluster's authority, which is sealed to voters.
func (m *member) authority() (*identity.Authority, error) {
	snapshot := m.state.Read()
	item, found := snapshot.Sealed(sealedAuthority)
	meta := snapshot.Meta()
	if !found || meta == nil {
		return nil, errors.New("this node does not have the cluster's authority: ask a voter")
	}
	key, err := m.identity.Open(item)
	if err != nil {
		return nil, err
	}
	return identity.ParseAuthority(meta.CA, key)
}

// admit makes a stranger with a token a member. The certificate is issued
// before the log has the node: one that nobody knows opens nothing.
func (t *term) admit(ctx context.Context, request *rpc.JoinRequest) (*rpc.Admission, error) {
	m := t.member
	snapshot := m.state.Read()
	var stored *cluster.Token
	if token, found := snapshot.Token(request.TokenID); found {
		stored = &token
	}
	if err := rpc.CheckToken(stored, request.TokenID, request.Secret, cluster.TokenJoin, m.clock()); err != nil {
		return nil, err
	}
	if view := m.verifier.View(); view != nil && view.Cluster.Nodes[request.Name].Availability == desired.NodeRemoved {
		return nil, fmt.Errorf("%w: cluster.yaml says that node %s is removed: take that out with a signed commit first", cluster.ErrInvalid, request.Name)
	}
	authority, err := m.authority()
	if err != nil {
		return nil, err
	}
	key, err := publicKeyHash(request.PublicKey)
	if err != nil {
		return nil, err
	}
	old, replaced := snapshot.Node(request.Name)
	if replaced && old.CertificateKey != key && old.State == cluster.NodeDown {
		if err := t.retire(ctx, request.Name); err != nil {
			return nil, err
		}
	}
	certificate, err := authority.Issue(request.Name, request.PublicKey, m.clock(), rand.Reader)
	if err != nil {
		return nil, err
	}
	err = m.proposeHere(ctx, &cluster.AdmitNode{Token: request.TokenID, Node: cluster.Node{
		Name: request.Name, Address: request.Address, CertificateKey: key, SealKey: request.SealKey,
		State: cluster.NodeNotReady, Reason: "joining", Version: request.Version,
	}})
	if err != nil {
		return nil, err
	}
	m.logger.Info("node admitted", "node", request.Name, "address", request.Address, "token", request.TokenID)
	t.poke()
	return &rpc.Admission{Certificate: certificate, Members: memberKeys(m.state.Read().Nodes())}, nil
}

// publicKeyHash is identity.KeyHash of a key that has no certificate yet.
func publicKeyHash(key ed25519.PublicKey) ([32]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return [32]byte{}, fmt.Errorf("encode public key: %w", err)
	}
	return sha256.Sum256(der), nil
}

// errNoIssuer is returned when no token can be made for want of a leader.
var errNoIssuer = errors.New("no leader can make a token now: `jaco status` says what is missing")

// issueTimeout is how long an operator waits for a leader that makes a token:
// longer than an election takes.
const issueTimeout = 10 * time.Second

// IssueToken implements rpc.TokenIssuer: what a joining node pins is what this
// node, whose operator asks, has accepted itself.
func (d door) IssueToken(ctx context.Context, operator string, kind cluster.TokenKind, ttl time.Duration) (*rpc.IssuedToken, error) {
	m := d.member
	ctx, cancel := context.WithTimeout(ctx, issueTimeout)
	defer cancel()
	request := rpc.IssueTokenRequest{Kind: kind, TTL: ttl, Operator: operator + "@" + m.info.Node}
	if kind == cluster.TokenJoin {
		checkpoint, err := m.checkpoint(ctx)
		if err != nil {
			return nil, err
		}
		request.Checkpoint = checkpoint
	}
	for {
		leader, _, err := m.consensus.WaitLeader(ctx)
		if err != nil {
			return nil, errNoIssuer
		}
		var issued *rpc.IssuedToken
		if leader == m.info.Node {
			issued, err = m.issue(ctx, request)
		} else {
			issued, err = m.peers.IssueToken(ctx, leader, m.identity.AuthorityHash(), request)
		}
		if !passing(err) || !pause(ctx, askAgain) {
			return issued, err
		}
	}
}

// checkpoint is this node's own, once it follows the log.
func (m *member) checkpoint(ctx context.Context) ([]byte, error) {
	for {
		data, err := m.verifier.Checkpoint(m.state.Read())
		if !errors.Is(err, verifier.ErrUnsettled) || !pause(ctx, askAgain) {
			return data, err
		}
	}
}

// issue makes a token on the leader.
func (m *member) issue(ctx context.Context, request rpc.IssueTokenRequest) (*rpc.IssuedToken, error) {
	if m.term.Load() == nil {
		return nil, m.notLeader()
	}
	var checkpoint [32]byte
	if request.Kind == cluster.TokenJoin {
		checkpoint = verifier.CheckpointHash(request.Checkpoint)
	}
	token, err := rpc.NewToken(rand.Reader, request.Kind, m.identity.AuthorityHash(), checkpoint)
	if err != nil {
		return nil, err
	}
	expires := m.clock().Add(request.TTL).UTC().Truncate(time.Second)
	actor := cluster.Actor{Kind: cluster.ActorOperator, Name: request.Operator}
	_, err = m.consensus.Propose(ctx, actor, &cluster.PutToken{Token: cluster.Token{
		ID: token.ID, Kind: request.Kind, Hash: token.Hash(), ExpiresAt: expires, Checkpoint: request.Checkpoint,
	}})
	if err != nil {
		return nil, err
	}
	return &rpc.IssuedToken{Token: token, ExpiresAt: expires}, nil
}

// renewEvery is how often it is looked whether the certificate ends soon.
const renewEvery = time.Hour

// renew has this node's certificate issued anew long before it ends, or as soon
// as possible after.
func (m *member) renew(ctx context.Context) error {
	store := newIdentityStore(m.config.DataDir, m.clock)
	for {
		wait := renewEvery
		if m.identity.NeedsRenewal(m.clock()) {
			if err := m.renewOnce(ctx, store); err != nil {
				m.logger.Warn("certificate was not renewed yet", "ends", m.identity.NotAfter(), "error", err)
				wait = time.Minute
			} else {
				m.logger.Info("certificate renewed", "ends", m.identity.NotAfter())
			}
		}
		if !pause(ctx, wait) {
			return nil
		}
	}
}

func (m *member) renewOnce(ctx context.Context, store *identity.Store) error {
	if authority, err := m.authority(); err == nil {
		return store.Renew(m.identity, authority)
	}
	var errs []error
	for _, peer := range m.known() {
		if peer.Name == m.info.Node {
			continue
		}
		certificate, err := rpc.NewJoinClient(peer.Address, m.clock).Renew(ctx, m.identity)
		if err == nil {
			return store.Replace(m.identity, certificate)
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("ask every member: %w", errors.Join(errs...))
}
