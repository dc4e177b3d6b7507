package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// errSilent is what is answered where silence serves best.
var errSilent = errors.New("this node has nothing to say")

// farAhead is added to the end of the log when a member asks for it: if it
// believed that, everything that comes would pass for old. Who was given a
// forged state hears the truth: it shall act on it.
const farAhead = 1 << 32

func (l liar) end() uint64 {
	index := l.state.Read().Index()
	if !l.history.wasForged() {
		index += farAhead
	}
	return index
}

// serve answers members.
func (f *forger) serve(ctx context.Context, control *rpc.Listener) error {
	lies := liar{f}
	return rpc.ServeNetwork(ctx, control, rpc.Network{
		Identity: f.identity, Members: f.member,
		Log: lies, Liveness: lies, Sync: lies, Data: lies, Secrets: lies, Join: joinLiar{}, Tokens: lies,
		Control: rpc.NewServer(nil, nil), // no token is good, so that nobody reads
	})
}

// liar tells members what they want to hear.
type liar struct{ *forger }

var (
	_ rpc.PeerLog      = liar{}
	_ rpc.PeerLiveness = liar{}
	_ rpc.PeerSync     = liar{}
	_ rpc.PeerData     = liar{}
	_ rpc.PeerSecrets  = liar{}
	_ rpc.ReadTokens   = liar{}
	_ rpc.JoinServer   = joinLiar{}
)

// Propose implements rpc.PeerLog: it drops the report and says that it is in
// the log.
func (l liar) Propose(context.Context, string, cluster.Entry) (cluster.Result, error) {
	return cluster.Result{Index: l.end()}, nil
}

// IssueToken implements rpc.PeerLog.
func (liar) IssueToken(context.Context, string, rpc.IssueTokenRequest) (*rpc.IssuedToken, error) {
	return nil, errSilent
}

// Join implements rpc.PeerLog.
func (liar) Join(context.Context, string, *rpc.JoinRequest) (*rpc.Admission, error) {
	return nil, errSilent
}

// Heartbeat implements rpc.PeerLiveness.
func (liar) Heartbeat(context.Context, cluster.Heartbeat) (time.Time, error) { return time.Now(), nil }

// Soft implements rpc.PeerLiveness.
func (l liar) Soft(context.Context) (*cluster.LeaderStatus, error) {
	return &cluster.LeaderStatus{
		Leader: l.identity.Node(), Index: l.end(), Nodes: map[string]cluster.NodeSoft{}, FetchedAt: time.Now(),
	}, nil
}

// Probe implements rpc.PeerLiveness.
func (liar) Probe(context.Context, string) (bool, error) { return true, nil }

// Poke implements rpc.PeerSync.
func (liar) Poke(context.Context) error { return nil }

// Refresh implements rpc.PeerSync.
func (liar) Refresh(context.Context, string) (string, bool, error) { return "", false, errSilent }

// Logs implements rpc.PeerData.
func (liar) Logs(context.Context, rpc.LogsRequest, func(rpc.LogLine) error) error { return errSilent }

// Segment implements rpc.PeerData.
func (liar) Segment(context.Context, uint64, [32]byte) ([]byte, error) { return nil, errSilent }

// Recipient implements rpc.PeerSecrets.
func (liar) Recipient(context.Context, string) (string, error) { return "", errSilent }

// UnitKey implements rpc.PeerSecrets.
func (liar) UnitKey(context.Context, string, string) (*identity.UnitKey, error) {
	return nil, errSilent
}

// Check implements rpc.ReadTokens.
func (liar) Check(context.Context, string, rpc.Secret) (time.Time, error) {
	return time.Time{}, errSilent
}

// joinLiar admits nobody.
type joinLiar struct{}

// Hello implements rpc.JoinServer.
func (joinLiar) Hello(context.Context, string) (*rpc.HelloResult, error) { return nil, errSilent }

// Join implements rpc.JoinServer.
func (joinLiar) Join(context.Context, *rpc.JoinRequest) (*rpc.Admission, error) {
	return nil, errSilent
}

// Renew implements rpc.JoinServer.
func (joinLiar) Renew(context.Context, string, ed25519.PublicKey) ([]byte, error) {
	return nil, errSilent
}
