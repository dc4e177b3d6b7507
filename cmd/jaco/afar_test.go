package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// noPeers stands for what a control port answers to nodes: the scripts are
// readers alone, and never ask.
type noPeers struct {
	rpc.PeerLog
	rpc.PeerLiveness
	rpc.PeerData
	rpc.PeerSecrets
}

// noSync stands for the rest of it.
type noSync struct{ rpc.PeerSync }

// noDoor stands for what it answers to joining nodes.
type noDoor struct{ rpc.JoinServer }

// readTokens are the tokens that a cluster knows.
type readTokens map[string]*cluster.Token

var _ rpc.ReadTokens = readTokens(nil)

// Check implements rpc.ReadTokens.
func (t readTokens) Check(_ context.Context, id string, secret rpc.Secret) (time.Time, error) {
	now := time.Now()
	if err := rpc.CheckToken(t[id], id, secret, cluster.TokenRead, now); err != nil {
		return time.Time{}, err
	}
	return t[id].ExpiresAt, nil
}

// cmdListen opens a control port over real TLS. Its certificates are of the
// present, because jaco judges them by this machine's clock.
func cmdListen(ts *testscript.TestScript, _ bool, _ []string) {
	member := memberOf(ts)
	authority, err := identity.NewAuthority("0123456789abcdef", time.Now(), rand.Reader)
	ts.Check(err)
	id, err := identity.NewStore(filepath.Join(ts.Getenv("WORK"), "identity"), time.Now, rand.Reader).Create(authority, "node-1")
	ts.Check(err)
	nobody := func([32]byte) (string, bool) { return "", false }
	listener, err := rpc.Listen(context.Background(), "127.0.0.1:0", id.ServerConfig(nobody), slog.New(slog.DiscardHandler))
	ts.Check(err)
	tokens := readTokens{}
	network := rpc.Network{
		Identity: id, Members: nobody, Log: noPeers{}, Liveness: noPeers{}, Sync: noSync{}, Data: noPeers{}, Secrets: noPeers{}, Join: noDoor{},
		Tokens: tokens, Control: member.server,
	}
	for name, token := range map[string]struct {
		kind      cluster.TokenKind
		authority [32]byte
		expires   time.Duration
	}{
		"read":    {cluster.TokenRead, id.AuthorityHash(), time.Hour},
		"expired": {cluster.TokenRead, id.AuthorityHash(), -time.Hour},
		"foreign": {cluster.TokenRead, [32]byte{1}, time.Hour},
		"join":    {cluster.TokenJoin, id.AuthorityHash(), time.Hour},
	} {
		made, err := rpc.NewToken(rand.Reader, token.kind, token.authority, [32]byte{})
		ts.Check(err)
		tokens[made.ID] = &cluster.Token{ID: made.ID, Kind: made.Kind, Hash: made.Hash(), ExpiresAt: time.Now().Add(token.expires)}
		ts.Check(os.WriteFile(ts.MkAbs(name+".token"), []byte(made.Text()+"\n"), 0o600))
	}
	ts.Setenv("SERVER", listener.Addr().String())
	ts.Setenv("CA_HASH", fmt.Sprintf("%x", id.AuthorityHash()))
	member.run(ts, listener.Run)
	member.run(ts, func(ctx context.Context) error { return rpc.ServeNetwork(ctx, listener, network) })
}
