package cluster

import (
	"fmt"
	"time"
)

func nodes() table[Node] {
	return table[Node]{name: "node", key: func(n *Node) string { return n.Name }}
}

func (t *tx) updateNode(c *UpdateNode) error {
	if err := t.initialized(); err != nil {
		return err
	}
	if c.Expect != 0 {
		if old := nodes().get(t.Txn, c.Node.Name); old == nil || old.ModifyIndex != c.Expect {
			return fmt.Errorf("%w: node %q has changed since index %d", ErrConflict, c.Node.Name, c.Expect)
		}
	}
	return t.putNode(c.Node)
}

// admitNode is how a node comes in that nobody vouches for but its token.
func (t *tx) admitNode(c *AdmitNode) error {
	if err := t.initialized(); err != nil {
		return err
	}
	token := tokens().get(t.Txn, c.Token)
	if token == nil || token.Kind != TokenJoin {
		return fmt.Errorf("%w: there is no join token %q", ErrToken, c.Token)
	}
	old := nodes().get(t.Txn, c.Node.Name)
	if token.UsedBy != "" {
		if token.UsedBy == c.Node.Name && old != nil && old.sameMember(&c.Node) {
			return nil // its answer was lost
		}
		return fmt.Errorf("%w: token %s was used by node %s", ErrToken, token.ID, token.UsedBy)
	}
	if !t.proposed.Before(token.ExpiresAt) {
		return fmt.Errorf("%w: token %s expired at %s", ErrToken, token.ID, token.ExpiresAt.UTC().Format(time.RFC3339))
	}
	if old != nil && old.State != NodeDown {
		return fmt.Errorf("%w: node %s is a member and %s; choose another name, or stop that one first", ErrExists, old.Name, old.State)
	}
	if err := t.checkNewcomer(&c.Node); err != nil {
		return err
	}
	// What is replaced is another machine: nothing is kept of it but the name.
	if err := nodes().drop(t.Txn, c.Node.Name); err != nil {
		return err
	}
	if err := t.leaveMesh(c.Node.Name); err != nil {
		return err
	}
	if err := t.putNode(c.Node); err != nil {
		return err
	}
	used := *token
	used.UsedBy, used.Checkpoint, used.ModifyIndex = c.Node.Name, nil, t.index
	if err := tokens().put(t.Txn, used); err != nil {
		return err
	}
	if err := t.forgetRecipient(c.Node.Name); err != nil {
		return err
	}
	return t.loseReplicasOf(c.Node.Name, "node "+c.Node.Name+" joined anew")
}

// sameMember reports whether two records are of one machine at one address.
func (n *Node) sameMember(other *Node) bool {
	return n.Name == other.Name && n.CertificateKey == other.CertificateKey && n.Address == other.Address && n.SealKey == other.SealKey
}

// checkNewcomer refuses a node that could be taken for another one.
func (t *tx) checkNewcomer(node *Node) error {
	if node.CertificateKey == ([32]byte{}) {
		return fmt.Errorf("%w: node %s has no certificate key", ErrInvalid, node.Name)
	}
	for _, n := range nodes().list(t.Txn, keyIndex) {
		switch {
		case n.Name == node.Name:
		case n.CertificateKey == node.CertificateKey:
			return fmt.Errorf("%w: node %s has the certificate key of node %s", ErrInvalid, node.Name, n.Name)
		case n.Address == node.Address:
			return fmt.Errorf("%w: node %s has the address of node %s, %s", ErrInvalid, node.Name, n.Name, n.Address)
		}
	}
	return nil
}

func (t *tx) removeNode(c *RemoveNode) error {
	if err := t.initialized(); err != nil {
		return err
	}
	if nodes().get(t.Txn, c.Name) == nil {
		return nil
	}
	if len(nodes().list(t.Txn, keyIndex)) == 1 {
		return fmt.Errorf("%w: node %s is the last one", ErrInvalid, c.Name)
	}
	t.changed = true
	if err := nodes().drop(t.Txn, c.Name); err != nil {
		return err
	}
	if err := t.leaveMesh(c.Name); err != nil {
		return err
	}
	return t.loseReplicasOf(c.Name, "node "+c.Name+" was removed")
}

// putNode writes a node whole; one that says nothing new changes nothing.
func (t *tx) putNode(n Node) error {
	if err := checkName("node", n.Name); err != nil {
		return err
	}
	if n.Address == "" {
		return fmt.Errorf("%w: node %s has no address", ErrInvalid, n.Name)
	}
	switch n.State {
	case NodeReady, NodeNotReady, NodeSuspect, NodeDown:
	default:
		return fmt.Errorf("%w: node %s: state %q", ErrInvalid, n.Name, n.State)
	}
	n.CreateIndex, n.ModifyIndex, n.Since = t.index, t.index, t.now
	if old := nodes().get(t.Txn, n.Name); old != nil {
		n.CreateIndex, n.ModifyIndex = old.CreateIndex, old.ModifyIndex
		if n.State == old.State {
			n.Since = old.Since
		}
		if n == *old {
			return nil
		}
		n.ModifyIndex = t.index
	}
	t.changed = true
	return nodes().put(t.Txn, n)
}
