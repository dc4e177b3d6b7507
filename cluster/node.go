package cluster

import "fmt"

func nodes() table[Node] {
	return table[Node]{name: "node", key: func(n *Node) string { return n.Name }}
}

func (t *tx) updateNode(c *UpdateNode) error {
	if err := t.initialized(); err != nil {
		return err
	}
	return t.putNode(c.Node)
}

// putNode writes a node whole; one that says nothing new changes nothing.
func (t *tx) putNode(n Node) error {
	if err := checkName("node", n.Name); err != nil {
		return err
	}
	if n.Address == "" {
		return fmt.Errorf("%w: node %s has no address", ErrInvalid, n.Name)
	}
	if n.State != NodeReady && n.State != NodeNotReady {
		return fmt.Errorf("%w: node %s: state %q", ErrInvalid, n.Name, n.State)
	}
	n.CreateIndex, n.ModifyIndex = t.index, t.index
	if old := nodes().get(t.Txn, n.Name); old != nil {
		n.CreateIndex, n.ModifyIndex = old.CreateIndex, old.ModifyIndex
		if n == *old {
			return nil
		}
		n.ModifyIndex = t.index
	}
	t.changed = true
	return nodes().put(t.Txn, n)
}
