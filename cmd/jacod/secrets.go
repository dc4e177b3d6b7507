package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// secretsDirectory is where this node's decrypted files are: beside the socket,
// which is on a tmpfs wherever /run is one.
func (m *member) secretsDirectory() string {
	return filepath.Join(filepath.Dir(m.config.Socket), "secrets", m.info.Cluster+"."+m.info.Node)
}

// sealUnitSecret makes the secret that the identities of units are derived from.
func sealUnitSecret(recipients map[string]string) (cluster.SealedItem, error) {
	secret := make([]byte, identity.UnitSecretBytes)
	if _, err := rand.Read(secret); err != nil {
		return cluster.SealedItem{}, fmt.Errorf("draw the secret of units: %w", err)
	}
	return identity.Seal(sealedUnitSecret, secret, recipients)
}

// makeUnitSecret makes that secret for a cluster that is older than it. It is
// made once: the leader has applied all that earlier ones wrote, and one that
// leads no more writes nothing.
func (t *term) makeUnitSecret(ctx context.Context, voters []string) error {
	recipients := lackUnitSecret(t.member.state.Read(), voters)
	if len(recipients) == 0 {
		return nil
	}
	item, err := sealUnitSecret(recipients)
	if err != nil {
		return err
	}
	return t.member.proposeHere(ctx, &cluster.PutSealed{Items: []cluster.SealedItem{item}})
}

// lackUnitSecret are the voters to seal that secret to; none when it was made,
// or is about to be, by init with the rest.
func lackUnitSecret(snapshot *cluster.Snapshot, voters []string) map[string]string {
	_, made := snapshot.Sealed(sealedUnitSecret)
	_, begun := snapshot.Sealed(sealedAuthority)
	if made || !begun {
		return nil
	}
	return sealKeys(snapshot, voters)
}

// derive returns the identity of a unit on a node that can open their secret.
func (m *member) derive(unit string) (*identity.UnitKey, error) {
	item, found := m.state.Read().Sealed(sealedUnitSecret)
	if !found {
		return nil, fmt.Errorf("%w: this cluster has no secret for its deployments yet; its leader makes it", rpc.ErrNotFound)
	}
	secret, err := m.identity.Open(item)
	if err != nil {
		return nil, err
	}
	return identity.DeriveUnitKey(secret, unit)
}

// errNoVoter is returned while no voter gives out what a node needs.
var errNoVoter = errors.New("no voter answers")

// askVoters tries the voters, the leader first, until one has an answer. The
// answers of the others are the error.
func (m *member) askVoters(ctx context.Context, ask func(ctx context.Context, voter string) error) error {
	leader, _ := m.consensus.Leader()
	voters := voterNames(m.consensus.Servers())
	slices.SortStableFunc(voters, func(a, b string) int {
		switch leader {
		case a:
			return -1
		case b:
			return 1
		}
		return 0
	})
	said := ""
	for _, voter := range voters {
		if voter == m.info.Node {
			continue
		}
		err := ask(ctx, voter)
		if err == nil || ctx.Err() != nil {
			return err
		}
		said += "; " + err.Error() // one line, as it becomes a reason
	}
	return fmt.Errorf("%w%s", errNoVoter, said)
}

// unitKeys are the identities of what this node runs. They are kept in memory,
// so that a replica that restarts needs no voter.
type unitKeys struct {
	member *member

	mu    sync.Mutex // guards the fields below
	known map[string]*identity.UnitKey
}

var _ agent.Keys = (*unitKeys)(nil)

// Key implements agent.Keys.
func (u *unitKeys) Key(ctx context.Context, unit string) (agent.Key, error) {
	key, err := u.key(ctx, unit)
	if err != nil {
		return nil, err // not an interface that holds nil
	}
	return key, nil
}

func (u *unitKeys) key(ctx context.Context, unit string) (*identity.UnitKey, error) {
	u.forget()
	u.mu.Lock()
	key := u.known[unit]
	u.mu.Unlock()
	if key != nil {
		return key, nil
	}
	m := u.member
	key, err := m.derive(unit)
	if errors.Is(err, identity.ErrNotRecipient) || errors.Is(err, rpc.ErrNotFound) {
		err = m.askVoters(ctx, func(ctx context.Context, voter string) (err error) {
			key, err = m.peers.UnitKey(ctx, voter, unit)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known[unit] = key
	return key, nil
}

// forget drops what this node runs no more.
func (u *unitKeys) forget() {
	runs := runsOn(u.member.state.Read(), u.member.info.Node)
	u.mu.Lock()
	defer u.mu.Unlock()
	for unit := range u.known {
		if unit != rpc.ClusterUnit && !runs[unit] {
			delete(u.known, unit)
		}
	}
}

// runsOn names the deployments that have a replica on a node.
func runsOn(snapshot *cluster.Snapshot, node string) map[string]bool {
	runs := map[string]bool{}
	for _, r := range snapshot.ReplicasOnNode(node) {
		runs[r.Deployment] = runs[r.Deployment] || !r.Phase.Final()
	}
	return runs
}

// UnitKey implements rpc.PeerSecrets: a node may have what opens the secrets of
// the deployments that it runs, and of cluster.yaml.
func (n network) UnitKey(_ context.Context, node, unit string) (*identity.UnitKey, error) {
	m := n.member
	if unit != rpc.ClusterUnit && !runsOn(m.state.Read(), node)[unit] {
		return nil, fmt.Errorf("%w: node %s runs nothing of deployment %s, as far as node %s knows", rpc.ErrForbidden, node, unit, m.info.Node)
	}
	key, err := m.derive(unit)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", rpc.ErrNotFound, err)
	}
	m.logger.Info("handed over the identity of a unit", "unit", unit, "node", node)
	return key, nil
}

// Recipient implements rpc.PeerSecrets.
func (n network) Recipient(_ context.Context, unit string) (string, error) {
	key, err := n.member.derive(unit)
	if err != nil {
		return "", fmt.Errorf("%w: %w", rpc.ErrNotFound, err)
	}
	return key.Recipient(), nil
}

// Recipient implements rpc.Recipients.
func (a *answers) Recipient(ctx context.Context, unit string) (recipient string, err error) {
	key, err := a.member.derive(unit)
	if err == nil {
		return key.Recipient(), nil
	}
	if !errors.Is(err, identity.ErrNotRecipient) && !errors.Is(err, rpc.ErrNotFound) {
		return "", err
	}
	err = a.member.askVoters(ctx, func(ctx context.Context, voter string) (err error) {
		recipient, err = a.member.peers.Recipient(ctx, voter, unit)
		return err
	})
	return recipient, err
}
