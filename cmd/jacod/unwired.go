package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// errUnwired is returned for what this daemon does not do yet.
var errUnwired = errors.New("this jacod runs clusters of one node")

// unwired answers for the parts of a cluster of several nodes that this daemon
// does not have yet.
type unwired struct{}

var (
	_ rpc.Joiner       = unwired{}
	_ rpc.TokenIssuer  = unwired{}
	_ rpc.PeerLog      = unwiredLog{}
	_ rpc.PeerLiveness = unwired{}
	_ rpc.PeerSync     = unwired{}
	_ rpc.PeerData     = unwired{}
	_ rpc.JoinServer   = unwired{}
	_ rpc.ReadTokens   = unwired{}
)

// JoinCluster implements rpc.Joiner.
func (unwired) JoinCluster(context.Context, *rpc.JoinClusterRequest) (*rpc.JoinClusterResult, error) {
	return nil, errUnwired
}

// IssueToken implements rpc.TokenIssuer.
func (unwired) IssueToken(context.Context, string, cluster.TokenKind, time.Duration) (*rpc.IssuedToken, error) {
	return nil, errUnwired
}

// Heartbeat implements rpc.PeerLiveness.
func (unwired) Heartbeat(context.Context, cluster.Heartbeat) (time.Time, error) {
	return time.Time{}, errUnwired
}

// Soft implements rpc.PeerLiveness.
func (unwired) Soft(context.Context) (*cluster.LeaderStatus, error) { return nil, errUnwired }

// Probe implements rpc.PeerLiveness.
func (unwired) Probe(context.Context, string) (bool, error) { return false, errUnwired }

// Poke implements rpc.PeerSync.
func (unwired) Poke(context.Context) error { return errUnwired }

// Refresh implements rpc.PeerSync.
func (unwired) Refresh(context.Context, string) (string, bool, error) { return "", false, errUnwired }

// Logs implements rpc.PeerData.
func (unwired) Logs(context.Context, rpc.LogsRequest, func(rpc.LogLine) error) error {
	return errUnwired
}

// Segment implements rpc.PeerData.
func (unwired) Segment(context.Context, uint64, [32]byte) ([]byte, error) { return nil, errUnwired }

// Hello implements rpc.JoinServer.
func (unwired) Hello(context.Context, string) (*rpc.HelloResult, error) { return nil, errUnwired }

// Join implements rpc.JoinServer.
func (unwired) Join(context.Context, *rpc.JoinRequest) (*rpc.Admission, error) { return nil, errUnwired }

// Renew implements rpc.JoinServer.
func (unwired) Renew(context.Context, string, ed25519.PublicKey) ([]byte, error) {
	return nil, errUnwired
}

// Check implements rpc.ReadTokens.
func (unwired) Check(context.Context, string, rpc.Secret) (time.Time, error) {
	return time.Time{}, errUnwired
}

// unwiredLog is unwired as rpc.PeerLog.
type unwiredLog struct{}

// Propose implements rpc.PeerLog.
func (unwiredLog) Propose(context.Context, string, cluster.Entry) (cluster.Result, error) {
	return cluster.Result{}, errUnwired
}

// IssueToken implements rpc.PeerLog.
func (unwiredLog) IssueToken(context.Context, string, rpc.IssueTokenRequest) (*rpc.IssuedToken, error) {
	return nil, errUnwired
}

// Join implements rpc.PeerLog.
func (unwiredLog) Join(context.Context, string, *rpc.JoinRequest) (*rpc.Admission, error) {
	return nil, errUnwired
}
