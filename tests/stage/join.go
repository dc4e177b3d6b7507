package stage

import (
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
)

// joinTimeout bounds how long a node may take to be a member that is ready.
const joinTimeout = 60 * time.Second

// AddMember makes one more node and joins it.
func (c *Cluster) AddMember() Member {
	c.T.Helper()
	m := c.AddDaemon()
	c.Join(m)
	return m
}

// AddDaemon makes one more node with an engine, the images and a running jacod
// that belongs to no cluster yet.
func (c *Cluster) AddDaemon() Member {
	c.T.Helper()
	return c.AddDaemonAfter(func(*rig.Node) {})
}

// AddDaemonAfter is AddDaemon that shows the node before jacod is started.
func (c *Cluster) AddDaemonAfter(look func(*rig.Node)) Member {
	c.T.Helper()
	node := rig.Must[*rig.Node](c.T)(c.Rig.AddNode(c.T.Context()))
	c.copyImages(node)
	look(node)
	return c.startDaemon(node)
}

// Join joins a node by a new token of the leader and waits until both say that
// it is ready.
func (c *Cluster) Join(m Member) {
	c.T.Helper()
	leader := c.Leader()
	m.Jaco(JoinArgs(leader.Server(), leader.Token())...)
	c.Eventually(joinTimeout, m.Name()+" to be ready", func(status *cluster.Status) (bool, string) {
		return Joined(status, m.Name()), Summary(status)
	}, m, leader)
}

// Token makes a token for one node to join with, or what the flags ask for.
func (m Member) Token(flags ...string) string {
	m.T.Helper()
	out := m.Jaco(append([]string{"bootstrap", "token"}, flags...)...)
	token := tokenIn(out)
	if token == "" {
		m.T.Fatal("bootstrap token printed no token:\n" + out)
	}
	return token
}

// tokenIn finds the token in what `jaco bootstrap token` prints: the longest
// word, as everything else is for people.
func tokenIn(out string) string {
	token := ""
	for _, word := range strings.Fields(out) {
		if len(word) > len(token) {
			token = word
		}
	}
	return token
}

// JoinArgs is the command that a new node's operator runs.
func JoinArgs(server, token string) []string {
	return []string{"bootstrap", "join", "--server", server, "--token", token}
}

// Joined says whether a status lists the node as ready, with a commit that it
// accepted by itself.
func Joined(status *cluster.Status, name string) bool {
	node := Node(status, name)
	return node != nil && node.State == cluster.NodeReady && node.Accepted != ""
}
