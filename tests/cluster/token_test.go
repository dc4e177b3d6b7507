package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// refusedTokens tries all that must not let a node in, each with its reason, and
// that a refusal leaves nothing that keeps the node from joining in the end.
func refusedTokens(t *testing.T, c *stage.Cluster) {
	leader := c.Leader()
	first, second := c.AddDaemon(), c.AddDaemon()
	refused := func(m stage.Member, server stage.Member, token string, reasons ...string) {
		t.Helper()
		said := m.JacoFails(1, stage.JoinArgs(server.Server(), token)...)
		for _, reason := range append(reasons, "jaco") {
			if !strings.Contains(said, reason) {
				t.Errorf("the refusal of %s does not say %q:\n%s", m.Name(), reason, said)
			}
		}
	}

	expired := leader.Token("--ttl", "1s")
	until := time.Now().Add(1100 * time.Millisecond)
	rig.Eventually(t, 5*time.Second, "the token to expire", func(context.Context) (bool, string) {
		return time.Now().After(until), "it is not time"
	})
	refused(first, leader, expired, "expired at", "`jaco bootstrap token`")

	// Another cluster on one of the machines: its tokens are good there alone.
	foreign := stage.Member{T: t, Daemon: second.Daemon}
	c.InitAlone(foreign)
	refused(first, leader, foreign.Token(), "token")
	refused(first, foreign, leader.Token(), "token")
	c.Check(foreign.Kill(t.Context()))
	c.Check(foreign.Wipe(t.Context()))
	c.Check(foreign.Start(t.Context()))

	text := leader.Token()
	altered := []byte(text)
	if middle := len(altered) / 2; altered[middle] == 'A' {
		altered[middle] = 'B'
	} else {
		altered[middle] = 'A'
	}
	refused(first, leader, string(altered), "checksum")
	token := rig.Must[rpc.Token](t)(rpc.ParseToken(text))
	token.Secret[0] ^= 1
	refused(first, leader, token.Text(), "knows no token "+token.ID)
	refused(first, leader, leader.Token("--read"), "it is to read with")

	// After all of this the token that was altered is as good as before, once.
	first.Jaco(stage.JoinArgs(leader.Server(), text)...)
	refused(second, leader, text, "was used by node "+first.Name())
	refused(first, leader, leader.Token(), "already")
	c.Join(second)
	c.Eventually(time.Minute, "5 of 5 to vote", votes(5, 5))
	c.Settle(deployTime)
	acceptedByAll(t, c, c.Head())
}
